//! SIGHUP: good rules hold from the next request on, bad ones leave the old ones in force.

use strongroom::crypto::Secret;
use strongroom::pb::v1::{ListCredentialsRequest, SetupCredentialRequest};
use tonic::Code;

use super::*;
use crate::daemon::decrypt;

const CONFIG: &str = "[policy]\ndirectory = \"policy\"\n[providers]\nfile = \"providers.yml\"\n";

/// A line for every reload, so that the test knows when it is over.
const DONE: &str = "were read anew and are in force";
const REFUSED: &str = "the old ones stay in force";

/// Reloads, and answers the line that says what became of it.
fn reload(daemon: &Daemon) -> String {
    let lines = || daemon.log().lines().filter(|line| line.contains(DONE) || line.contains(REFUSED)).count();
    let before = lines();
    daemon.signal("HUP");
    let end = Instant::now() + Duration::from_secs(30);
    while lines() == before {
        assert!(Instant::now() < end, "no reload: {}", daemon.log());
        std::thread::sleep(Duration::from_millis(5));
    }
    let log = daemon.log();
    log.lines().rfind(|line| line.contains(DONE) || line.contains(REFUSED)).unwrap().to_owned()
}

#[test]
fn rules_are_replaced_while_the_daemon_serves() {
    let place = Place(tempfile::tempdir().unwrap());
    let providers = std::fs::read_to_string("config/providers.yml").unwrap();
    let policy = std::fs::read_to_string("config/policy/default.cedar").unwrap();
    place.write("providers.yml", &providers);
    place.write("policy/default.cedar", &policy);
    let daemon = Daemon::start_with(place.path(), CONFIG);
    runtime().block_on(async {
        let mut admin = daemon.credentials(&daemon.token).await;
        admin.setup_credential(setup("acme", "", &openai_key("a"))).await.unwrap();
        let pipeline = daemon.issue("pipeline", "acme", &["openai"]).await;
        let mut pipeline = daemon.credentials(&pipeline).await;
        let list = || ListCredentialsRequest { org: "acme".into(), ..Default::default() };
        let new = || SetupCredentialRequest {
            org: "acme".into(),
            provider: "acme_mail".into(),
            fields: [("key".to_owned(), Secret::from("mail-0123456789".to_owned()))].into(),
            no_probe: true,
            ..Default::default()
        };
        pipeline.decrypt_credential(decrypt("acme", "")).await.unwrap();
        assert_eq!(pipeline.list_credentials(list()).await.unwrap_err().code(), Code::PermissionDenied);
        assert_eq!(admin.setup_credential(new()).await.unwrap_err().code(), Code::InvalidArgument);

        // More is allowed, and something is not any more.
        place.write(
            "policy/more.cedar",
            "@id(\"lists\") permit (principal in Strongroom::Role::\"pipeline\", action == Strongroom::Action::\"list\", resource);\n\
             @id(\"closed\") forbid (principal, action == Strongroom::Action::\"decrypt\", resource);\n",
        );
        place.write("providers.yml", &format!("{providers}{}", NEW_PROVIDER));
        assert!(reload(&daemon).contains(DONE));
        pipeline.list_credentials(list()).await.unwrap();
        assert_eq!(pipeline.decrypt_credential(decrypt("acme", "")).await.unwrap_err().code(), Code::PermissionDenied);
        admin.setup_credential(new()).await.unwrap();

        // A bad file of either kind leaves both as they are.
        place.write("policy/zzz.cedar", "permit (principal, action, resource);\n\npermit principal;\n");
        let refused = reload(&daemon);
        assert!(refused.contains("policy/zzz.cedar:3: ") && refused.contains("ERROR"), "{refused}");
        pipeline.list_credentials(list()).await.unwrap();
        assert_eq!(pipeline.decrypt_credential(decrypt("acme", "")).await.unwrap_err().code(), Code::PermissionDenied);
        std::fs::remove_file(place.file("policy/zzz.cedar")).unwrap();
        std::fs::remove_file(place.file("policy/more.cedar")).unwrap();
        place.write("providers.yml", &providers.replacen("  - id: openai\n", "  - id: openai\n    colour: red\n", 1));
        let refused = reload(&daemon);
        let line = 2 + providers.lines().position(|line| line == "  - id: openai").unwrap();
        assert!(refused.contains(&format!("providers.yml:{line}: ")), "{refused}");
        pipeline.list_credentials(list()).await.unwrap();

        place.write("providers.yml", &providers);
        assert!(reload(&daemon).contains(DONE));
        pipeline.decrypt_credential(decrypt("acme", "")).await.unwrap();
        assert_eq!(pipeline.list_credentials(list()).await.unwrap_err().code(), Code::PermissionDenied);
    });
    assert!(daemon.stop().success());
}

const NEW_PROVIDER: &str = "
  - id: acme_mail
    title: Acme Mail
    category: saas
    class: long-lived
    fields:
      - name: key
        must_be: a key that begins with mail-
        patterns: ['^mail-[0-9]{10}$']
        example: mail-9999999999
    metadata: {}
";
