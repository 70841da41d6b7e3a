//! What is stored is tested again: what is served every so often, what waits for its first good test sooner. The store
//! knows when each is due; this looks for those, and lets few be asked at the same time.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use uuid::Uuid;

use crate::crypto;
use crate::providers::Class;
use crate::store::{self, Change, Credential, ToTest, Version, VersionState};
use crate::vault::guard::{Guard, Withheld};
use crate::vault::probing::Job;
use crate::vault::request::Metadata;
use crate::vault::trail::Trail;
use crate::vault::{Action, Caller, Error, Outcome, Vault, Verdict};

/// How connection tests are made.
#[derive(Clone, Copy, Debug)]
pub struct Testing {
    pub enabled: bool,
    /// How long one may take.
    pub timeout: Duration,
    /// How long after a test the next one is made, a tenth more or less.
    pub every: Duration,
    /// How many of those that nobody asked for may run at the same time.
    pub at_once: usize,
}

/// How often it looks for what is due.
const LOOK: Duration = Duration::from_secs(1);
/// How soon it looks again when an org has need of it.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How many of each provider it looks at, beside those that run.
const BATCH: u32 = 512;
/// After the first test that went wrong; then twice as long each time.
const FIRST_RETRY: Duration = Duration::from_secs(60);
/// The longest that a provider may put off the next test.
const LONGEST_WISH: Duration = Duration::from_secs(24 * 60 * 60);
/// A test that was begun with a setup is over by then, or its daemon has crashed.
const GRACE: Duration = Duration::from_secs(60);

impl Vault {
    /// Runs until shutdown.
    pub(super) async fn keep_testing(self: Arc<Self>, mut shutdown: watch::Receiver<bool>) {
        if !self.testing.enabled {
            return;
        }
        let slots = Arc::new(Semaphore::new(self.testing.at_once.max(1)));
        let mut look = tokio::time::interval(LOOK.min(self.testing.every / 4).max(Duration::from_millis(20)));
        let mut looked = Instant::now();
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut running = Running::new(self.testing.at_once);
        loop {
            tokio::select! {
                _ = look.tick() => {
                    looked = Instant::now();
                    if self.leads().await {
                        self.begin_due(&mut running, &slots).await;
                    }
                }
                // Whoever may be asked often would have nothing to be asked until the next look.
                Some(done) = running.tests.join_next() => if running.ended(done.ok()) {
                    look.reset_at(looked + LOOK_AGAIN.min(look.period()));
                },
                // An error means that whoever could say so is gone: down as well.
                () = async { drop(shutdown.wait_for(|down| *down).await) } => break,
            }
        }
        running.tests.shutdown().await;
        self.flights.stop_own();
    }

    async fn begin_due(self: &Arc<Self>, running: &mut Running, slots: &Arc<Semaphore>) {
        // Whether what its owner enters by hand is tested is said in each credential's metadata.
        let tested = |it: &crate::providers::Provider| it.is_tested(&Metadata::new()) || it.class == Class::Manual;
        let providers: Vec<_> = self.registry.load().all().filter(|it| tested(it)).map(|it| it.id.clone()).collect();
        // One org that waits for its turn must not keep the others of the same provider waiting: whose share is full is
        // passed over, and whoever fills theirs meanwhile may have hidden others.
        loop {
            let limit = BATCH.saturating_add(u32::try_from(running.credentials.len()).unwrap_or(u32::MAX));
            let due = match self.store.to_test(&providers, &running.full(), Timestamp::now(), limit).await {
                Ok(due) => due,
                Err(error) => {
                    return tracing::warn!(cause = %error, "what is due to be tested could not be read; trying again");
                }
            };
            let mut passed_over = false;
            for one in due {
                match running.takes(&one) {
                    Takes::Yes => {
                        let (vault, slots) = (Arc::clone(self), Arc::clone(slots));
                        running.tests.spawn(async move { (vault.test_due(one.credential, &slots).await, one) });
                    }
                    Takes::Runs => (),
                    Takes::Full => passed_over = true,
                }
            }
            if !passed_over {
                return;
            }
        }
    }

