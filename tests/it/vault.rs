//! The vault with an outside world that does as it is told: a provider that answers what a test wants, a key service that
//! counts, waits and fails. Store, crypto and policies are the real ones.

mod health;
mod keys;
mod orgs;
mod pages;
mod probes;
mod reseal;
mod rules;
mod schedule;
mod stepup;
mod uploads;
mod watching;

use std::collections::BTreeMap;
use std::path::Path as File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use strongroom::crypto::{Dek, Secret};
use strongroom::kms::local::Local;
use strongroom::kms::{Context, Error as KmsError, Keyring, Kms, Wrapped};
use strongroom::store::Sqlite;
use strongroom::vault::{
    Allowances, Auditing, Caller, Decrypt, Delete, Limits, Metadata, Outcome, Parts, Path, Policies, Principal, Probe,
    Provider, Registry, Setup, Testing, Upload, Vault,
};
use tokio::sync::Semaphore;

use crate::daemon::openai_key;

/// A key service that counts its calls, and can be made to wait or fail.
struct Keys {
    inner: Local,
    unwraps: AtomicU64,
    wraps: AtomicU64,
    down: AtomicBool,
    /// Each unwrap takes a permit.
    gate: Semaphore,
}

impl Keys {
    fn new(directory: &File) -> Arc<Self> {
        let inner = Local::open_or_create(directory, "default", None).unwrap();
        let gate = Semaphore::new(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            inner,
            unwraps: AtomicU64::new(0),
            wraps: AtomicU64::new(0),
            down: AtomicBool::new(false),
            gate,
        })
    }

    fn unwraps(&self) -> u64 {
        self.unwraps.load(Ordering::SeqCst)
    }

    fn wraps(&self) -> u64 {
        self.wraps.load(Ordering::SeqCst)
    }

    fn refuse(&self) -> Result<(), KmsError> {
        match self.down.load(Ordering::SeqCst) {
            false => Ok(()),
            true => Err(KmsError::Unavailable { key: self.inner.uri().to_owned(), cause: "cut off".to_owned() }),
        }
    }
}

#[async_trait]
impl Kms for Keys {
    fn uri(&self) -> &str {
        self.inner.uri()
    }

    async fn wrap(&self, dek: &Dek, context: &Context) -> Result<Wrapped, KmsError> {
        self.wraps.fetch_add(1, Ordering::SeqCst);
        self.refuse()?;
        self.inner.wrap(dek, context).await
    }

    async fn unwrap(&self, wrapped: &Wrapped, context: &Context) -> Result<Dek, KmsError> {
        self.unwraps.fetch_add(1, Ordering::SeqCst);
        self.gate.acquire().await.unwrap().forget();
        self.refuse()?;
        self.inner.unwrap(wrapped, context).await
    }
}

const LIMITS: Limits = Limits { ttl: Duration::from_secs(300), max_bytes: 1 << 20, org_bytes: 1 << 18 };

/// Nothing is tested by itself within a test's time.
const TESTING: Testing =
    Testing { enabled: true, timeout: Duration::from_millis(200), every: Duration::from_secs(24 * 3600), at_once: 4 };

fn vault(directory: &File, keys: &Arc<Keys>, probe: Arc<dyn Probe>, limits: Limits) -> Arc<Vault> {
    vault_that_tests(directory, keys, probe, limits, TESTING)
}

fn vault_that_tests(
    directory: &File,
    keys: &Arc<Keys>,
    probe: Arc<dyn Probe>,
    limits: Limits,
    testing: Testing,
) -> Arc<Vault> {
    Vault::new(Parts {
        store: Arc::new(Sqlite::open(&directory.join("strongroom.db")).unwrap()),
        keyring: Keyring::new(Arc::clone(keys) as Arc<dyn Kms>, [].into(), []),
        registry: unhurried(),
        policies: Policies::embedded().unwrap(),
        probe,
        limits,
        allowances: Allowances::default(),
        testing,
        auditing: Auditing::default(),
    })
    .unwrap()
}

/// The registry, with providers that may be asked as often as a test wants.
fn unhurried() -> Registry {
    let text = include_str!("../../config/providers.yml");
    let usual = "limits: { per_minute: 60, burst: 10, at_once: 8 }";
    assert!(text.contains(usual));
    let text = text.replace(usual, "limits: { per_minute: 6000000, burst: 100000, at_once: 64 }");
    Registry::parse("providers.yml", &text).unwrap()
}

/// A world in which nobody asks a provider.
fn nobody() -> Arc<dyn Probe> {
    struct Nobody;

    #[async_trait]
    impl Probe for Nobody {
        async fn probe(&self, _: &Provider, _: &Secret, _: &Metadata) -> Outcome {
            Outcome::untested()
        }
    }
    Arc::new(Nobody)
}

fn admin() -> Caller {
    let principal = Principal {
        id: "test".into(),
        name: "test".into(),
        role: "admin".into(),
        org: "*".into(),
        ..Principal::default()
    };
    Caller::new(Arc::new(principal), "test".into())
}

fn path(org: &str, name: &str) -> Path {
    Path { org: org.into(), project: "default".into(), provider: "openai".into(), name: name.into() }
}

fn setup(path: Path, key: &str, no_probe: bool) -> Setup {
    Setup {
        path,
        upload: Upload::Fields(BTreeMap::from([("api_key".to_owned(), Secret::from(key.to_owned()))])),
        metadata: None,
        labels: None,
        expires_at: None,
        no_probe,
        etag: None,
    }
}

fn decrypt(path: Path) -> Decrypt {
    Decrypt { path, fresh: false }
}

fn delete(path: Path) -> Delete {
    Delete { path, etag: None, destroy_after: None }
}
