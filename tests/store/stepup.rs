//! Second factors and approvals: what is used once is used once, whoever comes at the same time.

use std::sync::Arc;
use std::time::Duration;

use strongroom::store::{Approval, ApprovalChange, Factor, FactorChange, FactorState};

use super::*;

const STEP: u64 = 60_000_000;

fn factor(caller: &str) -> Factor {
    Factor {
        id: Uuid::now_v7(),
        caller: caller.into(),
        caller_name: format!("name of {caller}"),
        org: "acme".into(),
        state: FactorState::Pending,
        sealed: Sealed { blob: b"sealed".to_vec(), wraps: vec![wrap("local://default", "1", "wrapped")] },
        created_by: "tester".into(),
        created_at: tick(),
        confirmed_at: None,
        last_step: 0,
        failures: 0,
        locked_until: None,
    }
}

async fn enrol(store: &impl Store, factor: &Factor, beside: Option<Uuid>) -> Result<Receipt, Error> {
    commit(store, Change::Factor(FactorChange::Enrol { factor: Box::new(factor.clone()), beside })).await
}

fn confirm(of: &Factor, step: u64) -> Change {
    Change::Factor(FactorChange::Confirm { caller: of.caller.clone(), id: of.id, step })
}

fn spend(of: &Factor, step: u64) -> Change {
    Change::Factor(FactorChange::Spend { caller: of.caller.clone(), id: of.id, step })
}

fn miss(of: &Factor) -> Change {
    Change::Factor(FactorChange::Miss { caller: of.caller.clone(), id: of.id })
}

/// At a time of its own.
async fn at_time(store: &impl Store, change: Change, at: Timestamp) -> Result<(), Error> {
    store.commit(change, Draft { at, ..draft("test") }.into()).await.map(drop)
}

async fn active(store: &impl Store, caller: &str) -> Factor {
    let new = factor(caller);
    enrol(store, &new, None).await.unwrap();
    commit(store, confirm(&new, STEP)).await.unwrap();
    store.factor(caller, FactorState::Active).await.unwrap().unwrap()
}

pub async fn a_factor_is_pending_until_its_first_code(place: &impl Place) {
    let store = place.open().await;
    let first = factor("ann");
    enrol(&store, &first, None).await.unwrap();
    assert_eq!(store.factor("ann", FactorState::Pending).await.unwrap().as_ref(), Some(&first));
    assert_eq!(store.factor("ann", FactorState::Active).await.unwrap(), None);
    // Another takes its place; the first one's code confirms nothing any more.
    let second = factor("ann");
    enrol(&store, &second, None).await.unwrap();
    assert_eq!(stale(&store, confirm(&first, STEP)).await, None);
    commit(&store, confirm(&second, STEP)).await.unwrap();
    let kept = store.factor("ann", FactorState::Active).await.unwrap().unwrap();
    assert_eq!((kept.id, kept.last_step, kept.confirmed_at.is_some()), (second.id, STEP, true));
    assert_eq!(store.factor("ann", FactorState::Pending).await.unwrap(), None);
    // The code that confirmed it is spent.
    assert_eq!(stale(&store, spend(&second, STEP)).await, None);
    assert_eq!(stale(&store, confirm(&second, STEP + 1)).await, None);

    // Beside an active one only by who knew of it; that one counts until the new one is confirmed.
    let third = factor("ann");
    assert!(matches!(enrol(&store, &third, None).await, Err(Error::Stale { .. })));
    assert!(matches!(enrol(&store, &third, Some(first.id)).await, Err(Error::Stale { .. })));
    enrol(&store, &third, Some(second.id)).await.unwrap();
    commit(&store, spend(&second, STEP + 1)).await.unwrap();
    commit(&store, confirm(&third, STEP + 2)).await.unwrap();
    assert_eq!(stale(&store, spend(&second, STEP + 3)).await, None);
    commit(&store, spend(&third, STEP + 3)).await.unwrap();

    let other = active(&store, "bob").await;
    assert_eq!(store.factors(Some("acme")).await.unwrap().len(), 2);
    assert_eq!(store.factors(None).await.unwrap()[0].id, other.id);
    assert_eq!(store.factors(Some("globex")).await.unwrap(), []);
    commit(&store, Change::Factor(FactorChange::Remove { caller: "ann".into() })).await.unwrap();
    assert_eq!(stale(&store, Change::Factor(FactorChange::Remove { caller: "ann".into() })).await, None);
    assert_eq!(store.factors(None).await.unwrap(), [other]);
}

