//! openai: one field, so the bare key is the secret.

use super::*;

#[test]
fn openai_accepts_a_key_however_it_was_pasted() {
    let quoted = format!("\u{feff}  \"{OPENAI}\" \r\n");
    for upload in [
        fields(&[("api_key", OPENAI)]),
        fields(&[("OPENAI_API_KEY", OPENAI)]),
        fields(&[("api_key", &quoted)]),
        document(OPENAI),
        document(format!("{OPENAI}\n")),
        document(&quoted),
        document(json!({ "api_key": OPENAI }).to_string()),
        document(format!("\u{feff}{}", json!({ "OPENAI_API_KEY": quoted }))),
    ] {
        let parsed = parse("openai", &upload).unwrap();
        assert_eq!(text(&parsed), OPENAI);
        assert!(parsed.public_identity.is_empty());
    }
    assert_eq!(text(&parse("openai", &document(OPENAI_OLD)).unwrap()), OPENAI_OLD);
}

#[test]
fn openai_says_what_was_pasted_instead() {
    let bad = |value: &str, words: &str| refused("openai", &fields(&[("api_key", value)]), "api_key", words);
    bad("", "is empty");
    bad(" \"\" \n", "is empty");
    bad("changeme", "is a placeholder");
    bad("xxx", "is a placeholder");
    bad("sk-xxxxxxxxxxxx", "is a placeholder");
    bad("YOUR_API_KEY", "is a placeholder");
    bad("<your key here>", "is a placeholder");
    bad("${OPENAI_API_KEY}", "is a placeholder");
    bad("$OPENAI_API_KEY", "is a placeholder");
    bad("{{ openai_key }}", "is a placeholder");
    bad(ANTHROPIC, "this looks like an Anthropic key");
    bad(&format!("sk-or-v1-{}", "0a1b2c3d".repeat(8)), "this looks like an OpenRouter key");
    bad(&format!("ghp_{}", "Zq8Rk2Vn5W".repeat(4)), "this looks like a GitHub token");
    bad(CLOUDFLARE, "this looks like a Cloudflare key; set it up as cloudflare");
    bad("AKIAZQ2RK2VN5WM2TX7L", "this looks like an AWS access key id; set it up as aws_keys");
    bad("eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4eHgifQ.c2ln", "this looks like a signed token (JWT)");
    bad(&OPENAI.replace("proj", "admin"), "this is an admin key");
    bad("sess-Zq8Rk2Vn5Wm1Tx7Ly4Bc", "this is a browser session");
    bad("org-Zq8Rk2Vn5Wm1Tx7Ly4Bc", "this is an organization's id");
    bad(&OPENAI.replace("Wm1", "Wm 1"), "has a space inside");
    bad(&OPENAI.replace("Wm1", "Wm\n1"), "has a line break inside");
    bad(&OPENAI.replace("Wm1", "Wm\u{200b}1"), "not printable ASCII");
    bad(&OPENAI.replace("Wm1", "Wm\u{0}1"), "not printable ASCII");
    bad(&OPENAI.replace("T3Blbk", "T3Blxx"), "must be a project, service account or user key");
    bad(&OPENAI.to_uppercase(), "must be a project, service account or user key");
    bad(&format!("{OPENAI}{}", "a".repeat(300)), "is longer than 300 bytes");
    bad(&"a".repeat(70_000), "is longer than 65536 bytes");
}

#[test]
fn openai_refuses_the_wrong_shape_of_upload() {
    refused("openai", &fields(&[]), "api_key", "is missing");
    refused("openai", &fields(&[("api_kye", OPENAI)]), "fields", "perhaps api_key was meant");
    refused("openai", &fields(&[("zzzzzzzz", OPENAI)]), "fields", "its fields are api_key");
    refused("openai", &fields(&[("api_key", OPENAI), ("extra", "x")]), "fields", "one that openai does not have");
    refused("openai", &fields(&[("api_key", OPENAI), ("OPENAI_API_KEY", OPENAI)]), "api_key", "given twice");
    let not_text = BTreeMap::from([("api_key".to_owned(), Secret::from(vec![0xff, 0xfe, 0x41]))]);
    refused("openai", &Upload::Fields(not_text), "api_key", "is not UTF-8");
    refused("openai", &Upload::Document(Secret::from(vec![0xff, 0xfe, 0x41])), "document", "is not UTF-8");
    refused("openai", &document(""), "document", "is empty");
    refused("openai", &document("{}"), "api_key", "is missing");
    refused("openai", &document(format!("{{\"api_key\": \"{OPENAI}\"")), "document", "is not valid JSON");
    refused("openai", &document(format!(r#"{{"api_key":"{OPENAI}","api_key":"{OPENAI}"}}"#)), "document", "key twice");
    refused("openai", &document(json!({ "api_key": [OPENAI] }).to_string()), "api_key", "must be a text");
    refused("openai", &document(json!({ "api_key": 1 }).to_string()), "api_key", "must be a text");
    refused("openai", &document(format!("{}1{}", "{\"a\":".repeat(9), "}".repeat(9))), "document", "more than 8 deep");
    refused("openai", &document("{\"a\":".repeat(12_000)), "document", "more than 8 deep");
    refused("openai", &document(" ".repeat(70_000)), "document", "is longer than 65536 bytes");
    refused(
        "openai",
        &document(google_file().to_string()),
        "document",
        "this looks like a Google service account's key file",
    );
    let many: Vec<String> = (0..40).map(|n| format!("field{n}")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "x")).collect();
    refused("openai", &fields(&many), "fields", "has more than 32");
}
