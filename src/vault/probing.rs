//! A connection test, from the secret's release to what is written down about it.
//!
//! ```text
//!   turn (pace of the provider) → open → release: record and confirmation → ask → settle: what was found, and its record
//! ```
//!
//! Concurrent tests of one version are one test; each caller has a record of their own.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use tokio::sync::Semaphore;

use crate::crypto::Secret;
use crate::providers::probe::{Patience, RetryAfter};
use crate::store::{Change, Credential, ProbeRecord, Settlement, Version, VersionState};
use crate::vault::guard::{Guard, Opened, Permit, Withheld};
use crate::vault::request::Metadata;
use crate::vault::trail::Trail;
use crate::vault::{Action, Caller, Error, Outcome, Provider, Vault, Verdict, schedule};

/// What a test found, and what became of the credential.
pub struct Found {
    pub outcome: Outcome,
    pub at: Timestamp,
    pub credential: Credential,
}

/// A test of what is stored.
pub struct Job {
    pub caller: Caller,
    pub permit: Permit,
    pub credential: Credential,
    pub version: Version,
    pub provider: Arc<Provider>,
    pub trail: Trail,
    /// For tests that nobody waits for: they wait for their turn, and few run at the same time.
    pub slots: Option<Arc<Semaphore>>,
}

impl Vault {
    /// Why a credential with this metadata would not be tested now; nothing, when it would.
    pub(super) fn untested(&self, provider: &Provider, metadata: &Metadata) -> Option<Outcome> {
        if !provider.is_tested(metadata) {
            return Some(Outcome::untested());
        }
        if !self.testing.enabled {
            let hint = "connection tests are turned off in the configuration (probe.enabled): activate the version with \
                        `strongroom activate`, or set it up with --no-probe";
            return Some(Outcome::new(Verdict::Untested, "disabled", hint));
        }
        None
    }

    /// Tests a stored version, or joins the test of it that is under way.
    pub(super) async fn test_stored(self: &Arc<Self>, job: Job) -> Result<Arc<Found>, Withheld> {
        let key = (job.credential.id, job.version.version);
        let vault = Arc::clone(self);
        let is_own = job.slots.is_some();
        let (flight, job) = self.flights.board(key, is_own, job, |job| async move { vault.test_alone(job).await });
        let Some(Job { permit, credential, version, trail, .. }) = job else { return flight.await };
        self.guard.join_test(permit, &credential, &version, &trail).await?;
        flight.await.map_err(not_ours)
    }

    /// Tests what was just stored: the record of that is the record of this.
    pub(super) async fn test_new(
        self: &Arc<Self>,
        caller: Caller,
        credential: Credential,
        version: Version,
        provider: Arc<Provider>,
        secret: Secret,
    ) -> Result<Arc<Found>, Withheld> {
        let vault = Arc::clone(self);
        let key = (credential.id, version.version);
        let (flight, joined) = self.flights.board(key, false, secret, |secret| async move {
            let outcome = match vault.pace.admit(&provider, &credential.path.org, Patience::Now).await {
                Ok(_turn) => vault.ask(&provider, &secret, &credential.metadata).await,
                Err(wait) => throttled(wait),
            };
            drop(secret);
            Ok(vault.settle(&caller, &credential, &version, outcome).await?)
        });
        if joined.is_none() { flight.await } else { flight.await.map_err(not_ours) }
    }

    async fn test_alone(self: Arc<Self>, job: Job) -> Result<Found, Withheld> {
        let Job { caller, permit, credential, version, provider, trail, slots } = job;
        let patience = if slots.is_some() { Patience::Wait } else { Patience::Now };
        // Before anything is opened: nothing lies open while it waits.
        let _turn = match self.pace.admit(&provider, &credential.path.org, patience).await {
            Ok(turn) => turn,
            // Nothing was asked, so nothing was found out: what is known of the version stays.
            Err(wait) => {
                self.guard.join_test(permit, &credential, &version, &trail).await?;
                return Ok(Found { outcome: throttled(wait), at: Timestamp::now(), credential });
            }
        };
        let _slot = match slots {
            Some(slots) => Some(slots.acquire_owned().await.map_err(Error::bug)?),
            None => None,
        };
        let secret = match self.keeper.open(&permit, &credential, version.version).await {
            Ok(secret) => secret,
            Err(error) => return Err(self.changed_or(&credential, error).await),
        };
        let opened = Opened::to_test(permit, &credential, &version, secret)?;
        let secret = self.guard.release(opened, &trail).await?;
        let outcome = self.ask(&provider, &secret, &credential.metadata).await;
        drop(secret);
        Ok(self.settle(&caller, &credential, &version, outcome).await?)
    }

