//! Tokens that were verified before, by the SHA-256 of their text. They are remembered under the keys that verified them
//! and the callers.toml that let them in, and go with either.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use jiff::Timestamp;

use super::Proven;
use super::claims::Span;

/// More than this in use at a time, and those that have expired go; when none has, all.
const MOST: usize = 10_000;

pub type Digest = [u8; 32];

#[derive(Debug, Default)]
pub struct Remembered(RwLock<HashMap<Digest, (Proven, Span)>>);

impl Remembered {
    /// If it still holds.
    pub fn get(&self, digest: &Digest, now: Timestamp) -> Option<Proven> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.get(digest).filter(|(_, span)| span.holds(now)).map(|(proven, _)| proven.clone())
    }

    pub fn keep(&self, digest: Digest, proven: Proven, span: Span, now: Timestamp) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST {
            all.retain(|_, (_, span)| span.holds(now));
        }
        if all.len() >= MOST {
            all.clear();
        }
        all.insert(digest, (proven, span));
    }
}
