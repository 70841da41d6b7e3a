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
    Admission, Allowances, Auditing, Caller, Decrypt, Decrypted, Error, Limits, Metadata, Outcome, Parts, Policies,
    Principal, Probe, Proof, Provider, Registry, Setup, Testing, Upload, Vault,
};

use crate::adapter::Database;
use crate::daemon::openai_key;
use crate::store::{Change, Place as _, commit, path, token};

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

fn caller() -> Caller {
    proven(Proof::Token)
}

fn proven(proof: Proof) -> Caller {
    let principal = Principal { role: "admin".into(), org: "*".into(), proof, ..Principal::default() };
    Caller::new(Arc::new(principal), "test".into())
}

async fn store(vault: &Arc<Vault>) {
    let key = Secret::from(openai_key("a"));
    let setup = Setup {
        path: path("acme", "default", "openai", "a"),
        upload: Upload::Fields(BTreeMap::from([("api_key".to_owned(), key)])),
        metadata: None,
        labels: None,
        expires_at: None,
        no_probe: true,
        etag: None,
    };
    vault.setup(&caller(), setup).await.unwrap();
}

async fn ask(vault: &Arc<Vault>) -> Result<Decrypted, Error> {
    vault.decrypt(&caller(), Decrypt { path: path("acme", "default", "openai", "a"), fresh: false }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_let_in_by_other_ones_alone_does_not_become_the_first_administrator() {
    let (place, home) = (Database::new(), tempfile::tempdir().unwrap());
    let (one, other) = (replica(&place, home.path()).await, replica(&place, home.path()).await);
    let admission = Admission { callers: "somebody".into(), ..Admission::default() };
    one.replace_rules(rules(home.path(), OPEN), Registry::embedded().unwrap(), admission, || {}).await.unwrap();
    let caller = proven(Proof::Bootstrap);
    let first = other.keep_first_admin(&caller, token("*")).await;
    assert!(matches!(first, Err(Error::Unavailable { .. })), "{first:?}");
    // For this one only the authenticator can tell that the token is not offered any more.
    assert!(one.keep_first_admin(&caller, token("*")).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replacement_whose_end_nobody_heard_of_is_taken_back_by_the_old_files() {
    let (place, home) = (Database::new(), tempfile::tempdir().unwrap());
    let vault = replica(&place, home.path()).await;
    store(&vault).await;
    let replaced = async |text: &str| {
        let (registry, admission) = (Registry::embedded().unwrap(), Admission::default());
        vault.replace_rules(rules(home.path(), text), registry, admission, || {}).await
    };
    // As when the connection breaks while it is committed: it is made, and this process does not hear so.
    let before = place.ask("SELECT value FROM meta WHERE key = 'rules'");
    place.ask("ALTER TABLE audit_log RENAME TO elsewhere");
    replaced(CLOSED).await.unwrap_err();
    place.ask("ALTER TABLE elsewhere RENAME TO audit_log");
    let closed = before.replace(&rules(home.path(), OPEN).digest, &rules(home.path(), CLOSED).digest);
    let company = place.open().await;
    commit(&company, Change::KeepRules { digests: closed }).await.unwrap();
    assert!(matches!(ask(&vault).await, Err(Error::Unavailable { .. })));
    replaced(OPEN).await.unwrap();
    ask(&vault).await.unwrap();
    vault.ready().await.unwrap();
    // What another process has put in force it does not take back by being told of its own files once more.
    commit(&company, Change::KeepRules { digests: "others".into() }).await.unwrap();
    replaced(OPEN).await.unwrap();
    assert!(vault.ready().await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_decided_while_a_replica_takes_them_is_decided_by_the_new_ones() {
    let (place, home) = (Database::new(), tempfile::tempdir().unwrap());
    let (one, other) = (replica(&place, home.path()).await, replica(&place, home.path()).await);
    store(&one).await;
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
