//! callers.toml at the start and at SIGHUP.

use std::process::Command;

use super::*;
use crate::daemon::program;

#[test]
fn a_wrong_callers_file_leaves_the_running_one_in_force() {
    let play = Play::new();
    let signer = Signer::rsa("k1");
    play.publish_keys(&[&signer]);
    let daemon = play.start("");
    let token = signer.token(&claims(&[]));
    runtime().block_on(async {
        try_decrypt(&daemon, &token, "acme").await.unwrap();
        let wrong = [
            (callers("audiences = \"x\""), "callers.toml:7: unknown field `audiences`"),
            (callers("algorithms = [\"none\"]"), "callers.toml:2: algorithms: `none` is none of"),
            (callers("jwks = \"file:gone.json\""), "callers.toml: issuer ci: jwks: gone.json: cannot be read"),
            (callers("").replacen("blue\"", "blue", 1), "callers.toml:12: missing comma"),
            (callers("").replacen("when = { team", "when = { teem", 1), "did you mean"),
            (
                callers("").replacen("from = \"ci\"", "from = \"cii\"", 1),
                "callers.toml:9: from: `cii` is no [[issuer]]'s name",
            ),
        ];
        for (text, why) in wrong {
            std::fs::write(play.home.path().join("callers.toml"), text).unwrap();
            daemon.signal("HUP");
            let line = daemon.logged(|line| line.contains(why));
            assert!(line.contains("the old ones stay in force") && line.contains("ERROR"), "{line}");
            try_decrypt(&daemon, &token, "acme").await.unwrap();
        }
        // A good one holds from then on, also for tokens that were let in before; nobody asks for keys that are there.
        let green = callers("").replacen("team = \"blue\"", "team = \"green\"", 1);
        std::fs::write(play.home.path().join("callers.toml"), green).unwrap();
        daemon.signal("HUP");
        let refused = until(&daemon, &token, Result::is_err).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
        try_decrypt(&daemon, &signer.token(&claims(&[("team", json!("green"))])), "acme").await.unwrap();
        assert_eq!(play.asked(KEYS), 1);
    });
    assert!(daemon.stop().success());
}

#[test]
fn a_daemon_does_not_start_with_a_wrong_callers_file() {
    let home = tempfile::tempdir().unwrap();
    let write = |file: &str, text: &str| std::fs::write(home.path().join(file), text).unwrap();
    write("strongroom.toml", "[authn]\ncallers = \"callers.toml\"\n[kms.local]\ncreate = true\n");
    write("keys.json", "{\"keys\": [{\"kty\": \"oct\", \"k\": \"AAAA\"}]}");
    let cases = [
        ("[[issuer]]\n".to_owned(), "callers.toml:1: missing field `name`"),
        (callers("jwks = \"file:keys.json\""), "callers.toml: issuer ci: jwks: keys.json: key 1: is symmetric"),
        (callers("jwks = \"http://issuer.example/keys\""), "callers.toml:2: jwks: must be https://HOST/PATH"),
    ];
    for (text, why) in cases {
        write("callers.toml", &text);
        let check = Command::new(program())
            .args(["serve", "--check", "--config", "strongroom.toml"])
            .current_dir(home.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&check.stderr);
        assert_eq!(check.status.code(), Some(64), "{said}");
        assert!(said.contains(why), "{why}: {said}");
    }
}
