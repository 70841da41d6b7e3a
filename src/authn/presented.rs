//! What a request brings along. None of it is believed yet.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls_pki_types::CertificateDer;

use super::mtls::Weighed;
use crate::vault::network;

/// The headers that prove something, and the other side of the connection.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'a> {
    /// `authorization`: a bearer token of any kind.
    pub authorization: Option<&'a str>,
    /// `strongroom-grant`: beside another proof; alone it is a bearer token.
    pub grant: Option<&'a str>,
    /// `strongroom-code`: a one-time code; empty when there are several.
    pub code: Option<&'a str>,
    /// `strongroom-approval`: the id of an approval; empty when there are several.
    pub approval: Option<&'a str>,
    pub peer: &'a Peer,
}

/// Who is on the other side, before authentication.
#[derive(Clone, Debug)]
pub enum Peer {
    Tcp {
        address: SocketAddr,
        /// What the TLS handshake accepted.
        certificate: Option<Arc<Certificate>>,
    },
    /// As the kernel vouches.
    Unix { uid: u32, gid: u32, pid: Option<i32> },
}

/// Where somebody comes from, as far as strangers can be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    Network(IpAddr),
    User(u32),
}

/// A client's certificate whose chain was good at the handshake, and whose key the client holds.
pub struct Certificate {
    /// The client's own first.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// What the last look at it found out: a handshake may be long ago.
    pub(super) weighed: ArcSwapOption<Weighed>,
}

impl Certificate {
    pub fn new(chain: Vec<CertificateDer<'static>>) -> Self {
        Self { chain, weighed: ArcSwapOption::empty() }
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({} in its chain)", self.chain.len())
    }
}

impl Peer {
    pub const fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp { address, .. } => Some(address.ip()),
            Self::Unix { .. } => None,
        }
    }

    pub fn source(&self) -> Source {
        match self {
            Self::Tcp { address, .. } => Source::Network(network(address.ip())),
            Self::Unix { uid, .. } => Source::User(*uid),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { address, .. } => write!(f, "{address}"),
            Self::Unix { uid, .. } => write!(f, "unix:uid={uid}"),
        }
    }
}
