//! What only AWS has.

use serde_json::{Value, json};
use strongroom::crypto::Dek;
use strongroom::kms::{Context, Error, Kms as _};

use super::variables;
use crate::fake::kms::aws::{self as fake, ARN, Amazon, ID, SECRET};
use crate::fake::kms::{Service as _, State, Trouble};

const DEK: Dek = Dek::new([0xd5; 32]);

fn acme() -> Context {
    Context::for_org_key("acme")
}

#[tokio::test]
async fn what_is_asked() {
    let amazon = Amazon::start();
    let wrapped = amazon.key().wrap(&DEK, &acme()).await.unwrap();
    assert_eq!(wrapped.key, format!("aws-kms://{ARN}"));
    assert_eq!(wrapped.key_version, format!("{:064x}", 1));
    let asked = amazon.world.asked();
    let operations: Vec<&str> = asked.iter().map(|asked| asked.header("x-amz-target")).collect();
    assert_eq!(operations, ["TrentService.Encrypt", "TrentService.Decrypt"], "a wrap is opened before it counts");
    let body: Value = serde_json::from_slice(&asked[0].body).unwrap();
    let expected = json!({
        "KeyId": ARN,
        "Plaintext": "1dXV1dXV1dXV1dXV1dXV1dXV1dXV1dXV1dXV1dXV1dU=",
        "EncryptionContext": {"purpose": "org_key", "org": "acme"},
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn the_operator_is_told_whom_to_allow_and_what() {
    let amazon = Amazon::start();
    let key = amazon.key();
    let wrapped = key.wrap(&DEK, &acme()).await.unwrap();
    amazon.trouble(Trouble::Forbidden);
    for (operation, error) in [
        ("Encrypt", key.wrap(&DEK, &acme()).await.unwrap_err()),
        ("Decrypt", key.unwrap(&wrapped, &acme()).await.unwrap_err()),
    ] {
        assert_eq!(
            error.to_string(),
            format!(
                "aws-kms://{ARN} refuses: {} has no permission: allow kms:Encrypt and kms:Decrypt on {ARN}, in the \
                 key's policy and in the role's; kms:{operation} was denied",
                fake::ROLE
            )
        );
    }
}

#[tokio::test]
async fn what_aws_refuses_is_told_with_what_to_do() {
    let amazon = Amazon::start();
    let key = amazon.key();
    let told = async || key.wrap(&DEK, &acme()).await.unwrap_err().to_string();
    for (trouble, words) in [
        (Trouble::Missing, "there is no such key in its account in eu-central-1"),
        (Trouble::WrongPurpose, "KeyUsage ENCRYPT_DECRYPT and KeySpec SYMMETRIC_DEFAULT are needed"),
        (Trouble::Expired, "the session token in the environment has ended"),
    ] {
        amazon.trouble(trouble);
        assert!(told().await.ends_with(words), "{}", told().await);
    }
    amazon.trouble(Trouble::Nothing);
    for (state, words) in [
        (State::Disabled, "the key is disabled: enable it"),
        (State::Destroyed, "the key is scheduled for deletion: cancel that with kms:CancelKeyDeletion"),
    ] {
        amazon.set("", state);
        assert!(told().await.contains(words), "{}", told().await);
    }
}

#[tokio::test]
async fn a_wrong_secret_and_an_unknown_key_are_told_apart_and_not_repeated() {
    let amazon = Amazon::start();
    for (id, secret, told) in [
        (ID, "not the secret access key", "the secret access key from the environment is not the one"),
        ("AKIAUNKNOWN000000000", SECRET, "AWS does not take the access key from the environment"),
    ] {
        let key = amazon.key_by(ARN, variables([("AWS_ACCESS_KEY_ID", id), ("AWS_SECRET_ACCESS_KEY", secret)]));
        let error = key.wrap(&DEK, &acme()).await.unwrap_err();
        assert!(matches!(&error, Error::Refused { cause, .. } if cause.contains(told)), "{error}");
        assert!(!error.to_string().contains(secret) && !error.to_string().contains(id), "{error}");
    }
}

/// One that the platform gives anew is worth another try; one in the environment is not.
#[tokio::test]
async fn a_session_that_has_ended_is_fetched_anew_where_there_is_another() {
    let amazon = Amazon::start();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, fake::WEB_TOKEN).unwrap();
    let web = variables([("AWS_WEB_IDENTITY_TOKEN_FILE", file.to_str().unwrap()), ("AWS_ROLE_ARN", fake::ROLE)]);
    let key = amazon.key_by(ARN, web);
    let wrapped = key.wrap(&DEK, &acme()).await.unwrap();
    let fetches = || amazon.world.asked().iter().filter(|asked| asked.host.starts_with("sts.")).count();
    assert_eq!(fetches(), 1);
    amazon.trouble(Trouble::Expired);
    let error = key.unwrap(&wrapped, &acme()).await.unwrap_err();
    assert!(matches!(&error, Error::Unavailable { cause, .. } if cause.contains("a new one is fetched")), "{error}");
    amazon.trouble(Trouble::Nothing);
    assert_eq!(key.unwrap(&wrapped, &acme()).await.unwrap().expose(), DEK.expose());
    assert_eq!(fetches(), 2);
}
