//! Permission and audit, one act. Nothing is opened without a [`Permit`], nothing is answered before its record.
//!
//! ```text
//!   permit(caller, action, resource)  → Permit                policy says yes; only this file makes one
//!   commit(&Permit, change, trail)    → Receipt               the change and its record, one transaction
//!   Opened::to_serve(Permit, …)       → Opened                a plaintext that nobody can read yet, and what for
//!   Opened::to_test(Permit, …)        → Opened
//!   release(Opened, trail)            → Secret                after record and confirmation are durable
//!   finish(trail, result)             → result                what failed is recorded too, or nothing is said but why not
//! ```

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::crypto::Secret;
use crate::crypto::age::Identity;
use crate::store::{self, Change, Credential, Receipt, Store, Target, Version, VersionState, Word as _};
use crate::vault::beat;
use crate::vault::error::Dependency;
use crate::vault::policy::{Decision, Explanation, Policies, Resource, Verdict};
use crate::vault::stepup::Approvals;
use crate::vault::tally::Tally;
use crate::vault::trail::{OK, Trail};
use crate::vault::{Action, Caller, Error, Proof, Standing};

pub struct Guard {
    store: Arc<dyn Store>,
    in_force: ArcSwap<InForce>,
    /// Held while other rules are put in force. Holds those that were tried last and may be in force, or not.
    pub replacing: Mutex<Option<String>>,
    approvals: Approvals,
    /// Of what went well. Made once: finding a meter by its labels costs more than using it.
    recorded: HashMap<Action, metrics::Counter>,
    tally: Tally,
    /// Grows with every change that may end a caller's right: a stream asks again whether it still has it.
    epoch: AtomicU64,
}

/// Who decides, and what all the rules of this process are known by: not known before it serves.
struct InForce {
    policies: Arc<Policies>,
    rules: Option<Arc<str>>,
}

/// Evidence that policy allowed one action on one thing. Opening consumes it.
pub struct Permit {
    token: Option<Uuid>,
    /// The grant that an answer uses up a little.
    grant: Option<Uuid>,
    action: Action,
    credential: Option<Uuid>,
    /// What allowed it: an answer waits for nothing older.
    in_force: Option<Arc<InForce>>,
    /// The proof that it was given to.
    standing: Standing,
}

/// A plaintext under lock: it comes out only through [`Guard::release`].
pub struct Opened {
    permit: Permit,
    target: Target,
    version: u32,
    purpose: Purpose,
    secret: Secret,
}

/// What a plaintext is for: what must still hold when it is released.
#[derive(Clone, Copy)]
enum Purpose {
    /// An answer: the version is the one that is served.
    Serve,
    /// A connection test: the version is still in this state.
    Test { from: VersionState },
}

impl Opened {
    /// Takes a permit to decrypt this very credential.
    pub fn to_serve(permit: Permit, credential: &Credential, version: u32, secret: Secret) -> Result<Self, Error> {
        permit.fits(&[Action::Decrypt], credential)?;
        Ok(Self { permit, target: target(credential), version, purpose: Purpose::Serve, secret })
    }

    /// Takes a permit to test this very credential.
    pub fn to_test(permit: Permit, credential: &Credential, version: &Version, secret: Secret) -> Result<Self, Error> {
        permit.fits(TESTS, credential)?;
        let purpose = Purpose::Test { from: version.state };
        Ok(Self { permit, target: target(credential), version: version.version, purpose, secret })
    }
}

const TESTS: &[Action] = &[Action::Validate, Action::Revalidate];

impl Permit {
    fn fits(&self, actions: &[Action], credential: &Credential) -> Result<(), Error> {
        if actions.contains(&self.action) && self.credential == Some(credential.id) {
            return Ok(());
        }
        Err(Error::bug("a plaintext was opened under another permit"))
    }
}

/// Why a plaintext was not released.
#[derive(Clone)]
pub enum Withheld {
    /// What was opened is not what is to be served any more, or not under these rules: look again.
    Stale,
    Failed(Error),
}

impl From<Error> for Withheld {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Guard {
    pub fn new(store: Arc<dyn Store>, policies: Policies, approvals: Approvals) -> Self {
        let recorded = Action::ALL.iter().map(|action| (*action, recorded(*action, OK))).collect();
        Self {
            store,
            in_force: ArcSwap::from_pointee(InForce { policies: Arc::new(policies), rules: None }),
            replacing: Mutex::default(),
            approvals,
            recorded,
            tally: Tally::new(),
            epoch: AtomicU64::new(0),
        }
    }

