//! When a token was used last. To write that down with every use would cost as much as the use; so it is kept to about a
//! minute, and waits for a pause of the writer, or for a group when there is no pause. What a crash takes of it, nobody
//! misses.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::super::Error;
use super::{Sql, Value};

/// In microseconds: a use that is not newer than the one that is known by this much tells nothing.
pub const COARSE: i64 = 60_000_000;
/// So long it may take until there is a pause.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

#[derive(Default)]
pub struct Uses {
    waiting: Vec<(Uuid, i64)>,
    since: Option<Instant>,
}

impl Uses {
    pub fn note(&mut self, token: Uuid, at: i64) {
        self.since.get_or_insert_with(Instant::now);
        self.waiting.push((token, at));
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Nobody has paused for long.
    pub fn is_overdue(&self) -> bool {
        self.since.is_some_and(|since| since.elapsed() >= LONGEST_WAIT)
    }

    pub const fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Where several processes write, only while this one's claim to a chain holds. Whoever is to end the claim waits until
    /// it is written: nothing changes any more of what a migration copies.
    pub fn write(&mut self, connection: &dyn Sql, claim: Option<(&str, &Uuid)>) -> Result<(), Error> {
        let holds = "AND EXISTS (SELECT 1 FROM instances WHERE instance = ?3 AND holder = ?4 FOR SHARE)";
        let sql = format!(
            "UPDATE tokens SET last_used_at = ?2 WHERE id = ?1 AND (last_used_at IS NULL OR last_used_at < ?2) {}",
            claim.map_or("", |_| holds)
        );
        let claim: Vec<Value<'_>> = claim.map_or_else(Vec::new, |(chain, holder)| vec![chain.into(), holder.into()]);
        for (token, at) in std::mem::take(self).waiting {
            let use_of_it = [Value::from(&token), at.into()].into_iter().chain(claim.clone());
            connection.execute(&sql, &use_of_it.collect::<Vec<_>>())?;
        }
        Ok(())
    }
}
