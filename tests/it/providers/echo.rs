//! Nothing that was sent comes back in a refusal, and what is accepted is canonical.

use proptest::prelude::*;
use strongroom::providers::Provider;

use super::*;

/// Every run of four characters that is in the canary and not in our own words.
fn echoes(canary: &str, error: &Invalid) -> bool {
    let words = error.to_string();
    let runs: Vec<char> = canary.chars().collect();
    runs.windows(4).any(|run| words.contains(&run.iter().collect::<String>()))
}

/// Where a canary can be in an upload.
fn places(canary: &str) -> Vec<Upload> {
    let mut uploads = vec![
        document(canary),
        document(format!("{{\"{canary}\": \"x\"}}")),
        document(format!("{{\"api_key\": \"{canary}\"")),
        document(format!("{{\"api_key\": {canary}}}")),
        document(format!("[\"{canary}\"]")),
        document(format!("{{\"AccessKey\": {{\"AccessKeyId\": \"{canary}\", \"{canary}\": 1}}}}")),
        fields(&[(canary, "x")]),
        fields(&[("x", canary), (canary, "")]),
    ];
    for provider in registry().all() {
        for field in &provider.fields {
            uploads.push(fields(&[(&field.name, canary)]));
            uploads.push(document(google_with(&field.name, canary.into())));
        }
    }
    for prefix in ["sk-ant-", "sk-admin-", "AIDA", "cfk_", "eyJhIjoi", "sess-", "ghp_", "-----BEGIN PRIVATE KEY-----\n"]
    {
        uploads.push(document(format!("{prefix}{canary}")));
        for name in ["api_key", "access_key_id", "secret_access_key", "api_token", "private_key"] {
            uploads.push(fields(&[(name, &format!("{prefix}{canary}"))]));
        }
    }
    uploads
}

proptest! {
    // Each case is every field of every provider, at every provider.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(8) })]

    #[test]
    fn a_refusal_never_quotes_what_was_sent(canary in "Z[QZXJ7][QZXJ792]{6,60}[QZ #\u{1}é]{0,2}[QZXJ792]{4}") {
        let registry = registry();
        for upload in places(&canary) {
            for provider in registry.all() {
                if let Err(invalid) = provider.parse(&upload) {
                    // The owner of a generic credential chooses its fields' names, and needs them to find the mistake.
                    let named = provider.id == "saas_generic" && invalid.field == canary;
                    prop_assert!(named || !echoes(&canary, &invalid), "{}: {invalid}", provider.id);
                }
            }
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn metadata_refusals_never_quote_either(canary in "Z[QZXJ7][QZXJ792 ]{6,300}[QZXJ792]{4}") {
        for provider in registry().all() {
            for metadata in [
                json!({ &canary: "x" }),
                json!({ "label": { &canary: &canary } }),
                json!({ "label": [&canary] }),
                json!({ "tags": { &canary: 1, "a": &canary } }),
                json!({ "tags": { "a": [&canary] } }),
                json!({ "owner": &canary, "environment": &canary, "expires_at": &canary, "rotation_days": &canary }),
            ] {
                if let Err(invalid) = provider.check_metadata(&map(metadata)) {
                    prop_assert!(!echoes(&canary, &invalid), "{}: {invalid}", provider.id);
                }
            }
        }
    }

    #[test]
    fn no_bytes_make_parsing_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        json in "[{}\\[\\]\":,a1\\\\ ]{0,200}",
        names in proptest::collection::vec("[a-z_]{0,20}|api_key|private_key|access_key_id|service_account_json", 0..4),
    ) {
        let named = names.iter().map(|name| (name.clone(), Secret::from(bytes.clone()))).collect();
        let uploads = [Upload::Document(Secret::from(bytes.clone())), document(json), Upload::Fields(named)];
        for provider in registry().all() {
            for upload in &uploads {
                accepted_again(provider, upload)?;
            }
        }
    }
}

/// What was accepted is canonical: it is accepted again and stays the same.
fn accepted_again(provider: &Provider, upload: &Upload) -> Result<(), TestCaseError> {
    if let Ok(parsed) = provider.parse(upload) {
        let again = provider.parse(&Upload::Document(parsed.secret.clone()));
        prop_assert_eq!(again.map(|parsed| parsed.secret), Ok(parsed.secret));
    }
    Ok(())
}

#[test]
fn what_is_accepted_is_canonical() {
    let token = session_token();
    for (provider, upload) in [
        ("openai", document(format!(" '{OPENAI}'\n"))),
        ("cloudflare", document(CLOUDFLARE_OLD)),
        ("gcp_service_account", document(google_with("private_key", rsa_pem().replace('\n', "\\n").into()))),
        (
            "aws_keys",
            fields(&[
                ("AccessKeyId", "ASIAY34FZKBOKMUTVV7A"),
                ("SecretAccessKey", AWS_SECRET),
                ("session_token", &token),
            ]),
        ),
        ("saas_generic", fields(&[("a", " \"quoted\" "), ("b", "two\nlines \n")])),
    ] {
        let registry = registry();
        let provider = registry.get(provider).unwrap();
        assert!(provider.parse(&upload).is_ok(), "{}", provider.id);
        accepted_again(provider, &upload).unwrap();
    }
}
