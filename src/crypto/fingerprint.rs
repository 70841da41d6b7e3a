//! What may be known about a secret without knowing it.

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::Secret;

/// Labels, none the start of another: a shown fingerprint is not the beginning of the stored digest, so the
/// one says nothing about the other.
const FINGERPRINT: &[u8] = b"strongroom/v1/fingerprint\0";
const DIGEST: &[u8] = b"strongroom/v1/digest\0";
const REQUEST: &[u8] = b"strongroom/v1/request\0";

/// Eight hex digits tell the secrets of one credential apart, and give away 32 bits about a secret that has far more.
const SHOWN_BYTES: usize = 4;

/// The first 8 hex digits of SHA-256: what `printf %s "$KEY" | sha256sum` shows. For secrets that nobody can guess.
pub fn plain(secret: &Secret) -> String {
    HEXLOWER.encode(&Sha256::digest(secret.expose())[..SHOWN_BYTES])
}

/// For secrets that somebody may guess: without the org's key, a guess cannot be checked. `k:` and 8 hex digits.
pub fn keyed(key: &[u8; 32], secret: &Secret) -> String {
    format!("k:{}", HEXLOWER.encode(&hmac(key, FINGERPRINT, secret.expose())[..SHOWN_BYTES]))
}

/// The full digest under the org's key. Finds the same secret twice within an org; never shown.
pub fn digest(key: &[u8; 32], secret: &Secret) -> [u8; 32] {
    hmac(key, DIGEST, secret.expose())
}

/// Of a request that waits for approval: it may hold secrets that somebody could guess.
pub fn request(key: &[u8; 32], said: &[u8]) -> [u8; 32] {
    hmac(key, REQUEST, said)
}

fn hmac(key: &[u8; 32], label: &[u8], message: &[u8]) -> [u8; 32] {
    // HMAC fills a short key up with zeros to the hash's block; doing it here leaves no length that could be wrong.
    let mut block = Zeroizing::new([0; 64]);
    block[..key.len()].copy_from_slice(key);
    let mut mac = Hmac::<Sha256>::new((&*block).into());
    mac.update(label);
    mac.update(message);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_is_what_sha256sum_shows() {
        // printf %s hello | sha256sum
        assert_eq!(plain(&Secret::from("hello".to_owned())), "2cf24dba");
    }

    #[test]
    fn keyed_is_hmac_over_label_and_secret() {
        // python3 -c 'import hmac; print(hmac.digest(b"\1" * 32, b"strongroom/v1/fingerprint\0hello", "sha256").hex())'
        assert_eq!(keyed(&[1; 32], &Secret::from("hello".to_owned())), "k:29cfff08");
    }

    #[test]
    fn nothing_shown_is_the_start_of_what_is_stored() {
        let (key, secret) = ([1; 32], Secret::from("hello".to_owned()));
        let digest = digest(&key, &secret);
        assert_ne!(keyed(&key, &secret), format!("k:{}", HEXLOWER.encode(&digest[..SHOWN_BYTES])));
        assert_ne!(plain(&secret), HEXLOWER.encode(&digest[..SHOWN_BYTES]));
        assert_ne!(digest, super::digest(&[2; 32], &secret));
    }
}
