//! A plain provider that nobody wrote code for: its entry alone adds it, to a daemon that runs.

use super::*;

const ENTRY: &str = "
  - id: weather_pro
    title: Weather Pro
    category: saas
    class: long-lived
    docs: https://weather.example/keys
    fields:
      - name: api_key
        aliases: [WEATHER_API_KEY]
        must_be: wp_ and 32 letters and digits
        patterns: ['^wp_[A-Za-z0-9]{32}$']
        example: wp_EXAMPLEexampleEXAMPLEexampleEXAM
    environment: { WEATHER_API_KEY: '{api_key}' }
    limits: { per_minute: 30, burst: 3, at_once: 2 }
    rotation: { days: 180 }
    metadata:
      region: { enum: [eu, us] }
    test:
      hosts: [eu.weather.example, us.weather.example]
      names:
        - { name: host, of: metadata.region, choose: { eu: eu.weather.example, us: us.weather.example }, default: us.weather.example }
      steps:
        - post: 'https://{host}/v2/whoami'
          headers: { x-weather-key: '{api_key}', x-region: '{metadata.region?}' }
          json: { verbose: true }
          answers:
            - { status: [200], at: { /active: '^false$' }, outcome: invalid_credential, reason: disabled, hint: switch the key on }
            - { status: [418], outcome: insufficient_permission, reason: missing_scope, hint: add the scope `read` }
    identity: {}
";

fn registry(entry: &str) -> Registry {
    let embedded = include_str!("../../../config/providers.yml");
    let entry = entry.replace("    identity: {}\n", "");
    Registry::parse("providers.yml", &format!("{embedded}\n{entry}")).unwrap_or_else(|error| panic!("{error}"))
}

#[tokio::test]
async fn an_entry_is_all_that_a_plain_provider_needs() {
    let registry = registry(ENTRY);
    let key = "wp_Zq8Rk2Vn5Wm1Tx7Ly4Bc9Dh3Fj6Gs0Pa";
    let upload = sample::one("WEATHER_API_KEY", key);
    let ok = says(200, &[], r#"{"active":true}"#);

    let (outcome, asked) = ask_by(&registry, "weather_pro", &upload, &json!({ "region": "eu" }), [ok.clone()]).await;
    assert_eq!(outcome.verdict, Ok, "{outcome:?}");
    assert_eq!(line(&asked[0]), "POST eu.weather.example/v2/whoami");
    assert_eq!((asked[0].header("x-weather-key"), asked[0].header("x-region")), (key, "eu"));
    assert_eq!((asked[0].header("content-type"), asked[0].text()), ("application/json", r#"{"verbose":true}"#));

    let (_, asked) = ask_by(&registry, "weather_pro", &upload, &json!({}), [ok]).await;
    assert_eq!((line(&asked[0]).as_str(), asked[0].header("x-region")), ("POST us.weather.example/v2/whoami", ""));

    for (answer, verdict, reason) in [
        (says(200, &[], r#"{"active":false}"#), InvalidCredential, "disabled"),
        (says(418, &[], "{}"), InsufficientPermission, "missing_scope"),
        (says(401, &[], "{}"), InvalidCredential, "rejected"),
        (says(302, &[("location", "http://169.254.169.254/")], ""), Misconfigured, "redirect"),
        (says(500, &[], "{}"), ProviderUnreachable, "5xx"),
    ] {
        let (outcome, _) = ask_by(&registry, "weather_pro", &upload, &json!({}), [answer]).await;
        assert_eq!((outcome.verdict, outcome.reason.as_ref()), (verdict, reason));
    }
}

#[test]
fn a_mistake_in_an_entry_is_named_with_its_line() {
    let embedded = include_str!("../../../config/providers.yml");
    let first = embedded.lines().count() + 1;
    let refused = |from: &str, to: &str| {
        let entry = ENTRY.replace("    identity: {}\n", "").replace(from, to);
        let error = Registry::parse("mine.yml", &format!("{embedded}\n{entry}")).expect_err(to);
        assert_eq!(error.file, "mine.yml");
        assert!(error.line.is_some_and(|line| line as usize > first), "{error}");
        error.rule
    };
    for (from, to, words) in [
        ("{api_key}'", "{api_kye}'", "api_kye"),
        ("hosts: [eu.weather.example, us.weather.example]", "hosts: ['169.254.169.254']", "host"),
        ("'https://{host}/v2/whoami'", "'http://{host}/v2/whoami'", "https"),
        ("'https://{host}/v2/whoami'", "'https://{host}/v2/{api_key}'", "secret"),
        ("outcome: invalid_credential", "outcome: invalid", "invalid"),
        ("reason: disabled", "reason: because", "reason"),
        ("'^false$'", "'^(false$'", "pattern"),
        ("metadata.region, choose", "metadata.regoin, choose", "regoin"),
    ] {
        let rule = refused(from, to);
        assert!(rule.contains(words), "{to}: {rule}");
    }
}
