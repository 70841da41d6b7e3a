//! Key services that do as they are told: each speaks its own protocol, as its documents say, and can be made to fail.

pub mod gcp;

use std::sync::Arc;
use std::time::Duration;

use strongroom::kms::Kms;

/// What every fake can do, so that one suite is run over all adapters.
pub trait Service: Send + Sync {
    /// An adapter for the service's key, as after a start of the daemon.
    fn key(&self) -> Arc<dyn Kms>;

    /// An adapter for another key of the same service.
    fn other_key(&self) -> Arc<dyn Kms>;

    /// A new version, which wraps from now on.
    fn rotate(&self);

    /// What becomes of a version, by the name that a wrap gives it.
    fn set(&self, version: &str, state: State);

    /// What goes wrong from now on.
    fn trouble(&self, trouble: Trouble);

    /// How often it was asked.
    fn calls(&self) -> usize;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Enabled,
    Disabled,
    Destroyed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    Nothing,
    Throttled,
    /// An error on its side.
    Broken,
    /// The connection is closed without an answer.
    Gone,
    /// The answer takes this long.
    Slow(Duration),
    /// Nothing is ever answered.
    Silent,
    /// The answer's body ends in the middle.
    Truncated,
    /// The answer is a web page with status 200.
    Foreign,
    /// The caller's credentials have expired.
    Expired,
    /// The caller may not use the key.
    Forbidden,
    /// There is no such key.
    Missing,
    /// The key is for something else, such as signatures.
    WrongPurpose,
}
