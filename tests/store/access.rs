//! Tokens and keys: who gets in, and who does not any more.

use std::sync::Arc;

use strongroom::store::OrgKey;

use super::changes::serving;
use super::*;

pub async fn serve_refuses_revoked_tokens(place: &impl Place) {
    let store = place.open().await;
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
    let store = place.open().await;
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
    let store = place.open().await;
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
        Token { actions: vec!["issueToken".into()], ..admin() },
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
    let store = Arc::new(place.open().await);
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

fn child(parent: &Token) -> Token {
    Token { parent: Some(parent.id), expires_at: parent.expires_at, ..token(&parent.org) }
}

/// Four generations, each made by a token of the one before.
async fn family(store: &impl Store) -> Vec<Token> {
    let mut family = vec![token("acme")];
    commit(store, Change::IssueToken(family[0].clone())).await.unwrap();
    for generation in 0..3 {
        let next = child(&family[generation]);
        commit(store, Change::IssueToken(next.clone())).await.unwrap();
        family.push(next);
    }
    family
}

async fn is_good(store: &impl Store, credential: &Credential, token: &Token) -> bool {
    let by = Change::By { token: token.id, change: Box::new(Change::Record) };
    let answers = [commit(store, serving(credential, 1, Some(token.id))).await, commit(store, by).await];
    let good = answers.iter().filter(|answer| answer.is_ok()).count();
    assert!(answers.iter().all(|answer| matches!(answer, Ok(_) | Err(Error::Revoked))), "{answers:?}");
    assert_ne!(good, 1, "one rule for all that is done by a token");
    good == 2
}

pub async fn families_end_together(place: &impl Place) {
    let store = place.open().await;
    let credential = served(&store, acme()).await;
    let (ours, others) = (family(&store).await, family(&store).await);
    for token in ours.iter().chain(&others) {
        assert!(is_good(&store, &credential, token).await);
    }
    commit(&store, Change::RevokeToken { id: ours[1].id }).await.unwrap();
    let good = [true, false, false, false];
    for (token, good) in ours.iter().zip(good).chain(others.iter().zip([true; 4])) {
        assert_eq!(is_good(&store, &credential, token).await, good);
        assert_eq!(store.token(token.id).await.unwrap().unwrap().revoked_at.is_none(), good);
    }
    // What was revoked before keeps its time.
    let before = store.token(ours[3].id).await.unwrap();
    commit(&store, Change::RevokeToken { id: ours[0].id }).await.unwrap();
    assert_eq!(store.token(ours[3].id).await.unwrap(), before);
    // Nobody is born to a dead parent, and what is done by a dead token is not done.
    for parent in &ours {
        assert_eq!(stale(&store, Change::IssueToken(child(parent))).await, None);
    }
    let by = Change::By { token: ours[0].id, change: Box::new(Change::IssueToken(token("acme"))) };
    assert!(matches!(commit(&store, by).await, Err(Error::Revoked)));
    assert_eq!(store.tokens(None).await.unwrap().len(), 8);
}

pub async fn children_stay_within(place: &impl Place) {
    let store = place.open().await;
    let credential = served(&store, acme()).await;
    let parent = Token { expires_at: later(), ..token("acme") };
    commit(&store, Change::IssueToken(parent.clone())).await.unwrap();
    let second = jiff::SignedDuration::from_secs(1);
    let longer = Token { expires_at: parent.expires_at + second, ..child(&parent) };
    assert_eq!(stale(&store, Change::IssueToken(longer)).await, None);
    let orphan = Token { parent: Some(Uuid::now_v7()), ..token("acme") };
    assert_eq!(stale(&store, Change::IssueToken(orphan)).await, None);
    // The end counts in the confirmation too, by the time of the request.
    let short = Token { expires_at: tick(), ..child(&parent) };
    assert!(commit(&store, Change::IssueToken(short.clone())).await.is_ok());
    assert!(!is_good(&store, &credential, &short).await);
    assert_eq!(stale(&store, Change::IssueToken(child(&short))).await, None);
}

pub async fn rotation(place: &impl Place) {
    let store = place.open().await;
    let credential = served(&store, acme()).await;
    let second = jiff::SignedDuration::from_secs(1);
    let ours = family(&store).await;
    let successor = token("acme");
    let ends_at = tick() + second;
    let rotate = |old: &Token, ends_at, successor: &Token| Change::RotateToken {
        id: old.id,
        ends_at,
        successor: successor.clone(),
    };
    commit(&store, rotate(&ours[0], ends_at, &successor)).await.unwrap();
    let new = store.token(successor.id).await.unwrap().unwrap();
    assert_eq!(new, Token { replaces: Some(ours[0].id), ..successor });
    for token in &ours {
        assert!(is_good(&store, &credential, token).await);
        let now = store.token(token.id).await.unwrap().unwrap();
        assert_eq!((now.expires_at, now.revoked_at), (ends_at, None), "all of the family ends with it");
    }
    let after = Draft { at: ends_at, ..draft("decrypt") };
    for token in &ours {
        let late = store.commit(serving(&credential, 1, Some(token.id)), after.clone().into()).await;
        assert!(matches!(late, Err(Error::Revoked)));
    }
    assert!(is_good(&store, &credential, &new).await);

    // At once: the old one and its children are revoked. A far end makes nothing longer.
    let born = child(&new);
    commit(&store, Change::IssueToken(born.clone())).await.unwrap();
    let next = token("acme");
    commit(&store, rotate(&new, tick(), &next)).await.unwrap();
    assert!(!is_good(&store, &credential, &new).await && !is_good(&store, &credential, &born).await);
    let last = token("acme");
    commit(&store, rotate(&next, next.expires_at + second, &last)).await.unwrap();
    assert_eq!(store.token(next.id).await.unwrap().unwrap().expires_at, next.expires_at);
    // What has ended is not rotated, and a successor of a child is no orphan.
    assert_eq!(stale(&store, rotate(&new, tick(), &token("acme"))).await, None);
    let (born, heir) = (child(&last), child(&last));
    commit(&store, Change::IssueToken(born.clone())).await.unwrap();
    commit(&store, rotate(&born, later(), &heir)).await.unwrap();
    commit(&store, Change::RevokeToken { id: last.id }).await.unwrap();
    assert!(!is_good(&store, &credential, &heir).await);
}

/// Whoever stole a token does not keep what it was rotated into; what others rotated it into stays.
pub async fn a_line_ends_with_its_first(place: &impl Place) {
    let store = place.open().await;
    let credential = served(&store, acme()).await;
    let rotate = |old: &Token, successor: &Token| Change::RotateToken {
        id: old.id,
        ends_at: later(),
        successor: successor.clone(),
    };
    let first = token("acme");
    commit(&store, Change::IssueToken(first.clone())).await.unwrap();
    let second = Token { created_by: first.id.to_string(), ..token("acme") };
    commit(&store, rotate(&first, &second)).await.unwrap();
    let third = Token { created_by: second.id.to_string(), ..token("acme") };
    commit(&store, rotate(&second, &third)).await.unwrap();
    let born = child(&third);
    commit(&store, Change::IssueToken(born.clone())).await.unwrap();
    let rescued = token("acme");
    commit(&store, rotate(&third, &rescued)).await.unwrap();
    commit(&store, Change::RevokeToken { id: first.id }).await.unwrap();
    for token in [&first, &second, &third, &born] {
        assert!(!is_good(&store, &credential, token).await);
    }
    assert!(is_good(&store, &credential, &rescued).await, "rotated by somebody else");
}

/// Sixty-four take over from one token: one does.
pub async fn a_token_is_rotated_once(place: &impl Place) {
    let store = Arc::new(place.open().await);
    let old = token("acme");
    commit(&*store, Change::IssueToken(old.clone())).await.unwrap();
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let store = Arc::clone(&store);
            let change = Change::RotateToken { id: old.id, ends_at: later(), successor: token("acme") };
            tokio::spawn(async move { commit(&*store, change).await })
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
    assert_eq!(store.tokens(None).await.unwrap().len(), 2);
}

/// Not at once, and not each: about every minute of use, in a pause or before a restart.
pub async fn uses_are_noted(place: &impl Place) {
    let (used, idle, restless) = (token("acme"), token("acme"), token("acme"));
    let last = async |store: &_, token: &Token| Store::token(store, token.id).await.unwrap().unwrap().last_used_at;
    let at = tick();
    {
        let store = place.open().await;
        for token in [&used, &idle, &restless] {
            commit(&store, Change::IssueToken(token.clone())).await.unwrap();
        }
        let use_at = async |token: &Token, at| {
            let by = Change::By { token: token.id, change: Box::new(Change::Record) };
            store.commit(by, Draft { at, ..draft("list") }.into()).await.unwrap();
        };
        use_at(&used, at).await;
        use_at(&used, at + jiff::SignedDuration::from_secs(59)).await;
        let waited = std::time::Instant::now();
        while last(&store, &used).await.is_none() {
            assert!(waited.elapsed() < std::time::Duration::from_secs(30), "no pause was used");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        assert_eq!(last(&store, &used).await, Some(at));
        use_at(&used, at + jiff::SignedDuration::from_secs(61)).await;
        use_at(&restless, at).await;
    }
    let store = place.open().await;
    assert_eq!(last(&store, &used).await, Some(at + jiff::SignedDuration::from_secs(61)));
    assert_eq!(last(&store, &restless).await, Some(at));
    assert_eq!(last(&store, &idle).await, None);
}

pub async fn org_keys(place: &impl Place) {
    let store = place.open().await;
    let key = |wrapped: &str| OrgKey { org: "acme".into(), wraps: vec![wrap("local://default", "1", wrapped)] };
    assert_eq!(store.org_key("acme").await.unwrap(), None);
    commit(&store, Change::KeepOrgKey(key("first"))).await.unwrap();
    commit(&store, Change::KeepOrgKey(key("second"))).await.unwrap();
    assert_eq!(store.org_key("acme").await.unwrap(), Some(key("first")));
    assert_eq!(store.org_key("other").await.unwrap(), None);
}
