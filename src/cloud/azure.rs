//! Azure: the assertion by which an application shows that it holds its certificate's key.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, Header};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use x509_cert::der::{Decode as _, Encode as _};
use zeroize::Zeroizing;

use super::{ASSERTION_LIFE, PrivateKey, SignError, pem, seconds};

pub struct Application<'a> {
    pub client_id: &'a str,
    /// PEM; the first certificate is the application's.
    pub certificate: &'a str,
    pub key: &'a PrivateKey,
}

/// A JWT for five minutes, signed as Microsoft asks for today (PS256, `x5t#S256`).
pub fn assertion(
    application: &Application<'_>,
    audience: &str,
    at: SystemTime,
) -> Result<Zeroizing<String>, SignError> {
    let certificate = Certificate::from_pem(application.certificate)
        .ok_or_else(|| SignError("the certificate is not readable".into()))?;
    let now = seconds(at)?;
    let thumbprint = URL_SAFE_NO_PAD.encode(certificate.sha256);
    let header = Header { x5t_s256: Some(thumbprint), ..Header::new(Algorithm::PS256) };
    let claims = json!({
        "aud": audience,
        "iss": application.client_id,
        "sub": application.client_id,
        "jti": token_id()?,
        "iat": now,
        "nbf": now,
        "exp": now + ASSERTION_LIFE,
    });
    application.key.jwt(&header, &claims)
}

fn token_id() -> Result<String, SignError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|_| SignError("the system gives no randomness".into()))?;
    Ok(uuid::Builder::from_random_bytes(random).into_uuid().to_string())
}

/// When a certificate ends, and the DER of its public key: what it says without asking anybody.
pub struct Certificate {
    pub not_after: Timestamp,
    pub public_spki: Vec<u8>,
    /// Of its DER.
    pub sha256: [u8; 32],
}

impl Certificate {
    /// The first one of a PEM.
    pub fn from_pem(text: &str) -> Option<Self> {
        let der = pem::blocks(text).find(|block| block.label == "CERTIFICATE")?.der()?;
        let certificate = x509_cert::Certificate::from_der(&der).ok()?;
        let known = certificate.tbs_certificate();
        let not_after = i64::try_from(known.validity().not_after.to_unix_duration().as_secs()).ok()?;
        Some(Self {
            // The last second of 9999, which means never, is a day after the last timestamp.
            not_after: Timestamp::from_second(not_after).unwrap_or(Timestamp::MAX),
            public_spki: known.subject_public_key_info().to_der().ok()?,
            sha256: Sha256::digest(&*der).into(),
        })
    }
}
