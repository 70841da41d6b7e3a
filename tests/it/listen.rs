//! The daemon's doors, tried by polite clients and by others.

use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::routing::{get, post};
use axum::{Extension, Router};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName};
use strongroom::api::listen::{self, Address, CarriedSecret, Error, Listener, Peer, Settings};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
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
        handshake: Duration::from_millis(300),
        deadline: Duration::from_millis(600),
        close_idle_after: Duration::from_millis(150),
        grace: Duration::from_secs(5),
    }
}

fn router() -> Router {
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
    let listener = Listener::bind("listen.grpc", address, tls).await.expect("binds");
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

struct Certificate {
    directory: tempfile::TempDir,
    der: CertificateDer<'static>,
}

impl Certificate {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["strongroom".into()]).expect("a certificate");
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("cert.pem"), made.cert.pem()).expect("writes");
        std::fs::write(directory.path().join("key.pem"), made.signing_key.serialize_pem()).expect("writes");
        Self { directory, der: made.cert.der().clone() }
    }

    fn config(&self) -> Result<Arc<rustls::ServerConfig>, Error> {
        listen::tls(&self.path("cert.pem"), &self.path("key.pem"))
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    async fn connect(&self, served: &Served, alpn: &str) -> tokio_rustls::client::TlsStream<TcpStream> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.der.clone()).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.into()];
        let name = ServerName::try_from("strongroom").expect("a name");
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        connector.connect(name, served.connect().await).await.expect("TLS")
    }
}

#[tokio::test]
async fn tls_speaks_what_was_agreed_on() {
    let certificate = Certificate::new();
    let served = serve_at(any_port(), settings(), Some(certificate.config().expect("a pair"))).await;
    let (mut client, connection) = http2(certificate.connect(&served, "h2").await).await;
    assert!(text(&mut client, "/peer").await.ends_with("tls: true }"));
    text(&mut client, "/secret").await;
    timeout(LONG, connection).await.expect("closed").expect("no panic");
    assert!(http1(&mut certificate.connect(&served, "http/1.1").await, "/plain").await.starts_with("HTTP/1.1 200"));
    served.stopped().await;
}

#[tokio::test]
async fn a_stalled_or_plain_handshake_ends() {
    let served = serve_at(any_port(), settings(), Some(Certificate::new().config().expect("a pair"))).await;
    within(closes_after(&mut served.connect().await).await, 200, 3_000);
    let mut plain = served.connect().await;
    plain.write_all(b"GET /plain HTTP/1.1\r\nhost: s\r\n\r\n").await.expect("takes it");
    within(closes_after(&mut plain).await, 0, 1_500);
    served.stopped().await;
}

#[tokio::test]
async fn certificates_that_do_not_work_are_named() {
    let (ours, other) = (Certificate::new(), Certificate::new());
    let words = |cert: &Path, key: &Path| listen::tls(cert, key).expect_err("refused").to_string();
    let nowhere = Path::new("/nowhere.pem");
    let cert = ours.path("cert.pem");
    let key = ours.path("key.pem");
    assert!(words(nowhere, &key).starts_with("tls.cert: /nowhere.pem: cannot be read: "));
    assert!(words(&cert, nowhere).starts_with("tls.key: /nowhere.pem: cannot be read: "));
    assert!(
        words(&key, &key).ends_with("cert.pem: holds nothing of the kind in PEM")
            || words(&key, &key).contains("tls.cert")
    );
    assert!(words(&cert, &cert).starts_with("tls.key: "));
    assert!(words(&cert, &other.path("key.pem")).starts_with("tls.key: "));

    let broken = ours.path("broken.pem");
    std::fs::write(&broken, "-----BEGIN PRIVATE KEY-----\ns3cret???\n-----END PRIVATE KEY-----\n").expect("writes");
    let said = words(&cert, &broken);
    assert!(said.starts_with("tls.key: ") && !said.contains("s3cret"), "{said}");
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let served = serve(settings()).await;
    let error = Listener::bind("listen.rest", served.address.clone(), None).await.err().expect("taken");
    assert_eq!(error.to_string(), format!("listen.rest: {} is taken: another process listens there", served.address));
    served.stopped().await;
}

#[tokio::test]
async fn a_unix_socket_is_private_and_goes_with_the_daemon() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("strongroom.sock");
    let served = serve_at(Address::Unix(path.clone()), settings(), None).await;
    let made = std::fs::symlink_metadata(&path).expect("is there");
    assert_eq!(made.permissions().mode() & 0o777, 0o660);

    let (mut client, _connection) = http2(UnixStream::connect(&path).await.expect("connects")).await;
    let peer = text(&mut client, "/peer").await;
    assert!(peer.starts_with(&format!("Unix {{ uid: {}, ", made.uid())), "{peer}");

    let taken = Listener::bind("listen.unix", Address::Unix(path.clone()), None).await.err().expect("taken");
    assert!(matches!(taken, Error::Taken { key: "listen.unix", .. }), "{taken}");
    served.stopped().await;
    assert_eq!(std::fs::read_dir(directory.path()).expect("reads").count(), 0, "nothing stays behind");
}

#[tokio::test]
async fn a_dead_daemons_socket_is_replaced_and_other_files_are_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("strongroom.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("binds"));
    let served = serve_at(Address::Unix(path.clone()), settings(), None).await;
    UnixStream::connect(&path).await.expect("connects");

    // Another daemon takes the path over: ours must not take its socket away.
    std::fs::remove_file(&path).expect("removes");
    let _other = std::os::unix::net::UnixListener::bind(&path).expect("binds");
    served.stopped().await;
    assert!(path.exists());

    let document = directory.path().join("document");
    std::fs::write(&document, "precious").expect("writes");
    let error = Listener::bind("listen.unix", Address::Unix(document.clone()), None).await.err().expect("refused");
    assert!(matches!(error, Error::NotASocket { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&document).expect("reads"), "precious");

    let nowhere = Address::Unix(directory.path().join("no/such/directory.sock"));
    assert!(matches!(Listener::bind("listen.unix", nowhere, None).await, Err(Error::Bind { .. })));
}