    /// What the set is known by that decides now.
    pub fn digest(&self) -> String {
        self.in_force.load().policies.digest.clone()
    }

    /// What all the rules are known by, once somebody said so.
    pub fn rules(&self) -> Option<Arc<str>> {
        self.in_force.load().rules.clone()
    }

    /// Whether this process has other rules than these by now. If it is taking some, when it has them.
    pub async fn takes_others(&self, rules: Option<&Arc<str>>) -> bool {
        drop(self.replacing.lock().await);
        self.rules().as_ref() != rules
    }

    /// The new set decides from the next request on; none where it stays. After all else that the rules are has been
    /// replaced: what is decided in between was decided by the old ones.
    pub fn replace(&self, policies: Option<Policies>, rules: &str) {
        let policies = policies.map_or_else(|| Arc::clone(&self.in_force.load().policies), Arc::new);
        self.in_force.store(Arc::new(InForce { policies, rules: Some(rules.into()) }));
    }

    pub const fn approvals(&self) -> &Approvals {
        &self.approvals
    }

    /// Whether some rule reads if a second person has agreed.
    pub fn weighs_approvals(&self) -> bool {
        self.in_force.load().policies.weighs_approvals
    }

    /// Asks the policies. A refusal is recorded by [`Guard::finish`], as every failure is.
    pub fn permit(&self, caller: &Caller, resource: Resource<'_>, trail: &mut Trail) -> Result<Permit, Error> {
        self.permit_also(caller, trail.action, resource, trail)
    }

    /// For an operation that needs a second permission besides its own.
    pub fn permit_also(
        &self,
        caller: &Caller,
        action: Action,
        resource: Resource<'_>,
        trail: &mut Trail,
    ) -> Result<Permit, Error> {
        // Its one use does not come here, and no policy gives it another.
        if caller.principal.proof == Proof::Bootstrap {
            return Err(Error::Denied);
        }
        if !caller.standing.holds() {
            return Err(Error::Unauthenticated);
        }
        let in_force = self.in_force.load_full();
        let decision = decide(&in_force.policies, caller, action, resource, trail.at());
        trail.policies(&decision.policies);
        trail.allowed_by(in_force.rules.clone());
        // They were replaced since another permission was given.
        if trail.rules() != in_force.rules.as_ref() {
            return Err(store::Error::OtherRules.into());
        }
        refuse(decision.verdict)?;
        let credential = match resource {
            Resource::Credential(it) => Some(it.id),
            Resource::Org(_) | Resource::Absent(_) => None,
        };
        let grant = caller.circumstances.grant.as_ref().filter(|_| action == Action::Decrypt).map(|grant| grant.id);
        let (token, standing) = (caller.principal.token, caller.standing.clone());
        Ok(Permit { token, grant, action, credential, in_force: Some(in_force), standing })
    }

    /// Whether a row may be shown in a list or a watch. Shows nothing by itself, so it records nothing by itself.
    pub fn may_see(&self, caller: &Caller, credential: &Credential) -> bool {
        let now = jiff::Timestamp::now();
        decide(&self.in_force.load().policies, caller, Action::Get, Resource::Credential(credential), now).is_allowed()
    }

    /// The answer for a name that nobody bears. Only who may list learns that it is absent; for everybody else it is
    /// what a forbidden one is: what would need a second factor there needs one here.
    pub fn absent(&self, caller: &Caller, path: &store::Path, trail: &mut Trail) -> Error {
        let now = trail.at();
        let policies = &self.in_force.load().policies;
        let may_list = decide(policies, caller, Action::List, Resource::Org(&path.org), now).is_allowed()
            && decide(policies, caller, Action::Get, Resource::Absent(path), now).is_allowed();
        if may_list {
            return Error::NotFound { what: "there is no such credential".to_owned() };
        }
        let decision = decide(policies, caller, trail.action, Resource::Absent(path), now);
        refuse(decision.verdict).err().unwrap_or(Error::Denied)
    }

    /// What the rules in force say, and why. Permits nothing.
    pub fn explain(&self, caller: &Caller, action: Action, resource: Resource<'_>, now: Timestamp) -> Explanation {
        self.in_force.load().policies.explain(caller, action, resource, now)
    }

    /// For what the daemon does on its own: destroying what is due, writing down what a permitted test found.
    /// Opens nothing.
    pub const fn own_work() -> Permit {
        Self::own(Action::Destroy, None)
    }

