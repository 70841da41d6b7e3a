//! The providers that a key in a header is enough for.

use super::*;

#[tokio::test]
async fn openai() {
    let upload = sample::upload("openai");
    let metadata = json!({ "organization": "org-Abcdefghij12", "project": "proj_Abc123" });
    let models = says(200, &[("openai-organization", "acme-inc")], r#"{"object":"list","data":[]}"#);

    let (outcome, asked) = ask("openai", &upload, &metadata, [models.clone()]).await;
    assert_eq!(line(&asked[0]), "GET api.openai.com/v1/models");
    assert_eq!(asked[0].header("authorization"), format!("Bearer {}", sample::OPENAI));
    assert_eq!(asked[0].header("openai-organization"), "org-Abcdefghij12");
    assert_eq!(asked[0].header("openai-project"), "proj_Abc123");
    assert_eq!(outcome.learned.identity.get("organization").map(String::as_str), Some("acme-inc"));

    let (_, asked) = ask("openai", &upload, &json!({}), [models.clone()]).await;
    assert_eq!((asked[0].header("openai-organization"), asked[0].header("openai-project")), ("", ""));

    let error = |code: &str, message: &str| {
        format!(r#"{{"error":{{"message":"{message}","type":"invalid_request_error","param":null,"code":{code}}}}}"#)
    };
    let scopes = error("null", "You have insufficient permissions for this operation. Missing scopes: api.model.read.");
    each(
        "openai",
        [
            (models, Ok, ""),
            (
                says(401, &[], &error("\"invalid_api_key\"", "Incorrect API key provided")),
                InvalidCredential,
                "rejected",
            ),
            (says(401, &[], &scopes), Ok, "limited"),
            (says(403, &[], &scopes), Ok, "limited"),
            (
                says(401, &[], &error("null", "You must be a member of an organization to use the API")),
                Misconfigured,
                "",
            ),
            (
                says(401, &[], &error("\"mismatched_organization\"", "OpenAI-Organization header should match")),
                Misconfigured,
                "",
            ),
            (says(401, &[], &error("null", "Your IP not authorized")), InsufficientPermission, "ip_restricted"),
            (
                says(
                    403,
                    &[],
                    &error("\"unsupported_country_region_territory\"", "Country, region, or territory not supported"),
                ),
                InsufficientPermission,
                "",
            ),
            (
                says(429, &[("retry-after", "20")], &error("\"rate_limit_exceeded\"", "Rate limit reached")),
                RateLimited,
                "throttled",
            ),
            (
                says(429, &[], &error("\"insufficient_quota\"", "You exceeded your current quota")),
                RateLimited,
                "quota_exhausted",
            ),
            (says(503, &[], "busy"), ProviderUnreachable, "overloaded"),
        ],
    )
    .await;
}

#[tokio::test]
async fn anthropic() {
    let (_, asked) =
        ask("anthropic", &sample::upload("anthropic"), &json!({}), [says(200, &[], r#"{"data":[]}"#)]).await;
    assert_eq!(line(&asked[0]), "GET api.anthropic.com/v1/models?limit=1");
    assert_eq!(asked[0].header("x-api-key"), sample::ANTHROPIC);
    assert_eq!(asked[0].header("anthropic-version"), "2023-06-01");

    let error = |kind: &str, message: &str| {
        format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"{message}"}},"request_id":"req_1"}}"#)
    };
    each(
        "anthropic",
        [
            (
                says(200, &[("anthropic-organization-id", "0f1e2d3c-0000-4000-8000-000000000001")], r#"{"data":[]}"#),
                Ok,
                "",
            ),
            (says(401, &[], &error("authentication_error", "invalid x-api-key")), InvalidCredential, "rejected"),
            (says(402, &[], &error("billing_error", "no credit")), RateLimited, "quota_exhausted"),
            (says(403, &[], &error("permission_error", "not allowed")), InsufficientPermission, ""),
            (says(404, &[], &error("not_found_error", "not found")), NotFound, ""),
            (says(429, &[("retry-after", "30")], &error("rate_limit_error", "slow down")), RateLimited, "throttled"),
            (says(500, &[], &error("api_error", "oops")), ProviderUnreachable, "5xx"),
            (says(504, &[], &error("timeout_error", "oops")), ProviderUnreachable, ""),
            (says(529, &[], &error("overloaded_error", "Overloaded")), ProviderUnreachable, "overloaded"),
        ],
    )
    .await;
}

#[tokio::test]
async fn gemini() {
    let (_, asked) = ask("gemini", &sample::upload("gemini"), &json!({}), [says(200, &[], r#"{"models":[]}"#)]).await;
    assert_eq!(
        line(&asked[0]),
        "GET generativelanguage.googleapis.com/v1beta/models?pageSize=1",
        "the key is not in the address"
    );
    assert_eq!(asked[0].header("x-goog-api-key"), sample::GEMINI);

    let error = |code: u16, status: &str, message: &str, reason: &str| {
        format!(
            r#"{{"error":{{"code":{code},"message":"{message}","status":"{status}","details":[{{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"{reason}","domain":"googleapis.com"}}]}}}}"#
        )
    };
    each(
        "gemini",
        [
            (says(200, &[], r#"{"models":[{"name":"models/x"}]}"#), Ok, ""),
            (
                says(
                    400,
                    &[],
                    &error(
                        400,
                        "INVALID_ARGUMENT",
                        "API key not valid. Please pass a valid API key.",
                        "API_KEY_INVALID",
                    ),
                ),
                InvalidCredential,
                "rejected",
            ),
            (
                says(403, &[], &error(403, "PERMISSION_DENIED", "blocked", "API_KEY_IP_ADDRESS_BLOCKED")),
                InsufficientPermission,
                "ip_restricted",
            ),
            (
                says(403, &[], &error(403, "PERMISSION_DENIED", "blocked", "API_KEY_SERVICE_BLOCKED")),
                InsufficientPermission,
                "",
            ),
            (
                says(
                    403,
                    &[],
                    &error(
                        403,
                        "PERMISSION_DENIED",
                        "Your API key was reported as leaked. Please use another API key.",
                        "",
                    ),
                ),
                InvalidCredential,
                "revoked",
            ),
            (
                says(403, &[], &error(403, "PERMISSION_DENIED", "has not been used", "SERVICE_DISABLED")),
                Misconfigured,
                "api_disabled",
            ),
            (
                says(401, &[], &error(401, "UNAUTHENTICATED", "wrong type", "ACCESS_TOKEN_TYPE_UNSUPPORTED")),
                Misconfigured,
                "",
            ),
            (
                says(
                    400,
                    &[],
                    &error(400, "FAILED_PRECONDITION", "User location is not supported for the API use.", ""),
                ),
                InsufficientPermission,
                "",
            ),
            (says(429, &[], &error(429, "RESOURCE_EXHAUSTED", "quota", "RATE_LIMIT_EXCEEDED")), RateLimited, ""),
            (says(503, &[], "{}"), ProviderUnreachable, ""),
        ],
    )
    .await;
}

#[tokio::test]
async fn cloudflare() {
    let active = r#"{"success":true,"errors":[],"messages":[{"code":10000,"message":"This API Token is valid and active"}],"result":{"id":"f267e341f3dd4697bd3b9f71dd96247f","status":"active","not_before":"2026-07-01T05:20:00Z","expires_on":"2037-01-01T00:00:00Z"}}"#;
    let fails = |code: u32, message: &str| {
        format!(r#"{{"success":false,"errors":[{{"code":{code},"message":"{message}"}}],"messages":[],"result":null}}"#)
    };
    let unknown = says(401, &[], &fails(1000, "Invalid API Token"));

    let (outcome, asked) = ask("cloudflare", &sample::upload("cloudflare"), &json!({}), [says(200, &[], active)]).await;
    assert_eq!(line(&asked[0]), "GET api.cloudflare.com/client/v4/user/tokens/verify");
    assert_eq!(asked[0].header("authorization"), format!("Bearer {}", sample::CLOUDFLARE));
    assert_eq!(outcome.learned.expires_at, Some("2037-01-01T00:00:00Z".parse().unwrap()));

    let account = json!({ "account_id": "0123456789abcdef0123456789abcdef" });
    let path = "GET api.cloudflare.com/client/v4/accounts/0123456789abcdef0123456789abcdef/tokens/verify";
    let of_account = sample::one("api_token", "cfat_Zq8Rk2Vn5Wm1Tx7Ly4Bc9Dh3Fj6Gs0PaUe9Iw2ok0a1b2c3d");
    let (outcome, asked) = ask("cloudflare", &of_account, &account, [says(200, &[], active)]).await;
    assert_eq!((asked.len(), line(&asked[0]).as_str(), outcome.verdict), (1, path, Ok));

    // An older token does not say whose it is: asked as a user's first, then as the account's.
    let old = sample::one("api_token", "Zq8Rk2Vn5Wm1Tx7Ly4Bc9Dh3Fj6Gs0Pa_Ue-Iw2o");
    let (outcome, asked) = ask("cloudflare", &old, &account, [unknown.clone(), says(200, &[], active)]).await;
    assert_eq!((asked.len(), line(&asked[1]).as_str(), outcome.verdict), (2, path, Ok));
    let (outcome, asked) = ask("cloudflare", &old, &json!({}), [unknown.clone()]).await;
    assert_eq!((asked.len(), outcome.verdict), (1, InvalidCredential));

    each("cloudflare", [
        (says(200, &[], active), Ok, ""),
        (unknown, InvalidCredential, "rejected"),
        (says(200, &[], &active.replace("\"active\"", "\"disabled\"")), InvalidCredential, "disabled"),
        (says(200, &[], &active.replace("\"active\"", "\"expired\"")), InvalidCredential, "expired"),
        (says(200, &[], &fails(1000, "Invalid API Token")), InvalidCredential, "rejected"),
        (says(400, &[], r#"{"success":false,"errors":[{"code":6003,"message":"Invalid request headers","error_chain":[{"code":6111,"message":"Invalid format for Authorization header"}]}],"messages":[],"result":null}"#), Misconfigured, "format"),
        (says(403, &[], &fails(10000, "Authentication error")), InsufficientPermission, ""),
        (says(403, &[], &fails(9109, "Cannot use the access token from location: 192.0.2.1")), InsufficientPermission, "ip_restricted"),
        (says(429, &[("retry-after", "300")], "{}"), RateLimited, "throttled"),
        (says(502, &[], "<html>bad gateway</html>"), ProviderUnreachable, "5xx"),
    ]).await;
}

#[tokio::test]
async fn huggingface() {
    let known = r#"{"type":"user","name":"u","orgs":[{"name":"o","roleInOrg":"admin"}],"auth":{"type":"access_token","accessToken":{"displayName":"ci","role":"read"}}}"#;
    let (outcome, asked) =
        ask("huggingface", &sample::upload("huggingface"), &json!({}), [says(200, &[], known)]).await;
    assert_eq!(line(&asked[0]), "GET huggingface.co/api/whoami-v2");
    assert_eq!(outcome.learned.identity.values().filter(|value| *value == "u" || *value == "read").count(), 2);
    each(
        "huggingface",
        [
            (says(200, &[], known), Ok, ""),
            (
                says(401, &[], r#"{"error":"Invalid credentials in Authorization header"}"#),
                InvalidCredential,
                "rejected",
            ),
            (says(403, &[], "{}"), InsufficientPermission, ""),
            (says(429, &[], "{}"), RateLimited, "throttled"),
            (says(500, &[], "{}"), ProviderUnreachable, "5xx"),
        ],
    )
    .await;
}

#[tokio::test]
async fn dockerhub() {
    let (_, asked) =
        ask("dockerhub", &sample::upload("dockerhub"), &json!({}), [says(200, &[], r#"{"access_token":"eyJ.x.y"}"#)])
            .await;
    assert_eq!(line(&asked[0]), "POST hub.docker.com/v2/auth/token");
    let sent: Value = serde_json::from_slice(&asked[0].body).unwrap();
    assert_eq!(sent, json!({ "identifier": "acmebot", "secret": sample::DOCKER }));
    each(
        "dockerhub",
        [
            (says(200, &[], r#"{"access_token":"eyJ.x.y"}"#), Ok, ""),
            (says(401, &[], r#"{"message":"Incorrect authentication credentials"}"#), InvalidCredential, "rejected"),
            (
                says(
                    401,
                    &[],
                    r#"{"detail":"Require secondary authentication on MFA enabled account","login_2fa_token":"x"}"#,
                ),
                InvalidCredential,
                "wrong_type",
            ),
            (says(429, &[("x-retry-after", "60")], "{}"), RateLimited, "throttled"),
            (says(503, &[], "{}"), ProviderUnreachable, "overloaded"),
        ],
    )
    .await;
}

#[tokio::test]
async fn github() {
    let user = r#"{"login":"octo","id":42,"type":"User"}"#;
    let ends = ("github-authentication-token-expiration", "2037-02-03 04:05:06 UTC");
    let (outcome, asked) = ask(
        "github",
        &sample::upload("github"),
        &json!({}),
        [says(200, &[ends, ("x-oauth-scopes", "repo, read:org")], user)],
    )
    .await;
    assert_eq!(line(&asked[0]), "GET api.github.com/user");
    assert_eq!(asked[0].header("accept"), "application/vnd.github+json");
    assert_eq!(asked[0].header("x-github-api-version"), "2022-11-28");
    assert!(asked[0].header("user-agent").starts_with("strongroom/"));
    assert_eq!(outcome.learned.expires_at, Some("2037-02-03T04:05:06Z".parse().unwrap()));
    assert_eq!(outcome.learned.identity.get("login").map(String::as_str), Some("octo"));

    let installation = sample::one(
        "token",
        &format!("ghs_123456_eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiIxMjM0NTYifQ.{}", "Zq8Rk2Vn5_".repeat(20)),
    );
    let (_, asked) = ask("github", &installation, &json!({}), [says(200, &[], r#"{"total_count":1}"#)]).await;
    assert_eq!(line(&asked[0]), "GET api.github.com/installation/repositories?per_page=1");

    each("github", [
        (says(200, &[], user), Ok, ""),
        (says(401, &[], r#"{"message":"Bad credentials","documentation_url":"https://docs.github.com/rest","status":"401"}"#), InvalidCredential, "rejected"),
        (says(403, &[("x-ratelimit-remaining", "0")], r#"{"message":"API rate limit exceeded"}"#), RateLimited, "throttled"),
        (says(429, &[("retry-after", "60")], "{}"), RateLimited, "throttled"),
        (says(403, &[("x-github-sso", "required; url=https://github.com/orgs/acme/sso")], "{}"), InsufficientPermission, "sso_required"),
        (says(403, &[("x-ratelimit-remaining", "4999")], r#"{"message":"Resource not accessible by integration"}"#), Ok, "limited"),
        (says(500, &[], "{}"), ProviderUnreachable, "5xx"),
    ]).await;
}

#[tokio::test]
async fn databricks() {
    let me = r#"{"id":"1","userName":"bot@acme.example","displayName":"bot"}"#;
    let (_, asked) = ask("databricks", &sample::upload("databricks"), &json!({}), [says(200, &[], me)]).await;
    assert_eq!(line(&asked[0]), "GET dbc-1a2b3c4d-5e6f.cloud.databricks.com/api/2.0/preview/scim/v2/Me");

    let machine = sample::many(&[
        ("host", "https://adb-1234567890123456.7.azuredatabricks.net"),
        ("client_id", "0f1e2d3c-4b5a-4697-8877-665544332211"),
        ("client_secret", "dose0a1b2c3d4e5f60718293a4b5c6d7e8f9"),
    ]);
    let (outcome, asked) =
        ask("databricks", &machine, &json!({}), [says(200, &[], r#"{"access_token":"x","token_type":"Bearer"}"#)])
            .await;
    assert_eq!(line(&asked[0]), "POST adb-1234567890123456.7.azuredatabricks.net/oidc/v1/token");
    assert_eq!(asked[0].text(), "grant_type=client_credentials&scope=all-apis");
    assert!(asked[0].header("authorization").starts_with("Basic "));
    assert_eq!(outcome.verdict, Ok);

    each("databricks", [
        (says(200, &[], me), Ok, ""),
        (says(401, &[], r#"{"error_code":401,"message":"Invalid access token."}"#), InvalidCredential, "rejected"),
        (says(403, &[], r#"{"error_code":"403","message":"Invalid access token."}"#), InvalidCredential, "rejected"),
        (says(403, &[], r#"{"error_code":"403","message":"Source IP address: 192.0.2.1 is blocked by Databricks IP ACL for workspace"}"#), InsufficientPermission, "ip_restricted"),
        (says(404, &[], "{}"), NotFound, ""),
        (says(429, &[], "{}"), RateLimited, "throttled"),
        (says(503, &[], "{}"), ProviderUnreachable, "overloaded"),
    ]).await;
}

#[tokio::test]
async fn slack() {
    let known = r#"{"ok":true,"url":"https://acme.slack.com/","team":"Acme","user":"bot","team_id":"T12345678","user_id":"U1","bot_id":"B1"}"#;
    let (outcome, asked) = ask("slack", &sample::upload("slack"), &json!({}), [says(200, &[], known)]).await;
    assert_eq!(line(&asked[0]), "POST slack.com/api/auth.test");
    assert!(asked[0].body.is_empty());
    assert_eq!(outcome.learned.identity.get("team_id").map(String::as_str), Some("T12345678"));
    let app = sample::one(
        "token",
        "xapp-1-A0123456789-1234567890123-0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f9",
    );
    let (_, asked) = ask("slack", &app, &json!({}), [says(200, &[], r#"{"ok":true}"#)]).await;
    assert_eq!(line(&asked[0]), "POST slack.com/api/apps.connections.open");

    let fails = |error: &str| says(200, &[], &format!(r#"{{"ok":false,"error":"{error}"}}"#));
    each(
        "slack",
        [
            (says(200, &[], known), Ok, ""),
            (fails("invalid_auth"), InvalidCredential, "rejected"),
            (fails("not_authed"), InvalidCredential, "rejected"),
            (fails("token_revoked"), InvalidCredential, "revoked"),
            (fails("account_inactive"), InvalidCredential, "disabled"),
            (fails("token_expired"), InvalidCredential, "expired"),
            (fails("missing_scope"), InsufficientPermission, "missing_scope"),
            (fails("no_permission"), InsufficientPermission, ""),
            (fails("ratelimited"), RateLimited, "throttled"),
            (says(429, &[("retry-after", "30")], "{}"), RateLimited, "throttled"),
            (fails("internal_error"), ProviderUnreachable, ""),
            (fails("service_unavailable"), ProviderUnreachable, ""),
        ],
    )
    .await;
}

#[tokio::test]
async fn stripe() {
    let balance = r#"{"object":"balance","livemode":true}"#;
    let (_, asked) = ask("stripe", &sample::upload("stripe"), &json!({}), [says(200, &[], balance)]).await;
    assert_eq!(line(&asked[0]), "GET api.stripe.com/v1/balance");
    each("stripe", [
        (says(200, &[], balance), Ok, ""),
        (says(403, &[], r#"{"error":{"message":"The provided key does not have the required permissions","type":"invalid_request_error"}}"#), Ok, "limited"),
        (says(401, &[], r#"{"error":{"message":"Invalid API Key provided: rk_test_****abcd","type":"invalid_request_error"}}"#), InvalidCredential, "rejected"),
        (says(401, &[], r#"{"error":{"code":"api_key_expired","message":"Expired API Key provided","type":"invalid_request_error"}}"#), InvalidCredential, "expired"),
        (says(429, &[], "{}"), RateLimited, "throttled"),
        (says(500, &[], "{}"), ProviderUnreachable, "5xx"),
    ]).await;
}

#[tokio::test]
async fn datadog() {
    let (_, asked) =
        ask("datadog", &sample::upload("datadog"), &json!({}), [says(200, &[], r#"{"valid":true}"#)]).await;
    assert_eq!(line(&asked[0]), "GET api.datadoghq.com/api/v1/validate");
    assert_eq!(asked[0].header("dd-api-key"), sample::DATADOG);
    let both = sample::many(&[
        ("site", "us5.datadoghq.com"),
        ("api_key", sample::DATADOG),
        ("app_key", "0a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d"),
    ]);
    let (outcome, asked) = ask("datadog", &both, &json!({}), [says(200, &[], r#"{"status":"ok"}"#)]).await;
    assert_eq!((line(&asked[0]).as_str(), outcome.verdict), ("GET api.us5.datadoghq.com/api/v2/validate_keys", Ok));
    each(
        "datadog",
        [
            (says(200, &[], r#"{"valid":true}"#), Ok, ""),
            (says(403, &[], r#"{"errors":["Forbidden"]}"#), InvalidCredential, "rejected"),
            (says(401, &[], "{}"), InvalidCredential, "rejected"),
            (says(429, &[], "{}"), RateLimited, "throttled"),
            (says(502, &[], "{}"), ProviderUnreachable, "5xx"),
        ],
    )
    .await;
}
