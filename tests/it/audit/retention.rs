//! Old records go, and what is left is still proven.

use std::sync::Arc;
use std::time::{Duration, Instant};

use strongroom::kms::{Keyring, Local};
use strongroom::providers::Registry;
use strongroom::store::{Sqlite, Store};
use strongroom::vault::{AuditQuery, Auditing, Caller, Limits, Parts, Policies, Principal, Proof, Testing, Vault};

pub fn admin() -> Caller {
    let principal = Principal { role: "admin".into(), org: "*".into(), proof: Proof::Token, ..Principal::default() };
    Caller::new(Arc::new(principal), "test".into())
}

pub fn vault(home: &std::path::Path, keep: Option<Duration>) -> (Arc<Vault>, Arc<dyn Store>) {
    let store: Arc<dyn Store> = Arc::new(Sqlite::open(&home.join("strongroom.db")).unwrap());
    let client = strongroom::http::Client::new(strongroom::http::Settings::default()).unwrap();
    let live = strongroom::providers::probe::Live::new(client, strongroom::http::Hosts::default());
    let every = Duration::from_millis(50);
    let vault = Vault::new(Parts {
        store: Arc::clone(&store),
        keyring: Keyring::new(Arc::new(Local::open_or_create(home, "default", None).unwrap()), [].into(), []),
        registry: Registry::embedded().unwrap(),
        policies: Policies::embedded().unwrap(),
        probe: Arc::new(live),
        limits: Limits { ttl: Duration::from_secs(1), max_bytes: 1 << 20, org_bytes: 1 << 20 },
        allowances: strongroom::vault::Allowances::default(),
        testing: Testing { enabled: false, timeout: every, every: Duration::from_secs(3600), at_once: 1 },
        auditing: Auditing { checkpoint_every: every, keep },
    });
    (vault.unwrap(), store)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_older_than_is_kept_goes_and_the_rest_is_proven() {
    let home = tempfile::tempdir().unwrap();
    let (vault, store) = vault(home.path(), Some(Duration::from_millis(400)));
    let (stop, stopping) = tokio::sync::watch::channel(false);
    let upkeep = tokio::spawn(Arc::clone(&vault).upkeep(stopping));
    let end = Instant::now() + Duration::from_secs(30);
    let found = loop {
        let found = vault.audit(&admin(), AuditQuery::default()).await.unwrap();
        if found.pruned >= 10 {
            break found;
        }
        assert!(Instant::now() < end, "nothing was pruned");
        tokio::time::sleep(Duration::from_millis(40)).await;
    };
    assert_eq!(found.records[0].sequence, found.pruned + 1);
    let report = vault.verify_audit(&admin()).await.unwrap().remove(0);
    assert!(report.pruned >= found.pruned && report.broken.is_none(), "{report:?}");
    assert!(report.checkpoints > 0, "{report:?}");
    let told = AuditQuery { action: Some("pruneAudit".into()), descending: true, ..AuditQuery::default() };
    let told = vault.audit(&admin(), told).await.unwrap().records.remove(0);
    assert!(told.draft.name.starts_with("records ") && told.draft.caller == "system", "{told:?}");

    stop.send_replace(true);
    upkeep.await.unwrap();
    vault.checkpoint_or_say_why().await;
    let boundary = store.boundary(store.instance()).await.unwrap();
    drop((vault, store));
    // After a restart, without the retention.
    let (vault, store) = self::vault(home.path(), None);
    assert_eq!(store.boundary(store.instance()).await.unwrap(), boundary);
    let report = vault.verify_audit(&admin()).await.unwrap().remove(0);
    assert_eq!((report.pruned, report.broken), (boundary.size, None));
    // Whoever takes more away than the boundary says is found.
    drop((vault, store));
    let database = rusqlite::Connection::open(home.path().join("strongroom.db")).unwrap();
    let first = "DELETE FROM audit_log WHERE sequence = (SELECT min(size) + 1 FROM audit_boundaries)";
    assert_eq!(database.execute(first, []).unwrap(), 1);
    drop(database);
    let (vault, _) = self::vault(home.path(), None);
    let report = vault.verify_audit(&admin()).await.unwrap().remove(0);
    assert_eq!(report.broken, Some((boundary.size + 1, "missing")));
}
