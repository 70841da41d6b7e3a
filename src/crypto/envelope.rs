//! A blob, sealed and opened: the picture in [`crate::crypto`], as code.

use subtle::ConstantTimeEq as _;

use super::aead::{MessageKey, TAG_LENGTH};
use super::residue::Residue;
use super::{Dek, Error, Identity, Seal, Secret, fernet, kdf};

/// The longest secret. Uploads are far smaller; the largest real one is a service account's JSON of some KiB.
/// Checked before anything is derived or allocated: a row that somebody swapped for gigabytes must not make the
/// daemon hash and copy them, only to learn that the tag is wrong.
pub const PLAINTEXT_MAX: usize = 1 << 20;

const COMMITMENT: &[u8] = b"strongroom/v1/commitment";
const SEALING: &[u8] = b"strongroom/v1/seal";

const FORMAT: u8 = 0x01;
const HEADER_LENGTH: usize = 66;

/// Seals a secret for one identity.
/// `message_id` must be fresh random bytes for every call: it makes the key that seals this one message.
pub fn seal(
    seal: Seal,
    dek: &Dek,
    message_id: [u8; 32],
    identity: &Identity,
    plaintext: &Secret,
) -> Result<Vec<u8>, Error> {
    if plaintext.len() > PLAINTEXT_MAX {
        return Err(Error::Length);
    }
    let identity = identity.canonical(FORMAT, seal)?;
    let mut blob = Vec::with_capacity(HEADER_LENGTH + body_length(seal, plaintext.len()));
    blob.extend_from_slice(&[FORMAT, seal.byte()]);
    blob.extend_from_slice(&message_id);
    blob.extend_from_slice(kdf::key(dek.expose(), &message_id, &[COMMITMENT, &identity])?.as_slice());
    let info = [SEALING, &identity];
    let _residue = Residue;
    match seal {
        Seal::Aes256Gcm => {
            let aad = [&blob, identity.as_slice()].concat();
            MessageKey::derive(dek.expose(), &message_id, &info)?.seal(&aad, plaintext.expose(), &mut blob)?;
        }
        Seal::Fernet => {
            let key = kdf::key(dek.expose(), &message_id, &info)?;
            blob.extend_from_slice(fernet::seal(&key, plaintext.expose())?.as_bytes());
        }
    }
    Ok(blob)
}

/// Whether a blob that begins like this is as [`seal`] makes it now.
pub fn is_newest(head: &[u8], seal: Seal) -> bool {
    head.starts_with(&[FORMAT, seal.byte()])
}

/// Opens what [`seal`] sealed under the same data key for the same identity, and nothing else.
pub fn open(dek: &Dek, identity: &Identity, blob: &[u8]) -> Result<Secret, Error> {
    let Parts { seal, header, message_id, commitment, body } = Parts::of(blob)?;
    let identity = identity.canonical(FORMAT, seal)?;
    let expected = kdf::key(dek.expose(), message_id, &[COMMITMENT, &identity])?;
    if !bool::from(expected.as_slice().ct_eq(commitment)) {
        return Err(Error::Commitment);
    }
    let info = [SEALING, &identity];
    let _residue = Residue;
    match seal {
        Seal::Aes256Gcm => {
            let aad = [header, identity.as_slice()].concat();
            let mut plaintext = MessageKey::derive(dek.expose(), message_id, &info)?.open(&aad, body)?;
            Ok(Secret::new(std::mem::take(&mut *plaintext)))
        }
        Seal::Fernet => {
            let plaintext = fernet::open(&*kdf::key(dek.expose(), message_id, &info)?, body)?;
            Ok(Secret::new(plaintext.as_slice()))
        }
    }
}

struct Parts<'a> {
    seal: Seal,
    header: &'a [u8],
    message_id: &'a [u8; 32],
    commitment: &'a [u8; 32],
    body: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(blob: &'a [u8]) -> Result<Self, Error> {
        match blob.first() {
            None => return Err(Error::Length),
            Some(&FORMAT) => {}
            Some(_) => return Err(Error::UnknownFormat),
        }
        let (header, body) = blob.split_first_chunk::<HEADER_LENGTH>().ok_or(Error::Length)?;
        let [_, seal, keyed @ ..] = header;
        let seal = Seal::from_byte(*seal).ok_or(Error::UnknownSeal)?;
        if !(body_length(seal, 0)..=body_length(seal, PLAINTEXT_MAX)).contains(&body.len()) {
            return Err(Error::Length);
        }
        let (message_id, commitment) = keyed.split_first_chunk().ok_or(Error::Length)?;
        let commitment = commitment.first_chunk().ok_or(Error::Length)?;
        Ok(Self { seal, header, message_id, commitment, body })
    }
}

