//! Whether a process is dead that has not been heard of for long. After an outage of the database nobody has been heard of:
//! so it is looked twice, and between the two whoever lives has had the time to say so.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Longer than a process that lives takes to say that it does.
const LISTEN: Duration = Duration::from_secs(25);

#[derive(Default)]
pub struct Silence {
    /// When each chain's process was last heard of, and since when nothing else was found.
    found: Mutex<HashMap<String, (i64, Instant)>>,
}

impl Silence {
    /// Whether `seen_at` was found here before, so long ago.
    pub fn lasts(&self, chain: &str, seen_at: i64) -> bool {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        match found.get(chain) {
            Some((at, since)) if *at == seen_at => since.elapsed() >= LISTEN,
            _ => {
                found.insert(chain.to_owned(), (seen_at, Instant::now()));
                false
            }
        }
    }
}
