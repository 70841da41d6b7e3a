//! Tests and what they tell: confirmed before they are made, kept, planned, told.

use strongroom::store::{Health, Settlement, VersionState as V};

use super::changes::{settled, settlement};
use super::*;

pub async fn test_confirms_what_it_goes_by(place: &impl Place) {
    let store = place.open().await;
    let first = created(&store, acme()).await;
    let token = token("acme");
    commit(&store, Change::IssueToken(token.clone())).await.unwrap();
    let test = |target, version, from| Change::Test { target, version, from, token: Some(token.id) };
    commit(&store, test(at(&first), 1, V::Pending)).await.unwrap();
    // It wrote its record and nothing else.
    assert_eq!(store.credential(&acme()).await.unwrap(), Some(first.clone()));
    assert_eq!(told(&store, "acme").await.len(), 1);
    for (version, from) in [(1, V::Active), (2, V::Pending), (0, V::Pending)] {
        assert_eq!(stale(&store, test(at(&first), version, from)).await, Some(first.clone()));
    }
    let second = done(&store, settlement(&first, 1, V::Pending, Settlement::Accept)).await;
    assert_eq!(stale(&store, test(at(&first), 1, V::Pending)).await, Some(second.clone()));
    assert_eq!(stale(&store, test(at(&first), 1, V::Active)).await, Some(second.clone()));
    commit(&store, test(at(&second), 1, V::Active)).await.unwrap();
    commit(&store, Change::RevokeToken { id: token.id }).await.unwrap();
    assert!(matches!(commit(&store, test(at(&second), 1, V::Active)).await, Err(Error::Revoked)));
    let gone = done(&store, Change::Delete { target: at(&second), destroy_at: Some(tick()) }).await;
    let unnamed = Change::Test { target: at(&gone), version: 1, from: V::Active, token: None };
    assert_eq!(stale(&store, unnamed).await, Some(gone));
}

pub async fn health_is_told_once_with_a_record(place: &impl Place) {
    let store = place.open().await;
    let first = served(&store, acme()).await;
    let before = verified(&store).await.len();
    let refuse = || settlement(&first, 1, V::Active, Settlement::Refuse);
    let receipt = commit(&store, refuse()).await.unwrap();
    assert_eq!(receipt.health, Some((Health::Ok, Health::Failing)));
    assert_eq!(receipt.sequence, before as u64 + 1);
    assert_eq!(commit(&store, refuse()).await.unwrap().health, None);
    let records = verified(&store).await;
    let words: Vec<_> =
        records[before..].iter().map(|it| (it.draft.action.as_str(), it.draft.outcome.as_str())).collect();
    assert_eq!(words, [("test", "ok"), ("health", "failing"), ("test", "ok")]);
    assert_eq!(told(&store, "acme").await.iter().filter(|(word, _)| word == "health").count(), 1);
    // While it is disabled it is nobody's concern; enabled again, it is as it was told.
    let now = store.credential(&acme()).await.unwrap().unwrap();
    let switch = |target, on| Change::Update { target, metadata: None, labels: None, disabled: Some(on) };
    let disabled = done(&store, switch(at(&now), true)).await;
    assert_eq!((disabled.told_health, disabled.next_test_at), (Health::Failing, None));
    let enabled = commit(&store, switch(at(&disabled), false)).await.unwrap();
    assert_eq!(enabled.health, None);
    assert!(enabled.credential.unwrap().next_test_at.is_some());
}

pub async fn old_tests_go_with_the_new(place: &impl Place) {
    let store = place.open().await;
    let (first, other) = (served(&store, acme()).await, served(&store, path("acme", "default", "openai", "b")).await);
    commit(&store, settlement(&other, 1, V::Active, Settlement::Accept)).await.unwrap();
    for number in 0..25 {
        let test = ProbeRecord { reason: number.to_string(), ..probe("ok") };
        commit(&store, settled(&first, 1, V::Active, Settlement::Accept, test)).await.unwrap();
    }
    let kept = store.tests(first.id).await.unwrap();
    let reasons: Vec<_> = kept.iter().map(|test| test.reason.parse::<u32>().unwrap()).collect();
    assert_eq!(reasons, (5..25).rev().collect::<Vec<_>>());
    assert_eq!(store.tests(other.id).await.unwrap().len(), 1);
}

pub async fn what_is_due_is_found_by_provider(place: &impl Place) {
    let store = place.open().await;
    let mut made = Vec::new();
    for (provider, name) in [("openai", "a"), ("openai", "b"), ("openai", "c"), ("aws_keys", "a")] {
        let id = Uuid::now_v7();
        let new = NewVersion { probe_at: Some(tick()), ..active(id, 1) };
        made.push(done(&store, creation(id, path("acme", "default", provider, name), new)).await);
    }
    let due = async |providers: &[&str], now, limit| {
        let providers: Vec<_> = providers.iter().map(|&it| it.to_owned()).collect();
        let due = store.to_test(&providers, &[], now, limit).await.unwrap();
        due.into_iter().map(|one| one.credential).collect::<Vec<_>>()
    };
    let ids: Vec<_> = made.iter().map(|one| one.id).collect();
    assert_eq!(due(&["openai"], tick(), 2).await, ids[..2]);
    assert_eq!(due(&["aws_keys", "openai"], tick(), 2).await, [ids[3], ids[0], ids[1]]);
    let busy = [("openai".to_owned(), "acme".to_owned()), ("github".to_owned(), "globex".to_owned())];
    let both = ["aws_keys".to_owned(), "openai".to_owned()];
    let other = Uuid::now_v7();
    let new = NewVersion { probe_at: Some(tick()), ..active(other, 1) };
    done(&store, creation(other, path("globex", "default", "openai", "a"), new)).await;
    let found = store.to_test(&both, &busy, tick(), 1).await.unwrap();
    assert_eq!(found.iter().map(|one| one.credential).collect::<Vec<_>>(), [ids[3], other]);
    let deleted = store.credential_by_id(other).await.unwrap().unwrap();
    done(&store, Change::Delete { target: at(&deleted), destroy_at: None }).await;
    assert!(due(&[], tick(), 9).await.is_empty() && due(&["github"], tick(), 9).await.is_empty());
    assert_eq!(due(&["openai"], made[0].next_test_at.unwrap(), 9).await, ids[..1]);
    // Put off, it changes nothing that somebody may have read.
    let later = tick() + jiff::SignedDuration::from_hours(1);
    let put_off = Change::Postpone { credential: ids[0], version: 1, probe_at: later, failures: 3 };
    let after = done(&store, put_off.clone()).await;
    assert_eq!((after.revision, after.next_test_at, after.updated_at), (1, Some(later), made[0].updated_at));
    assert_eq!(store.versions(ids[0]).await.unwrap()[0].failures, 3);
    assert_eq!(due(&["openai"], tick(), 9).await, ids[1..3]);
    let gone = done(&store, Change::Delete { target: at(&after), destroy_at: Some(tick()) }).await;
    assert_eq!(stale(&store, put_off).await, Some(gone));
}
