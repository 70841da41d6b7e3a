//! Each way of lying about the past, made directly on the database of a stopped daemon: named by the daemon at its next
//! start, by `audit verify`, and offline.

use std::path::Path;

use rusqlite::Connection;
use strongroom::crypto::ledger::{Hash, chain};
use strongroom::pb::v1::{AuditChain, VerifyAuditRequest};

use super::*;
use crate::daemon::runtime;

const WITH_FILE: &str = "[audit]\ncheckpoint_every = \"100ms\"\ncheckpoint_file = \"checkpoints\"\n";

struct World {
    home: tempfile::TempDir,
    token: String,
    /// How many records there are, all of them signed for.
    records: u64,
}

fn world() -> World {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start_with(home.path(), WITH_FILE);
    let token = daemon.token.clone();
    runtime().block_on(live(&daemon, &token, 0));
    let key = daemon.cli(&token, &["audit", "key"], None);
    assert!(key.status.success(), "{}", String::from_utf8_lossy(&key.stderr));
    std::fs::write(home.path().join("audit.pub"), &key.stdout).unwrap();
    assert!(daemon.stop().success());
    let records = count(home.path());
    World { home, token, records }
}

fn open(home: &Path) -> Connection {
    Connection::open(home.join("strongroom-data/strongroom.db")).unwrap()
}

fn count(home: &Path) -> u64 {
    rows(home).into_iter().map(|(_, sequence)| sequence.unsigned_abs()).max().unwrap()
}

fn sql(home: &Path, statements: &str) {
    open(home).execute_batch(statements).unwrap();
}

/// What a daemon says of its log, and what an export of it says without a daemon.
fn verified(world: &World, home: &Path) -> (AuditChain, String) {
    let daemon = Daemon::start_with(home, OFTEN);
    let chains = runtime().block_on(async {
        let reply = daemon.admin(&world.token).await.verify_audit(VerifyAuditRequest {}).await.unwrap().into_inner();
        assert_eq!(reply.intact, reply.chains.iter().all(|chain| chain.broken_at == 0));
        reply.chains
    });
    let out = home.join("export.jsonl");
    _ = std::fs::remove_file(&out);
    let export = daemon.cli(&world.token, &["audit", "export", "--out", out.to_str().unwrap()], None);
    assert!(export.status.success(), "{}", String::from_utf8_lossy(&export.stderr));
    let said = offline(&daemon, home, &out);
    drop(daemon);
    (chains.into_iter().next().unwrap(), said)
}

fn offline(daemon: &Daemon, home: &Path, out: &Path) -> String {
    let at = |name: &str| home.join(name).to_str().unwrap().to_owned();
    let arguments =
        ["audit", "verify", out.to_str().unwrap(), "--key", &at("audit.pub"), "--checkpoint", &at("checkpoints")];
    // Without a server and without a token.
    let verify = std::process::Command::new(crate::daemon::program())
        .args(arguments)
        .env("STRONGROOM_ADDR", "http://127.0.0.1:1")
        .env_remove("STRONGROOM_TOKEN")
        .output()
        .unwrap();
    let said = String::from_utf8(verify.stdout).unwrap();
    let told = String::from_utf8(verify.stderr).unwrap();
    let whole = said.contains("chain intact") || said.contains("proven to be");
    assert_eq!(verify.status.code(), Some(if whole { 0 } else { 10 }), "{said}{told}\n{}", daemon.log());
    said
}

/// The start that compares with the checkpoint file.
fn start(home: &Path) -> Result<(), (Option<i32>, String)> {
    match Daemon::try_start(home, WITH_FILE, &[]) {
        Ok(daemon) => {
            assert!(daemon.stop().success());
            Ok(())
        }
        Err((status, log)) => Err((status.code(), log)),
    }
}

