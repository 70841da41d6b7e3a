//! Uploads that would lead the daemon to where it must not go: refused from outside as inside, and nothing is sent.

use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::fake::{Answer, World};
use crate::live::sample;

const HOSTS: &[&str] = &[
    "*.googleapis.com",
    "*.openai.azure.com",
    "*.cloud.databricks.com",
    "*.snowflakecomputing.com",
    "*.datadoghq.com",
    "*.amazonaws.com",
    "*.oraclecloud.com",
    "login.microsoftonline.com",
    "*.evil.example",
    "evil.example",
];

/// An endpoint in every notation that might be read as another place than it looks.
const PLACES: &[&str] = &[
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
    "https://017700000001/",
    "https://[::1]/",
    "https://[::ffff:169.254.169.254]/",
    "https://169.254.169.254/",
    "https://localhost/",
    "https://metadata.google.internal/",
    "https://acme%2eopenai.azure.com/",
    "https://acme.openai.azure.com\r\nhost: evil.example",
    "file:///etc/passwd",
];

fn refused(daemon: &Daemon, provider: &str, body: &Value, field: &str) {
    for verb in ["setup", "validate"] {
        let path = format!("/integrations/acme/{provider}/{verb}");
        let (status, told) = daemon.http("POST", &path, &daemon.token, Some(&body.to_string()));
        assert_eq!(status, 400, "{provider} {verb} {field}: {told}");
        let problem: Value = serde_json::from_str(&told).expect("a problem");
        assert_eq!(problem["reason"], "INVALID", "{told}");
        assert_eq!(problem["field"], field, "{provider}: {told}");
        let rule = problem["detail"].as_str().and_then(|detail| detail.strip_prefix(&format!("{field}: ")));
        assert!(rule.is_some_and(|rule| rule.contains(' ')), "no rule is named: {told}");
        assert!(!told.contains("evil.example") && !told.contains("Zq8Rk2Vn5"), "quoted: {told}");
    }
}

#[test]
fn no_upload_chooses_where_it_is_sent() {
    let world = World::start(|_| Answer::status(200));
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start_with(home.path(), &world.config(HOSTS));
    let fields = |fields: &[(&str, &str)]| {
        let fields: serde_json::Map<_, _> =
            fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        json!({ "fields": fields })
    };
    for place in PLACES {
        refused(
            &daemon,
            "azure_openai",
            &fields(&[("endpoint", place), ("api_key", sample::AZURE_OPENAI)]),
            "endpoint",
        );
        refused(&daemon, "databricks", &fields(&[("host", place), ("token", sample::DATABRICKS)]), "host");
    }
    for account in
        ["evil.example/x", "acme-main.evil.example#", "127.0.0.1", "a@evil.example", "../x", "evil.example:443"]
    {
        let body = fields(&[("account", account), ("user", "etl_bot"), ("token", sample::SNOWFLAKE)]);
        refused(&daemon, "snowflake", &body, "account");
    }
    for site in ["evil.example", "datadoghq.com.evil.example", "evil.example#datadoghq.com", "169.254.169.254"] {
        refused(&daemon, "datadog", &fields(&[("site", site), ("api_key", sample::DATADOG)]), "site");
    }
    for region in ["evil.example/", "eu-west-1.evil.example", "eu-west-1#", "x@evil.example", "169.254.169.254"] {
        let keys = [("region", region), ("access_key_id", sample::AWS_ID), ("secret_access_key", sample::AWS_SECRET)];
        refused(&daemon, "aws_bedrock", &fields(&keys), "region");
        let key = [
            ("region", region),
            ("tenancy", sample::OCI_TENANCY),
            ("user", sample::OCI_USER),
            ("fingerprint", &sample::oci_fingerprint()),
            ("private_key", &sample::rsa_pem()),
        ];
        refused(&daemon, "oci_api_key", &fields(&key), "region");
        let mut body = fields(&keys[1..]);
        body["metadata"] = json!({ "region": region });
        refused(&daemon, "aws_keys", &body, "metadata.region");
    }
    for (field, value) in [("tenant_id", "../../common"), ("tenant_id", "evil.example/x"), ("cloud", "evil.example")] {
        let mut body = fields(&[
            ("tenant_id", sample::TENANT),
            ("client_id", sample::CLIENT),
            ("client_secret", sample::AZURE_SECRET),
        ]);
        body["fields"][field] = value.into();
        refused(&daemon, "azure_service_principal", &body, field);
    }
    for (field, value) in [
        ("token_uri", "https://evil.example/token"),
        ("token_uri", "http://169.254.169.254/token"),
        ("token_uri", "https://oauth2.googleapis.com@evil.example/token"),
        ("auth_uri", "https://evil.example/"),
        ("universe_domain", "evil.example"),
        ("client_x509_cert_url", "https://evil.example/robot/v1/metadata/x509/a"),
        ("client_email", "a@evil.example"),
        ("project_id", "../../evil.example"),
    ] {
        let mut file = sample::google_file();
        file[field] = value.into();
        refused(&daemon, "gcp_service_account", &json!({ "document": file }), field);
        refused(&daemon, "gcp_vertex", &json!({ "document": file }), field);
    }
    assert_eq!(world.asked().len(), 0);
    let (_, listed) = daemon.http("GET", "/integrations/acme", &daemon.token, None);
    assert!(!listed.contains("\"id\""), "something was stored: {listed}");
}

