use proptest::prelude::*;

use super::*;

fn values() -> Values {
    Values::of(
        &[("host", "acme.example"), ("user", "a/b?c#d e"), ("dots", ".."), ("empty", ""), ("account", "ORG-MY_ONE")],
        &[("key", "k")],
    )
}

fn filled(text: &str) -> Result<Option<String>, Unfit> {
    Ok(Template::parse(text).unwrap().fill(&values())?.map(|text| text.to_string()))
}

#[test]
fn values_stand_where_their_names_stood() {
    assert_eq!(filled("Bearer {key}"), Ok(Some("Bearer k".into())));
    assert_eq!(filled("{key}{user?}-"), Ok(Some("ka/b?c#d e-".into())));
    assert_eq!(filled(""), Ok(Some(String::new())));
    assert_eq!(filled("x{absent?}"), Ok(None));
    assert_eq!(filled("x{empty?}"), Ok(None));
    assert_eq!(filled("x{empty}"), Err(Unfit::Missing("empty".into())));
}

#[test]
fn brackets_hold_names_and_nothing_else() {
    for bad in ["{", "}", "{}", "{?}", "{a", "a}", "{a b}", "{{a}}", "{a}}", "{a??}", "{ä}"] {
        assert!(Template::parse(bad).is_err(), "{bad}");
    }
    let template = Template::parse("{a}-{metadata.b?}").unwrap();
    assert_eq!(template.names().collect::<Vec<_>>(), ["a", "metadata.b"]);
}

#[test]
fn an_address_is_https_and_a_host_and_a_path() {
    for (bad, rule) in [
        ("http://a.example/", "https"),
        ("{host}/x", "https"),
        ("https{user}://a.example", "https"),
        ("https:///x", "name a host"),
        ("https://me@a.example/", "without a user"),
        ("https://a.example:8443/", "or a port"),
        ("https://{host}:443/", "or a port"),
        ("https://[::1]/", "without a user or a port"),
        ("https://a.example/#x", "fragment"),
        ("https://a.example/a b", "not an address"),
        ("https://a.example/../x", ". or .."),
        ("https://a.example/{", "bracket"),
    ] {
        let error = Address::parse(bad).expect_err(bad);
        assert!(error.contains(rule), "{bad}: {error}");
    }
    let constant = |text| Address::parse(text).unwrap().constant_host();
    assert_eq!(constant("https://a.example/{user}").as_deref(), Some("a.example"));
    assert_eq!(constant("https://a.example?x={user}").as_deref(), Some("a.example"));
    assert_eq!(constant("https://{user}.a.example"), None);
}

#[test]
fn a_value_in_an_address_stays_what_it_is() {
    let fill = |text: &str| Address::parse(text).unwrap().fill(&values()).map(|uri| uri.to_string());
    assert_eq!(fill("https://{host}/v1/{user}"), Ok("https://acme.example/v1/a%2Fb%3Fc%23d%20e".into()));
    assert_eq!(
        fill("https://x.{host}/?q={user}&r={absent?}"),
        Ok("https://x.acme.example/?q=a%2Fb%3Fc%23d%20e&r=".into())
    );
    assert_eq!(fill("https://{user}/"), Err(Unfit::Value("user".into())));
    assert_eq!(fill("https://x.{account}.example/{account}"), Ok("https://x.org-my-one.example/ORG-MY_ONE".into()));
    assert_eq!(fill("https://{absent}/"), Err(Unfit::Missing("absent".into())));
    assert_eq!(fill("https://a.example/{dots}/x"), Err(Unfit::Value("dots".into())));
    assert_eq!(fill("https://a.example/x{dots}/x"), Ok("https://a.example/x../x".into()));
}

#[test]
fn a_value_in_a_pointer_is_one_step() {
    let values = Values::of(&[("id", "a/b~c")], &[]);
    assert_eq!(Pointer::parse("/keys/{id}").unwrap().fill(&values), Ok("/keys/a~1b~0c".into()));
    assert!(Pointer::parse("keys").is_err());
}

proptest! {
    #[test]
    fn no_value_leaves_its_place_in_an_address(value in ".{1,40}") {
        let values = Values::of(&[("v", &value)], &[]);
        let address = Address::parse("https://a.example/p/{v}/q?r={v}&s=1").unwrap();
        match address.fill(&values) {
            Err(unfit) => prop_assert_eq!((unfit, value == "." || value == ".."), (Unfit::Value("v".into()), true)),
            Ok(uri) => {
                prop_assert_eq!(uri.host(), Some("a.example"));
                let segments: Vec<_> = uri.path().split('/').collect();
                prop_assert_eq!(segments.len(), 4);
                let decoded = percent_encoding::percent_decode_str(segments[2]).decode_utf8().unwrap();
                prop_assert_eq!(&*decoded, &value);
                let query: Vec<_> = form_urlencoded::parse(uri.query().unwrap().as_bytes()).into_owned().collect();
                prop_assert_eq!(query, [("r".to_owned(), value), ("s".to_owned(), "1".to_owned())]);
            }
        }
    }

    #[test]
    fn no_value_makes_a_host_more_than_a_host(value in ".{1,40}") {
        let values = Values::of(&[("v", &value)], &[]);
        if let Ok(uri) = Address::parse("https://{v}.a.example/x").unwrap().fill(&values) {
            let host = format!("{value}.a.example").to_ascii_lowercase().replace('_', "-");
            prop_assert_eq!(uri.host(), Some(host.as_str()));
            prop_assert_eq!((uri.path(), uri.port(), uri.query()), ("/x", None, None));
            prop_assert!(uri.authority().is_some_and(|authority| !authority.as_str().contains('@')));
        }
    }
}
