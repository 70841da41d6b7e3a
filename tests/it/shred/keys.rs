//! The other way to end an org: the key of its own goes where it is kept, and every row of it is unreadable.

use super::*;

const OWN: &str = "[kms.orgs]\nacme = \"local://acme\"\n";

#[test]
fn without_an_orgs_own_key_its_rows_are_unreadable() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start_with(home.path(), OWN);
    let token = daemon.token.clone();
    runtime().block_on(async {
        fill(&daemon, &token).await;
        opens(&daemon, &token, "acme", "b").await.unwrap();
        let doomed = cli(&daemon, &token, &["org", "destroy", "acme", "--yes"]);
        assert_eq!(doomed["own_keys"], serde_json::json!(["local://acme"]), "what backups need is named");
        cli(&daemon, &token, &["org", "restore", "acme"]);
        assert!(daemon.stop().success());

        let key = home.path().join("strongroom-data/keys/acme.key");
        let kept = std::fs::read(&key).unwrap();
        std::fs::remove_file(&key).unwrap();
        // As it was configured, and with the key taken out of the configuration.
        for config in ["", OWN] {
            let daemon = Daemon::start_with(home.path(), config);
            if config.is_empty() {
                // Before anybody asks.
                daemon.logged(|line| line.contains("keys are wrapped under local://acme, which is not configured"));
            }
            for name in ["a", "b"] {
                let refused = opens(&daemon, &token, "acme", name).await.unwrap_err();
                assert!([Code::Unavailable, Code::DataLoss].contains(&refused.code()), "{refused}");
                assert!(!refused.message().contains("local://"), "{refused}");
            }
            daemon.logged(|line| line.contains("local://acme") && (line.contains("ERROR") || line.contains("WARN")));
            for org in ["globex", "acme2"] {
                opens(&daemon, &token, org, "a").await.unwrap();
            }
            assert!(daemon.stop().success());
            if config.is_empty() {
                let checked = crate::recovery::command(home.path(), &["serve", "--check"], "");
                let said = String::from_utf8(checked.stderr).unwrap();
                assert!(
                    checked.status.success() && said.contains("under local://acme, which is not configured"),
                    "{said}"
                );
            }
            std::fs::remove_file(home.path().join("log")).unwrap();
        }
        // Nothing else was wrong with them.
        std::fs::write(&key, kept).unwrap();
        let daemon = Daemon::start_with(home.path(), OWN);
        for name in ["a", "b"] {
            opens(&daemon, &token, "acme", name).await.unwrap();
        }

        cli(&daemon, &token, &["org", "destroy", "acme", "--yes", "--after", "0s"]);
        let proof = destroyed(&daemon, &token, "acme");
        assert_eq!(proof["own_keys"], serde_json::json!(["local://acme"]));
        let sheet = String::from_utf8(daemon.cli(&token, &["org", "status", "acme"], None).stdout).unwrap();
        assert!(sheet.contains("destroy local://acme where it is kept"), "{sheet}");
    });
}

#[test]
fn a_key_that_others_need_is_not_the_orgs_own() {
    let home = tempfile::tempdir().unwrap();
    // The key was another org's once, and still is by its rows.
    let daemon = Daemon::start_with(home.path(), "[kms.orgs]\nglobex = \"local://acme\"\n");
    let token = daemon.token.clone();
    runtime().block_on(async {
        fill(&daemon, &token).await;
        assert!(daemon.stop().success());
        let shared = "[kms.orgs]\nacme = \"local://acme\"\nglobex = \"local://acme\"\n";
        for config in [OWN, shared] {
            let daemon = Daemon::start_with(home.path(), config);
            let doomed = cli(&daemon, &token, &["org", "destroy", "acme", "--yes"]);
            assert_eq!((&doomed["state"], &doomed["own_keys"]), (&Json::from("pending"), &Json::Null), "{doomed}");
            cli(&daemon, &token, &["org", "restore", "acme"]);
            assert!(daemon.stop().success());
        }
        let daemon = Daemon::start_with(home.path(), OWN);
        let moved = daemon.cli(&token, &["rewrap"], None);
        assert!(moved.status.success(), "{moved:?}");
        let doomed = cli(&daemon, &token, &["org", "destroy", "acme", "--yes"]);
        assert_eq!(doomed["own_keys"], serde_json::json!(["local://acme"]));
    });
}
