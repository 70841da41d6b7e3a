//! Who does what is to be done once: one process at a time, for a while, and longer while it says so.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::claim::NOW;
use super::clock::{self, THEIRS};
use crate::store::Error;
use crate::store::sql::Sql;
use crate::store::sql::values;

/// Whoever has not asked for so long, by the database's clock, does not do it any more. Longer than anything that is begun
/// on the word of [`Lease::told`] takes.
const LASTS: Duration = Duration::from_secs(60);
/// The answer is good for so long, by this machine's clock.
const GOOD_FOR: Duration = Duration::from_secs(3);

#[derive(Default)]
pub struct Lease {
    told: Mutex<Option<(Instant, bool)>>,
}

impl Lease {
    /// What was told not long ago; nothing where the database must be asked.
    pub fn told(&self) -> Option<bool> {
        let told = *self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.filter(|(at, _)| at.elapsed() < GOOD_FOR).map(|(_, holds)| holds)
    }

    pub fn tell(&self, at: Instant, holds: bool) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = Some((at, holds));
    }
}

/// Takes it if nobody has it, and keeps it for longer. Not by a clock that is far off: what is due by it is not.
pub fn take(connection: &dyn Sql, holder: Uuid) -> Result<bool, Error> {
    let lasts = u64::try_from(LASTS.as_micros()).unwrap_or(u64::MAX);
    let sql = format!(
        "INSERT INTO leases (name, holder, until) SELECT 'upkeep', ?1, {NOW} + ?2 WHERE abs({THEIRS} - ?3) <= ?4 \
         ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until \
         WHERE leases.holder = excluded.holder OR leases.until < {NOW}"
    );
    Ok(connection.execute(&sql, values![&holder, lasts, clock::ours(), clock::FAR])? > 0)
}

pub fn release(connection: &dyn Sql, holder: Uuid) -> Result<(), Error> {
    connection.execute("DELETE FROM leases WHERE holder = ?1", values![&holder]).map(drop)
}
