//! From a host's name to a TLS connection with that host.

use std::io;
use std::net::{IpAddr, SocketAddr};

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::private::Place;
use super::{Client, Error, address, network};

pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// The caller gives it its time.
pub(super) async fn open(client: &Client, host: &str, port: u16) -> Result<Box<dyn Stream>, Error> {
    let way: Box<dyn Stream> = match (client.private.place(host), &client.proxy) {
        (Place::Fixed(address), _) => Box::new(first(client, host, &[address]).await?),
        (_, Some(proxy)) => Box::new(proxy.tunnel(host, port).await?),
        (Place::Public, None) => Box::new(resolved(client, (host, port), address::is_public).await?),
        (Place::Private, None) => Box::new(resolved(client, (host, port), address::may_be_private).await?),
    };
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| Error::Forbidden { why: "what should be a host is no name that TLS knows".into() })?;
    match client.tls.connect(name, way).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(cause) if is_about_trust(&cause) => {
            tracing::warn!(host, %cause, "no trusted TLS connection");
            Err(Error::Tls { host: host.to_owned() })
        }
        Err(cause) => {
            tracing::debug!(host, %cause, "the connection ended within the TLS handshake");
            Err(Error::Connect { host: host.to_owned() })
        }
    }
}

/// Names, then addresses that pass, then a connection to one of exactly these. The name is never asked for again: a
/// second answer could be another.
async fn resolved(client: &Client, (host, port): (&str, u16), passes: fn(IpAddr) -> bool) -> Result<TcpStream, Error> {
    let found = client.network.resolve(host).await.map_err(|cause| {
        let host = host.to_owned();
        if network::no_such_host(&cause) { Error::NoSuchHost { host } } else { Error::Dns { host } }
    })?;
    if found.is_empty() {
        return Err(Error::NoSuchHost { host: host.to_owned() });
    }
    let passing: Vec<_> =
        found.into_iter().filter(|address| passes(*address)).map(|address| SocketAddr::new(address, port)).collect();
    if passing.is_empty() {
        return Err(Error::Forbidden {
            why: format!("{host} has no public address, and only outbound.private_hosts may be elsewhere"),
        });
    }
    first(client, host, &passing).await
}

/// The first of them that answers. Each has an equal share of what time is left, so that one that swallows packets does
/// not keep the next from being tried.
async fn first(client: &Client, host: &str, addresses: &[SocketAddr]) -> Result<TcpStream, Error> {
    let end = Instant::now() + client.limits.connect;
    for (number, address) in addresses.iter().enumerate() {
        let now = Instant::now();
        let share = end.saturating_duration_since(now) / (addresses.len() - number) as u32;
        match timeout_at(now + share, client.network.dial(*address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(cause)) => tracing::debug!(host, %address, %cause, "not to be reached there"),
            Err(_) => tracing::debug!(host, %address, "no answer from there in time"),
        }
    }
    Err(Error::Connect { host: host.to_owned() })
}

/// What rustls itself objects to; anything else is the network's.
fn is_about_trust(cause: &io::Error) -> bool {
    cause.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}
