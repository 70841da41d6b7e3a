//! One connection, from its first byte to its end.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_rustls::server::TlsStream;
use tower::ServiceExt as _;

use super::lobby::Guest;
use super::prefix::Prefixed;
use super::socket::Stream;
use super::{Serves, Settings};
use crate::authn::{Certificate, Peer};

/// All of a request's headers; room for a long bearer token.
const HEADER_BYTES: u32 = 32 * 1024;
/// In HTTP/1.1; in HTTP/2 their bytes count, of which each costs 32 beside its own.
const HEADERS: usize = 100;
/// Calls that a peer has taken back before anybody looked at them, and calls that were broken. For one more, it is sent
/// away: who opens and resets without end has a connection ended, not a processor.
const RESETS: usize = 20;
const ERRORS: usize = 64;
/// What of one call's answer waits for a peer that does not read.
const SEND_BYTES: usize = 64 * 1024;
/// How a peer that went away without a word is noticed.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_ANSWER: Duration = Duration::from_secs(10);

/// Told by handlers that a secret went over this connection, either way.
#[derive(Clone, Debug)]
pub struct CarriedSecret(Arc<watch::Sender<Option<Instant>>>);

impl CarriedSecret {
    pub fn mark(&self) {
        self.0.send_replace(Some(Instant::now()));
    }
}

pub(super) async fn run(
    stream: Stream,
    peer: Peer,
    guest: Arc<Guest>,
    service: impl Serves,
    settings: Arc<Settings>,
    stop: watch::Receiver<bool>,
) {
    let (stream, peer): (Box<dyn Bytes>, _) = match stream {
        Stream::Tcp(stream) => (Box::new(stream), peer),
        Stream::Unix(stream) => (Box::new(stream), peer),
        Stream::Tls(acceptor, stream) => match timeout(settings.handshake, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => {
                let peer = with_certificate(peer, &stream);
                (Box::new(stream), peer)
            }
            Ok(Err(cause)) if is_about_certificate(&cause) => {
                return tracing::info!(%peer, %cause, "a client's certificate was refused");
            }
            Ok(Err(cause)) => return tracing::debug!(%peer, %cause, "the TLS handshake failed"),
            Err(_) => return tracing::debug!(%peer, "the TLS handshake took too long"),
        },
    };
    greet(stream, peer, guest, service, &settings, stop).await;
}

/// What HTTP is spoken over, whatever it is: hyper and h2 are compiled once for all of them.
trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

fn with_certificate(peer: Peer, stream: &TlsStream<TcpStream>) -> Peer {
    let chain = stream.get_ref().1.peer_certificates();
    match (peer, chain) {
        (Peer::Tcp { address, .. }, Some(chain)) => {
            let chain = chain.iter().map(|der| der.clone().into_owned()).collect();
            Peer::Tcp { address, certificate: Some(Arc::new(Certificate::new(chain))) }
        }
        (peer, _) => peer,
    }
}

/// The operator wants to know: somebody cannot come in who may have been able to yesterday.
fn is_about_certificate(cause: &std::io::Error) -> bool {
    let cause = cause.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    matches!(cause, Some(rustls::Error::InvalidCertificate(_) | rustls::Error::InvalidCertRevocationList(_)))
}

/// Waits for the first bytes, which tell HTTP/1.1 from HTTP/2. hyper would wait for them without an end.
async fn greet(
    stream: Box<dyn Bytes>,
    peer: Peer,
    guest: Arc<Guest>,
    service: impl Serves,
    settings: &Settings,
    mut stop: watch::Receiver<bool>,
) {
    let first = tokio::select! {
        first = timeout(settings.handshake, Prefixed::read(stream)) => first,
        _ = stop.wait_for(|stop| *stop) => return,
    };
    match first {
        Ok(Ok(stream)) => converse(stream, peer, guest, service, settings, stop).await,
        Ok(Err(cause)) => tracing::debug!(%peer, %cause, "went before the first request"),
        Err(_) => tracing::debug!(%peer, "said nothing"),
    }
}

async fn converse(
    stream: Prefixed<Box<dyn Bytes>>,
    peer: Peer,
    guest: Arc<Guest>,
    service: impl Serves,
    settings: &Settings,
    mut stop: watch::Receiver<bool>,
) {
    let (secrets, marks) = watch::channel(None);
    let carried = CarriedSecret(Arc::new(secrets));
    let log_peer = peer.clone();
    let known = Arc::clone(&guest);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer.clone());
        request.extensions_mut().insert(carried.clone());
        request.extensions_mut().insert(Arc::clone(&known));
        let (carried, answer) = (carried.clone(), service.clone().oneshot(request));
        async move { answer.await.inspect(|response| mark_refused(response, &carried)) }
    });
    let http = http(settings);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    let mut stale = pin!(last_secret_is_older(marks, settings.close_idle_after));
    let mut unwelcome = pin!(async {
        tokio::select! {
            () = guest.must_leave() => settings.deadline,
            () = guest.overstays(settings.handshake) => settings.handshake,
        }
    });
    let mut cut = pin!(tokio::time::sleep(Duration::MAX));
    let (mut stopping, mut finishing) = (false, false);
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(cause) = ended {
                    tracing::debug!(peer = %log_peer, %cause, "the connection broke");
                }
                return;
            }
            // `serve` cuts what outlives the grace.
            _ = stop.wait_for(|stop| *stop), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            () = stale.as_mut(), if !finishing => {
                finishing = true;
                connection.as_mut().graceful_shutdown();
                cut.as_mut().reset(Instant::now() + settings.deadline);
            }
            left = unwelcome.as_mut(), if !finishing => {
                finishing = true;
                connection.as_mut().graceful_shutdown();
                cut.as_mut().reset(Instant::now() + left);
            }
            () = cut.as_mut(), if finishing => {
                tracing::debug!(peer = %log_peer, "a stream was cut that outlived its connection's time");
                return;
            }
        }
    }
}

fn http(settings: &Settings) -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.handshake)
        .max_buf_size(HEADER_BYTES as usize)
        .max_headers(HEADERS)
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(settings.max_streams)
        .max_header_list_size(HEADER_BYTES)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(ERRORS)
        .max_send_buf_size(SEND_BYTES)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_ANSWER);
    http
}

/// What was refused may hold a secret where none belongs, and may never have reached a handler: a body that is no message,
/// a path that is none. What was wrong with it is not asked here.
fn mark_refused(response: &Response<Body>, carried: &CarriedSecret) {
    let status = response.headers().get("grpc-status");
    if !response.status().is_success() || status.is_some_and(|status| status != "0") {
        carried.mark();
    }
}

async fn last_secret_is_older(mut marks: watch::Receiver<Option<Instant>>, than: Duration) {
    loop {
        let last = *marks.borrow_and_update();
        match last {
            Some(at) => {
                tokio::time::sleep_until(at + than).await;
                if *marks.borrow() == last {
                    return;
                }
            }
            None if marks.changed().await.is_err() => std::future::pending().await,
            None => {}
        }
    }
}
