//! The providers whose credential is one token: what is taken, what is remarked, and what was pasted instead.

use super::*;

/// Each token is taken as a field, bare, as JSON and as a line of an environment, and is the secret as it is.
#[test]
fn a_token_is_taken_however_it_comes() {
    for (provider, token, remarks) in tokens() {
        let entry = registry().get(provider).unwrap();
        let field = &entry.fields[0].name;
        let variable = entry.environment.iter().find(|(_, template)| template.trim_matches(['{', '}']) == field);
        let variable = variable.map_or("SLACK_BOT_TOKEN", |(name, _)| name);
        for upload in [
            fields(&[(field, &token)]),
            fields(&[(variable, &token)]),
            document(format!("\u{feff}\"{token}\"\r\n")),
            document(json!({ field: token }).to_string()),
            document(format!("# ours\nexport {variable}='{token}'\r\n")),
        ] {
            let parsed = parse(provider, &upload).unwrap_or_else(|invalid| panic!("{provider}: {invalid}"));
            assert_eq!(text(&parsed), token);
            assert_eq!(parsed.warnings.len(), remarks, "{provider}: {:?}", parsed.warnings);
        }
        refused(provider, &fields(&[(field, &format!("{token}\u{200b}"))]), field, "");
        refused(provider, &fields(&[(field, &token.replacen(&token[4..6], " \n", 1))]), field, "");
        refused(provider, &fields(&[(field, "changeme")]), field, "is a placeholder");
        refused(provider, &fields(&[(field, "")]), field, "is empty");
        refused(provider, &fields(&[(field, &token), ("extra", "x")]), "fields", "holds one that");
        refused(provider, &fields(&[(field, &token[..token.len() / 4])]), field, "");
    }
}

#[test]
fn what_was_pasted_instead_is_named() {
    for (provider, value, words) in [
        ("anthropic", ANTHROPIC.replace("api03", "admin01"), "this is an admin key"),
        ("anthropic", ANTHROPIC.replace("api03", "oat01"), "this is an access token"),
        ("anthropic", ANTHROPIC.replace("api03", "sid01"), "this is a browser session"),
        ("anthropic", ANTHROPIC[..107].to_owned(), "must be an API key"),
        ("anthropic", OPENAI.to_owned(), "set it up as openai"),
        ("anthropic", ANTHROPIC.to_uppercase(), "must be an API key"),
        ("gemini", "ya29.a0AfH6SMBZq8Rk2Vn5".to_owned(), "this is an access token"),
        ("gemini", GEMINI_OLD[..38].to_owned(), "must be a key that begins with"),
        ("huggingface", "hf_oauth_Zq8Rk2Vn5".to_owned(), "the token of a login"),
        ("huggingface", HUGGINGFACE.to_uppercase(), "must be a token"),
        ("github", GITHUB.replace("ghp_", "ghr_"), "this is a refresh token"),
        ("github", "0a1b2c3d4e".repeat(4), "until 2021"),
        ("github", GITHUB[..39].to_owned(), "must be a token"),
        ("slack", "xoxe-1-My0xLTEyMzQ1Njc4OTAtMTIz".to_owned(), "this is a refresh token"),
        ("slack", "xoxc-1234567890-1234567890".to_owned(), "the token of a browser"),
        ("slack", "https://hooks.slack.com/services/T0/B0/x".to_owned(), "the address of a webhook"),
        ("stripe", STRIPE.replace("rk_", "pk_"), "this is a publishable key"),
        ("stripe", "whsec_Zq8Rk2Vn5Wm1Tx7L".to_owned(), "the signing secret of a webhook"),
        ("stripe", "acct_1Zq8Rk2Vn5".to_owned(), "the id of something at Stripe"),
        ("stripe", STRIPE.replace("live", "Live"), "must be a secret key"),
    ] {
        let field = registry().get(provider).unwrap().fields[0].name.clone();
        refused(provider, &fields(&[(&field, &value)]), &field, words);
        refused(provider, &document(value), &field, words);
    }
}

/// What looks like a key of nobody must not be taken for one of somebody else.
#[test]
fn forty_hexadecimal_digits_are_a_cloudflare_token() {
    assert!(parse("cloudflare", &fields(&[("api_token", &"0a1b2c3d4e".repeat(4))])).is_ok());
}
