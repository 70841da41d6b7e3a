//! How each cloud wants to be spoken to: signatures and the assertions that are exchanged for tokens. Pure but for
//! randomness: the time is an argument.

pub mod aws;
pub mod azure;
pub mod google;
pub mod key;
pub mod oci;
pub mod snowflake;

pub use key::{KeyError, PrivateKey};

/// Why something could not be signed. Never contains a part of a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SignError(pub String);
