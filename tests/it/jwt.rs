//! Callers by JSON Web Tokens, through the real daemon, whose issuer is on this machine. What a token must be is tested
//! beside the code; here is what comes of it.

mod fetched;
mod granted;
mod held;
mod reloaded;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::daemon::{Daemon, decrypt, openai_key, runtime, setup};
use crate::fake::signer::{Signer, jwks};
use crate::fake::{Answer, Asked, World};

const HOST: &str = "issuer.example";
const ISSUER: &str = "https://issuer.example/realm";

/// What the issuer answers, by path; what is not here is not found.
type Published = Arc<Mutex<Vec<(String, Answer)>>>;

const CONFIGURATION: &str = "/realm/.well-known/openid-configuration";
const KEYS: &str = "/keys";

struct Play {
    world: World,
    published: Published,
    home: tempfile::TempDir,
}

impl Play {
    fn new() -> Self {
        let published = Published::default();
        let answers = Arc::clone(&published);
        let answer = move |asked: &Asked| {
            let answers = answers.lock().unwrap();
            answers
                .iter()
                .find(|(path, _)| *path == asked.path)
                .map_or(Answer::status(404), |(_, answer)| answer.clone())
        };
        let play = Self { world: World::start(answer), published, home: tempfile::tempdir().unwrap() };
        play.publish(CONFIGURATION, Answer::json(200, &configuration(&format!("https://{HOST}{KEYS}"))));
        play
    }

    fn publish(&self, path: &str, answer: Answer) {
        let mut published = self.published.lock().unwrap();
        published.retain(|(known, _)| known != path);
        published.push((path.to_owned(), answer));
    }

    fn publish_keys(&self, signers: &[&Signer]) {
        self.publish(KEYS, Answer::json(200, &jwks(signers)));
    }

    /// How often that was asked for.
    fn asked(&self, path: &str) -> usize {
        self.world.asked().iter().filter(|asked| asked.path == path).count()
    }

    fn write_callers(&self, more: &str) {
        std::fs::write(self.home.path().join("callers.toml"), callers(more)).unwrap();
    }

    /// With a credential of acme to decrypt.
    fn start(&self, more: &str) -> Daemon {
        self.write_callers(more);
        let config = format!("{}[authn]\ncallers = \"callers.toml\"\n", self.world.config(&[HOST, "other.example"]));
        let daemon = Daemon::start_with(self.home.path(), &config);
        runtime().block_on(async {
            for org in ["acme", "other"] {
                let request = setup(org, "", &openai_key(org));
                daemon.credentials(&daemon.token).await.setup_credential(request).await.unwrap();
            }
        });
        daemon
    }
}

fn configuration(jwks_uri: &str) -> Value {
    json!({"issuer": ISSUER, "jwks_uri": jwks_uri, "id_token_signing_alg_values_supported": ["RS256"]})
}

fn callers(more: &str) -> String {
    format!(
        r#"
        [[issuer]]
        name = "ci"
        issuer = "{ISSUER}"
        audience = "strongroom"
        claims = {{ run = "run_id", phase = "phase", team = "team" }}
        {more}

        [[caller]]
        name = "blue pipelines"
        from = "ci"
        when = {{ team = "blue", phase = ["plan", "apply"] }}
        role = "pipeline"
        org = "acme"
        providers = ["openai"]
        "#
    )
}

fn claims(changes: &[(&str, Value)]) -> Value {
    let now = Timestamp::now().as_second();
    let mut claims = json!({
        "iss": ISSUER, "aud": ["strongroom"], "sub": "project:7", "iat": now, "exp": now + 300,
        "team": "blue", "phase": "plan", "run_id": 4711,
    });
    for (name, value) in changes {
        claims[*name] = value.clone();
    }
    claims
}

async fn try_decrypt(daemon: &Daemon, token: &str, org: &str) -> Result<(), Status> {
    daemon.credentials(token).await.decrypt_credential(decrypt(org, "")).await.map(|_| ())
}