pub async fn sixty_four_uses_of_one_code(place: &impl Place) {
    let store = Arc::new(place.open().await);
    let factor = active(&*store, "ann").await;
    for (round, change) in [spend(&factor, STEP + 1), spend(&factor, STEP + 2)].into_iter().enumerate() {
        let before = verified(&*store).await.len();
        let tasks: Vec<_> = (0..64)
            .map(|_| {
                let (store, change) = (Arc::clone(&store), change.clone());
                tokio::spawn(async move { commit(&*store, change).await })
            })
            .collect();
        let mut won = 0;
        for task in tasks {
            match task.await.unwrap() {
                Ok(_) => won += 1,
                Err(Error::Stale { current: None }) => (),
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!((won, verified(&*store).await.len() - before), (1, 1), "round {round}");
    }
}

/// After the clock was set back, codes of the past are the past.
pub async fn no_older_code_is_taken(place: &impl Place) {
    let store = place.open().await;
    let factor = active(&store, "ann").await;
    commit(&store, spend(&factor, STEP + 10)).await.unwrap();
    for old in [0, STEP, STEP + 9, STEP + 10] {
        assert_eq!(stale(&store, spend(&factor, old)).await, None, "{old}");
    }
    drop(store);
    let store = place.open().await;
    assert_eq!(stale(&store, spend(&factor, STEP + 10)).await, None);
    commit(&store, spend(&factor, STEP + 11)).await.unwrap();
}

pub async fn wrong_codes_lock_for_longer_and_longer(place: &impl Place) {
    let mut store = place.open().await;
    let factor = active(&store, "ann").await;
    let mut now = tick();
    for seconds in [0, 0, 0, 0, 30, 60, 120, 240, 480, 960, 1920, 3600, 3600] {
        at_time(&store, miss(&factor), now).await.unwrap();
        let kept = store.factor("ann", FactorState::Active).await.unwrap().unwrap();
        let lock = (seconds > 0).then(|| now + Duration::from_secs(seconds));
        assert_eq!(kept.locked_until, lock);
        if let Some(end) = lock {
            // A restart is no way around it.
            drop(store);
            store = place.open().await;
            let last_moment = end - Duration::from_millis(1);
            for change in [miss(&factor), spend(&factor, STEP + 1)] {
                assert!(matches!(at_time(&store, change, last_moment).await, Err(Error::Stale { .. })), "{seconds}");
            }
            now = end;
        }
    }
    at_time(&store, spend(&factor, STEP + 1), now).await.unwrap();
    let kept = store.factor("ann", FactorState::Active).await.unwrap().unwrap();
    assert_eq!((kept.failures, kept.locked_until), (0, None));
}

/// Whatever comes in one group: the fifth wrong code locks, and what is behind it finds it locked, good or not.
pub async fn a_thousand_guesses_at_once_are_five(place: &impl Place) {
    let store = Arc::new(place.open().await);
    let factor = active(&*store, "ann").await;
    let at = tick();
    let tasks: Vec<_> = (0..200)
        .map(|_| {
            let (store, change) = (Arc::clone(&store), miss(&factor));
            tokio::spawn(async move { at_time(&*store, change, at).await })
        })
        .collect();
    let mut counted = 0;
    for task in tasks {
        counted += usize::from(task.await.unwrap().is_ok());
    }
    assert_eq!(counted, 5);
    assert!(matches!(at_time(&*store, spend(&factor, STEP + 1), at).await, Err(Error::Stale { .. })));
}

pub async fn what_nobody_confirms_is_found(place: &impl Place) {
    let store = place.open().await;
    let waiting = factor("ann");
    enrol(&store, &waiting, None).await.unwrap();
    active(&store, "bob").await;
    let since = tick();
    assert_eq!(store.waiting_factors(since, 10).await.unwrap(), std::slice::from_ref(&waiting));
    assert_eq!(store.waiting_factors(waiting.created_at - Duration::from_secs(1), 10).await.unwrap(), []);
    let forget = |of: &Factor| Change::Factor(FactorChange::Forget { caller: of.caller.clone(), id: of.id });
    let bobs = store.factor("bob", FactorState::Active).await.unwrap().unwrap();
    assert_eq!(stale(&store, forget(&bobs)).await, None);
    commit(&store, forget(&waiting)).await.unwrap();
    assert_eq!(store.waiting_factors(since, 10).await.unwrap(), []);
}

// Approvals.

fn approval(requester: &str, digest: u8) -> Approval {
    let requested_at = tick();
    Approval {
        id: Uuid::now_v7(),
        requester: requester.into(),
        requester_name: format!("name of {requester}"),
        known_by: vec!["email=ann@acme.example".into()],
        action: "delete".into(),
        path: acme(),
        digest: [digest; 32],
        requested_at,
        expires_at: requested_at + Duration::from_secs(24 * 3600),
        approved: None,
    }
}

async fn ask(store: &impl Store, approval: &Approval) -> Result<(), Error> {
    let change = Change::Approval(ApprovalChange::Request(Box::new(approval.clone())));
    at_time(store, change, approval.requested_at).await
}

fn approve(id: Uuid, until: Timestamp) -> Change {
    Change::Approval(ApprovalChange::Approve { id, by: "bob".into(), until })
}

fn use_of(it: &Approval) -> Change {
    Change::Approval(ApprovalChange::Spend { id: it.id, requester: it.requester.clone(), digest: it.digest })
}

pub async fn an_approval_is_for_one_request_and_one_caller(place: &impl Place) {
    let store = place.open().await;
    let asked = approval("ann", 1);
    ask(&store, &asked).await.unwrap();
    // The same again is the same; another's is another.
    ask(&store, &Approval { id: Uuid::now_v7(), ..asked.clone() }).await.unwrap();
    let others = approval("eve", 1);
    ask(&store, &others).await.unwrap();
    assert_eq!(store.approval_of("ann", &[1; 32]).await.unwrap().as_ref(), Some(&asked));
    assert_eq!(store.approvals(Some("acme")).await.unwrap(), [others.clone(), asked.clone()]);
    assert_eq!(store.approvals(Some("globex")).await.unwrap(), []);

    assert_eq!(stale(&store, use_of(&asked)).await, None, "nobody has agreed yet");
    drop(store);
    let store = place.open().await;
    let until = tick() + Duration::from_secs(3600);
    commit(&store, approve(asked.id, until)).await.unwrap();
    assert_eq!(stale(&store, approve(asked.id, until + Duration::from_secs(3600))).await, None, "once");
    let kept = store.approval(asked.id).await.unwrap().unwrap();
    assert_eq!((kept.approved.unwrap().0.as_str(), kept.expires_at), ("bob", until));
    for wrong in [
        Approval { id: others.id, ..asked.clone() },
        Approval { requester: "eve".into(), ..asked.clone() },
        Approval { digest: [2; 32], ..asked.clone() },
        others.clone(),
    ] {
        assert_eq!(stale(&store, use_of(&wrong)).await, None);
    }
    assert!(matches!(at_time(&store, use_of(&asked), until).await, Err(Error::Stale { .. })), "too late");
    commit(&store, use_of(&asked)).await.unwrap();
    assert_eq!(stale(&store, use_of(&asked)).await, None);
    assert_eq!(store.approval(asked.id).await.unwrap(), None);

    let reject = Change::Approval(ApprovalChange::Reject { id: others.id });
    commit(&store, reject.clone()).await.unwrap();
    assert_eq!(stale(&store, reject).await, None);
}

pub async fn sixty_four_uses_of_one_approval(place: &impl Place) {
    let store = Arc::new(place.open().await);
    let asked = approval("ann", 1);
    ask(&*store, &asked).await.unwrap();
    commit(&*store, approve(asked.id, tick() + Duration::from_secs(3600))).await.unwrap();
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let (store, change) = (Arc::clone(&store), use_of(&asked));
            tokio::spawn(async move { commit(&*store, change).await.is_ok() })
        })
        .collect();
    let mut won = 0;
    for task in tasks {
        won += usize::from(task.await.unwrap());
    }
    assert_eq!(won, 1);
}

