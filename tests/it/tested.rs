//! The life of a credential that its provider is asked about, through the real daemon.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use strongroom::pb::v1::{SetupCredentialRequest, ValidateCredentialRequest, WatchCredentialsRequest};

use crate::daemon::{Daemon, decrypt, openai_key, runtime, setup};
use crate::fake::{Answer, World};

const HOST: &str = "api.openai.com";

/// A provider that can be told how to be.
struct Provider {
    world: World,
    mood: Arc<AtomicUsize>,
}

#[derive(Clone, Copy)]
enum Mood {
    Well,
    Away,
    Refusing,
    Limiting,
}

impl Provider {
    fn new(mood: Mood) -> Self {
        let mood = Arc::new(AtomicUsize::new(mood as usize));
        let now = Arc::clone(&mood);
        let refusal = |code: &str| json!({ "error": { "message": "no", "type": "x", "code": code } });
        let world = World::start(move |_| match now.load(Ordering::SeqCst) {
            0 => Answer::json(200, &json!({ "object": "list", "data": [] })),
            1 => Answer::Cut,
            2 => Answer::json(401, &refusal("invalid_api_key")),
            _ => Answer::json(429, &refusal("rate_limit_exceeded")).header("retry-after", "37"),
        });
        Self { world, mood }
    }

    fn is(&self, mood: Mood) {
        self.mood.store(mood as usize, Ordering::SeqCst);
    }

    fn daemon(&self, home: &std::path::Path, more: &str) -> Daemon {
        Daemon::start_with(home, &format!("{}{more}", self.world.config(&[HOST])))
    }
}

fn tested(name: &str, seed: &str) -> SetupCredentialRequest {
    SetupCredentialRequest { no_probe: false, ..setup("acme", name, &openai_key(seed)) }
}

fn again(name: &str) -> ValidateCredentialRequest {
    ValidateCredentialRequest { org: "acme".into(), provider: "openai".into(), name: name.into(), ..Default::default() }
}

