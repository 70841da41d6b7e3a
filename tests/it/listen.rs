//! The daemon's doors, tried by polite clients and by others.

mod doors;
mod strangers;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::middleware::Next;
use axum::routing::{get, post};
use axum::{Extension, Router};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper_util::rt::{TokioExecutor, TokioIo};
use strongroom::api::listen::{self, Address, CarriedSecret, Guest, Listener, Settings};
use strongroom::authn::Peer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// Longer than anything here should take.
const LONG: Duration = Duration::from_secs(10);

struct Served {
    address: Address,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Served {
    fn tcp(&self) -> SocketAddr {
        match self.address {
            Address::Tcp(address) => address,
            Address::Unix(_) => panic!("a Unix socket"),
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.tcp()).await.expect("connects")
    }

    async fn stopped(self) {
        self.stop.send_replace(true);
        timeout(LONG, self.task).await.expect("drains").expect("no panic");
    }
}

fn settings() -> Settings {
    Settings {
        max_connections: 16,
        max_streams: 8,
        max_strangers: 16,
        max_strangers_per_source: 16,
        handshake: Duration::from_millis(300),
        deadline: Duration::from_millis(600),
        close_idle_after: Duration::from_millis(150),
        grace: Duration::from_secs(5),
    }
}

/// Every call but those of `/stranger` is a caller's.
fn router() -> Router {
    let prove = async |Extension(guest): Extension<Arc<Guest>>, request: Request<Body>, next: Next| {
        guest.prove();
        next.run(request).await
    };
    callers().layer(axum::middleware::from_fn(prove)).route("/stranger", get(async || "plain"))
}

fn callers() -> Router {
    Router::new()
        .route("/plain", get(async || "plain"))
        .route("/echo", post(async |body: Bytes| body))
        .route("/peer", get(async |Extension(peer): Extension<Peer>| format!("{peer:?}")))
        .route(
            "/secret",
            get(async |Extension(carried): Extension<CarriedSecret>| {
                carried.mark();
                "s3cret"
            }),
        )
        .route("/slow", get(async || sleep(Duration::from_millis(400)).await))
        .route("/watch", get(watch_forever))
}

async fn watch_forever() -> Body {
    let ticks = futures_util::stream::unfold((), |()| async {
        sleep(Duration::from_millis(20)).await;
        Some((Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from_static(b"tick "))), ()))
    });
    Body::new(StreamBody::new(ticks))
}

async fn serve_at(address: Address, settings: Settings, tls: Option<Arc<rustls::ServerConfig>>) -> Served {
    let listener = Listener::bind("listen.grpc", address, tls.map(listen::Tls::new)).await.expect("binds");
    let address = listener.address().expect("bound");
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(listen::serve(listener, router(), settings, stopped));
    Served { address, stop, task }
}

async fn serve(settings: Settings) -> Served {
    serve_at(any_port(), settings, None).await
}

fn any_port() -> Address {
    Address::Tcp("127.0.0.1:0".parse().expect("an address"))
}

type Http2 = hyper::client::conn::http2::SendRequest<Body>;

