//! The keys that wrap data keys. An adapter wraps and unwraps 32 bytes; the envelope is written once, above it.
//!
//! A [`Keyring`] holds the configured keys. New data keys are wrapped under its default or their org's own; a stored one
//! names the keys that wrapped it. An adapter makes one attempt; [`Steady`] around it has the patience.

pub mod aws;
pub mod azure;
mod bound;
mod breaker;
mod cause;
mod context;
pub mod gcp;
mod keyring;
pub mod local;
mod per_org;
pub mod recovery;
mod steady;
pub mod transit;
mod uri;

use async_trait::async_trait;

use crate::crypto::Dek;

pub use aws::Aws;
pub use azure::Azure;
use cause::{Cause, opened, outbound, same, unsound};
pub use context::Context;
pub use keyring::Keyring;
pub use local::Local;
pub use per_org::PerOrg;
pub use steady::{Prices, Steady};
pub use transit::Transit;
pub use uri::{KeyUri, WrongUri, asked, proves_origin};

/// A data key that only the KMS can open. Names the key that wrapped it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrapped {
    /// The key's URI, such as `local://default`.
    pub key: String,
    /// The key's version, in its KMS's own words.
    pub key_version: String,
    pub bytes: Vec<u8>,
}

/// What a KMS can answer but a result.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Try again later: unreachable, slow, throttled.
    #[error("{key} is unavailable: {cause}")]
    Unavailable { key: String, cause: String },
    /// Somebody must grant or enable something: no permission, disabled, destroyed.
    #[error("{key} refuses: {cause}")]
    Refused { key: String, cause: String },
    /// These bytes were not wrapped by this key under this context.
    #[error("{key} did not wrap this data key for this credential")]
    Mismatch { key: String },
    /// A row names a key that the configuration does not.
    #[error("{key} is not configured: name it in kms.others")]
    Unknown { key: String },
}

impl Error {
    /// The key's URI.
    pub fn key(&self) -> &str {
        match self {
            Self::Unavailable { key, .. }
            | Self::Refused { key, .. }
            | Self::Mismatch { key }
            | Self::Unknown { key } => key,
        }
    }

    /// The same of a key that needs this one.
    fn under(self, uri: &str) -> Self {
        let key = uri.to_owned();
        match self {
            Self::Unavailable { cause, .. } => Self::Unavailable { key, cause },
            Self::Refused { cause, .. } => Self::Refused { key, cause },
            Self::Mismatch { .. } => Self::Mismatch { key },
            Self::Unknown { .. } => Self::Unknown { key },
        }
    }

    /// In the service's words, where it had some.
    pub fn cause(&self) -> &str {
        match self {
            Self::Unavailable { cause, .. } | Self::Refused { cause, .. } => cause,
            Self::Mismatch { .. } | Self::Unknown { .. } => "",
        }
    }
}

/// A key in a key management service.
#[async_trait]
pub trait Kms: Send + Sync {
    /// The key's URI.
    fn uri(&self) -> &str;

    /// Wraps under the key's newest version, bound to the context.
    async fn wrap(&self, dek: &Dek, context: &Context) -> Result<Wrapped, Error>;

    /// Opens what any version of the key has wrapped under the same context.
    async fn unwrap(&self, wrapped: &Wrapped, context: &Context) -> Result<Dek, Error>;
}
