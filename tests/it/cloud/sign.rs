//! Assertions and signatures, verified by the public key.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, RsaParameters, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Value, json};
use strongroom::cloud::{PrivateKey, azure, google, oci, snowflake};
use strongroom::http::Request;
use zeroize::Zeroizing;

use super::{CERTIFICATE_SHA256, MD5, SHA256, openssl};

const AT: u64 = 1_800_000_000;

fn at() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(AT)
}

fn key() -> PrivateKey {
    PrivateKey::from_pem(openssl!("plain"), None).unwrap()
}

fn verify(algorithm: &'static RsaParameters, message: &str, signature: &[u8]) {
    UnparsedPublicKey::new(algorithm, key().public_spki()).verify(message.as_bytes(), signature).unwrap();
}

/// Header and claims of a token that verifies.
fn opened(token: &str, algorithm: &'static RsaParameters) -> (Value, Value) {
    let (message, signature) = token.rsplit_once('.').unwrap();
    verify(algorithm, message, &URL_SAFE_NO_PAD.decode(signature).unwrap());
    let (header, claims) = message.split_once('.').unwrap();
    let json = |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    (json(header), json(claims))
}

#[test]
fn google_is_given_what_it_asks_for() {
    let key = key();
    let account = google::ServiceAccount {
        client_email: "reader@acme-analytics.iam.gserviceaccount.com",
        private_key_id: "0123456789abcdef0123456789abcdef01234567",
        key: &key,
    };
    let audience = "https://oauth2.googleapis.com/token";
    let token = google::assertion(&account, audience, "https://www.googleapis.com/auth/cloud-platform", at()).unwrap();
    let (header, claims) = opened(&token, &RSA_PKCS1_2048_8192_SHA256);
    assert_eq!(header, json!({ "alg": "RS256", "typ": "JWT", "kid": account.private_key_id }));
    let asked = json!({
        "iss": account.client_email, "scope": "https://www.googleapis.com/auth/cloud-platform",
        "aud": audience, "iat": AT, "exp": AT + 300,
    });
    assert_eq!(claims, asked);
}

#[test]
fn microsoft_is_given_what_it_asks_for() {
    let key = key();
    let client_id = "00000000-1111-4222-8333-444444444444";
    let application = azure::Application { client_id, certificate: openssl!("certificate"), key: &key };
    let audience = "https://login.microsoftonline.com/contoso.onmicrosoft.com/oauth2/v2.0/token";
    let make = || azure::assertion(&application, audience, at()).unwrap();
    let (header, claims) = opened(&make(), &RSA_PSS_2048_8192_SHA256);
    let thumbprint = data_encoding::HEXLOWER.decode(CERTIFICATE_SHA256.as_bytes()).unwrap();
    assert_eq!(header, json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": URL_SAFE_NO_PAD.encode(thumbprint) }));
    let asked = json!({
        "aud": audience, "iss": client_id, "sub": client_id, "jti": claims["jti"],
        "iat": AT, "nbf": AT, "exp": AT + 300,
    });
    assert_eq!(claims, asked);
    let id = uuid::Uuid::parse_str(claims["jti"].as_str().unwrap()).unwrap();
    assert_eq!(id.get_version_num(), 4);
    assert_ne!(opened(&make(), &RSA_PSS_2048_8192_SHA256).1["jti"], claims["jti"], "an id is used once");
}

#[test]
fn snowflake_is_given_what_it_asks_for() {
    for (account, user, named) in [
        ("xy12345", "loader", "XY12345.LOADER"),
        ("xy12345.eu-central-1.azure", "loader", "XY12345.LOADER"),
        ("myorg-Account_1", "Jo.Smith@example.com", "MYORG-ACCOUNT_1.JO.SMITH@EXAMPLE.COM"),
    ] {
        let token = snowflake::assertion(account, user, &key(), at()).unwrap();
        let (header, claims) = opened(&token, &RSA_PKCS1_2048_8192_SHA256);
        assert_eq!(header, json!({ "alg": "RS256", "typ": "JWT" }));
        let asked = json!({ "iss": format!("{named}.SHA256:{SHA256}"), "sub": named, "iat": AT, "exp": AT + 300 });
        assert_eq!(claims, asked);
    }
}

fn oracle(method: Method, body: &str) -> HeaderMap {
    let url = "https://identity.eu-frankfurt-1.oci.oraclecloud.com/20160918/users/ocid1/apiKeys/?limit=1";
    let mut request = Request {
        method,
        url: url.parse().unwrap(),
        headers: HeaderMap::from_iter([(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]),
        body: Zeroizing::new(body.as_bytes().to_vec()),
    };
    let key = key();
    let owner = oci::ApiKey { tenancy: "ocid1.tenancy", user: "ocid1.user", fingerprint: MD5, key: &key };
    oci::sign(&mut request, &owner, at()).unwrap();
    request.headers
}

fn oracle_signed(headers: &HeaderMap, names: &str, lines: &str) {
    let authorization = headers["authorization"].to_str().unwrap();
    let start = format!(
        r#"Signature version="1",keyId="ocid1.tenancy/ocid1.user/{MD5}",algorithm="rsa-sha256",headers="{names}",signature=""#
    );
    let signature = authorization.strip_prefix(&start).unwrap().strip_suffix('"').unwrap();
    verify(&RSA_PKCS1_2048_8192_SHA256, lines, &STANDARD.decode(signature).unwrap());
    assert!(headers["authorization"].is_sensitive());
}

#[test]
fn oracle_is_given_what_it_asks_for() {
    let headers = oracle(Method::GET, "");
    let lines = "(request-target): get /20160918/users/ocid1/apiKeys/?limit=1\n\
                 date: Fri, 15 Jan 2027 08:00:00 GMT\n\
                 host: identity.eu-frankfurt-1.oci.oraclecloud.com";
    oracle_signed(&headers, "(request-target) date host", lines);
    assert_eq!(headers["date"], "Fri, 15 Jan 2027 08:00:00 GMT");
    assert_eq!(headers["host"], "identity.eu-frankfurt-1.oci.oraclecloud.com");
    assert!(!headers.contains_key("x-content-sha256"));
}

#[test]
fn oracle_wants_bodies_signed() {
    let headers = oracle(Method::POST, r#"{"a": 1}"#);
    // printf '{"a": 1}' | openssl sha256 -binary | base64
    let digest = "+dhgKMbg1k4iUYb5astpM4ssWXZN95FiEH9cS7NNExA=";
    let lines = format!(
        "(request-target): post /20160918/users/ocid1/apiKeys/?limit=1\n\
         date: Fri, 15 Jan 2027 08:00:00 GMT\n\
         host: identity.eu-frankfurt-1.oci.oraclecloud.com\n\
         content-length: 8\n\
         content-type: application/json\n\
         x-content-sha256: {digest}"
    );
    oracle_signed(&headers, "(request-target) date host content-length content-type x-content-sha256", &lines);
    assert_eq!(headers["x-content-sha256"], digest);
}

#[test]
fn a_clock_before_1970_signs_nothing() {
    let before = UNIX_EPOCH - Duration::from_secs(1);
    assert!(snowflake::assertion("xy12345", "loader", &key(), before).is_err());
}
