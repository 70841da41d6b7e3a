//! Second factors and approvals where the key service is gone, and between people who are one.

use strongroom::vault::{Admission, Approval, Error, Proof, RequestDigest};
use uuid::Uuid;

use super::*;
use crate::stepup::Authenticator;

fn person(id: &str, claims: &[(&str, &str)]) -> Caller {
    let principal = Principal {
        id: id.into(),
        name: id.into(),
        role: "admin".into(),
        org: "acme".into(),
        proof: Proof::Jwt,
        claims: claims.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        ..Principal::default()
    };
    Caller::new(Arc::new(principal), "test".into())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_keys_no_code_is_looked_at() {
    let home = tempfile::tempdir().unwrap();
    let keys = Keys::new(home.path());
    let vault = vault(home.path(), &keys, nobody(), LIMITS);
    let ann = person("unix:7", &[]);
    let (uri, factor) = vault.enrol_factor(&admin(), Some("unix:7")).await.unwrap();
    assert_eq!((factor.caller.as_str(), factor.org.as_str()), ("unix:7", "*"));
    let mine = Authenticator::read(uri.expose_text().unwrap());
    let is_kms = |error: &Error| error.reason() == "KMS_UNAVAILABLE";

    keys.down.store(true, Ordering::SeqCst);
    assert!(is_kms(&vault.confirm_factor(&ann, &mine.code(-1).into()).await.unwrap_err()));
    assert!(is_kms(&vault.enrol_factor(&admin(), Some("unix:8")).await.unwrap_err()));
    keys.down.store(false, Ordering::SeqCst);
    vault.confirm_factor(&ann, &mine.code(-1).into()).await.unwrap();

    keys.down.store(true, Ordering::SeqCst);
    for code in [mine.code(0), mine.wrong_code()] {
        // More often than wrong codes are free: none is counted.
        for _ in 0..6 {
            assert!(is_kms(&vault.step_up(&ann, &code).await.unwrap_err()));
        }
    }
    keys.down.store(false, Ordering::SeqCst);
    assert_eq!(vault.step_up(&ann, &mine.code(0)).await.unwrap().method, "totp");
    assert!(matches!(vault.step_up(&ann, &mine.code(0)).await, Err(Error::NeedsStepUp { why: Some(_) })));
}

/// What somebody asks for, as the guard would keep it.
async fn asked(vault: &Arc<Vault>, directory: &File, caller: &Caller) -> Uuid {
    std::fs::write(directory.join("rule.cedar"), "permit (principal, action, resource) when { context.approved };")
        .unwrap();
    let rules = Policies::load(directory, &strongroom::vault::policy::Vocabulary::default()).unwrap();
    vault.replace_rules(rules, unhurried(), Admission::default(), || {}).await.unwrap();
    let mut caller = caller.clone();
    caller.circumstances.request = Some(RequestDigest([7; 32]));
    let refused = vault.delete(&caller, delete(path("acme", "a"))).await.unwrap_err();
    vault.replace_rules(Policies::embedded().unwrap(), unhurried(), Admission::default(), || {}).await.unwrap();
    let Error::NeedsApproval { id } = refused else { panic!("{refused}") };
    id.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_person_with_two_proofs_is_no_second_person() {
    let home = tempfile::tempdir().unwrap();
    let keys = Keys::new(home.path());
    let vault = vault(home.path(), &keys, nobody(), LIMITS);
    vault.setup(&admin(), setup(path("acme", "a"), &openai_key("a"), true)).await.unwrap();
    let ann = person("https://one.example:17", &[("sub", "17"), ("email", "Ann@acme.example")]);
    let id = asked(&vault, home.path(), &ann).await;
    let kept: Vec<Approval> = vault.list_approvals(&person("x:1", &[]), Some("acme")).await.unwrap();
    assert_eq!((kept.len(), kept[0].id, kept[0].approved.is_none()), (1, id, true));
    for same in [
        ann.clone(),
        person("https://two.example:99", &[("sub", "99"), ("email", "ann@ACME.example")]),
        person("https://two.example:17", &[("sub", "17")]),
    ] {
        let refused = vault.approve(&same, &id.to_string()).await.unwrap_err();
        assert!(matches!(refused, Error::Conflict { .. }), "{}: {refused}", same.principal.id);
    }
    // Whoever is limited to other providers or projects does not decide about these.
    let mut limited = Principal::clone(&person("https://one.example:18", &[]).principal);
    limited.providers = vec!["anthropic".into()];
    let limited = Caller::new(Arc::new(limited), "test".into());
    assert!(matches!(vault.approve(&limited, &id.to_string()).await, Err(Error::Denied)));
    let bob = person("https://one.example:18", &[("sub", "18"), ("email", "bob@acme.example")]);
    let approved = vault.approve(&bob, &id.to_string()).await.unwrap();
    assert_eq!(approved.approved.unwrap().0, "https://one.example:18");

    // The request's own digest decides, and without the keys nothing is let through.
    let spend = async |request: u8| vault.use_approval(&ann, id, RequestDigest([request; 32])).await;
    assert!(matches!(spend(8).await, Err(Error::Invalid { .. })));
    spend(7).await.unwrap();
    assert!(matches!(spend(7).await, Err(Error::Invalid { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_keys_nobody_is_asked() {
    let home = tempfile::tempdir().unwrap();
    let keys = Keys::new(home.path());
    let vault = vault(home.path(), &keys, nobody(), LIMITS);
    vault.setup(&admin(), setup(path("acme", "a"), &openai_key("a"), true)).await.unwrap();
    let rules = "permit (principal, action, resource) when { context.approved };";
    std::fs::write(home.path().join("rule.cedar"), rules).unwrap();
    let rules = Policies::load(home.path(), &strongroom::vault::policy::Vocabulary::default()).unwrap();
    vault.replace_rules(rules, unhurried(), Admission::default(), || {}).await.unwrap();
    keys.down.store(true, Ordering::SeqCst);
    let mut caller = person("https://one.example:17", &[]);
    caller.circumstances.request = Some(RequestDigest([7; 32]));
    let refused = vault.delete(&caller, delete(path("acme", "a"))).await.unwrap_err();
    assert_eq!(refused.reason(), "KMS_UNAVAILABLE");
}
