use super::*;
use crate::api::rpc::Rpcs;
use crate::pb::v1 as pb;

const CANARY: &str = "sk-proj-canary8461";

fn assemble<T: DeserializeOwned>(rpc: &str, parts: Parts<'_>) -> Result<T, Invalid> {
    Assembled::new(&Rpcs::read().unwrap().get(rpc).unwrap().request, parts)?.decode()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn setup(body: &str) -> Result<pb::SetupCredentialRequest, Invalid> {
    let path = pairs(&[("org", "acme"), ("provider", "openai")]);
    assemble("SetupCredential", Parts { path: &path, body: body.as_bytes(), ..Parts::default() })
}

#[test]
fn path_query_and_body_become_one_request() {
    let path = pairs(&[("org", "acme"), ("provider", "gcp_service_account")]);
    let query = pairs(&[("project", "p"), ("noProbe", "true"), ("expires_at", "2030-01-31T00:00:00Z")]);
    let body = br#"{ "document": { "z": 1,  "a": "\u00e9" }, "metadata": {"n": [1, null]}, "labels": {"team": "x"}, "name": null,
        "provider": "gcp_service_account", "org": "" }"#;
    let request: pb::SetupCredentialRequest =
        assemble("SetupCredential", Parts { path: &path, query: &query, body }).unwrap();
    assert_eq!((request.org.as_str(), request.project.as_str(), request.name.as_str()), ("acme", "p", ""));
    assert_eq!(request.document.unwrap().expose(), br#"{ "z": 1,  "a": "\u00e9" }"#, "the text as it was uploaded");
    assert!(request.no_probe);
    assert_eq!(request.expires_at.unwrap().seconds, 1_896_048_000);
    assert_eq!(request.labels["team"], "x");
    assert!(request.metadata.unwrap().fields.contains_key("n"));
}

#[test]
fn a_list_takes_everything_from_the_query() {
    let path = pairs(&[("org", "__platform__")]);
    let query = pairs(&[("labels", "a=b"), ("labels", "c"), ("page_size", "20"), ("state", "active")]);
    let request: pb::ListCredentialsRequest =
        assemble("ListCredentials", Parts { path: &path, query: &query, body: b"" }).unwrap();
    assert_eq!(request.labels, ["a=b", "c"]);
    assert_eq!((request.page_size, request.state.as_str()), (20, "active"));
}

#[test]
fn numbers_and_absence_are_proto_json() {
    let path = pairs(&[("org", "o"), ("provider", "p"), ("version", "3")]);
    let request: pb::ActivateVersionRequest =
        assemble("ActivateVersion", Parts { path: &path, body: br#"{"version": 3}"#, ..Parts::default() }).unwrap();
    assert_eq!(request.version, 3);
    let path = pairs(&[("org", "o"), ("provider", "p")]);
    let update = |body: &'static [u8]| -> pb::UpdateMetadataRequest {
        assemble("UpdateMetadata", Parts { path: &path, body, ..Parts::default() }).unwrap()
    };
    assert_eq!(update(b"{}").disabled, None);
    assert_eq!(update(br#"{"disabled": false}"#).disabled, Some(false));
    assert_eq!(update(br#"{"labels": {"labels": {}}}"#).labels, Some(pb::Labels::default()));
}

/// Each body is refused with this field and this rule, and without the secret that is in it.
#[test]
fn hostile_bodies_are_refused_by_field_and_rule() {
    let deep = format!(r#"{{"metadata": {}"{CANARY}"{}}}"#, r#"{"a":"#.repeat(40), "}".repeat(40));
    let cases = [
        (r#""CANARY""#, "body: must be an object"),
        (r#"["CANARY"]"#, "body: must be an object"),
        (r#"{"fields": {"api_key": "CANARY"}"#, "body: must be JSON; it is not at line 1"),
        (r#"{"CANARY": 1}"#, "?: is unknown; known are: org, project"),
        (r#"{"sekret": "CANARY"}"#, "sekret: is unknown"),
        (r#"{"fields": "CANARY"}"#, "fields: must be an object"),
        (r#"{"fields": ["CANARY"]}"#, "fields: must be an object"),
        (r#"{"fields": {"api_key": 846100}}"#, "fields.api_key: must be a string or a JSON document"),
        (r#"{"fields": {"api_key": null, "x": "CANARY"}}"#, "fields.api_key: must be a string or a JSON document"),
        (r#"{"fields": {"CANARY": true}}"#, "fields.?: must be a string or a JSON document"),
        (r#"{"fields": {"api_key": "CANARY\ud800"}}"#, "fields.api_key: must be a string or a JSON document"),
        (r#"{"fields": {"api_key": "CANARY", "api_key": "x"}}"#, "fields.api_key: is given twice"),
        (r#"{"fields": {"api_key": "CANARY", "api\u005fkey": "x"}}"#, "fields.api_key: is given twice"),
        (r#"{"no_probe": true, "noProbe": "CANARY"}"#, "no_probe: is given twice"),
        (r#"{"etag": null, "etag": "CANARY"}"#, "etag: is given twice"),
        (r#"{"document": {"a": "CANARY", "a": ""}}"#, "document: gives a key twice"),
        (r#"{"document": {"a": {"CANARY": 1e999}}}"#, "document: gives a key twice, or holds a number"),
        (r#"{"document": false, "name": "CANARY"}"#, "document: must be a string or a JSON document"),
        (r#"{"no_probe": "CANARY"}"#, "no_probe: must be true or false"),
        (r#"{"metadata": "CANARY"}"#, "metadata: must be an object"),
        (r#"{"metadata": {"CANARY": 1, "CANARY": 2}}"#, "metadata: gives a key twice"),
        (r#"{"labels": {"a": {"b": "CANARY"}}}"#, "labels.a: must be a string"),
        (r#"{"expires_at": "CANARY"}"#, "expires_at: must be a time"),
        (r#"{"expires_at": "2030-13-31T00:00:00Z", "name": "CANARY"}"#, "expires_at: must be a time"),
        (r#"{"name": {"a": "CANARY"}}"#, "name: must be a string"),
        (r#"{"org": "CANARY"}"#, "org: differs from the path"),
        (deep.as_str(), "body: may be nested 32 deep"),
    ];
    for (body, expected) in cases {
        let body = body.replace("CANARY", CANARY);
        let error = setup(&body).map(drop).unwrap_err();
        let message = error.to_string();
        assert!(message.starts_with(expected), "{body}: {message}");
        assert!(!format!("{error:?}").contains("canary"), "{body}: {error:?}");
    }
}

#[test]
fn hostile_durations_are_refused() {
    let path = pairs(&[("org", "o"), ("provider", "p")]);
    let delete = |text: &str| {
        let query = pairs(&[("destroy_after", text)]);
        assemble::<pb::DeleteCredentialRequest>("DeleteCredential", Parts { path: &path, query: &query, body: b"" })
    };
    assert_eq!(delete("90.5s").unwrap().destroy_after.unwrap().seconds, 90);
    for hostile in
        ["", "s", "1", "1h", "--9223372036854775808s", "-9223372036854775808s", "1.0000000001s", "+1s", CANARY]
    {
        let error = delete(hostile).unwrap_err().to_string();
        assert_eq!(error, "destroy_after: must be a duration in seconds, such as 3600s", "{hostile}");
    }
}

#[test]
fn hostile_queries_are_refused() {
    let path = pairs(&[("org", "acme"), ("provider", "openai")]);
    for (query, body, expected) in [
        (&[("fields", CANARY)][..], "", "fields: may be in the body only"),
        (&[("document", CANARY)], "", "document: may be in the body only"),
        (&[("metadata", "{}")], "", "metadata: may be in the body only"),
        (&[(CANARY, "1")], "", "?: is unknown"),
        (&[("name", "a"), ("name", "b")], "", "name: is given twice"),
        (&[("no_probe", "true"), ("noProbe", "true")], "", "no_probe: is given twice"),
        (&[("name", "a")], r#"{"name": "b"}"#, "name: is given twice"),
        (&[("org", "other")], "", "org: differs from the path"),
        (&[("no_probe", "1")], "", "no_probe: must be true or false"),
        (&[("no_probe", "{\"")], "", "no_probe: must be true or false"),
        (&[("name", "\u{fffd}")], "", "name: must be UTF-8"),
    ] {
        let query = pairs(query);
        let parts = Parts { path: &path, query: &query, body: body.as_bytes() };
        let error = assemble::<pb::SetupCredentialRequest>("SetupCredential", parts).map(drop).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{query:?}: {error}");
        assert!(!error.contains("canary"), "{error}");
    }
}

#[test]
fn hostile_versions_are_refused() {
    for version in ["", "-1", "+1", "1.0", "1e3", "4294967296", " 1", "x", "99999999999999999999999"] {
        let path = pairs(&[("org", "o"), ("provider", "p"), ("version", version)]);
        let error =
            assemble::<pb::ActivateVersionRequest>("ActivateVersion", Parts { path: &path, ..Parts::default() })
                .map(drop)
                .unwrap_err()
                .to_string();
        assert_eq!(error, "version: must be a whole number", "{version}");
    }
}

/// Whatever REST offers must be expressible in JSON.
#[test]
fn every_field_of_every_request_has_a_json_form() {
    fn walk(message: &MessageDescriptor) {
        for field in message.fields() {
            match field.kind() {
                Kind::Message(inner) if inner.full_name().starts_with("strongroom.") => walk(&inner),
                Kind::Message(inner) if inner.is_map_entry() => {}
                Kind::Message(inner) => assert!(
                    ["google.protobuf.Struct", "google.protobuf.Timestamp", "google.protobuf.Duration"]
                        .contains(&inner.full_name()),
                    "{}",
                    field.full_name()
                ),
                Kind::String | Kind::Bool | Kind::Uint32 | Kind::Uint64 => {}
                Kind::Bytes if message.full_name() == SECRET => {}
                other => panic!("{}: {other:?}", field.full_name()),
            }
        }
    }
    for rpc in Rpcs::read().unwrap().iter().filter(|rpc| rpc.http.is_some()) {
        walk(&rpc.request);
    }
}

/// Whatever is cut out of a good body or put into it: an answer or a refusal, never a panic, and never the secret.
#[test]
fn mangled_bodies_are_decoded_or_refused() {
    use proptest::prelude::*;

    let message = Rpcs::read().unwrap().get("SetupCredential").unwrap().request.clone();
    let good = format!(
        r#"{{"fields": {{"api_key": "{CANARY}"}}, "metadata": {{"a": [1, -2.5e3, null]}}, "labels": {{"t": "\u00e9"}},
            "no_probe": true, "expires_at": "2030-01-31T00:00:00Z", "name": "n"}}"#
    );
    let at = 0..good.len();
    proptest!(|(from in at.clone(), length in 0..40_usize, put in "[\\[\\]{}\",:0-9a-z\\\\ -]{0,6}", query in ".{0,20}")| {
        let mut body = good.clone().into_bytes();
        body.splice(from..(from + length).min(good.len()), put.bytes());
        let query = pairs(&[("name", &query)]);
        for query in [&query[..], &[]] {
            let assembled = Assembled::new(&message, Parts { path: &[], query, body: &body });
            if let Err(error) = assembled.and_then(|fields| fields.decode::<pb::SetupCredentialRequest>()) {
                prop_assert!(!error.to_string().contains("canary"), "{}", error);
            }
        }
    });
}
