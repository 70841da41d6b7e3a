//! Tests that nobody asked for, and what they have in common with those that somebody did: one at a time for a version,
//! few at once, never on old knowledge.

use std::sync::Mutex;

use futures_util::future::join_all;
use strongroom::store::{AuditFilter, Change, Store};
use strongroom::vault::{
    Activate, Allowances, Auditing, Credential, Error, Token, Update, Validate, Verdict, VersionState,
};
use tokio::sync::watch;
use uuid::Uuid;

use super::*;

/// A provider that answers the same until it is told otherwise, and waits while its gate is shut.
pub struct Asked {
    pub answer: Mutex<Outcome>,
    pub times: AtomicU64,
    running: AtomicU64,
    most: AtomicU64,
    pub gate: Semaphore,
}

#[async_trait]
impl Probe for Asked {
    async fn probe(&self, _: &Provider, _: &Secret, _: &Metadata) -> Outcome {
        self.times.fetch_add(1, Ordering::SeqCst);
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(5)).await;
        drop(self.gate.acquire().await.unwrap());
        self.running.fetch_sub(1, Ordering::SeqCst);
        self.answer.lock().unwrap().clone()
    }
}

pub struct World {
    pub vault: Arc<Vault>,
    pub store: Arc<Sqlite>,
    pub provider: Arc<Asked>,
    pub keys: Arc<Keys>,
    _home: tempfile::TempDir,
}

pub const LONG: Testing = Testing { timeout: Duration::from_secs(10), ..TESTING };

impl World {
    pub fn new(testing: Testing) -> Self {
        Self::with(testing, unhurried())
    }

    fn with(testing: Testing, registry: Registry) -> Self {
        let home = tempfile::tempdir().unwrap();
        let store = Arc::new(Sqlite::open(&home.path().join("strongroom.db")).unwrap());
        let provider = Arc::new(Asked {
            answer: Mutex::new(Outcome::new(Verdict::Ok, "", "")),
            times: AtomicU64::new(0),
            running: AtomicU64::new(0),
            most: AtomicU64::new(0),
            gate: Semaphore::new(100),
        });
        let keys = Keys::new(home.path());
        let vault = Vault::new(Parts {
            store: Arc::clone(&store) as Arc<dyn Store>,
            keyring: Keyring::new(Arc::clone(&keys) as Arc<dyn Kms>, [].into(), []),
            registry,
            policies: Policies::embedded().unwrap(),
            probe: Arc::clone(&provider) as Arc<dyn Probe>,
            limits: LIMITS,
            allowances: Allowances::default(),
            auditing: Auditing::default(),
            testing,
        })
        .unwrap();
        Self { vault, store, provider, keys, _home: home }
    }

    pub fn says(&self, outcome: Outcome) {
        *self.provider.answer.lock().unwrap() = outcome;
    }

    pub fn says_only(&self, verdict: Verdict) {
        self.says(Outcome::new(verdict, "", ""));
    }

    pub fn asked(&self) -> u64 {
        self.provider.times.load(Ordering::SeqCst)
    }

    pub async fn setup(&self, name: &str) -> Credential {
        self.vault.setup(&admin(), setup(path("acme", name), &openai_key(name), false)).await.unwrap().credential
    }

    pub async fn get(&self, name: &str) -> Credential {
        self.vault.get(&admin(), &path("acme", name)).await.unwrap().credential
    }

    pub async fn validate(&self, name: &str) -> Result<strongroom::vault::Validated, Error> {
        self.vault.validate(&admin(), Validate { path: path("acme", name), upload: None, metadata: None }).await
    }

    async fn make_due(&self, credential: &Credential) {
        let probe_at = jiff::Timestamp::now();
        let change =
            Change::Postpone { credential: credential.id, version: credential.latest_version, probe_at, failures: 0 };
        self.store.commit(change, Arc::default()).await.unwrap();
    }

    /// So many of an org, stored without a test, and all of them due.
    async fn due(&self, org: &str, number: usize) {
        let one = async |number: usize| {
            let path = path(org, &format!("c{number}"));
            let done = self.vault.setup(&admin(), setup(path, &openai_key(&number.to_string()), true)).await.unwrap();
            self.make_due(&done.credential).await;
        };
        join_all((0..number).map(one)).await;
    }

