//! Whether a process is dead that has not been heard of for long. After an outage of the database nobody has been heard of:
//! so it is looked twice, and between the two whoever lives has had the time to say so.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Longer than a process that lives takes to say that it does.
const LISTEN: Duration = Duration::from_secs(25);

#[derive(Default)]
pub struct Silence(Mutex<HashMap<String, Suspect>>);

struct Suspect {
    seen_at: i64,
    /// Since when nothing else was found.
    since: Instant,
    /// In this round.
    is_found: bool,
}

impl Silence {
    /// All chains are looked at anew. Whoever was not found in the last round was heard of again, or its chain is looked
    /// after.
    pub fn begin(&self) {
        self.suspects().retain(|_, suspect| std::mem::take(&mut suspect.is_found));
    }

    /// Whether a chain's process was found here before as last heard of then, so long ago.
    pub fn lasts(&self, chain: &str, seen_at: i64) -> bool {
        let mut suspects = self.suspects();
        match suspects.get_mut(chain) {
            Some(suspect) if suspect.seen_at == seen_at => {
                suspect.is_found = true;
                suspect.since.elapsed() >= LISTEN
            }
            _ => {
                suspects.insert(chain.to_owned(), Suspect { seen_at, since: Instant::now(), is_found: true });
                false
            }
        }
    }

    fn suspects(&self) -> MutexGuard<'_, HashMap<String, Suspect>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_heard_of_again_is_forgotten() {
        let silence = Silence::default();
        let known = || silence.suspects().keys().cloned().collect::<std::collections::BTreeSet<_>>();
        assert!(!silence.lasts("a", 1) && !silence.lasts("b", 1));
        let since = silence.suspects()["a"].since;
        silence.begin();
        assert!(!silence.lasts("a", 1));
        assert_eq!(known(), ["a", "b"].map(str::to_owned).into());
        silence.begin();
        assert_eq!(known(), ["a".to_owned()].into());
        assert_eq!(silence.suspects()["a"].since, since, "it listens on");
        assert!(!silence.lasts("a", 2));
        assert!(silence.suspects()["a"].since > since, "it was heard of between the two looks");
        silence.begin();
        silence.begin();
        assert!(known().is_empty());
    }
}
