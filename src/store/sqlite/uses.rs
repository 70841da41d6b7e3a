//! When a token was used last. To write that down with every use would cost as much as the use; so it is kept to about a
//! minute, and waits for a pause of the writer, or for a group when there is no pause. What a crash takes of it, nobody
//! misses.

use std::time::{Duration, Instant};

use rusqlite::Connection;
use uuid::Uuid;

use super::super::Error;

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

    /// Nobody has paused for long: along with what is written now.
    pub fn write_if_overdue(&mut self, connection: &Connection) -> Result<(), Error> {
        match self.since {
            Some(since) if since.elapsed() >= LONGEST_WAIT => self.write(connection),
            _ => Ok(()),
        }
    }

    /// A failure loses them: they are not worth another try.
    pub fn in_a_pause(&mut self, connection: &mut Connection) {
        if self.waiting.is_empty() {
            return;
        }
        let written = connection.transaction().map_err(Error::from).and_then(|transaction| {
            self.write(&transaction)?;
            Ok(transaction.commit()?)
        });
        if written.is_err() {
            self.clear();
        }
    }

    fn write(&mut self, connection: &Connection) -> Result<(), Error> {
        let sql = "UPDATE tokens SET last_used_at = ?2 WHERE id = ?1 AND (last_used_at IS NULL OR last_used_at < ?2)";
        let mut statement = connection.prepare_cached(sql)?;
        for (token, at) in &self.waiting {
            statement.execute((token.as_bytes(), at))?;
        }
        self.clear();
        Ok(())
    }
}
