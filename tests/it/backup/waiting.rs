//! What waited to be destroyed when it was exported may have been taken back since; its time may be over when it comes back.

use super::signed::{read, signer, written};
use super::*;

#[test]
fn what_waits_to_be_destroyed_can_still_be_taken_back() {
    let (home, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let daemon = Daemon::start(home.path());
    let token = daemon.token.clone();
    let good = |daemon: &Daemon, words: &[&str]| {
        let output = daemon.cli(&token, words, None);
        assert!(output.status.success(), "{words:?}: {output:?}");
    };
    runtime().block_on(async {
        let mut client = daemon.credentials(&token).await;
        for org in ["acme", "globex", "initech"] {
            client.setup_credential(setup(org, "", &openai_key(org))).await.unwrap();
        }
    });
    good(&daemon, &["org", "destroy", "acme", "--after", "30d", "--yes"]);
    good(&daemon, &["org", "destroy", "initech", "--after", "30d", "--yes"]);
    good(&daemon, &["delete", "globex", "openai", "--destroy-after", "30d", "--yes"]);
    let file = out.path().join("vault.jsonl");
    assert_eq!(export(&daemon, &token, &file).0, 0);
    assert!(daemon.stop().success());

    // A month and a day later: signed anew by the key that signed it, with all that waits a month and a day earlier.
    let text = std::fs::read_to_string(&file).unwrap();
    let (header, mut tables) = read(&text.split_inclusive('\n').map(str::to_owned).collect::<Vec<_>>());
    let mut moved = 0;
    for (_, columns, rows) in &mut tables {
        let Some(at) = columns.iter().position(|column| column == "destroy_at") else { continue };
        for time in rows.iter_mut().map(|row| &mut row[at]).filter(|time| !time.is_null()) {
            *time = Json::from(time.as_i64().unwrap() - 31 * 24 * 3_600_000_000);
            moved += 1;
        }
    }
    assert_eq!(moved, 5, "three credentials and two orgs");
    let signer = signer(home.path(), &tables, &header.instance);
    std::fs::write(&file, written(header, &tables, &signer)).unwrap();

    let to = home_with_keys_of(home.path());
    let (code, _, said) = import(to.path(), &file, &["--apply"]);
    assert_eq!(code, 0, "{said}");
    let daemon = Daemon::start(to.path());
    good(&daemon, &["org", "restore", "acme"]);
    good(&daemon, &["org", "restore", "initech"]);
    good(&daemon, &["undelete", "globex", "openai"]);
    runtime().block_on(async {
        let mut client = daemon.credentials(&token).await;
        for org in ["acme", "globex", "initech"] {
            let found = client.decrypt_credential(decrypt(org, "")).await.unwrap().into_inner();
            assert!(found.secret.unwrap().expose() == openai_key(org).as_bytes(), "{org}");
        }
    });
    assert!(daemon.stop().success());
}
