//! What a database says of the migration that it is one end of: a row of `meta`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::store::Error;
use crate::store::sql::{Sql, cells, meta, values};

/// What a migration hears whose target is not its own any more.
pub const OVERTAKEN: &str = "another `strongroom migrate` goes on with it, or has given it up";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The same at both ends.
    pub id: Uuid,
    pub state: State,
    /// The other end, as it is shown.
    pub other: String,
    /// The process that works on it. Another that goes on writes its own here, and the first one stops.
    pub run: Uuid,
    pub at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its rows are being copied.
    Leaving,
    /// All of it is elsewhere. Two that both serve would bring back what one of them has revoked.
    Left,
    /// Not all rows are here, or nobody has compared them.
    Arriving,
    /// The other end has left for here.
    Arrived,
}

/// Who opens a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Whoever works with it.
    Work,
    /// A migration that proves what it has copied, while it is marked as being copied to.
    Prove,
}

impl Entry {
    /// Refuses what is not, or not any more, the vault.
    pub fn admit(self, connection: &dyn Sql) -> Result<(), Error> {
        let mark = read(connection)?;
        if self == Self::Prove {
            // Whoever has finished it may serve from it, and where it was given up there is nothing to be proven.
            let is_arriving = mark.is_some_and(|mark| mark.state == State::Arriving);
            return if is_arriving { Ok(()) } else { Err(Error::Moving(OVERTAKEN.to_owned())) };
        }
        let Some(Mark { state, other, at, .. }) = mark else { return Ok(()) };
        let go_on = "run the same `strongroom migrate` again, which goes on, or with --abandon, which gives up";
        let why = match state {
            State::Arrived => return Ok(()),
            State::Arriving => format!("it holds an unfinished migration from {other}: {go_on}"),
            State::Leaving => format!("it is being moved to {other} since {at:.0}: {go_on}"),
            State::Left => {
                format!("it was moved to {other} on {at:.0}: serve that one, or migrate back from it into a new place")
            }
        };
        Err(Error::Moving(why))
    }
}

pub fn read(connection: &dyn Sql) -> Result<Option<Mark>, Error> {
    let mark = meta::get(connection, meta::MIGRATION)?;
    mark.map(|text| serde_json::from_str(&text).map_err(|_| Error::Corrupt("meta: migration is no mark".into())))
        .transpose()
}

pub fn write(connection: &dyn Sql, mark: &Mark) -> Result<(), Error> {
    meta::set(connection, meta::MIGRATION, &cells::json(mark)?)
}

pub fn remove(connection: &dyn Sql) -> Result<(), Error> {
    connection.execute("DELETE FROM meta WHERE key = ?1", values![meta::MIGRATION]).map(drop)
}

/// Whether this very mark still stands. Whoever wants to change it waits until the transaction ends.
pub fn holds(connection: &dyn Sql, mark: &Mark) -> Result<bool, Error> {
    let sql = "UPDATE meta SET value = value WHERE key = ?1 AND value = ?2";
    Ok(connection.execute(sql, values![meta::MIGRATION, cells::json(mark)?])? > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_arriving_is_proven_and_only_what_has_arrived_is_worked_with() {
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)").unwrap();
        let admits = |entry: Entry| entry.admit(&connection).is_ok();
        assert!(admits(Entry::Work) && !admits(Entry::Prove), "no mark: it is a vault, or was given up");
        for (state, work, prove) in [
            (State::Leaving, false, false),
            (State::Left, false, false),
            (State::Arriving, false, true),
            (State::Arrived, true, false),
        ] {
            let id = Uuid::now_v7();
            write(&connection, &Mark { id, state, other: "there".into(), run: id, at: Timestamp::UNIX_EPOCH }).unwrap();
            assert_eq!((admits(Entry::Work), admits(Entry::Prove)), (work, prove), "{state:?}");
        }
    }
}
