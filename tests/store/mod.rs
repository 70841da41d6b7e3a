//! The suite that every store adapter passes. An adapter joins with one line where its own tests are.

pub mod access;
pub mod changes;
pub mod commits;
pub mod exports;
pub mod grants;
pub mod health;
pub mod model;
pub mod orgs;
pub mod pages;
pub mod random;
pub mod reseal;
pub mod stepup;

pub use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};

pub use jiff::Timestamp;
pub use serde_json::json;
pub use strongroom::crypto::Seal;
pub use strongroom::store::{
    AuditFilter, Change, Credential, Draft, Error, NewVersion, Path, ProbeRecord, Receipt, Sealed, Store, Target,
    Token, Wrap, chain,
};
pub use uuid::Uuid;

/// Where an adapter keeps one database. Opening it again, after the store before was dropped, is a restart.
pub trait Place {
    type Store: Store + 'static;
    fn open(&self) -> impl Future<Output = Self::Store>;
}

macro_rules! conformance {
    ($adapter:ident, $place:expr) => {
        mod $adapter {
            conformance! { @tests $place;
                changes: create, create_takes_a_free_name_only, rotate, rotate_refuses_old_knowledge, settle_pending,
                    settle_active, settle_refuses_what_was_overtaken, activate, update, delete_at_once,
                    delete_with_delay_and_undelete, undelete_needs_the_name, destroy_when_due, serve,
                    serve_refuses_what_changed, refusals_leave_nothing;
                access: serve_refuses_revoked_tokens, tokens, first_admin, one_admin_is_the_first,
                    families_end_together, children_stay_within, rotation, a_line_ends_with_its_first, a_token_is_rotated_once, uses_are_noted, org_keys;
                grants: grants_are_kept, a_grant_is_spent_to_its_last_use, grants_end_with_their_token, grant_pages;
                commits: concurrent_commits_make_one_chain, refused_changes_leave_their_group_alone,
                    one_name_is_created_once, the_chain_goes_on_after_a_restart, everything_survives_a_restart,
                    watchers_are_woken_and_resume, ready;
                pages: lists_match_a_model, tombstones_are_listed_when_asked_for, health_and_labels, audit_pages,
                    due_in_order;
                health: test_confirms_what_it_goes_by, health_is_told_once_with_a_record, old_tests_go_with_the_new,
                    what_is_due_is_found_by_provider;
                stepup: a_factor_is_pending_until_its_first_code, sixty_four_uses_of_one_code, no_older_code_is_taken,
                    wrong_codes_lock_for_longer_and_longer, a_thousand_guesses_at_once_are_five,
                    what_nobody_confirms_is_found, an_approval_is_for_one_request_and_one_caller,
                    sixty_four_uses_of_one_approval, approvals_end_and_are_not_many;
                exports: an_export_is_of_one_moment;
                reseal: a_blob_sealed_anew_takes_over, what_is_destroyed_is_not_sealed_anew, versions_are_gone_through;
                orgs: an_org_goes_and_comes_back, nothing_is_stored_of_a_doomed_org, an_org_ends_when_nothing_is_left,
                    the_toll_is_what_was_destroyed, one_end_at_a_time;
                model: random_changes_match_a_model;
            }
        }
    };
    (@tests $place:expr; $($module:ident: $($test:ident),+;)+) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                $crate::store::$module::$test(&$place).await;
            }
        )+)+
    };
}

// What the tests are written in.

/// A time that is a little later whenever it is asked for.
pub fn tick() -> Timestamp {
    static NOW: AtomicI64 = AtomicI64::new(1_800_000_000_000_000);
    Timestamp::from_microsecond(NOW.fetch_add(1_000, Ordering::Relaxed)).unwrap()
}

/// After every tick of a test.
pub fn later() -> Timestamp {
    tick() + jiff::SignedDuration::from_hours(24)
}

pub fn draft(action: &str) -> Draft {
    Draft { at: tick(), caller: "tester".into(), action: action.into(), outcome: "ok".into(), ..Draft::default() }
}

pub fn path(org: &str, project: &str, provider: &str, name: &str) -> Path {
    Path { org: org.into(), project: project.into(), provider: provider.into(), name: name.into() }
}

pub fn acme() -> Path {
    path("acme", "default", "openai", "default")
}

/// A version whose every part tells which credential and version it belongs to.
pub fn version(credential: Uuid, version: u32) -> NewVersion {
    let tag = format!("{}-{version}", credential.simple());
    NewVersion {
        version,
        fingerprint: format!("f{version:07}"),
        digest: [u8::try_from(version).unwrap(); 32],
        public_identity: BTreeMap::from([("key".into(), tag.clone())]),
        seal: Seal::Aes256Gcm,
        sealed: Sealed {
            blob: format!("sealed blob of {tag}").into_bytes(),
            wraps: vec![wrap("local://default", "1", &format!("wrapped key of {tag}"))],
        },
        created_by: "tester".into(),
        activate: false,
        probe: None,
        probe_at: None,
        expires_at: None,
        warnings: Vec::new(),
    }
}