/// An owner's own test goes where the operator allows, and nowhere else.
#[test]
fn an_owners_test_goes_only_where_the_operator_allows() {
    let world = World::start(|_| Answer::status(200));
    let home = tempfile::tempdir().unwrap();
    let config = world.config(&["api.owner.example", "other.example", "localhost"]);
    let daemon = Daemon::start_with(home.path(), &format!("{config}owner_hosts = [\"api.owner.example\"]\n"));
    let validate = |url: &str| {
        let test = json!({ "get": url, "headers": { "x-key": "{password}" } });
        let body = json!({ "fields": { "password": "Zq8Rk2Vn5Wm1" }, "metadata": { "test": test } });
        daemon.http("POST", "/integrations/acme/saas_generic/validate", &daemon.token, Some(&body.to_string()))
    };
    let (status, told) = validate("https://api.owner.example/me");
    assert!(status == 200 && told.contains(r#""outcome":"ok""#), "{told}");
    assert_eq!(world.asked_once().header("x-key"), "Zq8Rk2Vn5Wm1");
    world.forget();
    for place in [
        "https://other.example/",
        "https://localhost/",
        "https://127.0.0.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://api.openai.com/v1/models",
        "https://api.owner.example.other.example/",
    ] {
        let (status, told) = validate(place);
        assert!(status == 200 && told.contains("misconfigured") && told.contains("endpoint"), "{place}: {told}");
    }
    for place in [
        "http://api.owner.example/",
        "https://api.owner.example:8443/",
        "https://a@api.owner.example/",
        "https://[::1]/",
        "https://{password}/",
        "https://api.owner.example/{password}",
    ] {
        let (status, told) = validate(place);
        assert!(status == 400 && told.contains("metadata.test"), "{place}: {status} {told}");
    }
    assert_eq!(world.asked().len(), 0);
}

/// Without a word of the operator's, a name that leads to this machine leads nowhere, and nothing is loud.
#[test]
fn nothing_is_private_by_default() {
    let world = World::start(|_| Answer::status(200));
    let home = tempfile::tempdir().unwrap();
    let config = format!("{}owner_hosts = [\"localhost\"]\n", world.config(&[]));
    let daemon = Daemon::start_with(home.path(), &config);
    let test = json!({ "get": "https://localhost/", "headers": { "x-key": "{password}" } });
    let body = json!({ "fields": { "password": "Zq8Rk2Vn5Wm1" }, "metadata": { "test": test } }).to_string();
    let (status, told) = daemon.http("POST", "/integrations/acme/saas_generic/validate", &daemon.token, Some(&body));
    assert!(status == 200 && told.contains("misconfigured") && told.contains("no public address"), "{told}");
    assert_eq!(world.asked().len(), 0);
    assert!(!daemon.log().contains("outbound.private_hosts: connection tests"), "nothing to be loud about");
}
