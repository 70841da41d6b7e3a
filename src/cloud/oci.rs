//! Oracle Cloud: HTTP signatures (draft-cavage, version 1) and key fingerprints.

use std::time::SystemTime;

use super::{PrivateKey, SignError};
use crate::http::Request;

pub struct ApiKey<'a> {
    pub tenancy: &'a str,
    pub user: &'a str,
    pub fingerprint: &'a str,
    pub key: &'a PrivateKey,
}

/// Adds `date`, `host` and `authorization`; for a request with a body also what Oracle asks to be signed of it.
pub fn sign(_request: &mut Request, _key: &ApiKey<'_>, _at: SystemTime) -> Result<(), SignError> {
    Err(SignError("not yet".into()))
}

/// MD5 of the public key's SubjectPublicKeyInfo, as Oracle's console shows it.
pub fn fingerprint(_key: &PrivateKey) -> String {
    String::new()
}
