//! The provider registry: what is accepted, what is refused, and that a refusal never quotes what was sent.

mod aws_keys;
mod cloudflare;
mod echo;
mod gcp_service_account;
mod metadata;
mod openai;
mod registry;
mod saas_generic;

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
const ANTHROPIC: &str = "sk-ant-api03-Zq8Rk2Vn5Wm1Tx7Ly4Bc9Dh3Fj6Gs0PaZq8Rk2Vn5Wm1Tx7Ly4Bc9Dh3Fj6Gs0PaZq8Rk2Vn5Wm1TxAA";
const AWS_SECRET: &str = "Zq8Rk2Vn5Wm1Tx7Ly4Bc/Dh3Fj6Gs0Pa+Ue9Iw2o";
const CLOUDFLARE: &str = "cfut_Zq8Rk2Vn5Wm1Tx7Ly4Bc9Dh3Fj6Gs0PaUe9Iw2ok0a1b2c3d";
const CLOUDFLARE_OLD: &str = "Zq8Rk2Vn5Wm1Tx7Ly4Bc9Dh3Fj6Gs0Pa_Ue-Iw2o";

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
