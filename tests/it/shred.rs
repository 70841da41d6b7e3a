//! The end of an org through the real daemon: what is refused meanwhile, what comes back, and that nothing is left.

mod keys;
mod kills;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::Value as Json;
use strongroom::pb::v1::{WatchCredentialsRequest, WatchCredentialsResponse};
use tonic::{Code, Status};

use crate::daemon::{Daemon, decrypt, openai_key, runtime, setup};

const MONTH: &str = "30d";

/// Standard output as JSON, of a command that must go well.
fn cli(daemon: &Daemon, token: &str, args: &[&str]) -> Json {
    let output = daemon.cli(token, &[args, &["--output", "json"]].concat(), None);
    assert!(output.status.success(), "{args:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The exit code and the words of a command that must not.
fn refused(daemon: &Daemon, token: &str, args: &[&str]) -> (i32, String) {
    let output = daemon.cli(token, args, None);
    assert!(!output.status.success(), "{args:?}: {output:?}");
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// The newest end of an org.
fn status(daemon: &Daemon, token: &str, org: &str) -> Json {
    cli(daemon, token, &["org", "status", org]).get(0).cloned().unwrap_or_default()
}

fn count(json: &Json, what: &str) -> u64 {
    json[what].as_str().map_or(0, |count| count.parse().unwrap())
}

/// Waits until nothing is left.
pub fn destroyed(daemon: &Daemon, token: &str, org: &str) -> Json {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let now = status(daemon, token, org);
        if now["state"] == "destroyed" {
            return now;
        }
        assert!(Instant::now() < end, "it does not end: {now}\n{}", daemon.log());
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Every ciphertext and wrapped key of an org, the org's own among them.
fn raw(daemon: &Daemon, org: &str) -> Vec<Vec<u8>> {
    let raw = Connection::open(daemon.database()).unwrap();
    let mut all = Vec::new();
    for sql in [
        "SELECT v.sealed_blob FROM org_integration_credentials v JOIN credentials c ON c.id = v.credential_id \
         WHERE c.org = ?1 AND v.sealed_blob <> zeroblob(length(v.sealed_blob))",
        "SELECT w.bytes FROM wraps w JOIN credentials c ON substr(w.holder, 2, 16) = c.id WHERE c.org = ?1 AND w.live = 1",
        "SELECT bytes FROM wraps WHERE CAST(holder AS TEXT) = 'o' || ?1 AND live = 1",
    ] {
        let mut statement = raw.prepare(sql).unwrap();
        all.extend(statement.query_map([org], |row| row.get::<_, Vec<u8>>(0)).unwrap().map(Result::unwrap));
    }
    all
}

#[test]
fn what_is_the_operators_own_is_no_tenants_to_end() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    let (code, said) = refused(&daemon, &daemon.token, &["org", "destroy", "__platform__", "--after", "0s", "--yes"]);
    assert!(code == 3 && said.contains("the operator's own"), "{code} {said}");
    assert!(daemon.stop().success());
}

/// How many of some bytes are in the database's files.
fn in_files(daemon: &Daemon, needles: &[Vec<u8>]) -> usize {
    let begin = |bytes: &[u8]| <[u8; 16]>::try_from(&bytes[8..24]).unwrap();
    let wanted: HashSet<[u8; 16]> = needles.iter().map(|needle| begin(needle)).collect();
    let mut found = HashSet::new();
    for suffix in ["", "-wal"] {
        let bytes = std::fs::read(format!("{}{suffix}", daemon.database().display())).unwrap_or_default();
        let windows = bytes.windows(16).map(|window| <[u8; 16]>::try_from(window).unwrap());
        found.extend(windows.filter(|window| wanted.contains(window)));
    }
    found.len()
}

async fn opens(daemon: &Daemon, token: &str, org: &str, name: &str) -> Result<(), Status> {
    let reply = daemon.credentials(token).await.decrypt_credential(decrypt(org, name)).await?;
    let secret = reply.into_inner().secret.unwrap();
    assert!(secret.expose_text().unwrap().contains(&format!("{org}-{name}")));
    Ok(())
}

/// Two versions of one, one more, one that was deleted and waits, one that was destroyed; and another org's.
async fn fill(daemon: &Daemon, token: &str) {
    let mut client = daemon.credentials(token).await;
    for (org, name) in
        [("acme", "a"), ("acme", "b"), ("acme", "waits"), ("acme", "gone"), ("globex", "a"), ("acme2", "a")]
    {
        client.setup_credential(setup(org, name, &openai_key(&format!("{org}-{name}")))).await.unwrap();
    }
    client.setup_credential(setup("acme", "a", &openai_key("acme-a-second"))).await.unwrap();
    cli(daemon, token, &["delete", "acme", "openai", "--name", "waits", "--yes", "--destroy-after", MONTH]);
    cli(daemon, token, &["delete", "acme", "openai", "--name", "gone", "--yes"]);
}

#[test]
fn until_its_time_has_come_an_org_can_come_back() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    let token = daemon.token.clone();
    runtime().block_on(async {
        fill(&daemon, &token).await;
        let theirs = daemon.issue("admin", "acme", &[]).await;
        let pipeline = daemon.issue("pipeline", "acme", &["*"]).await;
        let minted =
            daemon.cli(&token, &["grant", "mint", "acme", "--run", "1", "--credential", "default/openai/a"], None);
        assert!(minted.status.success());
        opens(&daemon, &pipeline, "acme", "a").await.unwrap();
        let seen = events(&daemon, &token, "acme", 0).await;
        let last = seen.last().unwrap().sequence;

        assert_eq!(refused(&daemon, &token, &["org", "destroy", "acme"]).0, 2, "it asks");
        assert_eq!(refused(&daemon, &token, &["org", "destroy", "nobody", "--yes"]).0, 6);
        let (_, told) = refused(&daemon, &token, &["org", "destroy", "acme", "--yes", "--after", "91d"]);
        assert!(told.contains("after: must not be more than 90 days"), "{told}");
        let doomed = cli(&daemon, &theirs, &["org", "destroy", "acme", "--yes"]);
        assert_eq!((&doomed["org"], &doomed["state"]), (&Json::from("acme"), &Json::from("pending")));
        let time = |field: &str| doomed[field].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        assert_eq!(time("destroy_at").duration_since(time("requested_at")).as_hours(), 72);
        let until = format!("{:.0}", time("destroy_at"));

        // Nothing is served, nothing stored.
        for who in [&token, &pipeline] {
            let code = opens(&daemon, who, "acme", "a").await.unwrap_err().code();
            assert!([Code::NotFound, Code::PermissionDenied].contains(&code), "{code}");
        }
        assert_eq!(cli(&daemon, &token, &["list", "acme"]), Json::Array(Vec::new()));
        for name in ["a", "new"] {
            let again = setup("acme", name, &openai_key("again"));
            let refused = daemon.credentials(&token).await.setup_credential(again).await.unwrap_err();
            assert_eq!(refused.code(), Code::Aborted);
            for word in ["org acme is to be destroyed", until.as_str(), "strongroom org restore acme"] {
                assert!(refused.message().contains(word), "{refused}");
            }
        }
        for args in [
            &["undelete", "acme", "openai", "--name", "waits"][..],
            &["undelete", "acme", "openai", "--name", "a"],
            &["token", "issue", "x", "--role", "service", "--org", "acme"],
            &["org", "destroy", "acme", "--yes", "--after", "0s"],
        ] {
            assert!(refused(&daemon, &token, args).1.contains("strongroom org restore acme"), "{args:?}");
        }
        opens(&daemon, &token, "globex", "a").await.unwrap();
        opens(&daemon, &token, "acme2", "a").await.unwrap();
        assert_eq!(status(&daemon, &theirs, "acme"), doomed);
        assert_eq!(
            refused(&daemon, &theirs, &["org", "status", "globex"]).0,
            refused(&daemon, &theirs, &["org", "status", "x"]).0
        );

        // Over a restart too.
        assert!(daemon.stop().success());
        let daemon = Daemon::start(home.path());
        assert!(opens(&daemon, &token, "acme", "a").await.is_err());
        cli(&daemon, &theirs, &["org", "restore", "acme"]);
        assert_eq!(cli(&daemon, &token, &["org", "status"]), Json::Array(Vec::new()));
        assert_eq!(refused(&daemon, &token, &["org", "restore", "acme"]).0, 6);
        for name in ["a", "b"] {
            opens(&daemon, &pipeline, "acme", name).await.unwrap();
        }
        assert_eq!(cli(&daemon, &token, &["list", "acme"]).as_array().unwrap().len(), 2);
        cli(&daemon, &token, &["undelete", "acme", "openai", "--name", "waits"]);
        let told: Vec<_> = events(&daemon, &token, "acme", last).await.into_iter().map(|it| it.change).collect();
        assert_eq!(told, ["deleted", "deleted", "undeleted", "undeleted", "undeleted"]);
        for action in ["destroyOrg", "restoreOrg"] {
            let records =
                cli(&daemon, &token, &["audit", "list", "--org", "acme", "--action", action, "--outcome", "ok"]);
            let canonical = records[0]["canonical"].as_str().unwrap();
            assert!(canonical.contains(doomed["id"].as_str().unwrap()) && canonical.contains("destroy_at"));
        }
    });
}

#[test]
fn when_its_time_has_come_nothing_is_left_but_the_proof() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    let token = daemon.token.clone();
    runtime().block_on(async {
        fill(&daemon, &token).await;
        let pipeline = daemon.issue("pipeline", "acme", &["*"]).await;
        let spared = daemon.issue("pipeline", "globex", &["*"]).await;
        let mint = ["grant", "mint", "acme", "--run", "1", "--credential", "default/openai/a", "--uses", "9"];
        let minted = String::from_utf8(daemon.cli(&token, &mint, None).stdout).unwrap();
        let grant = minted.trim().trim_start_matches("export STRONGROOM_GRANT=").trim_matches('\'').to_owned();
        opens(&daemon, &pipeline, "acme", "b").await.unwrap();
        let (acme, globex) = (raw(&daemon, "acme"), raw(&daemon, "globex"));
        // Four ciphertexts and their keys, and the org's key.
        assert_eq!((acme.len(), in_files(&daemon, &acme)), (9, 9));

        cli(&daemon, &token, &["org", "destroy", "acme", "--yes", "--after", "0s"]);
        assert!(opens(&daemon, &token, "acme", "b").await.is_err());
        let proof = destroyed(&daemon, &token, "acme");
        assert_eq!(in_files(&daemon, &acme), 0);
        assert_eq!(in_files(&daemon, &globex), globex.len());
        let toll = &proof["destroyed"];
        let numbers = ["credentials", "versions", "org_keys", "second_factors", "tokens", "grants"];
        assert_eq!(numbers.map(|what| count(toll, what)), [3, 4, 1, 0, 1, 1], "{proof}");
        assert_eq!(toll["wraps"], serde_json::json!({"local://default": "5"}));
        let left = ["looked_at", "ciphertexts", "wraps", "second_factors", "tokens", "grants"];
        assert_eq!(left.map(|what| count(&proof["left"], what)), [5, 0, 0, 0, 0, 0], "{proof}");

        // Whoever was let in by it is not any more; everybody else is.
        for bearer in [&pipeline, &grant] {
            assert_eq!(opens(&daemon, bearer, "acme", "b").await.unwrap_err().code(), Code::Unauthenticated);
        }
        opens(&daemon, &spared, "globex", "a").await.unwrap();
        assert_eq!(refused(&daemon, &token, &["org", "restore", "acme"]).0, 6);
        assert_eq!(refused(&daemon, &token, &["org", "destroy", "acme", "--yes"]).0, 6, "nothing is left of it");

        // It is in the log, which is whole, and in what is exported of it.
        let records = cli(&daemon, &token, &["audit", "list", "--org", "acme", "--action", "orgDestroyed"]);
        assert_eq!(records.as_array().unwrap().len(), 1);
        let canonical = records[0]["canonical"].as_str().unwrap();
        let told: Json = serde_json::from_str(canonical).unwrap();
        assert_eq!(told["org_end"]["id"], proof["id"]);
        assert_eq!(told["org_end"]["destroyed"]["wraps"], serde_json::json!({"local://default": 5}));
        assert_eq!(told["org_end"]["proof"]["left"]["ciphertexts"], 0);
        assert!(daemon.cli(&token, &["audit", "verify"], None).status.success());
        let file = home.path().join("export");
        let exported = daemon.cli(&token, &["audit", "export", "--out", file.to_str().unwrap()], None);
        assert!(exported.status.success(), "{exported:?}");
        let exported = std::fs::read_to_string(&file).unwrap();
        let line = exported.lines().find(|line| line.contains("orgDestroyed")).unwrap();
        assert!(line.contains("local://default"), "{line}");

        // The name is free, with another key of its own, and nothing old comes back.
        let mut client = daemon.credentials(&token).await;
        client.setup_credential(setup("acme", "b", &openai_key("acme-b"))).await.unwrap();
        opens(&daemon, &token, "acme", "b").await.unwrap();
        assert_eq!(opens(&daemon, &token, "acme", "a").await.unwrap_err().code(), Code::NotFound);
        assert_eq!(refused(&daemon, &token, &["undelete", "acme", "openai", "--name", "waits"]).0, 6);
        let anew = raw(&daemon, "acme");
        assert_eq!(anew.len(), 3);
        assert!(anew.iter().all(|bytes| !acme.contains(bytes)));
        assert!(daemon.stop().success());
        let daemon = Daemon::start(home.path());
        opens(&daemon, &token, "acme", "b").await.unwrap();
        assert_eq!(status(&daemon, &token, "acme"), proof);
        let sheet = daemon.cli(&token, &["org", "status", "acme"], None).stdout;
        let sheet = String::from_utf8(sheet).unwrap();
        assert!(sheet.contains("5 under local://default") && sheet.contains("backups and exports"), "{sheet}");
    });
}

/// What watchers of an org were told after a change, until now.
async fn events(daemon: &Daemon, token: &str, org: &str, after: u64) -> Vec<WatchCredentialsResponse> {
    let request = WatchCredentialsRequest { org: org.into(), after: Some(after), ..WatchCredentialsRequest::default() };
    let mut stream = daemon.credentials(token).await.watch_credentials(request).await.unwrap().into_inner();
    let mut events = Vec::new();
    while let Ok(event) = tokio::time::timeout(Duration::from_secs(1), stream.message()).await {
        events.extend(event.unwrap());
    }
    events
}