    /// For the tests that the daemon makes on its own. Opens this credential for its provider, never for an answer.
    pub const fn own_test(credential: &Credential) -> Permit {
        Self::own(Action::Revalidate, Some(credential.id))
    }

    /// For whoever has a recovery identity: it opens everything without this program.
    pub const fn own_recovery(_identity: &Identity) -> Permit {
        Self::own(Action::Recover, None)
    }

    /// For whoever makes a database of an export, by keys of their own.
    pub const fn own_import() -> Permit {
        Self::own(Action::ImportVault, None)
    }

    const fn own(action: Action, credential: Option<Uuid>) -> Permit {
        Permit { token: None, grant: None, action, credential, in_force: None, standing: Standing::own() }
    }

    /// Makes a change together with its record.
    pub async fn commit(&self, permit: &Permit, change: Change, trail: &Trail) -> Result<Receipt, store::Error> {
        self.commit_as(permit, change, trail, OK).await
    }

    /// Makes a change together with a record that ends otherwise than well.
    pub async fn commit_as(
        &self,
        permit: &Permit,
        change: Change,
        trail: &Trail,
        outcome: &str,
    ) -> Result<Receipt, store::Error> {
        if !permit.standing.holds() {
            return Err(store::Error::Revoked);
        }
        let ends_rights = change.may_end_rights();
        let change = match permit.token {
            Some(token) => Change::By { token, change: Box::new(change) },
            None => change,
        };
        let record = if outcome == OK { trail.record() } else { trail.record_of(outcome) };
        let receipt = self.store.commit(change, record).await;
        // Whether it was made is unknown when it failed.
        if ends_rights {
            self.epoch.fetch_add(1, Ordering::SeqCst);
        }
        let receipt = receipt?;
        if let (Some((_, health)), Some(credential)) = (receipt.health, &receipt.credential) {
            let labels = [("provider", credential.path.provider.clone()), ("health", health.word().to_owned())];
            metrics::counter!("strongroom_health_changes_total", &labels).increment(1);
        }
        Ok(receipt)
    }

    /// Records a read before it is answered, or an upload before it goes to its provider.
    pub async fn admit(&self, permit: Permit, trail: &Trail) -> Result<(), Error> {
        self.commit(&permit, Change::Record, trail).await.map(drop).map_err(unrecorded)
    }

    /// Records a caller's part in a test that is under way for another, and confirms what a release would.
    pub async fn join_test(
        &self,
        permit: Permit,
        credential: &Credential,
        version: &Version,
        trail: &Trail,
    ) -> Result<(), Withheld> {
        permit.fits(TESTS, credential)?;
        let purpose = Purpose::Test { from: version.state };
        self.confirm(&permit, target(credential), version.version, purpose, trail).await
    }

    /// Hands out a plaintext: in one transaction, appends the record and confirms that this version may still be used for
    /// this purpose and this token is still good.
    pub async fn release(&self, opened: Opened, trail: &Trail) -> Result<Secret, Withheld> {
        let Opened { permit, target, version, purpose, secret } = opened;
        self.confirm(&permit, target, version, purpose, trail).await.map(|()| secret)
    }

    async fn confirm(
        &self,
        permit: &Permit,
        target: Target,
        version: u32,
        purpose: Purpose,
        trail: &Trail,
    ) -> Result<(), Withheld> {
        let (token, grant) = (permit.token, permit.grant);
        let change = match purpose {
            Purpose::Serve => Change::Serve { target, version, token, grant },
            Purpose::Test { from } => Change::Test { target, version, from, token },
        };
        // The rules may have changed since they allowed it: then they are asked again. The daemon's own work has none.
        let same_rules = || permit.in_force.as_ref().is_none_or(|then| Arc::ptr_eq(then, &self.in_force.load()));
        let refused = || Err(Withheld::Failed(Error::Unauthenticated));
        if !permit.standing.holds() {
            return refused();
        }
        match self.store.commit(change, trail.record()).await {
            // The store took its time; about tokens it knows itself.
            Ok(_) if !permit.standing.holds() => refused(),
            Ok(_) if same_rules() => Ok(()),
            Ok(_) | Err(store::Error::Stale { .. }) => Err(Withheld::Stale),
            Err(store::Error::OtherRules) if self.takes_others(trail.rules()).await => Err(Withheld::Stale),
            Err(error) => Err(Withheld::Failed(unrecorded(error))),
        }
    }

