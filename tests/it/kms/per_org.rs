//! `org+URI`: one call for an org, however many credentials it has and however many wait; and what it may not cost.

use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use strongroom::crypto::{Dek, Identity};
use strongroom::kms::{Context, Error, Kms, PerOrg, Wrapped};

use crate::daemon::runtime;
use crate::fake::kms::aws::Amazon;
use crate::fake::kms::{Service as _, State, Trouble};

const KEEP: Duration = Duration::from_secs(60);

fn credential(org: &str, version: u32) -> Context {
    let credential = uuid::Uuid::from_u128(7);
    let [project, provider, name] = ["default", "openai", "default"].map(str::to_owned);
    Context::of(&Identity { org: org.to_owned(), project, provider, name, credential, version })
}

fn dek(seed: u8) -> Dek {
    Dek::new([seed; 32])
}

fn per_org(amazon: &Amazon, keep: Duration) -> PerOrg {
    PerOrg::new(amazon.key(), keep)
}

async fn opens(key: &PerOrg, wrapped: &Wrapped, context: &Context, seed: u8) {
    assert_eq!(key.unwrap(wrapped, context).await.unwrap().expose(), dek(seed).expose());
}

#[test]
fn an_org_costs_one_call_and_nobody_elses_key_opens_its_own() {
    let amazon = Amazon::start();
    runtime().block_on(async {
        let key = per_org(&amazon, KEEP);
        let (first, second) = (dek(1), dek(2));
        let contexts: Vec<_> = (1..=64).map(|version| credential("acme", version)).collect();
        let wraps = try_join_all(contexts.iter().map(|context| key.wrap(&first, context))).await.unwrap();
        // AWS is asked twice for a wrap.
        assert_eq!(amazon.calls(), 2);
        assert!(wraps.iter().all(|wrap| wrap.key == key.uri() && wrap.key.starts_with("org+aws-kms://")));
        let other = key.wrap(&second, &credential("other", 1)).await.unwrap();
        assert_eq!(amazon.calls(), 4, "another org has another key");
        key.unwrap(&wraps[0], &contexts[0]).await.unwrap();
        assert_eq!(amazon.calls(), 5, "what was only wrapped is opened by AWS once");

        // After a start.
        let key = per_org(&amazon, KEEP);
        let opened = join_all(wraps.iter().zip(&contexts).map(|(wrap, context)| key.unwrap(wrap, context))).await;
        assert!(opened.into_iter().all(|dek| dek.unwrap().expose() == first.expose()));
        assert_eq!(amazon.calls(), 6);
        key.wrap(&first, &credential("acme", 65)).await.unwrap();
        opens(&key, &other, &credential("other", 1), 2).await;
        assert_eq!(amazon.calls(), 9);

        // Bound to whose it is, though the service was told the org alone.
        for context in [credential("acme", 2), credential("other", 1), Context::for_org_key("acme")] {
            assert!(matches!(key.unwrap(&wraps[0], &context).await, Err(Error::Mismatch { .. })), "{context:?}");
        }
    });
}

#[test]
fn what_was_altered_opens_nothing_and_is_nobodys_outage() {
    let amazon = Amazon::start();
    runtime().block_on(async {
        let (key, context) = (per_org(&amazon, KEEP), credential("acme", 1));
        let wrapped = key.wrap(&dek(1), &context).await.unwrap();
        let key = per_org(&amazon, KEEP);
        for length in 0..wrapped.bytes.len() {
            let cut = Wrapped { bytes: wrapped.bytes[..length].to_vec(), ..wrapped.clone() };
            assert!(matches!(key.unwrap(&cut, &context).await, Err(Error::Mismatch { .. })), "{length}");
        }
        for at in 0..wrapped.bytes.len() {
            let mut flipped = wrapped.clone();
            flipped.bytes[at] ^= 0x10;
            assert!(matches!(key.unwrap(&flipped, &context).await, Err(Error::Mismatch { .. })), "{at}");
        }
        let plain = Wrapped { key: amazon.key().uri().to_owned(), ..wrapped.clone() };
        assert!(matches!(key.unwrap(&plain, &context).await, Err(Error::Mismatch { .. })));
        opens(&key, &wrapped, &context, 1).await;
    });
}

#[test]
fn a_key_that_was_disabled_opens_nothing_once_the_time_is_over() {
    let amazon = Amazon::start();
    runtime().block_on(async {
        let (key, context) = (per_org(&amazon, Duration::from_millis(300)), credential("acme", 1));
        let wrapped = key.wrap(&dek(1), &context).await.unwrap();
        opens(&key, &wrapped, &context, 1).await;
        amazon.set("", State::Disabled);
        opens(&key, &wrapped, &context, 1).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        for error in [key.unwrap(&wrapped, &context).await.err(), key.wrap(&dek(1), &context).await.err()] {
            let error = error.expect("refused");
            assert!(matches!(error, Error::Refused { .. }) && error.key() == key.uri(), "{error:?}");
        }
        // A failure is not remembered.
        amazon.set("", State::Enabled);
        opens(&key, &wrapped, &context, 1).await;
        amazon.trouble(Trouble::Throttled);
        let late = per_org(&amazon, KEEP).unwrap(&wrapped, &context).await;
        assert!(matches!(late, Err(Error::Unavailable { .. })), "{late:?}");
    });
}

#[test]
fn what_is_new_is_under_the_version_that_was_last_seen_to_be_the_newest() {
    let amazon = Amazon::start();
    runtime().block_on(async {
        let (key, context) = (per_org(&amazon, KEEP), credential("acme", 1));
        let old = key.wrap(&dek(1), &context).await.unwrap();
        amazon.rotate();
        assert_eq!(key.wrap(&dek(1), &context).await.unwrap().key_version, old.key_version, "nobody has asked AWS");
        // As a rewrap asks for the newest version.
        let newest = key.wrap(&dek(1), &Context::new(vec![("purpose", "check".to_owned())])).await.unwrap();
        assert_ne!(newest.key_version, old.key_version);
        let new = key.wrap(&dek(1), &context).await.unwrap();
        assert_eq!(new.key_version, newest.key_version);
        for wrapped in [old, new] {
            opens(&key, &wrapped, &context, 1).await;
        }
    });
}
