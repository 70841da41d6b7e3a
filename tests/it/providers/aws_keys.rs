//! aws_keys: several fields, so canonical JSON is the secret.

use super::*;

#[test]
fn aws_keys_become_canonical_json_with_the_account_in_clear() {
    let id = "AKIAQNZGKIQY56JQ7WML";
    let canonical = format!(r#"{{"access_key_id":"{id}","secret_access_key":"{AWS_SECRET}"}}"#);
    let printed = json!({ "AccessKey": {
        "UserName": "etl", "AccessKeyId": id, "Status": "Active", "SecretAccessKey": AWS_SECRET, "CreateDate": "2026-11-20T17:00:00Z",
    }});
    for upload in [
        fields(&[("access_key_id", id), ("secret_access_key", AWS_SECRET)]),
        fields(&[("AWS_ACCESS_KEY_ID", id), ("AWS_SECRET_ACCESS_KEY", AWS_SECRET)]),
        document(json!({ "secret_access_key": AWS_SECRET, "access_key_id": format!(" {id}\n") }).to_string()),
        document(serde_json::to_string_pretty(&printed).unwrap()),
    ] {
        let parsed = parse("aws_keys", &upload).unwrap();
        assert_eq!(text(&parsed), canonical);
        assert_eq!(parsed.public_identity["access_key_id"], id);
        assert_eq!(parsed.public_identity["account_id"], "029608264753");
        assert_eq!(parsed.public_identity.len(), 2);
    }
}

#[test]
fn temporary_aws_keys_come_with_their_session_token() {
    let (id, token) = ("ASIAY34FZKBOKMUTVV7A", session_token());
    let three = [("access_key_id", id), ("secret_access_key", AWS_SECRET), ("session_token", token.as_str())];
    let parsed = parse("aws_keys", &fields(&three)).unwrap();
    assert_eq!(parsed.public_identity["account_id"], "609629065308");
    let printed = json!({ "Credentials": {
        "AccessKeyId": id, "SecretAccessKey": AWS_SECRET, "SessionToken": token, "Expiration": "2026-11-20T19:00:00Z",
    }});
    assert_eq!(parse("aws_keys", &document(printed.to_string())).unwrap().secret, parsed.secret);
    let process = json!({ "Version": 1, "AccessKeyId": id, "SecretAccessKey": AWS_SECRET, "SessionToken": token });
    assert_eq!(parse("aws_keys", &document(process.to_string())).unwrap().secret, parsed.secret);

    refused("aws_keys", &fields(&three[..2]), "session_token", "is missing: keys that begin with ASIA");
    let long_term = [("access_key_id", "AKIAY34FZKBOKMUTVV7A"), three[1], three[2]];
    refused("aws_keys", &fields(&long_term), "session_token", "does not belong here");
}

#[test]
fn keys_older_than_2019_show_no_account() {
    let parsed =
        parse("aws_keys", &fields(&[("access_key_id", "AKIAIZ2RK2VN5WM2TX7L"), ("secret_access_key", AWS_SECRET)]));
    assert_eq!(parsed.unwrap().public_identity.keys().collect::<Vec<_>>(), ["access_key_id"]);
}

#[test]
fn aws_keys_say_what_was_pasted_instead() {
    let id = |value: &str, words: &str| {
        refused(
            "aws_keys",
            &fields(&[("access_key_id", value), ("secret_access_key", AWS_SECRET)]),
            "access_key_id",
            words,
        );
    };
    id("AIDAQNZGKIQY56JQ7WML", "this is the id of an IAM user, not an access key id");
    id("AROAQNZGKIQY56JQ7WML", "this is the id of an IAM role, not an access key id");
    id("AKIAIOSFODNN7EXAMPLE", "is a placeholder");
    id("029608264753", "this is an account id");
    id("arn:aws:iam::029608264753:user/etl", "this is an ARN");
    id(AWS_SECRET, "the two fields may be swapped");
    id("akiaqnzgkiqy56jq7wml", "must be 20 characters that begin with AKIA");
    id("AKIAQNZGKIQY56JQ7WM", "must be 20 characters");
    let secret = |value: &str, words: &str| {
        let upload = fields(&[("access_key_id", "AKIAQNZGKIQY56JQ7WML"), ("secret_access_key", value)]);
        refused("aws_keys", &upload, "secret_access_key", words);
    };
    secret("AKIAQNZGKIQY56JQ7WML", "the two fields may be swapped");
    secret("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "is a placeholder");
    secret(&AWS_SECRET[1..], "must be 40 characters");
    refused("aws_keys", &fields(&[("access_key_id", "AKIAQNZGKIQY56JQ7WML")]), "secret_access_key", "is missing");
    refused("aws_keys", &document(AWS_SECRET), "document", "is not valid JSON");
    refused("aws_keys", &document(google_file().to_string()), "document", "set it up as gcp_service_account");
}

#[test]
fn metadata_must_not_contradict_the_key() {
    let parsed =
        parse("aws_keys", &fields(&[("access_key_id", "AKIAQNZGKIQY56JQ7WML"), ("secret_access_key", AWS_SECRET)]));
    let parsed = parsed.unwrap();
    assert!(parsed.agrees_with(&map(json!({ "account_id": "029608264753", "region": "eu-west-1" }))).is_ok());
    assert!(parsed.agrees_with(&map(json!({}))).is_ok());
    let error = parsed.agrees_with(&map(json!({ "account_id": "609629065308" }))).unwrap_err();
    assert_eq!(error.to_string(), "metadata.account_id: is not what the credential itself says");
}
