//! The reader of private keys.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use strongroom::cloud::azure::Certificate;
use strongroom::cloud::{KeyError, PrivateKey, oci, snowflake};

use super::{CERTIFICATE_SHA256, MD5, PASSPHRASE, SHA256, openssl};

const PLAIN: &str = openssl!("plain");
const LOCKED: [&str; 4] = [
    openssl!("locked-aes256"),
    openssl!("locked-aes128-sha512"),
    openssl!("locked-3des-sha1"),
    openssl!("locked-scrypt"),
];

fn plain() -> PrivateKey {
    PrivateKey::from_pem(PLAIN, None).unwrap()
}

fn refused(pem: &str, passphrase: Option<&str>) -> KeyError {
    PrivateKey::from_pem(pem, passphrase).unwrap_err()
}

#[test]
fn every_dress_holds_the_same_key() {
    for (pem, passphrase) in
        [(openssl!("pkcs1"), None)].into_iter().chain(LOCKED.map(|locked| (locked, Some(PASSPHRASE))))
    {
        assert_eq!(PrivateKey::from_pem(pem, passphrase).unwrap().public_spki(), plain().public_spki());
    }
}

#[test]
fn digests_are_those_that_openssl_tells() {
    assert_eq!(oci::fingerprint(&plain()), MD5);
    assert_eq!(snowflake::fingerprint(&plain()), format!("SHA256:{SHA256}"));
}

#[test]
fn what_stands_around_the_block_is_ignored() {
    for text in [
        format!("{PLAIN}OCI_API_KEY\n"),
        format!("Bag Attributes\n    friendlyName: x\n{PLAIN}"),
        format!("{}{PLAIN}", openssl!("certificate")),
        PLAIN.replace('\n', "\r\n"),
        PLAIN.trim_end().to_owned(),
    ] {
        assert_eq!(PrivateKey::from_pem(&text, None).unwrap().public_spki(), plain().public_spki());
    }
}

#[test]
fn a_passphrase_must_fit() {
    for locked in &LOCKED[..3] {
        assert_eq!(refused(locked, None), KeyError::PassphraseMissing);
        assert_eq!(refused(locked, Some("")), KeyError::PassphraseMissing);
        assert_eq!(refused(locked, Some("open says me")), KeyError::PassphraseWrong);
    }
    assert_eq!(refused(PLAIN, Some(PASSPHRASE)), KeyError::PassphraseUnneeded);
    assert_eq!(refused(openssl!("pkcs1"), Some(PASSPHRASE)), KeyError::PassphraseUnneeded);
}

#[test]
fn what_is_no_key_for_us_is_told_apart() {
    for (pem, why) in [
        (openssl!("old-openssl"), KeyError::OldEncryption),
        (openssl!("public"), KeyError::PublicHalf),
        (openssl!("certificate"), KeyError::PublicHalf),
        (openssl!("ec"), KeyError::NotRsa),
        (openssl!("pss"), KeyError::NotRsa),
        (openssl!("small"), KeyError::TooSmall),
        (openssl!("large"), KeyError::TooLarge),
        (openssl!("exponent3"), KeyError::UnusualExponent),
        ("", KeyError::Unreadable),
        ("MIIEvQIBADANBgkqhkiG9w0BAQEFAASC", KeyError::Unreadable),
        (&PLAIN[..PLAIN.len() / 2], KeyError::Unreadable),
        ("-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----", KeyError::NotRsa),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----", KeyError::OpenSsh),
    ] {
        assert_eq!(refused(pem, None), why);
    }
    assert_eq!(refused(openssl!("old-openssl"), Some(PASSPHRASE)), KeyError::OldEncryption);
    assert_eq!(refused(openssl!("old-pbes1"), Some(PASSPHRASE)), KeyError::OldEncryption);
    assert_eq!(refused(openssl!("locked-camellia"), Some(PASSPHRASE)), KeyError::UnknownEncryption);
}

