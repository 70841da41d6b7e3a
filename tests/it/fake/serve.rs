//! HTTP/1.1 by hand: what is sent is seen as it is, and what is answered may be wrong on purpose.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::{Answer, Asked};

pub struct Running(Option<tokio::runtime::Runtime>);

impl Drop for Running {
    fn drop(&mut self) {
        // A test with a runtime of its own may not wait here.
        self.0.take().unwrap().shutdown_background();
    }
}

/// Without TLS, what is said is said in plain HTTP.
pub fn start(
    tls: Option<Arc<rustls::ServerConfig>>,
    answer: impl Fn(Asked) -> Answer + Send + Sync + 'static,
) -> (SocketAddr, Running) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let (acceptor, answer) = (tls.map(TlsAcceptor::from), Arc::new(answer));
    runtime.spawn(async move {
        let listener = TcpListener::from_std(listener).unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let answer = Arc::clone(&answer);
            match acceptor.clone() {
                Some(acceptor) => tokio::spawn(async move { talk(acceptor.accept(stream).await?, answer).await }),
                None => tokio::spawn(talk(stream, answer)),
            };
        }
    });
    (address, Running(Some(runtime)))
}

/// One request, one answer. A client that goes is no failure here: the test sees what it has seen.
async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    answer: Arc<impl Fn(Asked) -> Answer>,
) -> io::Result<()> {
    let asked = hear(&mut stream).await?;
    say(&mut stream, answer(asked)).await?;
    stream.shutdown().await
}

async fn hear(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Asked> {
    let mut read = Vec::new();
    let head = loop {
        if let Some(at) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(&mut read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    let mut body = read.split_off(head + 4);
    let head = String::from_utf8(read).unwrap();
    let mut lines = head.trim_end().split("\r\n");
    let mut first = lines.next().unwrap().split(' ');
    let mut next = || first.next().unwrap().to_owned();
    let (method, path) = (next(), next());
    let headers = lines.map(|line| line.split_once(": ").unwrap());
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    let mut asked = Asked { method, host: String::new(), path, headers, body: Vec::new() };
    asked.host = asked.header("host").to_owned();
    let length: usize = asked.header("content-length").parse().unwrap_or(0);
    while body.len() < length {
        if stream.read_buf(&mut body).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    assert_eq!(body.len(), length, "one request on a connection, and nothing behind it");
    asked.body = body;
    Ok(asked)
}

async fn say(stream: &mut (impl AsyncWrite + Unpin), answer: Answer) -> io::Result<()> {
    match answer {
        Answer::Reply { status, headers, body } => {
            let mut head = format!("HTTP/1.1 {status} Said\r\ncontent-length: {}\r\n", body.len());
            for (name, value) in headers {
                head += &format!("{name}: {value}\r\n");
            }
            stream.write_all(&[head.as_bytes(), b"\r\n", &body].concat()).await
        }
        Answer::Raw(bytes) => stream.write_all(&bytes).await,
        Answer::Hang => std::future::pending().await,
        Answer::Cut => Ok(()),
        Answer::SlowBody(pause) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n").await?;
            loop {
                stream.write_all(b".").await?;
                stream.flush().await?;
                tokio::time::sleep(pause).await;
            }
        }
        Answer::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await?;
            let chunk = [b"1000\r\n".as_slice(), &[b'.'; 0x1000], b"\r\n"].concat();
            loop {
                stream.write_all(&chunk).await?;
            }
        }
        Answer::Late(pause, answer) => {
            tokio::time::sleep(pause).await;
            Box::pin(say(stream, *answer)).await
        }
    }
}
