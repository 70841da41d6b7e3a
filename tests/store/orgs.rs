//! The end of an org: deleted, taken back, destroyed, and said to be.

use jiff::SignedDuration;
use strongroom::store::{
    CredentialState, Destruction, Factor, FactorChange, FactorState, Grant, Health, OrgChange, OrgKey, Proof, Remains,
    Toll, VersionState,
};

use super::changes::serving;
use super::*;

const HOUR: SignedDuration = SignedDuration::from_hours(1);

/// Times of these tests are ticks, which are long before any real hour is over.
async fn doom(store: &impl Store, org: &str, destroy_at: Timestamp) -> Destruction {
    let id = Uuid::now_v7();
    commit(store, destroy(id, org, destroy_at)).await.unwrap();
    let row = store.destructions(Some(org)).await.unwrap().remove(0);
    assert_eq!((row.id, row.org.as_str(), row.destroy_at), (id, org, destroy_at));
    assert_eq!((row.began_at, row.ended_at, &row.toll, &row.proof), (None, None, &Toll::default(), &None));
    row
}

fn destroy(id: Uuid, org: &str, destroy_at: Timestamp) -> Change {
    let (by, by_name) = ("tester".into(), "Test".into());
    Change::Org(OrgChange::Destroy { id, org: org.into(), by, by_name, destroy_at })
}

const fn restore(id: Uuid) -> Change {
    Change::Org(OrgChange::Restore { id })
}

const fn begin(id: Uuid) -> Change {
    Change::Org(OrgChange::Begin { id })
}

async fn end(store: &impl Store, org: &str, id: Uuid) -> Result<Receipt, Error> {
    let left = store.remains(org, tick()).await.unwrap();
    let proof = Proof { left, own_keys: vec!["local://acme".into()] };
    commit(store, Change::Org(OrgChange::End { id, proof })).await
}

async fn destroy_all(store: &impl Store, org: &str) {
    for credential in store.kept(org, 100).await.unwrap() {
        done(store, Change::Destroy { target: at(&credential) }).await;
    }
}

async fn live(store: &impl Store, org: &str) -> Vec<Credential> {
    let filter = strongroom::store::Filter { org: org.into(), ..Default::default() };
    store.list(&filter, None, 100).await.unwrap()
}

