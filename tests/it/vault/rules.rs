//! Which rules are in force is on record before they decide anything.

use strongroom::store::{AuditFilter, Store as _};
use strongroom::vault::policy::Vocabulary;
use strongroom::vault::{Activate, Admission, Dependency, Error, Record};

use super::*;

fn rules(home: &File, text: &str) -> Policies {
    let directory = home.join("rules");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("all.cedar"), text).unwrap();
    Policies::load(&directory, &Vocabulary::default()).unwrap()
}

const NOTHING: &str = "forbid (principal, action, resource);";
const EVERYTHING: &str = "permit (principal, action, resource);";

async fn changes(home: &File) -> Vec<(String, String)> {
    let store = Sqlite::open(&home.join("strongroom.db")).unwrap();
    let filter = AuditFilter { action: Some("replacePolicies".into()), ..AuditFilter::default() };
    let records = store.audit(&filter, None, false, 100).await.unwrap();
    let told = |record: Record| {
        assert_eq!((record.draft.caller.as_str(), record.draft.outcome.as_str()), ("system", "ok"));
        (record.draft.before, record.draft.after)
    };
    records.records.into_iter().map(|(_, record)| told(record)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_of_the_rules_is_on_record_with_the_old_and_the_new() {
    let home = tempfile::tempdir().unwrap();
    let keys = Keys::new(home.path());
    let name = |policies: &Policies| {
        format!("policies={} providers={} callers= authorities=", policies.digest, unhurried().digest)
    };
    let (usual, nothing) = (name(&Policies::embedded().unwrap()), name(&rules(home.path(), NOTHING)));
    {
        let vault = vault(home.path(), &keys, nobody(), LIMITS);
        vault.record_rules(Admission::default()).await.unwrap();
        vault.record_rules(Admission::default()).await.unwrap();
        vault.replace_rules(rules(home.path(), NOTHING), unhurried(), Admission::default(), || {}).await.unwrap();
        vault.replace_rules(rules(home.path(), NOTHING), unhurried(), Admission::default(), || {}).await.unwrap();
    }
    // Changed while nobody served.
    vault(home.path(), &keys, nobody(), LIMITS).record_rules(Admission::default()).await.unwrap();
    let expected = [(String::new(), usual.clone()), (usual.clone(), nothing.clone()), (nothing, usual)];
    assert_eq!(changes(home.path()).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_cannot_be_recorded_do_not_hold() {
    let home = tempfile::tempdir().unwrap();
    let vault = vault(home.path(), &Keys::new(home.path()), nobody(), LIMITS);
    vault.setup(&admin(), setup(path("acme", "a"), &openai_key("a"), true)).await.unwrap();
    let database = rusqlite::Connection::open(home.path().join("strongroom.db")).unwrap();
    database.execute_batch("ALTER TABLE audit_log RENAME TO elsewhere").unwrap();
    let refused =
        vault.replace_rules(rules(home.path(), NOTHING), unhurried(), Admission::default(), || {}).await.unwrap_err();
    assert!(matches!(refused, Error::Unavailable { what: Dependency::Audit, .. }), "{refused}");
    database.execute_batch("ALTER TABLE elsewhere RENAME TO audit_log").unwrap();
    vault.decrypt(&admin(), decrypt(path("acme", "a"))).await.unwrap();
    vault.replace_rules(rules(home.path(), NOTHING), unhurried(), Admission::default(), || {}).await.unwrap();
    assert!(matches!(vault.decrypt(&admin(), decrypt(path("acme", "a"))).await.unwrap_err(), Error::Denied));
}

/// Who may not list cannot tell an absent name from one that is there, whatever the rules would want for it besides.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_second_factor_would_open_does_not_tell_what_is_there() {
    let home = tempfile::tempdir().unwrap();
    let vault = vault(home.path(), &Keys::new(home.path()), nobody(), LIMITS);
    vault.setup(&admin(), setup(path("acme", "there"), &openai_key("a"), true)).await.unwrap();
    let fresh = "context has step_up && context.step_up.age <= 300";
    for (condition, expected) in [
        (fresh.to_owned(), "STEP_UP_REQUIRED"),
        (format!("{fresh} && context.approved"), "STEP_UP_REQUIRED"),
        ("context.approved".to_owned(), "APPROVAL_REQUIRED"),
        (format!("{fresh} && principal.org == \"globex\""), "DENIED"),
        ("context.proof == \"mtls\"".to_owned(), "DENIED"),
    ] {
        let text = format!("permit (principal, action, resource is Strongroom::Credential) when {{ {condition} }};");
        vault.replace_rules(rules(home.path(), &text), unhurried(), Admission::default(), || {}).await.unwrap();
        for name in ["there", "absent"] {
            let about = || path("acme", name);
            let told = [
                vault.decrypt(&admin(), decrypt(about())).await.err().unwrap(),
                vault.get(&admin(), &about()).await.err().unwrap(),
                vault.versions(&admin(), &about()).await.err().unwrap(),
                vault.delete(&admin(), delete(about())).await.err().unwrap(),
                vault.activate(&admin(), Activate { path: about(), version: 1, etag: None }).await.err().unwrap(),
            ];
            for error in told {
                assert_eq!(error.reason(), expected, "{name}: {condition}");
            }
        }
    }
    // Who may list is told, and asked for nothing before.
    let text = format!(
        "{EVERYTHING} forbid (principal, action == Strongroom::Action::\"decrypt\", resource) unless {{ {fresh} }};"
    );
    vault.replace_rules(rules(home.path(), &text), unhurried(), Admission::default(), || {}).await.unwrap();
    let caller = admin();
    let told = |name| vault.decrypt(&caller, decrypt(path("acme", name)));
    assert_eq!(told("there").await.err().unwrap().reason(), "STEP_UP_REQUIRED");
    assert_eq!(told("absent").await.err().unwrap().reason(), "NOT_FOUND");
}