    /// What the audit log says of an action: caller and outcome.
    pub async fn recorded(&self, action: &str) -> Vec<(String, String)> {
        let filter = AuditFilter { action: Some(action.into()), ..AuditFilter::default() };
        let records = self.store.audit(&filter, None, false, 1_000).await.unwrap().records;
        records.into_iter().map(|(_, record)| (record.draft.caller, record.draft.outcome)).collect()
    }

    pub fn keep_up(&self) -> Upkeep {
        let (stop, stopped) = watch::channel(false);
        Upkeep { stop, task: tokio::spawn(Arc::clone(&self.vault).upkeep(stopped)) }
    }
}

pub struct Upkeep {
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Upkeep {
    pub async fn end(self) {
        self.stop.send_replace(true);
        tokio::time::timeout(Duration::from_secs(5), self.task).await.expect("it goes on").unwrap();
    }
}

/// Waits for what must come, not longer than a test may take.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..1_000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

const OFTEN: Testing = Testing { every: Duration::from_millis(200), ..LONG };

fn mins(minutes: i64) -> jiff::SignedDuration {
    jiff::SignedDuration::from_mins(minutes)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_served_is_tested_again_and_again() {
    let world = World::new(OFTEN);
    world.setup("a").await;
    let upkeep = world.keep_up();
    until("three more tests", async || world.asked() > 3).await;
    upkeep.end().await;
    let tested = world.recorded("revalidate").await;
    assert!(tested.len() >= 3 && tested.iter().all(|record| *record == ("system".into(), "ok".into())), "{tested:?}");
    let asked = world.asked();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(world.asked(), asked, "it was tested after the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_left_pending_is_picked_up() {
    let world = World::new(LONG);
    world.provider.gate.close();
    // The test ends by a fault, and nothing is settled.
    world.vault.setup(&admin(), setup(path("acme", "a"), &openai_key("a"), false)).await.unwrap_err();
    let left = world.get("a").await;
    let planned = left.next_test_at.unwrap().duration_since(left.created_at);
    assert!(planned > mins(1) && planned < mins(2), "{planned}");
    assert!(left.last_test.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn pending_and_served_versions_are_both_tested() {
    let world = World::new(LONG);
    world.setup("a").await;
    world.says_only(Verdict::ProviderUnreachable);
    let rotated = world.vault.setup(&admin(), setup(path("acme", "a"), &openai_key("b"), false)).await.unwrap();
    assert_eq!((rotated.version.state, rotated.credential.active_version), (VersionState::Pending, Some(1)));
    world.says_only(Verdict::Ok);
    let upkeep = world.keep_up();
    world.make_due(&rotated.credential).await;
    until("the new version is served", async || world.get("a").await.active_version == Some(2)).await;
    let now = world.get("a").await;
    let again = Change::Postpone { credential: now.id, version: 2, probe_at: now.updated_at, failures: 0 };
    let asked = world.asked();
    world.store.commit(again, Arc::default()).await.unwrap();
    until("the served one is tested", async || world.asked() > asked).await;
    upkeep.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn back_off_doubles_and_a_provider_may_ask_for_more() {
    let world = World::new(LONG);
    world.says_only(Verdict::ProviderUnreachable);
    world.setup("a").await;
    for minutes in [1, 2, 4, 8] {
        let now = world.get("a").await;
        let wait = now.next_test_at.unwrap().duration_since(now.updated_at);
        assert!(wait >= mins(minutes) * 9 / 10 && wait <= mins(minutes) * 11 / 10, "{minutes}: {wait}");
        world.validate("a").await.unwrap();
    }
    let mut limited = Outcome::new(Verdict::RateLimited, "throttled", "");
    limited.retry_after = Some(Duration::from_secs(5 * 3600));
    world.says(limited);
    let now = world.validate("a").await.unwrap().credential.unwrap();
    assert_eq!(now.next_test_at.unwrap().duration_since(now.updated_at).as_hours(), 5);
    // What works waits for the schedule, and begins anew when it does not.
    world.says_only(Verdict::Ok);
    let now = world.validate("a").await.unwrap().credential.unwrap();
    assert!(now.next_test_at.unwrap().duration_since(now.updated_at) > mins(21 * 60));
    world.says_only(Verdict::InvalidCredential);
    let now = world.validate("a").await.unwrap().credential.unwrap();
    assert!(now.next_test_at.unwrap().duration_since(now.updated_at) < mins(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_disabled_or_deleted_is_left_alone() {
    let world = World::new(LONG);
    let (disabled, deleted) = (world.setup("disabled").await, world.setup("deleted").await);
    let switch = |disabled| Update {
        path: path("acme", "disabled"),
        metadata: None,
        labels: None,
        disabled: Some(disabled),
        etag: None,
    };
    for credential in [&disabled, &deleted] {
        world.make_due(credential).await;
    }
    let asked = world.asked();
    world.vault.update_metadata(&admin(), switch(true)).await.unwrap();
    let later = Delete { destroy_after: Some(Duration::from_secs(60)), ..delete(path("acme", "deleted")) };
    world.vault.delete(&admin(), later).await.unwrap();
    let upkeep = world.keep_up();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(world.asked(), asked);
    // Enabled again, it is due as it was.
    world.vault.update_metadata(&admin(), switch(false)).await.unwrap();
    until("it is tested", async || world.asked() > asked).await;
    upkeep.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_tests_are_turned_off_nobody_is_asked() {
    let world = World::new(Testing { enabled: false, ..OFTEN });
    let done = world.vault.setup(&admin(), setup(path("acme", "a"), &openai_key("a"), false)).await.unwrap();
    assert_eq!((done.probe.outcome.as_str(), done.probe.reason.as_str()), ("untested", "disabled"));
    assert!(done.probe.hint.contains("probe.enabled"), "{}", done.probe.hint);
    assert_eq!(done.version.state, VersionState::Pending);
    let upkeep = world.keep_up();
    let validated = world.validate("a").await.unwrap();
    assert_eq!((validated.probe.verdict, validated.probe.reason.as_ref()), (Verdict::Untested, "disabled"));
    tokio::time::sleep(Duration::from_millis(600)).await;
    upkeep.end().await;
    assert_eq!((world.asked(), world.recorded("revalidate").await.len()), (0, 0));
    let credential = world.get("a").await;
    assert_eq!(world.vault.outlook(&credential, jiff::Timestamp::now()).next_test_at, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn few_are_tested_at_once() {
    let world = World::new(Testing { at_once: 2, ..LONG });
    for number in 0..12 {
        let credential = world.setup(&format!("c{number}")).await;
        world.make_due(&credential).await;
    }
    world.provider.most.store(0, Ordering::SeqCst);
    let upkeep = world.keep_up();
    until("all are tested", async || world.asked() >= 24).await;
    upkeep.end().await;
    assert_eq!((world.asked(), world.provider.most.load(Ordering::SeqCst)), (24, 2));
}

/// What may run at once is no limit to how much runs in a second.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_is_begun_when_one_has_ended() {
    let world = World::new(Testing { at_once: 1, ..LONG });
    world.due("acme", 8).await;
    let begin = std::time::Instant::now();
    let upkeep = world.keep_up();
    until("all are tested", async || world.asked() == 8).await;
    upkeep.end().await;
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
}

/// An org that has much to be tested, and must not be tested that fast.
#[tokio::test(flavor = "multi_thread")]
async fn an_org_with_a_long_queue_keeps_no_other_waiting() {
    let world = World::with(LONG, Registry::embedded().unwrap());
    world.due("acme", 560).await;
    world.due("other", 1).await;
    let upkeep = world.keep_up();
    let other = path("other", "c0");
    let last_test = async || world.vault.get(&admin(), &other).await.unwrap().credential.last_test.unwrap();
    until("the other's is tested", async || last_test().await.outcome == "ok").await;
    upkeep.end().await;
    assert!(world.asked() < 50, "{}", world.asked());
}

/// However many ask, and whoever does: the provider is asked once, and each caller has a record.
#[tokio::test(flavor = "multi_thread")]
async fn tests_of_one_version_are_one() {
    let world = World::new(LONG);
    let credential = world.setup("a").await;
    let asked = world.asked();
    world.provider.gate.forget_permits(100);
    world.make_due(&credential).await;
    let upkeep = world.keep_up();
    until("the scheduled test is under way", async || world.asked() > asked).await;
    let waiting = join_all((0..20).map(|_| world.validate("a")));
    let open = async {
        until("all have their record", async || world.recorded("validate").await.len() == 20).await;
        world.says_only(Verdict::InsufficientPermission);
        world.provider.gate.add_permits(100);
    };
    let (answers, ()) = tokio::join!(waiting, open);
    upkeep.end().await;
    assert_eq!(world.asked(), asked + 1);
    assert!(answers.iter().all(|it| it.as_ref().unwrap().probe.verdict == Verdict::InsufficientPermission));
    assert_eq!(world.store.tests(credential.id).await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_keys_nothing_is_hammered() {
    let world = World::new(LONG);
    let credential = world.setup("a").await;
    let asked = world.asked();
    world.keys.down.store(true, Ordering::SeqCst);
    world.make_due(&credential).await;
    let upkeep = world.keep_up();
    until("it is recorded", async || !world.recorded("revalidate").await.is_empty()).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    upkeep.end().await;
    assert_eq!(world.recorded("revalidate").await, [("system".to_owned(), "KMS_UNAVAILABLE".to_owned())]);
    assert_eq!(world.asked(), asked);
    assert!(world.get("a").await.next_test_at.unwrap() > jiff::Timestamp::now());
}

/// Laws 3 and 5: what is no longer so when a secret lies open does not let it out.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_lies_open_goes_nowhere_on_old_knowledge() {
    for what in ["revoked", "deleted", "rotated"] {
        let world = World::new(LONG);
        world.setup("a").await;
        let asked = world.asked();
        let token = Uuid::now_v7();
        world.store.commit(Change::IssueToken(issued(token)), Arc::default()).await.unwrap();
        let caller = bearer(token);
        world.keys.gate.forget_permits(Semaphore::MAX_PERMITS);
        let before = world.keys.unwraps();
        let vault = Arc::clone(&world.vault);
        let request = Validate { path: path("acme", "a"), upload: None, metadata: None };
        let waiting = tokio::spawn(async move { vault.validate(&caller, request).await });
        until("the key service is asked", async || world.keys.unwraps() > before).await;
        match what {
            "revoked" => drop(world.store.commit(Change::RevokeToken { id: token }, Arc::default()).await.unwrap()),
            "deleted" => drop(world.vault.delete(&admin(), delete(path("acme", "a"))).await.unwrap()),
            _ => drop(world.vault.setup(&admin(), setup(path("acme", "a"), &openai_key("b"), true)).await.unwrap()),
        }
        world.keys.gate.add_permits(1_000);
        let answer = waiting.await.unwrap();
        match what {
            "revoked" => assert!(matches!(answer.unwrap_err(), Error::Unauthenticated)),
            "deleted" => assert!(matches!(answer.unwrap_err(), Error::NotFound { .. })),
            // It begins anew, with the version that is the newest now.
            _ => assert_eq!(answer.unwrap().credential.unwrap().active_version, Some(2)),
        }
        assert_eq!(world.asked(), asked + u64::from(what == "rotated"), "{what}");
    }
}

/// Who joined a test shares its outcome, and not what became of whoever began it.
#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_caller_takes_nobody_along() {
    let world = World::new(LONG);
    world.setup("a").await;
    let token = Uuid::now_v7();
    world.store.commit(Change::IssueToken(issued(token)), Arc::default()).await.unwrap();
    let request = || Validate { path: path("acme", "a"), upload: None, metadata: None };
    world.keys.gate.forget_permits(Semaphore::MAX_PERMITS);
    let before = world.keys.unwraps();
    let (vault, caller) = (Arc::clone(&world.vault), bearer(token));
    let first = tokio::spawn(async move { vault.validate(&caller, request()).await });
    until("the key service is asked", async || world.keys.unwraps() > before).await;
    let vault = Arc::clone(&world.vault);
    let second = tokio::spawn(async move { vault.validate(&admin(), request()).await });
    until("the second has joined", async || world.recorded("validate").await.len() == 1).await;
    world.store.commit(Change::RevokeToken { id: token }, Arc::default()).await.unwrap();
    world.keys.gate.add_permits(1_000);
    assert!(matches!(first.await.unwrap().unwrap_err(), Error::Unauthenticated));
    assert_eq!(second.await.unwrap().unwrap().probe.verdict, Verdict::Ok);
}

/// Reading an upload takes its time; a token may be revoked meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_of_a_revoked_caller_is_not_sent() {
    let world = World::new(LONG);
    let asked = world.asked();
    let token = Uuid::now_v7();
    world.store.commit(Change::IssueToken(issued(token)), Arc::default()).await.unwrap();
    world.store.commit(Change::RevokeToken { id: token }, Arc::default()).await.unwrap();
    let upload = setup(path("acme", "a"), &openai_key("a"), false).upload;
    let request = Validate { path: path("acme", "a"), upload: Some(upload), metadata: None };
    let refused = world.vault.validate(&bearer(token), request).await.unwrap_err();
    assert!(matches!(refused, Error::Unauthenticated), "{refused:?}");
    assert_eq!(world.asked(), asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_during_its_test_stays_so() {
    let world = World::new(LONG);
    let credential = world.setup("a").await;
    world.provider.gate.forget_permits(100);
    let asked = world.asked();
    let (vault, request) =
        (Arc::clone(&world.vault), Validate { path: path("acme", "a"), upload: None, metadata: None });
    let waiting = tokio::spawn(async move { vault.validate(&admin(), request).await });
    until("the provider is asked", async || world.asked() > asked).await;
    world.vault.delete(&admin(), delete(path("acme", "a"))).await.unwrap();
    world.provider.gate.add_permits(100);
    assert!(matches!(waiting.await.unwrap().unwrap_err(), Error::Conflict { .. }));
    let versions = world.store.versions(credential.id).await.unwrap();
    assert_eq!(versions[0].state, VersionState::Destroyed);
    assert_eq!(world.store.tests(credential.id).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_waits_for_no_scheduled_test() {
    let world = World::new(LONG);
    let credential = world.setup("a").await;
    world.provider.gate.forget_permits(100);
    world.make_due(&credential).await;
    let asked = world.asked();
    let upkeep = world.keep_up();
    until("the provider is asked", async || world.asked() > asked).await;
    upkeep.end().await;
    // Nothing was settled: it is still due.
    assert!(world.get("a").await.next_test_at.unwrap() <= jiff::Timestamp::now());
    world.provider.gate.add_permits(100);
    let upkeep = world.keep_up();
    until("it is tested", async || world.get("a").await.next_test_at.unwrap() > jiff::Timestamp::now()).await;
    upkeep.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_is_tested_soon() {
    let world = World::new(LONG);
    world.setup("a").await;
    world.vault.setup(&admin(), setup(path("acme", "a"), &openai_key("b"), false)).await.unwrap();
    let back = Activate { path: path("acme", "a"), version: 1, etag: None };
    let (credential, version) = world.vault.activate(&admin(), back).await.unwrap();
    assert_eq!((credential.next_test_at, version.failures), (version.probe_at, 0));
}

pub fn bearer(token: Uuid) -> Caller {
    let principal = Principal { token: Some(token), ..Principal::clone(&admin().principal) };
    Caller::new(Arc::new(principal), "test".into())
}

pub fn issued(id: Uuid) -> Token {
    Token {
        id,
        name: "ci".into(),
        role: "admin".into(),
        org: "*".into(),
        hash: [7; 32],
        created_by: "test".into(),
        created_at: jiff::Timestamp::now(),
        expires_at: jiff::Timestamp::now() + Duration::from_secs(3600),
        ..Token::default()
    }
}
