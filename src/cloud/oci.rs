//! Oracle Cloud: HTTP signatures (draft-cavage, version 1) and key fingerprints.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, DATE, HOST};
use http::{HeaderName, HeaderValue, Method};
use md5::{Digest as _, Md5};
use sha2::Sha256;

use super::{PrivateKey, SignError};
use crate::http::Request;

const X_CONTENT_SHA256: HeaderName = HeaderName::from_static("x-content-sha256");

pub struct ApiKey<'a> {
    pub tenancy: &'a str,
    pub user: &'a str,
    pub fingerprint: &'a str,
    pub key: &'a PrivateKey,
}

/// Adds `date`, `host` and `authorization`; for a request with a body also what Oracle asks to be signed of it.
pub fn sign(request: &mut Request, key: &ApiKey<'_>, at: SystemTime) -> Result<(), SignError> {
    let host = request.url.authority().ok_or_else(|| SignError("the address has no host".into()))?.to_string();
    let path = request.url.path_and_query().map_or("/", |path| path.as_str());
    let target = format!("{} {path}", request.method.as_str().to_lowercase());
    set(request, DATE, &httpdate::fmt_http_date(at))?;
    set(request, HOST, &host)?;
    let mut signed = vec![DATE, HOST];
    if [Method::POST, Method::PUT, Method::PATCH].contains(&request.method) {
        set(request, CONTENT_LENGTH, &request.body.len().to_string())?;
        if !request.headers.contains_key(CONTENT_TYPE) {
            set(request, CONTENT_TYPE, "application/json")?;
        }
        set(request, X_CONTENT_SHA256, &STANDARD.encode(Sha256::digest(&*request.body)))?;
        signed.extend([CONTENT_LENGTH, CONTENT_TYPE, X_CONTENT_SHA256]);
    }
    let mut names = "(request-target)".to_owned();
    let mut lines = format!("(request-target): {target}");
    for name in signed {
        let value = request.headers.get(&name).and_then(|value| value.to_str().ok());
        let value = value.ok_or_else(|| SignError(format!("the header {name} cannot be signed")))?;
        names.push_str(&format!(" {name}"));
        lines.push_str(&format!("\n{name}: {value}"));
    }
    let signature = STANDARD.encode(key.key.sign(lines.as_bytes())?);
    let owner = format!("{}/{}/{}", key.tenancy, key.user, key.fingerprint);
    let authorization = format!(
        r#"Signature version="1",keyId="{owner}",algorithm="rsa-sha256",headers="{names}",signature="{signature}""#
    );
    set(request, AUTHORIZATION, &authorization)
}

/// MD5 of the public key's SubjectPublicKeyInfo, as Oracle's console shows it.
pub fn fingerprint(key: &PrivateKey) -> String {
    let digest = Md5::digest(key.public_spki());
    digest.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

fn set(request: &mut Request, name: HeaderName, value: &str) -> Result<(), SignError> {
    let mut header =
        HeaderValue::from_str(value).map_err(|_| SignError(format!("the header {name} cannot be written")))?;
    header.set_sensitive(name == AUTHORIZATION);
    request.headers.insert(name, header);
    Ok(())
}
