//! Every change, and every reason to refuse it.

use serde_json::json;
use strongroom::store::{CredentialState as C, Health, Settlement, VersionState as V};

use super::*;

pub async fn create(place: &impl Place) {
    let store = place.open().await;
    let id = Uuid::now_v7();
    let record = draft("setup");
    let made = store.commit(creation(id, acme(), version(id, 1)), record.clone().into()).await.unwrap();
    assert_eq!(made.sequence, 1);
    let credential = made.credential.unwrap();
    assert_eq!((credential.id, &credential.path, credential.revision), (id, &acme(), 1));
    assert_eq!((credential.state, credential.active_version, credential.latest_version), (C::Pending, None, 1));
    assert_eq!((credential.created_at, credential.updated_at), (record.at, record.at));
    assert_eq!(credential.metadata["region"], json!("eu"));
    assert_eq!(credential.labels["team"], "data");
    assert_eq!(credential.fingerprint, "f0000001");
    assert_eq!(store.credential(&acme()).await.unwrap(), Some(credential.clone()));
    assert_eq!(store.credential_by_id(id).await.unwrap(), Some(credential));
    assert_eq!(told(&store, "acme").await, [("setup".into(), Some(1))]);

    let versions = store.versions(id).await.unwrap();
    assert_eq!(versions.len(), 1);
    let (version_read, sealed) = store.sealed(id, 1).await.unwrap().unwrap();
    assert_eq!(version_read, versions[0]);
    assert_eq!(sealed, version(id, 1).sealed);
    assert_eq!((version_read.state, version_read.digest), (V::Pending, [1; 32]));
    assert_eq!((version_read.created_by.as_str(), version_read.created_at), ("tester", record.at));
    assert_eq!((version_read.activated_at, version_read.destroyed_at, version_read.probe), (None, None, None));

    let other = Uuid::now_v7();
    let name = path("acme", "default", "openai", "untested");
    let tested = NewVersion { probe: Some(probe("untested")), ..active(other, 1) };
    let credential = done(&store, creation(other, name, tested.clone())).await;
    assert_eq!((credential.state, credential.active_version), (C::Active, Some(1)));
    let version_read = store.versions(other).await.unwrap().remove(0);
    assert_eq!((version_read.state, version_read.probe), (V::Active, tested.probe));
    assert_eq!(version_read.activated_at, Some(credential.created_at));
    assert_eq!(told(&store, "acme").await[1..], [("setup".into(), Some(1)), ("activated".into(), Some(1))]);

    assert_eq!(store.credential(&path("acme", "default", "openai", "none")).await.unwrap(), None);
    assert_eq!(store.credential_by_id(Uuid::now_v7()).await.unwrap(), None);
    assert_eq!(store.sealed(id, 2).await.unwrap(), None);
    assert_eq!(store.versions(Uuid::now_v7()).await.unwrap(), []);
}

pub async fn create_takes_a_free_name_only(place: &impl Place) {
    let store = place.open().await;
    let first = created(&store, acme()).await;
    let id = Uuid::now_v7();
    assert!(matches!(commit(&store, creation(id, acme(), version(id, 1))).await, Err(Error::Taken)));
    // A retry of a create that did happen finds its own name taken.
    assert!(matches!(commit(&store, creation(first.id, acme(), version(first.id, 1))).await, Err(Error::Taken)));
    // An id is used once, whatever the name.
    let elsewhere = path("other", "default", "openai", "default");
    assert_eq!(stale(&store, creation(first.id, elsewhere.clone(), version(first.id, 1))).await, Some(first));
    // A first version is version 1.
    assert_eq!(stale(&store, creation(id, elsewhere.clone(), version(id, 2))).await, None);
    // Each part of the name counts.
    for free in [
        elsewhere,
        path("acme", "other", "openai", "default"),
        path("acme", "default", "other", "default"),
        path("acme", "default", "openai", "other"),
        path("acme", "default", "openai", "Default"),
    ] {
        created(&store, free).await;
    }
}

