//! What can go wrong, named by who must act. Knows no transport; `api::status` maps it.

use std::time::Duration;

use crate::{kms, providers, store};

/// An error has two voices: the fields here are for the client; `cause` and `what` are for the operator's log.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The caller sent something wrong. Names the field and the rule, never the value.
    #[error("{field}: {why}")]
    Invalid { field: String, why: String },
    #[error("no valid token: set STRONGROOM_TOKEN, or ask an administrator for one")]
    Unauthenticated,
    #[error("this caller may not do that, or there is no such thing")]
    Denied,
    /// It would be allowed with a fresh second factor. `why` tells what was wrong with one that came along.
    #[error("this needs a fresh second factor{}", .why.as_ref().map(|why| format!(": {why}")).unwrap_or_default())]
    NeedsStepUp { why: Option<String> },
    /// It would be allowed once a second person has approved it: this very request, under this id.
    #[error("this needs a second person's approval{}", if .id.is_empty() { ", in a request of its own".to_owned() } else { format!(": {id}") })]
    NeedsApproval { id: String },
    /// More than this caller, this org or this stranger may ask for at a time.
    #[error("too much at a time; try again in {} s", whole_seconds(*.retry_after))]
    Limited { retry_after: Duration },
    /// There is no such thing, said only to those who may list.
    #[error("{what}")]
    NotFound { what: String },
    /// Decided on old knowledge, or in the way of something that is there.
    #[error("{why}")]
    Conflict { why: String, id: String, version: u32 },
    /// The provider does not accept the credential.
    #[error("{provider} refused the credential: {outcome}")]
    Refused { provider: String, outcome: String, reason: String, hint: String },
    /// Nobody did anything wrong; try again.
    #[error("{} is unavailable; try again in {} s", .what.noun(), whole_seconds(*.retry_after))]
    Unavailable { what: Dependency, retry_after: Duration, cause: String },
    /// Stored data cannot be what was stored. An operator must look, now.
    #[error("stored data is damaged; tell the operator this request's id")]
    Corrupt { what: String },
    #[error("a fault of strongroom's own; tell the operator this request's id")]
    Bug { cause: String },
}

/// What the vault cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependency {
    Audit,
    Kms,
    Store,
    /// Whoever signs a caller's tokens.
    Issuer,
}

impl Dependency {
    const fn noun(self) -> &'static str {
        match self {
            Self::Audit => "the audit log",
            Self::Kms => "the key service",
            Self::Store => "the store",
            Self::Issuer => "the issuer of this token",
        }
    }
}

impl Error {
    /// The machine-readable reason: what clients may match on, and what the audit log holds as the outcome.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "INVALID",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::Denied => "DENIED",
            Self::NeedsStepUp { .. } => "STEP_UP_REQUIRED",
            Self::NeedsApproval { .. } => "APPROVAL_REQUIRED",
            Self::Limited { .. } => "LIMITED",
            Self::NotFound { .. } => "NOT_FOUND",
            Self::Conflict { .. } => "CONFLICT",
            Self::Refused { .. } => "REFUSED",
            Self::Unavailable { what: Dependency::Audit, .. } => "AUDIT_UNAVAILABLE",
            Self::Unavailable { what: Dependency::Kms, .. } => "KMS_UNAVAILABLE",
            Self::Unavailable { what: Dependency::Store, .. } => "STORE_UNAVAILABLE",
            Self::Unavailable { what: Dependency::Issuer, .. } => "ISSUER_UNAVAILABLE",
            Self::Corrupt { .. } => "CORRUPT",
            Self::Bug { .. } => "BUG",
        }
    }

    /// All that [`Error::reason`] can say.
    pub const REASONS: [&str; 15] = [
        "INVALID",
        "UNAUTHENTICATED",
        "DENIED",
        "STEP_UP_REQUIRED",
        "APPROVAL_REQUIRED",
        "LIMITED",
        "NOT_FOUND",
        "CONFLICT",
        "REFUSED",
        "AUDIT_UNAVAILABLE",
        "KMS_UNAVAILABLE",
        "STORE_UNAVAILABLE",
        "ISSUER_UNAVAILABLE",
        "CORRUPT",
        "BUG",
    ];

    pub fn is_reason(word: &str) -> bool {
        Self::REASONS.contains(&word)
    }

    /// What only the operator reads.
    pub fn cause(&self) -> Option<&str> {
        match self {
            Self::Unavailable { cause, .. } | Self::Bug { cause } => Some(cause),
            Self::Corrupt { what } => Some(what),
            _ => None,
        }
    }

    pub fn invalid(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), why: why.into() }
    }

    pub fn conflict(why: impl Into<String>) -> Self {
        Self::Conflict { why: why.into(), id: String::new(), version: 0 }
    }

    pub fn bug(cause: impl std::fmt::Display) -> Self {
        Self::Bug { cause: cause.to_string() }
    }
}

/// Rounded up: whoever comes back when they were told to is not told to wait again.
fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

const SOON: Duration = Duration::from_secs(1);

impl From<providers::Invalid> for Error {
    fn from(providers::Invalid { field, why }: providers::Invalid) -> Self {
        Self::Invalid { field, why }
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Unavailable(cause) => Self::Unavailable { what: Dependency::Store, retry_after: SOON, cause },
            error @ store::Error::OtherRules => {
                Self::Unavailable { what: Dependency::Store, retry_after: SOON, cause: error.to_string() }
            }
            store::Error::Stale { current } => {
                let (id, version) =
                    current.map_or_else(Default::default, |now| (now.id.to_string(), now.latest_version));
                Self::Conflict { why: "the credential has changed meanwhile; read it again".into(), id, version }
            }
            store::Error::Taken => {
                Self::Conflict { why: "another credential has this name".into(), id: String::new(), version: 0 }
            }
            store::Error::Full => Self::conflict(
                "as many of your requests as may wait for approval wait already; have some of them decided",
            ),
            store::Error::Revoked | store::Error::Spent => Self::Unauthenticated,
            store::Error::Doomed { org, until: Some(until) } => Self::conflict(format!(
                "org {org} is to be destroyed at {until:.0}: nothing of it is stored any more; until then \
                 `strongroom org restore {org}` takes that back"
            )),
            store::Error::Doomed { org, until: None } => {
                Self::conflict(format!("org {org} is being destroyed: nothing of it is stored until that is done"))
            }
            store::Error::Corrupt(what) => Self::Corrupt { what },
            error @ (store::Error::Newer { .. } | store::Error::Moving(_)) => Self::bug(error),
        }
    }
}

impl From<kms::Error> for Error {
    fn from(error: kms::Error) -> Self {
        match error {
            kms::Error::Mismatch { .. } => Self::Corrupt { what: error.to_string() },
            _ => Self::Unavailable { what: Dependency::Kms, retry_after: SOON, cause: error.to_string() },
        }
    }
}
