//! Proof of the first reason in the module's text: secrets do linger in buffers, and closing wipes them.
//!
//! Client and server share this process, and both must be clean. The tests of the library run on the wiping allocator.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use axum::routing::post;
use axum::{Extension, Router};
use http_body_util::BodyExt as _;
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::*;

/// Never in memory as a whole: a search for it must not find itself.
const MASK: u8 = 0x5a;

fn masked(seed: u8) -> Vec<u8> {
    (0..64_u8).map(|i| i.wrapping_mul(37).wrapping_add(seed) ^ MASK).collect()
}

fn secret(seed: u8) -> Vec<u8> {
    masked(seed).into_iter().map(|byte| byte ^ MASK).collect()
}

/// How often 16 bytes of the secret in a row stand in the process's writable memory.
fn copies(seed: u8) -> usize {
    let pattern = masked(seed);
    let mut heads = [false; 256];
    pattern.chunks(16).for_each(|part| heads[usize::from(part[0] ^ MASK)] = true);
    let is_copy = |at: &[u8]| {
        let same = |part: &[u8]| at.len() >= 16 && at.iter().zip(part).all(|(byte, masked)| byte ^ MASK == *masked);
        heads[usize::from(at[0])] && pattern.chunks(16).any(same)
    };
    let memory = File::open("/proc/self/mem").expect("linux");
    let maps = std::fs::read_to_string("/proc/self/maps").expect("linux");
    let mut found = 0;
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (range, _) = line.split_once(' ').expect("a range first");
        let (start, end) = range.split_once('-').expect("from-to");
        let address = |hex| u64::from_str_radix(hex, 16).expect("an address");
        let mut region = vec![0; (address(end) - address(start)) as usize];
        // A mapping may be gone by now.
        if memory.read_exact_at(&mut region, address(start)).is_ok() {
            found += (0..region.len()).filter(|at| is_copy(&region[*at..])).count();
        }
    }
    found
}

type Client = hyper::client::conn::http2::SendRequest<Body>;

/// Sends a secret and gets it back. The client stays connected until it is dropped, the server until it is stopped.
async fn exchange(seed: u8, close_idle_after: Duration) -> (Client, watch::Sender<bool>) {
    let router = Router::new().route(
        "/",
        post(|Extension(carried): Extension<CarriedSecret>, body: Bytes| async move {
            carried.mark();
            body
        }),
    );
    let any = Address::Tcp(([127, 0, 0, 1], 0).into());
    let listener = Listener::bind("listen.grpc", any, None).await.expect("binds");
    let Ok(Address::Tcp(address)) = listener.address() else { panic!("a TCP port") };
    let settings = Settings {
        max_connections: 4,
        max_streams: 4,
        max_strangers: 4,
        max_strangers_per_source: 4,
        handshake: Duration::from_secs(5),
        deadline: Duration::from_secs(5),
        close_idle_after,
        grace: Duration::from_secs(1),
    };
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(serve(listener, router, settings, stopped));

    let io = TokioIo::new(TcpStream::connect(address).await.expect("connects"));
    let (mut client, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.expect("HTTP/2");
    tokio::spawn(connection);
    let request = Request::post(format!("http://{address}/")).body(Body::from(secret(seed))).expect("a request");
    let reply = client.send_request(request).await.expect("an answer").into_body();
    assert!(reply.collect().await.expect("whole").to_bytes() == secret(seed));
    (client, stop)
}

#[tokio::test]
async fn closing_wipes_what_lingers() {
    let _open = exchange(1, Duration::from_secs(60)).await;
    let _closing = exchange(2, Duration::from_millis(100)).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_ne!(copies(1), 0, "an open connection keeps them: otherwise closing would not be needed");
    assert_eq!(copies(2), 0, "left in memory");
}
