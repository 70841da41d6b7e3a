//! The provider registry: what is accepted, what is refused, and that a refusal never quotes what was sent.

mod aws_iam_role;
mod aws_keys;
mod azure_service_principal;
mod cloudflare;
mod confusion;
mod echo;
mod gcp_service_account;
mod metadata;
mod oci_api_key;
mod openai;
mod pairs;
mod printed;
mod registry;
mod saas_generic;
mod schema;
mod tokens;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};
use strongroom::crypto::Secret;
use strongroom::providers::{Invalid, Parsed, Registry, Upload};

fn registry() -> &'static Registry {
    static EMBEDDED: LazyLock<Registry> = LazyLock::new(|| Registry::embedded().expect("the embedded registry loads"));
    &EMBEDDED
}

fn parse(provider: &str, upload: &Upload) -> Result<Parsed, Invalid> {
    registry().get(provider).expect("a known provider").parse(upload)
}

fn fields(pairs: &[(&str, &str)]) -> Upload {
    Upload::Fields(pairs.iter().map(|(name, value)| ((*name).to_owned(), Secret::from((*value).to_owned()))).collect())
}

fn document(text: impl Into<String>) -> Upload {
    Upload::Document(Secret::from(text.into()))
}

fn text(parsed: &Parsed) -> &str {
    parsed.secret.expose_text().expect("canonical secrets are text")
}

/// Each upload is refused for this field, with words that contain these.
#[track_caller]
fn refused(provider: &str, upload: &Upload, field: &str, words: &str) {
    match parse(provider, upload) {
        Ok(_) => panic!("{provider} accepted what it should refuse with \"{field}: …{words}…\""),
        Err(invalid) => assert!(invalid.field == field && invalid.why.contains(words), "{invalid}"),
    }
}

const OPENAI: &str = "sk-proj-Zq8Rk2Vn5Wm1Tx7Ly4Bc9Dh3Fj6Gs0Pa_uEoT3BlbkFJQw2Er5Ty8Ui1Op4As7Df0Gh3Jk6Lz9Xc-Vb";
const OPENAI_OLD: &str = "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";
const ANTHROPIC: &str =
    "sk-ant-api03-Zq8Rk2Vn5Wm1Tx7Ly4Bc9Dh3Fj6Gs0PaZq8Rk2Vn5Wm1Tx7Ly4Bc9Dh3Fj6Gs0PaZq8Rk2Vn5Wm1Tx7Ly4Bc9Dh3Fj6GsAA";
const AWS_SECRET: &str = "Zq8Rk2Vn5Wm1Tx7Ly4Bc/Dh3Fj6Gs0Pa+Ue9Iw2o";
const CLOUDFLARE: &str = "cfut_Zq8Rk2Vn5Wm1Tx7Ly4Bc9Dh3Fj6Gs0PaUe9Iw2ok0a1b2c3d";
const CLOUDFLARE_OLD: &str = "Zq8Rk2Vn5Wm1Tx7Ly4Bc9Dh3Fj6Gs0Pa_Ue-Iw2o";

const TENANT: &str = "3f1a9c02-7b64-4d5e-8a10-c2d3e4f50617";
const CLIENT: &str = "a81bc81b-dead-4e5d-abff-90865d1e13b1";
const SUBSCRIPTION: &str = "5c2b8d11-0f3e-4a6c-9b7d-e1f2a3b4c5d6";
const AZURE_SECRET: &str = "Zq88Q~Rk2Vn5Wm1Tx7Ly4Bc9Dh3Fj6Gs0PaUe9Iw";
const OCI_TENANCY: &str = "ocid1.tenancy.oc1..zq8rk2vn5wm1tx7ly4bc9dh3fj6gs0paue9iw2okzq8rk2vn5wm1tx7ly4bc";
const OCI_USER: &str = "ocid1.user.oc1..zq8rk2vn5wm1tx7ly4bc9dh3fj6gs0paue9iw2okzq8rk2vn5wm1tx7ly4bc";
const GEMINI: &str = "AQ.Zq8Rk2Vn5Wm1Tx7Ly4Bc9Dh3Fj6Gs0PaUe9Iw2ok";
const GEMINI_OLD: &str = "AIzaZq8Rk2Vn5Wm1Tx7Ly4Bc9Dh3Fj6Gs0PaUe9";
const HUGGINGFACE: &str = "hf_Zq8Rk2Vn5Wm1Tx7Ly4Bc9Dh3Fj6Gs0PaUe";
const DOCKERHUB: &str = "dckr_pat_Zq8Rk2Vn5Wm1Tx7Ly4Bc9Dh3Fj6";
/// Its last six characters are the checksum of those before.
const GITHUB: &str = "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";
const DATABRICKS_HOST: &str = "https://dbc-9f8e7d6c-5b4a.cloud.databricks.com";
const DATABRICKS: &str = "dapi9f8e7d6c5b4a39281706f5e4d3c2b1a0";
const DATABRICKS_SECRET: &str = "dose9f8e7d6c5b4a39281706f5e4d3c2b1a0";
const SNOWFLAKE: &str = "eyJraWQiOiI5ZjhlN2Q2YyJ9.eyJwIjoiMTIzNDU2Nzg5MCJ9.Zq8Rk2Vn5Wm1Tx7Ly4Bc9Dh3Fj6Gs0Pa";
const SLACK: &str = "xoxb-9081726354001-9081726354002-Zq8Rk2Vn5Wm1Tx7Ly4Bc9Dh3";
const STRIPE: &str = "rk_live_Zq8Rk2Vn5Wm1Tx7Ly4Bc9Dh3";
const DATADOG: &str = "9f8e7d6c5b4a39281706f5e4d3c2b1a0";
const DATADOG_APP: &str = "9f8e7d6c5b4a39281706f5e4d3c2b1a0f9e8d7c6";
const BEDROCK: &str = "ABSKZq8Rk2Vn5Wm1Tx7Ly4Bc9Dh3Fj6Gs0PaUe9Iw2okZq8Rk2Vn5Wm1Tx7Ly4Bc9Dh3Fj6Gs0PaUe9Iw2okZq8Rk2Vn5Wm1Tx7Ly4Bc9Dh3Fj6Gs0Pa";

