//! Tokens and keys: who gets in, and who does not any more.

use std::sync::Arc;

use strongroom::store::OrgKey;

use super::changes::serving;
use super::*;

pub async fn serve_refuses_revoked_tokens(place: &impl Place) {
    let store = place.open();
    let credential = served(&store, acme()).await;
    let token = token("acme");
    let serving = |token| serving(&credential, 1, Some(token));
    assert!(matches!(commit(&store, serving(token.id)).await, Err(Error::Revoked)), "no such token");
    commit(&store, Change::IssueToken(token.clone())).await.unwrap();
    commit(&store, serving(token.id)).await.unwrap();
    commit(&store, Change::RevokeToken { id: token.id }).await.unwrap();
    assert!(matches!(commit(&store, serving(token.id)).await, Err(Error::Revoked)));
    // Create, issue, serve, revoke: the refusals are not there.
    assert_eq!(verified(&store).await.len(), 4);
}

pub async fn tokens(place: &impl Place) {
    let store = place.open();
    let (first, second, third) = (token("acme"), token("other"), token("*"));
    for token in [&first, &second, &third] {
        let receipt = commit(&store, Change::IssueToken(token.clone())).await.unwrap();
        assert_eq!(receipt.credential, None);
    }
    // A retry of what did happen is no error; another token with this id is.
    commit(&store, Change::IssueToken(first.clone())).await.unwrap();
    let other = Token { role: "admin".into(), ..first.clone() };
    assert!(matches!(commit(&store, Change::IssueToken(other)).await, Err(Error::Taken)));
    assert_eq!(store.token(first.id).await.unwrap(), Some(first.clone()));
    assert_eq!(store.token(Uuid::now_v7()).await.unwrap(), None);
    assert_eq!(store.tokens(None).await.unwrap(), [third, second, first.clone()]);
    assert_eq!(store.tokens(Some("acme")).await.unwrap(), std::slice::from_ref(&first));

    commit(&store, Change::RevokeToken { id: first.id }).await.unwrap();
    let revoked = store.token(first.id).await.unwrap().unwrap();
    assert!(revoked.revoked_at.is_some());
    commit(&store, Change::RevokeToken { id: first.id }).await.unwrap();
    assert_eq!(store.token(first.id).await.unwrap(), Some(revoked), "the first revocation counts");
    assert_eq!(stale(&store, Change::RevokeToken { id: Uuid::now_v7() }).await, None);
}

pub async fn first_admin(place: &impl Place) {
    let store = place.open();
    let admin = || Token {
        role: "admin".into(),
        projects: Vec::new(),
        providers: Vec::new(),
        expires_at: tick() + jiff::SignedDuration::from_secs(3600),
        ..token("*")
    };
    // None of these is an administrator of everything, now.
    for other in [
        Token { role: "operator".into(), ..admin() },
        Token { org: "acme".into(), ..admin() },
        Token { providers: vec!["openai".into()], ..admin() },
        Token { expires_at: tick(), ..admin() },
    ] {
        commit(&store, Change::IssueToken(other)).await.unwrap();
    }
    let first = admin();
    commit(&store, Change::FirstAdmin(first.clone())).await.unwrap();
    let records = verified(&store).await.len();
    assert!(matches!(commit(&store, Change::FirstAdmin(admin())).await, Err(Error::Taken)));
    assert_eq!(verified(&store).await.len(), records);
    commit(&store, Change::RevokeToken { id: first.id }).await.unwrap();
    commit(&store, Change::FirstAdmin(admin())).await.unwrap();
}

/// Sixty-four want to be the first administrator: one is.
pub async fn one_admin_is_the_first(place: &impl Place) {
    let store = Arc::new(place.open());
    let hour = jiff::SignedDuration::from_secs(3600);
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let store = Arc::clone(&store);
            let everything = Token { role: "admin".into(), projects: Vec::new(), providers: Vec::new(), ..token("*") };
            let admin = Token { expires_at: tick() + hour, ..everything };
            tokio::spawn(async move { commit(&*store, Change::FirstAdmin(admin)).await })
        })
        .collect();
    let mut winners = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => winners += 1,
            Err(error) => assert!(matches!(error, Error::Taken), "{error}"),
        }
    }
    assert_eq!(winners, 1);
    assert_eq!(store.tokens(None).await.unwrap().len(), 1);
    assert_eq!(verified(&*store).await.len(), 1);
}

pub async fn org_keys(place: &impl Place) {
    let store = place.open();
    let key = |wrapped: &[u8]| OrgKey {
        org: "acme".into(),
        wrapped: wrapped.into(),
        kms_key: "local://default".into(),
        kms_key_version: "1".into(),
    };
    assert_eq!(store.org_key("acme").await.unwrap(), None);
    commit(&store, Change::KeepOrgKey(key(b"first"))).await.unwrap();
    commit(&store, Change::KeepOrgKey(key(b"second"))).await.unwrap();
    assert_eq!(store.org_key("acme").await.unwrap(), Some(key(b"first")));
    assert_eq!(store.org_key("other").await.unwrap(), None);
}