fn get(daemon: &Daemon, path: &str) -> Value {
    let (status, body) = daemon.http("GET", path, &daemon.token, None);
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

#[test]
fn what_waits_for_an_unreachable_provider_becomes_active_by_itself() {
    let provider = Provider::new(Mood::Away);
    let home = tempfile::tempdir().unwrap();
    let daemon = provider.daemon(home.path(), "[probe]\nevery = \"1s\"\n");
    runtime().block_on(async {
        let mut client = daemon.credentials(&daemon.token).await;
        let done = client.setup_credential(tested("", "a")).await.unwrap().into_inner();
        let probe = done.probe.unwrap();
        assert_eq!((probe.outcome.as_str(), probe.hint.is_empty()), ("provider_unreachable", false));
        assert_eq!(done.credential.unwrap().state, "pending");
        assert!(client.decrypt_credential(decrypt("acme", "")).await.is_err(), "an untested version is not served");
        provider.is(Mood::Well);
    });
    let end = Instant::now() + Duration::from_secs(60);
    while get(&daemon, "/integrations/acme/openai")["credential"]["state"] != "active" {
        assert!(Instant::now() < end, "it never became active:\n{}", daemon.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    runtime().block_on(async {
        let reply = daemon.credentials(&daemon.token).await.decrypt_credential(decrypt("acme", "")).await.unwrap();
        assert_eq!(reply.into_inner().secret.unwrap().expose(), openai_key("a").as_bytes());
    });
}

#[test]
fn somebody_may_ask_sooner_than_the_schedule() {
    let provider = Provider::new(Mood::Away);
    let home = tempfile::tempdir().unwrap();
    let daemon = provider.daemon(home.path(), "");
    runtime().block_on(async {
        let mut client = daemon.credentials(&daemon.token).await;
        let done = client.setup_credential(tested("", "a")).await.unwrap().into_inner();
        assert_eq!(done.credential.unwrap().state, "pending");
        provider.is(Mood::Well);
        let validated = client.validate_credential(again("")).await.unwrap().into_inner();
        assert_eq!(validated.probe.unwrap().outcome, "ok");
        assert_eq!(validated.credential.unwrap().state, "active");
    });
}

#[test]
fn a_refused_rotation_leaves_the_old_version_served() {
    let provider = Provider::new(Mood::Well);
    let home = tempfile::tempdir().unwrap();
    let daemon = provider.daemon(home.path(), "");
    runtime().block_on(async {
        let mut client = daemon.credentials(&daemon.token).await;
        let first = client.setup_credential(tested("", "old")).await.unwrap().into_inner();
        assert_eq!(first.credential.unwrap().state, "active");
        provider.is(Mood::Refusing);
        let second = client.setup_credential(tested("", "new")).await.unwrap().into_inner();
        let (probe, credential) = (second.probe.unwrap(), second.credential.unwrap());
        assert_eq!((probe.outcome.as_str(), probe.reason.as_str()), ("invalid_credential", "rejected"));
        assert_eq!((credential.state.as_str(), credential.active_version, credential.latest_version), ("active", 1, 2));
        let reply = client.decrypt_credential(decrypt("acme", "")).await.unwrap().into_inner();
        assert_eq!(reply.secret.unwrap().expose(), openai_key("old").as_bytes());
        // A first version that is refused is served to nobody.
        let alone = client.setup_credential(tested("alone", "x")).await.unwrap().into_inner();
        assert_eq!(alone.credential.unwrap().state, "invalid");
        assert!(client.decrypt_credential(decrypt("acme", "alone")).await.is_err());
    });
    let versions = get(&daemon, "/integrations/acme/openai/versions");
    let states: Vec<_> =
        versions["versions"].as_array().unwrap().iter().map(|version| version["state"].clone()).collect();
    assert_eq!(states, ["invalid", "active"]);
}

#[test]
fn a_limit_says_when_to_come_back_on_every_surface() {
    let provider = Provider::new(Mood::Limiting);
    let home = tempfile::tempdir().unwrap();
    let daemon = provider.daemon(home.path(), "");
    runtime().block_on(async {
        let mut client = daemon.credentials(&daemon.token).await;
        let done = client.setup_credential(tested("", "a")).await.unwrap().into_inner();
        let probe = done.probe.unwrap();
        assert_eq!((probe.outcome.as_str(), probe.reason.as_str()), ("rate_limited", "throttled"));
        assert_eq!(probe.retry_after.unwrap().seconds, 37);
        assert_eq!(done.credential.unwrap().state, "pending");
    });
    let body = json!({ "fields": { "api_key": openai_key("b") } }).to_string();
    let (status, told) = daemon.http("POST", "/integrations/acme/openai/validate", &daemon.token, Some(&body));
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(
        (status, &told["probe"]["outcome"], &told["probe"]["retry_after"]),
        (200, &json!("rate_limited"), &json!("37s"))
    );
    // The registry's burst is ten: then strongroom itself asks to wait, and asks the provider nothing.
    let mut last = Value::Null;
    for _ in 0..12 {
        let (_, told) = daemon.http("POST", "/integrations/acme/openai/validate", &daemon.token, Some(&body));
        last = serde_json::from_str(&told).unwrap();
    }
    assert!(last["probe"]["hint"].as_str().unwrap().contains("nothing was asked"), "{last}");
    assert!(last["probe"]["retry_after"].is_string(), "{last}");
    let asked = provider.world.asked().len();
    assert!(asked <= 13, "{asked}");
}

#[test]
fn failing_and_well_again_is_told_to_who_watches_and_shown_as_history() {
    let provider = Provider::new(Mood::Well);
    let home = tempfile::tempdir().unwrap();
    let daemon = provider.daemon(home.path(), "");
    runtime().block_on(async {
        let mut client = daemon.credentials(&daemon.token).await;
        client.setup_credential(tested("", "a")).await.unwrap();
        let watch = WatchCredentialsRequest { org: "acme".into(), after: None, ..Default::default() };
        let mut stream = client.watch_credentials(watch).await.unwrap().into_inner();
        for (mood, health) in [(Mood::Refusing, "failing"), (Mood::Well, "ok")] {
            provider.is(mood);
            let validated = client.validate_credential(again("")).await.unwrap().into_inner();
            let credential = validated.credential.unwrap();
            // Refused or not: what is served stays served until its owner says otherwise.
            assert_eq!((credential.state.as_str(), credential.health.as_str()), ("active", health));
            assert_eq!(credential.failing_since.is_some(), health == "failing");
            let told = loop {
                let next = tokio::time::timeout(Duration::from_secs(30), stream.message()).await.expect("in time");
                let next = next.unwrap().unwrap();
                if next.change == "health" {
                    break next.credential.unwrap();
                }
            };
            assert_eq!(told.health, health);
        }
        assert!(client.decrypt_credential(decrypt("acme", "")).await.is_ok());
    });
    let said = daemon.cli(&daemon.token, &["show", "acme", "openai"], None);
    let said = String::from_utf8(said.stdout).unwrap();
    assert_eq!(said.matches("invalid_credential (rejected)").count(), 1, "{said}");
    // Twice in the history, once as the last test.
    assert_eq!(said.lines().filter(|line| line.split_whitespace().any(|word| word == "ok")).count(), 4, "{said}");
    let (_, metrics) = daemon.scrape("/metrics");
    assert!(metrics.contains("outcome=\"invalid_credential\""), "{metrics}");
}
