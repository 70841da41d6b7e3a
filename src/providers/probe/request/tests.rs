use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::providers::probe::plan::step;

fn filled(written: Value, values: &Values) -> Result<Request, NotSent> {
    fill(&step(&written), values)
}

fn body(request: &Request) -> &str {
    std::str::from_utf8(&request.body).unwrap()
}

#[test]
fn headers_carry_secrets_and_are_marked() {
    let values = Values::of(&[("user", "etl")], &[("key", "s3cret")]);
    let written = json!({ "get": "https://a.example/", "headers": {
        "Authorization": "Bearer {key}", "accept": "application/json", "x-org": "{org?}"
    }});
    let request = filled(written, &values).unwrap();
    assert_eq!(request.headers["authorization"], "Bearer s3cret");
    assert!(request.headers["authorization"].is_sensitive());
    assert!(!request.headers["accept"].is_sensitive());
    assert!(!request.headers.contains_key("x-org"));
    assert_eq!(request.headers["user-agent"], AGENT);
    assert!(!format!("{:?}", request.headers).contains("s3cret"));
}

#[test]
fn a_line_end_makes_no_second_header() {
    for value in ["a\r\nx-admin: 1", "a\nb", "a\0b", "a\u{7f}"] {
        let values = Values::of(&[], &[("key", value)]);
        let error = filled(json!({ "get": "https://a.example/", "headers": { "x-key": "{key}" } }), &values);
        assert_eq!(error.err(), Some(NotSent::Unfit(Unfit::Value("key".into()))));
    }
}

#[test]
fn basic_is_user_and_password() {
    let written = json!({ "get": "https://a.example/", "basic": { "user": "{user}", "password": "{key}" } });
    let request = filled(written.clone(), &Values::of(&[("user", "Aladdin")], &[("key", "open:sesame")])).unwrap();
    assert_eq!(request.headers["authorization"], "Basic QWxhZGRpbjpvcGVuOnNlc2FtZQ==");
    assert!(request.headers["authorization"].is_sensitive());
    let error = filled(written, &Values::of(&[("user", "a:b")], &[("key", "c")])).err();
    assert_eq!(error, Some(NotSent::Unfit(Unfit::Value("user".into()))));
}

#[test]
fn a_form_is_escaped_and_sorted_by_name() {
    let written = json!({ "post": "https://a.example/", "form": {
        "Version": "2011-06-15", "Action": "Get{what}", "secret": "{key}", "scope": "{scope?}"
    }});
    let request = filled(written, &Values::of(&[("what", "It")], &[("key", "a&b=c +ä")])).unwrap();
    assert_eq!(body(&request), "Action=GetIt&Version=2011-06-15&secret=a%26b%3Dc+%2B%C3%A4");
    assert_eq!(request.headers["content-type"], "application/x-www-form-urlencoded");
}

#[test]
fn json_leaves_out_what_is_absent() {
    let written = json!({ "post": "https://a.example/", "headers": { "content-type": "application/x" }, "json": {
        "a": "{key}", "b": "{x?}", "c": ["{x?}", 1, "{x?}", true, "{key}"], "d": { "e": "{x?}" }, "f": null, "g": [[], {}, "[" ]
    }});
    let request = filled(written, &Values::of(&[], &[("key", "q\"\\")])).unwrap();
    assert_eq!(body(&request), r#"{"a":"q\"\\","c":[1,true,"q\"\\"],"d":{},"f":null,"g":[[],{},"["]}"#);
    assert_eq!(request.headers["content-type"], "application/x");
}

#[test]
fn what_a_test_needs_and_lacks_is_named() {
    let missing = |name: &str| Some(NotSent::Unfit(Unfit::Missing(name.into())));
    let none = Values::default();
    for written in [
        json!({ "get": "https://a.example/{user}" }),
        json!({ "get": "https://a.example/", "headers": { "x": "{user}" } }),
        json!({ "post": "https://a.example/", "form": { "x": "{user}" } }),
        json!({ "post": "https://a.example/", "json": ["{user}"] }),
        json!({ "get": "https://a.example/", "basic": { "user": "{user}", "password": "x" } }),
    ] {
        assert_eq!(filled(written, &none).err(), missing("user"));
    }
}

proptest! {
    #[test]
    fn no_value_leaves_its_place_in_what_is_sent(value in "(?s).{1,40}") {
        let values = Values::of(&[], &[("key", &value)]);
        let request = filled(json!({ "post": "https://a.example/", "json": { "a": "{key}", "b": ["{key}"] } }), &values);
        let sent: Value = serde_json::from_slice(&request.unwrap().body).unwrap();
        prop_assert_eq!(sent, json!({ "a": value, "b": [value] }));

        let request = filled(json!({ "post": "https://a.example/", "form": { "a": "{key}", "b": "1" } }), &values).unwrap();
        let sent: BTreeMap<_, _> = form_urlencoded::parse(&request.body).into_owned().collect();
        prop_assert_eq!(sent, BTreeMap::from([("a".to_owned(), value.clone()), ("b".to_owned(), "1".to_owned())]));

        match filled(json!({ "get": "https://a.example/", "headers": { "x-a": "k {key}" } }), &values) {
            Err(error) => prop_assert_eq!(error, NotSent::Unfit(Unfit::Value("key".into()))),
            Ok(request) => {
                prop_assert_eq!(request.headers["x-a"].as_bytes().to_vec(), format!("k {value}").into_bytes());
                prop_assert!(!value.chars().any(|c| c.is_ascii_control()));
            }
        }
    }
}
