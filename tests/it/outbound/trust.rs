//! Whom the way out believes to be the host.

use rcgen::{CertificateParams, date_time_ymd};

use super::*;

async fn serving(tls: Arc<rustls::ServerConfig>) -> SocketAddr {
    let acceptor = tokio_rustls::TlsAcceptor::from(tls);
    peer(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut stream) = acceptor.accept(stream).await else { return };
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            let _ = stream.shutdown().await;
        }
    })
    .await
}

fn params(name: &str) -> CertificateParams {
    CertificateParams::new(vec![name.to_owned()]).expect("parameters")
}

fn valid(name: &str, from: i32, to: i32) -> CertificateParams {
    let mut params = params(name);
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(to, 1, 1);
    params
}

#[tokio::test]
async fn only_a_certificate_for_the_host_now_and_by_a_trusted_authority_counts() {
    type Make = fn(&str) -> CertificateParams;
    let cases: [(&str, Make); 5] = [
        ("another name", |_| params("other.example.com")),
        ("a name below", |name| params(&format!("x.{name}"))),
        ("too broad a star", |_| params("*.com")),
        ("expired", |name| valid(name, 2019, 2020)),
        ("not yet", |name| valid(name, 2998, 2999)),
    ];
    let authority = Authority::new();
    let good = serving(authority.server_with(params)).await;
    assert!(ask(&client_of(good, &authority)).await.is_ok());
    for (what, make) in cases {
        let address = serving(authority.server_with(make)).await;
        assert_eq!(ask(&client_of(address, &authority)).await.expect_err(what), Error::Tls { host: host() }, "{what}");
    }
    let stranger = Authority::new();
    let answered = ask(&client_of(good, &stranger)).await;
    assert_eq!(answered.expect_err("an unknown authority"), Error::Tls { host: host() });
}

/// With the other checks off, for the pinned address is not the name: TLS still asks for the host.
#[tokio::test]
async fn nothing_is_sent_to_whom_is_not_trusted() {
    let world = World::start(|_| Answer::status(200));
    assert_eq!(
        ask(&client_of(world.address, &Authority::new())).await.expect_err("a stranger"),
        Error::Tls { host: host() }
    );
    assert_eq!(world.asked().len(), 0);
}

#[tokio::test]
async fn who_speaks_old_tls_or_none_is_not_spoken_to() {
    // ServerHello for TLS 1.1, an alert that 1.1 is all there is, and plain HTTP.
    let mut hello = b"\x16\x03\x02\0\x2a\x02\0\0\x26\x03\x02".to_vec();
    hello.extend([7; 32]);
    hello.extend(b"\0\xc0\x13\0");
    for said in [hello, b"\x15\x03\x02\0\x02\x02\x46".to_vec(), b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()] {
        let address = peer(move |mut stream| {
            let said = said.clone();
            async move {
                let mut heard = [0; 4096];
                let count = stream.read(&mut heard).await.expect("a hello");
                assert!(!String::from_utf8_lossy(&heard[..count]).contains("GET"), "plaintext");
                stream.write_all(&said).await.expect("takes it");
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        })
        .await;
        assert_eq!(ask(&client_of(address, &Authority::new())).await.expect_err("old"), Error::Tls { host: host() });
    }
}

#[tokio::test]
async fn a_handshake_that_ends_or_never_ends_is_told_apart_from_mistrust() {
    let closes = peer(async |stream| drop(stream)).await;
    assert_eq!(ask(&client_of(closes, &Authority::new())).await.expect_err("closed"), Error::Connect { host: host() });
    let stalls = peer(async |stream| {
        tokio::time::sleep(Duration::from_secs(60)).await;
        drop(stream);
    })
    .await;
    let start = Instant::now();
    assert_eq!(
        ask(&client_within(hurried(), stalls, &Authority::new())).await.expect_err("stalled"),
        Error::Timeout { host: host() }
    );
    assert!(start.elapsed() < hurried().total, "the time to connect counts: {:?}", start.elapsed());
}