/// Ciphertext is as long as the plaintext says, under both seals.
const fn body_length(seal: Seal, plaintext: usize) -> usize {
    match seal {
        Seal::Aes256Gcm => plaintext + TAG_LENGTH,
        Seal::Fernet => fernet::token_length(plaintext),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::identity::tests::{any_identity, any_seal};
    use super::*;

    fn identity() -> Identity {
        Identity {
            org: "acme".into(),
            project: "default".into(),
            provider: "openai".into(),
            name: "default".into(),
            credential: uuid::Uuid::from_u128(7),
            version: 1,
        }
    }

    const DEK: Dek = Dek::new([1; 32]);
    const SEALS: [Seal; 2] = [Seal::Aes256Gcm, Seal::Fernet];

    proptest! {
        #[test]
        fn what_is_sealed_opens(
            seal_as in any_seal(),
            dek: [u8; 32],
            message_id: [u8; 32],
            identity in any_identity(),
            plaintext: Vec<u8>,
        ) {
            let (dek, plaintext) = (Dek::new(dek), Secret::from(plaintext));
            let blob = seal(seal_as, &dek, message_id, &identity, &plaintext).unwrap();
            prop_assert_eq!(blob.len(), HEADER_LENGTH + body_length(seal_as, plaintext.len()));
            prop_assert_eq!(open(&dek, &identity, &blob).unwrap(), plaintext);
        }

        #[test]
        fn any_flipped_bit_is_refused(
            seal_as in any_seal(),
            identity in any_identity(),
            plaintext in prop::collection::vec(any::<u8>(), 0..64),
            bit: prop::sample::Index,
        ) {
            let mut blob = seal(seal_as, &DEK, [2; 32], &identity, &Secret::from(plaintext)).unwrap();
            let bit = bit.index(blob.len() * 8);
            blob[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(open(&DEK, &identity, &blob).is_err());
        }

        #[test]
        fn another_identity_is_refused(seal_as in any_seal(), a in any_identity(), b in any_identity()) {
            prop_assume!(a != b);
            let blob = seal(seal_as, &DEK, [2; 32], &a, &Secret::from(b"x".to_vec())).unwrap();
            prop_assert_eq!(open(&DEK, &b, &blob), Err(Error::Commitment));
        }

        #[test]
        fn noise_is_refused(mut noise: Vec<u8>, format in 0..3u8, seal_byte in 0..4u8) {
            if let [first, second, ..] = noise.as_mut_slice() {
                (*first, *second) = (format, seal_byte);
            }
            prop_assert!(open(&DEK, &identity(), &noise).is_err());
        }
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        for seal_as in SEALS {
            let blob = seal(seal_as, &DEK, [2; 32], &identity(), &Secret::from(b"sk-live".to_vec())).unwrap();
            for bit in 0..blob.len() * 8 {
                let mut flipped = blob.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(open(&DEK, &identity(), &flipped).is_err(), "{seal_as:?} bit {bit}");
            }
        }
    }

    #[test]
    fn the_longest_secret_fits_and_no_longer_one() {
        for seal_as in SEALS {
            let longest = Secret::from(vec![0; PLAINTEXT_MAX]);
            let mut blob = seal(seal_as, &DEK, [2; 32], &identity(), &longest).unwrap();
            assert_eq!(open(&DEK, &identity(), &blob).unwrap(), longest);
            blob.push(b'A');
            assert_eq!(open(&DEK, &identity(), &blob), Err(Error::Length));

            let longer = Secret::from(vec![0; PLAINTEXT_MAX + 1]);
            assert_eq!(seal(seal_as, &DEK, [2; 32], &identity(), &longer), Err(Error::Length));
        }
    }

    #[test]
    fn another_seal_format_or_noise_is_not_the_newest() {
        for seal_as in SEALS {
            let blob = seal(seal_as, &DEK, [2; 32], &identity(), &Secret::from(b"x".to_vec())).unwrap();
            assert_eq!(SEALS.map(|other| is_newest(&blob, other)), SEALS.map(|other| other == seal_as));
            assert!(
                ![&[][..], &[FORMAT], &[0, seal_as.byte()], &[FORMAT + 1, seal_as.byte()]]
                    .iter()
                    .any(|head| is_newest(head, seal_as))
            );
        }
    }

    /// One message id gives each seal and each label its own key.
    #[test]
    fn the_seals_share_no_key() {
        let [gcm, fernet] = SEALS.map(|s| identity().canonical(FORMAT, s).unwrap());
        let key = |label, identity: &Vec<u8>| *kdf::key(DEK.expose(), &[2; 32], &[label, identity]).unwrap();
        let keys = [key(SEALING, &gcm), key(SEALING, &fernet), key(COMMITMENT, &gcm), key(COMMITMENT, &fernet)];
        assert!((0..4).all(|i| (0..i).all(|j| keys[i] != keys[j])));
    }
}
