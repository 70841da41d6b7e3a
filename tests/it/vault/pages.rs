//! What a list tells besides its rows, and what a verification says of a log that it cannot read.

use strongroom::vault::policy::Vocabulary;
use strongroom::vault::{Admission, Error, List};

use super::*;

/// Sees the project `default` only.
fn limited() -> Caller {
    let whole = (*admin().principal).clone();
    let principal = Principal { id: "limited".into(), org: "acme".into(), projects: vec!["default".into()], ..whole };
    Caller::new(Arc::new(principal), "test".into())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_token_tells_nothing_and_is_its_callers_own() {
    let home = tempfile::tempdir().unwrap();
    let vault = vault(home.path(), &Keys::new(home.path()), nobody(), LIMITS);
    for name in ["one", "two", "three"] {
        vault.setup(&admin(), setup(path("acme", name), &openai_key(name), true)).await.unwrap();
    }
    let list = |page_token: String| List { org: "acme".into(), page_size: 1, page_token, ..List::default() };
    let page = vault.list(&admin(), list(String::new())).await.unwrap();
    let token = data_encoding::BASE64URL_NOPAD.decode(page.next.as_bytes()).unwrap();
    assert!(!token.windows(3).any(|part| part == b"one" || part == b"def"), "a token names a row");
    assert_eq!(vault.list(&admin(), list(page.next.clone())).await.unwrap().items.len(), 1);
    for (caller, token) in [(limited(), page.next.clone()), (admin(), format!("{}A", page.next)), (admin(), "x".into())]
    {
        let refused = vault.list(&caller, list(token)).await.unwrap_err();
        assert!(matches!(&refused, Error::Invalid { field, .. } if field == "page_token"), "{refused}");
    }
}

/// Damage at the very first record: no chain is known yet, and the log is still not whole.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_read_is_not_intact() {
    let home = tempfile::tempdir().unwrap();
    let keys = Keys::new(home.path());
    {
        let vault = vault(home.path(), &keys, nobody(), LIMITS);
        vault.setup(&admin(), setup(path("acme", "a"), &openai_key("a"), true)).await.unwrap();
        assert!(vault.verify_audit(&admin()).await.unwrap().iter().all(|chain| chain.broken.is_none()));
    }
    let database = rusqlite::Connection::open(home.path().join("strongroom.db")).unwrap();
    let first = "UPDATE audit_log SET canonical = '{' WHERE position = (SELECT min(position) FROM audit_log)";
    assert_eq!(database.execute(first, []).unwrap(), 1);
    drop(database);
    let vault = vault(home.path(), &keys, nobody(), LIMITS);
    let report = vault.verify_audit(&admin()).await.unwrap();
    assert_eq!(report.iter().map(|chain| chain.broken).collect::<Vec<_>>(), [Some((1, "unreadable"))]);
}

/// A policy change that is in force holds for an answer that was permitted before it.
#[tokio::test(flavor = "multi_thread")]
async fn new_rules_overtake_a_slow_unwrap() {
    let home = tempfile::tempdir().unwrap();
    let keys = Keys::new(home.path());
    let vault = vault(home.path(), &keys, nobody(), LIMITS);
    vault.setup(&admin(), setup(path("acme", "a"), &openai_key("a"), true)).await.unwrap();
    keys.gate.forget_permits(Semaphore::MAX_PERMITS);
    let before = keys.unwraps();
    let asker = Arc::clone(&vault);
    let waiting = tokio::spawn(async move { asker.decrypt(&admin(), decrypt(path("acme", "a"))).await });
    while keys.unwraps() == before {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let rules = home.path().join("rules");
    std::fs::create_dir(&rules).unwrap();
    std::fs::write(rules.join("none.cedar"), "forbid (principal, action, resource);").unwrap();
    vault
        .replace_rules(
            Policies::load(&rules, &Vocabulary::default()).unwrap(),
            Registry::embedded().unwrap(),
            Admission::default(),
            || {},
        )
        .await
        .unwrap();
    keys.gate.add_permits(1000);
    assert!(matches!(waiting.await.unwrap().unwrap_err(), Error::Denied));
}