/// An HTTP/2 client, and the task that ends with its connection.
async fn http2(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> (Http2, JoinHandle<()>) {
    let connecting = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (client, connection) = connecting.await.expect("HTTP/2");
    (client, tokio::spawn(async { drop(connection.await) }))
}

fn get_of(path: &str) -> Request<Body> {
    Request::get(format!("http://strongroom{path}")).body(Body::empty()).expect("a request")
}

async fn text(client: &mut Http2, path: &str) -> String {
    client.ready().await.expect("open");
    let response = client.send_request(get_of(path)).await.expect("an answer");
    assert_eq!(response.status(), StatusCode::OK);
    let body = response.into_body().collect().await.expect("whole").to_bytes();
    String::from_utf8(body.to_vec()).expect("text")
}

async fn http1(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: strongroom\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("takes it");
    let mut answer = Vec::new();
    while !answer.ends_with(b"plain") && !answer.ends_with(b"s3cret") && !answer.ends_with(b"0\r\n\r\n") {
        let count = timeout(LONG, stream.read_buf(&mut answer)).await.expect("in time").expect("answers");
        assert_ne!(count, 0, "closed after {}", String::from_utf8_lossy(&answer));
    }
    String::from_utf8(answer).expect("text")
}

/// How long until the server closes, reading away what it still says.
async fn closes_after(stream: &mut (impl AsyncRead + Unpin)) -> Duration {
    let start = Instant::now();
    let mut rest = Vec::new();
    // A reset is an end, too.
    let _ = timeout(LONG, stream.read_to_end(&mut rest)).await.expect("closed");
    start.elapsed()
}

/// Whether it is still open after a while.
async fn stays_open(stream: &mut (impl AsyncRead + Unpin), time: Duration) -> bool {
    timeout(time, stream.read_u8()).await.is_err()
}

fn within(time: Duration, from: u64, to: u64) {
    assert!((from..to).contains(&(time.as_millis() as u64)), "{time:?} is not within {from}..{to} ms");
}

#[tokio::test]
async fn one_port_speaks_http1_and_http2() {
    let served = serve(settings()).await;
    assert!(http1(&mut served.connect().await, "/plain").await.starts_with("HTTP/1.1 200 OK"));
    let (mut client, _connection) = http2(served.connect().await).await;
    assert_eq!(text(&mut client, "/plain").await, "plain");
    assert!(text(&mut client, "/peer").await.starts_with("Tcp { address: 127.0.0.1:"));
    served.stopped().await;
}

#[tokio::test]
async fn after_a_secret_the_connection_closes() {
    let served = serve(settings()).await;
    let mut stream = served.connect().await;
    http1(&mut stream, "/secret").await;
    within(closes_after(&mut stream).await, 100, 2_000);

    let (mut client, connection) = http2(served.connect().await).await;
    assert_eq!(text(&mut client, "/secret").await, "s3cret");
    let start = Instant::now();
    timeout(LONG, connection).await.expect("closed").expect("no panic");
    within(start.elapsed(), 100, 2_000);
    served.stopped().await;
}

#[tokio::test]
async fn without_a_secret_it_stays() {
    let served = serve(Settings { handshake: LONG, ..settings() }).await;
    let mut stream = served.connect().await;
    http1(&mut stream, "/plain").await;
    assert!(stays_open(&mut stream, Duration::from_millis(500)).await);
    http1(&mut stream, "/plain").await;

    let (mut client, _connection) = http2(served.connect().await).await;
    text(&mut client, "/plain").await;
    sleep(Duration::from_millis(500)).await;
    assert_eq!(text(&mut client, "/plain").await, "plain");
    drop((stream, client));
    served.stopped().await;
}

#[tokio::test]
async fn secrets_in_a_row_keep_it_and_other_calls_do_not() {
    let served = serve(settings()).await;
    let (mut client, connection) = http2(served.connect().await).await;
    for _ in 0..6 {
        text(&mut client, "/secret").await;
        sleep(Duration::from_millis(60)).await;
    }
    assert!(!connection.is_finished(), "each secret starts the time anew");
    let start = Instant::now();
    while !connection.is_finished() && start.elapsed() < LONG {
        if client.ready().await.is_ok() {
            drop(client.send_request(get_of("/plain")).await);
        }
        sleep(Duration::from_millis(20)).await;
    }
    within(start.elapsed(), 50, 2_000);
    served.stopped().await;
}

#[tokio::test]
async fn a_call_in_flight_ends_well_on_a_closing_connection() {
    let served = serve(settings()).await;
    let (mut client, connection) = http2(served.connect().await).await;
    text(&mut client, "/secret").await;
    assert_eq!(text(&mut client, "/slow").await, "", "it takes longer than the connection has left");
    timeout(LONG, connection).await.expect("closed").expect("no panic");
    served.stopped().await;
}

#[tokio::test]
async fn a_watch_does_not_keep_a_secrets_buffers() {
    let served = serve(settings()).await;
    let (mut client, _connection) = http2(served.connect().await).await;
    let mut watching = client.send_request(get_of("/watch")).await.expect("an answer").into_body();
    text(&mut client, "/secret").await;
    let start = Instant::now();
    while let Some(Ok(_)) = timeout(LONG, watching.frame()).await.expect("cut") {}
    within(start.elapsed(), 600, 3_000);
    served.stopped().await;
}

#[tokio::test]
async fn who_says_nothing_is_sent_away() {
    let served = serve(settings()).await;
    for said in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", b"GET / HTTP/1.1\r\nhost: s"] {
        let mut stream = served.connect().await;
        stream.write_all(said).await.expect("takes it");
        within(closes_after(&mut stream).await, 200, 3_000);
    }
    served.stopped().await;
}

#[tokio::test]
async fn slow_headers_do_not_win_time() {
    let served = serve(settings()).await;
    let mut stream = served.connect().await;
    let start = Instant::now();
    stream.write_all(b"GET /plain HTTP/1.1\r\n").await.expect("takes it");
    for n in 0.. {
        sleep(Duration::from_millis(40)).await;
        if stream.write_all(format!("x-{n}: y\r\n").as_bytes()).await.is_err() || start.elapsed() > LONG {
            break;
        }
    }
    within(start.elapsed(), 200, 3_000);
    served.stopped().await;
}

#[tokio::test]
async fn garbage_is_answered_or_closed_and_hurts_nobody() {
    let served = serve(settings()).await;
    let endless_header = [b"GET / HTTP/1.1\r\nx: ".to_vec(), vec![b'a'; 100_000]].concat();
    let broken_frames = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), vec![0xff; 4_096]].concat();
    for garbage in [vec![0; 64], b"\x16\x03\x01\x02\0\x01\0".to_vec(), vec![0xff; 4_096], endless_header, broken_frames]
    {
        let mut stream = served.connect().await;
        // The server may close before it has all.
        let _ = stream.write_all(&garbage).await;
        within(closes_after(&mut stream).await, 0, 1_500);
    }
    assert!(http1(&mut served.connect().await, "/plain").await.starts_with("HTTP/1.1 200 OK"));
    served.stopped().await;
}

