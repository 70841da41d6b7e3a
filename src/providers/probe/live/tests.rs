use serde_json::json;

use super::*;

fn told(error: &http::Error, is_theirs: bool, asker: Asker) -> (Verdict, String, String) {
    let outcome = unanswered(error, is_theirs, asker);
    (outcome.verdict, outcome.reason.into_owned(), outcome.hint)
}

#[test]
fn no_answer_is_no_refusal() {
    let host = || "a.example".to_owned();
    for (error, reason) in [
        (http::Error::Dns { host: host() }, "dns"),
        (http::Error::NoSuchHost { host: host() }, "dns"),
        (http::Error::Connect { host: host() }, "connect"),
        (http::Error::Tls { host: host() }, "tls"),
        (http::Error::Timeout { host: host() }, "timeout"),
        (http::Error::Broken { host: host() }, "broken"),
        (http::Error::TooLong { host: host(), limit: 9 }, "broken"),
    ] {
        let (verdict, told, hint) = told(&error, false, Asker::Registry);
        assert_eq!((verdict, told.as_str()), (Verdict::ProviderUnreachable, reason));
        assert!(verdict.reasons().contains(&reason) && hint.contains("a.example"), "{hint}");
    }
}

#[test]
fn a_host_of_the_customers_that_is_not_there_is_not_found() {
    let error = http::Error::NoSuchHost { host: "acme.a.example".into() };
    let (verdict, reason, hint) = told(&error, true, Asker::Registry);
    assert_eq!((verdict, reason.as_str()), (Verdict::NotFound, "resource"));
    assert!(hint.contains("acme.a.example"), "{hint}");
    let silent = http::Error::Dns { host: "acme.a.example".into() };
    assert_eq!(told(&silent, true, Asker::Registry).1, "dns");
}

#[test]
fn a_forbidden_way_names_who_could_open_it() {
    let error = http::Error::Forbidden { why: "a.example may not be asked".into() };
    let (verdict, reason, hint) = told(&error, false, Asker::Owner);
    assert_eq!((verdict, reason.as_str()), (Verdict::Misconfigured, "endpoint"));
    assert!(hint.contains("outbound.owner_hosts"), "{hint}");
    assert!(!told(&error, false, Asker::Registry).2.contains("owner_hosts"));
}

#[test]
fn what_could_not_be_sent_names_who_must_act() {
    let mut values = Values::of(&[], &[]);
    values.expect_made(["session"].into_iter());
    let missing = |name: &str| not_sent(&NotSent::Unfit(Unfit::Missing(name.into())), &values);
    assert!(missing("metadata.region").hint.contains("needs region: give it with `strongroom metadata`"));
    assert!(missing("api_key").hint.contains("the field api_key"));
    assert_eq!(missing("api_key").verdict, Verdict::Misconfigured);
    assert_eq!((missing("session").verdict, &*missing("session").reason), (Verdict::ProviderUnreachable, "broken"));
    let unsigned = not_sent(&NotSent::Unsigned("private_key is not an RSA key".into()), &values);
    assert_eq!((unsigned.verdict, &*unsigned.hint), (Verdict::Misconfigured, "private_key is not an RSA key"));
}

#[test]
fn a_second_try_is_made_where_it_helps_and_fits() {
    let wait = |verdict, reason: &'static str, after: Option<u64>, elapsed| {
        let mut outcome = Outcome::new(verdict, reason, "");
        outcome.retry_after = after.map(Duration::from_secs);
        second_try(&outcome, Duration::from_secs(elapsed)).map(|pause| pause.as_millis())
    };
    for (verdict, reason, after, elapsed, pause) in [
        (Verdict::RateLimited, "throttled", Some(3), 0, Some(3000)),
        (Verdict::RateLimited, "throttled", Some(10), 0, Some(10_000)),
        (Verdict::RateLimited, "throttled", Some(11), 0, None),
        (Verdict::RateLimited, "throttled", Some(5), 6, None),
        (Verdict::RateLimited, "throttled", None, 0, None),
        (Verdict::ProviderUnreachable, "5xx", None, 0, Some(300)),
        (Verdict::ProviderUnreachable, "overloaded", Some(2), 0, Some(2000)),
        (Verdict::ProviderUnreachable, "overloaded", Some(0), 0, Some(300)),
        (Verdict::ProviderUnreachable, "overloaded", Some(3600), 0, None),
        (Verdict::ProviderUnreachable, "connect", None, 10, None),
        (Verdict::ProviderUnreachable, "timeout", None, 0, None),
        (Verdict::InvalidCredential, "rejected", None, 0, None),
        (Verdict::Ok, "", Some(1), 0, None),
    ] {
        assert_eq!(wait(verdict, reason, after, elapsed), pause, "{reason} {after:?} {elapsed}");
    }
}

mod runs {
    use std::collections::BTreeMap;

    use super::*;
    use crate::providers::{Registry, Upload};

    fn live() -> Live {
        let owner_hosts = Hosts::new(vec!["api.acme.example".into()]).unwrap();
        Live::new(Client::new(http::Settings::default()).unwrap(), owner_hosts)
    }

    async fn probe(secret: Option<&str>, metadata: serde_json::Value) -> Outcome {
        let registry = Registry::embedded().unwrap();
        let generic = registry.get("saas_generic").unwrap();
        let fields = BTreeMap::from([("api_key".to_owned(), Secret::from("s3cret-key".to_owned()))]);
        let parsed = generic.parse(&Upload::Fields(fields)).unwrap();
        let secret = secret.map_or(parsed.secret, |secret| Secret::from(secret.to_owned()));
        live().probe(generic, &secret, metadata.as_object().unwrap()).await
    }

    #[tokio::test]
    async fn what_cannot_be_asked_is_said_without_a_request() {
        let untested = probe(None, json!({})).await;
        assert_eq!((untested.verdict, &*untested.reason), (Verdict::Untested, "no_test"));
        let unreadable = probe(Some("not json"), json!({})).await;
        assert_eq!((unreadable.verdict, &*unreadable.reason), (Verdict::Misconfigured, "format"));
        let bad = probe(None, json!({ "test": { "get": "http://x" } })).await;
        assert_eq!((bad.verdict, &*bad.reason), (Verdict::Misconfigured, "format"));
        assert!(bad.hint.starts_with("metadata.test.get: "), "{}", bad.hint);
        let test = json!({ "get": "https://api.acme.example/", "headers": { "x-key": "{other_key}" } });
        let lacking = probe(None, json!({ "test": test })).await;
        assert_eq!((lacking.verdict, &*lacking.reason), (Verdict::Misconfigured, "format"));
        assert!(lacking.hint.contains("the field other_key"), "{}", lacking.hint);
    }
}
