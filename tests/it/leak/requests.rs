//! A request for every rpc, and secrets in every field of it. Read from the protos: a new field is tried by itself, and
//! a new rpc fails the test until it has a request here.

use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, MethodDescriptor, Value,
};
use serde_json::{Map, Value as Json, json};

use super::canary::Canary;

const SECRET: &str = "strongroom.v1.Secret";

pub fn every_rpc() -> Vec<MethodDescriptor> {
    let pool = DescriptorPool::decode(strongroom::pb::DESCRIPTORS).unwrap();
    let rpcs: Vec<_> = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()).collect();
    assert!(rpcs.len() >= 18, "{rpcs:?}");
    rpcs
}

/// What an admin would be answered, if `key` were good and the credential were there.
pub fn good(rpc: &str, key: &str) -> Json {
    let named = |more: Json| {
        let mut request = json!({"org": "acme", "project": "p", "provider": "openai", "name": "base"});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request
    };
    match rpc {
        "SetupCredential" => named(json!({"fields": {"api_key": key}, "no_probe": true})),
        "ValidateCredential" => named(json!({"fields": {"api_key": key}})),
        "GetCredential" | "UndeleteCredential" | "DecryptCredential" | "ListVersions" => named(json!({})),
        // A stale etag, so that it stays for the others.
        "DeleteCredential" => named(json!({"etag": "0"})),
        "UpdateMetadata" => named(json!({"disabled": false})),
        "ActivateVersion" => named(json!({"version": 1})),
        "BatchDecrypt" => {
            json!({"org": "acme", "credentials": [{"project": "p", "provider": "openai", "name": "base"}]})
        }
        "ListCredentials" | "WatchCredentials" => json!({"org": "acme"}),
        "IssueToken" => json!({"name": "t", "role": "service", "org": "acme"}),
        "DeriveToken" => json!({"name": "t"}),
        "RevokeToken" | "RotateToken" | "RevokeGrant" | "ApproveRequest" | "RejectRequest" => {
            json!({"id": "00000000-0000-7000-8000-000000000000"})
        }
        "MintGrant" => json!({
            "org": "acme", "run": "r", "credentials": [{"project": "p", "provider": "openai", "name": "base"}]
        }),
        "EnrolSecondFactor" | "RemoveSecondFactor" | "ListSecondFactors" | "ListApprovals" => json!({}),
        "ConfirmSecondFactor" => json!({"code": "000000"}),
        "ExplainPolicy" => named(json!({"action": "decrypt", "caller": {"role": "pipeline", "org": "acme"}})),
        "ListTokens" | "ListGrants" | "ListAudit" | "VerifyAudit" | "ListProviders" => json!({}),
        "GetAuditKey" | "RotateAuditKey" | "ExportVault" => json!({}),
        "ListKeys" | "ListOrgDestructions" => json!({}),
        // Too long a delay, so that it stays for the others.
        "DestroyOrg" => json!({"org": "acme", "after": "9000000s"}),
        "RestoreOrg" => json!({"org": "acme"}),
        "Rewrap" | "Reseal" => json!({"dry_run": true}),
        "ExportAudit" => json!({"filter": {"org": "acme"}}),
        new => panic!("{new}: write down what a request of it looks like, so that this test sees it too"),
    }
}

/// Requests, each with a secret in one field.
pub fn misplaced(rpc: &MethodDescriptor, key: &str, canaries: &[Canary]) -> Vec<Json> {
    let mut all = Vec::new();
    for field in rpc.input().fields() {
        for value in values(&field, canaries) {
            let mut json = good(rpc.name(), key);
            let fields = json.as_object_mut().unwrap();
            if field.name() == "document" {
                fields.remove("fields");
            }
            fields.insert(field.name().to_owned(), value);
            all.push(json);
        }
    }
    all
}

/// What a field can hold that has a secret in it, with rules broken in between.
fn values(field: &FieldDescriptor, canaries: &[Canary]) -> Vec<Json> {
    let each = |make: &dyn Fn(&str) -> Json| -> Vec<Json> { canaries.iter().map(|it| make(&it.text)).collect() };
    let entry = |key: &str, value: Json| Json::Object(Map::from_iter([(key.to_owned(), value)]));
    match field.kind() {
        Kind::Message(of) if field.is_map() && is_secret(&of.map_entry_value_field().kind()) => [
            each(&|secret| entry(secret, json!("x"))),
            each(&|secret| entry("api_key", json!(format!("{secret} {secret}")))),
            each(&|secret| entry("api_key", json!(format!("sk-proj-{}{secret}", "x".repeat(4096))))),
            each(&|secret| json!({"api_key": secret, "other": secret})),
            each(&|secret| entry("api_key", json!(format!("[{{\"{secret}\": [\"{secret}\"]}}]")))),
        ]
        .concat(),
        Kind::Message(_) if field.is_map() => {
            // A short text that nobody recognises is a label like any other: there it ends.
            let known = canaries.iter().filter(|canary| canary.known).map(|canary| entry("k", json!(canary.text)));
            [
                each(&|secret| entry(secret, json!("x"))),
                each(&|secret| entry("k", json!(format!("{secret}\n")))),
                known.collect(),
            ]
            .concat()
        }
        Kind::Message(of) if of.full_name() == SECRET => [
            each(&|secret| json!(format!("{{\"{secret}\": \"{secret}\"}}"))),
            each(&|secret| json!(format!("{{\"api_key\": \"{secret}\", \"api_key\": \"{secret}\"}}"))),
            each(&|secret| json!(format!("{{\"api_key\": \"{secret}"))),
            each(&|secret| json!(format!("{}\"{secret}\"{}", "[".repeat(40), "]".repeat(40)))),
            each(&|secret| json!(format!("{secret}\u{0} {secret}"))),
        ]
        .concat(),
        Kind::Message(of) if of.full_name() == "google.protobuf.Struct" => [
            each(&|secret| entry(secret, json!("x"))),
            each(&|secret| entry("environment", json!(secret))),
            each(&|secret| json!({"tags": {secret: secret}})),
            each(&|secret| entry("rotation_days", json!([{"a": [secret]}]))),
        ]
        .concat(),
        Kind::Message(of) if of.full_name().starts_with("google.") => each(&|secret| json!(secret)),
        Kind::Message(of) => {
            let inner = of.fields().flat_map(|field| {
                let name = field.name().to_owned();
                values(&field, canaries).into_iter().map(move |value| (name.clone(), value)).collect::<Vec<_>>()
            });
            let whole = |(name, value): (String, Json)| match field.is_list() {
                true => json!([{ "provider": "openai", name: value }]),
                false => entry(&name, value),
            };
            inner.map(whole).collect()
        }
        Kind::String if field.is_list() => each(&|secret| json!([secret])),
        _ => each(&|secret| json!(secret)),
    }
}