pub async fn rotate(place: &impl Place) {
    let store = place.open().await;
    let first = served(&store, acme()).await;
    let expiry = tick();
    let second = done(
        &store,
        Change::Rotate {
            target: at(&first),
            metadata: Some(json!({"region": "us"}).as_object().unwrap().clone()),
            labels: None,
            expires_at: Some(expiry),
            version: Box::new(version(first.id, 2)),
        },
    )
    .await;
    // The old one is served until the new one is known to work.
    assert_eq!((second.state, second.active_version, second.latest_version), (C::Active, Some(1), 2));
    assert_eq!((second.fingerprint.as_str(), second.revision), ("f0000001", 2));
    assert_eq!((second.metadata["region"].clone(), &second.labels), (json!("us"), &first.labels));
    assert_eq!((second.expires_at, second.created_at), (Some(expiry), first.created_at));
    assert!(second.updated_at > first.updated_at);

    let third = done(
        &store,
        Change::Rotate {
            target: at(&second),
            metadata: None,
            labels: Some(BTreeMap::new()),
            expires_at: None,
            version: Box::new(active(first.id, 3)),
        },
    )
    .await;
    assert_eq!((third.active_version, third.latest_version, third.expires_at), (Some(3), 3, None));
    assert_eq!((third.fingerprint.as_str(), &third.metadata), ("f0000003", &second.metadata));
    assert_eq!(third.public_identity, version(first.id, 3).public_identity);
    assert!(third.labels.is_empty());
    let states: Vec<_> = store.versions(first.id).await.unwrap().iter().map(|v| (v.version, v.state)).collect();
    assert_eq!(states, [(3, V::Active), (2, V::Pending), (1, V::Superseded)]);
    assert_eq!(store.credential(&acme()).await.unwrap(), Some(third));
    // Superseded versions can be opened: for a rollback.
    assert!(store.sealed(first.id, 1).await.unwrap().is_some());
}

pub async fn rotate_refuses_old_knowledge(place: &impl Place) {
    let store = place.open().await;
    let first = served(&store, acme()).await;
    let second = done(&store, rotation(at(&first), version(first.id, 2))).await;
    assert_eq!(stale(&store, rotation(at(&first), version(first.id, 2))).await, Some(second.clone()));
    for number in [1, 2, 4] {
        assert_eq!(stale(&store, rotation(at(&second), version(first.id, number))).await, Some(second.clone()));
    }
    let nobody = Target { credential: Uuid::now_v7(), revision: 1 };
    assert_eq!(stale(&store, rotation(nobody, version(first.id, 3))).await, None);
    let gone = done(&store, Change::Delete { target: at(&second), destroy_at: None }).await;
    assert_eq!(stale(&store, rotation(at(&gone), version(first.id, 3))).await, Some(gone));
}

pub fn settlement(credential: &Credential, version: u32, from: V, settlement: Settlement) -> Change {
    settled(credential, version, from, settlement, probe("any"))
}

pub fn settled(credential: &Credential, version: u32, from: V, settlement: Settlement, probe: ProbeRecord) -> Change {
    let (credential, probe_at) = (credential.id, Some(tick()));
    Change::Settle { credential, version, from, settlement, probe, probe_at, failures: 1 }
}

pub async fn settle_pending(place: &impl Place) {
    let store = place.open().await;
    let first = created(&store, acme()).await;
    let waiting = done(&store, settlement(&first, 1, V::Pending, Settlement::Wait)).await;
    assert_eq!((waiting.state, waiting.revision), (C::Pending, 2));
    assert_eq!(store.versions(first.id).await.unwrap()[0].probe.as_ref().unwrap().outcome, "any");

    let refused = done(&store, settlement(&first, 1, V::Pending, Settlement::Refuse)).await;
    assert_eq!((refused.state, refused.active_version), (C::Invalid, None));
    assert_eq!(store.versions(first.id).await.unwrap()[0].state, V::Invalid);
    // It is not pending any more.
    assert_eq!(stale(&store, settlement(&first, 1, V::Pending, Settlement::Accept)).await, Some(refused.clone()));

    let second = done(&store, rotation(at(&refused), version(first.id, 2))).await;
    assert_eq!((second.state, second.fingerprint.as_str()), (C::Pending, "f0000002"));
    let accepted = done(&store, settlement(&first, 2, V::Pending, Settlement::Accept)).await;
    assert_eq!((accepted.state, accepted.active_version), (C::Active, Some(2)));
    let third = done(&store, rotation(at(&accepted), version(first.id, 3))).await;
    let accepted = done(&store, settlement(&third, 3, V::Pending, Settlement::Accept)).await;
    assert_eq!((accepted.active_version, accepted.fingerprint.as_str()), (Some(3), "f0000003"));
    let states: Vec<_> = store.versions(first.id).await.unwrap().iter().map(|v| v.state).collect();
    assert_eq!(states, [V::Active, V::Superseded, V::Invalid]);
    let words: Vec<_> = told(&store, "acme").await;
    let words: Vec<_> = words.iter().map(|(word, version)| (word.as_str(), version.unwrap())).collect();
    assert_eq!(
        words,
        [("setup", 1), ("pending", 1), ("refused", 1), ("setup", 2), ("activated", 2), ("setup", 3), ("activated", 3)]
    );
}

