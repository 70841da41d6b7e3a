//! Live connection tests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::crypto::Secret;

/// What a test found. The closed set of results; `reason` is a sub-code and `hint` says what to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub verdict: Verdict,
    pub reason: &'static str,
    pub hint: String,
    pub retry_after: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    async fn probe(&self, secret: &Secret, metadata: &serde_json::Map<String, serde_json::Value>) -> Outcome;
}

/// The tests there are, by provider id.
#[derive(Clone, Default)]
pub struct Probes(BTreeMap<String, Arc<dyn Probe>>);

impl Probes {
    pub fn insert(&mut self, provider: impl Into<String>, probe: Arc<dyn Probe>) {
        self.0.insert(provider.into(), probe);
    }

    pub fn get(&self, provider: &str) -> Option<&Arc<dyn Probe>> {
        self.0.get(provider)
    }
}

impl Outcome {
    /// The provider has no test.
    pub fn untested() -> Self {
        let hint = "there is no connection test for this provider: activate the version with `strongroom activate`, \
                    or set it up with --no-probe";
        Self { verdict: Verdict::Untested, reason: "no_test", hint: hint.into(), retry_after: None }
    }

    /// It took longer than the configuration allows.
    pub fn timed_out() -> Self {
        let hint = "the provider did not answer in time: try again with `strongroom validate`";
        Self { verdict: Verdict::ProviderUnreachable, reason: "timeout", hint: hint.into(), retry_after: None }
    }

    /// The caller asked for no test.
    pub fn skipped() -> Self {
        let hint = "the connection test was left out as asked: `strongroom validate` runs it";
        Self { verdict: Verdict::Untested, reason: "skipped", hint: hint.into(), retry_after: None }
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
}
