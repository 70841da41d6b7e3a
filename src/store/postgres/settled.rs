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
    /// Looks at the log now and then: a gap that is old stays one. Answers the number of the newest change too, so that
    /// it is one round trip.
    pub fn watch(&self, connection: &dyn Sql) -> Result<u64, Error> {
        let floor = self.floor();
        let sql = "SELECT 1, coalesce(max(sequence), 0) FROM changes \
             UNION ALL SELECT 2, coalesce(max(position), 0) FROM audit_log \
             UNION ALL SELECT 3, position FROM \
                 (SELECT position FROM audit_log WHERE position > ?1 ORDER BY position LIMIT ?2) beyond";
        let found = cells::all(connection, sql, values![floor, LOOK], "audit_log", |cells| {
            Ok((cells.count()?, cells.count()?))
        })?;
        let (mut change, mut newest, mut beyond) = (0, 0, Vec::new());
        for (what, number) in found {
            match what {
                1 => change = number,
                2 => newest = number,
                _ => beyond.push(number),
            }
        }
        beyond.sort_unstable();
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
        seen.up_to = seen.up_to.max(gapless(floor, beyond));
        Ok(change)
    }

    /// What is known before anything is read.
    pub fn floor(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).up_to
    }

    /// Up to the first gap that the connection sees, from a floor that was known before its moment began.
    pub fn beyond(&self, connection: &dyn Sql, floor: u64) -> Result<u64, Error> {
        let sql = "SELECT position FROM audit_log WHERE position > ?1 ORDER BY position LIMIT ?2";
        let positions = cells::all(connection, sql, values![floor, LOOK], "audit_log", |cells| cells.count())?;
        let up_to = gapless(floor, positions);
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.up_to = seen.up_to.max(up_to);
        Ok(up_to)
    }
}

/// Up to the first position that is missing.
fn gapless(floor: u64, positions: Vec<u64>) -> u64 {
    let there = (floor + 1..).zip(positions).take_while(|(next, position)| next == position);
    there.last().map_or(floor, |(_, position)| position)
}
