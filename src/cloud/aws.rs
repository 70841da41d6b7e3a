//! AWS: Signature Version 4.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings};
use aws_sigv4::sign::v4;
use http::{HeaderName, HeaderValue};

use super::SignError;
use crate::http::Request;

/// An access key, with a session token when it is temporary.
pub struct Keys<'a> {
    pub access_key_id: &'a str,
    pub secret_access_key: &'a str,
    pub session_token: Option<&'a str>,
}

/// Adds the headers that make a request one of this key's. Not for S3, which wants paths and bodies signed its own way.
pub fn sign(
    request: &mut Request,
    keys: &Keys<'_>,
    service: &str,
    region: &str,
    at: SystemTime,
) -> Result<(), SignError> {
    let fails = |_| SignError("the request cannot be signed for AWS".into());
    let token = keys.session_token.map(str::to_owned);
    let identity = Credentials::new(keys.access_key_id, keys.secret_access_key, token, None, "strongroom").into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(at)
        .settings(SigningSettings::default())
        .build()
        .map_err(|_| SignError("the request cannot be signed for AWS".into()))?
        .into();
    let headers = request
        .headers
        .iter()
        .map(|(name, value)| Ok((name.as_str(), value.to_str().map_err(|_| unsignable(name))?)))
        .collect::<Result<Vec<_>, SignError>>()?;
    let body = SignableBody::Bytes(&request.body);
    let signable = SignableRequest::new(request.method.as_str(), request.url.to_string(), headers.into_iter(), body)
        .map_err(fails)?;
    let (instructions, _) = aws_sigv4::http_request::sign(signable, &params).map_err(fails)?.into_parts();
    for header in instructions.into_parts().0 {
        let name = HeaderName::from_static(header.name());
        let mut value = HeaderValue::from_str(header.value()).map_err(|_| unsignable(&name))?;
        value.set_sensitive(true);
        request.headers.insert(name, value);
    }
    Ok(())
}

fn unsignable(name: &HeaderName) -> SignError {
    SignError(format!("the header {name} cannot be signed"))
}

/// The account is 40 bits inside the key id's base32, unless the key is older than 2019.
pub fn account_id(access_key_id: &str) -> Option<String> {
    let body = access_key_id.get(4..)?;
    if body.starts_with(['I', 'J']) {
        return None;
    }
    let bytes = data_encoding::BASE32.decode(body.as_bytes()).ok()?;
    let first = bytes.get(..6)?.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    Some(format!("{:012}", (first & 0x7fff_ffff_ff80) >> 7))
}
