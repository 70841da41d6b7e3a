//! The life of a credential through the real daemon: gRPC, REST, the refusals on the way, and what survives a restart.

use std::collections::BTreeSet;

use strongroom::pb::v1::{
    ActivateVersionRequest, BatchDecryptRequest, CredentialRef, DecryptCredentialRequest, DeleteCredentialRequest,
    GetCredentialRequest, ListAuditRequest, ListCredentialsRequest, ListVersionsRequest, RevokeTokenRequest,
    UndeleteCredentialRequest, UpdateMetadataRequest, VerifyAuditRequest, WatchCredentialsRequest,
    batch_decrypt_result::Outcome,
};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::daemon::{Daemon, decrypt, openai_key, runtime, setup};

#[test]
fn a_credential_lives_over_grpc() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    runtime().block_on(async {
        let mut admin = daemon.credentials(&daemon.token).await;
        let pipeline = daemon.issue("pipeline", "acme", &["openai"]).await;
        let mut pipeline = daemon.credentials(&pipeline).await;
        let (first, second) = (openai_key("first"), openai_key("second"));

        let done = admin.setup_credential(setup("acme", "", &first)).await.unwrap().into_inner();
        let credential = done.credential.unwrap();
        assert_eq!((credential.state.as_str(), credential.active_version), ("active", 1));
        assert_eq!((credential.project.as_str(), credential.name.as_str()), ("default", "default"));

        let cold = pipeline.decrypt_credential(decrypt("acme", "")).await.unwrap().into_inner();
        let warm = pipeline.decrypt_credential(decrypt("acme", "")).await.unwrap().into_inner();
        assert_eq!(cold.secret.as_ref().unwrap().expose(), first.as_bytes());
        assert_eq!((cold.cached, warm.cached), (false, true));
        assert_eq!(warm.secret, cold.secret);
        assert_eq!(cold.fingerprint, credential.fingerprint);
        let fresh = DecryptCredentialRequest { fresh: true, ..decrypt("acme", "") };
        assert!(!pipeline.decrypt_credential(fresh).await.unwrap().into_inner().cached);

        // The same secret again is no rotation.
        let again = admin.setup_credential(setup("acme", "", &first)).await.unwrap_err();
        assert_eq!(again.code(), Code::Aborted);

        // Rotation: from the acknowledgement on, nobody gets the old one.
        let rotated = admin.setup_credential(setup("acme", "", &second)).await.unwrap().into_inner();
        assert_eq!(rotated.version.unwrap().version, 2);
        let now = pipeline.decrypt_credential(decrypt("acme", "")).await.unwrap().into_inner();
        assert_eq!((now.version, now.secret.unwrap().expose()), (2, second.as_bytes()));

        // Rollback.
        let back =
            ActivateVersionRequest { org: "acme".into(), provider: "openai".into(), version: 1, ..Default::default() };
        admin.activate_version(back).await.unwrap();
        let now = pipeline.decrypt_credential(decrypt("acme", "")).await.unwrap().into_inner();
        assert_eq!((now.version, now.secret.unwrap().expose()), (1, first.as_bytes()));
        let versions = ListVersionsRequest { org: "acme".into(), provider: "openai".into(), ..Default::default() };
        let versions = admin.list_versions(versions).await.unwrap().into_inner().versions;
        let states: Vec<_> = versions.iter().map(|version| (version.version, version.state.as_str())).collect();
        assert_eq!(states, [(2, "superseded"), (1, "active")]);

        // Disabled is not served, enabled again it is.
        let switch = |disabled| UpdateMetadataRequest {
            org: "acme".into(),
            provider: "openai".into(),
            disabled: Some(disabled),
            ..Default::default()
        };
        admin.update_metadata(switch(true)).await.unwrap();
        assert_eq!(
            pipeline.decrypt_credential(decrypt("acme", "")).await.unwrap_err().code(),
            Code::FailedPrecondition
        );
        admin.update_metadata(switch(false)).await.unwrap();
        pipeline.decrypt_credential(decrypt("acme", "")).await.unwrap();

        // A delete with a delay can be taken back; one without cannot.
        let delete = |seconds| DeleteCredentialRequest {
            org: "acme".into(),
            provider: "openai".into(),
            destroy_after: seconds,
            ..Default::default()
        };
        let later = pbjson_types::Duration { seconds: 3600, nanos: 0 };
        admin.delete_credential(delete(Some(later))).await.unwrap();
        assert_eq!(pipeline.decrypt_credential(decrypt("acme", "")).await.unwrap_err().code(), Code::PermissionDenied);
        let undelete =
            || UndeleteCredentialRequest { org: "acme".into(), provider: "openai".into(), ..Default::default() };
        admin.undelete_credential(undelete()).await.unwrap();
        pipeline.decrypt_credential(decrypt("acme", "")).await.unwrap();
        admin.delete_credential(delete(None)).await.unwrap();
        assert_eq!(admin.undelete_credential(undelete()).await.unwrap_err().code(), Code::NotFound);
        assert_eq!(admin.decrypt_credential(decrypt("acme", "")).await.unwrap_err().code(), Code::NotFound);

        let tombstones = ListCredentialsRequest { org: "acme".into(), state: "deleted".into(), ..Default::default() };
        let tombstones = admin.list_credentials(tombstones).await.unwrap().into_inner().credentials;
        assert_eq!(tombstones.len(), 1);
        assert_eq!(tombstones[0].fingerprint, credential.fingerprint);

        let verified =
            daemon.admin(&daemon.token).await.verify_audit(VerifyAuditRequest {}).await.unwrap().into_inner();
        assert!(verified.intact && verified.records > 15, "{verified:?}");
    });
    assert!(daemon.stop().success());
}

