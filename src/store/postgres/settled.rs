//! Up to where the audit log is settled. A record's position is given to it before its transaction ends, so one with a lower
//! position may appear after one with a higher. Whoever reads the log on and on must not step over it.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::store::Error;
use crate::store::sql::{Sql, cells, values};

/// What was given a position so long ago is there by now, or never will be: longer than a statement may take.
const LONGEST: Duration = Duration::from_secs(15);
/// So many positions are looked through at a time.
const LOOK: u32 = 5_000;

#[derive(Default)]
pub struct Settled(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    /// Nothing appears any more up to here.
    up_to: u64,
    /// The newest position at some times, oldest first.
    newest: VecDeque<(Instant, u64)>,
}

impl Settled {
    /// Looks at the log now and then: a gap that is old stays one.
    pub fn watch(&self, connection: &dyn Sql) -> Result<(), Error> {
        let newest = "SELECT coalesce(max(position), 0) FROM audit_log";
        let newest = cells::first(connection, newest, &[], "audit_log", |cells| cells.count())?.unwrap_or_default();
        let floor = {
            let (mut seen, now) = (self.0.lock().unwrap_or_else(PoisonError::into_inner), Instant::now());
            if seen.newest.is_empty() {
                // Nobody knows what was under way: what is far behind is not.
                seen.up_to = newest.saturating_sub(u64::from(LOOK));
            }
            seen.newest.push_back((now, newest));
            while let Some((at, old)) = seen.newest.front().copied()
                && now.duration_since(at) > LONGEST
            {
                seen.up_to = seen.up_to.max(old);
                seen.newest.pop_front();
            }
            seen.up_to
        };
        self.beyond(connection, floor).map(drop)
    }

    /// What is known before anything is read.
    pub fn floor(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).up_to
    }

    /// Up to the first gap that the connection sees, from a floor that was known before its moment began.
    pub fn beyond(&self, connection: &dyn Sql, floor: u64) -> Result<u64, Error> {
        let sql = "SELECT position FROM audit_log WHERE position > ?1 ORDER BY position LIMIT ?2";
        let positions = cells::all(connection, sql, values![floor, LOOK], "audit_log", |cells| cells.count())?;
        let gapless = (floor + 1..).zip(positions).take_while(|(next, position)| next == position);
        let up_to = gapless.last().map_or(floor, |(_, position)| position);
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.up_to = seen.up_to.max(up_to);
        Ok(up_to)
    }
}
