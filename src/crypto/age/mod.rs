//! The age file format, version 1 (age-encryption.org/v1), as far as recovery needs it: X25519 recipients, and payloads of
//! one chunk. What it makes, every age tool opens.
//!
//! The `age` crate is not used: it brings some sixty crates, translations among them, for these few hundred lines.
//! X25519 and ChaCha20-Poly1305 are aws-lc's; the vectors of age's own test kit are in `tests/vectors/age`.
//!
//! ```text
//!   age-encryption.org/v1
//!   -> X25519 base64(share)                 share = X25519(ephemeral, basepoint)
//!   base64(wrapped file key)                ChaCha20-Poly1305, a zero nonce, key = HKDF(ikm = X25519(ephemeral,
//!   --- base64(mac)                         recipient), salt = share ‖ recipient, info = "age-encryption.org/v1/X25519")
//!   nonce (16) ‖ ciphertext ‖ tag (16)
//!
//!   mac     = HMAC-SHA-256 of all before and with `---`, key = HKDF(ikm = file key, salt = "", info = "header")
//!   payload   key = HKDF(ikm = file key, salt = nonce, info = "payload"); ChaCha20-Poly1305 under a nonce of eleven zeros
//!             and a one: the first chunk, and the last
//! ```
//!
//! Every file has a key of its own, so a constant nonce meets no key twice.

mod header;
mod keys;

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zeroize::{Zeroize as _, Zeroizing};

use self::header::Header;
pub use self::keys::{Identity, Recipient, WrongKey};
use super::kdf;

const PAYLOAD: &[u8] = b"payload";
const NONCE_LENGTH: usize = 16;
const TAG_LENGTH: usize = 16;
/// What one chunk holds.
const CHUNK: usize = 64 * 1024;
/// The first chunk's number is zero, and it is the last.
const ONLY_CHUNK: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// Why a file does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("it is not a whole file of the age format")]
    Header,
    #[error("it is for another identity")]
    NoMatch,
    #[error("its header was altered")]
    Mac,
    #[error("its payload was altered, or is longer than is read here")]
    Payload,
    /// Only when it is made: there is no randomness, or the plaintext is too long.
    #[error("it cannot be made")]
    Unmade,
}

/// A file for one recipient.
pub fn encrypt(recipient: &Recipient, plaintext: &[u8]) -> Result<Vec<u8>, Error> {
    if plaintext.len() > CHUNK {
        return Err(Error::Unmade);
    }
    let unmade = |_| Error::Unmade;
    let file_key = Zeroizing::new(super::random::<16>().map_err(unmade)?);
    let nonce = super::random::<NONCE_LENGTH>().map_err(unmade)?;
    let mut file = header::write(&keys::wrap(recipient, &file_key)?, &file_key)?;
    // Room first: a vector that grows would leave a copy of the plaintext where it was.
    file.reserve_exact(NONCE_LENGTH + plaintext.len() + TAG_LENGTH);
    file.extend_from_slice(&nonce);
    let begin = file.len();
    file.extend_from_slice(plaintext);
    let key = payload_key(&file_key, &nonce)?;
    match key.seal_in_place_separate_tag(only_chunk(), Aad::empty(), &mut file[begin..]) {
        Ok(tag) => file.extend_from_slice(tag.as_ref()),
        Err(_) => {
            file.zeroize();
            return Err(Error::Unmade);
        }
    }
    Ok(file)
}

/// Opens a file that is for this identity, whomever it is for besides.
pub fn decrypt(identity: &Identity, file: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
    let (header, payload) = Header::read(file)?;
    let mut file_key = None;
    for stanza in &header.stanzas {
        if file_key.is_none() {
            file_key = keys::unwrap(identity, stanza)?;
        }
    }
    let file_key = file_key.ok_or(Error::NoMatch)?;
    header.verify(&file_key)?;
    let (nonce, sealed) = payload.split_first_chunk::<NONCE_LENGTH>().ok_or(Error::Header)?;
    if sealed.len() > CHUNK + TAG_LENGTH {
        return Err(Error::Payload);
    }
    let mut plaintext = Zeroizing::new(sealed.to_vec());
    let opened = payload_key(&file_key, nonce)?.open_in_place(only_chunk(), Aad::empty(), &mut plaintext);
    let length = opened.map_err(|_| Error::Payload)?.len();
    plaintext.truncate(length);
    Ok(plaintext)
}

fn only_chunk() -> Nonce {
    Nonce::assume_unique_for_key(ONLY_CHUNK)
}

fn payload_key(file_key: &[u8; 16], nonce: &[u8; NONCE_LENGTH]) -> Result<LessSafeKey, Error> {
    cipher(&*derive(file_key, nonce, PAYLOAD)?)
}

fn cipher(key: &[u8; 32]) -> Result<LessSafeKey, Error> {
    Ok(LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).map_err(|_| Error::Unmade)?))
}

fn derive(key: &[u8], salt: &[u8], info: &[u8]) -> Result<Zeroizing<[u8; 32]>, Error> {
    kdf::key(key, salt, &[info]).map_err(|_| Error::Unmade)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Recipient, Identity) {
        let identity = Identity::from_bytes([7; 32]);
        (identity.recipient().unwrap(), identity)
    }

    #[test]
    fn opens_for_its_identity_only() {
        let (recipient, identity) = pair();
        let file = encrypt(&recipient, b"plain").unwrap();
        assert_eq!(**decrypt(&identity, &file).unwrap(), *b"plain");
        assert_ne!(file, encrypt(&recipient, b"plain").unwrap());
        assert_eq!(decrypt(&Identity::from_bytes([8; 32]), &file).unwrap_err(), Error::NoMatch);
    }

    #[test]
    fn every_flip_every_cut_and_every_addition_is_refused() {
        let (recipient, identity) = pair();
        let file = encrypt(&recipient, &[9; 65]).unwrap();
        for bit in 0..file.len() * 8 {
            let mut flipped = file.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decrypt(&identity, &flipped).is_err(), "bit {bit}");
        }
        for length in 0..file.len() {
            assert!(decrypt(&identity, &file[..length]).is_err(), "{length} bytes");
        }
        assert_eq!(decrypt(&identity, &[&file[..], b"x"].concat()).unwrap_err(), Error::Payload);
    }

    #[test]
    fn one_chunk_and_no_more() {
        let (recipient, identity) = pair();
        let whole = vec![3; CHUNK];
        assert_eq!(**decrypt(&identity, &encrypt(&recipient, &whole).unwrap()).unwrap(), *whole);
        assert_eq!(encrypt(&recipient, &[0; CHUNK + 1]).unwrap_err(), Error::Unmade);
    }
}
