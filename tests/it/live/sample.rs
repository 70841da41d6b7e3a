//! A credential of each provider. All of them are invented.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{self, KeyPair as _, UnparsedPublicKey};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use strongroom::crypto::Secret;
use strongroom::providers::Upload;

pub const OPENAI: &str = "sk-proj-Zq8Rk2Vn5Wm1Tx7Ly4Bc9Dh3Fj6Gs0Pa_uEoT3BlbkFJQw2Er5Ty8Ui1Op4As7Df0Gh3Jk6Lz9Xc-Vb";
pub const ANTHROPIC: &str =
    "sk-ant-api03-Zq8Rk2Vn5Wm1Tx7Ly4Bc9Dh3Fj6Gs0PaZq8Rk2Vn5Wm1Tx7Ly4Bc9Dh3Fj6Gs0PaZq8Rk2Vn5Wm1Tx7Ly4Bc9Dh3Fj6GsAA";
pub const GEMINI: &str = "AIzaZq8Rk2Vn5Wm1Tx7Ly4Bc9Dh3Fj6Gs0PaUe9";
pub const CLOUDFLARE: &str = "cfut_Zq8Rk2Vn5Wm1Tx7Ly4Bc9Dh3Fj6Gs0PaUe9Iw2ok0a1b2c3d";
pub const HUGGINGFACE: &str = "hf_Zq8Rk2Vn5Wm1Tx7Ly4Bc9Dh3Fj6Gs0PaUe";
pub const DOCKER: &str = "dckr_pat_Zq8Rk2Vn5Wm1Tx7Ly4Bc9Dh3Fj6";
pub const GITHUB: &str = "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";
pub const DATABRICKS: &str = "dapi0a1b2c3d4e5f60718293a4b5c6d7e8f9";
pub const SLACK: &str = "xoxb-1234567890123-1234567890123-Zq8Rk2Vn5Wm1Tx7Ly4Bc9Dh3";
pub const STRIPE: &str = "rk_test_Zq8Rk2Vn5Wm1Tx7Ly4Bc9Dh3";
pub const DATADOG: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";
pub const SNOWFLAKE: &str =
    "eyJraWQiOiI0MiIsImFsZyI6IkVTMjU2In0.eyJwIjoiNDI6NDIiLCJpc3MiOiJTRjoxIn0.Zq8Rk2Vn5Wm1Tx7Ly4Bc9Dh3Fj6Gs0Pa";
pub const AWS_ID: &str = "AKIAY34FZKBOKMUTVV7A";
pub const AWS_SECRET: &str = "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";
pub const TENANT: &str = "0f1e2d3c-4b5a-4697-8877-665544332211";
pub const CLIENT: &str = "1f2e3d4c-5b6a-4798-8978-766655443322";
pub const AZURE_SECRET: &str = "Zq~8Q~Rk2Vn5Wm1Tx7Ly4Bc9Dh3Fj6Gs0Pa_Ue9";
pub const AZURE_OPENAI: &str = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";
pub const GOOGLE_KEY_ID: &str = "89abcdef0123456789abcdef0123456789abcdef";
pub const OCI_TENANCY: &str = "ocid1.tenancy.oc1..aaaaaaaaq2w3e4r5t6y7u2i3o4p5a6s7d2f3g4h5j6k7l2z3x4c5v6b7n2m3";
pub const OCI_USER: &str = "ocid1.user.oc1..3m2n7b6v5c4x3z2l7k6j5h4g3f2d7s6a5p4o3i2u7y6t5r4e3w2qaaaaaaaa";

/// The upload of a provider, as its customers would send it.
pub fn upload(provider: &str) -> Upload {
    match provider {
        "gcp_service_account" | "gcp_vertex" => Upload::Document(Secret::from(google_file().to_string())),
        "aws_keys" => many(&[("access_key_id", AWS_ID), ("secret_access_key", AWS_SECRET)]),
        "aws_bedrock" => many(&[("region", "eu-west-1"), ("access_key_id", AWS_ID), ("secret_access_key", AWS_SECRET)]),
        "azure_service_principal" => many(&[
            ("tenant_id", TENANT),
            ("client_id", CLIENT),
            ("client_secret", AZURE_SECRET),
            ("subscription_id", "11111111-2222-4333-8444-555555555555"),
        ]),
        "azure_openai" => many(&[("endpoint", "https://acme-eu.openai.azure.com"), ("api_key", AZURE_OPENAI)]),
        "oci_api_key" => many(&[
            ("tenancy", OCI_TENANCY),
            ("user", OCI_USER),
            ("fingerprint", &oci_fingerprint()),
            ("private_key", &rsa_pem()),
            ("region", "eu-frankfurt-1"),
        ]),
        "openai" => one("api_key", OPENAI),
        "anthropic" => one("api_key", ANTHROPIC),
        "gemini" => one("api_key", GEMINI),
        "cloudflare" => one("api_token", CLOUDFLARE),
        "huggingface" => one("token", HUGGINGFACE),
        "dockerhub" => many(&[("username", "acmebot"), ("token", DOCKER)]),
        "github" => one("token", GITHUB),
        "databricks" => many(&[("host", "https://dbc-1a2b3c4d-5e6f.cloud.databricks.com"), ("token", DATABRICKS)]),
        "snowflake" => many(&[("account", "acmeorg-main"), ("user", "etl_bot"), ("token", SNOWFLAKE)]),
        "slack" => one("token", SLACK),
        "stripe" => one("api_key", STRIPE),
        "datadog" => one("api_key", DATADOG),
        other => panic!("there is no sample of {other}"),
    }
}

