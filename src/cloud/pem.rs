//! PEM: the block between two lines of dashes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// More than a key of 8192 bits with its certificates needs.
const MAX_BYTES: usize = 64 * 1024;

pub struct Block<'a> {
    pub label: &'a str,
    body: &'a str,
}

/// The blocks of a text, in its order. What stands around them is ignored, as tools write remarks there.
pub fn blocks(text: &str) -> impl Iterator<Item = Block<'_>> {
    let mut rest = if text.len() > MAX_BYTES { "" } else { text };
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once("-----BEGIN ")?;
        let (label, after) = after.split_once("-----")?;
        let (body, after) = after.split_once(&format!("-----END {label}-----"))?;
        rest = after;
        Some(Block { label, body })
    })
}

impl Block<'_> {
    /// None where the text is no base64: perhaps it was cut off.
    pub fn der(&self) -> Option<Zeroizing<Vec<u8>>> {
        // Room for all of it, so that no buffer moves and leaves a copy behind.
        let mut text = Zeroizing::new(Vec::with_capacity(self.body.len()));
        text.extend(self.body.bytes().filter(|byte| !byte.is_ascii_whitespace()));
        let mut der = Zeroizing::new(vec![0; text.len() / 4 * 3 + 3]);
        let length = STANDARD.decode_slice(&*text, &mut der).ok()?;
        der.truncate(length);
        Some(der)
    }

    /// OpenSSL's own encryption, which is older than PKCS#8: MD5 once over the passphrase.
    pub fn is_locked_the_old_way(&self) -> bool {
        self.body.trim_start().starts_with("Proc-Type:")
    }
}