#[test]
fn a_credential_lives_over_rest() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    let token = daemon.token.clone();
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();

    let body = format!(r#"{{"fields": {{"api_key": "{}"}}, "no_probe": true}}"#, openai_key("rest"));
    let (status, reply) = daemon.http("POST", "/integrations/acme/openai/setup", &token, Some(&body));
    assert_eq!(status, 200, "{reply}");
    assert_eq!(json(&reply)["credential"]["state"], "active");
    assert!(!reply.contains("T3BlbkFJ"), "the secret never travels back");

    let (status, reply) = daemon.http("GET", "/integrations/acme?provider=openai", &token, None);
    assert_eq!((status, json(&reply)["credentials"][0]["provider"].as_str()), (200, Some("openai")));

    let (status, reply) = daemon.http("POST", "/integrations/acme/openai/decrypt", &token, Some("{}"));
    assert_eq!((status, json(&reply)["secret"].as_str()), (200, Some(openai_key("rest").as_str())));

    let metadata = r#"{"metadata": {"environment": "prod"}, "labels": {"labels": {"team": "search"}}}"#;
    let (status, reply) = daemon.http("PUT", "/integrations/acme/openai/metadata", &token, Some(metadata));
    assert_eq!(
        (status, json(&reply)["credential"]["metadata"]["environment"].as_str()),
        (200, Some("prod")),
        "{reply}"
    );
    let (_, reply) = daemon.http("GET", "/integrations/acme?labels=team%3Dsearch", &token, None);
    assert_eq!(json(&reply)["credentials"].as_array().map(Vec::len), Some(1));

    let (status, reply) = daemon.http("DELETE", "/integrations/acme/openai", &token, None);
    assert_eq!(status, 200, "{reply}");
    let (status, reply) = daemon.http("GET", "/integrations/acme/openai", &token, None);
    assert_eq!((status, json(&reply)["reason"].as_str()), (404, Some("NOT_FOUND")));

    let (status, reply) = daemon.http("POST", "/admin/audit/verify", &token, Some("{}"));
    assert_eq!((status, json(&reply)["intact"].as_bool()), (200, Some(true)));

    assert_eq!(daemon.scrape("/healthz").0, 200);
    assert_eq!(daemon.scrape("/readyz").0, 200);
    let (status, metrics) = daemon.scrape("/metrics");
    assert!(status == 200 && metrics.contains("strongroom_requests_total"), "{metrics}");
}

