//! Oracle Cloud's HTTP signatures and Snowflake's key pairs.

use super::*;

#[tokio::test]
async fn oci_requests_are_signed_by_the_key() {
    let (outcome, asked) = ask("oci_api_key", &sample::upload("oci_api_key"), &json!({}), [says(200, &[], "[]")]).await;
    assert_eq!(outcome.verdict, Ok, "{outcome:?}");
    let path = format!("/20160918/users/{}/apiKeys/", sample::OCI_USER);
    assert_eq!(line(&asked[0]), format!("GET identity.eu-frankfurt-1.oci.oraclecloud.com{path}"));
    let authorization = asked[0].header("authorization");
    let key_id = format!("{}/{}/{}", sample::OCI_TENANCY, sample::OCI_USER, sample::oci_fingerprint());
    let (head, signature) = authorization.split_once(",signature=\"").unwrap();
    assert_eq!(
        head,
        format!(
            r#"Signature version="1",keyId="{key_id}",algorithm="rsa-sha256",headers="(request-target) date host""#
        )
    );
    let date = asked[0].header("date");
    assert!(httpdate::parse_http_date(date).is_ok(), "{date}");
    let text = format!("(request-target): get {path}\ndate: {date}\nhost: identity.eu-frankfurt-1.oci.oraclecloud.com");
    let signature = data_encoding::BASE64.decode(signature.trim_end_matches('"').as_bytes()).unwrap();
    assert!(sample::verifies(text.as_bytes(), &signature));
}

#[tokio::test]
async fn outcomes_of_oci() {
    let no = |status: u16, code: &str| says(status, &[], &format!(r#"{{"code":"{code}","message":"words"}}"#));
    each(
        "oci_api_key",
        [
            (says(200, &[], r#"[{"keyId":"x","timeCreated":"2026-01-01T00:00:00Z"}]"#), Ok, ""),
            (no(401, "NotAuthenticated"), InvalidCredential, "rejected"),
            (no(404, "NotAuthorizedOrNotFound"), InsufficientPermission, ""),
            (no(429, "TooManyRequests"), RateLimited, "throttled"),
            (no(500, "InternalServerError"), ProviderUnreachable, "5xx"),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_wrong_clock_is_named_and_no_key_is_called_invalid_for_it() {
    let past = httpdate::fmt_http_date(std::time::SystemTime::now() - std::time::Duration::from_secs(600));
    let refused = says(401, &[("date", &past)], r#"{"code":"NotAuthenticated","message":"words"}"#);
    let (outcome, _) = ask("oci_api_key", &sample::upload("oci_api_key"), &json!({}), [refused]).await;
    assert_eq!((outcome.verdict, outcome.reason.as_ref()), (Misconfigured, "clock_skew"), "{outcome:?}");
    assert!(outcome.hint.contains("clock"), "{}", outcome.hint);
}

#[tokio::test]
async fn snowflake_by_token_and_by_key() {
    let known = says(200, &[], r#"{"data":[["ACME","BOT","READER"]]}"#);
    let (outcome, asked) = ask("snowflake", &sample::upload("snowflake"), &json!({}), [known.clone()]).await;
    assert_eq!(outcome.verdict, Ok, "{outcome:?}");
    assert_eq!(line(&asked[0]), "POST acmeorg-main.snowflakecomputing.com/api/v2/statements");
    assert_eq!(asked[0].header("x-snowflake-authorization-token-type"), "PROGRAMMATIC_ACCESS_TOKEN");
    assert_eq!(asked[0].header("authorization"), format!("Bearer {}", sample::SNOWFLAKE));
    let sent: Value = serde_json::from_slice(&asked[0].body).unwrap();
    assert_eq!(sent["statement"], "select current_account(), current_user(), current_role()");

    let pair = sample::many(&[("account", "acmeorg-main"), ("user", "etl_bot"), ("private_key", &sample::rsa_pem())]);
    let (outcome, asked) = ask("snowflake", &pair, &json!({}), [known.clone()]).await;
    assert_eq!(outcome.verdict, Ok, "{outcome:?}");
    assert_eq!(asked[0].header("x-snowflake-authorization-token-type"), "KEYPAIR_JWT");
    let token = asked[0].header("authorization").strip_prefix("Bearer ").unwrap().to_owned();
    let (_, claims) = sample::verified(&token, "RS256");
    assert_eq!(claims["sub"], "ACMEORG-MAIN.ETL_BOT");
    assert_eq!(claims["iss"], format!("ACMEORG-MAIN.ETL_BOT.SHA256:{}", sample::spki_sha256()));

    let account = sample::many(&[("account", "ACMEORG-MY_MAIN"), ("user", "ETL"), ("token", sample::SNOWFLAKE)]);
    let (outcome, asked) = ask("snowflake", &account, &json!({}), [known.clone()]).await;
    assert_eq!(outcome.verdict, Ok, "as Snowflake shows it: {outcome:?}");
    assert_eq!(asked[0].host, "acmeorg-my-main.snowflakecomputing.com");

    let no = |status: u16, code: &str| says(status, &[], &format!(r#"{{"code":"{code}","message":"words"}}"#));
    each(
        "snowflake",
        [
            (known, Ok, ""),
            (no(401, "390144"), InvalidCredential, "rejected"),
            (no(401, "390318"), InvalidCredential, "expired"),
            (no(403, "390422"), InsufficientPermission, ""),
            (no(404, "404"), NotFound, ""),
            (says(429, &[], "{}"), RateLimited, "throttled"),
            (says(503, &[], "{}"), ProviderUnreachable, "overloaded"),
        ],
    )
    .await;
}
