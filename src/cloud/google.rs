//! Google Cloud: the assertion that a service account exchanges for an access token.

use std::time::SystemTime;

use zeroize::Zeroizing;

use super::{PrivateKey, SignError};

pub struct ServiceAccount<'a> {
    pub client_email: &'a str,
    pub private_key_id: &'a str,
    pub key: &'a PrivateKey,
}

/// A JWT for five minutes.
pub fn assertion(
    _account: &ServiceAccount<'_>,
    _audience: &str,
    _scope: &str,
    _at: SystemTime,
) -> Result<Zeroizing<String>, SignError> {
    Err(SignError("not yet".into()))
}