pub async fn settle_active(place: &impl Place) {
    let store = place.open().await;
    let first = served(&store, acme()).await;
    let failing = done(&store, settlement(&first, 1, V::Active, Settlement::Refuse)).await;
    // A served version stays served: the provider refuses it anyway, and a rollback is the operator's decision.
    assert_eq!((failing.state, failing.active_version), (C::Active, Some(1)));
    assert_eq!(failing.failing_since, Some(failing.updated_at));
    assert_eq!(failing.health(tick()), Health::Failing);
    let still = done(&store, settlement(&first, 1, V::Active, Settlement::Refuse)).await;
    assert_eq!(still.failing_since, failing.failing_since);
    let unsure = done(&store, settlement(&first, 1, V::Active, Settlement::Wait)).await;
    assert_eq!(unsure.failing_since, failing.failing_since);
    let well = done(&store, settlement(&first, 1, V::Active, Settlement::Accept)).await;
    assert_eq!((well.failing_since, well.active_version), (None, Some(1)));
    // A new secret starts healthy.
    let failing = done(&store, settlement(&first, 1, V::Active, Settlement::Refuse)).await;
    let new = done(&store, rotation(at(&failing), version(first.id, 2))).await;
    assert_eq!(new.failing_since, failing.failing_since);
    let new = done(&store, settlement(&new, 2, V::Pending, Settlement::Accept)).await;
    assert_eq!((new.failing_since, new.active_version), (None, Some(2)));
    // Of the old one, nobody minds.
    let after = done(&store, settlement(&new, 1, V::Superseded, Settlement::Refuse)).await;
    assert_eq!((after.failing_since, after.active_version), (None, Some(2)));
    assert_eq!(store.versions(first.id).await.unwrap()[1].state, V::Superseded);
}

pub async fn settle_refuses_what_was_overtaken(place: &impl Place) {
    let store = place.open().await;
    let first = created(&store, acme()).await;
    let second = done(&store, rotation(at(&first), version(first.id, 2))).await;
    let newer = done(&store, settlement(&second, 2, V::Pending, Settlement::Accept)).await;
    assert_eq!(stale(&store, settlement(&first, 1, V::Pending, Settlement::Accept)).await, Some(newer.clone()));
    let refused = done(&store, settlement(&first, 1, V::Pending, Settlement::Refuse)).await;
    assert_eq!((refused.state, refused.active_version), (C::Active, Some(2)));
    for (version, from) in [(1, V::Active), (2, V::Pending), (3, V::Pending), (2, V::Destroyed)] {
        let current = stale(&store, settlement(&first, version, from, Settlement::Accept)).await;
        assert_eq!(current, Some(refused.clone()));
    }
    let nobody = Credential { id: Uuid::now_v7(), ..refused.clone() };
    assert_eq!(stale(&store, settlement(&nobody, 1, V::Pending, Settlement::Accept)).await, None);
    let gone = done(&store, Change::Delete { target: at(&refused), destroy_at: Some(tick()) }).await;
    assert_eq!(stale(&store, settlement(&gone, 2, V::Active, Settlement::Accept)).await, Some(gone.clone()));
}

