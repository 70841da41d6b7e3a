//! All that is left is an export and an identity.

use super::*;
use crate::recovery::{recipients, recover};

#[test]
fn an_export_and_an_identity_are_enough() {
    let (home, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (daemon, runtime) = (Daemon::start_with(home.path(), &recipients(&[1, 2])), runtime());
    let token = daemon.token.clone();
    runtime.block_on(fill(&daemon, &token, ROWS));
    let file = out.path().join("vault.jsonl");
    assert_eq!(export(&daemon, &token, &file).0, 0);
    assert!(daemon.stop().success());
    drop(home);

    let to = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(keys(to.path())).unwrap();
    std::fs::write(to.path().join("strongroom.toml"), format!("{PORTS}{}", recipients(&[1, 2]))).unwrap();
    let from = ["--from", file.to_str().unwrap()];
    let (code, found, said) = recover(to.path(), 1, &[&from[..], &["--drill", "--sample", "1000"]].concat());
    assert_eq!((code, &found["proven"]), (0, &Json::Bool(true)), "{said}");
    assert!(found["tried"].as_u64().unwrap() > ROWS as u64, "{found}");
    assert_eq!(
        std::fs::read_dir(to.path().join("strongroom-data")).unwrap().count(),
        1,
        "the drill has left something"
    );

    // Nothing is imported before there is a key to wrap under.
    let (code, _, said) = recover(to.path(), 1, &from);
    assert!(code == 65 && !database(to.path()).exists(), "{code} {said}");
    assert!(command(to.path(), &["local-key", "create", "default"], "").status.success());
    let before = files(to.path());
    let (code, _, said) = recover(to.path(), 3, &from);
    assert!(code == 65 && said.contains("is not wrapped for age:"), "{code} {said}");
    // Whose key this is, the export does not open under.
    let (code, _, said) = import(to.path(), &file, &["--apply"]);
    assert!(code == 65 && said.contains("does not open"), "{code} {said}");
    assert_eq!(files(to.path()), before);

    let (code, found, said) = recover(to.path(), 2, &from);
    assert_eq!((code, found["failed"].as_u64(), found["without"].as_u64()), (0, Some(0), Some(0)), "{said}");
    assert!(found["recovered"].as_u64().unwrap() > ROWS as u64, "{found}");
    let (code, _, said) = recover(to.path(), 2, &from);
    assert!(code == 67 && said.contains("nothing is ever restored over a database"), "{code} {said}");
    let restored = Daemon::start_with(to.path(), &recipients(&[1, 2]));
    runtime.block_on(all_open(&restored, &token, ROWS));
    assert!(restored.cli(&token, &["audit", "verify"], None).status.success());
    assert!(restored.stop().success());
}