    /// Tests those versions of a credential that are due. Whether something came of it, so that it is no longer due.
    async fn test_due(self: &Arc<Self>, id: Uuid, slots: &Arc<Semaphore>) -> bool {
        let found = async {
            let Some(credential) = self.store.credential_by_id(id).await? else { return Ok(None) };
            let versions = self.store.versions(id).await?;
            Ok::<_, store::Error>(Some((credential, versions)))
        };
        let (credential, versions) = match found.await {
            Ok(Some((credential, versions))) => (credential, versions),
            Ok(None) => return false,
            Err(error) => {
                tracing::warn!(cause = %error, "what is due to be tested could not be read; trying again");
                return false;
            }
        };
        let now = Timestamp::now();
        let is_due = |version: &&Version| {
            let counts = version.state == VersionState::Active
                || (version.state == VersionState::Pending && version.version == credential.latest_version);
            counts && version.probe_at.is_some_and(|at| at <= now)
        };
        if credential.deleted_at.is_some() || credential.disabled {
            return false;
        }
        // One at a time: each test makes a new revision, and what was read before is then out of date.
        match versions.iter().find(is_due) {
            Some(version) => self.revalidate(&credential, version, slots).await,
            None => false,
        }
    }

    async fn revalidate(self: &Arc<Self>, credential: &Credential, version: &Version, slots: &Arc<Semaphore>) -> bool {
        let Ok(provider) = self.provider(&credential.path.provider) else { return false };
        if self.untested(&provider, &credential.metadata).is_some() {
            return self.postpone(credential, version, "untested", 0, self.testing.every).await;
        }
        let caller = Caller::system();
        let job = Job {
            trail: trail(&caller, credential, version),
            caller,
            permit: Guard::own_test(credential),
            credential: credential.clone(),
            version: version.clone(),
            provider,
            slots: Some(Arc::clone(slots)),
        };
        match self.test_stored(job).await {
            Ok(_) => true,
            // Changed while it was looked at or asked about: it is looked at again.
            Err(Withheld::Stale | Withheld::Failed(Error::Conflict { .. })) => false,
            Err(Withheld::Failed(error)) => {
                tracing::warn!(credential = %credential.id, cause = error.cause(), "a scheduled test failed");
                let failures = version.failures.saturating_add(1);
                let wait = back_off(failures, self.testing.every);
                self.postpone(credential, version, error.reason(), failures, wait).await
            }
        }
    }

    async fn postpone(
        &self,
        credential: &Credential,
        version: &Version,
        why: &str,
        failures: u32,
        wait: Duration,
    ) -> bool {
        let trail = trail(&Caller::system(), credential, version);
        let change = Change::Postpone {
            credential: credential.id,
            version: version.version,
            probe_at: later(Timestamp::now(), jittered(wait)),
            failures,
        };
        let put_off = self.guard.commit_as(&Guard::own_work(), change, &trail, why).await;
        if let Err(error) = &put_off {
            tracing::warn!(credential = %credential.id, cause = %error, "a test could not be put off");
        }
        put_off.is_ok()
    }
}

/// When a new version is tested, should nothing else settle it before.
pub fn first(is_tested_now: bool, testing: &Testing, at: Timestamp) -> Timestamp {
    later(at, if is_tested_now { testing.timeout + GRACE } else { jittered(testing.every) })
}

/// How many tests in a row have not found it well, with this one.
pub fn failures(outcome: &Outcome, before: u32) -> u32 {
    match outcome.verdict {
        Verdict::Ok | Verdict::InsufficientPermission | Verdict::Untested => 0,
        _ => before.saturating_add(1),
    }
}

/// When it is tested next. What a provider asks for is the least, within reason: it must not be able to end the tests.
pub fn next(outcome: &Outcome, failures: u32, every: Duration, at: Timestamp) -> Option<Timestamp> {
    let wait = if failures == 0 { every } else { back_off(failures, every) };
    let asked_for = outcome.retry_after.unwrap_or_default().min(LONGEST_WISH);
    Some(later(at, jittered(wait).max(asked_for)))
}

fn back_off(failures: u32, every: Duration) -> Duration {
    let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST_RETRY.saturating_mul(doubled).min(every)
}

/// A tenth more or less.
fn jittered(wait: Duration) -> Duration {
    let random: [u8; 2] = crypto::random().unwrap_or([0, 128]);
    wait.mul_f64(0.9 + 0.2 * f64::from(u16::from_le_bytes(random)) / f64::from(u16::MAX))
}

fn later(at: Timestamp, wait: Duration) -> Timestamp {
    at.saturating_add(wait).unwrap_or(Timestamp::MAX)
}

fn trail(caller: &Caller, credential: &Credential, version: &Version) -> Trail {
    let mut trail = Trail::begin(caller, Action::Revalidate).about(&credential.path);
    trail.found(credential);
    trail.version(version.version, &version.fingerprint);
    trail
}

/// What runs, and for whom.
struct Running {
    /// Whether something came of each.
    tests: JoinSet<(bool, ToTest)>,
    credentials: HashSet<Uuid>,
    /// How many of each provider and org.
    orgs: HashMap<(String, String), usize>,
    /// How many that may be.
    share: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    Yes,
    /// It runs already.
    Runs,
    /// The org's share is full.
    Full,
}

