//! What private keys say about themselves, and whether what came with them belongs to them.

use jiff::Timestamp;

use super::{Told, Values, value};
use crate::cloud::azure::Certificate;
use crate::cloud::{KeyError, PrivateKey, oci, snowflake};
use crate::providers::Invalid;

/// A key that no library would sign with is refused now and not at the first use.
pub(super) fn private_key(values: &Values) -> Result<Option<PrivateKey>, Invalid> {
    let Some(pem) = value(values, "private_key") else { return Ok(None) };
    match PrivateKey::from_pem(pem, value(values, "pass_phrase")) {
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
