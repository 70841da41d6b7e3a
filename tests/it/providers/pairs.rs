//! The providers whose credential has several fields: dockerhub, databricks, snowflake, datadog, azure_openai,
//! aws_bedrock, gcp_vertex.

use super::*;

#[test]
fn each_way_to_prove_oneself_is_taken() {
    let key = rsa_pem();
    for (provider, given, remarks) in [
        ("dockerhub", vec![("username", "acmebuilds"), ("token", DOCKERHUB)], 0),
        ("dockerhub", vec![("DOCKER_USERNAME", "acmebuilds"), ("DOCKER_PASSWORD", DOCKERHUB)], 0),
        ("databricks", vec![("host", DATABRICKS_HOST), ("token", DATABRICKS)], 0),
        ("databricks", vec![("host", DATABRICKS_HOST), ("client_id", CLIENT), ("client_secret", DATABRICKS_SECRET)], 0),
        ("snowflake", vec![("account", "ACMEORG-PROD_1"), ("user", "etl@acme.example"), ("token", SNOWFLAKE)], 0),
        ("snowflake", vec![("account", "xy12345.eu-central-1"), ("user", "ETL"), ("private_key", &key)], 0),
        ("datadog", vec![("api_key", DATADOG)], 0),
        ("datadog", vec![("api_key", DATADOG), ("app_key", DATADOG_APP), ("site", "us3.datadoghq.com")], 0),
        ("datadog", vec![("DD_API_KEY", DATADOG), ("DD_APP_KEY", "ddapp_Zq8Rk2Vn5Wm1Tx7Ly4Bc9Dh3Fj6Gs0Pa")], 1),
        ("azure_openai", vec![("endpoint", "https://acme.openai.azure.com/"), ("api_key", DATADOG)], 0),
        (
            "azure_openai",
            vec![
                ("endpoint", "https://acme.services.ai.azure.com"),
                ("tenant_id", TENANT),
                ("client_id", CLIENT),
                ("client_secret", AZURE_SECRET),
                ("api_version", "2025-01-01-preview"),
                ("deployment", "gpt-4o"),
            ],
            0,
        ),
        ("aws_bedrock", vec![("region", "eu-west-1"), ("api_key", BEDROCK)], 0),
        (
            "aws_bedrock",
            vec![
                ("AWS_REGION", "eu-west-1"),
                ("AWS_ACCESS_KEY_ID", "AKIAQNZGKIQY56JQ7WML"),
                ("AWS_SECRET_ACCESS_KEY", AWS_SECRET),
            ],
            0,
        ),
    ] {
        let parsed = parse(provider, &fields(&given)).unwrap_or_else(|invalid| panic!("{provider}: {invalid}"));
        assert_eq!(parsed.warnings.len(), remarks, "{provider}: {:?}", parsed.warnings);
        for (name, _) in &given {
            assert!(!registry().get(provider).unwrap().title.is_empty(), "{name}");
        }
        let again = parse(provider, &Upload::Document(parsed.secret.clone())).unwrap();
        assert_eq!(again.secret, parsed.secret, "{provider}");
    }
    assert!(parse("gcp_vertex", &document(google_file().to_string())).is_ok());
    assert!(parse("gcp_vertex", &document(google_with("project_id", "x".into()))).is_err());
}

#[test]
fn ways_are_not_mixed() {
    let key = rsa_pem();
    for (provider, given, field, words) in [
        (
            "databricks",
            vec![("host", DATABRICKS_HOST), ("token", DATABRICKS), ("client_id", CLIENT)],
            "client_id",
            "is one too many: give token, or client_id and client_secret",
        ),
        ("databricks", vec![("host", DATABRICKS_HOST)], "token", "is missing: give token, or"),
        ("databricks", vec![("host", DATABRICKS_HOST), ("client_id", CLIENT)], "client_secret", "is missing: give"),
        ("databricks", vec![("token", DATABRICKS)], "host", "is missing"),
        (
            "snowflake",
            vec![("account", "A-B"), ("user", "U"), ("token", SNOWFLAKE), ("private_key", &key)],
            "private_key",
            "is one too many",
        ),
        (
            "snowflake",
            vec![("account", "A-B"), ("user", "U"), ("token", SNOWFLAKE), ("pass_phrase", "four words of it")],
            "pass_phrase",
            "does not belong here: it comes only with private_key",
        ),
        (
            "aws_bedrock",
            vec![("region", "eu-west-1"), ("api_key", BEDROCK), ("session_token", "FwoGZXIvYXdz")],
            "session_token",
            "",
        ),
        (
            "azure_openai",
            vec![("endpoint", "https://acme.openai.azure.com"), ("api_key", DATADOG), ("tenant_id", TENANT)],
            "tenant_id",
            "is one too many: give api_key, or tenant_id and client_id and client_secret",
        ),
        ("dockerhub", vec![("token", DOCKERHUB)], "username", "is missing"),
        ("datadog", vec![("app_key", DATADOG_APP)], "api_key", "is missing"),
    ] {
        refused(provider, &fields(&given), field, words);
    }
}

