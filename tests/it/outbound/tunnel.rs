//! The operator's proxy.

use std::process::{Command, Stdio};

use super::*;

/// A proxy that answers CONNECT so, and tunnels to the world after a 200. Tells what it heard.
async fn proxy(answer: &'static str, world: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let record = Arc::clone(&heard);
    let address = peer(move |mut stream| {
        let record = Arc::clone(&record);
        async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                assert_ne!(stream.read_buf(&mut head).await.expect("reads"), 0);
            }
            record.lock().expect("whole").push(String::from_utf8(head).expect("text"));
            stream.write_all(answer.as_bytes()).await.expect("takes it");
            if answer.contains(" 200 ") {
                let mut inner = TcpStream::connect(world).await.expect("connects");
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut inner).await;
            } else {
                let _ = stream.read_u8().await;
            }
        }
    })
    .await;
    (address, heard)
}

/// Nothing can be looked up or dialled but by the proxy.
fn behind(proxy: SocketAddr, settings: Settings) -> Client {
    let settings = Settings { proxy: Some(format!("http://{proxy}")), ..settings };
    Client::over(settings, Arc::new(Script::default())).expect("good")
}

#[tokio::test]
async fn a_tunnel_carries_tls_and_shows_the_name_alone() {
    let world = World::start(|_| Answer::text(200, "through"));
    let (address, heard) = proxy("HTTP/1.1 200 OK\r\n\r\n", world.address).await;
    let response = ask(&behind(address, world.settings(&[]))).await.expect("an answer");
    assert_eq!(response.body.as_slice(), b"through");
    assert_eq!(*heard.lock().expect("whole"), [format!("CONNECT {HOST}:443 HTTP/1.1\r\nhost: {HOST}:443\r\n\r\n")]);
    assert_eq!(world.asked_once().host, HOST);
}

#[tokio::test]
async fn a_proxy_does_not_widen_whom_to_ask_or_trust() {
    let world = World::start(|_| Answer::status(200));
    let (address, heard) = proxy("HTTP/1.1 200 OK\r\n\r\n", world.address).await;
    let other = behind(address, world.settings(&[])).send(get("https://other.example.com/"), &hosts()).await;
    assert!(matches!(other, Err(Error::Forbidden { .. })), "{other:?}");
    assert_eq!(heard.lock().expect("whole").len(), 0);
    let stranger = Settings { authorities: Some(Authority::new().pem()), ..Settings::default() };
    assert_eq!(ask(&behind(address, stranger)).await.expect_err("untrusted"), Error::Tls { host: host() });
    assert_eq!(world.asked().len(), 0);
}

#[tokio::test]
async fn a_proxy_that_refuses_errs_or_is_silent_lets_nothing_through() {
    let world = World::start(|_| Answer::status(200));
    let unreachable = Error::Connect { host: host() };
    for answer in [
        "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\ncontent-length: 0\r\n\r\n",
        "SSH-2.0-something\r\n\r\n",
    ] {
        let (address, _) = proxy(answer, world.address).await;
        assert_eq!(ask(&behind(address, world.settings(&[]))).await.expect_err(answer), unreachable, "{answer}");
    }
    let (silent, _) = proxy("", world.address).await;
    assert_eq!(
        ask(&behind(silent, Settings { limits: hurried(), ..world.settings(&[]) })).await.expect_err("silent"),
        Error::Timeout { host: host() }
    );
    let gone = TcpListener::bind("127.0.0.1:0").await.expect("binds").local_addr().expect("bound");
    assert_eq!(ask(&behind(gone, world.settings(&[]))).await.expect_err("gone"), unreachable);
    assert_eq!(world.asked().len(), 0);
}

#[tokio::test]
async fn a_host_at_a_fixed_address_needs_no_proxy() {
    let world = World::start(|_| Answer::status(200));
    let (address, heard) = proxy("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n", world.address).await;
    let settings = Settings { proxy: Some(format!("http://{address}")), ..world.settings(&[HOST]) };
    ask(&Client::new(settings).expect("good")).await.expect("an answer");
    assert_eq!(heard.lock().expect("whole").len(), 0);
}

/// Runs a test that needs no proxy once more, in a process whose environment names one.
#[test]
fn the_environments_proxies_are_not_used() {
    let trap = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    trap.set_nonblocking(true).expect("set");
    let proxy = format!("http://{}", trap.local_addr().expect("bound"));
    let mut again = Command::new(std::env::current_exe().expect("known"));
    again.args(["--exact", "outbound::answers::a_request_arrives_as_it_was_meant_and_its_answer_comes_back"]);
    for name in ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        again.env(name, &proxy);
    }
    let run = again.env_remove("NO_PROXY").env_remove("no_proxy").stdin(Stdio::null()).output().expect("runs");
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && said.contains("1 passed"), "{said}");
    assert_eq!(trap.accept().expect_err("nobody came").kind(), io::ErrorKind::WouldBlock);
}