pub async fn activate(place: &impl Place) {
    let store = place.open().await;
    let first = served(&store, acme()).await;
    let second = done(&store, rotation(at(&first), active(first.id, 2))).await;
    let back = done(&store, Change::Activate { target: at(&second), version: 1 }).await;
    assert_eq!((back.active_version, back.latest_version, back.fingerprint.as_str()), (Some(1), 2, "f0000001"));
    let versions = store.versions(first.id).await.unwrap();
    assert_eq!((versions[0].state, versions[1].state), (V::Superseded, V::Active));
    assert_eq!(versions[1].activated_at, Some(back.updated_at));
    let third = done(&store, rotation(at(&back), version(first.id, 3))).await;
    let untested = done(&store, Change::Activate { target: at(&third), version: 3 }).await;
    assert_eq!(untested.active_version, Some(3));

    // Not what is served already, not what is not there, not what was refused, not on old knowledge.
    let fourth = done(&store, rotation(at(&untested), version(first.id, 4))).await;
    let now = done(&store, settlement(&fourth, 4, V::Pending, Settlement::Refuse)).await;
    for version in [0, 3, 4, 5] {
        assert_eq!(stale(&store, Change::Activate { target: at(&now), version }).await, Some(now.clone()));
    }
    assert_eq!(stale(&store, Change::Activate { target: at(&fourth), version: 1 }).await, Some(now));
}

pub async fn update(place: &impl Place) {
    let store = place.open().await;
    let first = served(&store, acme()).await;
    let update = |target, metadata, labels, disabled| Change::Update { target, metadata, labels, disabled };
    let metadata = json!({"deep": {"er": [1, "two", null]}, "ünï": "cødé"}).as_object().unwrap().clone();
    let second = done(&store, update(at(&first), Some(metadata.clone()), None, None)).await;
    assert_eq!((&second.metadata, &second.labels, second.disabled), (&metadata, &first.labels, false));
    let labels = BTreeMap::from([("a\"b".to_owned(), "c'd".to_owned())]);
    let third = done(&store, update(at(&second), None, Some(labels.clone()), Some(true))).await;
    assert_eq!((&third.metadata, &third.labels, third.disabled), (&metadata, &labels, true));
    assert_eq!((third.state, third.active_version, third.revision), (C::Active, Some(1), 3));
    let fourth = done(&store, update(at(&third), None, None, Some(true))).await;
    assert_eq!((fourth.disabled, fourth.revision), (true, 4));
    let fifth = done(&store, update(at(&fourth), None, None, Some(false))).await;
    assert!(!fifth.disabled);
    assert_eq!(store.credential(&acme()).await.unwrap(), Some(fifth.clone()));
    let words: Vec<_> = told(&store, "acme").await.into_iter().map(|(word, _)| word).collect();
    assert_eq!(words, ["setup", "activated", "metadata", "metadata", "disabled", "enabled"]);

    assert_eq!(stale(&store, update(at(&first), None, None, Some(true))).await, Some(fifth.clone()));
    let gone = done(&store, Change::Delete { target: at(&fifth), destroy_at: None }).await;
    assert_eq!(stale(&store, update(at(&gone), None, None, Some(true))).await, Some(gone));
}

pub async fn delete_at_once(place: &impl Place) {
    let store = place.open().await;
    let first = served(&store, acme()).await;
    let second = done(&store, rotation(at(&first), version(first.id, 2))).await;
    assert_eq!(stale(&store, Change::Delete { target: at(&first), destroy_at: None }).await, Some(second.clone()));
    let gone = done(&store, Change::Delete { target: at(&second), destroy_at: None }).await;
    assert_eq!((gone.state, gone.active_version, gone.latest_version), (C::Deleted, None, 2));
    assert_eq!((gone.deleted_at, gone.destroy_at), (Some(gone.updated_at), None));
    // The tombstone says what was there.
    assert_eq!((gone.fingerprint.as_str(), &gone.labels), ("f0000001", &first.labels));
    assert_eq!(store.credential(&acme()).await.unwrap(), None);
    assert_eq!(store.deleted(&acme()).await.unwrap(), None);
    assert_eq!(store.credential_by_id(first.id).await.unwrap(), Some(gone.clone()));
    for version in store.versions(first.id).await.unwrap() {
        assert_eq!((version.state, version.destroyed_at), (V::Destroyed, Some(gone.updated_at)));
        assert_eq!(version.fingerprint, format!("f{:07}", version.version));
        assert_eq!(store.sealed(first.id, version.version).await.unwrap(), None);
    }
    // Nothing brings it back, and nothing deletes it twice.
    for change in [
        Change::Undelete { target: at(&gone) },
        Change::Destroy { target: at(&gone) },
        Change::Delete { target: at(&gone), destroy_at: None },
        Change::Activate { target: at(&gone), version: 1 },
    ] {
        assert_eq!(stale(&store, change).await, Some(gone.clone()));
    }
    // The name is free.
    let again = created(&store, acme()).await;
    assert_ne!(again.id, gone.id);
    let words: Vec<_> = told(&store, "acme").await.into_iter().map(|(word, _)| word).collect();
    assert_eq!(words, ["setup", "activated", "setup", "deleted", "destroyed", "setup"]);
}

