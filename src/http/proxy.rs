//! The operator's proxy: it tunnels, and sees nothing but names.

use http::uri::Authority;
use http::{Method, Uri, header};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{Error, exchange};

/// `HOST:PORT`. Its host may be anywhere: the operator has named it.
#[derive(Clone, Debug)]
pub(super) struct Proxy(Authority);

impl Proxy {
    pub fn parse(url: &str) -> Result<Self, String> {
        const RULE: &str = "must be http://HOST:PORT, without a user or a path";
        let authority = url.strip_prefix("http://").ok_or(RULE)?;
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let authority: Authority = authority.parse().map_err(|_| RULE)?;
        let port = authority.port_u16().filter(|port| *port > 0);
        if port.is_none() || authority.host().is_empty() || authority.as_str().contains('@') {
            return Err(RULE.into());
        }
        Ok(Self(authority))
    }

    /// A way through it to the host.
    pub async fn tunnel(&self, host: &str, port: u16) -> Result<TokioIo<Upgraded>, Error> {
        self.connect(host, port).await.map_err(|cause| {
            tracing::warn!(host, proxy = %self.0, cause, "no way through outbound.proxy");
            Error::Connect { host: host.to_owned() }
        })
    }

    async fn connect(&self, host: &str, port: u16) -> Result<TokioIo<Upgraded>, String> {
        let stream = TcpStream::connect(self.0.as_str()).await.map_err(|cause| cause.to_string())?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|cause| cause.to_string())?;
        let target = format!("{host}:{port}");
        let request = http::Request::builder()
            .method(Method::CONNECT)
            .uri(target.parse::<Uri>().map_err(|cause| cause.to_string())?)
            .header(header::HOST, target)
            .body(Empty::<Bytes>::new())
            .map_err(|cause| cause.to_string())?;
        let upgraded = async {
            let response = sender.send_request(request).await.map_err(|cause| cause.to_string())?;
            if !response.status().is_success() {
                return Err(format!("it answers {}", response.status().as_u16()));
            }
            hyper::upgrade::on(response).await.map_err(|cause| cause.to_string())
        };
        exchange::beside(connection.with_upgrades(), upgraded).await.map(TokioIo::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_a_host_and_a_port() {
        for good in ["http://proxy:3128", "http://10.0.0.1:8080/", "http://[::1]:3128"] {
            assert_eq!(Proxy::parse(good).map(|_| ()), Ok(()), "{good}");
        }
        let bad = [
            "",
            "proxy:3128",
            "https://proxy:3128",
            "http://proxy",
            "http://:3128",
            "http://proxy:0",
            "http://proxy:x",
            "http://user:s3cret@proxy:3128",
            "http://proxy:3128/path",
            "http://proxy:3128?q",
            "http://pro xy:3128",
            "socks5://proxy:1080",
            "http://proxy:99999",
        ];
        for bad in bad {
            let why = Proxy::parse(bad).expect_err(bad);
            assert!(!why.contains("s3cret"), "{why}");
        }
    }
}
