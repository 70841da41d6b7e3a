//! Keys in the wrong place, and uploads of the wrong size and depth: each provider's in every other's fields.

use super::*;

/// Where two providers take the same kind of thing.
fn shared(owner: &str, other: &str, field: &str) -> bool {
    let google = ["gcp_service_account", "gcp_vertex"];
    let amazon = ["aws_keys", "aws_bedrock"];
    google.contains(&owner) && google.contains(&other)
        || amazon.contains(&owner) && amazon.contains(&other)
        || matches!((other, field), ("saas_generic", _) | (_, "pass_phrase" | "session_token" | "external_id"))
}

#[test]
fn a_key_in_another_providers_field_is_refused() {
    let mut tried = 0;
    for (owner, token, _) in tokens() {
        for provider in registry().all() {
            for field in provider.fields.iter().filter(|field| field.must_be.is_some()) {
                if provider.id == owner || shared(owner, &provider.id, &field.name) {
                    continue;
                }
                let Err(invalid) = provider.parse(&fields(&[(&field.name, &token)])) else {
                    panic!("{} takes the key of {owner} as {}", provider.id, field.name);
                };
                // The field itself is what is wrong, and not that another is missing.
                let misses = invalid.why.starts_with("is missing") && invalid.field != field.name;
                assert!(!misses, "{} takes the key of {owner} as {}: {invalid}", provider.id, field.name);
                assert!(!invalid.to_string().contains(&token), "{invalid}");
                tried += 1;
            }
        }
    }
    assert!(tried > 500, "{tried}");
}

#[test]
fn uploads_have_limits() {
    let large = "a".repeat(1024 * 1024);
    let deep = format!("{{\"a\": {}{}}}", "[".repeat(40_000), "]".repeat(20_000));
    for provider in registry().all() {
        refused(&provider.id, &document(large.clone()), "document", "is longer than 65536 bytes");
        for field in &provider.fields {
            refused(&provider.id, &fields(&[(&field.name, &large)]), &field.name, "is longer than");
        }
        refused(&provider.id, &document(deep.clone()), "document", "is ");
        refused(&provider.id, &document("  \u{feff}\r\n"), "document", "is empty");
    }
}