pub async fn delete_with_delay_and_undelete(place: &impl Place) {
    let store = place.open().await;
    let first = served(&store, acme()).await;
    let second = done(&store, rotation(at(&first), version(first.id, 2))).await;
    let end = tick();
    let gone = done(&store, Change::Delete { target: at(&second), destroy_at: Some(end) }).await;
    assert_eq!((gone.state, gone.active_version, gone.destroy_at), (C::Deleted, None, Some(end)));
    assert_eq!(store.credential(&acme()).await.unwrap(), None);
    assert_eq!(store.deleted(&acme()).await.unwrap(), Some(gone.clone()));
    let states: Vec<_> = store.versions(first.id).await.unwrap().iter().map(|v| v.state).collect();
    assert_eq!(states, [V::Pending, V::Active]);
    assert_eq!(stale(&store, Change::Undelete { target: at(&second) }).await, Some(gone.clone()));

    let back = done(&store, Change::Undelete { target: at(&gone) }).await;
    assert_eq!((back.state, back.active_version, back.revision), (C::Active, Some(1), 4));
    assert_eq!((back.deleted_at, back.destroy_at, back.fingerprint.as_str()), (None, None, "f0000001"));
    assert_eq!(store.credential(&acme()).await.unwrap(), Some(back.clone()));
    assert_eq!(store.sealed(first.id, 1).await.unwrap().unwrap().1, active(first.id, 1).sealed);
    assert_eq!(store.deleted(&acme()).await.unwrap(), None);
    assert_eq!(stale(&store, Change::Undelete { target: at(&back) }).await, Some(back));
}

pub async fn undelete_needs_the_name(place: &impl Place) {
    let store = place.open().await;
    let mut tombstones = Vec::new();
    for _ in 0..2 {
        let credential = created(&store, acme()).await;
        tombstones.push(done(&store, Change::Delete { target: at(&credential), destroy_at: Some(tick()) }).await);
    }
    // The newest is meant.
    assert_eq!(store.deleted(&acme()).await.unwrap().as_ref(), tombstones.last());
    let now = created(&store, acme()).await;
    for gone in &tombstones {
        assert!(matches!(commit(&store, Change::Undelete { target: at(gone) }).await, Err(Error::Taken)));
    }
    done(&store, Change::Delete { target: at(&now), destroy_at: None }).await;
    let back = done(&store, Change::Undelete { target: at(&tombstones[0]) }).await;
    assert_eq!((back.id, back.state), (tombstones[0].id, C::Pending));
}

pub async fn destroy_when_due(place: &impl Place) {
    let store = place.open().await;
    let first = served(&store, acme()).await;
    assert_eq!(stale(&store, Change::Destroy { target: at(&first) }).await, Some(first.clone()));
    let end = tick();
    let gone = done(&store, Change::Delete { target: at(&first), destroy_at: Some(end) }).await;
    let before = Timestamp::from_microsecond(end.as_microsecond() - 1).unwrap();
    assert_eq!(store.due(before, 10).await.unwrap(), []);
    assert_eq!(store.due(end, 10).await.unwrap(), std::slice::from_ref(&gone));
    assert_eq!(stale(&store, Change::Destroy { target: at(&first) }).await, Some(gone.clone()));
    let destroyed = done(&store, Change::Destroy { target: at(&gone) }).await;
    assert_eq!((destroyed.state, destroyed.deleted_at, destroyed.destroy_at), (C::Deleted, gone.deleted_at, None));
    assert_eq!(store.due(tick(), 10).await.unwrap(), []);
    assert_eq!(store.deleted(&acme()).await.unwrap(), None);
    assert_eq!(store.sealed(first.id, 1).await.unwrap(), None);
    assert_eq!(store.versions(first.id).await.unwrap()[0].destroyed_at, Some(destroyed.updated_at));
    assert_eq!(stale(&store, Change::Undelete { target: at(&destroyed) }).await, Some(destroyed));
}

