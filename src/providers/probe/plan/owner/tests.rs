use std::sync::LazyLock;

use serde_json::json;

use super::*;
use crate::providers::Registry;

static EMBEDDED: LazyLock<Registry> = LazyLock::new(|| Registry::embedded().unwrap());

fn check(provider: &str, test: Value) -> Result<(), Invalid> {
    let metadata = json!({ "label": "x", "login": "etl", "test": test });
    EMBEDDED.get(provider).unwrap().check_metadata(metadata.as_object().unwrap())
}

fn good() -> Value {
    json!({
        "get": "https://api.acme.example/v1/me?login={metadata.login?}",
        "headers": { "authorization": "Bearer {api_key}", "x-user": "{Some.user-name?}" },
        "answers": [
            { "status": [200], "at": { "/ok": "^true$" }, "outcome": "ok" },
            { "status": [403], "outcome": "insufficient_permission", "reason": "missing_scope", "hint": "ask for more" },
        ],
        "identity": { "login": "/login" },
    })
}

fn with(part: &str, value: Value) -> Value {
    let mut test = good();
    test[part] = value;
    test
}

#[test]
fn an_owner_may_write_a_test_where_the_registry_lets_them() {
    check("saas_generic", good()).unwrap();
    let mut post = good();
    post["post"] = post.as_object_mut().unwrap().remove("get").unwrap();
    post["json"] = json!({ "key": "{api_key}", "n": [1] });
    check("saas_generic", post).unwrap();
    assert!(check("openai", good()).unwrap_err().why.contains("does not know"));

    let generic = EMBEDDED.get("saas_generic").unwrap();
    assert!(generic.is_tested(json!({ "test": {} }).as_object().unwrap()));
    assert!(!generic.is_tested(json!({ "login": "x" }).as_object().unwrap()));
}

#[test]
fn an_owners_mistakes_are_named_by_their_path_and_never_quoted() {
    let many = |one: Value, times: usize| Value::Array(vec![one; times]);
    let headers: Map<String, Value> = (0..17).map(|number| (format!("x-{number}"), json!("v"))).collect();
    let at: Map<String, Value> = (0..17).map(|number| (format!("/{number}"), json!("v"))).collect();
    for (test, field, words) in [
        (json!("canary"), "metadata.test", "must be an object"),
        (json!(["canary"]), "metadata.test", "must be an object"),
        (with("steps", json!([])), "metadata.test", "its parts are get, post, headers"),
        (with("sign", json!({ "by": "oci" })), "metadata.test", "its parts are"),
        (with("when", json!({ "canary": "" })), "metadata.test", "its parts are"),
        (with("post", json!("https://api.acme.example/")), "metadata.test.get", "either get or post"),
        (with("get", json!({ "canary": 1 })), "metadata.test.get", "is not written as"),
        (with("get", json!("http://api.acme.example/")), "metadata.test.get", "must begin with https://"),
        (with("get", json!("https://{metadata.login}/canary")), "metadata.test.get", "host without a template"),
        (with("get", json!("https://api.acme.example/?k={api_key}")), "metadata.test.get", "api_key is secret"),
        (with("get", json!("https://api.acme.example/{metadata.lable}")), "metadata.test.get", "no metadata key"),
        (with("get", json!("https://u:canary@api.acme.example/")), "metadata.test.get", "without a user"),
        (with("headers", json!({ "Host": "canary" })), "metadata.test.headers", "host is not for a test to say"),
        (with("headers", json!({ "x": "canary\nb" })), "metadata.test.headers", "printable ASCII"),
        (with("headers", json!({ "x": 1 })), "metadata.test.headers", "is not written as"),
        (with("headers", Value::Object(headers)), "metadata.test.headers", "at most 16"),
        (with("json", json!({})), "metadata.test.get", "a GET sends no body"),
        (with("identity", json!({ "x": "{api_key}" })), "metadata.test.identity", "api_key is secret"),
        (with("identity", json!({ "": "/x" })), "metadata.test.identity", "names of 1 to 64"),
        (with("identity", json!({ "a\u{7}canary": "/x" })), "metadata.test.identity", "names of 1 to 64"),
        (with("answers", json!({})), "metadata.test.answers", "must be a list"),
        (with("answers", json!([{}])), "metadata.test.answers.0", "is not written as"),
        (with("answers", json!([{ "outcome": "canary" }])), "metadata.test.answers.0", "is not written as"),
        (with("answers", json!([{ "outcome": "ok", "canary": 1 }])), "metadata.test.answers.0", "is not written as"),
        (
            with("answers", json!([{ "outcome": "ok" }, { "outcome": "ok", "reason": "canary" }])),
            "metadata.test.answers.1.reason",
            "ok knows the reasons limited",
        ),
        (with("answers", json!([{ "outcome": "untested" }])), "metadata.test.answers.0.outcome", "was tested"),
        (
            with("answers", json!([{ "outcome": "ok", "at": { "/a": "(" } }])),
            "metadata.test.answers.0.at",
            "bad pattern",
        ),
        (
            with("answers", json!([{ "outcome": "ok", "at": { "/a": "[a-z]{9999}" } }])),
            "metadata.test.answers.0.at",
            "bad pattern",
        ),
        (
            with("answers", json!([{ "outcome": "ok", "at": { "/a": "a".repeat(201) } }])),
            "metadata.test.answers.0",
            "at most 200 bytes",
        ),
        (with("answers", json!([{ "outcome": "ok", "at": at }])), "metadata.test.answers", "at most 16 patterns"),
        (with("answers", many(json!({ "outcome": "ok" }), 17)), "metadata.test.answers", "at most 16"),
        (
            with("answers", json!([{ "outcome": "ok", "hint": "canary\u{1b}[31m" }])),
            "metadata.test.answers.0.hint",
            "one line",
        ),
        (
            with("headers", json!({ "authorization": "Bearer glpat-canary0123456789canary" })),
            "metadata.test",
            "a GitLab token",
        ),
    ] {
        let invalid = check("saas_generic", test).expect_err(words);
        assert!(invalid.field == field && invalid.why.contains(words), "{words}: {invalid}");
        assert!(!invalid.to_string().contains("canary"), "{invalid}");
    }
}
