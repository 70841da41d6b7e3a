//! The table: rpc, what is wrong with the request, and what is said to it.

use futures_util::future::join_all;
use strongroom::pb::v1::ListCredentialsRequest;

use super::*;
use crate::leak::requests::{encode, every_rpc, rest};

/// A good request, changed by `with`; `null` takes a field away.
struct Case {
    rpc: &'static str,
    with: Value,
    reason: &'static str,
    field: &'static str,
    words: &'static str,
}

const fn case(rpc: &'static str, with: Value, reason: &'static str, field: &'static str, words: &'static str) -> Case {
    Case { rpc, with, reason, field, words }
}

fn table() -> Vec<Case> {
    let invalid = |rpc, with, field, words| case(rpc, with, "INVALID", field, words);
    let upload = |key: &str| json!({"fields": {"api_key": key}});
    let long = "x".repeat(129);
    let deep = (0..12).fold(json!("x"), |inner, _| json!({ "a": inner }));
    vec![
        // Names.
        invalid("SetupCredential", json!({"org": "a/b"}), "org", "must be letters, digits"),
        invalid("SetupCredential", json!({"org": ".."}), "org", "must be letters, digits"),
        invalid("SetupCredential", json!({"project": long}), "project", "must not be longer than 128"),
        invalid("SetupCredential", json!({"name": "a b"}), "name", "must be letters, digits"),
        invalid("SetupCredential", json!({"name": "naïve"}), "name", "must be letters, digits"),
        invalid("SetupCredential", json!({"name": openai_key("name")}), "name", "must not be longer than 128"),
        invalid(
            "SetupCredential",
            json!({"name": "sk-ant-api03-0123456789012345"}),
            "name",
            "looks like an Anthropic key",
        ),
        invalid(
            "SetupCredential",
            json!({"org": "ghp_0123456789012345678901234567890123"}),
            "org",
            "looks like a GitHub token",
        ),
        invalid("GetCredential", json!({"org": "-"}), "org", "must be letters, digits"),
        invalid("DeleteCredential", json!({"project": "a..b"}), "project", "must be letters, digits"),
        invalid("ListVersions", json!({"name": "*"}), "name", "must be letters, digits"),
        // Providers.
        invalid("SetupCredential", json!({"provider": "openia"}), "provider", "did you mean openai?"),
        invalid("SetupCredential", json!({"provider": "zzzzzzzz"}), "provider", "is not in the registry"),
        invalid(
            "ValidateCredential",
            json!({"provider": "gcp"}),
            "provider",
            "did you mean gcp_service_account, gcp_vertex?",
        ),
        // Uploads.
        invalid("SetupCredential", json!({"fields": null}), "fields", "give the upload"),
        invalid("SetupCredential", json!({"fields": {}}), "fields", "give the upload"),
        invalid("SetupCredential", upload(""), "api_key", "is empty"),
        invalid("SetupCredential", upload("changeme"), "api_key", "is a placeholder"),
        invalid("SetupCredential", upload("xxx"), "api_key", "is a placeholder"),
        invalid("SetupCredential", upload("sk-xxxxxxxx"), "api_key", "is a placeholder"),
        invalid("SetupCredential", upload("<your key>"), "api_key", "is a placeholder"),
        invalid("SetupCredential", upload("sk-ant-api03-Zq8Rk2Vn5Wm1"), "api_key", "this looks like an Anthropic key"),
        invalid("SetupCredential", upload("sk-admin-Zq8Rk2Vn5Wm1Tx7Ly4Bc"), "api_key", "this is an admin key"),
        invalid(
            "SetupCredential",
            upload("sk-proj-too-short"),
            "api_key",
            "must be a project, service account or user key",
        ),
        invalid(
            "SetupCredential",
            upload(&format!("sk-proj-{}", "x".repeat(400))),
            "api_key",
            "is longer than 300 bytes",
        ),
        invalid("SetupCredential", upload("sk-proj-a b"), "api_key", "has a space inside"),
        invalid("SetupCredential", upload("sk-proj-ä"), "api_key", "not printable ASCII"),
        invalid("SetupCredential", json!({"fields": {"api_kye": "x"}}), "fields", "perhaps api_key was meant"),
        invalid(
            "SetupCredential",
            json!({"fields": {"api_key": openai_key("kept"), "secret": "y"}}),
            "fields",
            "holds one that openai does not have",
        ),
        invalid("SetupCredential", json!({"document": openai_key("kept")}), "api_key", "is given twice"),
        invalid(
            "SetupCredential",
            json!({"fields": null, "document": "{\"api_key\": \"a\", \"api_key\": \"b\"}"}),
            "document",
            "has a key twice",
        ),
        invalid(
            "SetupCredential",
            json!({"fields": null, "document": format!("{{\"a\": {}{}}}", "[".repeat(20), "]".repeat(20))}),
            "document",
            "nested more than 8 deep",
        ),
        invalid(
            "SetupCredential",
            json!({"fields": null, "document": "{\"api_key\": "}),
            "document",
            "is not valid JSON (line 1",
        ),
        invalid(
            "SetupCredential",
            json!({"fields": null, "document": "x".repeat(70_000)}),
            "document",
            "is longer than 65536 bytes",
        ),
        invalid(
            "SetupCredential",
            json!({"provider": "aws_keys", "fields": {"access_key_id": "AKIAZQ3DRSTUVWXY2345"}}),
            "secret_access_key",
            "is missing",
        ),
        // What stands beside.
        invalid(
            "SetupCredential",
            json!({"metadata": {"enviroment": "prod"}}),
            "metadata",
            "perhaps environment was meant",
        ),
        invalid(
            "SetupCredential",
            json!({"metadata": {"environment": "live"}}),
            "metadata.environment",
            "must be one of dev, staging, prod, other",
        ),
        invalid(
            "SetupCredential",
            json!({"metadata": {"notes": "sk-ant-api03-Zq8Rk2Vn5Wm1"}}),
            "metadata.notes",
            "looks like an Anthropic key",
        ),
        invalid("SetupCredential", json!({"metadata": {"notes": deep}}), "metadata", "is nested more than 8 deep"),
        invalid(
            "SetupCredential",
            json!({"metadata": {"notes": "x".repeat(20_000)}}),
            "metadata",
            "is longer than 16384 bytes",
        ),
        invalid("SetupCredential", json!({"labels": {"a b": "c"}}), "labels", "must be letters, digits"),
        invalid("SetupCredential", json!({"labels": {"a": "b\nc"}}), "labels", "none of them a control character"),
        invalid("SetupCredential", json!({"labels": {"a": "x".repeat(300)}}), "labels", "at most 256 characters"),
        invalid(
            "SetupCredential",
            json!({"labels": {"a": "sk-ant-api03-Zq8Rk2Vn5Wm1"}}),
            "labels",
            "looks like an Anthropic key",
        ),
        invalid(
            "SetupCredential",
            json!({"expires_at": "2001-01-01T00:00:00Z"}),
            "expires_at",
            "must be in the future",
        ),
        invalid("UpdateMetadata", json!({"disabled": null}), "metadata", "there is nothing to change"),
        invalid(
            "UpdateMetadata",
            json!({"metadata": {"owner": "nobody"}}),
            "metadata.owner",
            "must be in the format email",
        ),
        invalid("UpdateMetadata", json!({"labels": {"labels": {"": "x"}}}), "labels", "must not be empty"),
        // Versions, delays, pages, tokens, filters.
        invalid("ActivateVersion", json!({"version": 0}), "version", "must be 1 or more"),
        invalid("ActivateVersion", json!({"version": 9}), "version", "must be 1 to 1"),
        invalid(
            "DeleteCredential",
            json!({"destroy_after": "99999999s", "etag": null}),
            "destroy_after",
            "not be more than 90 days",
        ),
        invalid(
            "DeleteCredential",
            json!({"destroy_after": "-1s", "etag": null}),
            "destroy_after",
            "must not be negative",
        ),
        invalid("ListCredentials", json!({"page_token": "made-up"}), "page_token", "must be the next_page_token"),
        invalid("ListCredentials", json!({"state": "lost"}), "state", "must be"),
        invalid("ListCredentials", json!({"health": "poor"}), "health", "must be"),
        invalid("ListCredentials", json!({"labels": ["=x"]}), "labels", "must not be empty"),
        invalid("ListAudit", json!({"page_token": "made-up"}), "page_token", "must be"),
        invalid("ListAudit", json!({"credential_id": "made-up"}), "credential_id", "must be"),
        invalid("ListAudit", json!({"org": "a b"}), "org", "must be letters, digits"),
        invalid("ListAudit", json!({"grant": "made-up"}), "grant", "must be"),
        invalid("ListTokens", json!({"org": "a b"}), "org", "must be letters, digits"),
        invalid("BatchDecrypt", json!({"credentials": []}), "credentials", "must be 1 to 100"),
        invalid(
            "BatchDecrypt",
            json!({"credentials": vec![json!({"provider": "openai"}); 101]}),
            "credentials",
            "must be 1 to 100",
        ),
        invalid("IssueToken", json!({"role": "king"}), "role", "must be"),
        invalid("IssueToken", json!({"name": ""}), "name", "must not be empty"),
        invalid("IssueToken", json!({"ttl": "0s"}), "ttl", "must"),
        invalid("IssueToken", json!({"ttl": "99999999s"}), "ttl", "must"),
        invalid("IssueToken", json!({"role": "pipeline"}), "providers", "must"),
        invalid("IssueToken", json!({"org": "*"}), "org", "must"),
        invalid("IssueToken", json!({"actions": ["publish"]}), "actions", "must be among"),
        invalid("DeriveToken", json!({"name": "a b"}), "name", "must be letters, digits"),
        invalid("DeriveToken", json!({"ttl": "86401s"}), "ttl", "must"),
        invalid("DeriveToken", json!({"actions": ["publish"]}), "actions", "must be among"),
        invalid("RotateToken", json!({"id": "made-up"}), "id", "must be a token's id"),
        invalid("RotateToken", json!({"id": "self", "overlap": "604801s"}), "overlap", "must be at most"),
        invalid("MintGrant", json!({"credentials": []}), "credentials", "must be 1 to 32"),
        invalid("MintGrant", json!({"run": ""}), "run", "must be 1 to 128"),
        invalid("MintGrant", json!({"run": "a b"}), "run", "must be 1 to 128"),
        invalid("MintGrant", json!({"phase": "pl\tan"}), "phase", "must be 1 to 128"),
        invalid("MintGrant", json!({"holder": "ä"}), "holder", "must be a caller's id"),
        invalid("MintGrant", json!({"holder": "https://user:pass@acme.example"}), "holder", "must be a caller's id"),
        invalid("MintGrant", json!({"holder": "ci:ä"}), "holder", "must be 1 to 512"),
        invalid("MintGrant", json!({"uses": 1_001}), "uses", "must be at most 1000"),
        invalid("MintGrant", json!({"ttl": "86401s"}), "ttl", "must"),
        invalid("ListGrants", json!({"page_token": "made-up"}), "page_token", "must be the next_page_token"),
        invalid("ListGrants", json!({"org": "a b"}), "org", "must be letters, digits"),
        invalid("RevokeGrant", json!({"id": "made-up"}), "id", "must be a grant's id"),
        invalid("RevokeToken", json!({"id": "made-up"}), "id", "must be a token's id"),
        // Not wrong in itself.
        case("SetupCredential", json!({}), "CONFLICT", "", "this secret is version 1"),
        case("SetupCredential", json!({"etag": "999"}), "CONFLICT", "", "has changed meanwhile"),
        case("UpdateMetadata", json!({"etag": "999"}), "CONFLICT", "", "has changed meanwhile"),
        case("ActivateVersion", json!({}), "CONFLICT", "", "is the one that is served already"),
        case("DeleteCredential", json!({}), "CONFLICT", "", "has changed meanwhile"),
        case("GetCredential", json!({"org": "nobody"}), "NOT_FOUND", "", "no such credential"),
        case("GetCredential", json!({"provider": "cloudflare"}), "NOT_FOUND", "", "no such credential"),
        case("DecryptCredential", json!({"name": "nobody"}), "NOT_FOUND", "", "no such credential"),
        case("UndeleteCredential", json!({}), "NOT_FOUND", "", "no such credential"),
        case("MintGrant", json!({"org": "nobody"}), "NOT_FOUND", "", "no such credential"),
        case("RevokeGrant", json!({}), "NOT_FOUND", "", "no such grant"),
        case("RotateToken", json!({}), "NOT_FOUND", "", "no such token"),
        case("RevokeToken", json!({}), "NOT_FOUND", "", "no such token"),
    ]
}

