//! Run-scoped grants: kept, counted, ended.

use std::sync::Arc;

use strongroom::store::{Grant, GrantFilter};

use super::*;

fn grant(credentials: &[&Credential], uses: u32) -> Grant {
    Grant {
        id: Uuid::now_v7(),
        org: "acme".into(),
        run: "run-7".into(),
        phase: "plan".into(),
        credentials: credentials.iter().map(|credential| credential.id).collect(),
        holder: Some("somebody".into()),
        uses,
        hash: [9; 32],
        minted_by: "tester".into(),
        created_at: tick(),
        expires_at: later(),
        ..Grant::default()
    }
}

fn minting(grant: &Grant) -> Change {
    Change::MintGrant { grant: grant.clone(), also: Vec::new() }
}

fn spending(credential: &Credential, grant: Uuid, token: Option<Uuid>) -> Change {
    Change::Serve { target: at(credential), version: 1, token, grant: Some(grant) }
}

async fn used(store: &impl Store, grant: &Grant) -> u32 {
    store.grant(grant.id).await.unwrap().unwrap().used
}

pub async fn grants_are_kept(place: &impl Place) {
    let credential;
    let minted;
    {
        let store = place.open().await;
        credential = served(&store, acme()).await;
        minted = grant(&[&credential], 3);
        let also = vec![draft("first").into(), draft("second").into()];
        commit(&store, Change::MintGrant { grant: minted.clone(), also }).await.unwrap();
        let told: Vec<_> = verified(&store).await[1..].iter().map(|record| record.draft.action.clone()).collect();
        assert_eq!(told, ["test", "first", "second"], "a record for each credential");
        commit(&store, minting(&minted)).await.unwrap();
        let other = Grant { uses: 4, ..minted.clone() };
        assert!(matches!(commit(&store, minting(&other)).await, Err(Error::Taken)));
        assert_eq!(store.grant(Uuid::now_v7()).await.unwrap(), None);
        commit(&store, spending(&credential, minted.id, None)).await.unwrap();
    }
    let store = place.open().await;
    assert_eq!(store.grant(minted.id).await.unwrap(), Some(Grant { used: 1, ..minted.clone() }));
    let revoke = |id| Change::RevokeGrant { id, also: Vec::new() };
    commit(&store, revoke(minted.id)).await.unwrap();
    let revoked = store.grant(minted.id).await.unwrap().unwrap();
    assert!(revoked.revoked_at.is_some());
    commit(&store, revoke(minted.id)).await.unwrap();
    assert_eq!(store.grant(minted.id).await.unwrap(), Some(revoked), "the first revocation counts");
    assert_eq!(stale(&store, revoke(Uuid::now_v7())).await, None);
    assert!(matches!(commit(&store, spending(&credential, minted.id, None)).await, Err(Error::Spent)));
}

/// Sixty-four want the last use: one gets it. What is refused uses nothing.
pub async fn a_grant_is_spent_to_its_last_use(place: &impl Place) {
    let store = Arc::new(place.open().await);
    let credential = served(&*store, acme()).await;
    let minted = grant(&[&credential], 2);
    commit(&*store, minting(&minted)).await.unwrap();

    let old = Credential { revision: 0, ..credential.clone() };
    assert!(stale(&*store, spending(&old, minted.id, None)).await.is_some());
    let revoked = spending(&credential, minted.id, Some(Uuid::now_v7()));
    assert!(matches!(commit(&*store, revoked).await, Err(Error::Revoked)));
    let late = Draft { at: minted.expires_at, ..draft("decrypt") };
    let late = store.commit(spending(&credential, minted.id, None), late.into()).await;
    assert!(matches!(late, Err(Error::Spent)));
    let unknown = spending(&credential, Uuid::now_v7(), None);
    assert!(matches!(commit(&*store, unknown).await, Err(Error::Spent)));
    assert_eq!(used(&*store, &minted).await, 0);
    commit(&*store, spending(&credential, minted.id, None)).await.unwrap();

    let records = verified(&*store).await.len();
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let (store, change) = (Arc::clone(&store), spending(&credential, minted.id, None));
            tokio::spawn(async move { commit(&*store, change).await })
        })
        .collect();
    let mut winners = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => winners += 1,
            Err(error) => assert!(matches!(error, Error::Spent), "{error}"),
        }
    }
    assert_eq!((winners, used(&*store, &minted).await), (1, 2));
    assert_eq!(verified(&*store).await.len(), records + 1);
}

