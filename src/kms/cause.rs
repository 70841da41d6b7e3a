//! What an adapter finds, before the key's name stands beside it.

use subtle::ConstantTimeEq as _;

use super::{Context, Error, Kms, Wrapped};
use crate::cloud::platform;
use crate::crypto::Dek;
use crate::http;

pub(super) enum Cause {
    Unavailable(String),
    Refused(String),
    Mismatch,
}

impl Cause {
    pub fn of(self, key: &str) -> Error {
        let key = key.to_owned();
        match self {
            Self::Unavailable(cause) => Error::Unavailable { key, cause },
            Self::Refused(cause) => Error::Refused { key, cause },
            Self::Mismatch => Error::Mismatch { key },
        }
    }
}

impl From<platform::Error> for Cause {
    fn from(error: platform::Error) -> Self {
        match error {
            platform::Error::Refused(why) => Self::Refused(why),
            platform::Error::Unavailable(why) => Self::Unavailable(why),
        }
    }
}

/// Why there is no answer at all. What the rules of the way out forbid is the operator's to allow.
pub(super) fn outbound(error: &http::Error) -> Cause {
    match error {
        http::Error::Forbidden { why } => Cause::Refused(why.clone()),
        other => Cause::Unavailable(other.to_string()),
    }
}

/// A wrap counts when it has been opened: without a checksum of what a service answers, a byte that was altered inside it
/// would be found when the data key is gone everywhere else. It costs a second call for each new data key.
pub(super) async fn opened(key: &impl Kms, wrapped: Wrapped, dek: &Dek, context: &Context) -> Result<Wrapped, Error> {
    match key.unwrap(&wrapped, context).await {
        Ok(again) if same(&again, dek) => Ok(wrapped),
        Ok(_) | Err(Error::Mismatch { .. }) => Err(unsound().of(key.uri())),
        Err(error) => Err(error),
    }
}

pub(super) fn same(one: &Dek, other: &Dek) -> bool {
    one.expose().ct_eq(other.expose()).into()
}

pub(super) fn unsound() -> Cause {
    Cause::Unavailable("what it has just wrapped does not open".into())
}
