//! What AWS's tools and console hand out, and files that are sent by mistake.

use super::*;

const ID: &str = "AKIAQNZGKIQY56JQ7WML";

#[test]
fn everything_that_aws_hands_out_is_taken() {
    let long = parse("aws_keys", &fields(&[("access_key_id", ID), ("secret_access_key", AWS_SECRET)])).unwrap();
    for file in [
        format!("\u{feff}Access key ID,Secret access key\r\n{ID},{AWS_SECRET}\r\n"),
        format!(
            "User name,Password,Access key ID,Secret access key,Console login link\netl,,{ID},{AWS_SECRET},https://x.example/\n"
        ),
        format!("[default]\naws_access_key_id = {ID}\naws_secret_access_key = {AWS_SECRET}\nregion = eu-west-1\n"),
        format!("[a]\naws_access_key_id = {ID}\naws_secret_access_key = {AWS_SECRET}\n"),
        format!(
            "export AWS_ACCESS_KEY_ID=\"{ID}\"\nexport AWS_SECRET_ACCESS_KEY=\"{AWS_SECRET}\"\nexport AWS_DEFAULT_REGION=eu-west-1\n"
        ),
        format!("$Env:AWS_ACCESS_KEY_ID=\"{ID}\"\r\n$Env:AWS_SECRET_ACCESS_KEY=\"{AWS_SECRET}\"\r\n"),
        json!({ "Version": 1, "AccessKeyId": ID, "SecretAccessKey": AWS_SECRET }).to_string(),
    ] {
        let parsed = parse("aws_keys", &document(file.clone())).unwrap_or_else(|invalid| panic!("{file}: {invalid}"));
        assert_eq!(parsed.secret, long.secret);
        let file = file.replace(ID, "AKIAQNZGKIQY56JQ7WM");
        assert!(parse("aws_keys", &document(file)).is_err());
    }
    let role = json!({
        "Credentials": {
            "AccessKeyId": "ASIAY34FZKBOKMUTVV7A", "SecretAccessKey": AWS_SECRET, "SessionToken": session_token(),
            "Expiration": "2026-11-20T19:00:00Z",
        },
        "AssumedRoleUser": { "AssumedRoleId": "AROAQNZGKIQY56JQ7WML:x", "Arn": "arn:aws:sts::609629065308:assumed-role/a/x" },
        "PackedPolicySize": 6,
    });
    assert!(parse("aws_keys", &document(role.to_string())).is_ok());
    let two = format!("[a]\naws_access_key_id = {ID}\n[b]\naws_access_key_id = {ID}\n");
    refused("aws_keys", &document(two), "document", "has several sections");
    let rows = format!("Access key ID,Secret access key\n{ID},{AWS_SECRET}\n{ID},{AWS_SECRET}\n");
    refused("aws_keys", &document(rows), "document", "has several lines of values");
}

#[test]
fn files_that_are_sent_by_mistake_are_named() {
    for (file, words) in [
        (json!({ "type": "external_account", "audience": "//iam" }).to_string(), "a federation's configuration"),
        (
            "[profile x]\nrole_arn = arn:aws:iam::1:role/x\nweb_identity_token_file = /t\n".into(),
            "a federation's configuration",
        ),
        (
            json!({ "startUrl": "https://a.awsapps.com/start", "accessToken": "x" }).to_string(),
            "single sign-on, which ends soon",
        ),
        ("[profile x]\nsso_start_url = https://a.awsapps.com/start\n".into(), "single sign-on and holds no key"),
        ("[default]\ncredential_process = /usr/bin/x\n".into(), "this names a program"),
        (
            "apiVersion: v1\nclusters:\n- cluster:\n    server: https://x\nkind: Config\n".into(),
            "configuration of kubectl",
        ),
        ("-----BEGIN PUBLIC KEY-----\nAA\n-----END PUBLIC KEY-----\n".into(), "the public half of a key"),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 me@here".into(), "the public half of a key"),
    ] {
        for provider in registry().all().filter(|provider| provider.id != "saas_generic") {
            if file.contains("external_account") && provider.id.starts_with("gcp_") {
                continue;
            }
            refused(&provider.id, &document(file.clone()), "document", words);
        }
    }
    refused(
        "gcp_vertex",
        &document(google_with("type", "external_account".into())),
        "type",
        "a federation's configuration",
    );
}
