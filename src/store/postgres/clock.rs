//! Whether this machine's clock goes with the database's. When tokens end, what is due to be destroyed, and the times
//! in records are by this one: a replica whose clock is wrong would let in who may not come in any more, and destroy
//! early.
//!
//! The statement that appends records compares the two again ([`super::record`]), so that nothing is answered or
//! changed by a clock that was right only when it was looked at.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use crate::store::Error;
use crate::store::sql::{Sql, cells};

/// So far apart, in microseconds, nothing is answered or changed. More than a statement takes to reach the database.
pub const FAR: i64 = 60 * SECOND;
/// From here on an operator should know.
const NOTABLE: i64 = 5 * SECOND;
const SECOND: i64 = 1_000_000;

/// The database's clock when it was asked. `now()` is when the transaction began.
pub const THEIRS: &str = "CAST(extract(epoch FROM statement_timestamp()) * 1000000 AS BIGINT)";

pub fn ours() -> i64 {
    Timestamp::now().as_microsecond()
}

#[derive(Default)]
pub struct Clock {
    told: Mutex<Difference>,
}

/// How far apart the two are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Difference {
    #[default]
    Small,
    Notable,
    Far,
}

impl Clock {
    /// Refuses one that is far from the database's. One that is some seconds off is told of, once.
    pub fn look(&self, connection: &dyn Sql) -> Result<(), Error> {
        let ahead = ahead(connection)?;
        let difference = match ahead.abs() {
            FAR.. => Difference::Far,
            NOTABLE.. => Difference::Notable,
            _ => Difference::Small,
        };
        let before = std::mem::replace(&mut *self.told.lock().unwrap_or_else(PoisonError::into_inner), difference);
        match difference {
            Difference::Far => return Err(far(ahead)),
            same if same == before => {}
            Difference::Notable => tracing::warn!("{}: have both set by NTP", words(ahead)),
            Difference::Small => tracing::info!("this machine's clock goes with the database's again"),
        }
        Ok(())
    }
}

/// What a statement that compared the two is refused with.
pub fn refusal(connection: &dyn Sql) -> Error {
    ahead(connection).map_or_else(|error| error, far)
}

fn far(ahead: i64) -> Error {
    let words = words(ahead);
    Error::Unavailable(format!("{words}: nothing is answered or changed by it; have both set by NTP"))
}

fn words(ahead: i64) -> String {
    let side = if ahead < 0 { "behind" } else { "ahead of" };
    format!("this machine's clock is {} s {side} the database's", (ahead.abs() + SECOND / 2) / SECOND)
}

/// In microseconds; behind where it is negative. Nothing where the time that the answer took may be all of it.
fn ahead(connection: &dyn Sql) -> Result<i64, Error> {
    let before = ours();
    let theirs = cells::first(connection, &format!("SELECT {THEIRS}"), &[], "the clock", |cells| cells.plain())?;
    let after = ours();
    let theirs: i64 = theirs.ok_or_else(|| Error::Unavailable("the database does not tell the time".into()))?;
    Ok(if theirs < before { before - theirs } else { (after - theirs).min(0) })
}
