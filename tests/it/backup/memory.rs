//! However much there is, neither end holds more of it than a few pieces.

use std::process::{Command, Stdio};

use super::*;
use strongroom::pb::v1::{IssueTokenRequest, ListTokensRequest, RevokeTokenRequest};

use crate::daemon::program;

const ROWS: u32 = 160;
const BLOB: u32 = 256 << 10;

/// The most that a process has had resident, in KiB.
fn most(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

/// Holds a place among their own calls and nobody else's, ends with their proof, and keeps no daemon from its end.
async fn whoever_does_not_read(daemon: &Daemon, token: &str) {
    let issue = IssueTokenRequest { name: "b".into(), role: "admin".into(), org: "*".into(), ..Default::default() };
    let mut admin = daemon.admin(token).await;
    let issued = admin.issue_token(issue).await.unwrap().into_inner();
    let other = issued.token.unwrap().expose_text().unwrap().to_owned();
    let mut theirs = daemon.admin(&other).await.export_vault(ExportVaultRequest {}).await.unwrap().into_inner();
    theirs.message().await.unwrap().unwrap();
    let mut own = admin.export_vault(ExportVaultRequest {}).await.unwrap().into_inner();
    own.message().await.unwrap().unwrap();
    let refused = admin.list_tokens(ListTokensRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    drop(own);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let revoke = RevokeTokenRequest { id: issued.info.unwrap().id };
    while admin.revoke_token(revoke.clone()).await.is_err() {
        assert!(std::time::Instant::now() < end, "the place of whoever hung up is not free");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let ended = loop {
        match theirs.message().await {
            Ok(Some(_)) => (),
            Ok(None) => panic!("it went to its end"),
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::Unauthenticated, "{ended:?}");
    let mut unread = admin.export_vault(ExportVaultRequest {}).await.unwrap().into_inner();
    unread.message().await.unwrap().unwrap();
    // Left open, with the runtime that would read it.
    tokio::spawn(async move {
        let _unread = unread;
        std::future::pending::<()>().await;
    });
}

/// The daemon dies in the middle: there is no file that could be taken for a backup.
fn cut_off(home: &Path, token: &str, config: &str) {
    let (daemon, out) = (Daemon::start_with(home, config), tempfile::tempdir().unwrap());
    let part = out.path().join("vault.jsonl.part");
    let mut export = Command::new(program());
    export.args(["export", "vault.jsonl"]).current_dir(out.path()).stderr(Stdio::null());
    let mut child = export.env("STRONGROOM_ADDR", &daemon.addr).env("STRONGROOM_TOKEN", token).spawn().unwrap();
    while std::fs::metadata(&part).map_or(0, |part| part.len()) == 0 {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it was cut off");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    daemon.kill();
    assert!(!child.wait().unwrap().success());
    assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 0, "what was cut off was kept");
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

    let config = "[limits]\nfailed_authentications = 0\ncaller_at_once = 1\n";
    let daemon = Daemon::start_with(home.path(), config);
    let file = out.path().join("vault.jsonl");
    let before = most(daemon.pid()).unwrap();
    let (code, said) = export(&daemon, &token, &file);
    assert_eq!(code, 0, "{said}");
    let grown = most(daemon.pid()).unwrap() - before;
    let all = std::fs::metadata(&file).unwrap().len() / 1024;
    assert!(all > u64::from(ROWS * BLOB / 1024), "{all}");
    assert!(grown < all / 2, "the export of {all} KiB has cost {grown} KiB");
    let runtime = runtime();
    runtime.block_on(whoever_does_not_read(&daemon, &token));
    assert!(daemon.stop().success());
    drop(runtime);

    cut_off(home.path(), &token, config);

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
