//! The second seal: a Fernet token (github.com/fernet/spec), for whoever must be able to read it as one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use fernet::Fernet;
use zeroize::Zeroizing;

use super::Error;

/// Tokens carry a time. Ours say zero, for this layer has no clock.
const SEALED_AT: u64 = 0;
/// No timestamp is too new for this one; the crate adds its clock skew of 60 s to it.
const END_OF_TIME: u64 = u64::MAX - 60;

/// The token's fixed bytes: version, time, IV and HMAC.
const OVERHEAD: usize = 1 + 8 + 16 + 32;
const BLOCK: usize = 16;

pub fn seal(key: &[u8; 32], plaintext: &[u8]) -> Result<String, Error> {
    Ok(cipher(key)?.encrypt_at_time(plaintext, SEALED_AT))
}

/// The crate reads a token with its padding cut off or doubled as well. Here a token has one spelling, or two
/// different blobs would be the same.
pub fn open(key: &[u8; 32], token: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
    let token = std::str::from_utf8(token).map_err(|_| Error::Altered)?;
    URL_SAFE.decode(token).map_err(|_| Error::Altered)?;
    cipher(key)?.decrypt_at_time(token, None, END_OF_TIME).map(Zeroizing::new).map_err(|_| Error::Altered)
}

/// How long a token for so many bytes is.
pub const fn token_length(plaintext: usize) -> usize {
    let padded = (plaintext / BLOCK + 1) * BLOCK;
    (OVERHEAD + padded).div_ceil(3) * 4
}

fn cipher(key: &[u8; 32]) -> Result<Fernet, Error> {
    let text = Zeroizing::new(URL_SAFE.encode(key));
    Fernet::new(&text).ok_or(Error::Length)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde::Deserialize;

    use super::*;

    /// The Fernet specification's cases. Ours differ in one thing: no time is looked at.
    #[derive(Deserialize)]
    struct Spec {
        generate: Vec<Case>,
        verify: Vec<Case>,
        invalid: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        #[serde(default)]
        desc: String,
        token: String,
        now: Timestamp,
        #[serde(default)]
        iv: Vec<u8>,
        ttl_sec: Option<u64>,
        #[serde(default)]
        src: String,
        secret: String,
    }

    impl Case {
        fn key(&self) -> [u8; 32] {
            URL_SAFE.decode(&self.secret).unwrap().try_into().unwrap()
        }

        fn now(&self) -> u64 {
            self.now.as_second().try_into().unwrap()
        }
    }

    fn spec() -> Spec {
        serde_json::from_str(include_str!("../../tests/vectors/fernet-spec.json")).unwrap()
    }

    #[test]
    fn the_specifications_tokens_open() {
        let Spec { generate, verify, .. } = spec();
        assert_eq!((generate.len(), verify.len()), (1, 1));
        for case in &generate {
            // The crate picks its own IV; the time and the length are ours to check.
            let token = cipher(&case.key()).unwrap().encrypt_at_time(case.src.as_bytes(), case.now());
            let (made, wanted) = (URL_SAFE.decode(token).unwrap(), URL_SAFE.decode(&case.token).unwrap());
            assert_eq!(made[..9], wanted[..9]);
            assert_eq!(made.len(), wanted.len());
            assert_eq!(wanted[9..25], case.iv[..]);
        }
        for case in generate.iter().chain(&verify) {
            assert_eq!(open(&case.key(), case.token.as_bytes()).unwrap().as_slice(), case.src.as_bytes());
        }
    }

    #[test]
    fn the_specifications_bad_tokens_do_not() {
        let Spec { invalid, .. } = spec();
        assert_eq!(invalid.len(), 8);
        for case in invalid {
            let (key, now) = (case.key(), case.now());
            let theirs = cipher(&key).unwrap().decrypt_at_time(&case.token, case.ttl_sec, now);
            assert!(theirs.is_err(), "{}", case.desc);
            let only_time_is_wrong = ["far-future TS (unacceptable clock skew)", "expired TTL"].contains(&&*case.desc);
            assert_eq!(open(&key, case.token.as_bytes()).is_ok(), only_time_is_wrong, "{}", case.desc);
        }
    }

    #[test]
    fn a_token_has_one_spelling() {
        let key = [7; 32];
        for length in 0..3 * BLOCK {
            let token = seal(&key, &vec![b'x'; length]).unwrap();
            assert_eq!(token.len(), token_length(length));
            assert_eq!(open(&key, token.as_bytes()).unwrap().len(), length);
            for other in [format!("{token}="), format!("{token}\n"), format!(" {token}"), token.replace('=', "")] {
                assert!(other == token || open(&key, other.as_bytes()).is_err(), "{other}");
            }
        }
    }

    #[test]
    fn the_time_is_zero() {
        let token = URL_SAFE.decode(seal(&[7; 32], b"x").unwrap()).unwrap();
        assert_eq!(token[..9], [0x80, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}