/// Again and again until it is so, as far as a test may wait.
async fn until(daemon: &Daemon, token: &str, fits: impl Fn(&Result<(), Status>) -> bool) -> Result<(), Status> {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let answer = try_decrypt(daemon, token, "acme").await;
        if fits(&answer) {
            return answer;
        }
        assert!(Instant::now() < end, "{answer:?}\n{}", daemon.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

#[test]
fn a_token_whose_claims_fit_is_a_caller_with_its_rights_and_its_name_on_record() {
    let play = Play::new();
    let signer = Signer::rsa("k1");
    play.publish_keys(&[&signer]);
    let daemon = play.start("");
    runtime().block_on(async {
        let token = signer.token(&claims(&[]));
        try_decrypt(&daemon, &token, "acme").await.unwrap();
        let (status, body) = daemon.http("POST", "/integrations/acme/openai/decrypt", &token, None);
        assert_eq!(status, 200, "{body}");
        // Its role's rights in its org, and no more.
        assert_eq!(try_decrypt(&daemon, &token, "other").await.unwrap_err().code(), Code::PermissionDenied);
        assert_eq!(daemon.http("GET", "/integrations/acme", &token, None).0, 403);
        let newest = strongroom::pb::v1::ListAuditRequest { descending: true, page_size: 20, ..Default::default() };
        let records = daemon.admin(&daemon.token).await.list_audit(newest).await.unwrap().into_inner().records;
        let of_token: Vec<_> = records.iter().filter(|record| record.caller == "ci:project:7").collect();
        assert!(of_token.len() >= 4, "{records:#?}");
        assert!(of_token.iter().any(|record| record.action == "decrypt" && record.outcome == "ok"), "{of_token:#?}");
        // The daemon asked for its keys once.
        assert_eq!((play.asked(CONFIGURATION), play.asked(KEYS)), (1, 1));
    });
    assert!(daemon.stop().success());
}

#[test]
fn whoever_is_refused_reads_one_phrase_and_the_operator_why() {
    let play = Play::new();
    let (signer, other) = (Signer::rsa("k1"), Signer::rsa("k1"));
    play.publish_keys(&[&signer]);
    let daemon = play.start("");
    let past = Timestamp::now().as_second() - 600;
    let cases = [
        (signer.token(&claims(&[("exp", json!(past)), ("iat", json!(past - 60))])), "of ci: it has expired"),
        (signer.token(&claims(&[("aud", json!("canary-audience"))])), "its `aud` is not this issuer's `audience`"),
        (signer.token(&claims(&[("iss", json!("https://canary.example"))])), "its `iss` is no [[issuer]]'s"),
        (
            signer.token(&claims(&[("team", json!("canary-team"))])),
            "of ci: it fits no [[caller]]: blue pipelines by team",
        ),
        (other.token(&claims(&[("sub", json!("canary-sub"))])), "of ci: its signature is wrong"),
        (format!("{}.x", signer.token(&claims(&[]))), "it has not three parts"),
        ("canary.".to_owned(), "it has not three parts"),
    ];
    runtime().block_on(async {
        try_decrypt(&daemon, &signer.token(&claims(&[])), "acme").await.unwrap();
        let mut told = Vec::new();
        for (token, why) in &cases {
            let status = try_decrypt(&daemon, token, "acme").await.expect_err(why);
            assert_eq!(status.code(), Code::Unauthenticated, "{why}: {status:?}");
            told.push((status.message().to_owned(), reason(&status)));
            let line = daemon.logged(|line| line.contains(&format!("a JWT is refused: {why}")));
            assert!(line.contains("nobody was proven"), "{line}");
            let (status, body) = daemon.http("POST", "/integrations/acme/openai/decrypt", token, None);
            assert_eq!(status, 401, "{body}");
        }
        told.dedup();
        assert_eq!(told.len(), 1, "{told:?}");
    });
    let log = daemon.log();
    assert!(!log.contains("canary") && !log.contains("eyJ"), "the log holds a part of a token:\n{log}");
    assert!(daemon.stop().success());
}
