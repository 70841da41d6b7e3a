//! Wrapped keys that move to another key, or to its next version, through the real daemon.

mod ends;
mod kills;
mod older;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::Value as Json;
use strongroom::kms::Local;
use strongroom::pb::v1::step_up_service_client::StepUpServiceClient;
use strongroom::pb::v1::{EnrolSecondFactorRequest, RewrapRequest};
use tonic::Code;

use crate::daemon::{Bearer, Daemon, decrypt, openai_key, runtime, setup};

/// What the next start wraps under.
const NEXT: &str = "[kms]\ndefault = \"local://next\"\n";

pub fn keys(home: &Path) -> std::path::PathBuf {
    home.join("strongroom-data/keys")
}

pub async fn fill(daemon: &Daemon, token: &str, count: usize) {
    let client = daemon.credentials(token).await;
    let workers = (0..8).map(|worker| {
        let mut client = client.clone();
        tokio::spawn(async move {
            for number in (worker..count).step_by(8) {
                let name = format!("n{number}");
                client.setup_credential(setup("acme", &name, &openai_key(&name))).await.unwrap();
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.unwrap();
    }
}

/// Every credential opens, without the cache's help.
pub async fn all_open(daemon: &Daemon, token: &str, count: usize) {
    let mut client = daemon.credentials(token).await;
    for number in 0..count {
        let name = format!("n{number}");
        let mut request = decrypt("acme", &name);
        request.fresh = true;
        let reply = client.decrypt_credential(request).await.unwrap_or_else(|status| panic!("{name}: {status}"));
        assert_eq!(reply.into_inner().secret.unwrap().expose(), openai_key(&name).as_bytes());
    }
}

/// What is in use: how many versions, keys of orgs, audit keys and factors under each key and version.
pub fn in_use(daemon: &Daemon, token: &str) -> BTreeMap<String, [u64; 4]> {
    let output = daemon.cli(token, &["keys", "--output", "json"], None);
    assert!(output.status.success(), "{output:?}");
    let keys: Json = serde_json::from_slice(&output.stdout).unwrap();
    let count = |held: &Json, what: &str| held[what].as_str().map_or(0, |count| count.parse().unwrap());
    let mut all = BTreeMap::new();
    for key in keys.as_array().unwrap() {
        let held = ["versions", "org_keys", "audit_keys", "second_factors"].map(|what| count(&key["held"], what));
        let version = key["version"].as_str().unwrap_or("-");
        all.insert(format!("{} {version}", key["key"].as_str().unwrap()), held);
    }
    all
}

/// The exit code, the last line of the news, and what was said.
pub fn rewrap(daemon: &Daemon, token: &str, options: &[&str]) -> (i32, Json, String) {
    let output = daemon.cli(token, &[&["rewrap", "--output", "json"], options].concat(), None);
    let news = String::from_utf8(output.stdout).unwrap();
    let last = news.lines().last().map_or(Json::Null, |line| serde_json::from_str(line).unwrap());
    (output.status.code().unwrap(), last, String::from_utf8(output.stderr).unwrap())
}

pub fn count(news: &Json, what: &str) -> u64 {
    news[what].as_str().map_or(0, |count| count.parse().unwrap())
}

pub fn raw_wraps(daemon: &Daemon) -> Vec<Vec<u8>> {
    let raw = Connection::open(daemon.database()).unwrap();
    let mut statement = raw.prepare("SELECT bytes FROM wraps WHERE live = 1").unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// Whether any of some bytes are in the database's files.
fn are_there(daemon: &Daemon, needles: &[Vec<u8>]) -> bool {
    let begin = |bytes: &[u8]| <[u8; 16]>::try_from(&bytes[8..24]).unwrap();
    let wanted: std::collections::HashSet<[u8; 16]> = needles.iter().map(|needle| begin(needle)).collect();
    ["", "-wal"].iter().any(|suffix| {
        let file = format!("{}{suffix}", daemon.database().display());
        let bytes = std::fs::read(file).unwrap_or_default();
        bytes.windows(16).any(|window| wanted.contains(&<[u8; 16]>::try_from(window).unwrap()))
    })
}

/// Decrypts, past the cache, until it is told to stop. Answers how many; none may fail.
async fn load(daemon: &Daemon, token: &str, of: usize, stop: &Arc<AtomicBool>) -> tokio::task::JoinHandle<u64> {
    let (mut client, stop) = (daemon.credentials(token).await, Arc::clone(stop));
    tokio::spawn(async move {
        let mut done = 0;
        while !stop.load(Ordering::Relaxed) {
            let name = format!("n{}", done as usize * 7 % of);
            let mut request = decrypt("acme", &name);
            request.fresh = true;
            let reply = client.decrypt_credential(request).await.unwrap_or_else(|status| panic!("{name}: {status}"));
            assert_eq!(reply.into_inner().secret.unwrap().expose(), openai_key(&name).as_bytes());
            done += 1;
        }
        done
    })
}

/// One of so many after the other, from one of them on, until the daemon is killed.
pub async fn keep_decrypting(
    daemon: &Daemon,
    token: &str,
    (rows, from): (usize, usize),
    answered: &Arc<AtomicU64>,
) -> tokio::task::JoinHandle<()> {
    let (mut client, answered) = (daemon.credentials(token).await, Arc::clone(answered));
    tokio::spawn(async move {
        for number in (0..rows).cycle().skip(from) {
            let name = format!("n{number}");
            match client.decrypt_credential(decrypt("acme", &name)).await {
                Ok(reply) => {
                    let secret = reply.into_inner().secret.unwrap();
                    assert_eq!(secret.expose(), openai_key(&name).as_bytes());
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                // Nothing else but the kill may stand in the way.
                Err(status) => {
                    assert!(matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled), "{status}");
                    return;
                }
            }
        }
    })
}

#[test]
fn keys_move_while_everything_is_served() {
    const ROWS: usize = 300;
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    let token = daemon.token.clone();
    let runtime = runtime();
    runtime.block_on(fill(&daemon, &token, ROWS));
    runtime.block_on(async {
        let mut stepup = StepUpServiceClient::with_interceptor(daemon.channel().await, Bearer::new(&token));
        stepup.enrol_second_factor(EnrolSecondFactorRequest::default()).await.unwrap();
    });
    // The first checkpoint of the audit log, at the latest now, makes the key that signs it.
    assert!(daemon.stop().success());
    let daemon = Daemon::start(home.path());
    let before = in_use(&daemon, &token);
    let [versions, org_keys, audit_keys, factors] = before["local://default 1"];
    assert_eq!((versions, factors, before.len()), (300, 1, 1));
    assert!(org_keys >= 2 && audit_keys >= 1, "{before:?}");
    let all = versions + org_keys + audit_keys + factors;
    // Where everything is where it belongs, there is nothing to do.
    assert_eq!(rewrap(&daemon, &token, &[]).0, 0);
    assert!(daemon.stop().success());

    let daemon = Daemon::start_with(home.path(), NEXT);
    let (code, news, _) = rewrap(&daemon, &token, &["--dry-run"]);
    assert_eq!((code, count(&news, "total"), count(&news, "moved"), &news["done"]), (0, all, 0, &Json::Bool(true)));
    assert_eq!(in_use(&daemon, &token)["local://default 1"], before["local://default 1"]);
    let old = raw_wraps(&daemon);
    assert!(old.len() as u64 == all && are_there(&daemon, &old));

    let stop = Arc::new(AtomicBool::new(false));
    let decrypting = runtime.block_on(load(&daemon, &token, ROWS, &stop));
    let (code, news, said) = rewrap(&daemon, &token, &[]);
    stop.store(true, Ordering::Relaxed);
    assert_eq!((code, count(&news, "moved"), count(&news, "failed")), (0, all, 0), "{said}");
    assert!(runtime.block_on(decrypting).unwrap() > 10);
    let after = in_use(&daemon, &token);
    assert_eq!(after["local://next 1"], before["local://default 1"]);
    assert_eq!(after["local://default -"], [0; 4], "configured still, and not needed");
    assert!(!are_there(&daemon, &old), "a wrap under the old key is still in a file");
    assert_eq!(count(&rewrap(&daemon, &token, &[]).1, "total"), 0);
    assert!(daemon.stop().success());

    // The old key is not needed any more.
    std::fs::remove_file(keys(home.path()).join("default.key")).unwrap();
    Local::rotate(&keys(home.path()), "next", None).unwrap();
    let daemon = Daemon::start_with(home.path(), NEXT);
    runtime.block_on(all_open(&daemon, &token, ROWS));
    // Another version of the same key.
    let (code, news, said) = rewrap(&daemon, &token, &[]);
    assert_eq!((code, count(&news, "moved")), (0, all), "{said}");
    assert_eq!(in_use(&daemon, &token), BTreeMap::from([("local://next 2".to_owned(), before["local://default 1"])]));
    runtime.block_on(all_open(&daemon, &token, ROWS));
    let shown = daemon.cli(&token, &["keys", "--by-org"], None);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.lines().any(|line| line.contains("acme") && line.contains("300")), "{shown}");
    let audit = daemon.cli(&token, &["audit", "verify"], None);
    assert!(audit.status.success(), "{audit:?}");
}

#[test]
fn what_does_not_open_is_named_and_left() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    let token = daemon.token.clone();
    let runtime = runtime();
    runtime.block_on(fill(&daemon, &token, 20));
    let database = daemon.database();
    assert!(daemon.stop().success());
    let raw = Connection::open(&database).unwrap();
    let id = |name: &str| -> uuid::Uuid {
        let id: Vec<u8> =
            raw.query_row("SELECT id FROM credentials WHERE name = ?1", [name], |row| row.get(0)).unwrap();
        uuid::Uuid::from_slice(&id).unwrap()
    };
    let (wrap, blob) = (id("n3"), id("n7"));
    let of = "WHERE substr(holder, 2, 16) = ?1";
    let changed = raw.execute(&format!("UPDATE wraps SET bytes = zeroblob(length(bytes)) {of}"), [wrap.as_bytes()]);
    assert_eq!(changed.unwrap(), 1);
    let changed = raw.execute(
        "UPDATE org_integration_credentials SET sealed_blob = zeroblob(length(sealed_blob)) WHERE credential_id = ?1",
        [blob.as_bytes()],
    );
    assert_eq!(changed.unwrap(), 1);

    let daemon = Daemon::start_with(home.path(), NEXT);
    for run in 0..2 {
        let (code, news, said) = rewrap(&daemon, &token, &[]);
        assert_eq!((code, count(&news, "failed")), (10, 2), "{said}");
        assert_eq!(count(&news, "moved") > 18, run == 0);
        for id in [wrap, blob] {
            let named = said.lines().find(|line| line.contains(&id.to_string()));
            let named = named.unwrap_or_else(|| panic!("{id} is not named:\n{said}"));
            assert!(named.contains("under local://default 1") && !named.contains("authentication"), "{named}");
        }
        assert_eq!(in_use(&daemon, &token)["local://default 1"], [2, 0, 0, 0]);
    }
    daemon.logged(|line| line.contains("left as it is") && line.contains(&wrap.to_string()));
    assert!(daemon.stop().success());

    // Without its key, nothing of a row can be told but which key it is.
    std::fs::remove_file(keys(home.path()).join("default.key")).unwrap();
    let daemon = Daemon::start_with(home.path(), NEXT);
    let (code, news, said) = rewrap(&daemon, &token, &[]);
    assert_eq!((code, count(&news, "failed")), (10, 2));
    assert!(said.contains("local://default is not configured"), "{said}");
    let table = String::from_utf8(daemon.cli(&token, &["keys"], None).stdout).unwrap();
    assert!(table.lines().any(|line| line.contains("local://default") && line.contains("NOT CONFIGURED")), "{table}");
}

#[test]
fn one_at_a_time_and_only_what_was_asked_for() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    let token = daemon.token.clone();
    let runtime = runtime();
    runtime.block_on(fill(&daemon, &token, 40));
    runtime.block_on(async {
        let mut client = daemon.credentials(&token).await;
        client.setup_credential(setup("other", "a", &openai_key("a"))).await.unwrap();
    });
    assert!(daemon.stop().success());
    let mut daemon = Daemon::start_with(home.path(), NEXT);

    // A tenant alone: its version and its org's key.
    let (code, news, said) = rewrap(&daemon, &token, &["--org", "other"]);
    assert_eq!((code, count(&news, "total"), count(&news, "moved")), (0, 2, 2), "{said}");
    // And back, which is not where it belongs.
    let (code, news, said) = rewrap(&daemon, &token, &["--from", "local://next", "--to", "local://default"]);
    assert_eq!((code, count(&news, "moved")), (0, 2), "{said}");
    for (options, why) in [
        (["--to", "local://nowhere"], "is none of the configured keys: local://default, local://next"),
        (["--from", "local://nowhere"], "nothing is wrapped under it"),
        (["--org", "no/org"], "org"),
    ] {
        let (code, _, said) = rewrap(&daemon, &token, &options);
        assert!(code == 3 && said.contains(why), "{options:?}: {code} {said}");
    }

    runtime.block_on(async {
        let mut admin = daemon.admin(&token).await;
        let slow = RewrapRequest { rate: 4, ..RewrapRequest::default() };
        let mut first = admin.rewrap(slow.clone()).await.unwrap().into_inner();
        let total = first.message().await.unwrap().unwrap().total;
        assert!(total >= 40);
        let second = daemon.admin(&token).await.rewrap(RewrapRequest::default()).await.unwrap_err();
        assert_eq!(second.code(), Code::Aborted, "{second}");
        let begun = Instant::now();
        let mut moved = 0;
        while moved < 12 {
            moved = first.message().await.unwrap().unwrap().moved;
        }
        assert!(begun.elapsed() > Duration::from_millis(1_800), "not throttled: {:?}", begun.elapsed());
        // Whoever asked has gone: it stops, and another may go on.
        drop(first);
        let end = Instant::now() + Duration::from_secs(20);
        let mut rest = loop {
            match admin.rewrap(RewrapRequest::default()).await {
                Ok(rest) => break rest.into_inner(),
                Err(status) => assert!(status.code() == Code::Aborted && Instant::now() < end, "{status}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let mut last = None;
        while let Some(news) = rest.message().await.unwrap() {
            last = Some(news);
        }
        let last = last.unwrap();
        assert!(last.done && last.failed == 0 && last.total < total && last.moved == last.total, "{last:?}");
    });
    assert_eq!(in_use(&daemon, &token)["local://default -"], [0; 4]);
    runtime.block_on(all_open(&daemon, &token, 40));

    // Not for an administrator of one tenant.
    daemon.token = token;
    let own = runtime.block_on(daemon.issue("admin", "acme", &[]));
    for command in [["keys", "--by-org"], ["rewrap", "--dry-run"]] {
        assert_eq!(daemon.cli(&own, &command, None).status.code(), Some(5));
    }
}