pub async fn approvals_end_and_are_not_many(place: &impl Place) {
    let store = place.open().await;
    let first = approval("ann", 0);
    ask(&store, &first).await.unwrap();
    for digest in 1..32 {
        ask(&store, &approval("ann", digest)).await.unwrap();
    }
    assert!(matches!(ask(&store, &approval("ann", 99)).await, Err(Error::Full)));
    ask(&store, &approval("bob", 99)).await.unwrap();
    // The same again is not one more.
    ask(&store, &approval("ann", 5)).await.unwrap();

    let end = first.expires_at;
    assert_eq!(store.ended_approvals(end - Duration::from_millis(1), 100).await.unwrap(), []);
    assert_eq!(store.ended_approvals(end, 100).await.unwrap(), std::slice::from_ref(&first));
    let expire = |at| at_time(&store, Change::Approval(ApprovalChange::Expire { id: first.id }), at);
    assert!(matches!(expire(end - Duration::from_millis(1)).await, Err(Error::Stale { .. })));
    assert!(matches!(
        at_time(&store, approve(first.id, end + Duration::from_secs(9)), end).await,
        Err(Error::Stale { .. })
    ));
    // What has ended makes room, and the same request is asked for anew, before anybody has tidied up.
    let again = Approval { requested_at: end, expires_at: end + Duration::from_secs(60), ..approval("ann", 0) };
    ask(&store, &again).await.unwrap();
    assert_eq!(store.approval_of("ann", &[0; 32]).await.unwrap().unwrap().id, again.id);
    assert!(matches!(expire(end).await, Err(Error::Stale { .. })));
}
