//! Everything out of a running daemon, and into another: through the real daemon and the real commands.

mod damage;
mod forged;
mod golden;
mod kills;
mod memory;
mod recovered;
mod signed;
mod waiting;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};
use strongroom::pb::v1::grant_service_client::GrantServiceClient;
use strongroom::pb::v1::{CredentialRef, DeleteCredentialRequest, ExportVaultRequest, MintGrantRequest};
use tonic::Code;

use crate::audit::{OFTEN, copy_into, live};
use crate::daemon::{Bearer, Daemon, PORTS, decrypt, openai_key, runtime, setup};
use crate::recovery::command;
use crate::rewrap::{all_open, fill, keys};

const ROWS: usize = 40;

fn export(daemon: &Daemon, token: &str, file: &Path) -> (i32, String) {
    let output = daemon.cli(token, &["export", file.to_str().unwrap()], None);
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// The exit code, what was found, and what was said.
fn import(home: &Path, file: &Path, options: &[&str]) -> (i32, Json, String) {
    let words = [&["import", file.to_str().unwrap(), "--output", "json"], options].concat();
    let output = command(home, &words, "");
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap_or_default(), said)
}

/// A home without a database, with the keys of another.
fn home_with_keys_of(other: &Path) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(keys(home.path())).unwrap();
    copy_into(&keys(other), &keys(home.path()));
    for key in std::fs::read_dir(keys(home.path())).unwrap() {
        std::fs::set_permissions(key.unwrap().path(), std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    std::fs::write(home.path().join("strongroom.toml"), PORTS).unwrap();
    home
}

fn database(home: &Path) -> PathBuf {
    home.join("strongroom-data/strongroom.db")
}

/// Every file with what is in it.
fn files(home: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(home).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(files(&path)),
            false => drop(all.insert(path.clone(), Sha256::digest(std::fs::read(&path).unwrap()).to_vec())),
        }
        if path.is_dir() {
            all.insert(path, Vec::new());
        }
    }
    all
}

/// Works on while somebody exports; how many credentials it has made.
async fn work(daemon: &Daemon, stop: Arc<AtomicBool>) -> tokio::task::JoinHandle<usize> {
    let mut client = daemon.credentials(&daemon.token).await;
    tokio::spawn(async move {
        let mut made = 0;
        while !stop.load(Ordering::Relaxed) {
            let name = format!("meanwhile-{made}");
            client.setup_credential(setup("acme", &name, &openai_key(&name))).await.unwrap();
            client.decrypt_credential(decrypt("acme", &name)).await.unwrap();
            made += 1;
        }
        made
    })
}