pub async fn an_org_goes_and_comes_back(place: &impl Place) {
    let store = place.open().await;
    let named = |name: &str| path("acme", "p", "openai", name);
    let mut before = vec![served(&store, named("a")).await, created(&store, named("b")).await];
    let disabled = Change::Update { target: at(&before[0]), metadata: None, labels: None, disabled: Some(true) };
    before[0] = done(&store, disabled).await;
    let expiring = Uuid::now_v7();
    let expires = tick() + SignedDuration::from_secs(20);
    let ends = Some(expires + Health::EXPIRING);
    let version = Box::new(NewVersion { expires_at: ends, ..active(expiring, 1) });
    let Change::Create { path, metadata, labels, .. } = creation(expiring, named("c"), active(expiring, 1)) else {
        panic!()
    };
    before.push(done(&store, Change::Create { id: expiring, path, metadata, labels, expires_at: ends, version }).await);
    // Two went before, one of them for good; another org stays.
    let waits = served(&store, named("d")).await;
    let waits = done(&store, Change::Delete { target: at(&waits), destroy_at: Some(later()) }).await;
    let gone = served(&store, named("e")).await;
    let gone = done(&store, Change::Delete { target: at(&gone), destroy_at: None }).await;
    let others = served(&store, super::path("globex", "p", "openai", "a")).await;
    let told_before = told(&store, "acme").await.len();

    let row = doom(&store, "acme", tick() + HOUR).await;
    assert!(live(&store, "acme").await.is_empty());
    assert_eq!(live(&store, "globex").await, std::slice::from_ref(&others));
    commit(&store, serving(&others, 1, None)).await.unwrap();
    for (credential, version) in [(&before[0], 1), (&before[2], 1)] {
        let now = stale(&store, serving(credential, version, None)).await.unwrap();
        assert_eq!((now.state, now.destroy_at), (CredentialState::Deleted, Some(row.destroy_at)));
        assert!(now.revision > credential.revision);
    }
    assert_eq!(
        told(&store, "acme").await[told_before..],
        [("deleted".to_owned(), None), ("deleted".to_owned(), None), ("deleted".to_owned(), None)]
    );
    assert_eq!(store.kept("acme", 100).await.unwrap().len(), 4);
    assert!(store.due_orgs(tick()).await.unwrap().is_empty());
    assert_eq!(store.due_orgs(row.destroy_at).await.unwrap(), std::slice::from_ref(&row));
    // What goes with its org is destroyed with it; what was deleted before, in its own time.
    let due = store.due(row.destroy_at.max(waits.destroy_at.unwrap()), 100).await.unwrap();
    assert_eq!(due, std::slice::from_ref(&waits));
    assert!(commit(&store, begin(row.id)).await.is_err(), "its time has not come");

    while tick() <= expires {}
    commit(&store, restore(row.id)).await.unwrap();
    assert!(store.destructions(None).await.unwrap().is_empty());
    let after = live(&store, "acme").await;
    for (before, after) in before.iter().zip(&after) {
        let same = Credential { revision: after.revision, updated_at: after.updated_at, ..before.clone() };
        assert_eq!(after, &same);
        assert_eq!(after.revision, before.revision + 2);
    }
    assert_eq!(after.len(), 3);
    commit(&store, serving(&after[2], 1, None)).await.unwrap();
    for tombstone in [&waits, &gone] {
        assert_eq!(store.credential_by_id(tombstone.id).await.unwrap().as_ref(), Some(tombstone));
    }
    // Time went on meanwhile: that is told after it is back, with a record of its own.
    let to_tell = store.to_tell(tick(), 100).await.unwrap();
    assert_eq!(to_tell, [after[2].clone()]);
    let receipt = commit(&store, Change::Tell { target: at(&after[2]) }).await.unwrap();
    assert_eq!(receipt.health, Some((Health::Ok, Health::Expiring)));
    assert_eq!(stale(&store, restore(row.id)).await, None);
    verified(&store).await;
}

pub async fn nothing_is_stored_of_a_doomed_org(place: &impl Place) {
    let store = place.open().await;
    served(&store, acme()).await;
    let waits = served(&store, path("acme", "p", "openai", "waits")).await;
    let waits = done(&store, Change::Delete { target: at(&waits), destroy_at: Some(later()) }).await;
    let known = token("acme");
    commit(&store, Change::IssueToken(known.clone())).await.unwrap();
    let destroy_at = tick() + SignedDuration::from_millis(40);
    let row = doom(&store, "acme", destroy_at).await;
    let changes = || {
        let id = Uuid::now_v7();
        let grant = Grant { id: Uuid::now_v7(), org: "acme".into(), uses: 1, expires_at: later(), ..Grant::default() };
        let key = OrgKey { org: "acme".into(), wraps: vec![wrap("local://default", "1", "another")] };
        vec![
            creation(id, acme(), version(id, 1)),
            Change::Undelete { target: at(&waits) },
            Change::IssueToken(token("acme")),
            Change::RotateToken { id: known.id, ends_at: tick(), successor: token("acme") },
            Change::MintGrant { grant, also: Vec::new() },
            Change::KeepOrgKey(key),
            Change::Factor(FactorChange::Enrol { factor: Box::new(factor("me", "acme")), beside: None }),
            destroy(Uuid::now_v7(), "acme", later()),
        ]
    };
    let records = verified(&store).await.len();
    let refused = async |until: Option<Timestamp>| {
        // There is no good token any more once it has begun.
        let changes = changes().into_iter().filter(|it| until.is_some() || !matches!(it, Change::RotateToken { .. }));
        for change in changes {
            match commit(&store, change.clone()).await {
                Err(Error::Doomed { org, until: told }) => {
                    assert_eq!((org.as_str(), told), ("acme", until), "{change:?}")
                }
                other => panic!("{change:?} gave {other:?}"),
            }
        }
    };
    refused(Some(destroy_at)).await;
    // Nobody else is in the way.
    let id = Uuid::now_v7();
    commit(&store, creation(id, path("globex", "p", "openai", "a"), active(id, 1))).await.unwrap();
    commit(&store, Change::IssueToken(token("*"))).await.unwrap();
    // A token goes on meanwhile: somebody must be able to take it back.
    commit(&store, Change::By { token: known.id, change: Box::new(Change::Record) }).await.unwrap();
    while tick() <= destroy_at {}
    assert_eq!(stale(&store, restore(row.id)).await, None);
    commit(&store, begin(row.id)).await.unwrap();
    let by = Change::By { token: known.id, change: Box::new(Change::Record) };
    assert!(matches!(commit(&store, by).await, Err(Error::Revoked)));
    refused(None).await;
    assert_eq!(stale(&store, begin(row.id)).await, None);
    assert_eq!(verified(&store).await.len(), records + 4);
}

