//! A plain provider that nobody wrote code for: its entry alone adds it, to a daemon that runs.

use super::*;
use crate::daemon::Daemon;

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
";

const KEY: &str = "wp_Zq8Rk2Vn5Wm1Tx7Ly4Bc9Dh3Fj6Gs0Pa";

fn registry(entry: &str) -> Registry {
    let embedded = include_str!("../../../config/providers.yml");
    Registry::parse("providers.yml", &format!("{embedded}\n{entry}")).unwrap_or_else(|error| panic!("{error}"))
}

#[tokio::test]
async fn an_entry_is_all_that_a_plain_provider_needs() {
    let registry = registry(ENTRY);
    let upload = sample::one("WEATHER_API_KEY", KEY);
    let ok = says(200, &[], r#"{"active":true}"#);

    let (outcome, asked) = ask_by(&registry, "weather_pro", &upload, &json!({ "region": "eu" }), [ok.clone()]).await;
    assert_eq!(outcome.verdict, Ok, "{outcome:?}");
    assert_eq!(line(&asked[0]), "POST eu.weather.example/v2/whoami");
    assert_eq!((asked[0].header("x-weather-key"), asked[0].header("x-region")), (KEY, "eu"));
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

/// From outside: the entry is written into the registry file of a daemon that runs, and read on SIGHUP.
#[test]
fn a_running_daemon_learns_a_provider_from_its_file() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("providers.yml");
    let embedded = include_str!("../../../config/providers.yml");
    std::fs::write(&file, embedded).unwrap();
    let world = World::start(|asked| match asked.header("x-weather-key") {
        KEY => says(200, &[], r#"{"active":true}"#),
        _ => says(401, &[], "{}"),
    });
    let config = format!("[providers]\nfile = {file:?}\n{}", world.config(&["us.weather.example"]));
    let daemon = Daemon::start_with(home.path(), &config);
    let setup = |key: &str| {
        let body = json!({ "fields": { "api_key": key } }).to_string();
        daemon.http("POST", "/integrations/acme/weather_pro/setup", &daemon.token, Some(&body))
    };
    let (status, said) = setup(KEY);
    assert!(status == 400 && said.contains("is not in the registry"), "{status} {said}");
    assert_eq!(world.asked().len(), 0);

    std::fs::write(&file, format!("{embedded}\n{}", ENTRY)).unwrap();
    daemon.signal("HUP");
    daemon.logged(|line| line.contains("were read anew and are in force"));
    let (status, said) = setup(KEY);
    let done: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((status, &done["version"]["state"]), (200, &json!("active")), "{said}");
    let (_, said) = setup("wp_Another2Vn5Wm1Tx7Ly4Bc9Dh3Fj6Gs0");
    let done: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(done["version"]["state"], "invalid", "{said}");
    let (_, said) = daemon.http("POST", "/integrations/acme/weather_pro/decrypt", &daemon.token, Some("{}"));
    assert!(said.contains(KEY), "the one that works is served: {said}");
}

#[test]
fn a_mistake_in_an_entry_is_named_with_its_line() {
    let embedded = include_str!("../../../config/providers.yml");
    let first = embedded.lines().count() + 1;
    let refused = |from: &str, to: &str| {
        let entry = ENTRY.replace(from, to);
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
