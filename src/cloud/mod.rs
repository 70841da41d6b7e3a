//! How each cloud wants to be spoken to: signatures and the assertions that are exchanged for tokens. Pure but for
//! randomness: the time is an argument. Only `platform` asks somebody: it finds the daemon's own credentials.

pub mod aws;
pub mod azure;
pub mod google;
pub mod key;
pub mod oci;
mod pem;
pub mod platform;
pub mod snowflake;

use std::time::{SystemTime, UNIX_EPOCH};

pub use key::{KeyError, PrivateKey};

/// Why something could not be signed. Never contains a part of a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SignError(pub String);

/// How long an assertion can be exchanged, in seconds. It is used at once.
const ASSERTION_LIFE: u64 = 300;

fn seconds(at: SystemTime) -> Result<u64, SignError> {
    let since = at.duration_since(UNIX_EPOCH).map_err(|_| SignError("the clock is before 1970".into()))?;
    Ok(since.as_secs())
}