impl Running {
    fn new(at_once: usize) -> Self {
        Self { tests: JoinSet::new(), credentials: HashSet::new(), orgs: HashMap::new(), share: at_once.max(1) }
    }

    fn takes(&mut self, one: &ToTest) -> Takes {
        let of_org = self.orgs.entry((one.provider.clone(), one.org.clone())).or_default();
        if *of_org >= self.share {
            return Takes::Full;
        }
        if !self.credentials.insert(one.credential) {
            return Takes::Runs;
        }
        *of_org += 1;
        Takes::Yes
    }

    /// Provider and org of each whose share is full.
    fn full(&self) -> Vec<(String, String)> {
        let full = self.orgs.iter().filter(|(_, of_org)| **of_org >= self.share);
        full.map(|(key, _)| key.clone()).collect()
    }

    /// Whether this one leaves its org with half of its share. A test that panicked says not whose it was: all is counted
    /// anew when the last has ended.
    fn ended(&mut self, ended: Option<(bool, ToTest)>) -> bool {
        let mut has_need = false;
        if let Some((came_to_something, one)) = ended {
            self.credentials.remove(&one.credential);
            let key = (one.provider, one.org);
            if let Some(of_org) = self.orgs.get_mut(&key) {
                *of_org = of_org.saturating_sub(1);
                has_need = came_to_something && *of_org == self.share / 2;
                if *of_org == 0 {
                    self.orgs.remove(&key);
                }
            }
        }
        if self.tests.is_empty() {
            self.credentials.clear();
            self.orgs.clear();
        }
        has_need
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[test]
    fn back_off_doubles_up_to_the_schedule() {
        let waits: Vec<_> = (1..=14).map(|failures| back_off(failures, DAY).as_secs() / 60).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1440, 1440, 1440]);
        assert_eq!(back_off(u32::MAX, DAY), DAY);
        assert_eq!(back_off(1, Duration::from_secs(5)), Duration::from_secs(5));
    }

    #[test]
    fn jitter_is_a_tenth_and_spreads() {
        let waits: HashSet<_> = (0..200).map(|_| jittered(DAY)).collect();
        assert!(waits.iter().all(|wait| *wait >= DAY.mul_f64(0.9) && *wait <= DAY.mul_f64(1.1)));
        assert!(waits.len() > 100, "{}", waits.len());
    }

    #[test]
    fn what_a_provider_asks_for_is_the_least() {
        let now = Timestamp::now();
        let mut outcome = Outcome::new(Verdict::RateLimited, "throttled", "");
        let wait = |outcome: &Outcome| next(outcome, failures(outcome, 0), DAY, now).unwrap().duration_since(now);
        assert!(wait(&outcome) < jiff::SignedDuration::from_mins(2));
        outcome.retry_after = Some(Duration::from_secs(2 * 3600));
        assert_eq!(wait(&outcome), jiff::SignedDuration::from_hours(2));
        outcome.retry_after = Some(Duration::MAX);
        assert_eq!(wait(&outcome), jiff::SignedDuration::from_hours(24));
        let well = Outcome::new(Verdict::InsufficientPermission, "missing_scope", "");
        assert_eq!(failures(&well, 7), 0);
        assert!(wait(&well) > jiff::SignedDuration::from_hours(21));
    }

    #[tokio::test]
    async fn a_test_that_is_begun_is_not_begun_twice() {
        let mut running = Running::new(2);
        running.tests.spawn(std::future::pending());
        let one = |org: &str| ToTest { credential: Uuid::now_v7(), provider: "openai".into(), org: org.into() };
        let (first, second) = (one("acme"), one("acme"));
        assert_eq!(running.takes(&first), Takes::Yes);
        assert_eq!(running.takes(&first), Takes::Runs);
        assert_eq!(running.full(), []);
        assert_eq!(running.takes(&second), Takes::Yes);
        // An org's share is full; another's is not.
        assert_eq!(running.takes(&one("acme")), Takes::Full);
        assert_eq!(running.full(), [("openai".to_owned(), "acme".to_owned())]);
        let others = [one("other"), one("other")];
        assert!(others.iter().all(|other| running.takes(other) == Takes::Yes));
        // It is looked for more when half of a share is free, and not when nothing came of what ended.
        let [other, _] = others;
        assert!(!running.ended(Some((false, other))));
        assert!(running.ended(Some((true, first))));
        assert!(!running.ended(Some((true, second))));
    }
}