#[test]
fn everything_comes_back() {
    let (home, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (daemon, runtime) = (Daemon::start_with(home.path(), OFTEN), runtime());
    let file = out.path().join("vault.jsonl");
    let token = daemon.token.clone();
    let (pipeline, grant) = runtime.block_on(async {
        fill(&daemon, &token, ROWS).await;
        let mut client = daemon.credentials(&token).await;
        for key in ["one", "two"] {
            client.setup_credential(setup("acme", "twice", &openai_key(key))).await.unwrap();
        }
        for (name, destroy_after) in [("gone", None), ("going", Some(3600))] {
            client.setup_credential(setup("acme", name, &openai_key(name))).await.unwrap();
            let destroy_after = destroy_after.map(|seconds| pbjson_types::Duration { seconds, nanos: 0 });
            let delete = DeleteCredentialRequest {
                org: "acme".into(),
                provider: "openai".into(),
                name: name.into(),
                destroy_after,
                ..DeleteCredentialRequest::default()
            };
            client.delete_credential(delete).await.unwrap();
        }
        live(&daemon, &token, 0).await;
        let one = CredentialRef { provider: "openai".into(), name: "n1".into(), ..CredentialRef::default() };
        let mint = MintGrantRequest {
            org: "acme".into(),
            run: "7".into(),
            credentials: vec![one],
            ..MintGrantRequest::default()
        };
        let mut grants = GrantServiceClient::with_interceptor(daemon.channel().await, Bearer::new(&token));
        let grant = grants.mint_grant(mint).await.unwrap().into_inner().grant.unwrap();
        let grant = grant.expose_text().unwrap().to_owned();
        (daemon.issue("pipeline", "acme", &["openai"]).await, grant)
    });

    let stop = Arc::new(AtomicBool::new(false));
    let worker = runtime.block_on(work(&daemon, Arc::clone(&stop)));
    let (code, said) = export(&daemon, &token, &file);
    stop.store(true, Ordering::Relaxed);
    assert!(runtime.block_on(worker).unwrap() > 0);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("signed by strongroom/") && said.contains("strongroom import"), "{said}");
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 1, "something lies beside it");
    let (code, said) = export(&daemon, &token, &file);
    assert!(code == 2 && said.contains("is there already"), "{code} {said}");

    let text = std::fs::read_to_string(&file).unwrap();
    for secret in ["T3BlbkFJ", &openai_key("n3"), &token, &pipeline, &grant] {
        assert!(!text.contains(secret), "plaintext is in the export");
    }
    let key = std::fs::read_to_string(keys(home.path()).join("default.key")).unwrap();
    let key = key.lines().find_map(|line| line.strip_prefix("key = \"")).unwrap_or("no key is found").to_owned();
    assert!(!text.contains(key.trim_end_matches('"')));

    let to = home_with_keys_of(home.path());
    let before = files(to.path());
    let (code, found, said) = import(to.path(), &file, &["--dry-run"]);
    assert!(code == 0 && found["applied"] == Json::Bool(false), "{code} {said}");
    assert_eq!(files(to.path()), before, "a dry run has left something behind");
    let (code, again, said) = import(to.path(), &file, &["--apply"]);
    assert_eq!((code, &again["rows"]), (0, &found["rows"]), "{said}");
    assert!(found["rows"]["credentials"].as_u64().unwrap() >= ROWS as u64 + 6, "{found}");
    let left: Vec<_> = files(to.path()).into_keys().filter(|path| path.to_string_lossy().contains("-import")).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(std::fs::metadata(database(to.path())).unwrap().permissions().mode() & 0o777, 0o600);

    let whole = files(to.path());
    let (code, _, said) = import(to.path(), &file, &["--apply"]);
    assert!(code == 67 && said.contains("nothing is ever restored over a database"), "{code} {said}");
    assert_eq!(files(to.path()), whole);
    // A dry run is no matter of what is there.
    assert_eq!(import(to.path(), &file, &["--dry-run"]).0, 0);

    let restored = Daemon::start_with(to.path(), OFTEN);
    assert!(restored.token.is_empty(), "a vault that knows an admin prints no token");
    runtime.block_on(async {
        all_open(&restored, &token, ROWS).await;
        let mut client = restored.credentials(&pipeline).await;
        let reply = client.decrypt_credential(decrypt("acme", "c2")).await.unwrap().into_inner();
        assert_eq!(reply.secret.unwrap().expose(), openai_key("c2").as_bytes());
        let mut by_grant = restored.credentials(&grant).await;
        by_grant.decrypt_credential(decrypt("acme", "n1")).await.unwrap();
        let refused = client.decrypt_credential(decrypt("acme", "gone")).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
        let mut client = restored.credentials(&token).await;
        let undelete = strongroom::pb::v1::UndeleteCredentialRequest {
            org: "acme".into(),
            provider: "openai".into(),
            name: "going".into(),
            ..Default::default()
        };
        client.undelete_credential(undelete).await.unwrap();
        client.setup_credential(setup("acme", "later", &openai_key("later"))).await.unwrap();
    });
    for action in ["importVault", "exportVault"] {
        let listed = restored.cli(&token, &["audit", "list", "--action", action], None);
        assert!(String::from_utf8_lossy(&listed.stdout).contains(action), "{listed:?}");
    }
    let verified = restored.cli(&token, &["audit", "verify"], None);
    assert!(verified.status.success(), "{verified:?}");
    let (code, said) = export(&restored, &token, &out.path().join("again.jsonl"));
    assert_eq!(code, 0, "{said}");
    assert!(restored.stop().success());
    assert!(daemon.stop().success());
}

#[test]
fn only_an_admin_of_all_tenants_takes_everything() {
    let (home, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (daemon, runtime) = (Daemon::start(home.path()), runtime());
    runtime.block_on(async {
        for (role, org) in [("admin", "acme"), ("operator", "*"), ("service", "acme"), ("pipeline", "acme")] {
            let token = daemon.issue(role, org, &["*"]).await;
            let refused = daemon.admin(&token).await.export_vault(ExportVaultRequest {}).await.unwrap_err();
            assert_eq!(refused.code(), Code::PermissionDenied, "{role} of {org}: {refused}");
        }
    });
    let token = runtime.block_on(daemon.issue("operator", "*", &[]));
    let (code, said) = export(&daemon, &token, &out.path().join("vault.jsonl"));
    assert_eq!(code, 5, "{said}");
    assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 0, "a refused export has left something behind");
    let piped = daemon.cli(&daemon.token, &["export", "-"], None);
    assert!(piped.status.success() && piped.stdout.starts_with(b"{\"type\":\"vault\""), "{:?}", piped.status);
}

/// Whoever kept a checkpoint elsewhere learns that an older database was put back.
#[test]
fn checkpoints_from_after_the_export_are_not_followed() {
    let (home, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let config = format!("{OFTEN}checkpoint_file = \"checkpoints\"\n");
    let (daemon, runtime) = (Daemon::start_with(home.path(), &config), runtime());
    let token = daemon.token.clone();
    runtime.block_on(live(&daemon, &token, 0));
    // Signed by the newest of several audit keys.
    assert!(daemon.cli(&token, &["audit", "key", "--rotate"], None).status.success());
    let file = out.path().join("vault.jsonl");
    assert_eq!(export(&daemon, &token, &file).0, 0);
    runtime.block_on(live(&daemon, &token, 4));
    assert!(daemon.stop().success());
    let to = home_with_keys_of(home.path());
    assert_eq!(import(to.path(), &file, &["--apply"]).0, 0);
    std::fs::copy(home.path().join("checkpoints"), to.path().join("checkpoints")).unwrap();
    let (status, log) = Daemon::try_start(to.path(), &config, &[]).map(|_| ()).unwrap_err();
    assert_eq!(status.code(), Some(70), "{log}");
    assert!(log.contains("an older database was put back"), "{log}");
    std::fs::remove_file(to.path().join("checkpoints")).unwrap();
    let restored = Daemon::start_with(to.path(), &config);
    assert!(restored.cli(&token, &["audit", "verify"], None).status.success());
    assert!(restored.stop().success());
}