#[tokio::test]
async fn one_connection_too_many_is_closed_at_once() {
    let served = serve(Settings { max_connections: 2, handshake: LONG, ..settings() }).await;
    let (mut one, mut two) = (served.connect().await, served.connect().await);
    http1(&mut one, "/plain").await;
    http1(&mut two, "/plain").await;
    within(closes_after(&mut served.connect().await).await, 0, 1_500);
    http1(&mut one, "/plain").await;

    drop(two);
    sleep(Duration::from_millis(100)).await;
    http1(&mut served.connect().await, "/plain").await;
    drop(one);
    served.stopped().await;
}

#[tokio::test]
async fn calls_on_one_connection_are_bounded() {
    let served = serve(Settings { max_streams: 2, deadline: LONG, ..settings() }).await;
    let (mut client, _connection) = http2(served.connect().await).await;
    text(&mut client, "/plain").await;
    let start = Instant::now();
    let calls: Vec<_> = (0..4)
        .map(|_| {
            let mut client = client.clone();
            tokio::spawn(async move { text(&mut client, "/slow").await })
        })
        .collect();
    for call in calls {
        call.await.expect("answered");
    }
    within(start.elapsed(), 780, 5_000);
    drop(client);
    served.stopped().await;
}

#[tokio::test]
async fn a_stop_finishes_calls_and_takes_no_new_ones() {
    let served = serve(settings()).await;
    let address = served.tcp();
    let (mut client, _connection) = http2(served.connect().await).await;
    let mut idle = served.connect().await;
    let mut slow = served.connect().await;
    let first = tokio::spawn(async move { text(&mut client, "/slow").await });
    let second = tokio::spawn(async move { http1(&mut slow, "/slow").await.len() });
    http1(&mut idle, "/plain").await;
    sleep(Duration::from_millis(100)).await;

    let start = Instant::now();
    served.stop.send_replace(true);
    within(closes_after(&mut idle).await, 0, 1_500);
    assert!(TcpStream::connect(address).await.is_err(), "the port is closed");
    assert_eq!(first.await.expect("answered"), "");
    served.stopped().await;
    within(start.elapsed(), 150, 2_000);
    drop(second);
}

#[tokio::test]
async fn a_stop_cuts_what_outlives_the_grace() {
    let served = serve(Settings { grace: Duration::from_millis(200), ..settings() }).await;
    let (mut client, _connection) = http2(served.connect().await).await;
    let mut watching = client.send_request(get_of("/watch")).await.expect("an answer").into_body();
    let start = Instant::now();
    served.stopped().await;
    within(start.elapsed(), 180, 3_000);
    while let Some(Ok(_)) = timeout(LONG, watching.frame()).await.expect("cut") {}
}

/// Every call is a secret's, as far as the door knows.
async fn mark(request: axum::extract::Request, next: axum::middleware::Next) -> axum::response::Response {
    if let Some(carried) = request.extensions().get::<CarriedSecret>() {
        carried.mark();
    }
    next.run(request).await
}

#[tokio::test]
async fn grpc_calls_are_answered_though_connections_end() {
    let (_reporter, health) = tonic_health::server::health_reporter();
    let routes = tonic::service::Routes::new(health).into_axum_router().layer(axum::middleware::from_fn(mark));
    let listener = Listener::bind("listen.grpc", any_port(), None).await.expect("binds");
    let Address::Tcp(address) = listener.address().expect("bound") else { panic!("a TCP port") };
    let (stop, stopped) = watch::channel(false);
    let close_idle_after = Duration::from_millis(20);
    let task = tokio::spawn(listen::serve(listener, routes, Settings { close_idle_after, ..settings() }, stopped));

    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).expect("an endpoint");
    let client = tonic_health::pb::health_client::HealthClient::new(endpoint.connect().await.expect("connects"));
    let clients = (0..4_u64).map(|n| {
        let mut client = client.clone();
        tokio::spawn(async move {
            for round in 0..50 {
                let request = tonic_health::pb::HealthCheckRequest { service: String::new() };
                let answered = match client.check(request.clone()).await {
                    // Never sent: it met the end of its connection on the client's side. gRPC's own libraries send
                    // such a call again by themselves; tonic leaves that to its caller.
                    Err(status) if status.code() == tonic::Code::Cancelled => client.check(request).await,
                    answered => answered,
                };
                answered.unwrap_or_else(|status| panic!("call {round} of {n}: {status:?}"));
                // Pauses around the time at which the connection is told to finish.
                sleep(Duration::from_millis((n * 7 + round * 3) % 40)).await;
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.expect("all answered");
    }
    drop(client);
    stop.send_replace(true);
    timeout(LONG, task).await.expect("drains").expect("no panic");
}
