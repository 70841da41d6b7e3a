//! Snowflake: the token that a user signs with the key that is registered for them.

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{Algorithm, Header};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{ASSERTION_LIFE, PrivateKey, SignError, seconds};

/// A JWT for five minutes.
pub fn assertion(account: &str, user: &str, key: &PrivateKey, at: SystemTime) -> Result<Zeroizing<String>, SignError> {
    let now = seconds(at)?;
    let user = format!("{}.{}", account_name(account), user.to_uppercase());
    let claims = json!({
        "iss": format!("{user}.{}", fingerprint(key)),
        "sub": user,
        "iat": now,
        "exp": now + ASSERTION_LIFE,
    });
    key.jwt(&Header::new(Algorithm::RS256), &claims)
}

/// SHA-256 of the public key, as `DESC USER` shows it in `RSA_PUBLIC_KEY_FP`.
pub fn fingerprint(key: &PrivateKey) -> String {
    format!("SHA256:{}", STANDARD.encode(Sha256::digest(key.public_spki())))
}

/// Of an old locator such as `xy12345.eu-central-1.azure`, a token names the first part alone.
fn account_name(account: &str) -> String {
    account.split('.').next().unwrap_or(account).to_uppercase()
}
