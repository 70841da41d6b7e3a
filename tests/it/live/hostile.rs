//! Uploads that want to choose where a secret goes, and providers that answer with malice. Nothing goes out, or nothing
//! comes of it, and no error quotes what was sent.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::*;
use strongroom::crypto::Secret;
use strongroom::http::{Client, Limits, Settings};

/// Refused before anything is resolved or sent.
#[test]
fn no_upload_chooses_where_its_secret_goes() {
    let registry = embedded();
    let hosts = [
        "https://evil.example/",
        "https://acme.openai.azure.com.evil.example",
        "https://acme.openai.azure.com@evil.example",
        "https://evil.example#.openai.azure.com",
        "https://evil.example?.openai.azure.com",
        "https://evil.example/.openai.azure.com",
        "https://evil.example\\.openai.azure.com",
        "https://acme.openai.azure.com:8443",
        "http://acme.openai.azure.com",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://[::ffff:127.0.0.1]/",
        "https://169.254.169.254/",
        "https://localhost/",
        "https://openai.azure.com/",
        "https://-.openai.azure.com/",
        "https://a.b.openai.azure.com/",
        "https://acme%2eopenai.azure.com/",
        "https://acme.openai.azure.com\r\nhost: evil.example",
    ];
    for endpoint in hosts {
        let upload = sample::many(&[("endpoint", endpoint), ("api_key", sample::AZURE_OPENAI)]);
        let refused = registry.get("azure_openai").unwrap().parse(&upload).expect_err(endpoint);
        assert_eq!(refused.field, "endpoint", "{endpoint}");
        assert!(!refused.to_string().contains(sample::AZURE_OPENAI));
        let upload = sample::many(&[("host", endpoint), ("token", sample::DATABRICKS)]);
        assert_eq!(registry.get("databricks").unwrap().parse(&upload).expect_err(endpoint).field, "host", "{endpoint}");
    }
    for (provider, field, value) in [
        ("snowflake", "account", "evil.example/x"),
        ("snowflake", "account", "acme-main.evil.example#"),
        ("datadog", "site", "evil.example"),
        ("datadog", "site", "datadoghq.com.evil.example"),
        ("aws_bedrock", "region", "eu-west-1.evil.example/"),
        ("oci_api_key", "region", "evil.example/-1"),
        ("azure_service_principal", "tenant_id", "../../common"),
        ("azure_service_principal", "cloud", "evil.example"),
    ] {
        let Upload::Fields(mut fields) = sample::upload(provider) else { panic!("{provider}") };
        fields.insert(field.into(), Secret::from(value.to_owned()));
        let refused = registry.get(provider).unwrap().parse(&Upload::Fields(fields)).expect_err(value);
        assert_eq!(refused.field, field, "{provider}: {value}");
    }
    for (key, value) in [
        ("token_uri", "https://evil.example/token"),
        ("token_uri", "http://169.254.169.254/token"),
        ("auth_uri", "https://evil.example/"),
        ("universe_domain", "evil.example"),
        ("client_x509_cert_url", "https://evil.example/robot/v1/metadata/x509/a"),
        ("client_email", "a@evil.example"),
        ("project_id", "../../evil"),
    ] {
        let mut file = sample::google_file();
        file[key] = value.into();
        let upload = Upload::Document(Secret::from(file.to_string()));
        let refused = registry.get("gcp_service_account").unwrap().parse(&upload).expect_err(value);
        assert_eq!(refused.field, key);
    }
}

