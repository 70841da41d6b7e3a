//! The plaintext cache: the one place where a secret stays for a while.
//!
//! Bounded in time (five minutes at most), in bytes, and per org, so that one tenant's secrets do not push out
//! everybody else's. What is in here is never an answer by itself: [`super::guard`] confirms each one.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use moka::future::Cache as Moka;
use uuid::Uuid;

use crate::crypto::Secret;
use crate::store::{Credential, Path};
use crate::vault::Error;

/// How many names are remembered with what they stand for.
const MOST_NAMES: u64 = 100_000;

/// What an entry costs besides its bytes: keys, counters, allocations.
const OVERHEAD: usize = 256;

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub ttl: Duration,
    pub max_bytes: u64,
    /// The most bytes that one org may fill.
    pub org_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    org: Arc<str>,
    credential: Uuid,
    version: u32,
}

impl Key {
    fn new(credential: &Credential, version: u32) -> Self {
        Self { org: credential.path.org.as_str().into(), credential: credential.id, version }
    }
}

pub struct Cache {
    /// Who bears a name. A hint: confirmed with every answer.
    names: Moka<Path, Arc<Credential>>,
    opened: Moka<Key, Secret>,
    shares: Arc<Shares>,
}

impl Cache {
    pub fn new(limits: Limits) -> Self {
        let shares = Arc::new(Shares { most: limits.org_bytes, orgs: Mutex::default() });
        let freed = Arc::clone(&shares);
        let opened = Moka::builder()
            .max_capacity(limits.max_bytes)
            .weigher(|_, secret: &Secret| u32::try_from(cost(secret)).unwrap_or(u32::MAX))
            .time_to_live(limits.ttl)
            .eviction_listener(move |key: Arc<Key>, secret: Secret, _| freed.remove(&key, cost(&secret)))
            .build();
        let names = Moka::builder().max_capacity(MOST_NAMES).time_to_live(limits.ttl).build();
        Self { names, opened, shares }
    }

    pub async fn named(&self, path: &Path) -> Option<Arc<Credential>> {
        self.names.get(path).await
    }

    pub async fn remember(&self, credential: Arc<Credential>) {
        self.names.insert(credential.path.clone(), credential).await;
    }

    pub async fn forget_name(&self, path: &Path) {
        self.names.invalidate(path).await;
    }

    pub async fn get(&self, credential: &Credential, version: u32) -> Option<Secret> {
        self.opened.get(&Key::new(credential, version)).await
    }

    /// Opens a version, once however many ask for it at the same time.
    pub async fn fill(
        &self,
        credential: &Credential,
        version: u32,
        open: impl Future<Output = Result<Secret, Error>>,
    ) -> Result<Secret, Error> {
        let key = Key::new(credential, version);
        let mut is_mine = false;
        let opening = async {
            is_mine = true;
            open.await
        };
        let secret =
            self.opened.try_get_with_by_ref(&key, opening).await.map_err(|error: Arc<Error>| (*error).clone())?;
        if is_mine {
            for oldest in self.shares.add(&key, cost(&secret)) {
                self.opened.invalidate(&oldest).await;
            }
        }
        Ok(secret)
    }

    /// Forgets a credential: its name and every plaintext of it. When this returns the memory is free, hence wiped.
    pub async fn forget(&self, credential: &Credential) {
        self.names.invalidate(&credential.path).await;
        for version in 1..=credential.latest_version {
            self.opened.invalidate(&Key::new(credential, version)).await;
        }
        self.opened.run_pending_tasks().await;
    }

    /// Forgets what of a credential is older than this.
    pub async fn outdate(&self, now: &Credential) {
        if self.names.get(&now.path).await.is_some_and(|known| known.revision < now.revision) {
            self.names.invalidate(&now.path).await;
        }
        let served = now.active_version.filter(|_| !now.disabled);
        for version in (1..=now.latest_version).filter(|version| Some(*version) != served) {
            self.opened.invalidate(&Key::new(now, version)).await;
        }
        self.opened.run_pending_tasks().await;
    }

    /// Forgets all names of an org, and every plaintext.
    pub async fn forget_org(&self, org: &str) {
        let names = self.names.iter().filter(|(path, _)| path.org == org).map(|(path, _)| path);
        for path in names.collect::<Vec<_>>() {
            self.names.invalidate(path.as_ref()).await;
        }
        let opened = self.opened.iter().filter(|(key, _)| &*key.org == org).map(|(key, _)| key);
        for key in opened.collect::<Vec<_>>() {
            self.opened.invalidate(key.as_ref()).await;
        }
        self.tend().await;
    }

    pub async fn forget_all(&self) {
        self.names.invalidate_all();
        self.opened.invalidate_all();
        self.tend().await;
    }

    /// Frees what has expired. Without this, an idle cache would keep it until somebody asks.
    pub async fn tend(&self) {
        self.names.run_pending_tasks().await;
        self.opened.run_pending_tasks().await;
        metrics::gauge!("strongroom_cache_bytes").set(self.opened.weighted_size() as f64);
    }
}

fn cost(secret: &Secret) -> u64 {
    (secret.len() + OVERHEAD) as u64
}

/// What each org has in the cache, oldest first.
struct Shares {
    most: u64,
    orgs: Mutex<HashMap<Arc<str>, Share>>,
}

#[derive(Default)]
struct Share {
    bytes: u64,
    order: VecDeque<(Key, u64)>,
}

impl Shares {
    /// Counts a new entry; returns the org's own oldest that must make room for it.
    fn add(&self, key: &Key, cost: u64) -> Vec<Key> {
        let mut orgs = self.orgs.lock().unwrap_or_else(PoisonError::into_inner);
        let share = orgs.entry(Arc::clone(&key.org)).or_default();
        share.bytes += cost;
        share.order.push_back((key.clone(), cost));
        let mut excess = share.bytes.saturating_sub(self.most);
        let leaving = share.order.iter().take_while(|(_, freed)| {
            let leaves = excess > 0;
            excess = excess.saturating_sub(*freed);
            leaves
        });
        leaving.map(|(oldest, _)| oldest.clone()).collect()
    }

    fn remove(&self, key: &Key, cost: u64) {
        let mut orgs = self.orgs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = orgs.get_mut(&key.org) {
            share.bytes = share.bytes.saturating_sub(cost);
            share.order.retain(|(other, _)| other != key);
            if share.order.is_empty() && share.bytes == 0 {
                orgs.remove(&key.org);
            }
        }
    }
}