/// Such a file is an attack on the daemon's time and memory: even the right passphrase does not open it.
#[test]
fn a_key_that_asks_for_too_much_work_is_refused() {
    assert_eq!(refused(openssl!("costly-rounds"), Some(PASSPHRASE)), KeyError::TooCostly);
    // N = 2^14, r = 8, p = 1, as OpenSSL asks for.
    let asked = [2, 2, 0x40, 0, 2, 1, 8, 2, 1, 1];
    for (costly, at) in [(127, 6), (0, 6), (5, 9), (127, 9), (0, 9), (0x41, 2), (1, 3)] {
        let mut der = der(openssl!("locked-scrypt"));
        let start = der.windows(asked.len()).position(|window| window == asked).unwrap();
        der[start + at] = costly;
        assert_eq!(
            refused(&pem("ENCRYPTED PRIVATE KEY", &der), Some(PASSPHRASE)),
            KeyError::TooCostly,
            "{costly} {at}"
        );
    }
}

#[test]
fn a_certificate_tells_its_end_and_its_key() {
    let certificate = Certificate::from_pem(openssl!("certificate")).unwrap();
    assert_eq!(certificate.not_after.to_string(), "2036-11-18T06:06:17Z");
    assert_eq!(certificate.public_spki, plain().public_spki());
    assert_eq!(data_encoding::HEXLOWER.encode(&certificate.sha256), CERTIFICATE_SHA256);
    let behind_its_key = format!("{PLAIN}{}", openssl!("certificate"));
    assert_eq!(Certificate::from_pem(&behind_its_key).unwrap().sha256, certificate.sha256);
    assert!(Certificate::from_pem(PLAIN).is_none());
}

#[test]
fn nothing_of_a_key_is_printed() {
    assert_eq!(format!("{:?}", plain()), "PrivateKey(…)");
}

fn der(pem: &str) -> Vec<u8> {
    let body: String = pem.lines().filter(|line| !line.starts_with("--")).collect();
    STANDARD.decode(body).unwrap()
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

/// Damage is refused, or was to something that does not matter: never is another key taken.
fn survives(label: &str, der: &[u8], passphrase: Option<&str>) {
    if let Ok(key) = PrivateKey::from_pem(&pem(label, der), passphrase) {
        assert_eq!(key.public_spki(), plain().public_spki());
    }
}

fn damaged(mut der: Vec<u8>, damage: &[(prop::sample::Index, u8)]) -> Vec<u8> {
    for (at, byte) in damage {
        let at = at.index(der.len());
        der[at] = *byte;
    }
    der
}

fn damage() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    prop::collection::vec(any::<(prop::sample::Index, u8)>(), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn damaged_keys_are_never_another_key(damage in damage(), cut in any::<prop::sample::Index>()) {
        for (label, text) in [("PRIVATE KEY", PLAIN), ("RSA PRIVATE KEY", openssl!("pkcs1"))] {
            let der = der(text);
            survives(label, &der[..cut.index(der.len())], None);
            survives(label, &damaged(der, &damage), None);
        }
    }

    #[test]
    fn damaged_locked_keys_are_never_another_key(damage in damage()) {
        survives("ENCRYPTED PRIVATE KEY", &damaged(der(LOCKED[0]), &damage), Some(PASSPHRASE));
    }

    #[test]
    fn any_text_is_read_without_harm(text in any::<String>(), at in any::<prop::sample::Index>()) {
        prop_assert!(PrivateKey::from_pem(&text, None).is_err());
        prop_assert!(Certificate::from_pem(&text).is_none());
        let mut inside = PLAIN.to_owned();
        inside.insert_str(at.index(PLAIN.len()), &text);
        if let Ok(key) = PrivateKey::from_pem(&inside, None) {
            prop_assert_eq!(key.public_spki(), plain().public_spki());
        }
    }
}
