//! Azure: applications with a secret or a certificate, and Azure OpenAI.

use super::*;

const TOKEN: &str =
    r#"{"token_type":"Bearer","expires_in":3599,"ext_expires_in":3599,"access_token":"eyJ.invented.token"}"#;
const SUBSCRIPTION: &str = r#"{"subscriptionId":"11111111-2222-4333-8444-555555555555","displayName":"Acme","state":"Enabled","tenantId":"0f1e2d3c-4b5a-4697-8877-665544332211"}"#;

#[tokio::test]
async fn a_secret_is_exchanged_then_the_subscription_is_asked() {
    let script = [says(200, &[], TOKEN), says(200, &[], SUBSCRIPTION)];
    let upload = sample::upload("azure_service_principal");
    let (outcome, asked) = ask("azure_service_principal", &upload, &json!({}), script).await;
    let asked: Vec<_> = asked.into_iter().filter(|asked| !asked.path.contains(".well-known")).collect();
    assert_eq!((outcome.verdict, asked.len()), (Ok, 2), "{outcome:?}");
    assert_eq!(line(&asked[0]), format!("POST login.microsoftonline.com/{}/oauth2/v2.0/token", sample::TENANT));
    let form = form(&asked[0]);
    assert_eq!(form["grant_type"], "client_credentials");
    assert_eq!(form["client_id"], sample::CLIENT);
    assert_eq!(form["client_secret"], sample::AZURE_SECRET);
    assert_eq!(form["scope"], "https://management.azure.com/.default");
    let subscription =
        "GET management.azure.com/subscriptions/11111111-2222-4333-8444-555555555555?api-version=2022-12-01";
    assert_eq!(line(&asked[1]), subscription);
    assert_eq!(asked[1].header("authorization"), "Bearer eyJ.invented.token");
}

#[tokio::test]
async fn a_certificate_signs_an_assertion_that_names_it() {
    let (certificate, key) = sample::certificate_and_key();
    let upload = sample::many(&[
        ("tenant_id", sample::TENANT),
        ("client_id", sample::CLIENT),
        ("certificate", &certificate),
        ("private_key", &key),
        ("cloud", "usgov"),
    ]);
    let (outcome, asked) = ask("azure_service_principal", &upload, &json!({}), [says(200, &[], TOKEN)]).await;
    assert_eq!(outcome.verdict, Ok, "{outcome:?}");
    let url = format!("login.microsoftonline.us/{}/oauth2/v2.0/token", sample::TENANT);
    assert_eq!(line(&asked[0]), format!("POST {url}"));
    let form = form(&asked[0]);
    assert_eq!(form["client_assertion_type"], "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
    assert!(!form.contains_key("client_secret"));
    let (header, claims) = sample::verified(&form["client_assertion"], "PS256");
    assert_eq!(header["x5t#S256"], sample::thumbprint(&certificate));
    assert_eq!((&claims["iss"], &claims["sub"]), (&json!(sample::CLIENT), &json!(sample::CLIENT)));
    assert_eq!(claims["aud"], format!("https://{url}"));
    assert!(claims["exp"].as_i64().unwrap() - claims["nbf"].as_i64().unwrap() <= 600);
    assert!(claims["jti"].as_str().unwrap().len() >= 16);
}

#[tokio::test]
async fn outcomes() {
    let aad = |code: u32| {
        let body = format!(
            r#"{{"error":"invalid_client","error_description":"AADSTS{code}: words. Trace ID: 1","error_codes":[{code}],"timestamp":"2026-11-20 17:00:00Z","trace_id":"1","correlation_id":"2"}}"#
        );
        says(if code == 7000215 { 401 } else { 400 }, &[], &body)
    };
    let arm =
        |status: u16, code: &str| says(status, &[], &format!(r#"{{"error":{{"code":"{code}","message":"words"}}}}"#));
    let token = || says(200, &[], TOKEN);
    for (answers, verdict, reason) in [
        (vec![aad(7000215)], InvalidCredential, "rejected"),
        (vec![aad(7000222)], InvalidCredential, "expired"),
        (vec![aad(7000112)], InvalidCredential, "disabled"),
        (vec![aad(700016)], NotFound, "account"),
        (vec![aad(90002)], NotFound, "account"),
        (vec![aad(700024)], Misconfigured, "clock_skew"),
        (vec![aad(700027)], InvalidCredential, "rejected"),
        (vec![aad(53003)], InsufficientPermission, ""),
        (vec![aad(65001)], InsufficientPermission, ""),
        (vec![aad(500011)], Misconfigured, ""),
        (vec![aad(90055)], RateLimited, "throttled"),
        (vec![aad(90033)], ProviderUnreachable, ""),
        (vec![token(), arm(403, "AuthorizationFailed")], InsufficientPermission, ""),
        (vec![token(), arm(404, "SubscriptionNotFound")], NotFound, "subscription"),
        (vec![token(), arm(401, "InvalidAuthenticationTokenTenant")], Misconfigured, ""),
        (vec![token(), says(429, &[("retry-after", "17")], "{}")], RateLimited, "throttled"),
        (vec![says(503, &[], "{}")], ProviderUnreachable, "overloaded"),
    ] {
        gives("azure_service_principal", answers, verdict, reason).await;
    }
}

#[tokio::test]
async fn azure_openai_by_key_and_by_application() {
    let models = says(200, &[], r#"{"data":[],"object":"list"}"#);
    let (outcome, asked) = ask("azure_openai", &sample::upload("azure_openai"), &json!({}), [models.clone()]).await;
    assert_eq!(outcome.verdict, Ok, "{outcome:?}");
    assert_eq!(line(&asked[0]), "GET acme-eu.openai.azure.com/openai/models?api-version=2024-10-21");
    assert_eq!(asked[0].header("api-key"), sample::AZURE_OPENAI);

    let application = sample::many(&[
        ("endpoint", "https://acme-eu.cognitiveservices.azure.com/"),
        ("tenant_id", sample::TENANT),
        ("client_id", sample::CLIENT),
        ("client_secret", sample::AZURE_SECRET),
    ]);
    let (outcome, asked) = ask("azure_openai", &application, &json!({}), [says(200, &[], TOKEN), models.clone()]).await;
    assert_eq!(outcome.verdict, Ok, "{outcome:?}");
    assert_eq!(form(&asked[0])["scope"], "https://cognitiveservices.azure.com/.default");
    assert_eq!(line(&asked[1]), "GET acme-eu.cognitiveservices.azure.com/openai/models?api-version=2024-10-21");
    assert_eq!(asked[1].header("authorization"), "Bearer eyJ.invented.token");

    let error = |status, code: &str, message: &str| {
        says(status, &[], &format!(r#"{{"error":{{"code":"{code}","message":"{message}"}}}}"#))
    };
    let denied = "Access denied due to invalid subscription key or wrong API endpoint.";
    each(
        "azure_openai",
        [
            (models, Ok, ""),
            (error(401, "401", denied), InvalidCredential, "rejected"),
            (
                error(401, "PermissionDenied", "The principal lacks the required data action"),
                InsufficientPermission,
                "",
            ),
            (
                error(403, "403", "Access denied due to Virtual Network/Firewall rules."),
                InsufficientPermission,
                "network_rule",
            ),
            (error(404, "404", "Resource not found"), NotFound, ""),
            (error(404, "DeploymentNotFound", "no"), NotFound, ""),
            (says(429, &[("retry-after", "9")], "{}"), RateLimited, "throttled"),
            (says(500, &[], "{}"), ProviderUnreachable, "5xx"),
        ],
    )
    .await;
}