#[test]
fn what_was_pasted_instead_is_named() {
    for (provider, given, field, words) in [
        ("dockerhub", vec![("username", "Acme"), ("token", DOCKERHUB)], "username", "lower-case"),
        ("dockerhub", vec![("username", "ops@acme.example"), ("token", DOCKERHUB)], "username", "an e-mail address"),
        (
            "dockerhub",
            vec![("username", "acmebuilds"), ("token", "correct-horse-battery")],
            "token",
            "must be an access token",
        ),
        (
            "databricks",
            vec![("host", "https://accounts.cloud.databricks.com"), ("token", DATABRICKS)],
            "host",
            "console of the account",
        ),
        ("databricks", vec![("host", "http://a.cloud.databricks.com"), ("token", DATABRICKS)], "host", "without TLS"),
        (
            "databricks",
            vec![("host", "a.cloud.databricks.com"), ("token", DATABRICKS)],
            "host",
            "must begin with https://",
        ),
        (
            "databricks",
            vec![("host", "https://a.cloud.databricks.com.evil.example"), ("token", DATABRICKS)],
            "host",
            "must be the address",
        ),
        (
            "databricks",
            vec![("host", "https://a.cloud.databricks.com@evil.example"), ("token", DATABRICKS)],
            "host",
            "must be the address",
        ),
        (
            "databricks",
            vec![("host", DATABRICKS_HOST), ("token", DATABRICKS_SECRET)],
            "token",
            "send it as client_secret",
        ),
        (
            "snowflake",
            vec![("account", "https://a-b.snowflakecomputing.com"), ("user", "U"), ("token", SNOWFLAKE)],
            "account",
            "this is an address",
        ),
        (
            "snowflake",
            vec![("account", "A-B/x"), ("user", "U"), ("token", SNOWFLAKE)],
            "account",
            "must be the account's identifier",
        ),
        (
            "snowflake",
            vec![("account", "A-B"), ("user", "U"), ("password", "x")],
            "password",
            "a password is not accepted",
        ),
        ("datadog", vec![("api_key", DATADOG_APP)], "api_key", "may be swapped"),
        ("datadog", vec![("api_key", DATADOG), ("app_key", DATADOG)], "app_key", "may be swapped"),
        ("datadog", vec![("api_key", DATADOG), ("site", "https://app.datadoghq.eu")], "site", "give the site alone"),
        ("datadog", vec![("api_key", DATADOG), ("site", "evil.example")], "site", "must be a Datadog site"),
        (
            "azure_openai",
            vec![("endpoint", "http://acme.openai.azure.com"), ("api_key", DATADOG)],
            "endpoint",
            "without TLS",
        ),
        (
            "azure_openai",
            vec![("endpoint", "https://acme.openai.azure.com/openai/v1"), ("api_key", DATADOG)],
            "endpoint",
            "must end after",
        ),
        (
            "azure_openai",
            vec![("endpoint", "https://acme.openai.azure.com.evil.example"), ("api_key", DATADOG)],
            "endpoint",
            "must be the address",
        ),
        (
            "azure_openai",
            vec![("endpoint", "https://a@acme.openai.azure.com"), ("api_key", DATADOG)],
            "endpoint",
            "must be the address",
        ),
        (
            "azure_openai",
            vec![("endpoint", "https://acme.openai.azure.com"), ("api_key", OPENAI)],
            "api_key",
            "set it up as openai",
        ),
        (
            "aws_bedrock",
            vec![("region", "eu-west-1"), ("api_key", "AKIAQNZGKIQY56JQ7WML")],
            "api_key",
            "this is an access key id",
        ),
        ("aws_bedrock", vec![("region", "eu-west-1a"), ("api_key", BEDROCK)], "region", "availability zone"),
    ] {
        refused(provider, &fields(&given), field, words);
    }
}

#[test]
fn sections_and_lines_are_taken() {
    let cfg =
        format!("[DEFAULT]\nhost = {DATABRICKS_HOST}\ntoken = {DATABRICKS}\nauth_type = pat\n[other]\nhost = x\n");
    assert!(parse("databricks", &document(cfg)).is_ok());
    let lines = format!("DD_API_KEY={DATADOG}\nDD_SITE=\"datadoghq.eu\"\n");
    assert_eq!(parse("datadog", &document(lines)).unwrap().public_identity["site"], "datadoghq.eu");
}
