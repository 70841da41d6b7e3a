use serde_json::Value;
use serde_saphyr::{Location, Spanned};

use super::compile::Compiler;
use super::scope::{Kind, Scope};
use super::*;
use crate::providers::Registry;

/// A step that may use `user`, the secret `key`, and the metadata keys `region` and `org`.
pub fn step(written: &Value) -> Step {
    let entry: entry::Step = serde_json::from_value(written.clone()).unwrap();
    let metadata = ["region".to_owned(), "org".to_owned()];
    let mut scope = Scope::new(&[], false, &metadata);
    for (name, kind) in [
        ("user", Kind::Shown),
        ("what", Kind::Shown),
        ("scope", Kind::Shown),
        ("org", Kind::Shown),
        ("x", Kind::Shown),
        ("key", Kind::Secret),
    ] {
        scope.add(name, kind).unwrap();
    }
    let place = Spanned::new((), Location::UNKNOWN, Location::UNKNOWN);
    let mut compiler = Compiler { scope, pattern_bytes: 1 << 17 };
    compiler.step(&entry, &place).map_err(|fault| format!("{}: {}", fault.path, fault.rule)).unwrap()
}

/// A registry whose one provider has this test, which begins in line 20.
fn load(test: &str) -> Result<Registry, String> {
    let head = "placeholders: []
known_keys: []
common_metadata:
  label: { type: string }
providers:
  - id: plain
    title: Plain
    category: saas
    class: long-lived
    fields:
      - { name: account, secret: false, example: acme }
      - { name: token, example: t }
      - { name: client_email, secret: false, example: a }
      - { name: private_key_id, secret: false, example: a }
      - { name: private_key, example: a }
    metadata:
      region: { enum: [eu, us] }
    limits: { per_minute: 30 }
    test:
";
    let body: String = test.lines().map(|line| format!("      {line}\n")).collect();
    Registry::parse("mine.yml", &format!("{head}{body}")).map_err(|error| error.to_string())
}

const GOOD: &str = "hosts: [api.plain.example]
names:
  - { name: area, of: metadata.region, choose: { eu: europe, us: america }, default: europe }
  - { name: part, of: account, pattern: '^([a-z]+)-' }
steps:
  - when: { area: '^europe$', metadata.region: '' }
    post: https://api.plain.example/{area}/{account}
    headers: { authorization: 'Bearer {jwt}', x-part: '{part?}' }
    assert: { as: jwt, by: google_service_account, audience: 'https://a.example/', scope: s }
    form: { token: '{token}' }
    answers:
      - { status: [401], at: { /error/code: ^gone$ }, outcome: invalid_credential, reason: revoked, hint: make a new one }
      - { lacks: [/id], outcome: misconfigured, go: on }
    keep: { session: /session }
  - get: https://api.plain.example/me
    headers: { x-session: '{session}' }
    identity: { account: /name, scopes: header x-scopes, region: '{area}' }
    expires: certificate /keys/{private_key_id}";

#[test]
fn a_test_is_read_whole() {
    let registry = load(GOOD).unwrap();
    let plain = registry.get("plain").unwrap();
    let test = plain.test.as_ref().unwrap();
    assert!(plain.is_tested(&serde_json::Map::new()));
    assert_eq!((test.names.len(), test.steps.len(), test.steps[0].answers.len()), (2, 2, 2));
    assert!(test.steps[0].is_signed() && !test.steps[1].is_signed());
    assert!(test.hosts.allow("api.plain.example") && !test.hosts.allow("plain.example"));
    assert_eq!((plain.limits.per_minute, plain.limits.burst), (30, 10));
    assert_eq!(test.steps[0].answers[0].reason, Some("revoked"));
    assert!(!load("hosts: []\nsteps: []").unwrap_err().is_empty());
}

