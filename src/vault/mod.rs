//! The vault: decides, records and acts. Every operation takes the caller first and has the same three parts: the public
//! method begins a [`trail`], the inner one does the work under a permit of the [`guard`], and the guard finishes both.

mod action;
mod age;
mod audit;
mod backup;
mod beat;
mod cache;
mod caller;
mod decrypt;
mod error;
mod export;
mod flights;
mod grants;
mod guard;
mod inspect;
mod keeper;
mod keys;
mod ledger;
mod manage;
mod moving;
mod names;
mod opener;
mod orgs;
mod orphans;
pub mod policy;
mod probing;
mod recover;
mod request;
mod reseal;
pub mod restore;
mod rewrap;
mod rules;
mod schedule;
mod setup;
mod stepup;
mod tally;
mod tokens;
mod trail;
mod turns;
mod upkeep;
mod upload;
mod validate;
mod watch;
mod why;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

pub use action::Action;
pub use age::Outlook;
use arc_swap::ArcSwap;
pub use cache::Limits;
pub use caller::{Caller, Circumstances, Principal, Proof, RequestDigest, Standing, StepUp, network};
pub use error::{Dependency, Error};
pub use names::check as check_name;
pub use orgs::Ending;
pub use orphans::Copies;
pub use policy::Policies;
pub use recover::{Drilled, Recovered, Recovery};
pub use request::*;
pub use rules::Admission;
pub use schedule::Testing;
pub use tokens::Rotated;
use tokio::sync::{Mutex, Semaphore};
pub use turns::{Allowance, Allowances, Turn};
pub use why::{About, Who, Why, With};

use self::cache::Cache;
use self::flights::Flights;
use self::guard::Guard;
use self::keeper::Keeper;
use self::ledger::Ledger;
pub use self::ledger::{Auditing, Diverged};
use self::stepup::Approvals;
use self::turns::Turns;
pub use crate::crypto::Secret;
use crate::crypto::{self, Dek};
use crate::kms::{self, Keyring};
use crate::providers::probe::Pace;
pub use crate::providers::{
    Field, Limits as ProviderLimits, Outcome, Probe, Provider, Registry, Upload, Verdict, meant,
};
use crate::store::{self, Store};
pub use crate::store::{
    Approval, ChangeEvent, Credential, CredentialState, Destruction, Factor, FactorState, Grant, Health, Path,
    ProbeRecord, Record, Remains, Tested, Token, Toll, Version, VersionState, Word,
};

/// The parts that the vault is put together from.
pub struct Parts {
    pub store: Arc<dyn Store>,
    pub keyring: Keyring,
    pub registry: Registry,
    pub policies: Policies,
    pub probe: Arc<dyn Probe>,
    pub limits: Limits,
    pub allowances: Allowances,
    pub testing: Testing,
    pub auditing: Auditing,
}

pub struct Vault {
    store: Arc<dyn Store>,
    guard: Guard,
    keeper: Arc<Keeper>,
    ledger: Ledger,
    cache: Cache,
    registry: ArcSwap<Registry>,
    admission: ArcSwap<Admission>,
    probe: Arc<dyn Probe>,
    testing: Testing,
    pace: Pace,
    flights: Flights,
    turns: Turns,
    /// How many orgs have come to their end since the start.
    orgs_ended: AtomicU64,
    /// Held while wrapped keys are moved, or blobs sealed anew.
    moving: Arc<Mutex<()>>,
    /// For uploads that may ask for much work before they are read.
    unlocking: Arc<Semaphore>,
    /// Seals page tokens.
    page_key: Dek,
}

impl Vault {
    pub fn new(parts: Parts) -> Result<Arc<Self>, Error> {
        let Parts { store, keyring, registry, policies, probe, limits, allowances, testing, auditing } = parts;
        let keeper = Arc::new(Keeper::new(Arc::clone(&store), keyring));
        let approvals = Approvals::new(Arc::clone(&store), Arc::clone(&keeper));
        Ok(Arc::new(Self {
            guard: Guard::new(Arc::clone(&store), policies, approvals),
            keeper,
            ledger: Ledger::new(auditing),
            cache: Cache::new(limits),
            registry: ArcSwap::from_pointee(registry),
            admission: ArcSwap::default(),
            store,
            probe,
            testing,
            pace: Pace::new(),
            flights: Flights::default(),
            turns: Turns::new(allowances),
            orgs_ended: AtomicU64::new(0),
            moving: Arc::default(),
            unlocking: Arc::new(Semaphore::new(upload::UNLOCKED_AT_ONCE)),
            page_key: Dek::new(crypto::random().map_err(Error::bug)?),
        }))
    }

    /// Whether requests can be answered now.
    pub async fn ready(&self) -> Result<(), Error> {
        self.store.ready().await?;
        match self.guard.rules() {
            Some(ours) if self.store.rules().await?.as_deref() != Some(&*ours) => Err(store::Error::OtherRules.into()),
            _ => Ok(()),
        }
    }

    /// Has every configured key wrap and unwrap something; what does not do so is named.
    pub async fn check_keys(&self) -> Vec<kms::Error> {
        self.keeper.keyring().check().await
    }

    /// Whether the keys are those of this store: a key file of another vault is whole, and opens nothing of this one.
    pub async fn opens_what_is_kept(&self) -> Result<bool, Error> {
        match self.keeper.open_sample().await {
            Ok(()) => Ok(true),
            Err(Error::Corrupt { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Keeps what [`Vault::opens_what_is_kept`] tries.
    pub async fn keep_a_sample(&self) -> Result<(), Error> {
        self.keeper.org_key(names::EVERYTHING).await.map(drop)
    }

    fn provider(&self, id: &str) -> Result<Arc<Provider>, Error> {
        let registry = self.registry.load();
        registry.get(id).cloned().ok_or_else(|| Error::invalid("provider", not_registered(&registry, id)))
    }
}

fn not_registered(registry: &Registry, id: &str) -> String {
    format!("is not in the registry{}", meant(id, registry.all().map(|provider| provider.id.as_str())))
}
