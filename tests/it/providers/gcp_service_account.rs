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
    bad("type", "external_account".into(), "this file is a federation's configuration");
    bad("type", "impersonated_service_account".into(), "borrows a service account");
    bad("type", "Service_Account".into(), "must be service_account");
    bad("project_id", "123456789012".into(), "this is a project number");
    bad("project_id", "Acme".into(), "must be a project id");
    bad("private_key_id", "xyz".into(), "must be 40 hexadecimal digits");
    bad("client_email", "someone@gmail.com".into(), "must be a service account's address");
    bad("client_id", Value::Null, "must be a text");
    bad("private_key", 104_857_600_u64.into(), "must be a text");
    bad("client_id", 104_857_600_u64.into(), "must be a number of 15 to 25 digits");
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

/// Made for this test: 2048 bits with the exponent 3.
const ODD_RSA: &str = "-----BEGIN PRIVATE KEY-----
MIIEvgIBADANBgkqhkiG9w0BAQEFAASCBKgwggSkAgEAAoIBAQDHclDhyKjyi8eP
GEqh24/Jp6h3xDMcRTWlOYyeuG8cV7hDbZDpKot1zegxew7451sgYm+GwqgFxGjE
dTE9A8U9j13GeAOPjGLZuK4sRRbF0PmbycX5VIY4RvEYWrwgNQylEYRoUOO+GcMk
t+/fJ4d1uctqLo7Cgoar8C3w37Ze4vmuO5qW2AHfktKnKznOiz4pAwEftG8bzBPM
QQhJ9HY6inGtcjxOmr5YuNz3xfJqTrxeEAQ1/uiNPFIlMHnbSZ4pzMH0+xrn1N8l
NIquxDBUoqoaFzk6xTDGlBxXMfQ5tw5ka6PE6WijZBrWKfewT6r2FEUM0k1MkhaF
whin7iDxAgEDAoIBAQCE9uCWhcX3B9pfZYcWkl/bxRr6gsy9g3kY0Qhp0EoS5SWC
SQtGHFz5M/Ag/LSl75IVlvUEgcVZLZsto3YorS4pCj6EUAJfsuyRJcly2LnZNfu9
MS6mOFl62fYQPH1qzghuC62a4JfUESzDJUqUxQT5JoecHwnXAa8dSslLP87p63dL
1SWum/p/6RffTeIiTIs4ogxlNFVR2VcWppocCTIIUb29ujGGWtmSatoh+U3vBIsu
7hUOUDH4yYi7q5fr0mdnGx8mPS0NJcb0WE03nwcUfNQ8LDNEr09Ou7NEOfmROerN
QzipzHi4I+y+GahfRYr+GIye//qyC4YTK+wjxjQrAoGBAPygNxOjtBUgEVBVthm+
U74RkElfTjUby/DpC9aqzm4oU/KyV9d8wkO0ka00VcIpbwpyARPAgXX5C3uDoY2l
iTwxQGr+iOx41ePxZpuyLiA2qyjY/ZxUW6ihFe44VTLJ4N1vAMM0AJ/UGT5k9CZU
s20eD36Oa2hqRKHvosPdAg1ZAoGBAMocRM5tOfT/o96CgEzcxK9Cf6Uol7oFOiBB
O0p1GD0Fu+JegxqIUDRIhuiQejtaWOElqdDgBSefAomIDYhUBMbd46g9FmrbRlDF
SXspJ4V/PELm10//YpEvZKE4hcsV/1DBhguSNhO7FPlUD1TMs+1a3/OP5uzXPCt5
XXKVQsVZAoGBAKhqz2JtIrjAC4rjzrvUN9QLtYY/iXi9MqCbXTnHNElwN/chj+T9
1tfNtnN4OSwbn1xMALfVq6P7XP0Ca7PDsNLLgEdUW0hQjpf2RGfMHsAkchs7U72N
knBrY/QljiHb6z5KAIIiqxU4ENRDTW7jIki+tP8JnPBG2Gv1Fy0+AV47AoGBAIa9
gzRI0U3/wpRXADM92HTW/8NwZSauJsArfNxOECiufUGUV2cFis2Fr0W1ptI8O0DD
xotAA2+/VwZas7A4Ay8+l8V+DvHnhDXY26dwxQOqKCyZ5N//lwt07cDQWTIOqjXW
WV0MJA0nY1DitOMzIp48lU0KmfM6KBz7k6G41y47AoGBALhC65H82UDwWKRwnu3y
p94Bc1dvl8Grww/RUcB9Fh7Vx8MMFQ0pBFcvx6T3LLdu9FN3H0Km6MzPIaTKs/m8
lRnCJmyqSN7rJspm1MMn1Yx8SXL/VaVVbu4MuK/j8QLTXr8kKLWh1omI0CEItZtE
c5x+O9rICYq0xWchAThoSk4P
-----END PRIVATE KEY-----";

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
    bad(ODD_RSA, "with an unusual public exponent");
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