pub async fn an_org_ends_when_nothing_is_left(place: &impl Place) {
    let store = place.open().await;
    let first = served(&store, acme()).await;
    done(&store, rotation(at(&first), active(first.id, 2))).await;
    let others = served(&store, path("globex", "p", "openai", "a")).await;
    let row = doom(&store, "acme", tick()).await;
    assert!(matches!(end(&store, "acme", row.id).await, Err(Error::Stale { .. })), "it has not begun");
    commit(&store, begin(row.id)).await.unwrap();
    assert!(matches!(end(&store, "acme", row.id).await, Err(Error::Stale { .. })), "a credential is left");
    let begun = store.destructions(Some("acme")).await.unwrap().remove(0);
    assert!(begun.began_at.is_some() && store.due_orgs(Timestamp::MIN).await.unwrap() == [begun]);

    // As after a crash.
    drop(store);
    let store = place.open().await;
    destroy_all(&store, "acme").await;
    let left = store.remains("acme", tick()).await.unwrap();
    assert_eq!(left, Remains { looked_at: 2, ..Remains::default() });
    let wrong = Proof { left: Remains::default(), own_keys: Vec::new() };
    assert_eq!(stale(&store, Change::Org(OrgChange::End { id: row.id, proof: wrong })).await, None);
    end(&store, "acme", row.id).await.unwrap();
    let ended = store.destructions(None).await.unwrap().remove(0);
    assert_eq!(ended.proof, Some(Proof { left, own_keys: vec!["local://acme".into()] }));
    assert!(ended.ended_at.is_some() && store.due_orgs(later()).await.unwrap().is_empty());
    assert!(matches!(end(&store, "acme", row.id).await, Err(Error::Stale { .. })), "it has ended");
    let versions = store.versions(first.id).await.unwrap();
    assert!(versions.iter().all(|version| version.state == VersionState::Destroyed && version.keys.is_empty()));
    commit(&store, serving(&others, 1, None)).await.unwrap();
    assert_eq!(told(&store, "acme").await.last().unwrap().0, "destroyed");

    // The name is anybody's again, and its second end is another row.
    let again = served(&store, acme()).await;
    commit(&store, serving(&again, 1, None)).await.unwrap();
    let second = doom(&store, "acme", later()).await;
    let rows = store.destructions(None).await.unwrap();
    assert_eq!(rows, [second, ended]);
    verified(&store).await;
}

