use serde_json::{Value, json};

use super::*;
use crate::providers::probe::plan::step;

const NOW: u64 = 1_800_000_000;

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(NOW)
}

fn response(status: u16, headers: &[(&str, &str)], body: &str) -> Response {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
    }
    let status = StatusCode::from_u16(status).unwrap();
    Response { status, headers: map, body: Zeroizing::new(body.as_bytes().to_vec()) }
}

fn heard(rest: Value, response: &Response) -> Judged {
    let mut written = json!({ "get": "https://a.example/" });
    for (name, value) in rest.as_object().unwrap() {
        written[name] = value.clone();
    }
    judge(&step(&written), response, &Values::of(&[("user", "etl")], &[("key", "s3cret-key")]), now())
}

fn outcome(rest: Value, response: &Response) -> Outcome {
    heard(rest, response).outcome
}

#[test]
fn a_status_speaks_where_nothing_else_does() {
    for (status, verdict, reason) in [
        (200, Verdict::Ok, ""),
        (204, Verdict::Ok, ""),
        (301, Verdict::Misconfigured, "redirect"),
        (400, Verdict::Misconfigured, "format"),
        (401, Verdict::InvalidCredential, "rejected"),
        (403, Verdict::InsufficientPermission, "missing_scope"),
        (404, Verdict::NotFound, "resource"),
        (408, Verdict::ProviderUnreachable, "timeout"),
        (418, Verdict::Misconfigured, "format"),
        (429, Verdict::RateLimited, "throttled"),
        (500, Verdict::ProviderUnreachable, "5xx"),
        (503, Verdict::ProviderUnreachable, "overloaded"),
        (529, Verdict::ProviderUnreachable, "overloaded"),
        (600, Verdict::ProviderUnreachable, "broken"),
        (101, Verdict::ProviderUnreachable, "broken"),
    ] {
        let judged = heard(json!({}), &response(status, &[], "s3cret body"));
        assert_eq!((judged.outcome.verdict, &*judged.outcome.reason), (verdict, reason), "{status}");
        assert!(reason.is_empty() || verdict.reasons().contains(&reason), "{status}");
        assert_eq!(judged.go_on, verdict == Verdict::Ok, "{status}");
        assert_eq!(judged.outcome.hint.is_empty(), verdict == Verdict::Ok, "{status}");
        assert!(!judged.outcome.hint.contains("s3cret"), "{status}");
    }
}

