//! The only way out to the internet, and the rules of that way: hosts that the registry or the configuration name, public
//! addresses only, TLS, no redirects, no cookies, no proxy but the configured one, and an end to sizes and times.
//!
//! ```text
//!   send ─► host allowed? ─► resolve ─► address public? ─► connect to that very address ─► TLS ─► one request ─► close
//! ```
//!
//! Each request has a connection of its own, which ends with the answer: its buffers held a secret, and what is freed is
//! wiped. Nothing here logs a path, a header or a body.

mod address;
mod connect;
mod exchange;
mod hosts;
mod network;
pub mod platform;
mod private;
mod proxy;
mod tls;

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, Method, StatusCode, Uri};
use zeroize::Zeroizing;

pub use hosts::Hosts;
pub use network::{Network, System};
use private::Private;
use proxy::Proxy;

/// A request. Its body and headers may hold a secret: neither is ever logged.
pub struct Request {
    pub method: Method,
    pub url: Uri,
    pub headers: HeaderMap,
    pub body: Zeroizing<Vec<u8>>,
}

/// An answer. Its body may hold a secret. A redirect is an answer like any other.
#[derive(Debug)]
pub struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Zeroizing<Vec<u8>>,
}

/// What the operator allows beyond the rules.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// PEM of authorities to trust beside the system's.
    pub authorities: Option<String>,
    /// `http://HOST:PORT` of a proxy that tunnels. It resolves the names then, and what addresses it goes to is its own
    /// rule, not ours; hosts and certificates are checked here all the same.
    pub proxy: Option<String>,
    /// Hosts that may be at private addresses: `HOST`, or `HOST=ADDRESS:PORT` to go there without asking DNS or the proxy.
    /// `*.HOST` stands for every name below.
    pub private_hosts: Vec<String>,
    pub limits: Limits,
}

#[derive(Clone, Debug)]
pub struct Limits {
    /// For name, connection and TLS together.
    pub connect: Duration,
    /// For all of it, from the name to the last byte.
    pub total: Duration,
    /// Of an answer's body.
    pub body: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), total: Duration::from_secs(15), body: 256 * 1024 }
    }
}

#[derive(Clone)]
pub struct Client {
    network: Arc<dyn Network>,
    proxy: Option<Proxy>,
    private: Private,
    tls: tokio_rustls::TlsConnector,
    limits: Limits,
}

/// The setting that is wrong, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {why}")]
pub struct Wrong {
    pub setting: &'static str,
    pub why: String,
}

impl Wrong {
    pub const fn new(setting: &'static str, why: String) -> Self {
        Self { setting, why }
    }

    /// In that file.
    #[must_use]
    pub fn within(self, file: &str) -> Self {
        Self { why: format!("{file}: {}", self.why), ..self }
    }
}

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
    pub fn new(settings: Settings) -> Result<Self, Wrong> {
        Self::over(settings, Arc::new(System))
    }

    /// Over another network than the system's.
    pub fn over(settings: Settings, network: Arc<dyn Network>) -> Result<Self, Wrong> {
        let wrong = |setting| move |why| Wrong::new(setting, why);
        let private = Private::parse(&settings.private_hosts).map_err(wrong("private_hosts"))?;
        let proxy = settings.proxy.as_deref().map(Proxy::parse).transpose().map_err(wrong("proxy"))?;
        let tls = tls::connector(settings.authorities.as_deref()).map_err(wrong("authorities"))?;
        if !settings.private_hosts.is_empty() {
            tracing::warn!(
                hosts = settings.private_hosts.join(", "),
                "outbound.private_hosts: what is asked of these may go to private addresses"
            );
        }
        Ok(Self { network, proxy, private, tls, limits: settings.limits })
    }

    /// One request on a connection of its own, to one of the hosts.
    pub async fn send(&self, request: Request, hosts: &Hosts) -> Result<Response, Error> {
        let target = hosts::permitted(&request.url, hosts)?;
        let (host, port, authority) = (target.host.to_owned(), target.port, target.authority());
        exchange::check(&request.headers)?;
        let start = Instant::now();
        let answered = tokio::time::timeout(self.limits.total, self.ask(&host, port, &authority, request)).await;
        let answered = answered.unwrap_or_else(|_| Err(Error::Timeout { host: host.clone() }));
        let millis = start.elapsed().as_millis() as u64;
        match &answered {
            Ok(response) => tracing::debug!(host, status = response.status.as_u16(), millis, "asked"),
            Err(error) => tracing::debug!(host, %error, millis, "asked in vain"),
        }
        answered
    }

    async fn ask(&self, host: &str, port: u16, authority: &str, request: Request) -> Result<Response, Error> {
        let connected = tokio::time::timeout(self.limits.connect, connect::open(self, host, port)).await;
        let stream = connected.unwrap_or_else(|_| Err(Error::Timeout { host: host.to_owned() }))?;
        exchange::run(stream, authority, request, self.limits.body).await
    }
}
