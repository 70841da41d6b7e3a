//! Azure: the assertion by which an application shows that it holds its certificate's key.

use std::time::SystemTime;

use jiff::Timestamp;
use zeroize::Zeroizing;

use super::{PrivateKey, SignError};

pub struct Application<'a> {
    pub client_id: &'a str,
    /// PEM; the first certificate is the application's.
    pub certificate: &'a str,
    pub key: &'a PrivateKey,
}

/// A JWT for five minutes, signed as Microsoft asks for today (PS256, `x5t#S256`).
pub fn assertion(
    _application: &Application<'_>,
    _audience: &str,
    _at: SystemTime,
) -> Result<Zeroizing<String>, SignError> {
    Err(SignError("not yet".into()))
}

/// When a certificate ends, and the DER of its public key: what it says without asking anybody.
pub struct Certificate {
    pub not_after: Timestamp,
    pub public_spki: Vec<u8>,
}

impl Certificate {
    /// The first one of a PEM.
    pub fn from_pem(_pem: &str) -> Option<Self> {
        None
    }
}
