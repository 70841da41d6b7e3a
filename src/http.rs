//! The only way out to the internet, and the rules of that way: hosts that the registry or the configuration name, public
//! addresses only, TLS, no redirects, no cookies, no proxy but the configured one, and an end to sizes and times.
//!
//! ```text
//!   send ─► host allowed? ─► resolve ─► address public? ─► connect to that very address ─► TLS ─► one request ─► close
//! ```

use http::{HeaderMap, Method, StatusCode, Uri};
use zeroize::Zeroizing;

/// A request. Its body and headers may hold a secret: neither is ever logged.
pub struct Request {
    pub method: Method,
    pub url: Uri,
    pub headers: HeaderMap,
    pub body: Zeroizing<Vec<u8>>,
}

/// An answer. Its body may hold a secret.
pub struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Zeroizing<Vec<u8>>,
}

/// The hosts that somebody may be asked at: `api.example.com`, or `*.example.com` for every name below, at any depth.
#[derive(Clone, Debug, Default)]
pub struct Hosts(Vec<String>);

impl Hosts {
    /// Why one of them is no host's name.
    pub fn new(hosts: Vec<String>) -> Result<Self, String> {
        Ok(Self(hosts))
    }

    pub fn allow(&self, host: &str) -> bool {
        self.0.iter().any(|known| known == host)
    }
}

/// What the operator allows beyond the rules.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// PEM of authorities to trust beside the system's.
    pub authorities: Option<String>,
    /// `http://HOST:PORT` of a proxy that tunnels.
    pub proxy: Option<String>,
    /// Hosts that may be at private addresses: `HOST`, or `HOST=ADDRESS:PORT` to go there without asking DNS.
    pub private_hosts: Vec<String>,
}

pub struct Client {}

/// Why there is no answer. Names the host, never what was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The rules forbid it: nothing was sent.
    #[error("{why}")]
    Forbidden { why: String },
    #[error("the name {host} cannot be resolved")]
    Dns { host: String },
    /// DNS says that there is no such name.
    #[error("there is no host {host}")]
    NoSuchHost { host: String },
    #[error("{host} cannot be reached")]
    Connect { host: String },
    #[error("no trusted TLS connection to {host}")]
    Tls { host: String },
    #[error("{host} did not answer in time")]
    Timeout { host: String },
    #[error("{host} did not answer as HTTP asks")]
    Broken { host: String },
    #[error("{host} answered more than {limit} bytes")]
    TooLong { host: String, limit: usize },
}

impl Client {
    /// The error says which setting is wrong.
    pub fn new(_settings: Settings) -> Result<Self, String> {
        Ok(Self {})
    }

    /// One request on a connection of its own.
    pub async fn send(&self, request: Request, _hosts: &Hosts) -> Result<Response, Error> {
        Err(Error::Connect { host: request.url.host().unwrap_or_default().to_owned() })
    }
}