#[test]
fn an_untested_credential_waits_for_someone_who_may_skip_the_test() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    runtime().block_on(async {
        let token = daemon.issue("service", "acme", &[]).await;
        let mut service = daemon.credentials(&token).await;
        let mut admin = daemon.credentials(&daemon.token).await;
        let refused = service.setup_credential(setup("acme", "", &openai_key("a"))).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);

        let mut tested = setup("acme", "", &openai_key("a"));
        tested.no_probe = false;
        let done = service.setup_credential(tested).await.unwrap().into_inner();
        assert_eq!(done.credential.unwrap().state, "pending");
        assert_eq!(done.probe.unwrap().outcome, "untested");
        let refused = admin.decrypt_credential(decrypt("acme", "")).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert_eq!(refused.get_error_details().error_info().unwrap().reason, "REFUSED");

        let activate =
            ActivateVersionRequest { org: "acme".into(), provider: "openai".into(), version: 1, ..Default::default() };
        assert_eq!(service.activate_version(activate.clone()).await.unwrap_err().code(), Code::PermissionDenied);
        admin.activate_version(activate).await.unwrap();
        admin.decrypt_credential(decrypt("acme", "")).await.unwrap();
    });
}

#[test]
fn absent_and_forbidden_look_alike_to_whoever_may_not_list() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    runtime().block_on(async {
        let mut admin = daemon.credentials(&daemon.token).await;
        admin.setup_credential(setup("acme", "", &openai_key("acme"))).await.unwrap();
        admin.setup_credential(setup("globex", "", &openai_key("globex"))).await.unwrap();
        for (role, providers) in [("pipeline", vec!["aws_keys"]), ("service", vec![])] {
            let token = daemon.issue(role, "acme", &providers).await;
            let mut caller = daemon.credentials(&token).await;
            let mut told = BTreeSet::new();
            for (org, name) in [("globex", "default"), ("globex", "nothing-here"), ("nobody", "default")] {
                let refused = caller.decrypt_credential(decrypt(org, name)).await.unwrap_err();
                let details = refused.get_error_details();
                let reason = details.error_info().unwrap().reason.clone();
                told.insert((refused.code() as i32, refused.message().to_owned(), reason));
            }
            assert_eq!(told.len(), 1, "{role}: {told:?}");
        }
        let token = daemon.issue("service", "acme", &[]).await;
        let mut service = daemon.credentials(&token).await;
        let get = |org: &str, name: &str| GetCredentialRequest {
            org: org.into(),
            provider: "openai".into(),
            name: name.into(),
            ..Default::default()
        };
        // Who may list an org is told what is not there.
        assert_eq!(service.get_credential(get("acme", "nothing-here")).await.unwrap_err().code(), Code::NotFound);
        assert_eq!(
            service.get_credential(get("globex", "nothing-here")).await.unwrap_err().code(),
            Code::PermissionDenied
        );
    });
}

#[test]
fn a_revoked_token_is_refused_at_once_and_everywhere() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    runtime().block_on(async {
        let mut admin = daemon.credentials(&daemon.token).await;
        admin.setup_credential(setup("acme", "", &openai_key("a"))).await.unwrap();
        let token = daemon.issue("pipeline", "acme", &["openai"]).await;
        let mut pipeline = daemon.credentials(&token).await;
        pipeline.decrypt_credential(decrypt("acme", "")).await.unwrap();

        let mut tokens = daemon.admin(&daemon.token).await;
        let listed = tokens.list_tokens(strongroom::pb::v1::ListTokensRequest { org: "acme".into() }).await.unwrap();
        let id = listed.into_inner().tokens[0].id.clone();
        tokens.revoke_token(RevokeTokenRequest { id }).await.unwrap();
        assert_eq!(pipeline.decrypt_credential(decrypt("acme", "")).await.unwrap_err().code(), Code::Unauthenticated);
        for wrong in ["srt_guessed", "x", &token[..token.len() - 1]] {
            let mut nobody = daemon.credentials(wrong).await;
            assert_eq!(nobody.decrypt_credential(decrypt("acme", "")).await.unwrap_err().code(), Code::Unauthenticated);
        }
        // Who tried is on record.
        let denied = ListAuditRequest { outcome: "UNAUTHENTICATED".into(), ..Default::default() };
        let denied = tokens.list_audit(denied).await.unwrap().into_inner().records;
        assert_eq!(denied.len(), 4);
        assert!(denied.iter().all(|record| record.caller == "anonymous" && record.action == "authenticate"));
    });
}