pub async fn grants_end_with_their_token(place: &impl Place) {
    let store = place.open().await;
    let credential = served(&store, acme()).await;
    let parent = token("acme");
    let child = Token { parent: Some(parent.id), expires_at: parent.expires_at, ..token("acme") };
    for token in [&parent, &child] {
        commit(&store, Change::IssueToken(token.clone())).await.unwrap();
    }
    let by = |token: &Token| Grant {
        minted_with: Some(token.id),
        expires_at: token.expires_at,
        ..grant(&[&credential], 100)
    };
    let (ours, theirs, free) = (by(&parent), by(&child), grant(&[&credential], 100));
    for grant in [&ours, &theirs, &free] {
        commit(&store, minting(grant)).await.unwrap();
        commit(&store, spending(&credential, grant.id, None)).await.unwrap();
    }
    let longer = Grant { expires_at: parent.expires_at + jiff::SignedDuration::from_secs(1), ..by(&parent) };
    assert_eq!(stale(&store, minting(&longer)).await, None);

    // A rotation shortens them with the token; a revocation ends them.
    let ends_at = tick() + jiff::SignedDuration::from_secs(1);
    commit(&store, Change::RotateToken { id: parent.id, ends_at, successor: token("acme") }).await.unwrap();
    for grant in [&ours, &theirs] {
        assert_eq!(store.grant(grant.id).await.unwrap().unwrap().expires_at, ends_at);
    }
    commit(&store, Change::RevokeToken { id: parent.id }).await.unwrap();
    for grant in [&ours, &theirs] {
        assert!(matches!(commit(&store, spending(&credential, grant.id, None)).await, Err(Error::Spent)));
        assert!(store.grant(grant.id).await.unwrap().unwrap().revoked_at.is_some());
    }
    assert_eq!(stale(&store, minting(&by(&child))).await, None);
    commit(&store, spending(&credential, free.id, None)).await.unwrap();
}

pub async fn grant_pages(place: &impl Place) {
    let store = place.open().await;
    let credential = served(&store, acme()).await;
    let mut minted = Vec::new();
    for number in 0..7 {
        let org = if number % 3 == 0 { "globex" } else { "acme" };
        let run = if number % 2 == 0 { "even" } else { "odd" };
        let new = Grant { org: org.into(), run: run.into(), ..grant(&[&credential], 1) };
        commit(&store, minting(&new)).await.unwrap();
        minted.insert(0, new);
    }
    let all = async |filter: GrantFilter| {
        let (mut found, mut before) = (Vec::new(), None);
        loop {
            let page = store.grants(&filter, before, 2).await.unwrap();
            let Some(last) = page.last() else { return found };
            before = Some(last.id);
            found.extend(page);
        }
    };
    for org in [None, Some("acme"), Some("globex"), Some("nobody")] {
        for run in [None, Some("odd"), Some("none")] {
            let fits =
                |grant: &&Grant| org.is_none_or(|org| grant.org == org) && run.is_none_or(|run| grant.run == run);
            let expected: Vec<_> = minted.iter().filter(fits).cloned().collect();
            let filter = GrantFilter { org: org.map(Into::into), run: run.map(Into::into) };
            assert_eq!(all(filter).await, expected, "{org:?} {run:?}");
        }
    }
    // What has ended long ago goes with the next one; what has ended lately stays.
    let day = jiff::SignedDuration::from_hours(24);
    for (ended, days) in [(true, 31), (false, 29)] {
        let past = Grant { expires_at: tick() - day * days, ..grant(&[&credential], 1) };
        commit(&store, minting(&past)).await.unwrap();
        commit(&store, minting(&grant(&[&credential], 1))).await.unwrap();
        assert_eq!(store.grant(past.id).await.unwrap().is_none(), ended);
    }
}
