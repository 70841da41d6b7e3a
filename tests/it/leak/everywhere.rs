//! Every rpc and every refusal, over gRPC, REST and the command line, at the most verbose log level; then every place
//! where something could have been left behind.

use std::collections::BTreeMap;
use std::path::Path;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::json;
use strongroom::crypto::Secret;
use strongroom::pb::v1::SetupCredentialRequest;
use tonic::transport::Channel;

use super::canary::{Canary, beside};
use super::hunt::{Hunt, REASONS, path};
use super::requests::{self, every_rpc, good, misplaced};
use super::wire;
use crate::daemon::{Daemon, runtime};

/// A full disk is an error and no end: see `disk.rs`.
const SURVIVES: [&str; 2] = ["env", "--ignore-signal=XFSZ"];

#[test]
fn no_secret_is_anywhere_with_lines_for_people() {
    nowhere("pretty");
}

#[test]
fn no_secret_is_anywhere_with_lines_for_programs() {
    nowhere("json");
}

fn nowhere(format: &str) {
    let home = tempfile::tempdir().unwrap();
    let config = format!("[log]\nlevel = \"trace\"\nformat = \"{format}\"\n");
    let mut hunt = Hunt::new();
    let daemon = Daemon::start_under(home.path(), &config, &SURVIVES);
    let token = daemon.token.clone();
    runtime().block_on(async {
        let channel = daemon.channel().await;
        let stranger = daemon.issue("service", "globex", &[]).await;
        hunt.store(&daemon, &channel).await;
        let wrong = hunt.wrong.clone();
        hunt.misplace(&daemon, &channel, &token, &wrong).await;
        hunt.misplace(&daemon, &channel, &stranger, &wrong[..1]).await;
        hunt.mangle_grpc(&channel, &token).await;
        hunt.mangle_rest(&daemon);
        hunt.look(&daemon, &channel, &token).await;
    });
    hunt.type_in(&daemon);
    hunt.files(home.path());
    let database = daemon.database();
    assert!(daemon.stop().success());
    hunt.files(home.path());

    damage(&database);
    let daemon = Daemon::start_under(home.path(), &config, &SURVIVES);
    runtime().block_on(async {
        let channel = daemon.channel().await;
        hunt.fail(&daemon, &channel, &token).await;
        hunt.look(&daemon, &channel, &token).await;
    });
    assert!(daemon.stop().success());
    hunt.files(home.path());

    let log = std::fs::read_to_string(home.path().join("log")).unwrap();
    assert!(
        log.contains(if format == "json" { r#""rpc":"SetupCredential""# } else { "rpc=SetupCredential" }),
        "not verbose"
    );
    let unseen: Vec<_> = REASONS.iter().filter(|reason| !hunt.seen.contains(*reason)).collect();
    assert!(unseen.is_empty(), "not brought about: {unseen:?}");

    // A search that cannot fail would prove nothing.
    std::fs::write(home.path().join("tmp/planted"), hunt.stored[0].2.text.as_bytes()).unwrap();
    let planted = std::panic::catch_unwind(|| hunt.files(home.path()));
    assert!(planted.is_err(), "a planted secret was not found");
}

impl Hunt {
    /// Each provider's secret set up, tested, read back and rotated.
    async fn store(&mut self, daemon: &Daemon, channel: &Channel) {
        let token = daemon.token.clone();
        let mut admin = daemon.credentials(&token).await;
        for (number, (provider, field, canary)) in self.stored.clone().into_iter().enumerate() {
            let no_probe = number != 1;
            let mut fields = BTreeMap::from([(field, canary.text.as_str())]);
            fields.extend(beside(provider));
            let secrets = fields.iter().map(|(name, text)| ((*name).to_owned(), Secret::from((*text).to_owned())));
            let request = SetupCredentialRequest {
                org: "acme".into(),
                provider: provider.into(),
                fields: secrets.collect(),
                no_probe,
                ..SetupCredentialRequest::default()
            };
            let reply = admin.setup_credential(request).await.unwrap().into_inner();
            self.net.assert_not_in("a setup's answer", format!("{reply:?}").as_bytes());
            let body = json!({ "fields": fields, "no_probe": no_probe }).to_string();
            self.rest(daemon, &token, &format!("POST /integrations/acme/{provider}/setup"), body.as_bytes());
            let body = json!({ "fields": fields }).to_string();
            self.rest(daemon, &token, &format!("POST /integrations/acme/{provider}/validate"), body.as_bytes());
            let named = json!({"org": "acme", "provider": provider});
            for rpc in every_rpc().into_iter().filter(|rpc| rpc.name() == "DecryptCredential") {
                let reply = self.grpc(channel, &token, &path(&rpc), requests::encode(&rpc.input(), &named)).await;
                // What is looked for is what is answered.
                assert!(
                    !reply.ok || self.net.find(&reply.bytes).is_some(),
                    "the search finds nothing in a decrypt's answer"
                );
            }
        }
    }

    /// Secrets in every field of every rpc; the good request too.
    async fn misplace(&mut self, daemon: &Daemon, channel: &Channel, token: &str, wrong: &[Canary]) {
        let key = self.stored[0].2.text.clone();
        for rpc in every_rpc() {
            let mut all = misplaced(&rpc, &key, wrong);
            all.push(good(rpc.name(), &key));
            for json in all {
                self.grpc(channel, token, &path(&rpc), requests::encode(&rpc.input(), &json)).await;
                if let Some((line, body)) = requests::rest(&rpc, &json) {
                    let what = format!("{} {line}", rpc.name());
                    self.rest_as(daemon, &what, token, &line, body.as_bytes());
                }
            }
        }
    }

    async fn mangle_grpc(&mut self, channel: &Channel, token: &str) {
        for rpc in every_rpc() {
            let long = too_long(&self.wrong[0].text).into_bytes();
            self.grpc(channel, token, &path(&rpc), long).await;
        }
        for canary in self.wrong.clone() {
            let secret = canary.text.trim();
            let mut message = vec![0x0a, 0xff, 0x01];
            message.extend(secret.as_bytes());
            let invalid = [&[0x0a, secret.len() as u8 + 1, 0xff][..], secret.as_bytes()].concat();
            for rpc in every_rpc() {
                for message in [&message, &invalid] {
                    self.grpc(channel, token, &path(&rpc), message.clone()).await;
                }
                // Headers are read before it is known which rpc is meant.
                let headers = if rpc.name() == "SetupCredential" { headers(secret) } else { Vec::new() };
                for (name, value) in headers {
                    let proof = ("authorization", format!("Bearer {token}"));
                    let reply = wire::grpc(channel, &path(&rpc), &[proof, (name, value.clone())], Vec::new()).await;
                    self.check(&format!("{} with {name}", rpc.name()), &reply);
                    if name == "authorization" {
                        let reply = wire::grpc(channel, &path(&rpc), &[(name, value)], Vec::new()).await;
                        self.check(&format!("{} as a stranger", rpc.name()), &reply);
                    }
                }
            }
            if secret.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
                self.grpc(channel, token, &format!("/strongroom.v1.CredentialService/{secret}"), Vec::new()).await;
                self.grpc(channel, token, &format!("/{secret}/Setup"), Vec::new()).await;
            }
        }
    }

    fn mangle_rest(&mut self, daemon: &Daemon) {
        let token = daemon.token.clone();
        self.rest(
            daemon,
            &token,
            "POST /integrations/acme/openai/setup",
            too_long(&self.wrong[0].text.clone()).as_bytes(),
        );
        for canary in self.wrong.clone() {
            let secret = canary.text.trim();
            let quoted = json!(secret).to_string();
            let bodies = [
                format!(r#"{{"fields": {{"api_key": {quoted}, "api_key": {quoted}}}}}"#),
                format!(r#"{{"fields": {{"api_key": {quoted}}}, "fields": {{}}}}"#),
                format!(r#"{{"document": {{"a": {quoted}, "a": {quoted}}}}}"#),
                format!(r#"{{{quoted}: {{{quoted}: {quoted}}}}}"#),
                format!(r#"{{"metadata": {}{quoted}{}}}"#, r#"{"a":"#.repeat(200), "}".repeat(200)),
                format!(r#"{{"name": {quoted}"#),
                format!("{{\"fields\": {{\"api_key\": {quoted}}} {quoted}"),
                secret.to_owned(),
            ];
            for line in
                ["POST /integrations/acme/openai/setup", "PUT /integrations/acme/openai/metadata", "POST /admin/tokens"]
            {
                for body in &bodies {
                    self.rest(daemon, &token, line, body.as_bytes());
                    self.rest(daemon, "srt_wrong", line, body.as_bytes());
                }
                let not_text = [b"{\"fields\": {\"api_key\": \"\xff", secret.as_bytes(), b"\"}}"].concat();
                self.rest(daemon, &token, line, &not_text);
                let kind = format!("{line} HTTP/1.1\r\nauthorization: Bearer {token}\r\ncontent-type: text/plain\r\n");
                let reply = wire::http(&daemon.rest, &kind, secret.as_bytes());
                self.check("the wrong media type", &reply);
            }
            if secret.contains('{') {
                continue;
            }
            for (name, value) in headers(secret) {
                let head = format!("GET /integrations/acme HTTP/1.1\r\n{name}: {value}\r\n");
                self.check(name, &wire::http(&daemon.rest, &head, b""));
                let head = format!("{head}authorization: Bearer {token}\r\n");
                self.check(name, &wire::http(&daemon.rest, &head, b""));
            }
            for line in [
                format!("GET /{secret}"),
                format!("GET /integrations/acme/{secret}?{secret}={secret}#{secret}"),
                format!("GET /integrations/acme/%ff{secret}"),
                format!("PATCH /integrations/{secret}"),
                format!("{secret} /integrations/acme"),
                format!("GET http://{secret}/integrations/acme"),
            ] {
                self.rest(daemon, &token, &line, b"");
            }
            // Neither HTTP/1.1 nor HTTP/2, on every door.
            let grpc = daemon.addr.trim_start_matches("http://");
            for door in [daemon.rest.as_str(), daemon.ops.as_str(), grpc] {
                for garbage in [
                    format!("{secret}\r\n"),
                    format!("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{secret}"),
                    format!("GET /{secret} HTTP/1.1\r\n{secret}\r\n"),
                ] {
                    self.check(door, &wire::http(door, &garbage, secret.as_bytes()));
                }
            }
        }
    }

    /// The command line: right, wrong, and secrets where they do not belong.
    fn type_in(&mut self, daemon: &Daemon) {
        let good = Canary::openai();
        self.net.add(&good);
        let run = |args: &[&str], stdin: Option<&str>| {
            let output = daemon.cli(&daemon.token, args, stdin);
            let said = [output.stdout.as_slice(), b"\n", &output.stderr].concat();
            if args[0] != "decrypt" || !output.status.success() {
                self.net.assert_not_in(&format!("what {args:?} said"), &said);
            } else {
                assert!(self.net.find(&said).is_some(), "decrypt did not answer");
            }
        };
        let setup = ["setup", "acme", "openai", "--name", "cli", "--no-probe", "--field", "api_key=-"];
        run(&setup, Some(&good.text));
        run(&setup, Some(&good.text));
        run(&["decrypt", "acme", "openai", "--name", "cli"], None);
        run(&["decrypt", "acme", "openai", "--name", "nobody"], None);
        for canary in &self.wrong {
            let secret = canary.text.as_str();
            run(&["setup", "acme", "openai"], Some(secret));
            run(&["setup", "acme", "aws_keys", "--document", "-"], Some(secret));
            run(&["validate", "acme", "openai", "--field", "api_key=-"], Some(&format!("{secret}\n\n{secret}")));
            run(&["setup", "acme", "openai", secret], None);
            run(&["setup", "acme", "openai", "--field", &format!("api_key={secret}")], None);
            run(&["setup", "acme", "openai", "--field", &format!("{secret}=-")], Some("x"));
            run(&["setup", "acme", "openai", "--document", secret], None);
            run(&["list", "acme", "--token", secret], None);
        }
        for args in [
            &["list", "acme"][..],
            &["list", "acme", "--output", "json"],
            &["show", "acme", "openai", "--name", "cli"],
            &["versions", "acme", "openai", "--name", "cli", "--output", "json"],
            &["audit", "list", "--output", "json"],
            &["audit", "verify"],
            &["token", "list"],
            &["providers"],
            &["delete", "acme", "openai", "--name", "cli", "--yes"],
        ] {
            run(args, None);
        }
    }

    /// Errors that are nobody's fault: a deadline, damaged rows, a key that is not there, a full disk.
    async fn fail(&mut self, daemon: &Daemon, channel: &Channel, token: &str) {
        for rpc in every_rpc() {
            let request = requests::encode(&rpc.input(), &good(rpc.name(), &self.stored[1].2.text));
            self.grpc(channel, token, &path(&rpc), request).await;
        }
        let head = format!("GET /integrations/acme HTTP/1.1\r\nauthorization: Bearer {token}\r\ngrpc-timeout: 1n\r\n");
        // A list may be there before the clock ticks.
        for _ in 0..500 {
            if !self.seen.contains("DEADLINE") {
                self.check("too late", &wire::http(&daemon.rest, &head, b""));
            }
        }
        for provider in ["openai", "cloudflare", "saas_generic", "gcp_service_account"] {
            self.rest(daemon, token, &format!("POST /integrations/acme/{provider}/decrypt"), b"");
            self.rest(daemon, token, &format!("POST /integrations/acme/{provider}/validate"), b"");
        }
        let pid = Pid::from_raw(daemon.pid() as i32).unwrap();
        let limit = |bytes| prlimit(Some(pid), Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
        limit(Some(4096));
        let key = self.stored[1].2.text.clone();
        for rpc in every_rpc() {
            let request = requests::encode(&rpc.input(), &good(rpc.name(), &key));
            self.grpc(channel, token, &path(&rpc), request).await;
        }
        limit(None);
    }
}

fn too_long(secret: &str) -> String {
    format!("{secret}{}", "x".repeat(2 << 20))
}

fn headers(secret: &str) -> Vec<(&'static str, String)> {
    let basic = data_encoding::BASE64.encode(secret.as_bytes());
    vec![
        ("authorization", format!("Bearer {secret}")),
        ("authorization", format!("Bearer srt_{secret}")),
        ("authorization", format!("Basic {basic}")),
        ("authorization", secret.to_owned()),
        ("x-api-key", secret.to_owned()),
        ("cookie", format!("key={secret}")),
        ("user-agent", secret.to_owned()),
        ("x-request-id", format!("{secret}?")),
        ("grpc-timeout", secret.to_owned()),
        ("content-encoding", secret.to_owned()),
    ]
}

/// One row's blob no longer opens, and another's key is nowhere.
fn damage(database: &Path) {
    let database = rusqlite::Connection::open(database).unwrap();
    let rows = |sql: &str, provider: &str| {
        let changed = database.execute(sql, [provider]).unwrap();
        assert_ne!(changed, 0, "{sql}");
    };
    let of = "WHERE credential_id IN (SELECT id FROM credentials WHERE provider = ?1)";
    rows(&format!("UPDATE org_integration_credentials SET sealed_blob = zeroblob(length(sealed_blob)) {of}"), "openai");
    let other = "INSERT INTO wrapping_keys SELECT max(id) + 1, 'local://default', '99' FROM wrapping_keys";
    assert_eq!(database.execute(other, []).unwrap(), 1);
    let of = "WHERE substr(holder, 2, 16) IN (SELECT id FROM credentials WHERE provider = ?1)";
    rows(&format!("UPDATE wraps SET key = (SELECT max(id) FROM wrapping_keys) {of}"), "cloudflare");
}