/// The hosts are the registry's, and still nothing goes to an address inside.
#[tokio::test]
async fn names_that_lead_inside_are_not_followed() {
    let registry = Registry::parse(
        "providers.yml",
        &include_str!("../../../config/providers.yml").replace("api.openai.com", "inside.localhost"),
    )
    .unwrap();
    let world = scripted([says(200, &[], "{}")]);
    let settings = Settings { authorities: Some(world.authority.pem()), ..Settings::default() };
    let live = Live::new(Client::new(settings).unwrap(), Hosts::default());
    let provider = registry.get("openai").unwrap();
    let parsed = provider.parse(&sample::upload("openai")).unwrap();
    let outcome = live.probe(provider, &parsed.secret, &Metadata::new()).await;
    // The system may not know the name at all; what it must not be is reached.
    assert!(matches!(outcome.verdict, Misconfigured | ProviderUnreachable | NotFound), "{outcome:?}");
    assert_eq!(world.asked().len(), 0);
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_an_order() {
    for to in ["http://169.254.169.254/latest/meta-data/", "https://evil.example/", "/elsewhere"] {
        let (outcome, asked) =
            ask("openai", &sample::upload("openai"), &json!({}), [says(302, &[("location", to)], "")]).await;
        assert_eq!((outcome.verdict, outcome.reason.as_ref(), asked.len()), (Misconfigured, "redirect", 1));
    }
}

/// A provider that is broken, or wants to break us, has said nothing about the key.
#[tokio::test(flavor = "multi_thread")]
async fn malice_is_never_invalid() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let entities = "<!DOCTYPE x [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;&a;&a;\">]><ErrorResponse><Error><Code>&b;</Code></Error></ErrorResponse>";
    let all = ["openai", "aws_keys", "gcp_service_account", "slack"].map(async |provider| {
        for answer in [
            says(500, &[], &deep),
            says(503, &[], entities),
            says(500, &[], &"x".repeat(300_000)),
            says(200, &[], &"x".repeat(300_000)),
            Answer::Cut,
            Answer::Raw(b"HTTP/1.1 502 Bad\r\ncontent-length: 3\r\n\r\n\xff\xfe\x00".to_vec()),
        ] {
            let words = format!("{answer:.60?}");
            let (outcome, _) = ask(provider, &sample::upload(provider), &json!({}), [answer]).await;
            assert_eq!(outcome.verdict, ProviderUnreachable, "{provider}: {words}: {outcome:?}");
        }
    });
    // Each is asked a second time after a pause.
    futures_util::future::join_all(all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_bodies_end() {
    let world = scripted([Answer::SlowBody(Duration::from_millis(100))]);
    let limits = Limits { total: Duration::from_secs(2), ..Limits::default() };
    let live = Live::new(world.client_with(limits.clone()), Hosts::default());
    let provider = embedded().get("openai").unwrap();
    let parsed = provider.parse(&sample::upload("openai")).unwrap();
    let started = std::time::Instant::now();
    let outcome = live.probe(provider, &parsed.secret, &Metadata::new()).await;
    assert_eq!((outcome.verdict, outcome.reason.as_ref()), (ProviderUnreachable, "timeout"));
    // A body of so many bytes would take hours; a second try would take as long again.
    assert!(started.elapsed() >= limits.total && started.elapsed() < limits.total * 2);
}

/// Whoever is asked could send the secret back, to have it shown or logged.
#[tokio::test]
async fn an_echoed_secret_goes_nowhere() {
    let now = Arc::new(Mutex::new(Answer::Cut));
    let said = Arc::clone(&now);
    let world = World::start(move |_| said.lock().unwrap().clone());
    let live = Live::new(world.client(), Hosts::default());
    for provider in embedded().all().filter(|provider| provider.is_tested(&Metadata::new())) {
        let stored = provider.parse(&sample::upload(&provider.id)).unwrap().secret;
        let secrets = sample::secrets(&provider.id);
        let echo = secrets.join(" ");
        let echo = echo.replace('"', "");
        let body = json!({
            "ok": true, "success": true, "object": "list", "data": [[echo.clone(), echo.clone()]], "name": echo, "login": echo, "team_id": echo, "team": echo,
            "error": { "message": echo, "code": echo, "type": echo }, "message": echo, "code": echo,
            "result": { "id": echo, "status": "active", "expires_on": echo },
            "auth": { "accessToken": { "displayName": echo, "role": echo } },
            "access_token": "ya29.x", "error_description": echo, "displayName": echo, "userName": echo, "id": echo,
        });
        for status in [200, 400, 401, 403, 404, 429, 500] {
            let headers = [
                ("openai-organization", echo.as_str()),
                ("anthropic-organization-id", &echo),
                ("x-oauth-scopes", &echo),
            ];
            *now.lock().unwrap() = says(status, &headers, &body.to_string());
            let outcome = live.probe(provider, &stored, &Metadata::new()).await;
            assert!(!world.asked().is_empty(), "{}", provider.id);
            world.forget();
            let said = format!("{outcome:?}");
            for secret in &secrets {
                assert!(!said.contains(secret.as_str()), "{}: {status}: {said}", provider.id);
            }
        }
    }
}
