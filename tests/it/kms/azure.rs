//! What only Azure has.

use aws_lc_rs::rsa::KeySize;
use strongroom::crypto::Dek;
use strongroom::kms::{Context, Error, Wrapped};

use crate::fake::kms::azure::{self as fake, HOST, Vault, version};
use crate::fake::kms::{Service as _, State, Trouble, asked_of};

const DEK: Dek = Dek::new([0xd5; 32]);

fn acme() -> Context {
    Context::for_org_key("acme")
}

/// `01 ‖ data key ‖ SHA-256(canonical context)`: the vector is of this format's first day, and stays.
#[tokio::test]
async fn the_identity_is_inside_what_is_wrapped() {
    let vault = Vault::start();
    let wrapped = vault.key().wrap(&DEK, &acme()).await.unwrap();
    assert_eq!((wrapped.key.as_str(), &wrapped.key_version), ("azure-kv://contoso/strongroom", &version(1)));
    let inside = data_encoding::HEXLOWER.encode(&vault.inside());
    let bound = "73198bc92fd1ab089dcf3a8a89855fae9ca0429df56df7b6821162a986e15abd";
    assert_eq!(inside, format!("01{}{bound}", "d5".repeat(32)));
    let paths: Vec<_> = asked_of(&vault.world, HOST).into_iter().map(|asked| asked.path).collect();
    let unwrap = format!("/keys/strongroom/{}/unwrapkey?api-version=7.4", version(1));
    assert_eq!(paths, ["/keys/strongroom/wrapkey?api-version=7.4", unwrap.as_str()], "it is opened before it counts");
}

#[tokio::test]
async fn keys_of_every_size_that_azure_has() {
    for (size, bytes) in [(KeySize::Rsa2048, 256), (KeySize::Rsa3072, 384), (KeySize::Rsa4096, 512)] {
        let vault = Vault::with(size);
        let key = vault.key();
        let wrapped = key.wrap(&DEK, &acme()).await.unwrap();
        assert_eq!(wrapped.bytes.len(), bytes);
        assert_eq!(key.unwrap(&wrapped, &acme()).await.unwrap().expose(), DEK.expose());
    }
}

#[tokio::test]
async fn a_row_of_another_size_or_version_is_sent_nowhere() {
    let vault = Vault::start();
    let key = vault.key();
    let wrapped = key.wrap(&DEK, &acme()).await.unwrap();
    vault.world.forget();
    for evil in ["", "..", "x/../../secrets/s", "1?x=", &"a".repeat(65), "ä"] {
        let result = key.unwrap(&Wrapped { key_version: evil.into(), ..wrapped.clone() }, &acme()).await;
        assert!(matches!(result, Err(Error::Mismatch { .. })), "{evil}: {result:?}");
    }
    for length in [0, 1, 255, 257, 100_000] {
        let result = key.unwrap(&Wrapped { bytes: vec![1; length], ..wrapped.clone() }, &acme()).await;
        assert!(matches!(result, Err(Error::Mismatch { .. })), "{length}: {result:?}");
    }
    assert!(vault.world.asked().is_empty());
}

#[tokio::test]
async fn what_azure_refuses_is_told_with_what_to_do() {
    let vault = Vault::start();
    let key = vault.key();
    let wrapped = key.wrap(&DEK, &acme()).await.unwrap();
    for (trouble, wrap, unwrap) in [
        (Trouble::Forbidden, "no permission for wrapkey: give", "no permission for unwrapkey: give"),
        (Trouble::Missing, "no such key", "no such key"),
        (Trouble::WrongPurpose, "an RSA key of 2048 bits or more", "an RSA key of 2048 bits or more"),
        (Trouble::Expired, "is it of another tenant?", "is it of another tenant?"),
    ] {
        vault.trouble(trouble);
        for (words, error) in [
            (wrap, key.wrap(&DEK, &acme()).await.unwrap_err()),
            (unwrap, key.unwrap(&wrapped, &acme()).await.unwrap_err()),
        ] {
            assert!(matches!(&error, Error::Refused { cause, .. } if cause.contains(words)), "{error}");
            assert!(!error.to_string().contains(fake::TOKEN));
        }
    }
    vault.trouble(Trouble::Nothing);
    vault.set(&wrapped.key_version, State::Disabled);
    let error = key.unwrap(&wrapped, &acme()).await.unwrap_err();
    assert!(error.to_string().ends_with("the key, or this version of it, is disabled: enable it"), "{error}");
}

#[tokio::test]
async fn entra_is_asked_once_for_all() {
    let vault = Vault::start();
    let key = vault.key();
    let context = acme();
    let wraps = (0..16).map(|_| async { key.wrap(&DEK, &context).await.unwrap() });
    futures_util::future::join_all(wraps).await;
    assert_eq!(asked_of(&vault.world, "login.microsoftonline.com").len(), 1);
}