#[test]
fn what_was_done_to_the_database_is_named() {
    let world = world();
    let whole = copy(world.home.path());
    let (chain, said) = verified(&world, whole.path());
    assert_eq!((chain.broken_at, chain.fault.as_str()), (0, ""));
    assert!(chain.checkpoints >= 3 && chain.covered >= world.records, "{chain:?}");
    assert!(said.contains("chain intact, signed up to record"), "{said}");
    assert_eq!(start(whole.path()), Ok(()));

    // Whoever does not compute the hashes anew.
    for (change, record, fault) in [
        ("UPDATE audit_log SET canonical = replace(canonical, '\"ok\"', '\"no\"') WHERE sequence = 5", 5, "edited"),
        ("DELETE FROM audit_log WHERE sequence = 6", 6, "missing"),
        (
            "INSERT INTO audit_log (position, instance, sequence, org, credential_id, run, canonical, hash)
               SELECT 100000, instance, sequence, org, credential_id, run, canonical, hash FROM audit_log
               WHERE sequence = 4",
            4,
            "inserted",
        ),
        (
            "UPDATE audit_log SET position = -1 WHERE sequence = 5;
             UPDATE audit_log SET position = 5 WHERE sequence = 8;
             UPDATE audit_log SET position = 8 WHERE sequence = 5;",
            5,
            "reordered",
        ),
    ] {
        let home = copy(world.home.path());
        let before = rows(home.path());
        assert!(before.iter().all(|(position, sequence)| position == sequence), "{before:?}");
        sql(home.path(), change);
        let (chain, said) = verified(&world, home.path());
        assert_eq!((chain.broken_at, chain.fault.as_str()), (record, fault), "{change}");
        let instance = chain.instance;
        assert_eq!(said, format!("record {record} of instance {instance} is broken: {fault}\n"), "{change}");
    }
}

fn rows(home: &Path) -> Vec<(i64, i64)> {
    let database = open(home);
    let mut statement = database.prepare("SELECT position, sequence FROM audit_log ORDER BY position").unwrap();
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
}

/// Whoever can write the database can compute every hash anew. The signatures cannot be.
#[test]
fn a_log_whose_hashes_were_computed_anew_is_named() {
    let world = world();
    let home = copy(world.home.path());
    let database = open(home.path());
    let mut head: Hash = [0; 32];
    for (position, sequence) in rows(home.path()) {
        let text: String = database
            .query_row("SELECT canonical FROM audit_log WHERE position = ?1", [position], |row| row.get(0))
            .unwrap();
        let text = if sequence == 5 { text.replace("\"ok\"", "\"no\"") } else { text };
        head = chain::link(&head, &text);
        let change = "UPDATE audit_log SET canonical = ?2, hash = ?3 WHERE position = ?1";
        database.execute(change, (position, &text, &head)).unwrap();
    }
    drop(database);
    let (code, log) = start(home.path()).unwrap_err();
    assert_eq!(code, Some(70), "{log}");
    let (chain, said) = verified(&world, home.path());
    assert_eq!(chain.fault, "rewritten");
    assert!(chain.broken_at <= 5 && chain.covered < 5, "{chain:?}");
    assert!(said.contains("rewritten"), "{said}");

    // And the checkpoints taken away with it.
    sql(home.path(), "DELETE FROM audit_checkpoints");
    let (code, log) = start(home.path()).unwrap_err();
    assert_eq!(code, Some(70), "{log}");
    assert!(log.contains("audit.checkpoint_file: checkpoints: ") && log.contains("move the file away"), "{log}");
    // And the key: another is made, which nobody knows.
    sql(home.path(), "DELETE FROM audit_keys");
    assert_eq!(start(home.path()).unwrap_err().0, Some(70));
    let (_, said) = verified(&world, home.path());
    assert!(said.contains("unsigned") || said.contains("rewritten"), "{said}");
}

