//! Live connection tests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::crypto::Secret;

/// What a test found. The closed set of results; `reason` is a sub-code and `hint` says what to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub result: Result,
    pub reason: &'static str,
    pub hint: String,
    pub retry_after: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Result {
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
