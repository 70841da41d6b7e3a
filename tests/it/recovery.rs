//! The keys of the KMS are lost, and an offline identity is there. Through the real daemon and the real command.

mod config;
mod kills;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::Value as Json;
use strongroom::crypto::age::Identity;

use crate::daemon::{Daemon, decrypt, openai_key, program, runtime, setup};
use crate::rewrap::{all_open, count, fill, in_use, keys, rewrap};

/// As age-keygen spells it.
pub fn private(seed: u8) -> String {
    let hrp = bech32::Hrp::parse("age-secret-key-").unwrap();
    bech32::encode_upper::<bech32::Bech32>(hrp, &[seed; 32]).unwrap()
}

fn public(seed: u8) -> String {
    Identity::from_bytes([seed; 32]).recipient().unwrap().as_str().to_owned()
}

pub fn recipients(seeds: &[u8]) -> String {
    let all: Vec<String> = seeds.iter().map(|seed| public(*seed)).collect();
    format!("[kms.recovery]\nrecipients = {all:?}\n")
}

/// The identity comes in by stdin.
pub fn command(home: &Path, words: &[&str], stdin: &str) -> Output {
    let mut child = Command::new(program())
        .args(words)
        .args(["--config", "strongroom.toml"])
        .current_dir(home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may have ended before it reads.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

pub fn recover(home: &Path, seed: u8, options: &[&str]) -> (i32, Json, String) {
    let file = format!("# created: now\n# public key: {}\n{}\n", public(seed), private(seed));
    let output = command(home, &[&["recover", "--identity", "-", "--output", "json"], options].concat(), &file);
    let said = String::from_utf8(output.stderr).unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert!(!said.contains("AGE-SECRET") && !out.contains("AGE-SECRET"), "{said}");
    let found = serde_json::from_str(&out).unwrap_or_default();
    (output.status.code().unwrap(), found, said)
}

/// The local key is lost, and another is made under its name.
fn lose_the_key(home: &Path) {
    std::fs::remove_file(keys(home).join("default.key")).unwrap();
    let made = command(home, &["local-key", "create", "default"], "");
    assert!(made.status.success(), "{made:?}");
}

fn wraps(home: &Path) -> Vec<Vec<u8>> {
    let raw = Connection::open(home.join("strongroom-data/strongroom.db")).unwrap();
    let mut statement = raw.prepare("SELECT bytes FROM wraps WHERE live = 1 ORDER BY id").unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// Told soon after the start.
fn proven(daemon: &Daemon) -> f64 {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let (_, metrics) = daemon.scrape("/metrics");
        let line = metrics.lines().find_map(|line| line.strip_prefix("strongroom_recovery_proven_timestamp_seconds "));
        if let Some(line) = line {
            return line.parse().unwrap();
        }
        assert!(Instant::now() < end, "{metrics}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn all_keys_are_lost_and_nothing_else() {
    const ROWS: usize = 70;
    let home = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let daemon = Daemon::start_with(home.path(), &recipients(&[1, 2]));
    let token = daemon.token.clone();
    runtime.block_on(fill(&daemon, &token, ROWS));
    assert!(proven(&daemon).abs() < 1.0);
    assert!(daemon.stop().success());

    // Stopped, the daemon has signed its audit log: that key is there too.
    let daemon = Daemon::start_with(home.path(), &recipients(&[1, 2]));
    let held = in_use(&daemon, &token);
    let all: u64 = held["local://default 1"].iter().sum();
    assert!(all > ROWS as u64 + 1 && held["local://default 1"][2] > 0);
    for seed in [1, 2] {
        assert_eq!(held[&format!("age:{} -", public(seed))], held["local://default 1"]);
    }
    let (code, _, said) = recover(home.path(), 1, &["--drill"]);
    assert!(code != 0 && said.contains("another strongroom daemon"), "{code} {said}");
    assert!(daemon.stop().success());

    let before = wraps(home.path());
    let (code, found, said) = recover(home.path(), 1, &["--drill", "--sample", "10"]);
    assert_eq!((code, &found["proven"], found["tried"].as_u64()), (0, &Json::Bool(true), Some(10)), "{said}");
    assert_eq!(found["total"].as_u64(), Some(all));
    assert_eq!(recover(home.path(), 2, &["--drill", "--sample", "1000"]).1["tried"].as_u64(), Some(all));
    let (code, _, said) = recover(home.path(), 3, &["--drill"]);
    assert!(code == 65 && said.contains(&public(3)) && said.contains("nothing in it is wrapped"), "{code} {said}");
    assert!(before == wraps(home.path()), "a drill changed something");
    let daemon = Daemon::start_with(home.path(), &recipients(&[1, 2]));
    assert!(proven(&daemon) > 1.7e9);
    assert!(daemon.stop().success());

    let before = wraps(home.path());
    lose_the_key(home.path());
    let refused = Daemon::try_start(home.path(), &recipients(&[1, 2]), &[]).map(|_| ()).unwrap_err();
    assert!(refused.1.contains("is not the key that this database was sealed under"), "{}", refused.1);
    let (code, _, said) = recover(home.path(), 3, &[]);
    assert!(code == 65 && said.contains("nothing in it is wrapped"), "{code} {said}");
    assert!(before == wraps(home.path()), "a wrong identity changed something");

    let (code, found, said) = recover(home.path(), 2, &[]);
    assert_eq!((code, count_of(&found)), (0, [all, 0, 0, 0]), "{said}");
    let (code, found, said) = recover(home.path(), 2, &[]);
    assert_eq!((code, count_of(&found)), (0, [0, all, 0, 0]), "{said}");

    let daemon = Daemon::start_with(home.path(), &recipients(&[1, 2]));
    runtime.block_on(all_open(&daemon, &token, ROWS));
    let after = in_use(&daemon, &token);
    assert_eq!(after.keys().collect::<Vec<_>>(), held.keys().collect::<Vec<_>>());
    let audit = daemon.cli(&token, &["audit", "verify"], None);
    assert!(audit.status.success(), "{audit:?}");
    let listed = daemon.cli(&token, &["audit", "list", "--action", "recover"], None);
    assert!(listed.status.success() && String::from_utf8_lossy(&listed.stdout).contains("recover"), "{listed:?}");
    runtime.block_on(fill_more(&daemon, &token));
    assert!(daemon.stop().success());
    for file in ["log", "stdout", "strongroom-data/strongroom.db"] {
        let bytes = std::fs::read(home.path().join(file)).unwrap();
        for seed in [1, 2, 3] {
            for secret in [private(seed).as_bytes(), &[seed; 32]] {
                assert!(!bytes.windows(secret.len()).any(|window| window == secret), "an identity is in {file}");
            }
        }
    }
    // The wraps of the lost key are gone from the file.
    let old: Vec<_> = before.iter().filter(|wrap| !wrap.starts_with(b"age-encryption.org")).collect();
    let bytes = std::fs::read(home.path().join("strongroom-data/strongroom.db")).unwrap();
    assert!(old.len() as u64 == all && !old.iter().any(|old| bytes.windows(24).any(|window| *window == old[8..32])));
}

async fn fill_more(daemon: &Daemon, token: &str) {
    let mut client = daemon.credentials(token).await;
    client.setup_credential(setup("acme", "more", &openai_key("more"))).await.unwrap();
    client.decrypt_credential(decrypt("acme", "more")).await.unwrap();
}

fn count_of(found: &Json) -> [u64; 4] {
    ["recovered", "whole", "failed", "without"].map(|what| found[what].as_u64().unwrap())
}

#[test]
fn what_would_be_lost_is_named() {
    let home = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let daemon = Daemon::start(home.path());
    let token = daemon.token.clone();
    runtime.block_on(fill(&daemon, &token, 3));
    assert!(daemon.stop().success());
    let daemon = Daemon::start_with(home.path(), &recipients(&[1]));
    runtime.block_on(fill_more(&daemon, &token));
    assert!(daemon.stop().success());

    let (code, found, said) = recover(home.path(), 1, &["--drill"]);
    assert!(code == 10 && found["proven"] == Json::Bool(false), "{code} {said}");
    assert_eq!(said.matches("has no wrap for this identity").count() as u64, found["without"].as_u64().unwrap());
    assert!(said.contains("key of org acme") && said.contains("strongroom rewrap"), "{said}");
    lose_the_key(home.path());
    let (code, found, said) = recover(home.path(), 1, &[]);
    let [recovered, _, failed, without] = count_of(&found);
    assert!(code == 10 && recovered >= 1 && failed == 0 && without >= 4, "{code} {found} {said}");
    assert_eq!(said.matches("no configured key opens it").count() as u64, without, "{said}");
}

#[test]
fn rewrap_adds_what_new_recipients_lack_and_drops_what_is_for_others() {
    let home = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let daemon = Daemon::start(home.path());
    let token = daemon.token.clone();
    runtime.block_on(fill(&daemon, &token, 70));
    assert!(daemon.stop().success());
    let start = |seeds: &[u8]| Daemon::start_with(home.path(), &recipients(seeds));

    let daemon = start(&[1, 2]);
    let row = |held: &BTreeMap<String, [u64; 4]>, seed| held.get(&format!("age:{} -", public(seed))).copied();
    assert_eq!(row(&in_use(&daemon, &token), 1), Some([0; 4]), "configured, and nothing is wrapped for it");
    let all: u64 = in_use(&daemon, &token)["local://default 1"].iter().sum();
    let (code, news, said) = rewrap(&daemon, &token, &["--dry-run"]);
    assert_eq!((code, count(&news, "total")), (0, 2 * all), "{said}");
    let (code, news, said) = rewrap(&daemon, &token, &[]);
    assert_eq!((code, count(&news, "moved"), count(&news, "failed")), (0, 2 * all, 0), "{said}");
    let held = in_use(&daemon, &token);
    assert_eq!((row(&held, 1), row(&held, 2)), (Some(held["local://default 1"]), Some(held["local://default 1"])));
    assert_eq!(count(&rewrap(&daemon, &token, &[]).1, "total"), 0);
    assert!(daemon.stop().success());

    let daemon = start(&[3]);
    let table = String::from_utf8(daemon.cli(&token, &["keys"], None).stdout).unwrap();
    assert!(table.lines().any(|line| line.contains(&public(1)) && line.contains("NOT CONFIGURED")), "{table}");
    let (code, news, said) = rewrap(&daemon, &token, &[]);
    assert!(code == 0 && count(&news, "moved") >= 3 * all && count(&news, "failed") == 0, "{news} {said}");
    let held = in_use(&daemon, &token);
    assert_eq!((row(&held, 1), row(&held, 2)), (None, None));
    assert_eq!(row(&held, 3), Some(held["local://default 1"]));
    runtime.block_on(all_open(&daemon, &token, 70));
    assert!(daemon.stop().success());
    assert_eq!(recover(home.path(), 1, &["--drill"]).0, 65);
    assert_eq!(recover(home.path(), 3, &["--drill"]).0, 0);
}