fn request(case: &Case, key: &str) -> Value {
    let mut request = crate::leak::requests::good(case.rpc, key);
    let fields = request.as_object_mut().unwrap();
    for (name, value) in case.with.as_object().unwrap() {
        match value {
            Value::Null => fields.remove(name),
            value => fields.insert(name.clone(), value.clone()),
        };
    }
    request
}

/// The texts that a client sent, where they are long enough to be told from words.
fn sent(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::String(text) if text.len() > 6 => into.push(text.clone()),
        Value::Array(values) => values.iter().for_each(|value| sent(value, into)),
        Value::Object(members) => members.values().for_each(|value| sent(value, into)),
        _ => {}
    }
}

#[test]
fn every_refusal_names_field_and_rule_and_leaves_a_record_alone() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    let rpcs = every_rpc();
    runtime().block_on(async {
        let key = openai_key("kept");
        let mut kept = setup("acme", "base", &key);
        kept.project = "p".into();
        daemon.credentials(&daemon.token).await.setup_credential(kept).await.unwrap();
        let admin = record_of_setup(&daemon).await;
        let channel = daemon.channel().await;
        let before = rows(&daemon);
        let mut wrong = Vec::new();
        for case in table() {
            let rpc = rpcs.iter().find(|rpc| rpc.name() == case.rpc).unwrap();
            let json = request(&case, &key);
            let path = format!("/{}/{}", rpc.parent_service().full_name(), rpc.name());
            let status = raw(&channel, &path, &daemon.token, encode(&rpc.input(), &json)).await.unwrap_err();
            let (line, body) = rest(rpc, &json).unwrap();
            let (method, path) = line.split_once(' ').unwrap();
            let body = (!body.is_empty()).then_some(body);
            let reply = daemon.http(method, path, &daemon.token, body.as_deref());
            let mut texts = Vec::new();
            sent(&case.with, &mut texts);
            for (way, refusal) in [("gRPC", Refusal::of_grpc(&status)), ("REST", Refusal::of_rest(&reply))] {
                let Some(record) = record(&daemon, &refusal.request_id).await else {
                    wrong.push(format!("no record: {way} {} {:.100}: {refusal:?}", case.rpc, case.with.to_string()));
                    continue;
                };
                let repeats = |said: &str| texts.iter().any(|text| said.contains(text) && !is_name(text));
                let flaws = [
                    ("reason", refusal.reason != case.reason),
                    ("field", refusal.field != case.field),
                    ("words", !refusal.words.contains(case.words)),
                    ("the value is repeated", repeats(&refusal.words)),
                    ("the value is on record", repeats(&record.canonical)),
                    ("outcome", record.outcome != case.reason),
                    ("who tried", record.caller != admin.caller),
                ];
                let flaws = flaws.iter().filter(|(_, is_flaw)| *is_flaw);
                wrong.extend(flaws.map(|(flaw, _)| {
                    format!(
                        "{flaw}: {way} {} {:.100}: {refusal:?} {}",
                        case.rpc,
                        case.with.to_string(),
                        record.canonical
                    )
                }));
            }
            assert_eq!(before, rows(&daemon), "{} {}", case.rpc, case.with);
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    });
    assert!(daemon.stop().success());
}

