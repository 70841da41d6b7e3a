//! Every provider of the world, faked: one HTTPS server on this machine that is whoever is asked for.
//!
//! ```ignore
//! let world = World::start(|asked| match (asked.host.as_str(), asked.path.as_str()) {
//!     ("api.openai.com", "/v1/models") => Answer::json(401, &json!({"error": {"code": "invalid_api_key"}})),
//!     _ => Answer::status(404),
//! });
//! let daemon = Daemon::start_with(home, &world.config(&["api.openai.com"]));
//! let client = world.client();
//! ```

mod authority;
pub mod kms;
pub mod platform;
mod serve;
pub mod signer;
pub mod sigv4;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use strongroom::http::{Client, Limits, Network, Settings};
use tokio::net::TcpStream;

pub use authority::Authority;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    /// Of the `Host` header, which is the name that TLS was spoken for.
    pub host: String,
    /// With its query, as it was sent.
    pub path: String,
    /// Names in lower case, in the order they came in.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Asked {
    /// Empty when there is none. Panics when there are two.
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        let mut found = self.headers.iter().filter(|(known, _)| known == name);
        let value = found.next().map_or("", |(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} was sent twice");
        value
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    /// The fields of a form.
    pub fn form(&self) -> Vec<(String, String)> {
        form_urlencoded::parse(&self.body).into_owned().collect()
    }
}

#[derive(Clone, Debug)]
pub enum Answer {
    Reply {
        status: u16,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    },
    /// These bytes, whatever they are, and the end of the connection.
    Raw(Vec<u8>),
    /// Nothing, while the connection stays open.
    Hang,
    /// The connection's end without an answer.
    Cut,
    /// A good head, then a byte of the body at each of these times, without end.
    SlowBody(Duration),
    /// A good head, then a chunked body without end.
    Endless,
    /// What another answer says, after a while.
    Late(Duration, Box<Self>),
}

impl Answer {
    pub fn status(status: u16) -> Self {
        Self::Reply { status, headers: Vec::new(), body: Vec::new() }
    }

    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::status(status).typed("application/json", body.to_string().into_bytes())
    }

    pub fn text(status: u16, body: &str) -> Self {
        Self::status(status).typed("text/plain", body.as_bytes().to_vec())
    }

    pub fn xml(status: u16, body: &str) -> Self {
        Self::status(status).typed("text/xml", body.as_bytes().to_vec())
    }

    /// With one more header.
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> Self {
        let Self::Reply { status, mut headers, body } = self else { panic!("only a reply has headers") };
        headers.push((name.into(), value.into()));
        Self::Reply { status, headers, body }
    }

    fn typed(self, kind: &str, content: Vec<u8>) -> Self {
        let Self::Reply { status, headers, .. } = self else { panic!("only a reply has a body") };
        Self::Reply { status, headers, body: content }.header("content-type", kind)
    }
}

/// Runs on a thread of its own until it is dropped, for tests with a runtime and without.
pub struct World {
    pub address: SocketAddr,
    pub authority: Authority,
    asked: Arc<Mutex<Vec<Asked>>>,
    directory: tempfile::TempDir,
    _runtime: serve::Running,
}

impl World {
    pub fn start(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let authority = Authority::new();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let record = Arc::clone(&asked);
        let heard = move |request: Asked| {
            record.lock().unwrap().push(request.clone());
            answer(&request)
        };
        let (address, running) = serve::start(Some(authority.server()), heard);
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("authority.pem"), authority.pem()).unwrap();
        Self { address, authority, asked, directory, _runtime: running }
    }

    /// All requests so far, in the order they were complete.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The only one so far.
    #[track_caller]
    pub fn asked_once(&self) -> Asked {
        let mut all = self.asked();
        assert_eq!(all.len(), 1, "{all:#?}");
        all.remove(0)
    }

    pub fn forget(&self) {
        self.asked.lock().unwrap().clear();
    }

    /// The `[outbound]` part of a daemon's configuration, for which these hosts are here: names or `*.` patterns.
    pub fn config(&self, hosts: &[&str]) -> String {
        let authorities = self.directory.path().join("authority.pem");
        format!("[outbound]\nauthorities = {authorities:?}\nprivate_hosts = {:?}\n", self.private_hosts(hosts))
    }

    /// The same for a client in this process.
    pub fn settings(&self, hosts: &[&str]) -> Settings {
        let private_hosts = self.private_hosts(hosts);
        Settings { authorities: Some(self.authority.pem()), private_hosts, ..Settings::default() }
    }

    /// A client for which every host is here. It applies all the rules: to it, they are at a public address.
    pub fn client(&self) -> Client {
        self.client_with(Limits::default())
    }

    pub fn client_with(&self, limits: Limits) -> Client {
        let settings = Settings { limits, ..self.settings(&[]) };
        Client::over(settings, Arc::new(Everywhere(self.address))).unwrap()
    }

    fn private_hosts(&self, hosts: &[&str]) -> Vec<String> {
        hosts.iter().map(|host| format!("{host}={}", self.address)).collect()
    }
}

/// A network on which every name is at a public address, and every address is here.
struct Everywhere(SocketAddr);

#[async_trait]
impl Network for Everywhere {
    async fn resolve(&self, _: &str) -> io::Result<Vec<IpAddr>> {
        Ok(vec![Ipv4Addr::new(8, 8, 8, 8).into()])
    }

    async fn dial(&self, _: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect(self.0).await
    }
}
