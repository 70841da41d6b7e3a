//! What waited to be destroyed when it was exported may have been taken back since; its time may be over when it comes back.

use std::time::{Duration, Instant};

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
    let begin = Instant::now();
    good(&daemon, &["org", "destroy", "acme", "--after", "4s", "--yes"]);
    good(&daemon, &["org", "destroy", "initech", "--after", "4s", "--yes"]);
    good(&daemon, &["delete", "globex", "openai", "--destroy-after", "4s", "--yes"]);
    let file = out.path().join("vault.jsonl");
    assert_eq!(export(&daemon, &token, &file).0, 0);
    daemon.kill();

    std::thread::sleep(Duration::from_secs(5).saturating_sub(begin.elapsed()));
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