/// A name that keeps the rules is on record as what it is, and a role's name is a word of the rule.
fn is_name(text: &str) -> bool {
    ["aws_keys", "cloudflare", "pipeline", "zzzzzzzz"].contains(&text)
}

async fn record_of_setup(daemon: &Daemon) -> AuditRecord {
    let query = ListAuditRequest { action: "setup".into(), ..Default::default() };
    daemon.admin(&daemon.token).await.list_audit(query).await.unwrap().into_inner().records.remove(0)
}

/// What JSON can say and protobuf cannot, and the other way round.
#[test]
fn what_is_no_message_is_refused_and_recorded() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    let deep = format!(r#"{{"metadata": {}1{}}}"#, r#"{"a":"#.repeat(40), "}".repeat(40));
    let long = format!(r#"{{"name": "{}"}}"#, "x".repeat(2 << 20));
    let bodies = [
        ("{", "body", "must be JSON", "INVALID"),
        ("[]", "body", "must be an object", "INVALID"),
        (r#"{"org": "other"}"#, "org", "differs from the path", "INVALID"),
        (r#"{"colour": 1}"#, "colour", "is unknown", "INVALID"),
        (r#"{"no_probe": "yes"}"#, "no_probe", "must be true or false", "INVALID"),
        (r#"{"name": "a", "name": "b"}"#, "name", "is given twice", "INVALID"),
        (r#"{"fields": {"api_key": "a", "api_key": "b"}}"#, "fields.api_key", "is given twice", "INVALID"),
        (r#"{"fields": {"api_key": 17}}"#, "fields.api_key", "must be a string", "INVALID"),
        (r#"{"document": {"a": 1, "a": 2}}"#, "document", "gives a key twice", "INVALID"),
        (r#"{"expires_at": "tomorrow"}"#, "expires_at", "must be a time", "INVALID"),
        (deep.as_str(), "body", "may be nested 32 deep", "INVALID"),
        (long.as_str(), "", "may be 1048576 bytes long", "TOO_LARGE"),
    ];
    let before = rows(&daemon);
    runtime().block_on(async {
        for (body, field, words, reason) in bodies {
            let reply = daemon.http("POST", "/integrations/acme/openai/setup", &daemon.token, Some(body));
            let refusal = Refusal::of_rest(&reply);
            assert_eq!((refusal.reason.as_str(), refusal.field.as_str()), (reason, field), "{body:.80}: {refusal:?}");
            assert!(refusal.words.contains(words), "{body:.80}: {refusal:?}");
            let record = record(&daemon, &refusal.request_id).await.unwrap();
            assert_eq!((record.action.as_str(), record.outcome.as_str()), ("setup", "INVALID"), "{body:.80}");
            assert_ne!(record.caller, "anonymous");
        }
        let channel = daemon.channel().await;
        let path = "/strongroom.v1.CredentialService/SetupCredential";
        // Text that is not UTF-8 where protobuf wants text, and where a provider does.
        let long = vec![0; 2 << 20];
        for (message, reason, field) in [
            (vec![0x0a, 0x02, 0xff, 0xfe], "INVALID", "message"),
            (vec![0x0a, 0x7f], "INVALID", "message"),
            (long, "TOO_LARGE", ""),
        ] {
            let refusal = Refusal::of_grpc(&raw(&channel, path, &daemon.token, message.clone()).await.unwrap_err());
            assert_eq!((refusal.reason.as_str(), refusal.field.as_str()), (reason, field), "{refusal:?}");
            let known = record(&daemon, &refusal.request_id).await.unwrap();
            assert_eq!((known.action.as_str(), known.outcome.as_str()), ("setup", "INVALID"));
            assert_ne!(known.caller, "anonymous");
            let refusal = Refusal::of_grpc(&raw(&channel, path, "srt_wrong", message).await.unwrap_err());
            assert_eq!(refusal.reason, "UNAUTHENTICATED", "a stranger is told nothing about the message");
            assert_eq!(record(&daemon, &refusal.request_id).await.unwrap().caller, "anonymous");
        }
        let mut bytes = setup("acme", "", "");
        bytes.fields = [("api_key".to_owned(), Secret::from(b"sk-proj-\xff\xfe".to_vec()))].into();
        let refused = daemon.credentials(&daemon.token).await.setup_credential(bytes).await.unwrap_err();
        let refusal = Refusal::of_grpc(&refused);
        assert_eq!(
            (refusal.field.as_str(), refusal.words.contains("is not UTF-8 text")),
            ("api_key", true),
            "{refusal:?}"
        );
        let nameless = SetupCredentialRequest::default();
        let refused = daemon.credentials(&daemon.token).await.setup_credential(nameless).await.unwrap_err();
        assert_eq!(Refusal::of_grpc(&refused).field, "fields");
    });
    assert_eq!(before, rows(&daemon));
}

/// More than the cap is the cap.
#[test]
fn a_page_is_never_longer_than_its_cap() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    runtime().block_on(async {
        let mut admin = daemon.admin(&daemon.token).await;
        let client = daemon.credentials(&daemon.token).await;
        let lists = (0..1010).map(|_| {
            let mut client = client.clone();
            let request = ListCredentialsRequest { org: "acme".into(), page_size: u32::MAX, ..Default::default() };
            async move { client.list_credentials(request).await.unwrap() }
        });
        join_all(lists).await;
        let all = ListAuditRequest { page_size: u32::MAX, ..Default::default() };
        let page = admin.list_audit(all).await.unwrap().into_inner();
        assert_eq!(page.records.len(), 1000);
        assert!(!page.next_page_token.is_empty());
    });
}

async fn raw(channel: &tonic::transport::Channel, path: &str, token: &str, message: Vec<u8>) -> Result<(), Status> {
    crate::leak::wire::call(channel, path, &[("authorization", format!("Bearer {token}"))], message).await.map(drop)
}
