//! The way out, tried on real sockets of this machine.

mod answers;
mod places;
mod start;
mod trust;
mod tunnel;

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use http::{HeaderMap, Method};
use strongroom::http::{Client, Error, Hosts, Limits, Network, Request, Response, Settings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use zeroize::Zeroizing;

use crate::fake::{Answer, Authority, World};

const HOST: &str = "api.example.com";
/// What must be in no error.
const SECRET: &str = "s3cret";

fn get(url: &str) -> Request {
    let mut headers = HeaderMap::new();
    headers.insert("x-key", SECRET.parse().expect("a value"));
    Request { method: Method::GET, url: url.parse().expect("a URL"), headers, body: Zeroizing::new(Vec::new()) }
}

fn hosts() -> Hosts {
    Hosts::new(vec![HOST.into()]).expect("a host")
}

async fn ask(client: &Client) -> Result<Response, Error> {
    let answered = client.send(get(&format!("https://{HOST}/v1?a={SECRET}")), &hosts()).await;
    if let Err(error) = &answered {
        assert!(!format!("{error} {error:?}").contains(SECRET), "{error:?}");
    }
    answered
}

fn host() -> String {
    HOST.into()
}

/// Short enough to wait for their end. Whoever expects an answer has the usual ones: the machine may be busy.
fn hurried() -> Limits {
    Limits { connect: Duration::from_millis(700), total: Duration::from_millis(1_400), ..Limits::default() }
}

/// A client for which the host is at that address, with an authority to trust.
fn client_of(address: SocketAddr, authority: &Authority) -> Client {
    client_within(Limits::default(), address, authority)
}

fn client_within(limits: Limits, address: SocketAddr, authority: &Authority) -> Client {
    let private_hosts = vec![format!("{HOST}={address}")];
    let settings = Settings { authorities: Some(authority.pem()), private_hosts, limits, ..Settings::default() };
    Client::new(settings).expect("good settings")
}

/// A network that answers from a script, and remembers.
#[derive(Default)]
struct Script {
    /// What each look-up finds; none is an unexpected look-up.
    finds: Mutex<VecDeque<io::Result<Vec<IpAddr>>>>,
    looked_up: Mutex<Vec<String>>,
    dialled: Mutex<Vec<String>>,
    /// Where somebody is. Elsewhere nobody answers the knock.
    somebody: Option<(SocketAddr, SocketAddr)>,
}

impl Script {
    fn finding(finds: &[&[&str]]) -> Self {
        let address = |text: &&str| text.parse().expect("an address");
        let finds = finds.iter().map(|found| Ok(found.iter().map(address).collect())).collect();
        Self { finds: Mutex::new(finds), ..Self::default() }
    }

    fn with_somebody(self, at: &str, truly_at: SocketAddr) -> Self {
        Self { somebody: Some((at.parse().expect("an address"), truly_at)), ..self }
    }

    fn dialled(&self) -> Vec<String> {
        self.dialled.lock().expect("whole").clone()
    }

    fn looked_up(&self) -> Vec<String> {
        self.looked_up.lock().expect("whole").clone()
    }
}

#[async_trait]
impl Network for Script {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        self.looked_up.lock().expect("whole").push(host.into());
        self.finds.lock().expect("whole").pop_front().expect("one look-up more than there should be")
    }

    async fn dial(&self, address: SocketAddr) -> io::Result<TcpStream> {
        self.dialled.lock().expect("whole").push(address.to_string());
        match self.somebody {
            Some((at, truly_at)) if at == address => TcpStream::connect(truly_at).await,
            _ => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }
}

/// A peer that does this with each connection.
async fn peer<F: Future<Output = ()> + Send + 'static>(
    does: impl Fn(TcpStream) -> F + Send + Sync + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(does(stream));
        }
    });
    address
}
