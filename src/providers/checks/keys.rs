//! What private keys say about themselves, and whether what came with them belongs to them.

use jiff::Timestamp;

use super::{PASSPHRASE, Told, Values, value};
use crate::cloud::azure::Certificate;
use crate::cloud::{KeyError, PrivateKey, oci, snowflake};
use crate::providers::Invalid;

/// A key that no library would sign with is refused now and not at the first use.
pub(super) fn private_key(values: &Values) -> Result<Option<PrivateKey>, Invalid> {
    let Some(pem) = value(values, "private_key") else { return Ok(None) };
    match PrivateKey::from_pem(pem, value(values, PASSPHRASE)) {
        Ok(key) => Ok(Some(key)),
        Err(why @ (KeyError::PassphraseWrong | KeyError::PassphraseUnneeded)) => {
            Err(Invalid::new("pass_phrase", passphrase(why)))
        }
        Err(why) => Err(Invalid::new("private_key", why.to_string())),
    }
}

fn passphrase(why: KeyError) -> &'static str {
    match why {
        KeyError::PassphraseWrong => "does not open the private key",
        _ => "does not belong here: the private key is not locked",
    }
}

pub(super) fn oci_api_key(values: &Values) -> Result<Told, Invalid> {
    if let (Some(key), Some(fingerprint)) = (private_key(values)?, value(values, "fingerprint"))
        && !oci::fingerprint(&key).eq_ignore_ascii_case(fingerprint)
    {
        let why =
            "is another key's: take the one that Oracle's console shows beside this key, or upload its private key";
        return Err(Invalid::new("fingerprint", why));
    }
    Ok(Told::default())
}

pub(super) fn snowflake_key(values: &Values) -> Result<Told, Invalid> {
    let key = private_key(values)?;
    Ok(key.map_or_else(Told::default, |key| Told::identity("public_key_fingerprint", snowflake::fingerprint(&key))))
}

pub(super) fn azure_certificate(values: &Values, now: Timestamp) -> Result<Told, Invalid> {
    let Some(pem) = value(values, "certificate") else { return Ok(Told::default()) };
    let refuse = |why| Err(Invalid::new("certificate", why));
    let Some(certificate) = Certificate::from_pem(pem) else {
        return refuse("is not readable as a certificate in PEM; it may be cut off, upload the whole file");
    };
    if private_key(values)?.is_some_and(|key| key.public_spki() != certificate.public_spki) {
        return refuse("is another key's: upload the certificate that was made with this private key");
    }
    let end = certificate.not_after;
    if end <= now {
        return refuse("has expired; make a new one and upload it to the application first");
    }
    // Year 9999 is how a certificate says that it never ends.
    let never = end.to_string().starts_with("9999-");
    Ok(if never {
        Told::default()
    } else {
        Told { expires_at: Some(end), ..Told::identity("certificate_expires", end.to_string()) }
    })
}

#[cfg(test)]
mod tests {
    use super::super::values;
    use super::*;

    const PLAIN: &str = include_str!("../../../tests/it/cloud/keys/plain.pem");
    const OTHER: &str = include_str!("../../../tests/it/cloud/keys/other.pem");
    const LOCKED: &str = include_str!("../../../tests/it/cloud/keys/locked-aes256.pem");
    const CERTIFICATE: &str = include_str!("../../../tests/it/cloud/keys/certificate.pem");
    const FINGERPRINT: &str = "9f:eb:41:c7:d2:09:ca:b0:a0:86:7a:c7:73:ac:0b:0b";

    #[test]
    fn oracles_fingerprint_must_be_of_this_key() {
        let check =
            |key: &str, fingerprint: &str| oci_api_key(&values([("private_key", key), ("fingerprint", fingerprint)]));
        assert_eq!(check(PLAIN, FINGERPRINT), Ok(Told::default()));
        assert_eq!(check(PLAIN, &FINGERPRINT.to_uppercase()), Ok(Told::default()));
        let refusal = check(OTHER, FINGERPRINT).unwrap_err();
        assert_eq!(refusal.field, "fingerprint");
        assert!(!refusal.why.contains("9f:eb"), "{refusal}");
        assert_eq!(check(&PLAIN[..600], FINGERPRINT).unwrap_err().field, "private_key");
    }

    #[test]
    fn a_passphrase_is_held_against_the_key() {
        let field = |key, passphrase| {
            private_key(&values([("private_key", key), ("pass_phrase", passphrase)])).err().map(|refusal| refusal.field)
        };
        assert_eq!(field(LOCKED, "open sesame"), None);
        assert_eq!(field(LOCKED, "open says me").as_deref(), Some("pass_phrase"));
        assert_eq!(field(PLAIN, "open sesame").as_deref(), Some("pass_phrase"));
        assert_eq!(private_key(&values([("private_key", LOCKED)])).unwrap_err().field, "private_key");
        assert!(private_key(&values([])).unwrap().is_none());
    }

    #[test]
    fn snowflake_shows_which_key_is_registered() {
        let told = snowflake_key(&values([("private_key", LOCKED), ("pass_phrase", "open sesame")])).unwrap();
        assert_eq!(told.identity["public_key_fingerprint"], "SHA256:3iiwP2g6Mv6vXPDsHSrBdJL0goCn9H8+O7gcdBDmEqI=");
        assert_eq!(snowflake_key(&values([("token", "x")])), Ok(Told::default()));
    }

    #[test]
    fn a_certificate_is_of_this_key_and_still_good() {
        let at = |time: &str| time.parse::<Timestamp>().unwrap();
        let check = |certificate, key, now| {
            azure_certificate(&values([("certificate", certificate), ("private_key", key)]), at(now))
        };
        let told = check(CERTIFICATE, PLAIN, "2026-11-21T00:00:00Z").unwrap();
        assert_eq!(told.identity["certificate_expires"], "2036-11-18T06:06:17Z");
        assert_eq!(told.expires_at, Some(at("2036-11-18T06:06:17Z")));
        assert!(check(CERTIFICATE, PLAIN, "2036-11-18T06:06:16Z").is_ok());
        for (certificate, key, now, words) in [
            (CERTIFICATE, PLAIN, "2036-11-18T06:06:17Z", "has expired"),
            (CERTIFICATE, OTHER, "2026-11-21T00:00:00Z", "is another key's"),
            (PLAIN, PLAIN, "2026-11-21T00:00:00Z", "is not readable"),
        ] {
            let refusal = check(certificate, key, now).unwrap_err();
            assert!(refusal.field == "certificate" && refusal.why.starts_with(words), "{refusal}");
        }
        assert_eq!(
            azure_certificate(&values([("client_secret", "x")]), at("2026-11-21T00:00:00Z")),
            Ok(Told::default())
        );
    }
}