    /// Records the refusals that were only counted. What cannot be recorded counts on.
    pub async fn record_counted(&self) -> Result<(), Error> {
        let mut result = Ok(());
        for (key, record) in self.tally.due() {
            match self.store.commit(Change::Record, Arc::clone(&record)).await {
                Ok(_) => tracing::info!(
                    action = record.action,
                    outcome = record.outcome,
                    caller = record.caller,
                    address = record.address,
                    alike = record.alike,
                    "refusals that came often were recorded together"
                ),
                Err(error) => {
                    self.tally.give_back(key, record);
                    result = Err(unrecorded(error));
                }
            }
        }
        result
    }

    /// Another one than before: somebody's right may have ended meanwhile.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }

    /// Ends an operation: records what failed, and writes the log line. A failure that cannot be recorded is not told.
    pub async fn finish<T>(&self, trail: Trail, result: Result<T, Error>) -> Result<T, Error> {
        self.finish_as(trail, result, OK).await
    }

    /// The same, for what was recorded with another outcome when nothing failed.
    pub async fn finish_as<T>(
        &self,
        trail: Trail,
        result: Result<T, Error>,
        recorded_as: &'static str,
    ) -> Result<T, Error> {
        let result = match result {
            Err(Error::NeedsApproval { id }) if id.is_empty() => Err(self.approvals.ask(&trail).await),
            other => other,
        };
        if let Err(error) = &result
            && self.tally.takes(trail.action, &trail.record(), error)
        {
            recorded(trail.action, error.reason()).increment(1);
            return result;
        }
        let result = match result {
            Ok(value) => Ok(value),
            // There is no place to record it; the log line is all there is.
            Err(error @ Error::Unavailable { what: Dependency::Audit, .. }) => Err(error),
            Err(error) => match self.store.commit(Change::Record, trail.record_of(error.reason())).await {
                Ok(_) => {
                    beat::wait(trail.elapsed(), &error).await;
                    Err(error)
                }
                Err(unwritten) => Err(unrecorded(unwritten)),
            },
        };
        let outcome = result.as_ref().err().map_or(recorded_as, Error::reason);
        trail.log(outcome);
        match self.recorded.get(&trail.action) {
            Some(counter) if outcome == OK => counter.increment(1),
            _ => recorded(trail.action, outcome).increment(1),
        }
        result
    }
}

fn refuse(verdict: Verdict) -> Result<(), Error> {
    match verdict {
        Verdict::Allowed => Ok(()),
        Verdict::NeedsStepUp => Err(Error::NeedsStepUp { why: None }),
        Verdict::NeedsApproval => Err(Error::NeedsApproval { id: String::new() }),
        Verdict::Refused => Err(Error::Denied),
    }
}

/// What no policy can allow comes first: a caller whose proof names actions has only those, and a grant opens the
/// credentials that it lists and does nothing else.
fn decide(policies: &Policies, caller: &Caller, action: Action, resource: Resource<'_>, now: Timestamp) -> Decision {
    let own = &caller.principal.actions;
    if !own.is_empty() && !own.iter().any(|word| word == action.as_str()) {
        return Decision::refused(Vec::new());
    }
    let is_alone = caller.principal.proof == Proof::Grant;
    match &caller.circumstances.grant {
        Some(grant) if action == Action::Decrypt => {
            let is_listed = matches!(resource, Resource::Credential(it) if grant.credentials.contains(&it.id));
            if !is_listed {
                return Decision::refused(Vec::new());
            }
            let decision = policies.decide(caller, action, resource, now);
            // Beside another proof, a grant is the permit that its bearer lacks. It was made by somebody whom the policies
            // let mint it; what they forbid this caller stays forbidden. Alone, it is a caller like any other.
            let is_permit = !is_alone && !decision.forbidden;
            let verdict = if is_permit { Verdict::Allowed } else { decision.verdict };
            Decision { verdict, ..decision }
        }
        _ if is_alone => Decision::refused(Vec::new()),
        _ => policies.decide(caller, action, resource, now),
    }
}

const fn target(credential: &Credential) -> Target {
    Target { credential: credential.id, revision: credential.revision }
}

fn recorded(action: Action, outcome: &'static str) -> metrics::Counter {
    metrics::counter!("strongroom_audit_records_total", "action" => action.as_str(), "outcome" => outcome)
}

/// A record that could not be made durable: the answer is no, whatever it would have been.
fn unrecorded(error: store::Error) -> Error {
    match error {
        store::Error::Unavailable(cause) => {
            Error::Unavailable { what: Dependency::Audit, retry_after: std::time::Duration::from_secs(1), cause }
        }
        error => error.into(),
    }
}