/// The texts of an upload that must be seen nowhere.
pub fn secrets(provider: &str) -> Vec<String> {
    match provider {
        "gcp_service_account" | "gcp_vertex" | "oci_api_key" => {
            rsa_pem().lines().skip(1).take(3).map(Into::into).collect()
        }
        "aws_keys" | "aws_bedrock" => vec![AWS_SECRET.into()],
        "azure_service_principal" => vec![AZURE_SECRET.into()],
        "azure_openai" => vec![AZURE_OPENAI.into()],
        "dockerhub" => vec![DOCKER.into()],
        "databricks" => vec![DATABRICKS.into()],
        "snowflake" => vec![SNOWFLAKE.into()],
        single => match upload(single) {
            Upload::Fields(fields) => fields.values().map(|value| value.expose_text().unwrap().to_owned()).collect(),
            Upload::Document(_) | Upload::Together(..) => panic!("{single} has more than one field"),
        },
    }
}

pub fn one(name: &str, value: &str) -> Upload {
    many(&[(name, value)])
}

pub fn many(fields: &[(&str, &str)]) -> Upload {
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), Secret::from((*value).to_owned())));
    Upload::Fields(fields.collect::<BTreeMap<_, _>>())
}

pub fn google_file() -> Value {
    json!({
        "type": "service_account",
        "project_id": "acme-analytics",
        "private_key_id": GOOGLE_KEY_ID,
        "private_key": rsa_pem(),
        "client_email": "etl-reader@acme-analytics.iam.gserviceaccount.com",
        "client_id": "104857600000000000042",
        "token_uri": "https://oauth2.googleapis.com/token",
    })
}

// ── Keys ──────────────────────────────────────────────────────────────────────

static KEY: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::generate(KeySize::Rsa2048).unwrap());

pub fn rsa_pem() -> String {
    static PEM: LazyLock<String> = LazyLock::new(|| {
        let der: Pkcs8V1Der<'_> = KEY.as_der().unwrap();
        let base64 = BASE64.encode(der.as_ref());
        let lines: Vec<&str> = base64.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
    });
    PEM.clone()
}

fn spki() -> Vec<u8> {
    use aws_lc_rs::encoding::PublicKeyX509Der;
    let der: PublicKeyX509Der<'_> = KEY.public_key().as_der().unwrap();
    der.as_ref().to_vec()
}

pub fn spki_sha256() -> String {
    BASE64.encode(&Sha256::digest(spki()))
}

pub fn oci_fingerprint() -> String {
    use md5::Digest as _;
    let digest = md5::Md5::digest(spki());
    digest.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

/// A certificate of the key.
pub fn certificate((year, month, day): (i32, u8, u8)) -> String {
    let key = rcgen::KeyPair::from_pem_and_sign_algo(&rsa_pem(), &rcgen::PKCS_RSA_SHA256).unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.not_after = rcgen::date_time_ymd(year, month, day);
    params.self_signed(&key).unwrap().pem()
}

pub fn certificate_and_key() -> (String, String) {
    (certificate((2040, 1, 1)), rsa_pem())
}

pub fn thumbprint(certificate: &str) -> String {
    let base64: String = certificate.lines().filter(|line| !line.starts_with('-')).collect();
    BASE64URL_NOPAD.encode(&Sha256::digest(BASE64.decode(base64.as_bytes()).unwrap()))
}

pub fn verifies(message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, KEY.public_key().as_ref())
        .verify(message, signature)
        .is_ok()
}

/// A JWT's header and claims, once its signature is found to be the key's.
pub fn verified(token: &str, algorithm: &str) -> (Value, Value) {
    let parts: Vec<&str> = token.split('.').collect();
    assert_eq!(parts.len(), 3);
    let read =
        |part: &str| -> Value { serde_json::from_slice(&BASE64URL_NOPAD.decode(part.as_bytes()).unwrap()).unwrap() };
    let (header, claims) = (read(parts[0]), read(parts[1]));
    assert_eq!(header["alg"], algorithm);
    let message = format!("{}.{}", parts[0], parts[1]);
    let signature = BASE64URL_NOPAD.decode(parts[2].as_bytes()).unwrap();
    let kind = match algorithm {
        "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
        _ => &signature::RSA_PKCS1_2048_8192_SHA256,
    };
    let key = UnparsedPublicKey::new(kind, KEY.public_key().as_ref());
    assert!(key.verify(message.as_bytes(), &signature).is_ok(), "the signature is not the key's");
    (header, claims)
}
