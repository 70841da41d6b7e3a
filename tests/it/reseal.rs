//! Versions that are sealed anew because their provider's entry names another seal by now, through the real daemon.

mod kills;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rusqlite::Connection;
use serde_json::Value as Json;
use strongroom::crypto::Secret;
use strongroom::pb::v1::{ListVersionsRequest, ResealRequest, SetupCredentialRequest};
use tonic::Code;

use crate::daemon::{Daemon, decrypt, openai_key, runtime, setup};
use crate::rewrap::{all_open, count, fill, in_use, keep_decrypting};

/// What the next start seals under.
fn fernet(home: &std::path::Path) -> String {
    let registry = std::fs::read_to_string("config/providers.yml").unwrap();
    let changed = registry.replacen("  - id: openai\n", "  - id: openai\n    seal: fernet\n", 1);
    assert_ne!(registry, changed);
    let file = home.join("providers.yml");
    std::fs::write(&file, changed).unwrap();
    format!("[providers]\nfile = {file:?}\n")
}

/// The exit code, the last line of the news, and what was said.
fn reseal(daemon: &Daemon, token: &str, options: &[&str]) -> (i32, Json, String) {
    let output = daemon.cli(token, &[&["reseal", "--output", "json"], options].concat(), None);
    let news = String::from_utf8(output.stdout).unwrap();
    let last = news.lines().last().map_or(Json::Null, |line| serde_json::from_str(line).unwrap());
    (output.status.code().unwrap(), last, String::from_utf8(output.stderr).unwrap())
}