#[test]
fn a_bad_test_is_refused_with_its_line_and_rule() {
    for (from, to, line, rule) in [
        ("{area}/{account}", "{area}/{acount}", 26, "test.steps.0.post: nothing here is called acount"),
        ("{area}/{account}", "{metadata.zone}/x", 26, "there is no metadata key zone"),
        ("{area}/{account}", "{token}", 26, "token is secret, and addresses are logged"),
        ("{area}/{account}", "{jwt}", 26, "jwt is secret"),
        ("me\n", "{session}\n", 34, "session is secret"),
        ("me\n", "{jwt}\n", 34, "test.steps.1.get: nothing here is called jwt"),
        ("https://api.plain.example/me", "http://api.plain.example/me", 34, "must begin with https://"),
        ("https://api.plain.example/me", "'{account}://x'", 34, "must begin with https://"),
        ("https://api.plain.example/me", "https://evil.example/me", 34, "evil.example is not one of hosts"),
        ("get: https://api.plain.example/me", "when: {}", 34, "a step says either get or post"),
        ("get: https", "form: {}\n    get: https", 34, "a GET sends no body"),
        ("    form: {", "    json: {}\n    form: {", 25, "either form or json"),
        ("x-session:", "cookie:", 35, "cookie is not for a test to say"),
        ("x-session:", "'x session':", 35, "no header's"),
        ("'{session}' }", "\"a\\nb\" }", 35, "printable ASCII"),
        ("x-session: '{session}'", "x-session: '{session'", 35, "bracket"),
        ("    keep:", "    basic: { user: a, password: b }\n    keep:", 27, "written by basic or sign already"),
        ("as: jwt", "as: token", 28, "the name token is there already"),
        (", scope: s }", " }", 28, "assert.scope: is missing"),
        ("google_service_account", "azure_certificate", 28, "reads the field client_id, which is not there"),
        ("google_service_account", "gcp", 28, "gcp"),
        ("    form:", "    sign: { by: aws, service: sts, region: r }\n    form:", 29, "reads the field access_key_id"),
        ("    form:", "    sign: { by: oci }\n    form:", 29, "reads the field tenancy"),
        ("invalid_credential", "invalid", 31, "invalid"),
        ("invalid_credential", "untested", 31, "who was asked was tested"),
        ("reason: revoked", "reason: dns", 31, "invalid_credential knows the reasons rejected, expired, revoked"),
        ("[401]", "[1401]", 31, "is not a status"),
        ("^gone$", "'^gone($'", 31, "bad pattern"),
        ("^gone$", "'[a-z]{9999}{9}'", 31, "bad pattern"),
        ("/error/code", "error", 31, "test.steps.0.answers.0.at: is not a JSON pointer"),
        ("make a new one", "\"a\\u0007\"", 31, "one line"),
        ("session: /session", "session: session", 33, "is not a JSON pointer"),
        ("session: /session", "token: /session", 33, "the name token is there already"),
        ("region: '{area}'", "region: '{token}'", 36, "token is secret, and an identity is shown"),
        ("region: '{area}'", "region: '{session}'", 36, "session is secret"),
        ("certificate /keys", "certificate keys", 37, "is not a JSON pointer"),
        ("'^([a-z]+)-'", "'^[a-z]+-'", 23, "must have a group"),
        ("'^([a-z]+)-'", "'^([a-z]+)-', replace: { '': x }", 23, "in the place of nothing"),
        ("of: metadata.region", "of: region", 22, "nothing here is called region"),
        ("name: area", "name: account", 22, "the name account is there already"),
        ("area: '^europe$'", "aera: '^europe$'", 25, "nothing here is called aera"),
        ("    expires:", "    expries:", 37, "expries"),
    ] {
        assert!(GOOD.contains(from), "{from}");
        let error = load(&GOOD.replacen(from, to, 1)).expect_err(to);
        assert!(error.starts_with(&format!("mine.yml:{line}: ")) && error.contains(rule), "{to}: {error}");
    }
}

#[test]
fn every_outcome_has_its_reasons() {
    for verdict in [
        Verdict::InvalidCredential,
        Verdict::InsufficientPermission,
        Verdict::NotFound,
        Verdict::RateLimited,
        Verdict::ProviderUnreachable,
        Verdict::Misconfigured,
    ] {
        for reason in verdict.reasons() {
            let answer = format!("outcome: {}, reason: {reason}", verdict.as_str());
            load(&GOOD.replace("outcome: invalid_credential, reason: revoked", &answer)).unwrap();
        }
    }
}
