//! Law 5: what one replica has acknowledged, no other one answers against, whatever it remembers.

use serde_json::Value;
use strongroom::pb::v1::batch_decrypt_result::Outcome;
use strongroom::pb::v1::{
    ActivateVersionRequest, BatchDecryptRequest, CredentialRef, DeleteCredentialRequest, ListTokensRequest,
    RevokeTokenRequest, UpdateMetadataRequest,
};
use tonic::Code;

use super::{Credentials, POLICY, World, reload};
use crate::daemon::{Daemon, decrypt, openai_key, runtime, setup};

/// In each way that there is, what is answered for a credential; and what it says where that is nothing.
async fn asked(daemon: &Daemon, token: &str, name: &str) -> Vec<(&'static str, Result<String, String>)> {
    let mut client = daemon.credentials(token).await;
    let text = |secret: Option<strongroom::crypto::Secret>| secret.unwrap().expose_text().unwrap().to_owned();
    let single = match client.decrypt_credential(decrypt("acme", name)).await {
        Ok(reply) => Ok(text(reply.into_inner().secret)),
        Err(status) => Err(format!("{:?}", status.code())),
    };
    let reference = CredentialRef { provider: "openai".into(), name: name.into(), ..Default::default() };
    let batch = BatchDecryptRequest { org: "acme".into(), credentials: vec![reference] };
    let batch = match client.batch_decrypt(batch).await {
        Ok(reply) => match reply.into_inner().results.remove(0).outcome.unwrap() {
            Outcome::Decrypted(reply) => Ok(text(reply.secret)),
            Outcome::Failure(failure) => Err(failure.reason),
        },
        Err(status) => Err(format!("{:?}", status.code())),
    };
    let rest = |path: &str, body: &str, at: &str| {
        let (status, said) = daemon.http("POST", path, token, Some(body));
        let json: Value = serde_json::from_str(&said).unwrap();
        match json.pointer(at).and_then(Value::as_str) {
            Some(secret) if status == 200 => Ok(secret.to_owned()),
            _ => Err(said),
        }
    };
    let one = rest("/integrations/acme/openai/decrypt", &format!(r#"{{"name": "{name}"}}"#), "/secret");
    let listed = format!(r#"{{"credentials": [{{"provider": "openai", "name": "{name}"}}]}}"#);
    let many = rest("/integrations/acme/decrypt", &listed, "/results/0/decrypted/secret");
    vec![("gRPC", single), ("gRPC batch", batch), ("REST", one), ("REST batch", many)]
}

#[track_caller]
fn all_are(asked: Vec<(&'static str, Result<String, String>)>, key: &str) {
    for (way, answer) in asked {
        assert_eq!(answer.as_deref(), Ok(key), "{way}");
    }
}

#[track_caller]
fn none_is(asked: Vec<(&'static str, Result<String, String>)>) {
    for (way, answer) in asked {
        assert!(answer.is_err(), "{way}: {answer:?}");
    }
}

async fn warm(daemon: &Daemon, client: &mut Credentials, name: &str) {
    client.decrypt_credential(decrypt("acme", name)).await.unwrap();
    let reply = client.decrypt_credential(decrypt("acme", name)).await.unwrap().into_inner();
    assert!(reply.cached, "{} has it in memory", daemon.addr);
}

#[test]
fn what_another_replica_revoked_is_not_answered_from_memory() {
    let world = World::new();
    let (a, b) = world.two();
    runtime().block_on(async {
        let admin = a.token.clone();
        let (mut on_a, mut on_b) = (a.credentials(&admin).await, b.credentials(&admin).await);
        let (one, two) = (openai_key("one"), openai_key("two"));
        // Each way of asking is the first one after the change, once.
        for round in 0..4 {
            for what in ["delete", "disable", "rotate", "activate", "revoke"] {
                let name = format!("{what}-{round}");
                on_a.setup_credential(setup("acme", &name, &one)).await.unwrap();
                if what == "activate" {
                    on_a.setup_credential(setup("acme", &name, &two)).await.unwrap();
                }
                let issued = a.issue("pipeline", "acme", &["openai"]).await;
                let before = if what == "activate" { &two } else { &one };
                let mut pipeline = b.credentials(&issued).await;
                warm(&b, &mut on_b, &name).await;
                warm(&b, &mut pipeline, &name).await;
                match what {
                    "delete" => {
                        let request = DeleteCredentialRequest {
                            org: "acme".into(),
                            provider: "openai".into(),
                            name: name.clone(),
                            ..Default::default()
                        };
                        on_a.delete_credential(request).await.map(drop).unwrap();
                    }
                    "disable" => {
                        let request = UpdateMetadataRequest {
                            org: "acme".into(),
                            provider: "openai".into(),
                            name: name.clone(),
                            disabled: Some(true),
                            ..Default::default()
                        };
                        on_a.update_metadata(request).await.map(drop).unwrap();
                    }
                    "rotate" => {
                        on_a.setup_credential(setup("acme", &name, &two)).await.map(drop).unwrap();
                    }
                    "activate" => {
                        let request = ActivateVersionRequest {
                            org: "acme".into(),
                            provider: "openai".into(),
                            name: name.clone(),
                            version: 1,
                            ..Default::default()
                        };
                        on_a.activate_version(request).await.map(drop).unwrap();
                    }
                    _ => {
                        let list = ListTokensRequest { org: "acme".into() };
                        let mut tokens = a.admin(&admin).await;
                        let id = tokens.list_tokens(list).await.unwrap().into_inner().tokens[0].id.clone();
                        tokens.revoke_token(RevokeTokenRequest { id }).await.unwrap();
                    }
                }
                let mut answers = asked_from(&b, &issued, &name, round).await;
                answers.extend(asked(&b, &issued, &name).await);
                match what {
                    "rotate" => all_are(answers, &two),
                    "activate" => {
                        assert_ne!(before, &one);
                        all_are(answers, &one);
                    }
                    _ => none_is(answers),
                }
            }
        }
    });
}

/// The one way of this round alone, so that each is once the very first.
async fn asked_from(
    daemon: &Daemon,
    token: &str,
    name: &str,
    round: usize,
) -> Vec<(&'static str, Result<String, String>)> {
    if round < 2 {
        return Vec::new();
    }
    let path = if round == 2 { "/integrations/acme/openai/decrypt" } else { "/integrations/acme/decrypt" };
    let body = match round {
        2 => format!(r#"{{"name": "{name}"}}"#),
        _ => format!(r#"{{"credentials": [{{"provider": "openai", "name": "{name}"}}]}}"#),
    };
    let (_, said) = daemon.http("POST", path, token, Some(&body));
    let json: Value = serde_json::from_str(&said).unwrap();
    let found = json.pointer("/secret").or_else(|| json.pointer("/results/0/decrypted/secret"));
    vec![("first, by REST", found.and_then(Value::as_str).map(str::to_owned).ok_or(said.clone()))]
}

#[test]
fn a_replica_without_the_rules_in_force_answers_no_plaintext_until_it_has_them() {
    let world = World::new();
    let (a, b) = world.two();
    let admin = a.token.clone();
    runtime().block_on(async {
        let mut on_a = a.credentials(&admin).await;
        on_a.setup_credential(setup("acme", "kept", &openai_key("kept"))).await.unwrap();
        on_a.setup_credential(setup("acme", "closed", &openai_key("closed"))).await.unwrap();
        let pipeline = a.issue("pipeline", "acme", &["openai"]).await;
        let mut on_b = b.credentials(&pipeline).await;
        for name in ["kept", "closed"] {
            warm(&b, &mut on_b, name).await;
        }
        let rules = format!(
            "{POLICY}\n@id(\"closed\") forbid (principal, action == Strongroom::Action::\"decrypt\", resource is \
             Strongroom::Credential) when {{ resource.name == \"closed\" }};\n"
        );
        std::fs::write(a.home.join("policies/default.cedar"), &rules).unwrap();
        assert!(reload(&a).0);
        for name in ["closed", "kept"] {
            let status = on_b.decrypt_credential(decrypt("acme", name)).await.unwrap_err();
            assert_eq!(status.code(), Code::Unavailable, "{status}");
            none_is(asked(&b, &pipeline, name).await);
        }
        let (status, said) = b.scrape("/readyz");
        assert_eq!((status, said.as_str()), (503, "STORE_UNAVAILABLE\n"));
        b.logged(|line| line.contains("not ready") && line.contains("other rules are in force"));
        assert_eq!(a.scrape("/readyz").0, 200);
        // The old files, read once more, put nothing back in force.
        reload(&b);
        none_is(asked(&b, &pipeline, "closed").await);
        let mut pipeline_on_a = a.credentials(&pipeline).await;
        pipeline_on_a.decrypt_credential(decrypt("acme", "kept")).await.unwrap();

        std::fs::write(b.home.join("policies/default.cedar"), &rules).unwrap();
        assert!(reload(&b).0);
        assert_eq!(b.scrape("/readyz").0, 200);
        all_are(asked(&b, &pipeline, "kept").await, &openai_key("kept"));
        let status = on_b.decrypt_credential(decrypt("acme", "closed")).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied);
        none_is(asked(&b, &pipeline, "closed").await);
    });
}

/// What was replaced while it was away does not come back with it.
#[test]
fn a_replica_that_comes_back_with_old_rules_puts_none_in_force() {
    let world = World::new();
    let (a, b) = world.two();
    let admin = a.token.clone();
    runtime().block_on(async {
        let mut on_a = a.credentials(&admin).await;
        on_a.setup_credential(setup("acme", "closed", &openai_key("closed"))).await.unwrap();
        let pipeline = a.issue("pipeline", "acme", &["openai"]).await;
        let forbidding =
            format!("{POLICY}\nforbid (principal, action == Strongroom::Action::\"decrypt\", resource);\n");
        std::fs::write(a.home.join("policies/default.cedar"), &forbidding).unwrap();
        assert!(reload(&a).0);
        b.kill();
        let b = world.start("b");
        b.logged(|line| line.contains("other replicas have replaced these rules"));
        none_is(asked(&b, &pipeline, "closed").await);
        assert_eq!((a.scrape("/readyz").0, b.scrape("/readyz").0), (200, 503));
        // Nor does it let anybody in by them.
        let status =
            b.credentials(&admin).await.setup_credential(setup("acme", "more", &openai_key("more"))).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        let status = a.credentials(&pipeline).await.decrypt_credential(decrypt("acme", "closed")).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied);

        // Somebody goes back to them on purpose.
        std::fs::write(b.home.join("policies/default.cedar"), format!("// As before.\n{POLICY}")).unwrap();
        assert!(reload(&b).0);
        all_are(asked(&b, &pipeline, "closed").await, &openai_key("closed"));
        assert_eq!((a.scrape("/readyz").0, b.scrape("/readyz").0), (503, 200));
    });
}