#[test]
fn a_cut_tail_and_an_older_database_are_refused_at_the_start() {
    let world = world();
    let cut = copy(world.home.path());
    sql(cut.path(), &format!("DELETE FROM audit_log WHERE sequence > {}", world.records - 3));
    let (code, log) = start(cut.path()).unwrap_err();
    assert_eq!(code, Some(70), "{log}");
    assert!(log.contains(&format!("tells of {} records, and the database has {}", world.records, world.records - 3)));
    let (chain, said) = verified(&world, cut.path());
    assert!(chain.fault == "cut" || chain.fault == "rewritten", "{chain:?}");
    assert!(said.contains("cut") || said.contains("rewritten"), "{said}");

    // A backup, and what was written after it.
    let backup = copy(world.home.path());
    let daemon = Daemon::start_with(world.home.path(), WITH_FILE);
    runtime().block_on(live(&daemon, &world.token, 10));
    assert!(daemon.stop().success());
    std::fs::copy(world.home.path().join("checkpoints"), backup.path().join("checkpoints")).unwrap();
    let (code, log) = start(backup.path()).unwrap_err();
    assert_eq!(code, Some(70), "{log}");
    assert!(log.contains("an older database was put back"), "{log}");
    let check = std::process::Command::new(crate::daemon::program())
        .args(["serve", "--check", "--config", "strongroom.toml"])
        .current_dir(backup.path())
        .output()
        .unwrap();
    assert_eq!(check.status.code(), Some(70), "{}", String::from_utf8_lossy(&check.stderr));

    // It goes on nevertheless, in another way, and longer.
    let daemon = Daemon::start_with(backup.path(), OFTEN);
    runtime().block_on(async {
        live(&daemon, &world.token, 20).await;
        live(&daemon, &world.token, 30).await;
    });
    assert!(daemon.stop().success());
    let (code, log) = start(backup.path()).unwrap_err();
    assert_eq!(code, Some(70), "{log}");
    assert!(log.contains("went on in two ways"), "{log}");
    let (chain, said) = verified(&world, backup.path());
    // By itself it is whole; what was kept elsewhere tells.
    assert_eq!(chain.fault, "");
    assert!(said.contains("rewritten") || said.contains("forked"), "{said}");

    // A deliberate restore: the file is moved away.
    std::fs::rename(backup.path().join("checkpoints"), backup.path().join("checkpoints.old")).unwrap();
    assert_eq!(start(backup.path()), Ok(()));
}

#[test]
fn one_credentials_records_are_proven_alone() {
    let world = world();
    let daemon = Daemon::start_with(world.home.path(), WITH_FILE);
    let out = world.home.path().join("part.jsonl");
    let checkpoints = world.home.path().join("checkpoints");
    let id: String = open(world.home.path())
        .query_row("SELECT lower(hex(id)) FROM credentials WHERE name = 'c2'", [], |row| row.get(0))
        .unwrap();
    let id = uuid::Uuid::parse_str(&id).unwrap().to_string();
    let arguments = ["audit", "export", "--credential", &id, "--out", out.to_str().unwrap(), "--checkpoint"];
    let export = daemon.cli(&world.token, &[&arguments[..], &[checkpoints.to_str().unwrap()]].concat(), None);
    assert!(export.status.success(), "{}", String::from_utf8_lossy(&export.stderr));
    let said = offline(&daemon, world.home.path(), &out);
    assert!(said.starts_with("2 entries, proven to be in the log"), "{said}");
    let text = std::fs::read_to_string(&out).unwrap();
    assert!(text.contains("\"type\":\"consistency\"") && !text.contains("\\\"name\\\":\\\"c1\\\""), "{text}");

    let edited = text.replacen("\\\"outcome\\\":\\\"ok\\\"", "\\\"outcome\\\":\\\"no\\\"", 1);
    assert_ne!(edited, text);
    std::fs::write(&out, edited).unwrap();
    let said = offline(&daemon, world.home.path(), &out);
    assert!(said.contains("is broken: unproven"), "{said}");

    // A new key signs; what the old one signed stays good.
    let rotated = daemon.cli(&world.token, &["audit", "key", "--rotate"], None);
    let keys = String::from_utf8(rotated.stdout).unwrap();
    let old = std::fs::read_to_string(world.home.path().join("audit.pub")).unwrap();
    assert!(keys.lines().count() == 2 && keys.starts_with(&old), "{keys}");
    std::fs::remove_file(&out).unwrap();
    let export = daemon.cli(&world.token, &["audit", "export", "--out", out.to_str().unwrap()], None);
    assert!(export.status.success());
    assert!(offline(&daemon, world.home.path(), &out).contains("unsigned"), "the old key alone does not do");
    std::fs::write(world.home.path().join("audit.pub"), &keys).unwrap();
    assert!(offline(&daemon, world.home.path(), &out).contains("chain intact"));
    assert!(daemon.stop().success());
    assert_eq!(start(world.home.path()), Ok(()));
}
