//! For keys that bind no context: it is inside what is wrapped, beside the data key.
//!
//! ```text
//!   byte 0     1             33                       65
//!        ┌─────┬─────────────┬────────────────────────┐
//!        │ 01  │ data key(32)│ SHA-256 of Context::   │
//!        │     │             │ canonical() (32)       │
//!        └─────┴─────────────┴────────────────────────┘
//! ```
//!
//! The limit of this binding: who can write the database and knows the public half can make a wrap of a data key of their
//! own, and so put in a credential of their own. They can read none. Keys that bind a context themselves leave them neither.

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::Context;
use crate::crypto::Dek;

const FORMAT: u8 = 0x01;
const LENGTH: usize = 1 + 32 + 32;

pub(super) fn seal(dek: &Dek, context: &Context) -> Zeroizing<[u8; LENGTH]> {
    let mut inside = Zeroizing::new([0; LENGTH]);
    inside[0] = FORMAT;
    inside[1..33].copy_from_slice(dek.expose());
    inside[33..].copy_from_slice(&Sha256::digest(context.canonical()));
    inside
}

/// None where it is for something else.
pub(super) fn open(inside: &[u8], context: &Context) -> Option<Dek> {
    let inside: &[u8; LENGTH] = inside.try_into().ok()?;
    let bound = inside[33..].ct_eq(&Sha256::digest(context.canonical()));
    match inside[0] == FORMAT && bool::from(bound) {
        true => inside[1..33].try_into().ok().map(Dek::new),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_for_its_context_only() {
        let (dek, acme) = (Dek::new([5; 32]), Context::for_org_key("acme"));
        let inside = seal(&dek, &acme);
        assert_eq!(open(&*inside, &acme).unwrap().expose(), dek.expose());
        assert!(open(&*inside, &Context::for_org_key("other")).is_none());
        assert!(open(&inside[..64], &acme).is_none());
        let mut newer = inside.clone();
        newer[0] = 2;
        assert!(open(&*newer, &acme).is_none());
    }
}
