//! The registry file: what it holds, and how a bad one is refused.

use strongroom::crypto::Seal;
use strongroom::providers::{FingerprintMode, Outcome, Verdict};

use super::*;

#[test]
fn the_embedded_registry_has_its_entries_in_the_files_order() {
    let registry = registry();
    let ids: Vec<&str> = registry.all().map(|provider| provider.id.as_str()).collect();
    let all = "gcp_service_account aws_iam_role aws_keys azure_service_principal oci_api_key openai anthropic gemini \
               azure_openai aws_bedrock gcp_vertex cloudflare huggingface dockerhub github databricks snowflake slack \
               stripe datadog saas_generic";
    assert_eq!(ids, all.split(' ').collect::<Vec<_>>());
    let entry = |id| registry.get(id).unwrap();
    assert_eq!(entry("cloudflare").seal, Seal::Fernet);
    assert_eq!(entry("openai").seal, Seal::Aes256Gcm);
    assert_eq!(entry("saas_generic").fingerprint, FingerprintMode::Keyed);
    assert_eq!(entry("aws_keys").fingerprint, FingerprintMode::Plain);
    assert_eq!(entry("openai").category.as_str(), "genai");
    assert_eq!(entry("saas_generic").class.as_str(), "manual");
    assert!(registry.get("OpenAI").is_none());
    assert_eq!(registry.nearest("opneai").first().map(String::as_str), Some("openai"));
}

/// A registry of one provider, as small as it can be, with one line replaced.
pub fn small(from: &str, to: &str) -> String {
    let yaml = r"placeholders: ['^changeme$']
known_keys:
  - { what: an Other key, pattern: '^other-' }
common_metadata:
  label: { type: string }
providers:
  - id: plain
    title: Plain
    category: saas
    class: long-lived
    docs: https://plain.example/keys
    public_identity: [account]
    fields:
      - name: account
        secret: false
        example: acme
      - name: token
        must_be: pl- and eight digits
        patterns: ['^pl-[0-9]{8}$']
        example: pl-00000000
    metadata:
      region: { enum: [eu, us] }
";
    assert!(yaml.contains(from), "{from}");
    yaml.replacen(from, to, 1)
}

#[test]
fn a_plain_provider_needs_the_file_alone() {
    let registry = Registry::parse("mine.yml", &small("Plain", "Plain")).unwrap();
    let plain = registry.get("plain").unwrap();
    let parsed = plain.parse(&fields(&[("account", "acme"), ("token", "pl-12345678")])).unwrap();
    assert_eq!(text(&parsed), r#"{"account":"acme","token":"pl-12345678"}"#);
    assert_eq!(parsed.public_identity, BTreeMap::from([("account".to_owned(), "acme".to_owned())]));
}

#[test]
fn a_bad_registry_is_refused_with_file_line_and_rule() {
    for (from, to, line, rule) in [
        ("id: plain", "id: Plain", Some(7), "an id is 2 to 64 lower-case letters"),
        ("    title: Plain\n", "    titel: Plain\n", Some(8), "titel"),
        ("    title: Plain\n", "", None, "title"),
        ("category: saas", "category: sass", Some(9), "sass"),
        ("https://plain.example", "http://plain.example", Some(11), "docs must begin with https://"),
        ("[account]", "[token]", Some(12), "public_identity: token is not a field with secret: false"),
        ("[account]", "[acount]", Some(12), "public_identity: acount is not a field"),
        ("    fields:", "    checks: [aws_access_key]\n    fields:", Some(13), "reads the field access_key_id"),
        ("    fields:", "    checks: [no_such]\n    fields:", Some(13), "no_such"),
        ("name: account", "name: token", Some(17), "the field name token is there twice"),
        ("name: account", "name: a", Some(14), "a field's name is"),
        (
            "must_be: pl- and eight digits",
            "shape: token",
            Some(17),
            "token has patterns but does not say what it must_be",
        ),
        ("'^pl-[0-9]{8}$'", "'^pl-[0-9]{8$'", Some(19), "bad pattern: "),
        ("'^pl-[0-9]{8}$'", "'^[A-Z]{9,9999}$'", Some(19), "bad pattern: "),
        ("'^pl-[0-9]{8}$'", "'pl-[0-9]{8}'", Some(19), "must begin with ^ and end with $"),
        ("'^other-'", "'^other-('", Some(3), "bad pattern: unclosed group"),
        ("'^changeme$'", "'^changeme[$'", Some(1), "bad pattern: "),
        (
            "example: pl-00000000",
            "example: pl-0",
            Some(20),
            "the example of token does not pass its own rules: must be pl- and",
        ),
        ("{ enum: [eu, us] }", "{ type: strin }", Some(22), "metadata key region: "),
        (
            "{ enum: [eu, us] }",
            "{ type: string, maxLenght: 3 }",
            Some(22),
            "maxLenght is not a rule that metadata schemas use",
        ),
        ("{ enum: [eu, us] }", "{ type: string, pattern: '(' }", Some(22), "metadata key region: "),
        ("{ enum: [eu, us] }", "{ type: object }", Some(22), "an object must say its additionalProperties"),
        ("region: { enum: [eu, us] }", "label: { type: string }", Some(22), "every provider has it already"),
        ("providers:", "providers: [", Some(7), ""),
    ] {
        let error = Registry::parse("mine.yml", &small(from, to)).expect_err(to);
        assert_eq!(error.file, "mine.yml");
        assert!(line.is_none() || error.line == line, "{to}: {error}");
        assert!(error.to_string().contains(rule), "{to}: {error}");
        assert!(error.to_string().starts_with("mine.yml:"), "{error}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
    let twice = small("Plain", "Plain").replace("providers:", "providers:\n  - { id: plain, title: P, category: saas, class: manual, fields: [], other_fields: { shape: text, max_bytes: 9 }, metadata: {} }");
    let error = Registry::parse("mine.yml", &twice).unwrap_err();
    assert_eq!(error.to_string(), "mine.yml:8: there are two entries with the id plain");
}

#[test]
fn examples_are_shown_and_not_accepted() {
    for provider in registry().all() {
        for field in &provider.fields {
            assert!(!field.example.is_empty(), "{} {}", provider.id, field.name);
        }
        let examples: Vec<(&str, &str)> =
            provider.fields.iter().map(|field| (field.name.as_str(), field.example.as_str())).collect();
        if !examples.is_empty() {
            assert!(provider.parse(&fields(&examples)).is_err(), "{}", provider.id);
        }
    }
}

#[test]
fn untested_outcomes_say_what_to_do_next() {
    assert_eq!(Outcome::untested().reason, "no_test");
    assert!(Outcome::untested().hint.contains("strongroom activate"));
    assert_eq!(Outcome::skipped().reason, "skipped");
    assert_eq!(Outcome::skipped().verdict, Verdict::Untested);
    assert_eq!(Outcome::timed_out().reason, "timeout");
    assert_eq!(Outcome::timed_out().verdict.as_str(), "provider_unreachable");
}

#[test]
fn a_file_that_is_cut_off_anywhere_is_an_error_and_no_panic() {
    let whole = include_str!("../../../config/providers.yml");
    let cuts = whole.char_indices().map(|(at, _)| at).filter(|at| at % 97 == 0);
    for cut in cuts.filter(|cut| whole[..*cut].matches("- id:").count() < 2) {
        if let Err(error) = Registry::parse("cut.yml", &whole[..cut]) {
            assert!(!error.rule.is_empty(), "{error}");
        }
    }
}
