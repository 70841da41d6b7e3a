//! How a credential is: what tests, time and providers make of it, and who is told.

use strongroom::vault::{Health, Validate, Verdict};

use super::schedule::{LONG, World, until};
use super::*;
use strongroom::store::Store as _;

impl World {
    /// What those who watch were told, of one kind.
    async fn told(&self, kind: &str) -> usize {
        let changes = self.store.changes(Some("acme"), 0, 1_000).await.unwrap();
        changes.iter().filter(|change| change.change == kind).count()
    }
}

fn days(days: i64) -> jiff::SignedDuration {
    jiff::SignedDuration::from_hours(24 * days)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_of_health_is_told_once() {
    let world = World::new(LONG);
    world.setup("a").await;
    let mut since = None;
    for (verdict, health, told) in [
        (Verdict::InvalidCredential, Health::Failing, 1),
        (Verdict::InvalidCredential, Health::Failing, 1),
        // What was not asked or not answered says nothing.
        (Verdict::ProviderUnreachable, Health::Failing, 1),
        (Verdict::RateLimited, Health::Failing, 1),
        (Verdict::InsufficientPermission, Health::Ok, 2),
        (Verdict::ProviderUnreachable, Health::Ok, 2),
        // What it was for is gone, or is asked for wrongly: it does not do its work.
        (Verdict::NotFound, Health::Failing, 3),
        (Verdict::Ok, Health::Ok, 4),
        (Verdict::Misconfigured, Health::Failing, 5),
    ] {
        world.says_only(verdict);
        let now = world.validate("a").await.unwrap().credential.unwrap();
        assert_eq!(now.health(jiff::Timestamp::now()), health, "{verdict:?}");
        assert_eq!((world.told("health").await, world.recorded("health").await.len()), (told, told), "{verdict:?}");
        assert!(since.is_none() || now.failing_since.is_none() || since == now.failing_since, "it moved");
        since = now.failing_since;
    }
    let recorded: Vec<_> = world.recorded("health").await.into_iter().map(|(_, outcome)| outcome).collect();
    assert_eq!(recorded, ["failing", "ok", "failing", "ok", "failing"]);
    // The clock is ours.
    world.says_only(Verdict::Ok);
    world.validate("a").await.unwrap();
    world.says(Outcome::new(Verdict::Misconfigured, "clock_skew", ""));
    assert_eq!(world.validate("a").await.unwrap().credential.unwrap().failing_since, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn time_tells_of_an_end_once() {
    let world = World::new(LONG);
    let now = jiff::Timestamp::now();
    let soon = jiff::SignedDuration::from_millis(1_200);
    let request =
        |name: &str, end| Setup { expires_at: Some(end), ..setup(path("acme", name), &openai_key(name), false) };
    world.vault.setup(&admin(), request("expiring", now + Health::EXPIRING + soon)).await.unwrap();
    assert_eq!(world.told("health").await, 0);
    // So near its end, it is expiring from the beginning.
    let done = world.vault.setup(&admin(), request("expired", now + soon)).await.unwrap();
    assert_eq!((done.credential.told_health, world.told("health").await), (Health::Expiring, 1));
    let upkeep = world.keep_up();
    until("both are told", async || world.told("health").await == 3).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    upkeep.end().await;
    assert_eq!(world.told("health").await, 3);
    let mut recorded: Vec<_> = world.recorded("health").await.into_iter().map(|(_, outcome)| outcome).collect();
    recorded.sort();
    assert_eq!(recorded, ["expired", "expiring", "expiring"]);
    // Being told is no change: what was read before may still be changed.
    assert_eq!(world.get("expired").await.revision, done.credential.revision);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_earliest_end_counts() {
    let world = World::new(LONG);
    let now = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second()).unwrap();
    let mut told = Outcome::new(Verdict::Ok, "", "");
    told.learned.expires_at = Some(now + days(30));
    told.learned.identity = BTreeMap::from([("organization".to_owned(), "Acme".to_owned())]);
    told.learned.warnings = vec!["it may do everything".to_owned()];
    world.says(told);
    let declared = Setup { expires_at: Some(now + days(90)), ..setup(path("acme", "a"), &openai_key("a"), false) };
    let done = world.vault.setup(&admin(), declared).await.unwrap();
    assert_eq!(done.credential.expires_at, Some(now + days(30)));
    assert_eq!(done.credential.public_identity["organization"], "Acme");
    assert_eq!(done.credential.warnings, ["it may do everything"]);

    // What was learned stays known when a provider is silent; its warning was of that day.
    world.says_only(Verdict::ProviderUnreachable);
    let silent = world.validate("a").await.unwrap().credential.unwrap();
    assert_eq!(silent.expires_at, Some(now + days(30)));
    assert_eq!((silent.public_identity["organization"].as_str(), silent.warnings.len()), ("Acme", 0));

    // The owner's word counts where it is earlier, in the metadata too; taken back, the provider's does again.
    for (end, expected) in [(Some(days(10)), days(10)), (None, days(30))] {
        let metadata = end.map(|end| ("expires_at".to_owned(), (now + end).to_string().into())).into_iter().collect();
        let update = strongroom::vault::Update {
            path: path("acme", "a"),
            metadata: Some(metadata),
            labels: None,
            disabled: None,
            etag: None,
        };
        let updated = world.vault.update_metadata(&admin(), update).await.unwrap();
        assert_eq!(updated.expires_at, Some(now + expected));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_tests_are_kept() {
    let world = World::new(LONG);
    world.setup("a").await;
    for _ in 0..23 {
        world.validate("a").await.unwrap();
    }
    world.says(Outcome::new(Verdict::InvalidCredential, "revoked", "make a new one"));
    world.validate("a").await.unwrap();
    let tests = world.vault.get(&admin(), &path("acme", "a")).await.unwrap().tests;
    assert_eq!(tests.len(), 20);
    let newest = &tests[0];
    assert_eq!(
        (newest.version, newest.outcome.as_str(), newest.reason.as_str(), newest.hint.as_str()),
        (1, "invalid_credential", "revoked", "make a new one")
    );
    assert!(tests[1..].iter().all(|test| test.outcome == "ok"));
    assert!(tests.is_sorted_by(|a, b| a.at >= b.at));
}

#[tokio::test(flavor = "multi_thread")]
async fn age_and_end_are_warned_of() {
    let world = World::new(LONG);
    let now = jiff::Timestamp::now();
    let metadata = serde_json::json!({"rotation_days": 60}).as_object().cloned();
    let request =
        Setup { metadata, expires_at: Some(now + days(100)), ..setup(path("acme", "a"), &openai_key("a"), false) };
    let credential = world.vault.setup(&admin(), request).await.unwrap().credential;
    let outlook = |at| world.vault.outlook(&credential, at);
    assert_eq!(outlook(now).rotate_by, Some(credential.secret_created_at + days(60)));
    assert_eq!(outlook(now).next_test_at, credential.next_test_at);
    assert!(outlook(now).warnings.is_empty());
    assert_eq!(outlook(now + days(61)).warnings, ["this secret is older than 60 days: replace it"]);
    let late = outlook(now + days(95)).warnings;
    assert_eq!(late[1..], ["it expires in 4 days: replace it"], "{late:?}");
    assert!(outlook(now + days(101)).warnings[1].starts_with("it expired on "));
}

/// The record is there before the secret goes out, and what was found has one of its own.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_is_recorded_before_it_is_tested() {
    let world = World::new(LONG);
    world.provider.gate.forget_permits(100);
    let upload = setup(path("acme", "a"), &openai_key("a"), false).upload;
    let request = Validate { path: path("acme", "a"), upload: Some(upload.clone()), metadata: None };
    let vault = Arc::clone(&world.vault);
    let waiting = tokio::spawn(async move { vault.validate(&admin(), request).await });
    until("the provider is asked", async || world.asked() > 0).await;
    assert_eq!(world.recorded("validate").await, [("test".to_owned(), "ok".to_owned())]);
    assert!(world.recorded("probe").await.is_empty());
    world.says_only(Verdict::InvalidCredential);
    world.provider.gate.add_permits(100);
    assert_eq!(waiting.await.unwrap().unwrap().probe.verdict, Verdict::InvalidCredential);
    assert_eq!(world.recorded("probe").await, [("test".to_owned(), "invalid_credential".to_owned())]);

    // What does not fit its metadata is sent nowhere.
    let wrong = serde_json::json!({"rotation_days": "often"}).as_object().cloned();
    let request = Validate { path: path("acme", "a"), upload: Some(upload), metadata: wrong.clone() };
    assert!(world.vault.validate(&admin(), request).await.is_err());
    world.setup("b").await;
    let request = Validate { path: path("acme", "b"), upload: None, metadata: wrong };
    assert!(world.vault.validate(&admin(), request).await.is_err());
    assert_eq!(world.asked(), 2);
}
