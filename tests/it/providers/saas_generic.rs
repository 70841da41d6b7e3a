//! saas_generic: anything, always JSON, keyed.

use super::*;

#[test]
fn saas_generic_takes_any_texts_and_keeps_them_as_json() {
    let parsed = parse("saas_generic", &fields(&[("user", "etl"), ("Pass.word-1", " p\"ä\\ss\u{7f} word\u{1f600}\n")]));
    refused("saas_generic", &fields(&[("user", "a\u{1}b")]), "user", "has a control character inside");
    assert!(parsed.is_err(), "DEL is a control character");
    let parsed =
        parse("saas_generic", &fields(&[("user", "etl"), ("Pass.word-1", " p\"ä\\ss\tword\u{1f600}\n")])).unwrap();
    assert_eq!(text(&parsed), "{\"Pass.word-1\":\"p\\\"ä\\\\ss\\tword\u{1f600}\",\"user\":\"etl\"}");
    assert!(parsed.public_identity.is_empty());
    assert_eq!(text(&parse("saas_generic", &fields(&[("token", "abc")])).unwrap()), r#"{"token":"abc"}"#);
    assert_eq!(text(&parse("saas_generic", &document(r#"{"b":"2","a":"1"}"#)).unwrap()), r#"{"a":"1","b":"2"}"#);
    assert_eq!(text(&parse("saas_generic", &fields(&[("key", "-----\na\n")])).unwrap()), r#"{"key":"-----\na\n"}"#);
    assert!(parse("saas_generic", &fields(&[("other_key", ANTHROPIC)])).is_ok(), "any service means any");
}

#[test]
fn passwords_are_not_mistaken_for_placeholders() {
    for password in ["$Passw0rd", "my-dog-rex", "<3 you", "[7]x", "replace the roof", "00000001", "changes-me"] {
        assert!(parse("saas_generic", &fields(&[("password", password)])).is_ok(), "{password}");
    }
    for placeholder in
        ["YOUR_SECRET", "your-api-key-here", "<token>", "[api key]", "$API_KEY", "${X}", "%KEY%", "ChangeMe!1"]
    {
        refused("saas_generic", &fields(&[("password", placeholder)]), "password", "is a placeholder");
    }
}

#[test]
fn saas_generic_still_has_limits() {
    refused("saas_generic", &fields(&[]), "fields", "must hold at least one");
    refused("saas_generic", &document("{}"), "fields", "must hold at least one");
    refused("saas_generic", &document("s3cret"), "document", "is not valid JSON");
    refused("saas_generic", &fields(&[("password", "changeme")]), "password", "is a placeholder");
    refused("saas_generic", &fields(&[("password", " ")]), "password", "is empty");
    refused("saas_generic", &fields(&[("", "x")]), "fields", "has a name that is not 1 to 40 letters");
    refused("saas_generic", &fields(&[("a b", "x")]), "fields", "has a name that is not 1 to 40 letters");
    refused("saas_generic", &fields(&[("../x", "x")]), "fields", "has a name that is not 1 to 40 letters");
    refused("saas_generic", &fields(&[(&OPENAI_OLD.replace('T', "t"), "x")]), "fields", "has a name that is not");
    refused("saas_generic", &fields(&[(OPENAI, "x")]), "fields", "has a name that looks like a key");
    refused("saas_generic", &document(r#"{"port": 5432}"#), "document", "must be a text");
    refused("saas_generic", &document(r#"{"db": {"user": "x"}}"#), "document", "must be a text");
    refused("saas_generic", &fields(&[("file", &"a".repeat(20_000))]), "file", "is longer than 16384 bytes");
    let big = "a".repeat(16_000);
    let five: Vec<(&str, &str)> = ["a", "b", "c", "d", "e"].map(|name| (name, big.as_str())).into();
    refused("saas_generic", &fields(&five), "fields", "are longer than 65536 bytes together");
}
