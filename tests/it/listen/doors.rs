//! Ports, certificates and socket files: what a door is made of.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use rustls::pki_types::{CertificateDer, ServerName};
use strongroom::api::listen::Error;
use tokio::net::UnixStream;

use super::*;

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
        listen::tls(&self.path("cert.pem"), &self.path("key.pem"), None)
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
    assert!(text(&mut client, "/peer").await.ends_with("certificate: None }"));
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
    let words = |cert: &Path, key: &Path| listen::tls(cert, key, None).expect_err("refused").to_string();
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
