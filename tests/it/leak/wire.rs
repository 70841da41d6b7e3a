//! Requests as raw as they can be, and all that comes back: statuses, headers, trailers, details, bodies.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use futures_util::StreamExt as _;
use prost::bytes::{Buf as _, BufMut as _};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::{KeyAndValueRef, MetadataMap};
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

/// What came back, and whether it was an answer rather than a refusal.
pub struct Reply {
    pub ok: bool,
    pub bytes: Vec<u8>,
}

/// Messages are bytes, whether they are messages or not.
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining()).to_vec()))
    }
}

/// Calls `/service/rpc`.
pub async fn call(
    channel: &Channel,
    path: &str,
    headers: &[(&'static str, String)],
    message: Vec<u8>,
) -> Result<Response<Streaming<Vec<u8>>>, Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let mut request = Request::new(futures_util::stream::iter([message]));
    for (name, value) in headers {
        if let Ok(value) = value.parse() {
            request.metadata_mut().append(*name, value);
        }
    }
    client.streaming(request, path.parse().unwrap(), Raw).await
}

/// All that comes back from a call; of a stream the first messages only.
pub async fn grpc(channel: &Channel, path: &str, headers: &[(&'static str, String)], message: Vec<u8>) -> Reply {
    let mut bytes = Vec::new();
    let refused = match call(channel, path, headers, message).await {
        Err(status) => Some(status),
        Ok(reply) => {
            let (metadata, mut messages, _) = reply.into_parts();
            put_metadata(&metadata, &mut bytes);
            loop {
                match tokio::time::timeout(Duration::from_millis(50), messages.next()).await {
                    Ok(Some(Ok(message))) => bytes.extend(message),
                    Ok(Some(Err(status))) => break Some(status),
                    Ok(None) | Err(_) => break None,
                }
            }
        }
    };
    if let Some(status) = &refused {
        bytes.extend(status.message().as_bytes());
        bytes.extend(status.details());
        put_metadata(status.metadata(), &mut bytes);
    }
    Reply { ok: refused.is_none(), bytes }
}

fn put_metadata(metadata: &MetadataMap, into: &mut Vec<u8>) {
    for pair in metadata.iter() {
        let (name, value) = match &pair {
            KeyAndValueRef::Ascii(name, value) => (name.as_str(), value.as_encoded_bytes()),
            KeyAndValueRef::Binary(name, value) => (name.as_str(), value.as_encoded_bytes()),
        };
        into.extend([name.as_bytes(), b": ", value, b"\n"].concat());
    }
}

/// One HTTP/1.1 exchange. Head and body go out as they are.
pub fn http(address: &str, head: &str, body: &[u8]) -> Reply {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    exchange(stream, head, body)
}

/// The same on a connection that is there.
pub fn exchange(mut stream: impl Read + Write, head: &str, body: &[u8]) -> Reply {
    let head = format!("{head}host: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    // A server that refuses early may close before it has read everything.
    let _ = stream.write_all(&[head.as_bytes(), body].concat());
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    Reply { ok: bytes.starts_with(b"HTTP/1.1 2"), bytes }
}
