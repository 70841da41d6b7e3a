//! AWS: Signature Version 4.

use std::time::SystemTime;

use super::SignError;
use crate::http::Request;

/// An access key, with a session token when it is temporary.
pub struct Keys<'a> {
    pub access_key_id: &'a str,
    pub secret_access_key: &'a str,
    pub session_token: Option<&'a str>,
}

/// Adds the headers that make a request one of this key's.
pub fn sign(
    _request: &mut Request,
    _keys: &Keys<'_>,
    _service: &str,
    _region: &str,
    _at: SystemTime,
) -> Result<(), SignError> {
    Err(SignError("not yet".into()))
}

/// The account is 40 bits inside the key id's base32, unless the key is older than 2019.
pub fn account_id(_access_key_id: &str) -> Option<String> {
    None
}
