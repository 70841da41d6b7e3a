//! An org's end and what is under way meanwhile.

use strongroom::vault::Error;
use tokio::sync::watch;

use super::*;

/// Law 5, for all of an org: what is acknowledged while the key service is slow is seen before the answer leaves.
#[tokio::test(flavor = "multi_thread")]
async fn an_orgs_end_overtakes_a_slow_unwrap() {
    let home = tempfile::tempdir().unwrap();
    let keys = Keys::new(home.path());
    let vault = vault(home.path(), &keys, nobody(), LIMITS);
    for org in ["acme", "globex"] {
        vault.setup(&admin(), setup(path(org, "a"), &openai_key(org), true)).await.unwrap();
    }
    keys.gate.forget_permits(Semaphore::MAX_PERMITS);
    let before = keys.unwraps();
    let ask = |org| {
        let vault = Arc::clone(&vault);
        tokio::spawn(async move { vault.decrypt(&admin(), decrypt(path(org, "a"))).await })
    };
    let (ours, theirs) = (ask("acme"), ask("globex"));
    while keys.unwraps() < before + 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    vault.destroy_org(&admin(), "acme", None).await.unwrap();
    keys.gate.add_permits(1000);
    assert!(matches!(ours.await.unwrap(), Err(Error::NotFound { .. })));
    assert!(theirs.await.unwrap().is_ok());
    // Nor does it stay in the cache.
    vault.restore_org(&admin(), "acme").await.unwrap();
    assert!(!vault.decrypt(&admin(), decrypt(path("acme", "a"))).await.unwrap().cached);
    assert!(vault.decrypt(&admin(), decrypt(path("globex", "a"))).await.unwrap().cached);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_cached_goes_with_its_org_alone() {
    let home = tempfile::tempdir().unwrap();
    let keys = Keys::new(home.path());
    let vault = vault(home.path(), &keys, nobody(), LIMITS);
    for org in ["acme", "globex"] {
        for name in ["a", "b"] {
            vault.setup(&admin(), setup(path(org, name), &openai_key(&format!("{org}{name}")), true)).await.unwrap();
            vault.decrypt(&admin(), decrypt(path(org, name))).await.unwrap();
        }
    }
    vault.destroy_org(&admin(), "acme", None).await.unwrap();
    vault.restore_org(&admin(), "acme").await.unwrap();
    for (org, cached) in [("acme", false), ("globex", true)] {
        for name in ["a", "b"] {
            let opened = vault.decrypt(&admin(), decrypt(path(org, name))).await.unwrap();
            assert_eq!(opened.cached, cached, "{org} {name}");
        }
    }
}

/// A digest made under a key that has gone would find no reuse any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_is_used_again_has_another_key() {
    let home = tempfile::tempdir().unwrap();
    let keys = Keys::new(home.path());
    let vault = vault(home.path(), &keys, nobody(), LIMITS);
    let (closing, closed) = watch::channel(false);
    let upkeep = tokio::spawn(Arc::clone(&vault).upkeep(closed));
    let again = || setup(path("acme", "a"), &openai_key("same"), true);
    let first = vault.setup(&admin(), again()).await.unwrap().version;
    vault.destroy_org(&admin(), "acme", Some(Duration::ZERO)).await.unwrap();
    let second = loop {
        match vault.setup(&admin(), again()).await {
            Ok(done) => break done.version,
            Err(Error::Conflict { why, .. }) => assert!(why.contains("destroyed"), "{why}"),
            Err(error) => panic!("{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(first.fingerprint, second.fingerprint);
    assert_ne!((first.credential, first.digest), (second.credential, second.digest));
    assert!(matches!(vault.setup(&admin(), again()).await, Err(Error::Conflict { .. })), "it is there already");
    closing.send_replace(true);
    upkeep.await.unwrap();
}