pub fn serving(credential: &Credential, version: u32, token: Option<Uuid>) -> Change {
    Change::Serve { target: at(credential), version, token, grant: None }
}

pub async fn serve(place: &impl Place) {
    let store = place.open().await;
    let credential = served(&store, acme()).await;
    for sequence in 2..10 {
        let record = Draft { credential_id: Some(credential.id), version: Some(1), ..draft("decrypt") };
        let receipt = store.commit(serving(&credential, 1, None), record.into()).await.unwrap();
        assert_eq!(receipt.sequence, sequence);
    }
    assert_eq!(store.credential(&acme()).await.unwrap(), Some(credential));
    assert_eq!(told(&store, "acme").await.len(), 2);
    assert_eq!(verified(&store).await.len(), 9);
}

/// Revocation is immediate: whatever was acknowledged before is seen by the next answer.
pub async fn serve_refuses_what_changed(place: &impl Place) {
    let store = place.open().await;
    let pending = created(&store, path("acme", "default", "openai", "pending")).await;
    assert_eq!(stale(&store, serving(&pending, 1, None)).await, Some(pending));
    let mut now = served(&store, acme()).await;
    let id = now.id;
    for change in [
        rotation(at(&now), active(id, 2)),
        Change::Activate { target: Target { revision: 2, ..at(&now) }, version: 1 },
        settlement(&now, 1, V::Active, Settlement::Refuse),
        Change::Update {
            target: Target { revision: 4, ..at(&now) },
            metadata: None,
            labels: None,
            disabled: Some(true),
        },
        Change::Update {
            target: Target { revision: 5, ..at(&now) },
            metadata: None,
            labels: None,
            disabled: Some(false),
        },
        Change::Delete { target: Target { revision: 6, ..at(&now) }, destroy_at: Some(tick()) },
        Change::Undelete { target: Target { revision: 7, ..at(&now) } },
        Change::Delete { target: Target { revision: 8, ..at(&now) }, destroy_at: None },
    ] {
        if let (Some(version), false) = (now.active_version, now.disabled) {
            commit(&store, serving(&now, version, None)).await.unwrap();
        }
        let before = now;
        now = done(&store, change).await;
        let served_before = before.active_version.unwrap_or(1);
        assert_eq!(stale(&store, serving(&before, served_before, None)).await, Some(now.clone()));
        if now.disabled || now.deleted_at.is_some() {
            assert_eq!(stale(&store, serving(&now, served_before, None)).await, Some(now.clone()));
        }
        assert_eq!(stale(&store, serving(&now, 9, None)).await, Some(now.clone()));
    }
    let nobody = Credential { id: Uuid::now_v7(), ..now };
    assert_eq!(stale(&store, serving(&nobody, 1, None)).await, None);
}

pub async fn refusals_leave_nothing(place: &impl Place) {
    let store = place.open().await;
    let credential = served(&store, acme()).await;
    let old = Target { revision: 0, ..at(&credential) };
    let id = Uuid::now_v7();
    for change in [
        creation(id, acme(), version(id, 1)),
        rotation(old, version(credential.id, 2)),
        settlement(&credential, 1, V::Pending, Settlement::Refuse),
        Change::Activate { target: old, version: 1 },
        Change::Update { target: old, metadata: None, labels: Some(BTreeMap::new()), disabled: Some(true) },
        Change::Delete { target: old, destroy_at: None },
        Change::Undelete { target: old },
        Change::Destroy { target: old },
        Change::RevokeToken { id },
        Change::Serve { target: old, version: 1, token: None, grant: None },
        Change::Serve { target: at(&credential), version: 1, token: Some(id), grant: None },
    ] {
        assert!(commit(&store, change).await.is_err());
    }
    assert_eq!(store.credential(&acme()).await.unwrap(), Some(credential.clone()));
    assert_eq!(store.versions(credential.id).await.unwrap().len(), 1);
    assert_eq!(told(&store, "acme").await.len(), 2);
    assert_eq!(verified(&store).await.len(), 1);
}
