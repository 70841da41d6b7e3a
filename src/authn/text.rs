//! The text of a token, or of a grant.
//!
//! ```text
//!   srt_ ‖ base64url( id 16 ‖ secret 32 ‖ checksum 4 )      a grant's begins with srg_
//!   checksum = the first 4 bytes of SHA-256( "strongroom token v1\n" ‖ id ‖ secret )      or "strongroom grant v1\n"
//!   kept     = SHA-256( secret )
//! ```
//!
//! The prefix lets scanners find a leaked one; the checksum lets a mistyped one be refused without a look-up. The
//! secret has 256 random bits, so a fast hash keeps it as well as a slow one would.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::crypto::Secret;

/// A kind of text. None is read as another.
pub struct Text {
    prefix: &'static str,
    label: &'static [u8],
}

pub const TOKEN: Text = Text { prefix: "srt_", label: b"strongroom token v1\n" };
pub const GRANT: Text = Text { prefix: "srg_", label: b"strongroom grant v1\n" };

const LENGTH: usize = 16 + 32 + 4;

pub type TokenSecret = Zeroizing<[u8; 32]>;

impl Text {
    pub fn write(&self, id: Uuid, secret: &TokenSecret) -> Secret {
        let mut bytes = Zeroizing::new([0; LENGTH]);
        bytes[..16].copy_from_slice(id.as_bytes());
        bytes[16..48].copy_from_slice(secret.as_slice());
        let sum = self.checksum(&bytes[..48]);
        bytes[48..].copy_from_slice(&sum);
        let mut text = String::with_capacity(self.prefix.len() + LENGTH.div_ceil(3) * 4);
        text.push_str(self.prefix);
        BASE64.encode_string(bytes.as_slice(), &mut text);
        Secret::from(text)
    }

    /// The parts of a text; none when it is not of this kind.
    pub fn read(&self, text: &str) -> Option<(Uuid, TokenSecret)> {
        let mut bytes = Zeroizing::new([0; LENGTH]);
        let length = BASE64.decode_slice(text.strip_prefix(self.prefix)?, bytes.as_mut_slice()).ok()?;
        let is_whole = length == LENGTH && bool::from(self.checksum(&bytes[..48]).ct_eq(&bytes[48..]));
        if !is_whole {
            return None;
        }
        let id = Uuid::from_slice(&bytes[..16]).ok()?;
        let mut secret = Zeroizing::new([0; 32]);
        secret.copy_from_slice(&bytes[16..48]);
        Some((id, secret))
    }

    /// Whether a text claims to be of this kind.
    pub fn begins(&self, text: &str) -> bool {
        text.starts_with(self.prefix)
    }

    fn checksum(&self, bytes: &[u8]) -> [u8; 4] {
        let digest = Sha256::new().chain_update(self.label).chain_update(bytes).finalize();
        [digest[0], digest[1], digest[2], digest[3]]
    }
}

pub fn hash(secret: &TokenSecret) -> [u8; 32] {
    Sha256::digest(secret.as_slice()).into()
}

/// In constant time.
pub fn matches(secret: &TokenSecret, kept: &[u8; 32]) -> bool {
    hash(secret).ct_eq(kept).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (Uuid, TokenSecret, String) {
        let (id, secret) = (Uuid::from_u128(7), Zeroizing::new([9; 32]));
        let text = TOKEN.write(id, &secret).expose_text().unwrap().to_owned();
        (id, secret, text)
    }

    #[test]
    fn reads_what_it_wrote() {
        let (id, secret, text) = sample();
        assert_eq!(TOKEN.read(&text), Some((id, secret.clone())));
        assert!(matches(&secret, &hash(&secret)));
        assert!(!matches(&Zeroizing::new([8; 32]), &hash(&secret)));
    }

    #[test]
    fn a_token_is_no_grant() {
        let (id, secret, text) = sample();
        let grant = GRANT.write(id, &secret).expose_text().unwrap().to_owned();
        assert_eq!(GRANT.read(&grant), Some((id, secret)));
        assert_eq!((GRANT.read(&text), TOKEN.read(&grant)), (None, None));
        assert_eq!(GRANT.read(&text.replace("srt_", "srg_")), None);
        assert_eq!(TOKEN.read(&grant.replace("srg_", "srt_")), None);
    }

    #[test]
    fn any_other_text_is_no_token() {
        let (_, _, text) = sample();
        for position in 0..text.len() {
            let mut other = text.clone().into_bytes();
            other[position] = if other[position] == b'A' { b'B' } else { b'A' };
            assert_eq!(TOKEN.read(std::str::from_utf8(&other).unwrap()), None, "position {position}");
        }
        for other in
            ["", "srt_", &text[..text.len() - 1], &format!("{text}A"), &format!("{text}="), &format!(" {text}")]
        {
            assert_eq!(TOKEN.read(other), None, "{other}");
        }
    }
}
