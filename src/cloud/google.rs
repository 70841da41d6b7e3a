//! Google Cloud: the assertion that a service account exchanges for an access token.

use std::time::SystemTime;

use jsonwebtoken::{Algorithm, Header};
use serde_json::json;
use zeroize::Zeroizing;

use super::{ASSERTION_LIFE, PrivateKey, SignError, seconds};

pub struct ServiceAccount<'a> {
    pub client_email: &'a str,
    pub private_key_id: &'a str,
    pub key: &'a PrivateKey,
}

/// A JWT for five minutes.
pub fn assertion(
    account: &ServiceAccount<'_>,
    audience: &str,
    scope: &str,
    at: SystemTime,
) -> Result<Zeroizing<String>, SignError> {
    let now = seconds(at)?;
    let header = Header { kid: Some(account.private_key_id.to_owned()), ..Header::new(Algorithm::RS256) };
    let claims = json!({
        "iss": account.client_email,
        "scope": scope,
        "aud": audience,
        "iat": now,
        "exp": now + ASSERTION_LIFE,
    });
    account.key.jwt(&header, &claims)
}
