//! When the write-ahead log is moved into the database. Never inside a commit: in a pause, or, when there is none for
//! long, between two groups. A failed checkpoint loses nothing and is tried again.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::super::Error;

/// Pages of 8 KiB that may wait in the log before the next group has to wait: 32 MiB.
const BACKLOG: i64 = 4096;
/// So many groups go by between two looks at the backlog: a look costs as much as a record.
const LOOK_EVERY: u32 = 8;
/// How long a scrub waits for readers to look away before it is put off.
const SCRUB_WAIT: Duration = Duration::from_millis(50);
/// … and how long it is put off: an export looks for minutes, and no commit waits for it again and again.
const SCRUB_AGAIN: Duration = Duration::from_secs(1);

#[derive(Default)]
pub struct Plan {
    /// There are commits in the log.
    backlog: bool,
    /// The log still holds pages with ciphertext that has been destroyed in the database.
    unscrubbed: bool,
    /// Somebody was in the way the last time.
    scrub_after: Option<Instant>,
    groups: u32,
}

impl Plan {
    pub const fn pending(&self) -> bool {
        self.backlog || self.unscrubbed
    }

    /// Whether the log may still hold what was destroyed.
    pub const fn unscrubbed(&self) -> bool {
        self.unscrubbed
    }

    pub const fn committed(&mut self, destroyed: bool) {
        self.backlog = true;
        self.unscrubbed |= destroyed;
    }

    /// Right after the answers: destroyed means gone from the disk too.
    pub fn after_a_group(&mut self, connection: &Connection) {
        self.groups = self.groups.wrapping_add(1);
        if self.may_scrub() {
            self.scrub(connection);
        } else if self.groups.is_multiple_of(LOOK_EVERY)
            && run(connection, "NOOP").is_ok_and(|log| log.waiting() > BACKLOG)
        {
            self.moved(connection);
        }
    }

    pub fn in_a_pause(&mut self, connection: &Connection) {
        if self.may_scrub() {
            return self.scrub(connection);
        }
        if self.backlog {
            self.moved(connection);
        }
    }

    /// What readers keep from being moved now, a later checkpoint moves.
    fn moved(&mut self, connection: &Connection) {
        self.backlog = false;
        _ = run(connection, "PASSIVE");
    }

    fn may_scrub(&self) -> bool {
        self.unscrubbed && self.scrub_after.is_none_or(|after| Instant::now() >= after)
    }

    /// Empties the log.
    pub fn scrub(&mut self, connection: &Connection) {
        let before = connection.busy_timeout(SCRUB_WAIT);
        let done = before.is_ok() && run(connection, "TRUNCATE").is_ok_and(|log| !log.busy);
        self.unscrubbed = !done;
        self.backlog = !done;
        self.scrub_after = (!done).then(|| Instant::now() + SCRUB_AGAIN);
        _ = connection.busy_timeout(super::connection::BUSY);
    }

    pub fn close(&mut self, connection: &Connection) {
        if self.pending() {
            _ = run(connection, "TRUNCATE");
        }
    }
}

struct Log {
    busy: bool,
    pages: i64,
    moved: i64,
}

impl Log {
    const fn waiting(&self) -> i64 {
        self.pages - self.moved
    }
}

fn run(connection: &Connection, mode: &str) -> Result<Log, Error> {
    let mut statement = connection.prepare_cached(&format!("PRAGMA wal_checkpoint({mode})"))?;
    Ok(statement.query_row([], |row| Ok(Log { busy: row.get(0)?, pages: row.get(1)?, moved: row.get(2)? }))?)
}
