//! An export of somebody who can write where backups are kept: all of ours, and an audit key and a token of their own. What
//! an identity or a public half opens, anybody can have wrapped.

use serde_json::json;
use strongroom::crypto::Dek;
use strongroom::crypto::ledger::note::Signer;
use strongroom::kms::{Context, recovery};

use super::signed::{read, written};
use super::*;
use crate::recovery::{recipients, recover};

const SEED: [u8; 32] = [77; 32];

fn base64(bytes: &[u8]) -> Json {
    data_encoding::BASE64.encode(bytes).into()
}

#[test]
fn a_key_that_anybody_could_have_wrapped_proves_nothing() {
    let (home, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let daemon = Daemon::start_with(home.path(), &recipients(&[1]));
    let token = daemon.token.clone();
    runtime().block_on(fill(&daemon, &token, 2));
    let file = out.path().join("vault.jsonl");
    assert_eq!(export(&daemon, &token, &file).0, 0);
    let public = out.path().join("audit.pub");
    std::fs::write(&public, daemon.cli(&token, &["audit", "key"], None).stdout).unwrap();
    assert!(daemon.stop().success());

    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    let (header, mut tables) = read(&lines);
    let instance = header.instance.clone();
    let theirs = Signer::new(&instance, &SEED).unwrap();
    let mut add = |table: &str, row: Vec<Json>| tables.iter_mut().find(|(name, ..)| name == table).unwrap().2.push(row);
    add("audit_keys", vec![json!(instance), json!(2), base64(&theirs.public()), json!(1_790_000_000_000_000_u64)]);
    let identity = strongroom::crypto::age::Identity::from_bytes([1; 32]);
    let context = Context::for_audit_key(&instance, 2);
    let wrap = recovery::wrap(&identity.recipient().unwrap(), &Dek::new(SEED), &context).unwrap();
    let holder = [b"a\0\0\0\x02".as_slice(), instance.as_bytes()].concat();
    add("wraps", vec![base64(&holder), json!(wrap.key), json!(""), base64(&wrap.bytes)]);
    let forged = out.path().join("forged.jsonl");
    std::fs::write(&forged, written(header, &tables, &theirs)).unwrap();

    let to = home_with_keys_of(home.path());
    std::fs::write(to.path().join("strongroom.toml"), format!("{PORTS}{}", recipients(&[1]))).unwrap();
    let (forged, key) = (forged.to_str().unwrap(), public.to_str().unwrap());
    for how in ["--dry-run", "--apply"] {
        let (code, _, said) = import(to.path(), Path::new(forged), &[how]);
        assert!(code == 65 && said.contains("so it proves nothing"), "{how}: {code} {said}");
    }
    for options in [&["--drill"][..], &[]] {
        let (code, _, said) = recover(to.path(), 1, &[&["--from", forged, "--key", key], options].concat());
        assert!(code == 65 && said.contains("which is none of the keys given"), "{options:?}: {code} {said}");
    }
    assert!(!database(to.path()).exists());
    // Without the public key, the tool says what it cannot know.
    let (code, _, said) = recover(to.path(), 1, &["--from", forged, "--drill"]);
    assert!(code == 0 && said.contains("nothing proves whose export this is"), "{code} {said}");

    let genuine = ["--from", file.to_str().unwrap(), "--key", key];
    let (code, _, said) = recover(to.path(), 1, &genuine);
    assert!(code == 0 && !said.contains("nothing proves"), "{code} {said}");
}
