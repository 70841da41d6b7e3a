//! AWS: every signature is computed anew, from the specification, over the bytes that arrived.

use super::*;
use crate::fake::sigv4;

const IDENTITY: &str = r#"<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult><Arn>arn:aws:iam::609629065308:user/etl</Arn><UserId>AIDAEXAMPLEID</UserId><Account>609629065308</Account></GetCallerIdentityResult><ResponseMetadata><RequestId>01234567-89ab-cdef-0123-456789abcdef</RequestId></ResponseMetadata></GetCallerIdentityResponse>"#;

#[tokio::test]
async fn sts_is_asked_who_the_key_is() {
    let (outcome, asked) = ask("aws_keys", &sample::upload("aws_keys"), &json!({}), [says(200, &[], IDENTITY)]).await;
    assert_eq!(line(&asked[0]), "POST sts.us-east-1.amazonaws.com/");
    assert_eq!(asked[0].text(), "Action=GetCallerIdentity&Version=2011-06-15");
    assert_eq!(asked[0].header("content-type"), "application/x-www-form-urlencoded");
    assert_eq!(asked[0].header("x-amz-security-token"), "");
    signed(&asked[0], sample::AWS_ID, sample::AWS_SECRET, "us-east-1", "sts");
    let identity = &outcome.learned.identity;
    assert_eq!(identity.get("account_id").map(String::as_str), Some("609629065308"));
    assert_eq!(identity.get("arn").map(String::as_str), Some("arn:aws:iam::609629065308:user/etl"));
    assert!(outcome.learned.warnings.is_empty());
}

#[tokio::test]
async fn a_temporary_key_signs_its_session_token_and_asks_in_its_region() {
    let token = "FwoGZXIvYXdzEJr//////////wEaDPq8Rk2Vn5Wm1Tx7Ly4Bc9Dh3Fj6Gs0PaUe9Iw2o".repeat(3);
    let upload = sample::many(&[
        ("access_key_id", "ASIAY34FZKBOKMUTVV7A"),
        ("secret_access_key", sample::AWS_SECRET),
        ("session_token", &token),
    ]);
    let (_, asked) = ask("aws_keys", &upload, &json!({ "region": "eu-central-1" }), [says(200, &[], IDENTITY)]).await;
    assert_eq!(line(&asked[0]), "POST sts.eu-central-1.amazonaws.com/");
    assert_eq!(asked[0].header("x-amz-security-token"), token);
    assert!(asked[0].header("authorization").contains("x-amz-security-token"), "it is signed too");
    signed(&asked[0], "ASIAY34FZKBOKMUTVV7A", sample::AWS_SECRET, "eu-central-1", "sts");
}

#[tokio::test]
async fn the_root_users_key_is_taken_with_a_warning() {
    let root = IDENTITY.replace(":user/etl", ":root");
    let (outcome, _) = ask("aws_keys", &sample::upload("aws_keys"), &json!({}), [says(200, &[], &root)]).await;
    assert_eq!(outcome.verdict, Ok);
    assert!(outcome.learned.warnings.iter().any(|warning| warning.contains("root")), "{:?}", outcome.learned.warnings);
}

#[tokio::test]
async fn outcomes_of_sts() {
    each(
        "aws_keys",
        [
            (says(200, &[], IDENTITY), Ok, ""),
            (
                fails(403, "InvalidClientTokenId", "The security token included in the request is invalid."),
                InvalidCredential,
                "rejected",
            ),
            (
                fails(403, "SignatureDoesNotMatch", "The request signature we calculated does not match"),
                InvalidCredential,
                "rejected",
            ),
            (
                fails(
                    403,
                    "SignatureDoesNotMatch",
                    "Signature expired: 20261120T000000Z is now earlier than 20261120T001000Z",
                ),
                Misconfigured,
                "clock_skew",
            ),
            (
                fails(403, "SignatureDoesNotMatch", "Signature not yet current: 20261120T000000Z"),
                Misconfigured,
                "clock_skew",
            ),
            (
                fails(403, "ExpiredToken", "The security token included in the request is expired"),
                InvalidCredential,
                "expired",
            ),
            (fails(400, "ExpiredTokenException", "expired"), InvalidCredential, "expired"),
            (fails(403, "AccessDenied", "explicit deny"), InsufficientPermission, ""),
            (fails(403, "RegionDisabledException", "STS is not activated in this region"), Misconfigured, "region"),
            (fails(400, "Throttling", "Rate exceeded"), RateLimited, "throttled"),
            (fails(400, "ThrottlingException", "Rate exceeded"), RateLimited, "throttled"),
            (fails(400, "IncompleteSignature", "x"), Misconfigured, ""),
            (fails(400, "ValidationError", "x"), Misconfigured, ""),
            (says(500, &[], "<oops"), ProviderUnreachable, "5xx"),
        ],
    )
    .await;
}

#[tokio::test]
async fn bedrock_by_access_key_and_by_its_own_key() {
    let models = says(200, &[], r#"{"modelSummaries":[]}"#);
    let (_, asked) = ask("aws_bedrock", &sample::upload("aws_bedrock"), &json!({}), [models.clone()]).await;
    assert_eq!(line(&asked[0]), "GET bedrock.eu-west-1.amazonaws.com/foundation-models");
    signed(&asked[0], sample::AWS_ID, sample::AWS_SECRET, "eu-west-1", "bedrock");

    let key = format!("ABSK{}", "Zq8Rk2Vn5Wm1Tx7Ly4Bc9Dh3Fj6Gs0Pa".repeat(4));
    let bearer = sample::many(&[("region", "us-west-2"), ("api_key", &key)]);
    let (_, asked) = ask("aws_bedrock", &bearer, &json!({}), [models.clone()]).await;
    assert_eq!(line(&asked[0]), "GET bedrock.us-west-2.amazonaws.com/foundation-models");
    assert_eq!(asked[0].header("authorization"), format!("Bearer {key}"));

    let fails = |status, kind: &str| {
        says(status, &[("x-amzn-errortype", &format!("{kind}:http://internal.amazon.com/"))], r#"{"message":"no"}"#)
    };
    each(
        "aws_bedrock",
        [
            (models, Ok, ""),
            (fails(403, "AccessDeniedException"), InsufficientPermission, ""),
            (fails(403, "UnrecognizedClientException"), InvalidCredential, "rejected"),
            (fails(403, "ExpiredTokenException"), InvalidCredential, "expired"),
            (fails(429, "ThrottlingException"), RateLimited, "throttled"),
            (fails(400, "ValidationException"), Misconfigured, ""),
            (fails(500, "InternalServerException"), ProviderUnreachable, "5xx"),
        ],
    )
    .await;
}

fn fails(status: u16, code: &str, message: &str) -> Answer {
    says(
        status,
        &[],
        &format!(
            r#"<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error><RequestId>1</RequestId></ErrorResponse>"#
        ),
    )
}

fn signed(asked: &Asked, id: &str, secret: &str, region: &str, service: &str) {
    sigv4::judge(asked, id, secret, region, service).unwrap();
}
