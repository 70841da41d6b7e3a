//! Small things under a long-term key: the local KMS's data keys, and its own keys under a passphrase.

use zeroize::Zeroizing;

use super::Error;
use super::aead::{MessageKey, TAG_LENGTH};

const WRAP: &[u8] = b"strongroom/v1/wrap";

const SALT_LENGTH: usize = 32;

/// What is wrapped is a key. The cap keeps a swapped row or a damaged file from having megabytes hashed.
const WRAPPED_MAX: usize = 1024;

/// `salt` must be fresh random bytes for every call: it makes the key that seals this one message.
pub fn wrap(key: &[u8; 32], salt: [u8; 32], context: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, Error> {
    let length = SALT_LENGTH + plaintext.len() + TAG_LENGTH;
    if length > WRAPPED_MAX {
        return Err(Error::Length);
    }
    let mut wrapped = Vec::with_capacity(length);
    wrapped.extend_from_slice(&salt);
    MessageKey::derive(key, &salt, &[WRAP, context])?.seal(&aad(&salt, context), plaintext, &mut wrapped)?;
    Ok(wrapped)
}

/// Opens what [`wrap()`] wrapped under the same key and context, and nothing else.
pub fn unwrap(key: &[u8; 32], context: &[u8], wrapped: &[u8]) -> Result<Zeroizing<Box<[u8]>>, Error> {
    if wrapped.len() > WRAPPED_MAX {
        return Err(Error::Length);
    }
    let (salt, body) = wrapped.split_first_chunk::<SALT_LENGTH>().ok_or(Error::Length)?;
    MessageKey::derive(key, salt, &[WRAP, context])?.open(&aad(salt, context), body)
}

fn aad(salt: &[u8], context: &[u8]) -> Vec<u8> {
    [salt, context].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_under_the_same_key_and_context_only() {
        let wrapped = wrap(&[1; 32], [2; 32], b"for this", b"plain").unwrap();
        assert_eq!(unwrap(&[1; 32], b"for this", &wrapped).unwrap().as_ref(), b"plain");
        assert_eq!(unwrap(&[1; 32], b"for that", &wrapped).unwrap_err(), Error::Altered);
        assert_eq!(unwrap(&[3; 32], b"for this", &wrapped).unwrap_err(), Error::Altered);
    }

    #[test]
    fn every_flip_and_every_cut_is_refused() {
        let wrapped = wrap(&[1; 32], [2; 32], b"", &[9; 32]).unwrap();
        for bit in 0..wrapped.len() * 8 {
            let mut flipped = wrapped.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(unwrap(&[1; 32], b"", &flipped).is_err(), "bit {bit}");
        }
        for length in 0..wrapped.len() {
            assert!(unwrap(&[1; 32], b"", &wrapped[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn long_things_are_refused() {
        assert_eq!(wrap(&[1; 32], [2; 32], b"", &[0; WRAPPED_MAX]).unwrap_err(), Error::Length);
        assert_eq!(unwrap(&[1; 32], b"", &[0; WRAPPED_MAX + 1]).unwrap_err(), Error::Length);
    }
}
