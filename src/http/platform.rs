//! The way to where a platform gives a machine or a container credentials of its own: plain HTTP, and addresses that no
//! other way out ever calls. Which addresses is written here and nowhere else; nobody names a host. What is asked has no
//! body, a path of the platform's own documents, and no part of anything that was uploaded. No name is resolved, no proxy
//! used and no redirect followed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, Uri};
use zeroize::Zeroizing;

use super::{Error, Network, Request, Response, System, exchange};

/// For a connection, and for all of it: these services are on this very machine or beside it.
const CONNECT: Duration = Duration::from_secs(1);
const TOTAL: Duration = Duration::from_secs(3);
const BODY: usize = 64 * 1024;

const MACHINE: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
const TASK: Ipv4Addr = Ipv4Addr::new(169, 254, 170, 2);
const POD: Ipv4Addr = Ipv4Addr::new(169, 254, 170, 23);
const POD_6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23);

/// Whom the platform lets a process ask for credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service(SocketAddr);

impl Service {
    /// The metadata service of the machine, at AWS and at Azure.
    pub const MACHINE: Self = Self(SocketAddr::new(IpAddr::V4(MACHINE), 80));
    /// The agent of an ECS task.
    pub const TASK: Self = Self(SocketAddr::new(IpAddr::V4(TASK), 80));

    /// Of an address that the platform has put into the environment: this machine's own, of an ECS task or of an EKS pod.
    /// None for any other.
    pub fn of(url: &Uri) -> Option<Self> {
        let authority = url.authority().filter(|authority| !authority.as_str().contains('@'))?;
        let port = url.port_u16().unwrap_or(80);
        let host = authority.host();
        let address: IpAddr = match host {
            "localhost" => Ipv4Addr::LOCALHOST.into(),
            _ => host.trim_start_matches('[').trim_end_matches(']').parse().ok()?,
        };
        let known = [IpAddr::from(TASK), POD.into(), POD_6.into()].contains(&address) && port == 80;
        let fine = url.scheme_str() == Some("http") && port > 0 && (known || address.is_loopback());
        fine.then(|| Self(SocketAddr::new(address, port)))
    }
}

/// For the chains in [`crate::cloud::platform`] alone.
#[derive(Clone)]
pub struct Platform(Arc<dyn Network>);

impl Platform {
    pub fn new() -> Self {
        Self(Arc::new(System))
    }

    /// Over another network than the system's.
    pub fn over(network: Arc<dyn Network>) -> Self {
        Self(network)
    }

    pub async fn ask(
        &self,
        Service(address): Service,
        method: Method,
        path: &str,
        headers: HeaderMap,
    ) -> Result<Response, Error> {
        let host = address.to_string();
        let url = path.parse().map_err(|_| Error::Forbidden { why: "the path cannot be written".into() })?;
        exchange::check(&headers)?;
        let request = Request { method, url, headers, body: Zeroizing::new(Vec::new()) };
        let asked = async {
            let dialled = tokio::time::timeout(CONNECT, self.0.dial(address)).await;
            let Ok(Ok(stream)) = dialled else { return Err(Error::Connect { host: host.clone() }) };
            exchange::run(Box::new(stream), &host, request, BODY).await
        };
        tokio::time::timeout(TOTAL, asked).await.unwrap_or_else(|_| Err(Error::Timeout { host: host.clone() }))
    }
}

impl Default for Platform {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(url: &str) -> Option<String> {
        Service::of(&url.parse().ok()?).map(|service| service.0.to_string())
    }

    #[test]
    fn only_these_addresses_are_ever_called() {
        for (url, address) in [
            ("http://169.254.170.2/v2/credentials/x", "169.254.170.2:80"),
            ("http://169.254.170.23/v1/credentials", "169.254.170.23:80"),
            ("http://[fd00:ec2::23]/v1/credentials", "[fd00:ec2::23]:80"),
            ("http://localhost:42356/msi/token", "127.0.0.1:42356"),
            ("http://127.0.0.1:41852/msi/token?x=y", "127.0.0.1:41852"),
            ("http://[::1]:1/", "[::1]:1"),
        ] {
            assert_eq!(of(url).as_deref(), Some(address), "{url}");
        }
        for url in [
            "https://169.254.170.2/",
            "http://169.254.170.2:8080/",
            "http://169.254.169.254/",
            "http://169.254.169.253/",
            "http://user@127.0.0.1/",
            "http://10.0.0.1/",
            "http://8.8.8.8/",
            "http://metadata.google.internal/",
            "http://evil.example/",
            "http://localhost.evil.example/",
            "http://127.0.0.1:0/",
            "http://[::ffff:169.254.169.254]/",
            "http://2130706433/",
            "/relative",
            "169.254.170.2",
        ] {
            assert_eq!(of(url), None, "{url}");
        }
    }
}
