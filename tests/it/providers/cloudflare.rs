//! cloudflare: scoped tokens only.

use super::*;

#[test]
fn cloudflare_takes_scoped_tokens() {
    for token in [CLOUDFLARE, &CLOUDFLARE.replace("cfut", "cfat"), CLOUDFLARE_OLD] {
        assert_eq!(text(&parse("cloudflare", &fields(&[("api_token", token)])).unwrap()), token);
        assert_eq!(text(&parse("cloudflare", &document(token)).unwrap()), token);
    }
}

#[test]
fn cloudflare_refuses_the_global_key_outright() {
    let bad = |value: &str, words: &str| refused("cloudflare", &fields(&[("api_token", value)]), "api_token", words);
    bad(&CLOUDFLARE.replace("cfut", "cfk"), "this is the global API key, which is not accepted");
    for length in [37, 38, 45] {
        bad(&"0a1b2c3d4e5f".repeat(4)[..length], "this looks like the global API key");
    }
    bad(&format!("v1.0-{}-{}", "0a1b2c3d".repeat(3), "0a".repeat(73)), "this is an Origin CA key");
    bad("cfoat_Zq8Rk2Vn5Wm1Tx7Ly4Bc", "this is the login of wrangler");
    bad("eyJhIjoiMGExYjJjM2Q0ZTVmIiwidCI6Ijk4NzYifQ==", "this is the token of a tunnel");
    bad(&format!("ghp_{}", "Zq8Rk2Vn5Wm1Tx7Ly4Bc9Dh3Fj6Gs0PaUe9I"), "this looks like a GitHub token");
    bad(&CLOUDFLARE[..50], "must be a user token");
    let legacy = fields(&[("email", "ops@acme.example"), ("api_key", "0a1b2c3d4e5f0a1b2c3d4e5f0a1b2c3d4e5f0")]);
    refused("cloudflare", &legacy, "api_key", "the global API key is not accepted");
    refused(
        "cloudflare",
        &fields(&[("api_token", CLOUDFLARE), ("email", "ops@acme.example")]),
        "email",
        "not accepted",
    );
}