#[test]
fn a_batch_answers_each_for_itself() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    runtime().block_on(async {
        let mut admin = daemon.credentials(&daemon.token).await;
        admin.setup_credential(setup("acme", "one", &openai_key("one"))).await.unwrap();
        let reference =
            |name: &str| CredentialRef { provider: "openai".into(), name: name.into(), ..Default::default() };
        let batch = BatchDecryptRequest { org: "acme".into(), credentials: vec![reference("one"), reference("two")] };
        let results = admin.batch_decrypt(batch).await.unwrap().into_inner().results;
        let outcomes: Vec<_> = results.into_iter().map(|result| result.outcome.unwrap()).collect();
        let [Outcome::Decrypted(one), Outcome::Failure(two)] = outcomes.as_slice() else { panic!("{outcomes:?}") };
        assert_eq!(one.secret.as_ref().unwrap().expose(), openai_key("one").as_bytes());
        assert_eq!(two.reason, "NOT_FOUND");
        let empty = BatchDecryptRequest { org: "acme".into(), credentials: Vec::new() };
        assert_eq!(admin.batch_decrypt(empty).await.unwrap_err().code(), Code::InvalidArgument);
    });
}

#[test]
fn a_watch_misses_nothing_and_goes_on_where_it_was() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    runtime().block_on(async {
        let mut admin = daemon.credentials(&daemon.token).await;
        let watch = |after| WatchCredentialsRequest { org: "acme".into(), after, ..Default::default() };
        let mut stream = admin.watch_credentials(watch(None)).await.unwrap().into_inner();
        admin.setup_credential(setup("acme", "a", &openai_key("a"))).await.unwrap();
        admin.setup_credential(setup("globex", "a", &openai_key("g"))).await.unwrap();
        admin.setup_credential(setup("acme", "b", &openai_key("b"))).await.unwrap();
        let mut seen = Vec::new();
        while seen.iter().filter(|(change, _, _)| change == "setup").count() < 2 {
            let change = stream.message().await.unwrap().unwrap();
            seen.push((change.change, change.credential.unwrap().name, change.sequence));
        }
        drop(stream);
        let mut resumed = admin.watch_credentials(watch(Some(seen[0].2))).await.unwrap().into_inner();
        for (change, name, sequence) in &seen[1..] {
            let next = resumed.message().await.unwrap().unwrap();
            assert_eq!((&next.change, &next.credential.unwrap().name, &next.sequence), (change, name, sequence));
        }
    });
}

#[test]
fn a_restart_loses_nothing() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    let token = daemon.token.clone();
    runtime().block_on(async {
        let mut admin = daemon.credentials(&token).await;
        admin.setup_credential(setup("acme", "", &openai_key("a"))).await.unwrap();
    });
    assert!(daemon.stop().success());
    let daemon = Daemon::start(home.path());
    assert!(daemon.token.is_empty(), "the first token is printed once");
    runtime().block_on(async {
        let reply =
            daemon.credentials(&token).await.decrypt_credential(decrypt("acme", "")).await.unwrap().into_inner();
        assert_eq!(reply.secret.unwrap().expose(), openai_key("a").as_bytes());
        let verified = daemon.admin(&token).await.verify_audit(VerifyAuditRequest {}).await.unwrap().into_inner();
        assert!(verified.intact);
    });
}

#[test]
fn a_stale_etag_changes_nothing() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    runtime().block_on(async {
        let mut admin = daemon.credentials(&daemon.token).await;
        let done = admin.setup_credential(setup("acme", "", &openai_key("a"))).await.unwrap().into_inner();
        let etag = done.credential.unwrap().etag;
        let mut rotation = setup("acme", "", &openai_key("b"));
        rotation.etag = etag.clone();
        admin.setup_credential(rotation).await.unwrap();
        let delete =
            DeleteCredentialRequest { org: "acme".into(), provider: "openai".into(), etag, ..Default::default() };
        assert_eq!(admin.delete_credential(delete).await.unwrap_err().code(), Code::Aborted);
        let reply = admin.decrypt_credential(decrypt("acme", "")).await.unwrap().into_inner();
        assert_eq!(reply.secret.unwrap().expose(), openai_key("b").as_bytes());
    });
}
