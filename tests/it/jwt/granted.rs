//! A grant beside a JWT: both are of one run, or there is no answer.

use strongroom::pb::v1::grant_service_client::GrantServiceClient;
use strongroom::pb::v1::{CredentialRef, MintGrantRequest};
use tonic::Request;

use super::*;
use crate::daemon::Bearer;

#[test]
fn a_grant_opens_nothing_in_another_run() {
    let play = Play::new();
    let signer = Signer::rsa("k1");
    play.publish_keys(&[&signer]);
    let daemon = play.start("");
    runtime().block_on(async {
        let starter = daemon.issue("admin", "acme", &[]).await;
        let mut grants = GrantServiceClient::with_interceptor(daemon.channel().await, Bearer::new(&starter));
        let request = MintGrantRequest {
            org: "acme".into(),
            run: "4711".into(),
            phase: "plan".into(),
            credentials: vec![CredentialRef { provider: "openai".into(), ..Default::default() }],
            uses: 3,
            holder: "ci:project:7".into(),
            ..Default::default()
        };
        let grant = grants.mint_grant(request).await.unwrap().into_inner().grant.unwrap();
        let grant = grant.expose_text().unwrap().to_owned();
        let used = async |changes: &[(&str, Value)]| {
            let mut request = Request::new(decrypt("acme", ""));
            request.metadata_mut().insert("strongroom-grant", grant.parse().unwrap());
            let mut client = daemon.credentials(&signer.token(&claims(changes))).await;
            client.decrypt_credential(request).await.map(|_| ()).map_err(|refused| refused.code())
        };
        for changes in [
            [("run_id", json!("4712"))],
            [("run_id", json!("04711"))],
            [("phase", json!("apply"))],
            [("sub", json!("project:8"))],
        ] {
            assert_eq!(used(&changes).await, Err(Code::Unauthenticated), "{changes:?}");
        }
        // None of those was a use of it.
        for _ in 0..3 {
            assert_eq!(used(&[]).await, Ok(()));
        }
        assert_eq!(used(&[]).await, Err(Code::Unauthenticated), "used up");

        let records = daemon.cli(&daemon.token, &["audit", "list", "--run", "4711", "--output", "json"], None);
        let records = String::from_utf8(records.stdout).unwrap();
        assert!(records.matches("\"decrypt\"").count() >= 3 && records.contains("\"mintGrant\""), "{records}");
    });
}
