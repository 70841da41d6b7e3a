//! Two replicas take other rules one after the other, and are asked while they do.

use std::collections::BTreeMap;
use std::path::Path as File;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use async_trait::async_trait;
use strongroom::crypto::Secret;
use strongroom::kms::Keyring;
use strongroom::kms::local::Local;
use strongroom::vault::policy::Vocabulary;
use strongroom::vault::{
    Admission, Allowances, Auditing, Caller, Decrypt, Error, Limits, Metadata, Outcome, Parts, Path, Policies,
    Principal, Probe, Provider, Registry, Setup, Testing, Upload, Vault,
};

use crate::adapter::Database;
use crate::daemon::openai_key;
use crate::store::Place as _;

const OPEN: &str = "permit (principal, action, resource);";
const CLOSED: &str = "forbid (principal, action, resource);";

/// A world in which nobody asks a provider.
struct Nobody;

#[async_trait]
impl Probe for Nobody {
    async fn probe(&self, _: &Provider, _: &Secret, _: &Metadata) -> Outcome {
        Outcome::untested()
    }
}

fn rules(home: &File, text: &str) -> Policies {
    let directory = home.join("rules");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("all.cedar"), text).unwrap();
    Policies::load(&directory, &Vocabulary::default()).unwrap()
}

async fn replica(place: &Database, home: &File) -> Arc<Vault> {
    let key = Arc::new(Local::open_or_create(home, "default", None).unwrap());
    let vault = Vault::new(Parts {
        store: Arc::new(place.open().await),
        keyring: Keyring::new(key, [].into(), []),
        registry: Registry::embedded().unwrap(),
        policies: rules(home, OPEN),
        probe: Arc::new(Nobody),
        limits: Limits { ttl: Duration::from_secs(300), max_bytes: 1 << 20, org_bytes: 1 << 18 },
        allowances: Allowances::default(),
        testing: Testing {
            enabled: false,
            timeout: Duration::from_secs(1),
            every: Duration::from_secs(24 * 3600),
            at_once: 1,
        },
        auditing: Auditing::default(),
    })
    .unwrap();
    vault.record_rules(Admission::default()).await.unwrap();
    vault
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_decided_while_a_replica_takes_them_is_decided_by_the_new_ones() {
    let (place, home) = (Database::new(), tempfile::tempdir().unwrap());
    let (one, other) = (replica(&place, home.path()).await, replica(&place, home.path()).await);
    let principal = Principal { role: "admin".into(), org: "*".into(), ..Principal::default() };
    let caller = Caller::new(Arc::new(principal), "test".into());
    let path = Path { org: "acme".into(), project: "default".into(), provider: "openai".into(), name: "a".into() };
    let key = Secret::from(openai_key("a"));
    let setup = Setup {
        path: path.clone(),
        upload: Upload::Fields(BTreeMap::from([("api_key".to_owned(), key)])),
        metadata: None,
        labels: None,
        expires_at: None,
        no_probe: true,
        etag: None,
    };
    one.setup(&caller, setup).await.unwrap();
    let ask = async |vault: &Arc<Vault>| vault.decrypt(&caller, Decrypt { path: path.clone(), fresh: false }).await;
    ask(&other).await.unwrap();
    let close = || (rules(home.path(), CLOSED), Registry::embedded().unwrap(), Admission::default());

    let (policies, registry, admission) = close();
    one.replace_rules(policies, registry, admission, || {}).await.unwrap();
    // They are in force, and whoever does not have them yet answers nothing.
    assert!(matches!(ask(&other).await, Err(Error::Unavailable { .. })));
    assert!(other.ready().await.is_err());

    // It has said that it takes them, and does not decide by them yet: who asks now is answered by the new ones.
    let (said, is_said) = tokio::sync::oneshot::channel();
    let (go, wait) = mpsc::channel();
    let taking = {
        let (other, (policies, registry, admission)) = (Arc::clone(&other), close());
        let between = move || {
            said.send(()).unwrap();
            wait.recv().unwrap();
        };
        tokio::spawn(async move { other.replace_rules(policies, registry, admission, between).await })
    };
    is_said.await.unwrap();
    let go_on = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        go.send(()).unwrap();
    };
    let (asked, ()) = tokio::join!(ask(&other), go_on);
    assert!(matches!(asked, Err(Error::Denied)), "{:?}", asked.map(|answer| answer.fingerprint));
    taking.await.unwrap().unwrap();
    assert!(matches!(ask(&other).await, Err(Error::Denied)));
    other.ready().await.unwrap();
}