#[test]
fn the_first_answer_that_fits_counts() {
    let answers = json!({ "answers": [
        { "status": [403], "at": { "/error/code": "^gone$" }, "outcome": "invalid_credential", "reason": "revoked" },
        { "status": [403], "headers": { "x-sso": "required" }, "outcome": "insufficient_permission",
          "reason": "sso_required", "hint": "sign in once" },
        { "at": { "/ok": "^false$", "/error/n": "^1" }, "outcome": "not_found" },
        { "status": [200], "lacks": ["/id"], "outcome": "misconfigured", "reason": "endpoint" },
        { "status": [200], "outcome": "ok", "reason": "limited", "warn": "this key can do everything" },
    ]});
    for (answer, verdict, reason) in [
        (response(403, &[], r#"{"error":{"code":"gone"}}"#), Verdict::InvalidCredential, "revoked"),
        (response(403, &[("x-sso", "required; url=x")], "{}"), Verdict::InsufficientPermission, "sso_required"),
        (response(403, &[], r#"{"error":{"code":["gone"]}}"#), Verdict::InsufficientPermission, "missing_scope"),
        (response(500, &[], r#"{"ok":false,"error":{"n":17}}"#), Verdict::NotFound, "resource"),
        (response(500, &[], r#"{"ok":false,"error":{"n":27}}"#), Verdict::ProviderUnreachable, "5xx"),
        (response(200, &[], r#"{"id":null}"#), Verdict::Misconfigured, "endpoint"),
        (response(200, &[], "<html>"), Verdict::Misconfigured, "endpoint"),
        (response(200, &[], r#"{"id":7}"#), Verdict::Ok, "limited"),
    ] {
        let outcome = outcome(answers.clone(), &answer);
        assert_eq!((outcome.verdict, &*outcome.reason), (verdict, reason));
        assert_eq!(outcome.learned.warnings.len(), usize::from(reason == "limited"));
        assert_eq!(outcome.hint == "sign in once", reason == "sso_required");
    }
}

#[test]
fn answers_say_where_the_test_goes() {
    let goes = |verdict: &str, go: &str| {
        heard(json!({ "answers": [{ "outcome": verdict, "go": go }] }), &response(200, &[], "")).go_on
    };
    assert!(goes("ok", "on") && !goes("ok", "end") && goes("not_found", "on") && !goes("not_found", "end"));
}

#[test]
fn an_ok_answer_tells_and_another_does_not() {
    let rest = json!({
        "identity": { "login": "/login", "scopes": "header x-scopes", "mode": "as {user}", "none": "/none", "id": "/id" },
        "expires": "/until",
        "keep": { "session": "/session", "lost": "/lost" },
    });
    let body = r#"{"login":"a\u0000cme","id":7,"until":"2030-01-31 00:00:00 UTC","session":"tmp-session"}"#;
    let judged = heard(rest.clone(), &response(200, &[("x-scopes", "read, write")], body));
    let told = |name: &str| judged.outcome.learned.identity.get(name).map(String::as_str);
    assert_eq!((told("login"), told("scopes"), told("mode")), (Some("acme"), Some("read, write"), Some("as etl")));
    assert_eq!((told("id"), told("none")), (Some("7"), None));
    assert_eq!(judged.outcome.learned.expires_at, "2030-01-31T00:00:00Z".parse().ok());
    assert_eq!(judged.kept.len(), 1);
    assert_eq!((judged.kept[0].0.as_str(), judged.kept[0].1.as_str()), ("session", "tmp-session"));
    let judged = heard(rest, &response(403, &[], body));
    assert_eq!(judged.outcome.learned, Learned::default());
    assert!(judged.kept.is_empty());
}

#[test]
fn an_echo_of_the_secret_is_not_shown() {
    let rest = json!({ "identity": { "a": "/a", "b": "/b", "c": "header x-key" } });
    let body = r#"{"a":"you sent s3cret-key!","b":"fine"}"#;
    let outcome = outcome(rest, &response(200, &[("x-key", "s3cret-key")], body));
    assert_eq!(outcome.learned.identity.into_iter().collect::<Vec<_>>(), [("b".to_owned(), "fine".to_owned())]);
}

#[test]
fn when_to_come_back_is_read_in_each_of_its_forms() {
    let date = httpdate::fmt_http_date(now() + Duration::from_secs(90));
    let past = httpdate::fmt_http_date(now() - Duration::from_secs(90));
    let epoch = (NOW + 45).to_string();
    for (name, value, seconds) in [
        ("retry-after", "7", Some(7.0)),
        ("retry-after", " 1.5 ", Some(1.5)),
        ("retry-after", date.as_str(), Some(90.0)),
        ("retry-after", past.as_str(), Some(0.0)),
        ("retry-after", "99999999999999999999999", Some(86_400.0)),
        ("retry-after", "500000", Some(86_400.0)),
        ("retry-after", "-3", None),
        ("retry-after", "NaN", None),
        ("retry-after", "soon", None),
        ("x-retry-after", epoch.as_str(), Some(45.0)),
        ("x-retry-after", "20", Some(20.0)),
        ("x-other", "20", None),
    ] {
        let outcome = outcome(json!({}), &response(429, &[(name, value)], ""));
        assert_eq!(outcome.retry_after.map(|wait| wait.as_secs_f64()), seconds, "{name}: {value}");
    }
    assert_eq!(outcome(json!({}), &response(401, &[("retry-after", "7")], "")).retry_after, None);
    assert!(outcome(json!({}), &response(503, &[("retry-after", "7")], "")).retry_after.is_some());
}

#[test]
fn a_wrong_clock_is_named_and_does_not_condemn_a_key() {
    let at = |seconds: i64| {
        httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(NOW.saturating_add_signed(seconds)))
    };
    let signed = |status, date: &str| {
        let mut step = step(&json!({ "get": "https://a.example/" }));
        step.sign = Some(super::super::plan::Sign {
            by: super::super::plan::SignBy::Oci,
            service: Default::default(),
            region: Default::default(),
        });
        judge(&step, &response(status, &[("date", date)], ""), &Values::default(), now()).outcome
    };
    for (seconds, words) in [(-600, "600 s ahead of"), (121, "121 s behind")] {
        let outcome = signed(401, &at(seconds));
        assert_eq!((outcome.verdict, &*outcome.reason), (Verdict::Misconfigured, "clock_skew"));
        assert!(outcome.hint.contains(words), "{}", outcome.hint);
    }
    for harmless in [&at(-120), &at(120), "yesterday"] {
        assert_eq!(signed(401, harmless).verdict, Verdict::InvalidCredential, "{harmless}");
    }
    assert_eq!(signed(403, &at(600)).verdict, Verdict::InsufficientPermission);
    assert!(signed(403, &at(600)).hint.contains("600 s behind"));
    assert!(signed(200, &at(600)).hint.is_empty());
    let unsigned = outcome(json!({}), &response(401, &[("date", &at(-600))], ""));
    assert_eq!((unsigned.verdict, &*unsigned.reason), (Verdict::InvalidCredential, "rejected"));
    assert!(unsigned.hint.contains("600 s ahead of"));
}

/// What is shown has an end, and a secret that stands across it would be shown in part.
#[test]
fn an_echo_that_is_cut_is_not_shown() {
    let told = |name: &str| {
        let said = response(200, &[], &json!({ "name": name }).to_string());
        heard(json!({ "identity": { "name": "/name" } }), &said).outcome.learned.identity
    };
    for name in
        [format!("{}s3cret-key", "x".repeat(250)), format!("{}s3cret-key", "\u{200b}".repeat(2000)), "x".repeat(5000)]
    {
        assert!(told(&name).is_empty(), "{name}");
    }
    assert_eq!(told(&"x".repeat(300))["name"].len(), 256);
}