/// Credentials that are one token, with how many remarks they get.
fn tokens() -> Vec<(&'static str, String, usize)> {
    [
        ("openai", OPENAI, 0),
        ("openai", OPENAI_OLD, 0),
        ("anthropic", ANTHROPIC, 0),
        ("anthropic", &ANTHROPIC.replace("api03", "api04"), 1),
        ("gemini", GEMINI, 0),
        ("gemini", GEMINI_OLD, 1),
        ("cloudflare", CLOUDFLARE, 0),
        ("huggingface", HUGGINGFACE, 0),
        ("github", GITHUB, 1),
        ("slack", SLACK, 0),
        ("slack", "xoxp-9081726354001-9081726354002-9081726354003-0a1b2c3d4e5f", 0),
        ("slack", &format!("xoxe.{}", SLACK.replace("xoxb-", "xoxb-1-")), 1),
        ("stripe", STRIPE, 0),
        ("stripe", &STRIPE.replace("rk_", "sk_"), 1),
        ("stripe", "sk_test_Zq8Rk2Vn5Wm1Tx7Ly4Bc9Dh3", 0),
    ]
    .map(|(provider, token, remarks)| (provider, token.to_owned(), remarks))
    .to_vec()
}

/// As Oracle's console shows it: MD5 of the public key in DER.
fn oci_fingerprint() -> String {
    use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
    use aws_lc_rs::signature::KeyPair as _;
    use md5::Digest as _;
    let pem = rsa_pem();
    let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = data_encoding::BASE64.decode(base64.as_bytes()).expect("base64");
    let key = aws_lc_rs::rsa::KeyPair::from_pkcs8(&der).expect("a key");
    let public: PublicKeyX509Der<'_> = key.public_key().as_der().expect("DER");
    let pairs: Vec<String> = md5::Md5::digest(public.as_ref()).iter().map(|byte| format!("{byte:02x}")).collect();
    pairs.join(":")
}

/// A certificate of the same key as [`rsa_pem`].
fn certificate() -> String {
    let key = rcgen::KeyPair::from_pem(&rsa_pem()).expect("a key");
    rcgen::CertificateParams::new(vec![]).expect("parameters").self_signed(&key).expect("a certificate").pem()
}

fn session_token() -> String {
    "FwoGZXIvYXdzEJr//////////wEaDPq8Rk2Vn5Wm1Tx7Ly4Bc9Dh3Fj6Gs0PaUe9Iw2o".repeat(3)
}

fn rsa_pem() -> String {
    static KEY: LazyLock<String> = LazyLock::new(|| {
        let key = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).expect("a key");
        let der = aws_lc_rs::encoding::AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&key).expect("DER");
        let base64 = data_encoding::BASE64.encode(der.as_ref());
        let lines: Vec<&str> =
            base64.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("ASCII")).collect();
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
    });
    KEY.clone()
}

fn google_file() -> Value {
    json!({
        "type": "service_account",
        "project_id": "acme-analytics",
        "private_key_id": "89abcdef0123456789abcdef0123456789abcdef",
        "private_key": rsa_pem(),
        "client_email": "etl-reader@acme-analytics.iam.gserviceaccount.com",
        "client_id": "104857600000000000042",
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": "https://oauth2.googleapis.com/token",
        "auth_provider_x509_cert_url": "https://www.googleapis.com/oauth2/v1/certs",
        "client_x509_cert_url": "https://www.googleapis.com/robot/v1/metadata/x509/etl-reader%40acme-analytics.iam.gserviceaccount.com",
        "universe_domain": "googleapis.com",
    })
}

fn google_with(key: &str, value: Value) -> String {
    let mut file = google_file();
    file[key] = value;
    file.to_string()
}

fn map(value: Value) -> Map<String, Value> {
    value.as_object().expect("an object").clone()
}
