//! Google Cloud: a service account's key, for projects and for Vertex AI.

use super::*;

const TOKEN: &str = r#"{"access_token":"ya29.c.invented","expires_in":3599,"token_type":"Bearer"}"#;

/// The certificates that Google publishes for the account, with our key's among them.
fn certificates(not_after: (i32, u8, u8)) -> String {
    json!({ sample::GOOGLE_KEY_ID: sample::certificate(not_after) }).to_string()
}

#[tokio::test]
async fn the_key_is_looked_for_then_exchanged_then_its_project_is_asked() {
    let script = [
        says(200, &[], &certificates((9999, 12, 31))),
        says(200, &[], TOKEN),
        says(200, &[], r#"{"permissions":["resourcemanager.projects.get"]}"#),
    ];
    let (outcome, asked) = ask("gcp_service_account", &sample::upload("gcp_service_account"), &json!({}), script).await;
    assert_eq!((outcome.verdict, asked.len()), (Ok, 3), "{outcome:?}");
    assert_eq!(outcome.learned.expires_at, None, "the year 9999 is never");
    assert_eq!(
        line(&asked[0]),
        "GET www.googleapis.com/robot/v1/metadata/x509/etl-reader%40acme-analytics.iam.gserviceaccount.com"
    );
    assert_eq!(asked[0].header("authorization"), "", "nothing secret is needed to look");

    assert_eq!(line(&asked[1]), "POST oauth2.googleapis.com/token");
    let form = form(&asked[1]);
    assert_eq!(form["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
    let (header, claims) = sample::verified(&form["assertion"], "RS256");
    assert_eq!(header["kid"], sample::GOOGLE_KEY_ID);
    assert_eq!(claims["iss"], "etl-reader@acme-analytics.iam.gserviceaccount.com");
    assert_eq!(claims["aud"], "https://oauth2.googleapis.com/token");
    let life = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    assert!((60..=3600).contains(&life), "{life}");

    assert_eq!(
        line(&asked[2]),
        "POST cloudresourcemanager.googleapis.com/v1/projects/acme-analytics:testIamPermissions"
    );
    assert_eq!(asked[2].header("authorization"), "Bearer ya29.c.invented");
}

#[tokio::test]
async fn a_key_that_google_does_not_know_is_not_presented() {
    let upload = sample::upload("gcp_service_account");
    let (outcome, asked) =
        ask("gcp_service_account", &upload, &json!({}), [says(200, &[], r#"{"another":"x"}"#)]).await;
    assert_eq!((outcome.verdict, asked.len()), (InvalidCredential, 1));
    let (outcome, asked) = ask("gcp_service_account", &upload, &json!({}), [says(404, &[], "{}")]).await;
    assert_eq!((outcome.verdict, outcome.reason.as_ref(), asked.len()), (NotFound, "account", 1));
}

#[tokio::test]
async fn the_certificate_tells_when_the_key_ends() {
    let script = [says(200, &[], &certificates((2037, 5, 6))), says(200, &[], TOKEN), says(200, &[], "{}")];
    let (outcome, _) = ask("gcp_service_account", &sample::upload("gcp_service_account"), &json!({}), script).await;
    assert_eq!(outcome.learned.expires_at, Some("2037-05-06T00:00:00Z".parse().unwrap()));
}

#[tokio::test]
async fn outcomes() {
    let known = says(200, &[], &certificates((9999, 12, 31)));
    let grant =
        |error: &str, words: &str| says(400, &[], &format!(r#"{{"error":"{error}","error_description":"{words}"}}"#));
    let api = |code: u16, status: &str, reason: &str| {
        let body = format!(
            r#"{{"error":{{"code":{code},"message":"no","status":"{status}","details":[{{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"{reason}","domain":"googleapis.com"}}]}}}}"#
        );
        says(code, &[], &body)
    };
    let late = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim.";
    for (answers, verdict, reason) in [
        (vec![grant("invalid_grant", "Invalid JWT Signature.")], InvalidCredential, "rejected"),
        (vec![grant("invalid_grant", "Invalid grant: account not found")], NotFound, "account"),
        (vec![grant("invalid_grant", late)], Misconfigured, "clock_skew"),
        (vec![grant("invalid_scope", "Invalid OAuth scope")], Misconfigured, ""),
        (vec![says(503, &[], "{}")], ProviderUnreachable, "overloaded"),
        (vec![says(200, &[], TOKEN), api(403, "PERMISSION_DENIED", "SERVICE_DISABLED")], Misconfigured, "api_disabled"),
        (
            vec![says(200, &[], TOKEN), api(403, "PERMISSION_DENIED", "IAM_PERMISSION_DENIED")],
            InsufficientPermission,
            "",
        ),
        (vec![says(200, &[], TOKEN), api(404, "NOT_FOUND", "")], NotFound, "project"),
        (vec![says(200, &[], TOKEN), api(429, "RESOURCE_EXHAUSTED", "RATE_LIMIT_EXCEEDED")], RateLimited, ""),
    ] {
        let script: Vec<_> = std::iter::once(known.clone()).chain(answers).collect();
        gives("gcp_service_account", script, verdict, reason).await;
    }
}

#[tokio::test]
async fn vertex_is_asked_what_the_account_may_do_with_it() {
    let script = [
        says(200, &[], &certificates((9999, 12, 31))),
        says(200, &[], TOKEN),
        says(200, &[], r#"{"permissions":["aiplatform.endpoints.predict"]}"#),
    ];
    let (outcome, asked) = ask("gcp_vertex", &sample::upload("gcp_vertex"), &json!({}), script).await;
    assert_eq!(outcome.verdict, Ok, "{outcome:?}");
    let last = asked.last().unwrap();
    assert_eq!(line(last), "POST cloudresourcemanager.googleapis.com/v1/projects/acme-analytics:testIamPermissions");
    let sent: Value = serde_json::from_slice(&last.body).unwrap();
    assert!(sent["permissions"].as_array().unwrap().contains(&json!("aiplatform.endpoints.predict")));

    // The account is real, but may do nothing with Vertex: a live key, and its owner is told.
    let script = [says(200, &[], &certificates((9999, 12, 31))), says(200, &[], TOKEN), says(200, &[], "{}")];
    let (outcome, _) = ask("gcp_vertex", &sample::upload("gcp_vertex"), &json!({}), script).await;
    assert_eq!(outcome.verdict, InsufficientPermission, "{outcome:?}");
}
