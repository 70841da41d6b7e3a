//! One request and its answer on a connection that nobody else uses.

use std::pin::pin;

use futures_util::future::{Either, select};
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use zeroize::Zeroizing;

use super::connect::Stream;
use super::{Error, Request, Response};

const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("strongroom/", env!("CARGO_PKG_VERSION")));
const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// Of an answer: its head's lines, and bytes; a last read may bring as many again.
const HEAD: usize = 64 * 1024;
const LINES: usize = 128;

/// What the connection decides itself. An answer that was asked for compressed would pass the cap on its size unseen.
const OWN: &[HeaderName] = &[
    header::ACCEPT_ENCODING,
    header::CONNECTION,
    header::EXPECT,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

pub(super) fn check(headers: &HeaderMap) -> Result<(), Error> {
    match OWN.iter().find(|own| headers.contains_key(*own)) {
        Some(own) => Err(Error::Forbidden { why: format!("the header {own} is the connection's own") }),
        None => Ok(()),
    }
}

/// The connection ends with it, whatever comes of it.
pub(super) async fn run(
    stream: Box<dyn Stream>,
    host: &str,
    request: Request,
    limit: usize,
) -> Result<Response, Error> {
    let broken = |cause: hyper::Error| {
        tracing::debug!(host, %cause, "no answer that can be read");
        Error::Broken { host: host.to_owned() }
    };
    let request = finished(request, host)?;
    let handshake = http1::Builder::new().max_buf_size(HEAD).max_headers(LINES).handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(broken)?;
    let answer = async {
        let (head, body) = sender.send_request(request).await.map_err(broken)?.into_parts();
        let too_long = || Error::TooLong { host: host.to_owned(), limit };
        let body = read(body, limit).await.map_err(|cause| cause.map_or_else(too_long, broken))?;
        Ok(Response { status: head.status, headers: head.headers, body })
    };
    beside(connection, answer).await
}

/// Runs what needs the connection beside it, in this very task: nothing is left running behind an answer, a time that
/// has passed or a caller that has gone.
pub(super) async fn beside<T>(connection: impl Future<Output = hyper::Result<()>>, work: impl Future<Output = T>) -> T {
    match select(pin!(connection), pin!(work)).await {
        Either::Left((_, work)) => work.await,
        Either::Right((done, _)) => done,
    }
}

fn finished(request: Request, host: &str) -> Result<http::Request<Full<Bytes>>, Error> {
    let unspeakable = || Error::Forbidden { why: "the address cannot be written into a request".into() };
    let path = request.url.path_and_query().map_or("/", |path| path.as_str());
    let length = HeaderValue::from(request.body.len());
    let bodiless = request.body.is_empty() && matches!(request.method, Method::GET | Method::HEAD);
    // From the owner: the bytes are not copied, and wiped after they are sent.
    let mut sent = http::Request::new(Full::new(Bytes::from_owner(request.body)));
    *sent.uri_mut() = path.parse::<Uri>().map_err(|_| unspeakable())?;
    *sent.method_mut() = request.method;
    *sent.headers_mut() = request.headers;
    let headers = sent.headers_mut();
    headers.insert(header::HOST, HeaderValue::from_str(host).map_err(|_| unspeakable())?);
    if !bodiless {
        headers.insert(header::CONTENT_LENGTH, length);
    }
    headers.insert(header::CONNECTION, CLOSE);
    headers.entry(header::USER_AGENT).or_insert(USER_AGENT);
    Ok(sent)
}

/// `Err(None)`: longer than the limit, or so it says.
async fn read(mut body: Incoming, limit: usize) -> Result<Zeroizing<Vec<u8>>, Option<hyper::Error>> {
    let announced = body.size_hint().lower();
    if announced > limit as u64 {
        return Err(None);
    }
    let mut whole = Zeroizing::new(Vec::with_capacity(announced as usize));
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(Some)?.into_data() {
            if whole.len() + data.len() > limit {
                return Err(None);
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok(whole)
}
