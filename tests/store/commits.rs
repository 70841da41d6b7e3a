//! Many commits at once, restarts, and those who watch.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::*;

pub async fn concurrent_commits_make_one_chain(place: &impl Place) {
    let store = Arc::new(place.open().await);
    let credential = Arc::new(served(&*store, acme()).await);
    let tasks: Vec<_> = (0..1_000)
        .map(|number| {
            let (store, credential) = (Arc::clone(&store), Arc::clone(&credential));
            tokio::spawn(async move {
                let request = format!("request {number}");
                let record = Draft { request_id: request.clone(), ..draft("decrypt") };
                let change = match number % 4 {
                    0 => Change::Record,
                    1 => {
                        let id = Uuid::now_v7();
                        creation(id, path("acme", "default", "openai", &request), version(id, 1))
                    }
                    _ => Change::Serve { target: at(&credential), version: 1, token: None, grant: None },
                };
                (store.commit(change, record.into()).await.unwrap().sequence, request)
            })
        })
        .collect();
    let mut answered = BTreeSet::new();
    for task in tasks {
        answered.insert(task.await.unwrap());
    }
    // Every answer has its own place in the chain, and its record is at that place.
    let recorded: BTreeSet<_> =
        verified(&*store).await[1..].iter().map(|record| (record.sequence, record.draft.request_id.clone())).collect();
    assert_eq!(recorded, answered);
    let events = store.changes(Some("acme"), 0, 2_000).await.unwrap();
    assert_eq!(events.len(), 252);
    assert_eq!(*store.newest_change().borrow(), events.last().unwrap().sequence);
}

pub async fn refused_changes_leave_their_group_alone(place: &impl Place) {
    let store = Arc::new(place.open().await);
    let credential = served(&*store, acme()).await;
    let old = Target { revision: 0, ..at(&credential) };
    let tasks: Vec<_> = (0..300)
        .map(|number| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let id = Uuid::now_v7();
                let change = match number % 3 {
                    0 => creation(id, path("acme", "default", "openai", &format!("n{number}")), version(id, 1)),
                    1 => creation(id, acme(), version(id, 1)),
                    _ => rotation(old, version(old.credential, 2)),
                };
                (number, commit(&*store, change).await)
            })
        })
        .collect();
    for task in tasks {
        match task.await.unwrap() {
            (number, Ok(_)) => assert_eq!(number % 3, 0),
            (number, Err(Error::Taken)) => assert_eq!(number % 3, 1),
            (number, Err(Error::Stale { current })) => {
                assert_eq!((number % 3, current.as_deref()), (2, Some(&credential)));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(verified(&*store).await.len(), 101);
    assert_eq!(told(&*store, "acme").await.len(), 102);
    assert_eq!(store.versions(credential.id).await.unwrap().len(), 1);
}

/// Sixty-four callers want one name, and then one rotation: one gets it.
pub async fn one_name_is_created_once(place: &impl Place) {
    let store = Arc::new(place.open().await);
    let race = async |change: Box<dyn Fn() -> Change>| {
        let tasks: Vec<_> = (0..64)
            .map(|_| {
                let (store, change) = (Arc::clone(&store), change());
                tokio::spawn(async move { commit(&*store, change).await })
            })
            .collect();
        let mut winners = Vec::new();
        for task in tasks {
            match task.await.unwrap() {
                Ok(receipt) => winners.push(receipt.credential.unwrap()),
                Err(Error::Taken | Error::Stale { .. }) => (),
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(winners.len(), 1);
        winners.remove(0)
    };
    let first = race(Box::new(|| {
        let id = Uuid::now_v7();
        creation(id, acme(), version(id, 1))
    }))
    .await;
    let target = at(&first);
    let second = race(Box::new(move || rotation(target, active(target.credential, 2)))).await;
    assert_eq!(store.credential(&acme()).await.unwrap(), Some(second));
    assert_eq!(verified(&*store).await.len(), 2);
}

pub async fn the_chain_goes_on_after_a_restart(place: &impl Place) {
    let mut instances = HashSet::new();
    for round in 0..3 {
        let store = place.open().await;
        for step in 0..5 {
            let receipt = commit(&store, Change::Record).await.unwrap();
            assert_eq!(receipt.sequence, round * 5 + step + 1);
        }
        instances.extend(verified(&store).await.into_iter().map(|record| record.instance));
    }
    assert_eq!(instances.len(), 1);
}

pub async fn everything_survives_a_restart(place: &impl Place) {
    let (credential, gone, issued, records, newest);
    {
        let store = place.open().await;
        let first = served(&store, acme()).await;
        credential = done(&store, rotation(at(&first), version(first.id, 2))).await;
        let other = created(&store, path("acme", "p", "openai", "gone")).await;
        gone = done(&store, Change::Delete { target: at(&other), destroy_at: Some(tick()) }).await;
        issued = token("acme");
        commit(&store, Change::IssueToken(issued.clone())).await.unwrap();
        records = verified(&store).await;
        newest = *store.newest_change().borrow();
    }
    let store = place.open().await;
    assert_eq!(store.credential(&acme()).await.unwrap(), Some(credential.clone()));
    assert_eq!(store.deleted(&gone.path).await.unwrap(), Some(gone));
    assert_eq!(store.token(issued.id).await.unwrap(), Some(issued));
    assert_eq!(store.sealed(credential.id, 2).await.unwrap().unwrap().1, version(credential.id, 2).sealed);
    assert_eq!(verified(&store).await, records);
    assert_eq!(*store.newest_change().borrow(), newest);
    assert_eq!(newest, 5);
}

pub async fn watchers_are_woken_and_resume(place: &impl Place) {
    let store = place.open().await;
    let mut newest = store.newest_change();
    assert_eq!(*newest.borrow_and_update(), 0);
    let first = created(&store, acme()).await;
    newest.changed().await.unwrap();
    let after = *newest.borrow_and_update();
    assert_eq!(after, 1);
    commit(&store, Change::Record).await.unwrap();
    assert!(!newest.has_changed().unwrap(), "nothing happened to a credential");

    created(&store, path("other", "default", "openai", "default")).await;
    let labelled = Change::Update {
        target: at(&first),
        metadata: None,
        labels: Some(BTreeMap::from([("now".into(), "this".into())])),
        disabled: Some(true),
    };
    let now = done(&store, labelled).await;
    let events = store.changes(Some("acme"), after, 10).await.unwrap();
    let told: Vec<_> = events.iter().map(|event| (event.change.as_str(), event.version)).collect();
    assert_eq!(told, [("metadata", None), ("disabled", None)]);
    for event in &events {
        assert_eq!((&event.credential, event.at), (&now, now.updated_at), "as it is now");
    }
    assert_eq!(*newest.borrow_and_update(), events[1].sequence);

    // Page by page, each change once.
    let mut seen = Vec::new();
    while let Some(event) = store.changes(Some("acme"), seen.last().copied().unwrap_or(0), 1).await.unwrap().pop() {
        seen.push(event.sequence);
    }
    assert_eq!(seen, [1, 3, 4]);
    assert_eq!(store.changes(Some("acme"), u64::MAX, 10).await.unwrap(), []);
    assert_eq!(store.changes(Some("nobody"), 0, 10).await.unwrap(), []);
}

pub async fn ready(place: &impl Place) {
    let store = place.open().await;
    store.ready().await.unwrap();
    served(&store, acme()).await;
    store.ready().await.unwrap();
}
