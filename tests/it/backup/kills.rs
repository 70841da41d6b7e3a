//! SIGKILL in the middle of an import, again and again: there is no database, or all of it.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::*;
use crate::daemon::program;

const ROWS: usize = 300;

#[test]
fn killed_at_any_moment_there_is_nothing_or_everything() {
    let (home, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let daemon = Daemon::start(home.path());
    let token = daemon.token.clone();
    runtime().block_on(fill(&daemon, &token, ROWS));
    let file = out.path().join("vault.jsonl");
    assert_eq!(export(&daemon, &token, &file).0, 0);
    assert!(daemon.stop().success());

    let to = home_with_keys_of(home.path());
    let start = || {
        let words = ["import", file.to_str().unwrap(), "--apply", "--config", "strongroom.toml"];
        let mut import = Command::new(program());
        import.args(words).current_dir(to.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let begun = Instant::now();
    assert!(start().wait().unwrap().success());
    let takes = begun.elapsed();
    let there = |what: &str| std::fs::remove_file(format!("{}{what}", database(to.path()).display()));
    there("").unwrap();
    let (mut nothing, mut everything) = (0, 0);
    const KILLS: u32 = 20;
    for kill in 0..KILLS {
        let mut child = start();
        std::thread::sleep(takes * kill / (KILLS - 2) + Duration::from_millis(1));
        child.kill().unwrap();
        child.wait().unwrap();
        if !database(to.path()).exists() {
            nothing += 1;
            continue;
        }
        everything += 1;
        let raw = Connection::open(database(to.path())).unwrap();
        let count = |sql: &str| raw.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(count("SELECT count(*) FROM credentials"), ROWS as i64);
        assert_eq!(count("SELECT count(*) FROM audit_log WHERE canonical LIKE '%importVault%'"), 1);
        assert_eq!(raw.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0)).unwrap(), "ok");
        drop(raw);
        there("").unwrap();
    }
    println!("{nothing} times nothing, {everything} times everything");
    assert!(nothing > 0);
    // What a kill has left behind is in nobody's way.
    let (code, _, said) = import(to.path(), &file, &["--apply"]);
    assert_eq!(code, 0, "{said}");
    assert!(!database(to.path()).with_file_name("strongroom.db-import").exists());
    let restored = Daemon::start(to.path());
    runtime().block_on(all_open(&restored, &token, ROWS));
    assert!(restored.stop().success());
}
