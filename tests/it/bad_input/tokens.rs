//! Tokens that are missing, wrong, expired or given twice: one answer for all, and a record of each try.

use std::time::Duration;

use strongroom::pb::v1::IssueTokenRequest;

use super::*;
use crate::daemon::decrypt;

#[test]
fn without_a_good_token_nothing_is_told() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    runtime().block_on(async {
        let mut admin = daemon.credentials(&daemon.token).await;
        admin.setup_credential(setup("acme", "", &openai_key("a"))).await.unwrap();
        let short = IssueTokenRequest {
            name: "short".into(),
            role: "pipeline".into(),
            org: "acme".into(),
            providers: vec!["openai".into()],
            ttl: Some(pbjson_types::Duration { seconds: 1, nanos: 0 }),
            ..Default::default()
        };
        let short = daemon.admin(&daemon.token).await.issue_token(short).await.unwrap().into_inner();
        let expired = short.token.unwrap().expose_text().unwrap().to_owned();
        daemon.credentials(&expired).await.decrypt_credential(decrypt("acme", "")).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1100)).await;

        let mut mistyped = daemon.token.clone();
        let last = if mistyped.pop() == Some('A') { 'B' } else { 'A' };
        mistyped.push(last);
        let before = rows(&daemon);
        let mut told = Vec::new();
        for token in ["", expired.as_str(), mistyped.as_str(), "srt_", "srt_AAAA", "sk-ant-api03-Zq8Rk2Vn5Wm1Tx7Ly4Bc"]
        {
            let mut client = daemon.credentials(token).await;
            let refusal = Refusal::of_grpc(&client.decrypt_credential(decrypt("acme", "")).await.unwrap_err());
            assert_eq!(record(&daemon, &refusal.request_id).await.unwrap().caller, "anonymous");
            told.push((refusal.reason, refusal.field, refusal.words));
            let reply = daemon.http("POST", "/integrations/acme/openai/decrypt", token, None);
            assert_eq!(reply.0, 401);
            let refusal = Refusal::of_rest(&reply);
            let record = record(&daemon, &refusal.request_id).await.unwrap();
            assert_eq!((record.caller.as_str(), record.outcome.as_str()), ("anonymous", "UNAUTHENTICATED"));
            told.push((refusal.reason, refusal.field, refusal.words));
        }
        told.dedup();
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0].0, "UNAUTHENTICATED");
        assert_eq!(before, rows(&daemon));
    });
}
