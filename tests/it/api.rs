//! The transports over real sockets: what a stranger sends, what a client reads, what stays on record.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use strongroom::pb::v1::{ListAuditRequest, SetupCredentialRequest, WatchCredentialsRequest};
use tokio::net::TcpStream;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

use crate::daemon::{Daemon, decrypt, openai_key, runtime, setup};

const CANARY: &str = "sk-proj-canary8461";

fn problem(reply: &(u16, String)) -> (u16, Value) {
    (reply.0, serde_json::from_str(&reply.1).unwrap_or_else(|_| panic!("no JSON: {}", reply.1)))
}

async fn records(daemon: &Daemon, action: &str, outcome: &str) -> Vec<strongroom::pb::v1::AuditRecord> {
    let query = ListAuditRequest { action: action.into(), outcome: outcome.into(), ..ListAuditRequest::default() };
    daemon.admin(&daemon.token).await.list_audit(query).await.unwrap().into_inner().records
}

/// Each is refused by status, reason and field; nothing is stored; the record says who tried; no secret is repeated.
#[test]
fn malformed_requests_are_refused_and_recorded() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    let deep = format!(r#"{{"metadata": {}"{CANARY}"{}}}"#, r#"{"a":"#.repeat(100), "}".repeat(100));
    let bodies = [
        (format!(r#"{{"fields": {{"api_key": ["{CANARY}"]}}, "fields": {{}}}}"#), "fields"),
        (format!(r#"{{"fields": {{"api_key": "{CANARY}", "api_key": ""}}}}"#), "fields.api_key"),
        (format!(r#"{{"{CANARY}": 1}}"#), "?"),
        (format!(r#"{{"no_probe": "{CANARY}"}}"#), "no_probe"),
        (format!(r#"{{"expires_at": "{CANARY}"}}"#), "expires_at"),
        (format!(r#"{{"org": "{CANARY}"}}"#), "org"),
        (format!(r#"{{"fields": {{"api_key": "{CANARY}"}}, "document": "{CANARY}"}}"#), "api_key"),
        (format!("{{\"name\": \"{CANARY}"), "body"),
        (deep, "body"),
    ];
    for (body, field) in &bodies {
        let reply = daemon.http("POST", "/integrations/acme/openai/setup", &daemon.token, Some(body));
        let (status, problem) = problem(&reply);
        assert_eq!((status, &problem["reason"], &problem["field"]), (400, &json!("INVALID"), &json!(field)), "{body}");
        assert!(!reply.1.contains("canary"), "{}", reply.1);
    }
    runtime().block_on(async {
        let refused = records(&daemon, "setup", "INVALID").await;
        assert_eq!(refused.len(), bodies.len());
        assert!(refused.iter().all(|record| !record.caller.is_empty() && record.caller != "anonymous"));
    });
    let (_, list) = daemon.http("GET", "/integrations/acme", &daemon.token, None);
    assert_eq!(list, "{}", "nothing is stored");
    assert!(!daemon.log().contains("canary"));
}

#[test]
fn strangers_and_lost_travellers_read_problems() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    for (method, path, token, body, status, reason) in [
        ("GET", "/integrations/acme", "", None, 401, "UNAUTHENTICATED"),
        ("POST", "/integrations/acme/openai/setup", "srt_wrong", Some("not even JSON"), 401, "UNAUTHENTICATED"),
        ("GET", "/nowhere", daemon.token.as_str(), None, 404, "NO_ROUTE"),
        ("PATCH", "/integrations/acme", daemon.token.as_str(), None, 405, "NO_METHOD"),
        ("GET", "/integrations/acme?state=sk-canary", daemon.token.as_str(), None, 400, "INVALID"),
        ("GET", "/integrations/acme?page_size=-1", daemon.token.as_str(), None, 400, "INVALID"),
        ("GET", "/integrations/%FF", daemon.token.as_str(), None, 400, "INVALID"),
        ("DELETE", "/integrations/acme/openai", daemon.token.as_str(), Some("{}"), 400, "INVALID"),
        ("POST", "/integrations/acme/openai/versions/0/activate", daemon.token.as_str(), None, 400, "INVALID"),
    ] {
        let reply = daemon.http(method, path, token, body);
        let (told, problem) = problem(&reply);
        assert_eq!((told, &problem["reason"]), (status, &json!(reason)), "{method} {path}: {problem}");
        assert!(problem["request_id"].as_str().is_some_and(|id| !id.is_empty()), "{problem}");
        assert!(!reply.1.contains("canary"), "{problem}");
    }
    runtime().block_on(async { assert_eq!(records(&daemon, "authenticate", "UNAUTHENTICATED").await.len(), 2) });
}

#[test]
fn grpc_errors_carry_their_details() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    runtime().block_on(async {
        let mut client = daemon.credentials(&daemon.token).await;
        let nothing =
            client.setup_credential(SetupCredentialRequest { org: "acme".into(), ..Default::default() }).await;
        let status = nothing.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        let info = status.get_details_error_info().unwrap();
        assert_eq!((info.domain.as_str(), info.reason.as_str()), ("strongroom", "INVALID"));
        assert_eq!(info.metadata["field"], "fields");
        assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, "fields");

        // The id is in the reply, in the details and on record.
        let id = status.metadata().get("x-request-id").unwrap().to_str().unwrap();
        assert_eq!(info.metadata["request_id"], id);
        assert_eq!(records(&daemon, "setup", "INVALID").await[0].request_id, id);

        let long = setup("acme", "", &"x".repeat(64 << 20));
        // The server says so after the first bytes; a client still sending may see its stream end before it reads that.
        client.setup_credential(long).await.unwrap_err();
        // On a connection of its own: the other may still be on its way down.
        let mut client = daemon.credentials(&daemon.token).await;
        client.setup_credential(setup("acme", "", &openai_key("short"))).await.unwrap();
    });
}

#[test]
fn a_clients_own_request_id_is_kept() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    runtime().block_on(async {
        let mut client = daemon.credentials(&daemon.token).await;
        client.setup_credential(setup("acme", "", &openai_key("id"))).await.unwrap();
        let mut request = Request::new(decrypt("acme", ""));
        request.metadata_mut().insert("x-request-id", "run-7.step_2".parse().unwrap());
        let reply = client.decrypt_credential(request).await.unwrap();
        assert_eq!(reply.metadata().get("x-request-id").unwrap(), "run-7.step_2");
        assert_eq!(records(&daemon, "decrypt", "ok").await[0].request_id, "run-7.step_2");
    });
}

/// A watch would be open forever: a stop ends it, and does not wait for it.
#[test]
fn a_stop_ends_watches_and_says_not_serving_before() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    let runtime = runtime();
    let mut changes = runtime.block_on(async {
        let mut health = HealthClient::new(daemon.channel().await);
        let asked = HealthCheckRequest { service: "strongroom.v1.CredentialService".into() };
        assert_eq!(health.check(asked).await.unwrap().into_inner().status, 1, "serving");
        let mut client = daemon.credentials(&daemon.token).await;
        let watch = WatchCredentialsRequest { org: "acme".into(), after: Some(0), ..Default::default() };
        let mut changes = client.watch_credentials(watch).await.unwrap().into_inner();
        client.setup_credential(setup("acme", "", &openai_key("watched"))).await.unwrap();
        let change = changes.message().await.unwrap().unwrap();
        assert_eq!(change.credential.unwrap().provider, "openai");
        changes
    });
    let begun = std::time::Instant::now();
    assert!(daemon.stop().success());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    runtime.block_on(async { while let Ok(Some(_)) = changes.message().await {} });
}

/// A request over HTTP/2 whose body never ends, and its answer's gRPC code and reason.
async fn endless(daemon: &Daemon, rpc: &str, token: &str) -> (Code, String) {
    let address = daemon.addr.strip_prefix("http://").unwrap();
    let stream = TokioIo::new(TcpStream::connect(address).await.unwrap());
    let (mut client, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let body = Body::from_stream(futures_util::stream::pending::<Result<Bytes, Infallible>>());
    let mut request = http::Request::post(format!("{}/strongroom.v1.{rpc}", daemon.addr))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let answer = client.send_request(request.body(body).unwrap());
    let answer = tokio::time::timeout(Duration::from_secs(20), answer).await.expect("answers").unwrap();
    connection.abort();
    let status = Status::from_header_map(answer.headers()).expect("trailers only");
    let info = status.get_details_error_info().unwrap();
    assert_eq!(info.metadata["request_id"], answer.headers()["x-request-id"].to_str().unwrap());
    (status.code(), info.reason)
}

/// The deadline is longer than the test waits: only the headers can have been read.
#[test]
fn a_stranger_is_refused_before_the_message_is_in() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start_with(home.path(), "[limits]\ndeadline = \"60s\"\n");
    runtime().block_on(async {
        for rpc in ["CredentialService/SetupCredential", "CredentialService/WatchCredentials", "AdminService/ListAudit"]
        {
            let refused = endless(&daemon, rpc, "").await;
            assert_eq!(refused, (Code::Unauthenticated, "UNAUTHENTICATED".into()), "{rpc}");
        }
        assert_eq!(records(&daemon, "authenticate", "UNAUTHENTICATED").await.len(), 3, "each once");
    });
}

#[test]
fn a_message_that_never_ends_meets_the_deadline_and_a_watch_does_not() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start_with(home.path(), "[limits]\ndeadline = \"1s\"\n");
    runtime().block_on(async {
        let mut client = daemon.credentials(&daemon.token).await;
        let watch = WatchCredentialsRequest { org: "acme".into(), after: Some(0), ..Default::default() };
        let mut changes = client.watch_credentials(watch).await.unwrap().into_inner();
        for rpc in ["CredentialService/DecryptCredential", "CredentialService/WatchCredentials"] {
            let late = endless(&daemon, rpc, &daemon.token).await;
            assert_eq!(late, (Code::DeadlineExceeded, "DEADLINE".into()), "{rpc}");
        }
        client.setup_credential(setup("acme", "", &openai_key("later"))).await.unwrap();
        assert!(changes.message().await.unwrap().is_some(), "opened more than a deadline ago");
    });
}
