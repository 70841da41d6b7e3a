//! Live connection tests.

mod answer;
mod live;
mod pace;
mod pattern;
pub(super) mod plan;
mod read;
mod request;
mod template;
mod values;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
pub use live::Live;
pub use pace::{Limits, Pace, Patience, RetryAfter, Turn};
use serde::Deserialize;

use super::Provider;
use crate::crypto::Secret;

pub type Metadata = serde_json::Map<String, serde_json::Value>;

/// What a test found. The closed set of results; `reason` is a sub-code and `hint` says what to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub verdict: Verdict,
    pub reason: Cow<'static, str>,
    pub hint: String,
    pub retry_after: Option<Duration>,
    pub learned: Learned,
}

/// What a provider told about a credential that it knows. Nothing of it is secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// Account, project, login: what people recognise it by.
    pub identity: BTreeMap<String, String>,
    pub expires_at: Option<Timestamp>,
    /// What its owner should know, in a sentence each.
    pub warnings: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Ok,
    /// There is no test for this provider, or the caller asked for none.
    Untested,
    InvalidCredential,
    InsufficientPermission,
    NotFound,
    RateLimited,
    ProviderUnreachable,
    Misconfigured,
}

/// Asks a provider whether it accepts a credential, with the least privileged call there is.
#[async_trait]
pub trait Probe: Send + Sync {
    /// Only for what [`Provider::is_tested`]. Never takes longer than its own limits allow, and never says that what did
    /// not answer has refused.
    async fn probe(&self, provider: &Provider, secret: &Secret, metadata: &Metadata) -> Outcome;
}

impl Outcome {
    pub fn new(verdict: Verdict, reason: impl Into<Cow<'static, str>>, hint: impl Into<String>) -> Self {
        Self { verdict, reason: reason.into(), hint: hint.into(), retry_after: None, learned: Learned::default() }
    }

    /// The provider has no test.
    pub fn untested() -> Self {
        let hint = "there is no connection test for this provider: activate the version with `strongroom activate`, \
                    or set it up with --no-probe";
        Self::new(Verdict::Untested, "no_test", hint)
    }

    /// It took longer than the configuration allows.
    pub fn timed_out() -> Self {
        let hint = "the provider did not answer in time: try again with `strongroom validate`";
        Self::new(Verdict::ProviderUnreachable, "timeout", hint)
    }

    /// The caller asked for no test.
    pub fn skipped() -> Self {
        let hint = "the connection test was left out as asked: `strongroom validate` runs it";
        Self::new(Verdict::Untested, "skipped", hint)
    }
}

impl Verdict {
    /// As it is stored, recorded and sent.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Untested => "untested",
            Self::InvalidCredential => "invalid_credential",
            Self::InsufficientPermission => "insufficient_permission",
            Self::NotFound => "not_found",
            Self::RateLimited => "rate_limited",
            Self::ProviderUnreachable => "provider_unreachable",
            Self::Misconfigured => "misconfigured",
        }
    }

    /// The closed set of its reasons.
    pub const fn reasons(self) -> &'static [&'static str] {
        match self {
            // Known to the provider, and allowed less than the test asks for.
            Self::Ok => &["limited"],
            Self::Untested => &["no_test", "skipped", "disabled"],
            Self::InvalidCredential => &["rejected", "expired", "revoked", "disabled", "wrong_type"],
            Self::InsufficientPermission => {
                &["missing_scope", "trust_or_missing_role", "sso_required", "ip_restricted", "network_rule"]
            }
            Self::NotFound => &["account", "project", "subscription", "bucket", "resource"],
            Self::RateLimited => &["throttled", "quota_exhausted"],
            Self::ProviderUnreachable => &["dns", "connect", "tls", "timeout", "5xx", "overloaded", "broken"],
            Self::Misconfigured => &["format", "clock_skew", "api_disabled", "region", "endpoint", "redirect"],
        }
    }
}
