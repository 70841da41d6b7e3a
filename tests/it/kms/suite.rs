//! What every adapter must do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use strongroom::crypto::Dek;
use strongroom::kms::{Context, Error, Kms, Prices, Steady, Wrapped};

use crate::fake::kms::{Service, State, Trouble};

/// A test for every case and every adapter: `over! { NAME: FAKE, { WHAT NOT ALL HAVE, … } … }`.
macro_rules! over {
    ($($name:ident: $fake:expr, { $($more:ident,)* })+) => {
        $(mod $name {
            use super::*;
            $crate::kms::suite::cases! { $fake =>
                round_trip, another_context, another_key, damage, versions, not_enabled, passing, slow, mangled, corrupted,
                refused, crowd, patience, $($more,)*
            }
        })+
    };
}
macro_rules! cases {
    ($fake:expr => $($case:ident,)+) => {
        $(#[test]
        fn $case() {
            let service = $fake;
            crate::daemon::runtime().block_on($crate::kms::suite::$case(&service));
        })+
    };
}
pub(super) use {cases, over};

fn dek(seed: u8) -> Dek {
    Dek::new([seed; 32])
}

fn acme() -> Context {
    Context::for_org_key("acme")
}

async fn wrap(key: &dyn Kms) -> Wrapped {
    key.wrap(&dek(7), &acme()).await.unwrap()
}

async fn opens(key: &dyn Kms, wrapped: &Wrapped) {
    assert_eq!(key.unwrap(wrapped, &acme()).await.unwrap().expose(), dek(7).expose());
}

/// Wraps and unwraps; both must fail, with errors that are of this kind and quote no data key.
async fn both_fail(key: &dyn Kms, wrapped: &Wrapped, what: &str, kind: impl Fn(&Error) -> bool) {
    let wrap = key.wrap(&dek(7), &acme()).await.expect_err(what);
    let unwrap = key.unwrap(wrapped, &acme()).await.expect_err(what);
    for error in [wrap, unwrap] {
        assert!(kind(&error), "{what}: {error:?}");
        assert_eq!(error.key(), key.uri());
        assert!(!error.to_string().contains("BwcHBw"), "{what}: the data key is told: {error}");
    }
}

const fn passes(error: &Error) -> bool {
    matches!(error, Error::Unavailable { .. })
}

const fn is_refusal(error: &Error) -> bool {
    matches!(error, Error::Refused { .. })
}

const fn is_mismatch(error: &Error) -> bool {
    matches!(error, Error::Mismatch { .. })
}

pub async fn round_trip(service: &impl Service) {
    let key = service.key();
    let wrapped = wrap(&*key).await;
    assert_eq!(wrapped.key, key.uri());
    assert!(!wrapped.bytes.windows(8).any(|eight| eight == [7; 8]), "it is wrapped");
    opens(&*key, &wrapped).await;
    opens(&*service.key(), &wrapped).await;
    let again = wrap(&*key).await;
    assert_ne!(again.bytes, wrapped.bytes);
}

pub async fn another_context(service: &impl Service) {
    let key = service.key();
    let wrapped = wrap(&*key).await;
    for context in [
        Context::for_org_key("acme2"),
        Context::for_org_key(""),
        Context::for_audit_key("acme", 1),
        Context::new(vec![]),
        // Not in another order alone: AWS binds pairs in no order, and no two purposes have the same names.
        Context::new(vec![("purpose", "org_key".into())]),
        Context::new(vec![("purpose", "org_key".into()), ("org", "acme".into()), ("x", String::new())]),
        Context::new(vec![("purpose", "acme".into()), ("org", "org_key".into())]),
    ] {
        let error = key.unwrap(&wrapped, &context).await.expect_err("another context");
        assert!(is_mismatch(&error), "{context:?}: {error:?}");
    }
}

pub async fn another_key(service: &impl Service) {
    let (key, other) = (service.key(), service.other_key());
    let wrapped = wrap(&*key).await;
    assert!(is_mismatch(&other.unwrap(&wrapped, &acme()).await.unwrap_err()));
    let renamed = Wrapped { key: other.uri().to_owned(), ..wrapped };
    // Where versions have names of their own, the other key has no such version.
    let error = other.unwrap(&renamed, &acme()).await.unwrap_err();
    assert!(is_mismatch(&error) || is_refusal(&error), "{error:?}");
}

/// A wrap that is not what it was opens nothing, and is nobody's outage.
pub async fn damage(service: &impl Service) {
    let key = service.key();
    let wrapped = wrap(&*key).await;
    let cuts = [0, 1, 5, wrapped.bytes.len() - 1].map(|length| wrapped.bytes[..length].to_vec());
    let flips = [5, wrapped.bytes.len() / 2, wrapped.bytes.len() - 1].map(|at| {
        let mut bytes = wrapped.bytes.clone();
        bytes[at] ^= 0x10;
        bytes
    });
    for bytes in cuts.into_iter().chain(flips) {
        let damaged = Wrapped { bytes, ..wrapped.clone() };
        let error = key.unwrap(&damaged, &acme()).await.expect_err("damaged");
        assert!(is_mismatch(&error), "{} bytes: {error:?}", damaged.bytes.len());
    }
}

