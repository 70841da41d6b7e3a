//! An export outlives its request, as a watch does: it has a place among its caller's calls, and ends with their proof.

use strongroom::pb::v1::{
    BatchDecryptRequest, CredentialRef, ExportAuditRequest, ExportAuditResponse, RevokeTokenRequest,
};
use tonic::{Code, Status, Streaming};

use crate::daemon::{Daemon, openai_key, runtime, setup};

const LIMITS: &str = "[limits]\nfailed_authentications = 0\ncaller_at_once = 2\n";

/// More records than what lies between a daemon and a client that does not read can hold.
async fn many_records(daemon: &Daemon) {
    daemon.credentials(&daemon.token).await.setup_credential(setup("acme", "", &openai_key("x"))).await.unwrap();
    let pipeline = daemon.issue("pipeline", "acme", &["openai"]).await;
    let mut client = daemon.credentials(&pipeline).await;
    let one = CredentialRef { provider: "openai".into(), ..CredentialRef::default() };
    for _ in 0..40 {
        let batch = BatchDecryptRequest { org: "acme".into(), credentials: vec![one.clone(); 100] };
        client.batch_decrypt(batch).await.unwrap();
    }
}

async fn export(daemon: &Daemon, token: &str) -> Result<Streaming<ExportAuditResponse>, Status> {
    daemon.admin(token).await.export_audit(ExportAuditRequest::default()).await.map(tonic::Response::into_inner)
}

async fn to_its_end(mut export: Streaming<ExportAuditResponse>) -> Result<usize, Status> {
    let mut lines = 0;
    while let Some(piece) = export.message().await? {
        lines += piece.lines.len();
    }
    Ok(lines)
}

#[test]
fn exports_that_nobody_reads_have_their_callers_places() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start_with(home.path(), LIMITS);
    runtime().block_on(async {
        many_records(&daemon).await;
        let operator = daemon.issue("operator", "*", &[]).await;
        let held = [export(&daemon, &operator).await.unwrap(), export(&daemon, &operator).await.unwrap()];
        let refused = export(&daemon, &operator).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
        let [first, second] = held;
        drop(first);
        assert!(to_its_end(second).await.unwrap() > 4_000);
        assert!(to_its_end(export(&daemon, &operator).await.unwrap()).await.unwrap() > 4_000);
    });
    assert!(daemon.stop().success());
}

#[test]
fn an_export_ends_with_the_proof_of_whoever_asked() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    runtime().block_on(async {
        many_records(&daemon).await;
        let operator = daemon.issue("operator", "*", &[]).await;
        let mut held = export(&daemon, &operator).await.unwrap();
        held.message().await.unwrap().unwrap();
        let mut admin = daemon.admin(&daemon.token).await;
        let tokens = admin.list_tokens(strongroom::pb::v1::ListTokensRequest::default()).await.unwrap().into_inner();
        let id = tokens.tokens.into_iter().find(|token| token.role == "operator").unwrap().id;
        admin.revoke_token(RevokeTokenRequest { id }).await.unwrap();
        let refused = to_its_end(held).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
    });
    assert!(daemon.stop().success());
}