fn raw(daemon: &Daemon, sql: &str) -> Vec<Vec<u8>> {
    let raw = Connection::open(daemon.database()).unwrap();
    let mut statement = raw.prepare(sql).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

fn first_blobs(daemon: &Daemon) -> Vec<Vec<u8>> {
    raw(daemon, "SELECT sealed_blob FROM org_integration_credentials")
}

/// Whether any piece of some blobs is in the database's files.
fn are_there(daemon: &Daemon, blobs: &[Vec<u8>]) -> bool {
    let pieces = blobs.iter().flat_map(|blob| blob[2..].chunks_exact(16));
    let wanted: HashSet<[u8; 16]> = pieces.map(|piece| piece.try_into().unwrap()).collect();
    ["", "-wal"].iter().any(|suffix| {
        let file = format!("{}{suffix}", daemon.database().display());
        let bytes = std::fs::read(file).unwrap_or_default();
        bytes.windows(16).any(|window| wanted.contains(&<[u8; 16]>::try_from(window).unwrap()))
    })
}

async fn seals(daemon: &Daemon, token: &str, name: &str) -> Vec<String> {
    let request = ListVersionsRequest {
        org: "acme".into(),
        provider: "openai".into(),
        name: name.into(),
        ..ListVersionsRequest::default()
    };
    let versions = daemon.credentials(token).await.list_versions(request).await.unwrap().into_inner().versions;
    versions.into_iter().map(|version| version.seal).collect()
}

#[test]
fn versions_are_sealed_anew_while_everything_is_served() {
    const ROWS: usize = 200;
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    let token = daemon.token.clone();
    let runtime = runtime();
    runtime.block_on(fill(&daemon, &token, ROWS));
    runtime.block_on(async {
        let mut client = daemon.credentials(&token).await;
        // Superseded; deleted and to come back; of another provider; of another org.
        client.setup_credential(setup("acme", "n0", &openai_key("newer"))).await.unwrap();
        client.setup_credential(setup("acme", "kept", &openai_key("kept"))).await.unwrap();
        client.setup_credential(setup("other", "a", &openai_key("a"))).await.unwrap();
        let cloudflare = SetupCredentialRequest {
            provider: "cloudflare".into(),
            fields: [("api_token".to_owned(), Secret::from("Zq3v-8mKp_L2xT9wR5nB7cY1dF4gH6jS0aE2uI8o".to_owned()))]
                .into(),
            ..setup("acme", "cf", "")
        };
        client.setup_credential(cloudflare).await.unwrap();
    });
    let kept = ["acme", "openai", "--name", "kept"];
    let deleted = daemon.cli(&token, &[&["delete", "--destroy-after", "30d", "--yes"], &kept[..]].concat(), None);
    assert!(deleted.status.success(), "{deleted:?}");
    // As it should be.
    let (code, news, said) = reseal(&daemon, &token, &[]);
    assert_eq!((code, count(&news, "total"), &news["done"]), (0, 0, &Json::Bool(true)), "{said}");
    assert!(daemon.stop().success());

    let daemon = Daemon::start_with(home.path(), &fernet(home.path()));
    let all = ROWS as u64 + 3;
    let (code, news, _) = reseal(&daemon, &token, &["--dry-run"]);
    assert_eq!((code, count(&news, "total"), count(&news, "moved")), (0, all, 0));
    let (_, news, _) = reseal(&daemon, &token, &["--dry-run", "--provider", "cloudflare"]);
    assert_eq!(count(&news, "total"), 0);
    let old = raw(&daemon, "SELECT sealed_blob FROM org_integration_credentials WHERE seal = 'aes256gcm'");
    assert!(old.len() as u64 == all && are_there(&daemon, &old));
    let (wraps, keys) = (crate::rewrap::raw_wraps(&daemon), in_use(&daemon, &token));

    // A tenant alone.
    let (code, news, said) = reseal(&daemon, &token, &["--org", "other"]);
    assert_eq!((code, count(&news, "total"), count(&news, "moved")), (0, 1, 1), "{said}");
    assert_eq!(runtime.block_on(seals(&daemon, &token, "n1")), ["aes256gcm"]);

    let stop = Arc::new(AtomicBool::new(false));
    let decrypting = {
        let (mut client, stop) = (runtime.block_on(daemon.credentials(&token)), Arc::clone(&stop));
        runtime.spawn(async move {
            let mut done = 0;
            while !stop.load(Ordering::Relaxed) {
                let name = format!("n{}", 1 + done as usize * 7 % (ROWS - 1));
                let mut request = decrypt("acme", &name);
                request.fresh = true;
                let reply = client.decrypt_credential(request).await.unwrap_or_else(|why| panic!("{name}: {why}"));
                assert_eq!(reply.into_inner().secret.unwrap().expose(), openai_key(&name).as_bytes());
                done += 1;
            }
            done
        })
    };
    let (code, news, said) = reseal(&daemon, &token, &[]);
    stop.store(true, Ordering::Relaxed);
    assert_eq!((code, count(&news, "moved"), count(&news, "failed")), (0, all - 1, 0), "{said}");
    assert!(runtime.block_on(decrypting).unwrap() > 0);
    assert!(!are_there(&daemon, &old), "a blob under the old seal is still in a file");
    assert_eq!((crate::rewrap::raw_wraps(&daemon), in_use(&daemon, &token)), (wraps, keys), "wraps were touched");
    assert_eq!(runtime.block_on(seals(&daemon, &token, "n0")), ["fernet", "fernet"]);

    // A second time, there is nothing to do.
    let files = || raw(&daemon, "SELECT sealed_blob FROM resealed_blobs ORDER BY id");
    let before = files();
    let (code, news, _) = reseal(&daemon, &token, &[]);
    assert_eq!((code, count(&news, "total"), count(&news, "moved")), (0, 0, 0));
    assert_eq!(files(), before);
    assert!(daemon.stop().success());

    let daemon = Daemon::start_with(home.path(), &fernet(home.path()));
    let opened = |args: &[&str]| {
        let output = daemon.cli(&token, &[&["decrypt"], args].concat(), None);
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(opened(&["acme", "openai", "--name", "n0"]), openai_key("newer"));
    let back = daemon.cli(&token, &["activate", "acme", "openai", "1", "--name", "n0"], None);
    assert!(back.status.success(), "{back:?}");
    runtime.block_on(all_open(&daemon, &token, ROWS));
    let undeleted = daemon.cli(&token, &[&["undelete"], &kept[..]].concat(), None);
    assert!(undeleted.status.success(), "{undeleted:?}");
    assert_eq!(opened(&kept), openai_key("kept"));
    assert_eq!(opened(&["other", "openai", "--name", "a"]), openai_key("a"));
    assert_eq!(opened(&["acme", "cloudflare", "--name", "cf"]), "Zq3v-8mKp_L2xT9wR5nB7cY1dF4gH6jS0aE2uI8o");
    let audit = daemon.cli(&token, &["audit", "verify"], None);
    assert!(audit.status.success(), "{audit:?}");
    // Destroyed, there is nothing left of it in either table.
    let new = raw(&daemon, "SELECT sealed_blob FROM resealed_blobs WHERE state = 'live'");
    let n0: Vec<Vec<u8>> = raw(
        &daemon,
        "SELECT sealed_blob FROM resealed_blobs r JOIN credentials c ON c.id = r.credential_id WHERE c.name = 'n0'",
    );
    assert!(new.len() as u64 == all && n0.len() == 2 && are_there(&daemon, &n0));
    let destroyed = daemon.cli(&token, &["delete", "acme", "openai", "--name", "n0", "--yes"], None);
    assert!(destroyed.status.success(), "{destroyed:?}");
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(!are_there(&daemon, &n0), "a destroyed blob is still in a file");
    assert!(daemon.stop().success());

    // And back to the seal of before.
    let daemon = Daemon::start(home.path());
    let (code, news, said) = reseal(&daemon, &token, &["--rate", "1000"]);
    assert_eq!((code, count(&news, "moved"), count(&news, "failed")), (0, all - 2, 0), "{said}");
    assert!(!are_there(&daemon, &new));
    assert_eq!(live_seals(&daemon), [("aes256gcm".to_owned(), all as i64 - 2)]);
}

fn live_seals(daemon: &Daemon) -> Vec<(String, i64)> {
    let raw = Connection::open(daemon.database()).unwrap();
    let sql = "SELECT seal, count(*) FROM resealed_blobs WHERE state = 'live' \
         AND sealed_blob <> zeroblob(length(sealed_blob)) GROUP BY seal ORDER BY seal";
    let mut statement = raw.prepare(sql).unwrap();
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
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
    let sql = "UPDATE wraps SET bytes = zeroblob(length(bytes)) WHERE substr(holder, 2, 16) = ?1";
    assert_eq!(raw.execute(sql, [wrap.as_bytes()]).unwrap(), 1);
    let sql = "UPDATE org_integration_credentials SET sealed_blob = CAST(substr(sealed_blob, 1, 80) || x'00' || \
         substr(sealed_blob, 82) AS BLOB) WHERE credential_id = ?1";
    assert_eq!(raw.execute(sql, [blob.as_bytes()]).unwrap(), 1);

    let daemon = Daemon::start_with(home.path(), &fernet(home.path()));
    let damaged = || {
        let all = first_blobs(&daemon);
        all.into_iter().filter(|blob| blob.iter().any(|byte| *byte != 0)).collect::<Vec<_>>()
    };
    for run in 0..2 {
        let (code, news, said) = reseal(&daemon, &token, &[]);
        assert_eq!((code, count(&news, "failed")), (10, 2), "{said}");
        assert_eq!(count(&news, "moved"), if run == 0 { 18 } else { 0 });
        for id in [wrap, blob] {
            let named = said.lines().find(|line| line.contains(&id.to_string()));
            named.unwrap_or_else(|| panic!("{id} is not named:\n{said}"));
        }
        assert_eq!(damaged().len(), 2, "what is damaged was not left as it was");
    }
    daemon.logged(|line| line.contains("left as it is") && line.contains(&blob.to_string()));
}

#[test]
fn what_is_destroyed_meanwhile_stays_destroyed() {
    const ROWS: usize = 40;
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    let token = daemon.token.clone();
    let runtime = runtime();
    runtime.block_on(fill(&daemon, &token, ROWS));
    assert!(daemon.stop().success());
    let mut daemon = Daemon::start_with(home.path(), &fernet(home.path()));
    daemon.token = token.clone();
    runtime.block_on(async {
        let slow = ResealRequest { rate: 8, ..ResealRequest::default() };
        let mut news = daemon.admin(&token).await.reseal(slow).await.unwrap().into_inner();
        assert_eq!(news.message().await.unwrap().unwrap().total, ROWS as u64);
        let second = daemon.admin(&token).await.reseal(ResealRequest::default()).await.unwrap_err();
        assert_eq!(second.code(), Code::Aborted, "{second}");
        let rewrap = strongroom::pb::v1::RewrapRequest::default();
        let other = daemon.admin(&token).await.rewrap(rewrap).await.unwrap_err();
        assert_eq!(other.code(), Code::Aborted, "{other}");
        // Some were sealed anew by now, some not.
        while news.message().await.unwrap().unwrap().moved == 0 {}
        let mut client = daemon.credentials(&token).await;
        for number in 0..ROWS {
            let request = strongroom::pb::v1::DeleteCredentialRequest {
                org: "acme".into(),
                provider: "openai".into(),
                name: format!("n{number}"),
                ..Default::default()
            };
            client.delete_credential(request).await.unwrap();
        }
        let mut last = None;
        while let Some(now) = news.message().await.unwrap() {
            last = Some(now);
        }
        let last = last.unwrap();
        assert!(last.done && last.failed == 0 && last.moved < ROWS as u64, "{last:?}");
    });
    for sql in ["SELECT sealed_blob FROM org_integration_credentials", "SELECT sealed_blob FROM resealed_blobs"] {
        assert!(raw(&daemon, sql).iter().flatten().all(|byte| *byte == 0), "{sql}");
    }
    assert_eq!(count(&reseal(&daemon, &token, &[]).1, "total"), 0);

    for (options, why) in [(["--provider", "nobody"], "is not in the registry"), (["--org", "no/org"], "org")] {
        let (code, _, said) = reseal(&daemon, &token, &options);
        assert!(code == 3 && said.contains(why), "{options:?}: {code} {said}");
    }
    // Not for an administrator of one tenant.
    let own = runtime.block_on(daemon.issue("admin", "acme", &[]));
    assert_eq!(daemon.cli(&own, &["reseal", "--dry-run"], None).status.code(), Some(5));
}