    /// Asks the provider, within its time.
    pub(super) async fn ask(&self, provider: &Provider, secret: &Secret, metadata: &Metadata) -> Outcome {
        let started = Instant::now();
        let asking = self.probe.probe(provider, secret, metadata);
        let outcome = tokio::time::timeout(self.testing.timeout, asking).await;
        let outcome = outcome.unwrap_or_else(|_| Outcome::timed_out());
        let provider = [("provider", provider.id.clone())];
        metrics::histogram!("strongroom_probe_seconds", &provider).record(started.elapsed());
        let [provider] = provider;
        let labels = [provider, ("outcome", outcome.verdict.as_str().to_owned())];
        metrics::counter!("strongroom_probes_total", &labels).increment(1);
        outcome
    }

    /// Writes down what a test found, and serves or refuses the version accordingly.
    async fn settle(
        &self,
        caller: &Caller,
        credential: &Credential,
        version: &Version,
        outcome: Outcome,
    ) -> Result<Found, Error> {
        let mut trail = Trail::begin(caller, Action::Probe).about(&credential.path);
        trail.found(credential);
        trail.version(version.version, &version.fingerprint);
        let at = Timestamp::now();
        let failures = schedule::failures(&outcome, version.failures);
        let change = Change::Settle {
            credential: version.credential,
            version: version.version,
            from: version.state,
            settlement: settlement(&outcome, version.state),
            probe: record(&outcome, at),
            probe_at: schedule::next(&outcome, failures, self.testing.every, at),
            failures,
        };
        let word = outcome.verdict.as_str();
        let result = match self.guard.commit_as(&Guard::own_work(), change, &trail, word).await {
            Ok(receipt) => receipt.credential.ok_or_else(|| Error::bug("a settlement left no credential")),
            Err(error) => Err(error.into()),
        };
        let credential = self.guard.finish_as(trail, result, word).await?;
        self.cache.forget(&credential).await;
        Ok(Found { outcome, at, credential })
    }

    /// The record of a test that nothing is kept of.
    pub(super) async fn told_of_test(&self, trail: Trail, outcome: &Outcome) -> Result<(), Error> {
        let word = outcome.verdict.as_str();
        let result = self.guard.commit_as(&Guard::own_work(), Change::Record, &trail, word).await;
        self.guard.finish_as(trail, result.map(drop).map_err(Error::from), word).await
    }
}

/// Whoever began a test may have lost the right to it. Those who joined have not: they begin anew, and do not learn it.
fn not_ours(withheld: Withheld) -> Withheld {
    match withheld {
        Withheld::Failed(Error::Unauthenticated | Error::Denied) => Withheld::Stale,
        other => other,
    }
}

/// Strongroom's own patience with a provider is at its end.
pub fn throttled(RetryAfter(wait): RetryAfter) -> Outcome {
    let hint = "nothing was asked: this is strongroom's own limit for this provider, so that the provider does not lock \
                your org out; try again later";
    Outcome { retry_after: Some(wait), ..Outcome::new(Verdict::RateLimited, "throttled", hint) }
}

pub fn record(outcome: &Outcome, at: Timestamp) -> ProbeRecord {
    ProbeRecord {
        outcome: outcome.verdict.as_str().to_owned(),
        reason: outcome.reason.clone().into_owned(),
        hint: outcome.hint.clone(),
        at,
        retry_after_seconds: outcome.retry_after.map(|wait| wait.as_secs()),
        identity: outcome.learned.identity.clone(),
        expires_at: outcome.learned.expires_at,
        warnings: outcome.learned.warnings.clone(),
    }
}

/// What a test decides. A key that is known but not allowed something is a live key; a provider that does not answer, or
/// not now, has said nothing. What is served and leads nowhere any more, because its account is gone or what it is asked
/// with is wrong, is failing; what never worked waits for better metadata.
fn settlement(outcome: &Outcome, state: VersionState) -> Settlement {
    match (outcome.verdict, state) {
        // A rolled-back or refused version that works again waits for somebody to activate it.
        (_, VersionState::Superseded | VersionState::Destroyed | VersionState::Invalid) => Settlement::Wait,
        (Verdict::Ok | Verdict::InsufficientPermission, _) => Settlement::Accept,
        (Verdict::InvalidCredential, _) => Settlement::Refuse,
        // The clock is ours: it says nothing about the credential.
        (Verdict::Misconfigured, VersionState::Active) if outcome.reason == "clock_skew" => Settlement::Wait,
        (Verdict::NotFound | Verdict::Misconfigured, VersionState::Active) => Settlement::Refuse,
        _ => Settlement::Wait,
    }
}
