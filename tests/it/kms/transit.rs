//! What only OpenBao and Vault have.

use serde_json::{Value, json};
use strongroom::crypto::Dek;
use strongroom::kms::{Context, Error, Kms as _};

use super::variables;
use crate::fake::kms::transit::{Bao, KEY, SERVER, TOKEN};
use crate::fake::kms::{Service as _, State, Trouble};

const DEK: Dek = Dek::new([0xd5; 32]);

fn acme() -> Context {
    Context::for_org_key("acme")
}

#[tokio::test]
async fn what_is_asked() {
    let bao = Bao::start();
    bao.rotate();
    let key = bao.key();
    let wrapped = key.wrap(&DEK, &acme()).await.unwrap();
    assert_eq!((wrapped.key.as_str(), wrapped.key_version.as_str()), (key.uri(), "2"));
    assert!(wrapped.bytes.starts_with(b"vault:v2:"));
    let asked = bao.world.asked();
    let paths: Vec<&str> = asked.iter().map(|asked| asked.path.as_str()).collect();
    let expected = ["/v1/team/transit/encrypt/strongroom", "/v1/team/transit/decrypt/strongroom"];
    assert_eq!(paths, expected, "it is opened before it counts");
    let asked = &asked[0];
    assert_eq!((asked.method.as_str(), asked.host.as_str()), ("POST", SERVER));
    assert_eq!(asked.header("x-vault-namespace"), "");
    let body: Value = serde_json::from_slice(&asked.body).unwrap();
    let expected = json!({
        "plaintext": "1dXV1dXV1dXV1dXV1dXV1dXV1dXV1dXV1dXV1dXV1dU=",
        "associated_data": "AAAAB3B1cnBvc2UAAAAHb3JnX2tleQAAAANvcmcAAAAEYWNtZQ==",
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn what_the_server_refuses_is_told_with_what_to_do() {
    let bao = Bao::start();
    let key = bao.key();
    let wrapped = key.wrap(&DEK, &acme()).await.unwrap();
    for (trouble, wrap, unwrap) in [
        (
            Trouble::Forbidden,
            "`update` on team/transit/encrypt/strongroom",
            "`update` on team/transit/decrypt/strongroom",
        ),
        (Trouble::Missing, "there is no such key", "there is no such key"),
        (Trouble::WrongPurpose, "aes256-gcm96", "aes256-gcm96"),
    ] {
        bao.trouble(trouble);
        for (words, error) in [
            (wrap, key.wrap(&DEK, &acme()).await.unwrap_err()),
            (unwrap, key.unwrap(&wrapped, &acme()).await.unwrap_err()),
        ] {
            assert!(matches!(&error, Error::Refused { cause, .. } if cause.contains(words)), "{error}");
            assert!(!error.to_string().contains(TOKEN));
        }
    }
    bao.trouble(Trouble::Nothing);
    bao.set("", State::Disabled);
    let error = key.unwrap(&wrapped, &acme()).await.unwrap_err();
    assert!(error.to_string().ends_with("the key is soft-deleted: restore it"), "{error}");
}

/// Else the owner of one key would get the token for another.
#[tokio::test]
async fn a_token_is_shown_to_its_own_server_alone() {
    let bao = Bao::start();
    let directory = tempfile::tempdir().unwrap();
    for wrong in [
        variables([("BAO_TOKEN", TOKEN)]),
        variables([("VAULT_ADDR", "https://vault.example.com:8200"), ("VAULT_TOKEN", TOKEN)]),
        variables([("BAO_ADDR", "https://bao.example.com"), ("BAO_TOKEN", TOKEN)]),
        variables([("BAO_ADDR", "http://bao.example.com:8200"), ("BAO_TOKEN", TOKEN)]),
        variables([("BAO_TOKEN_PATH", directory.path().to_str().unwrap()), ("BAO_TOKEN", TOKEN)]),
    ] {
        let error = bao.key_by(KEY, wrong).wrap(&DEK, &acme()).await.unwrap_err();
        assert!(matches!(&error, Error::Refused { cause, .. } if cause.contains("bao.example.com:8200")), "{error}");
        assert!(!error.to_string().contains(TOKEN));
    }
    assert!(bao.world.asked().is_empty());
}

#[tokio::test]
async fn a_file_is_read_each_time_and_a_directory_has_one_for_each_server() {
    let bao = Bao::start();
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().to_str().unwrap();
    let file = directory.path().join(SERVER);
    std::fs::write(&file, "an older one\n").unwrap();
    let by_directory = bao.key_by(KEY, variables([("BAO_TOKEN_PATH", place), ("VAULT_NAMESPACE", "team-a")]));
    assert!(by_directory.wrap(&DEK, &acme()).await.is_err(), "it is no token: there is a space in it");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    by_directory.wrap(&DEK, &acme()).await.unwrap();
    assert_eq!(bao.world.asked()[0].header("x-vault-namespace"), "team-a");

    std::fs::rename(&file, directory.path().join(".vault-token")).unwrap();
    let by_home = bao.key_by(KEY, variables([("VAULT_ADDR", "https://bao.example.com:8200/"), ("HOME", place)]));
    by_home.wrap(&DEK, &acme()).await.unwrap();
}