pub fn wrap(key: &str, version: &str, bytes: &str) -> Wrap {
    Wrap { key: key.into(), key_version: version.into(), bytes: bytes.into() }
}

pub fn active(credential: Uuid, number: u32) -> NewVersion {
    NewVersion { activate: true, ..version(credential, number) }
}

pub fn creation(id: Uuid, path: Path, version: NewVersion) -> Change {
    Change::Create {
        id,
        path,
        metadata: json!({"region": "eu"}).as_object().unwrap().clone(),
        labels: BTreeMap::from([("team".into(), "data".into())]),
        expires_at: None,
        version: Box::new(version),
    }
}

pub fn rotation(target: Target, version: NewVersion) -> Change {
    Change::Rotate { target, metadata: None, labels: None, expires_at: None, version: Box::new(version) }
}

/// A new credential, pending.
pub async fn created(store: &impl Store, path: Path) -> Credential {
    let id = Uuid::now_v7();
    done(store, creation(id, path, version(id, 1))).await
}

/// A new credential, served.
pub async fn served(store: &impl Store, path: Path) -> Credential {
    let id = Uuid::now_v7();
    done(store, creation(id, path, active(id, 1))).await
}

pub async fn done(store: &impl Store, change: Change) -> Credential {
    let Receipt { credential, version, .. } = commit(store, change).await.unwrap();
    if let Some(version) = version {
        assert!(
            store.versions(version.credential).await.unwrap().contains(&version),
            "{version:?} is not what is read"
        );
    }
    credential.expect("a change of a credential answers it")
}

pub async fn commit(store: &impl Store, change: Change) -> Result<Receipt, Error> {
    store.commit(change, draft("test").into()).await
}

/// What these rules allowed.
#[allow(dead_code, reason = "only a store that several processes share refuses some")]
pub async fn commit_under(store: &impl Store, rules: &str, change: Change) -> Result<Receipt, Error> {
    store.commit(change, Draft { rules: Some(rules.into()), ..draft("test") }.into()).await
}

/// The change is refused as out of date, and the refusal tells how things are.
pub async fn stale(store: &impl Store, change: Change) -> Option<Credential> {
    match commit(store, change.clone()).await {
        Err(Error::Stale { current }) => {
            let current = current.map(|current| *current);
            if let Some(current) = &current {
                assert_eq!(store.credential_by_id(current.id).await.unwrap().as_ref(), Some(current));
            }
            current
        }
        other => panic!("{change:?} gave {other:?}"),
    }
}

pub const fn at(credential: &Credential) -> Target {
    Target { credential: credential.id, revision: credential.revision }
}

pub fn probe(outcome: &str) -> ProbeRecord {
    ProbeRecord {
        outcome: outcome.into(),
        reason: "expired".into(),
        hint: "bring a new one".into(),
        at: tick(),
        retry_after_seconds: Some(30),
        identity: BTreeMap::new(),
        expires_at: None,
        warnings: Vec::new(),
    }
}

pub fn token(org: &str) -> Token {
    Token {
        id: Uuid::now_v7(),
        name: "ci".into(),
        role: "pipeline".into(),
        org: org.into(),
        projects: vec!["default".into()],
        providers: vec!["openai".into(), "aws_keys".into()],
        hash: [7; 32],
        created_by: "tester".into(),
        created_at: tick(),
        expires_at: later(),
        ..Token::default()
    }
}

/// What was told about an org, without the credentials.
pub async fn told(store: &impl Store, org: &str) -> Vec<(String, Option<u32>)> {
    let events = store.changes(Some(org), 0, 10_000).await.unwrap();
    assert!(events.is_sorted_by(|a, b| a.sequence < b.sequence));
    events.into_iter().map(|event| (event.change, event.version)).collect()
}

/// Reads the whole audit log and walks its chain.
pub async fn verified(store: &impl Store) -> Vec<strongroom::store::Record> {
    let mut records = Vec::new();
    let (mut from, mut hash) = (None, [0; 32]);
    loop {
        let page = store.audit(&AuditFilter::default(), from, false, 1_000).await.unwrap().records;
        let Some((last, _)) = page.last() else { return records };
        from = Some(*last);
        for (_, record) in page {
            hash = chain::link(&hash, &record.canonical);
            assert_eq!(record.hash, hash, "the chain is broken at {}", record.sequence);
            records.push(record);
            assert_eq!(records.last().unwrap().sequence, records.len() as u64);
        }
    }
}

/// Reproducible randomness (SplitMix64).
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % end as u64).unwrap()
    }

    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// A seed that a failing test prints.
pub fn seed() -> u64 {
    let seed = u64::from_le_bytes(strongroom::crypto::random().unwrap());
    println!("seed {seed:#x}");
    seed
}
