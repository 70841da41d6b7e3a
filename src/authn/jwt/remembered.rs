//! Tokens that were verified before, by the SHA-256 of their text. They are remembered under the keys that verified them
//! and the callers.toml that let them in, and go with either.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;

use super::Proven;
use super::claims::Span;

/// More than this in use at a time, and those that have expired go; when none has, all.
const MOST: usize = 10_000;

pub type Digest = [u8; 32];

#[derive(Debug, Default)]
pub struct Remembered(RwLock<HashMap<Digest, Arc<(Proven, Span)>>>);

impl Remembered {
    /// If it still holds.
    pub fn get(&self, digest: &Digest, now: Timestamp) -> Option<Proven> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let (proven, _) = &**all.get(digest).filter(|known| known.1.holds(now))?;
        Some(proven.clone())
    }

    pub fn keep(&self, digest: Digest, proven: Proven, span: Span, now: Timestamp) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST {
            all.retain(|_, known| known.1.holds(now));
        }
        if all.len() >= MOST {
            all.clear();
        }
        all.insert(digest, Arc::new((proven, span)));
    }
}
