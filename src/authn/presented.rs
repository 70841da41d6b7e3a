//! What a request brings along. None of it is believed yet.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

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

/// A client's certificate whose chain was checked and whose key the client holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// As it came, DER, the client's own first.
    pub chain: Vec<Vec<u8>>,
}

impl Peer {
    pub const fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp { address, .. } => Some(address.ip()),
            Self::Unix { .. } => None,
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