pub async fn versions(service: &impl Service) {
    let key = service.key();
    let mut wraps = vec![wrap(&*key).await];
    for _ in 0..3 {
        service.rotate();
        let wrapped = wrap(&*key).await;
        assert!(wraps.iter().all(|old| old.key_version != wrapped.key_version), "{}", wrapped.key_version);
        assert!(!wrapped.key_version.is_empty());
        wraps.push(wrapped);
    }
    for wrapped in &wraps {
        opens(&*service.key(), wrapped).await;
    }
}

pub async fn not_enabled(service: &impl Service) {
    let key = service.key();
    let old = wrap(&*key).await;
    for state in [State::Disabled, State::Destroyed] {
        service.set(&old.key_version, state);
        both_fail(&*key, &old, &format!("{state:?}"), is_refusal).await;
    }
    service.set(&old.key_version, State::Enabled);
    opens(&*key, &old).await;
}

/// Where each version has its own state.
pub async fn a_version_not_enabled(service: &impl Service) {
    let key = service.key();
    let old = wrap(&*key).await;
    service.set(&old.key_version, State::Disabled);
    service.rotate();
    assert!(is_refusal(&key.unwrap(&old, &acme()).await.unwrap_err()));
    let new = wrap(&*key).await;
    opens(&*key, &new).await;
    service.set(&old.key_version, State::Enabled);
    opens(&*key, &old).await;
}

/// Asked once: an adapter has no patience of its own.
pub async fn passing(service: &impl Service) {
    let key = service.key();
    let wrapped = wrap(&*key).await;
    for trouble in [Trouble::Throttled, Trouble::Broken, Trouble::Gone] {
        service.trouble(trouble.clone());
        let before = service.calls();
        both_fail(&*key, &wrapped, &format!("{trouble:?}"), passes).await;
        assert_eq!(service.calls() - before, 2, "{trouble:?}");
    }
    service.trouble(Trouble::Nothing);
    opens(&*key, &wrapped).await;
}

pub async fn slow(service: &impl Service) {
    let wrapped = wrap(&*service.key()).await;
    let key = Steady::new(service.key(), Duration::from_millis(700), Prices::default());
    service.trouble(Trouble::Slow(Duration::from_millis(100)));
    opens(&key, &wrapped).await;
    service.trouble(Trouble::Silent);
    let begin = Instant::now();
    both_fail(&key, &wrapped, "silent", passes).await;
    assert!((1400..4000).contains(&begin.elapsed().as_millis()), "{:?}", begin.elapsed());
}

pub async fn mangled(service: &impl Service) {
    let key = service.key();
    let wrapped = wrap(&*key).await;
    for trouble in [Trouble::Truncated, Trouble::Foreign] {
        service.trouble(trouble.clone());
        both_fail(&*key, &wrapped, &format!("{trouble:?}"), passes).await;
    }
}

/// What does not open is never stored.
pub async fn corrupted(service: &impl Service) {
    let key = service.key();
    let wrapped = wrap(&*key).await;
    service.trouble(Trouble::Corrupted);
    let error = key.wrap(&dek(7), &acme()).await.expect_err("it does not open");
    assert!(passes(&error), "{error:?}");
    service.trouble(Trouble::Nothing);
    opens(&*key, &wrapped).await;
}

/// Where the answer comes by our own client, which has a limit.
pub async fn without_end(service: &impl Service) {
    let key = service.key();
    let wrapped = wrap(&*key).await;
    service.trouble(Trouble::Endless);
    both_fail(&*key, &wrapped, "endless", |error| passes(error) && error.cause().contains("more than")).await;
}

/// Somebody must do something, and reads what.
pub async fn refused(service: &impl Service) {
    let key = service.key();
    let wrapped = wrap(&*key).await;
    for trouble in [Trouble::Expired, Trouble::Forbidden, Trouble::Missing, Trouble::WrongPurpose] {
        service.trouble(trouble.clone());
        both_fail(&*key, &wrapped, &format!("{trouble:?}"), |error| is_refusal(error) && error.cause().len() > 20)
            .await;
    }
}

pub async fn crowd(service: &impl Service) {
    let key = service.key();
    let both = async |seed: u8| {
        let context = Context::for_org_key(&format!("org-{seed}"));
        let wrapped = key.wrap(&dek(seed), &context).await.unwrap();
        assert_eq!(key.unwrap(&wrapped, &context).await.unwrap().expose(), dek(seed).expose());
    };
    join_all((0..64).map(both)).await;
}

/// With patience around it, a short trouble is not seen, and a refusal is told at once.
pub async fn patience(service: &impl Service) {
    let key: Arc<dyn Kms> = Arc::new(Steady::new(service.key(), Duration::from_secs(10), Prices::default()));
    service.trouble(Trouble::Throttled);
    let recovery = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        service.trouble(Trouble::Nothing);
    };
    let (wrapped, ()) = tokio::join!(wrap(&*key), recovery);
    service.trouble(Trouble::Forbidden);
    let before = service.calls();
    both_fail(&*key, &wrapped, "forbidden", is_refusal).await;
    assert_eq!(service.calls() - before, 2);
}