fn is_secret(kind: &Kind) -> bool {
    kind.as_message().is_some_and(|message| message.full_name() == SECRET)
}

/// The request as protobuf. What has no place in it is left out.
pub fn encode(of: &MessageDescriptor, json: &Json) -> Vec<u8> {
    message(of, json).encode_to_vec()
}

fn message(of: &MessageDescriptor, json: &Json) -> DynamicMessage {
    let mut message = DynamicMessage::new(of.clone());
    match (of.full_name(), json) {
        (SECRET, Json::String(text)) => {
            message.set_field_by_name("value", Value::Bytes(text.clone().into_bytes().into()));
        }
        ("google.protobuf.Struct", json) => {
            let fields: pbjson_types::Struct = serde_json::from_value(json.clone()).unwrap();
            message = DynamicMessage::decode(of.clone(), fields.encode_to_vec().as_slice()).unwrap();
        }
        ("google.protobuf.Timestamp", json) => {
            if let Ok(time) = serde_json::from_value::<pbjson_types::Timestamp>(json.clone()) {
                message = DynamicMessage::decode(of.clone(), time.encode_to_vec().as_slice()).unwrap();
            }
        }
        ("google.protobuf.Duration", json) => {
            if let Ok(time) = serde_json::from_value::<pbjson_types::Duration>(json.clone()) {
                message = DynamicMessage::decode(of.clone(), time.encode_to_vec().as_slice()).unwrap();
            }
        }
        (_, Json::Object(fields)) => {
            for (name, json) in fields {
                let field = of.get_field_by_name(name).unwrap();
                if let Some(value) = whole(&field, json) {
                    message.set_field(&field, value);
                }
            }
        }
        _ => {}
    }
    message
}

fn whole(field: &FieldDescriptor, json: &Json) -> Option<Value> {
    match (field.kind(), json) {
        (Kind::Message(entry), Json::Object(members)) if field.is_map() => {
            let kind = entry.map_entry_value_field().kind();
            let pair = |(key, json): (&String, &Json)| Some((MapKey::String(key.clone()), single(&kind, json)?));
            Some(Value::Map(members.iter().filter_map(pair).collect()))
        }
        (kind, Json::Array(elements)) if field.is_list() => {
            Some(Value::List(elements.iter().filter_map(|json| single(&kind, json)).collect()))
        }
        (kind, json) => single(&kind, json),
    }
}

fn single(kind: &Kind, json: &Json) -> Option<Value> {
    match (kind, json) {
        (Kind::String, Json::String(text)) => Some(Value::String(text.clone())),
        (Kind::Bool, Json::Bool(value)) => Some(Value::Bool(*value)),
        (Kind::Uint32, Json::Number(number)) => Some(Value::U32(number.as_u64()? as u32)),
        (Kind::Message(of), json) => Some(Value::Message(message(of, json))),
        _ => None,
    }
}

/// The request line and the body for REST; none where the rpc has no path.
pub fn rest(rpc: &MethodDescriptor, json: &Json) -> Option<(String, String)> {
    let pool = rpc.parent_pool();
    let http = pool.get_extension_by_name("google.api.http").unwrap();
    let options = rpc.options();
    if !options.has_extension(&http) {
        return None;
    }
    let rule = options.get_extension(&http).as_message().unwrap().clone();
    let (method, mut path) = ["get", "put", "post", "delete"].into_iter().find_map(|method| {
        let path = rule.get_field_by_name(method)?.as_str()?.to_owned();
        (!path.is_empty()).then(|| (method.to_uppercase(), path))
    })?;
    let mut fields = json.as_object().unwrap().clone();
    fields.retain(|name, value| {
        let place = format!("{{{name}}}");
        let is_path = path.contains(&place);
        if is_path {
            path = path.replace(&place, &percent(&plain(value)));
        }
        !is_path
    });
    if matches!(method.as_str(), "POST" | "PUT") {
        return Some((format!("{method} {path}"), Json::Object(fields).to_string()));
    }
    let pairs = fields.iter().map(|(name, value)| match value {
        Json::Array(values) => {
            values.iter().map(|it| format!("{name}={}", percent(&plain(it)))).collect::<Vec<_>>().join("&")
        }
        value => format!("{name}={}", percent(&plain(value))),
    });
    let query: Vec<String> = pairs.collect();
    Some((format!("{method} {path}?{}", query.join("&")), String::new()))
}

fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn percent(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    text.bytes().map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
