//! gcp_service_account: the file is the credential.

use super::*;

fn pem(algorithm: &'static rcgen::SignatureAlgorithm) -> String {
    rcgen::KeyPair::generate_for(algorithm).expect("a key").serialize_pem()
}

#[test]
fn a_google_key_file_is_kept_whole_and_shows_who_it_is() {
    let file = google_file();
    let sorted: BTreeMap<&str, &str> =
        file.as_object().unwrap().iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap())).collect();
    let canonical = serde_json::to_string(&sorted).unwrap();
    let members: Vec<(&str, &str)> = sorted.into_iter().collect();
    for upload in [
        document(&canonical),
        document(format!("\u{feff}{}\r\n", serde_json::to_string_pretty(&file).unwrap())),
        fields(&[("service_account_json", &canonical)]),
        fields(&members),
        document(google_with("private_key", rsa_pem().replace('\n', "\r\n").into())),
        document(google_with("private_key", rsa_pem().replace('\n', "\\n").into())),
        document(google_with("private_key", rsa_pem().trim_end().into())),
    ] {
        let parsed = parse("gcp_service_account", &upload).unwrap();
        assert_eq!(text(&parsed), canonical);
        let shown: Vec<(&str, &str)> =
            parsed.public_identity.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(
            shown,
            [
                ("client_email", "etl-reader@acme-analytics.iam.gserviceaccount.com"),
                ("client_id", "104857600000000000042"),
                ("private_key_id", "89abcdef0123456789abcdef0123456789abcdef"),
                ("project_id", "acme-analytics"),
            ]
        );
    }
}

#[test]
fn a_google_key_file_is_held_to_what_google_hands_out() {
    let bad = |key: &str, value: Value, words: &str| {
        refused("gcp_service_account", &document(google_with(key, value)), key, words);
    };
    bad("type", "authorized_user".into(), "this file is a person's login");
    bad("type", "external_account".into(), "this file is a federation config");
    bad("type", "impersonated_service_account".into(), "impersonates");
    bad("type", "Service_Account".into(), "must be service_account");
    bad("project_id", "123456789012".into(), "this is a project number");
    bad("project_id", "Acme".into(), "must be a project id");
    bad("private_key_id", "xyz".into(), "must be 40 hexadecimal digits");
    bad("client_email", "someone@gmail.com".into(), "must be a service account's address");
    bad("client_id", 104_857_600_u64.into(), "must be a text");
    bad("client_id", "12".into(), "must be a number of 15 to 25 digits");
    bad("universe_domain", "evil.example".into(), "must be googleapis.com");
    for hostile in [
        "https://evil.example/token",
        "http://oauth2.googleapis.com/token",
        "https://oauth2.googleapis.com.evil.example/token",
        "https://oauth2.googleapis.com@evil.example/token",
        "https://oauth2.googleapis.com/token?x=https://evil.example",
        "https://169.254.169.254/token",
    ] {
        bad("token_uri", hostile.into(), "must be https://oauth2.googleapis.com/token");
    }
    let mut file = google_file();
    file.as_object_mut().unwrap().remove("client_email");
    refused("gcp_service_account", &document(file.to_string()), "client_email", "is missing");
    refused(
        "gcp_service_account",
        &document(google_with("extra", "x".into())),
        "fields",
        "one that gcp_service_account does not have",
    );
    refused(
        "gcp_service_account",
        &fields(&[("service_account_json", "{")]),
        "service_account_json",
        "is not valid JSON",
    );
    refused("gcp_service_account", &document("[]"), "document", "is not a JSON object");
    refused("gcp_service_account", &document(OPENAI), "document", "this looks like an OpenAI key; set it up as openai");
}

/// Made for this test: 1024 bits.
const SMALL_RSA: &str = "-----BEGIN PRIVATE KEY-----
MIICdQIBADANBgkqhkiG9w0BAQEFAASCAl8wggJbAgEAAoGBANzRTSsKxmbvoqJr
daUj7nKl72PnytRXIqotJZTaLYClDrYrajT2TrlXj1zFZ/Mtu3JEMRHK4xM/9lvS
sC2G/nPfDzl981exUo51U40GRbSu6qn+cBuAjW4VxzYDboMMN1aYOea9D7cCVCPw
e7S6wRqvtn/JsNQq2w2W77+WrGrNAgMBAAECgYA1+iO25cdh2ioTMdlsKMBc3hsK
fNqj1TjwCGErZbnBvJdACJTJpXvQ6opszwR9+Svc3rZv9vxS9EuwXmwadOk1zWVs
xXtejXAtZ+t7fEmljEjwWbwmhZ3v+c00JsNO9uP7UD9WLLzEVCAD+xZP/Ha+U88v
LpMDhG4YSq0/Fc71sQJBAPrLekNAxJMsGGIqNmEq6ZAxpFUMcWyWefN9+C99fq5M
4b6YA6UHMO2f8zjm8Jo+mFFfXbHjge1d1vwQkubuyhcCQQDhZox+g7h/hVZOFOS+
NQkHGLNKNEujxw1Sl0G6QRTStvct9u0QcZdjk2XI/qHzBNyVOTwUkilndXepzfOv
UxS7AkAIoxNN16AtdVpNnyiKRiEPDzaamzgYxkHi6davRAIl3I31s2SEvW+o71ZA
AmwM09UJEGC4rJ4f35h0y9lTTKv3AkBznzkehM8Viv5Um18jOu1gmIkP3XeXkboB
zdlHg6780CJHj8zXjI1N5QRncEb+9FV6rptlKfzXN2ik0CLaotGVAkBVGYBBOWNe
nQHji0GcrX7WtNDgwCH3VM7r7p9LvSxymUm/tStQnb1S8/DHJog4cSCOFk7FjbfE
hgwOg/Sr30k0
-----END PRIVATE KEY-----";

#[test]
fn a_google_private_key_must_be_one_that_can_sign() {
    let bad = |pem: &str, words: &str| {
        refused("gcp_service_account", &document(google_with("private_key", pem.into())), "private_key", words);
    };
    let good = rsa_pem();
    bad(&pem(&rcgen::PKCS_ECDSA_P256_SHA256), "is not an RSA key");
    bad(SMALL_RSA, "is an RSA key of less than 2048 bits");
    bad(&good.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"), "locked with a passphrase");
    bad(&good.replace("PRIVATE KEY", "RSA PRIVATE KEY"), "this key was converted");
    bad(&good.replace("PRIVATE KEY", "CERTIFICATE"), "this is the public half");
    bad(&good[..600], "must be an unencrypted PEM block");
    bad(&good.replace("-----END PRIVATE KEY-----\n", ""), "must be an unencrypted PEM block");
    let mut lines: Vec<&str> = good.lines().collect();
    lines.remove(3);
    bad(&lines.join("\n"), "is not readable as an RSA key");
    let swapped = good.replacen(lines[2], &lines[2].chars().rev().collect::<String>(), 1);
    bad(&swapped, "is not readable as");
    bad(&good.repeat(3), "must be an unencrypted PEM block");
    bad(&"A".repeat(9000), "is longer than 8192 bytes");
}
