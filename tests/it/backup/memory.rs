//! However much there is, neither end holds more of it than a few pieces.

use std::process::{Command, Stdio};

use super::*;
use crate::daemon::program;

const ROWS: u32 = 160;
const BLOB: u32 = 256 << 10;

/// The most that a process has had resident, in KiB.
fn most(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

#[test]
fn rows_flow_through() {
    let (home, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let daemon = Daemon::start(home.path());
    let token = daemon.token.clone();
    runtime().block_on(fill(&daemon, &token, 1));
    assert!(daemon.stop().success());
    let raw = Connection::open(database(home.path())).unwrap();
    let more = "WITH RECURSIVE n (n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM n WHERE n < ?1) \
         INSERT INTO org_integration_credentials SELECT credential_id, n, fingerprint, digest, public_identity, seal, \
         created_by, created_at, randomblob(?2) FROM org_integration_credentials, n WHERE version = 1";
    raw.execute(more, [ROWS, BLOB]).unwrap();
    drop(raw);

    let daemon = Daemon::start(home.path());
    let file = out.path().join("vault.jsonl");
    let before = most(daemon.pid()).unwrap();
    let (code, said) = export(&daemon, &token, &file);
    assert_eq!(code, 0, "{said}");
    let grown = most(daemon.pid()).unwrap() - before;
    let all = std::fs::metadata(&file).unwrap().len() / 1024;
    assert!(all > u64::from(ROWS * BLOB / 1024), "{all}");
    assert!(grown < all / 2, "the export of {all} KiB has cost {grown} KiB");
    assert!(daemon.stop().success());

    let to = home_with_keys_of(home.path());
    let words = ["import", file.to_str().unwrap(), "--apply", "--config", "strongroom.toml"];
    let mut import = Command::new(program());
    let mut child = import.args(words).current_dir(to.path()).stdout(Stdio::null()).spawn().unwrap();
    let mut held = 0;
    let status = loop {
        held = most(child.id()).unwrap_or(held);
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    println!("{all} KiB: the daemon grew by {grown} KiB, the import held {held} KiB");
    assert!(status.success() && held > 0);
    assert!(held < before + all / 2, "the import of {all} KiB has held {held} KiB, a daemon {before} KiB");
}
