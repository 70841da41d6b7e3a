//! Opening: how often the key service is asked, and what is answered when it is slow or gone.

use futures_util::future::join_all;
use strongroom::vault::{Dependency, Error};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_at_once_cost_one_unwrap() {
    let home = tempfile::tempdir().unwrap();
    let keys = Keys::new(home.path());
    let vault = vault(home.path(), &keys, nobody(), LIMITS);
    vault.setup(&admin(), setup(path("acme", "a"), &openai_key("a"), true)).await.unwrap();
    let before = keys.unwraps();
    let caller = admin();
    let all = join_all((0..1000).map(|_| vault.decrypt(&caller, decrypt(path("acme", "a"))))).await;
    assert!(all.iter().all(|one| one.as_ref().unwrap().secret.expose() == openai_key("a").as_bytes()));
    assert_eq!(keys.unwraps() - before, 1);
}

/// Law 5: what is acknowledged while the key service is slow is seen before the answer leaves.
#[tokio::test(flavor = "multi_thread")]
async fn a_delete_overtakes_a_slow_unwrap() {
    let home = tempfile::tempdir().unwrap();
    let keys = Keys::new(home.path());
    let vault = vault(home.path(), &keys, nobody(), LIMITS);
    for (name, rotated) in [("deleted", false), ("rotated", true)] {
        vault.setup(&admin(), setup(path("acme", name), &openai_key("old"), true)).await.unwrap();
        keys.gate.forget_permits(Semaphore::MAX_PERMITS);
        let before = keys.unwraps();
        let (asker, asked) = (Arc::clone(&vault), path("acme", name));
        let waiting = tokio::spawn(async move { asker.decrypt(&admin(), decrypt(asked)).await });
        while keys.unwraps() == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if rotated {
            vault.setup(&admin(), setup(path("acme", name), &openai_key("new"), true)).await.unwrap();
        } else {
            vault.delete(&admin(), delete(path("acme", name))).await.unwrap();
        }
        keys.gate.add_permits(1000);
        match waiting.await.unwrap() {
            Ok(answer) => assert!(rotated && answer.secret.expose() == openai_key("new").as_bytes()),
            Err(error) => assert!(!rotated && matches!(error, Error::NotFound { .. }), "{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_keys_the_vault_serves_what_is_cached_and_stores_nothing() {
    let home = tempfile::tempdir().unwrap();
    let keys = Keys::new(home.path());
    let vault = vault(home.path(), &keys, nobody(), LIMITS);
    for name in ["warm", "cold"] {
        vault.setup(&admin(), setup(path("acme", name), &openai_key(name), true)).await.unwrap();
    }
    vault.decrypt(&admin(), decrypt(path("acme", "warm"))).await.unwrap();

    keys.down.store(true, Ordering::SeqCst);
    assert!(vault.decrypt(&admin(), decrypt(path("acme", "warm"))).await.unwrap().cached);
    let down = |error: &Error| matches!(error, Error::Unavailable { what: Dependency::Kms, .. });
    assert!(down(&vault.decrypt(&admin(), decrypt(path("acme", "cold"))).await.unwrap_err()));
    assert!(down(&vault.setup(&admin(), setup(path("acme", "new"), &openai_key("new"), true)).await.unwrap_err()));
    assert!(matches!(vault.get(&admin(), &path("acme", "new")).await.unwrap_err(), Error::NotFound { .. }));

    keys.down.store(false, Ordering::SeqCst);
    vault.decrypt(&admin(), decrypt(path("acme", "cold"))).await.unwrap();
}

/// One tenant's secrets push out its own, not its neighbour's.
#[tokio::test(flavor = "multi_thread")]
async fn an_org_keeps_to_its_share_of_the_cache() {
    let home = tempfile::tempdir().unwrap();
    let keys = Keys::new(home.path());
    // About five keys of this length and their overhead.
    let limits = Limits { org_bytes: 2_000, ..LIMITS };
    let vault = vault(home.path(), &keys, nobody(), limits);
    vault.setup(&admin(), setup(path("small", "one"), &openai_key("one"), true)).await.unwrap();
    vault.decrypt(&admin(), decrypt(path("small", "one"))).await.unwrap();
    for n in 0..30 {
        let name = format!("n{n}");
        vault.setup(&admin(), setup(path("large", &name), &openai_key(&name), true)).await.unwrap();
        vault.decrypt(&admin(), decrypt(path("large", &name))).await.unwrap();
    }
    assert!(vault.decrypt(&admin(), decrypt(path("small", "one"))).await.unwrap().cached);
    assert!(vault.decrypt(&admin(), decrypt(path("large", "n29"))).await.unwrap().cached);
    assert!(!vault.decrypt(&admin(), decrypt(path("large", "n0"))).await.unwrap().cached);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cached_plaintext_ends_with_its_time() {
    let home = tempfile::tempdir().unwrap();
    let keys = Keys::new(home.path());
    let limits = Limits { ttl: Duration::from_millis(300), ..LIMITS };
    let vault = vault(home.path(), &keys, nobody(), limits);
    vault.setup(&admin(), setup(path("acme", "a"), &openai_key("a"), true)).await.unwrap();
    vault.decrypt(&admin(), decrypt(path("acme", "a"))).await.unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(!vault.decrypt(&admin(), decrypt(path("acme", "a"))).await.unwrap().cached);
}