pub async fn the_toll_is_what_was_destroyed(place: &impl Place) {
    let store = place.open().await;
    let moved = |mut version: NewVersion, number: u32| {
        version.version = number;
        version.sealed.wraps.push(wrap("age:recovery", "1", &format!("offline {}", version.sealed.blob.len())));
        version
    };
    let first = served(&store, acme()).await;
    done(&store, rotation(at(&first), moved(active(first.id, 2), 2))).await;
    let waits = created(&store, path("acme", "p", "openai", "waits")).await;
    done(&store, Change::Delete { target: at(&waits), destroy_at: Some(later()) }).await;
    let gone = created(&store, path("acme", "p", "openai", "gone")).await;
    done(&store, Change::Delete { target: at(&gone), destroy_at: None }).await;
    let key = OrgKey { org: "acme".into(), wraps: vec![wrap("local://acme", "1", "the key of acme")] };
    commit(&store, Change::KeepOrgKey(key)).await.unwrap();
    let others = OrgKey { org: "acme2".into(), wraps: vec![wrap("local://acme", "1", "the key of acme2")] };
    commit(&store, Change::KeepOrgKey(others.clone())).await.unwrap();
    for (who, org) in [("me", "acme"), ("you", "globex")] {
        let factor = factor(who, org);
        commit(&store, Change::Factor(FactorChange::Enrol { factor: Box::new(factor), beside: None })).await.unwrap();
    }
    let (good, revoked, theirs) = (token("acme"), token("acme"), token("globex"));
    for token in [&good, &revoked, &theirs] {
        commit(&store, Change::IssueToken(token.clone())).await.unwrap();
    }
    commit(&store, Change::RevokeToken { id: revoked.id }).await.unwrap();
    let grant = Grant { id: Uuid::now_v7(), org: "acme".into(), uses: 1, expires_at: later(), ..Grant::default() };
    commit(&store, Change::MintGrant { grant: grant.clone(), also: Vec::new() }).await.unwrap();
    let before = store.remains("acme", tick()).await.unwrap();
    let expected = Remains { looked_at: 4, ciphertexts: 3, wraps: 5, second_factors: 1, tokens: 1, grants: 1 };
    assert_eq!((&before, before.is_nothing()), (&expected, false));

    let row = doom(&store, "acme", tick()).await;
    commit(&store, begin(row.id)).await.unwrap();
    assert_eq!(store.org_key("acme").await.unwrap(), None);
    assert_eq!(store.org_key("acme2").await.unwrap(), Some(others));
    assert_eq!(store.factors(Some("acme")).await.unwrap(), []);
    assert_eq!(store.factors(None).await.unwrap().len(), 1);
    assert!(store.token(good.id).await.unwrap().unwrap().revoked_at.is_some());
    assert_eq!(store.token(theirs.id).await.unwrap(), Some(theirs));
    assert!(store.grant(grant.id).await.unwrap().unwrap().revoked_at.is_some());
    destroy_all(&store, "acme").await;
    end(&store, "acme", row.id).await.unwrap();
    let toll = store.destructions(None).await.unwrap().remove(0).toll;
    let wraps = [("age:recovery", 1), ("local://acme", 1), ("local://default", 3), ("local://factors", 1)];
    let wraps = wraps.map(|(key, count)| (key.to_owned(), count)).into();
    let expected = Toll { credentials: 2, versions: 3, org_keys: 1, second_factors: 1, wraps, tokens: 1, grants: 1 };
    assert_eq!(toll, expected);
}

pub async fn one_end_at_a_time(place: &impl Place) {
    let store = std::sync::Arc::new(place.open().await);
    served(&*store, acme()).await;
    let end = tick() + HOUR;
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let store = std::sync::Arc::clone(&store);
            tokio::spawn(async move { commit(&*store, destroy(Uuid::now_v7(), "acme", end)).await.is_ok() })
        })
        .collect();
    let mut done = 0;
    for task in tasks {
        done += usize::from(task.await.unwrap());
    }
    assert_eq!((done, store.destructions(None).await.unwrap().len()), (1, 1));
}

fn factor(caller: &str, org: &str) -> Factor {
    Factor {
        id: Uuid::now_v7(),
        caller: caller.into(),
        caller_name: caller.into(),
        org: org.into(),
        state: FactorState::Pending,
        sealed: Sealed {
            blob: b"sealed".to_vec(),
            wraps: vec![wrap("local://factors", "1", &format!("key of {caller}"))],
        },
        created_by: caller.into(),
        created_at: tick(),
        confirmed_at: None,
        last_step: 0,
        failures: 0,
        locked_until: None,
    }
}
