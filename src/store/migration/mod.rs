//! All rows of one store into another, as they are: from SQLite to PostgreSQL, and back. Nobody serves meanwhile, from
//! neither end. Killed at any moment, the same again goes on where it was.
//!
//! ```text
//!   source              target
//!   leaving             (empty)       nobody serves from the source any more
//!   leaving             arriving      nobody serves from the target yet; rows are copied, then compared, each with each
//!   left                arriving      all is there
//!   left                arrived       the target is the vault
//! ```
//!
//! Rows are copied in an order that both ends have: so many as the target has are the first ones of the source.

mod compare;
mod end;
mod mark;

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

pub use self::end::End;
pub use self::mark::{Entry, Mark, State};

use self::end::Held;
use super::backup::{Piece, TABLES};
use super::sql::backup;
use super::{Store, sql::Sql};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing was changed.
    #[error("{place}: {why}")]
    InTheWay { place: String, why: String },
    #[error("{place}: {cause}")]
    Store { place: String, cause: super::Error },
    #[error("{place}: it is not what it was copied from: {why}")]
    Differs { place: String, why: String },
}

/// Why a transaction is not committed.
enum Wrong {
    Store(super::Error),
    InTheWay(String),
}

impl From<super::Error> for Wrong {
    fn from(cause: super::Error) -> Self {
        Self::Store(cause)
    }
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub step: Step,
    pub table: &'static str,
    pub rows: u64,
    pub of: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Copy,
    Compare,
}

pub type Tell<'a> = &'a mut dyn FnMut(Progress);

/// What was moved, or is to be.
#[derive(Clone, Debug)]
pub struct Moved {
    pub from: String,
    pub to: String,
    pub rows: Vec<(&'static str, u64)>,
    /// So many of them an earlier run had copied.
    pub there: u64,
    /// It was done before.
    pub was_done: bool,
    /// The source has an older schema, and is brought to the newer first: it was not looked into.
    pub older: Option<(u32, u32)>,
}

/// What stands at both ends, and what is to be done.
struct Plan {
    source: Held,
    /// None: it is to be made.
    target: Option<Held>,
    /// What the source says.
    found: Option<Mark>,
    /// What it is to say.
    leaving: Mark,
    was_done: bool,
}

/// Moves all of it. `prove` tells what is wrong with the audit log of a store. For threads that may block, on a runtime.
pub fn run(
    from: &End,
    to: &End,
    tell: Tell<'_>,
    prove: impl FnOnce(Arc<dyn Store>) -> Result<Option<String>, super::Error>,
) -> Result<Moved, Error> {
    let Plan { mut source, target, found, leaving, was_done } = plan(from, to)?;
    if !was_done && found.as_ref() != Some(&leaving) {
        source.freeze(found.as_ref(), &leaving)?;
    }
    // From here on they stay what they are.
    let counts = source.counts()?;
    let moved = |there| Moved {
        from: from.to_string(),
        to: to.to_string(),
        rows: TABLES.iter().map(|table| table.name).zip(counts.iter().copied()).collect(),
        there,
        was_done,
        older: None,
    };
    if was_done {
        return Ok(moved(counts.iter().sum()));
    }
    let mut target = match target {
        Some(target) => target,
        None => to.make()?,
    };
    let arriving = begin(&source, &target, &leaving)?;
    let there = copy(&source, &mut target, &arriving, &counts, tell)?;
    compare::all(&source, &target, &counts, tell)?;
    drop(target);
    let store = to.enter()?;
    if let Some(why) = to.told(|| prove(store))? {
        return Err(Error::Differs { place: to.to_string(), why: format!("its audit log: {why}") });
    }
    let held = to.make()?;
    if leaving.state == State::Leaving {
        source.reconnect()?;
        let left = Mark { state: State::Left, at: Timestamp::now(), ..leaving.clone() };
        source.freeze(Some(&leaving), &left)?;
    }
    held.in_turn(|sql| {
        stands(sql, &arriving)?;
        held.settle(sql)?;
        Ok(mark::write(sql, &Mark { state: State::Arrived, at: Timestamp::now(), ..arriving.clone() })?)
    })?;
    Ok(moved(there))
}

/// What [`run`] would do, without doing it.
pub fn look(from: &End, to: &End) -> Result<Moved, Error> {
    let (from_is, to_is) = (from.to_string(), to.to_string());
    if let Some(older) = from.older() {
        return Ok(Moved { from: from_is, to: to_is, rows: Vec::new(), there: 0, was_done: false, older: Some(older) });
    }
    let Plan { source, target, was_done, .. } = plan(from, to)?;
    let counts = source.counts()?;
    let there = match (was_done, target) {
        (true, _) => counts.iter().sum(),
        (false, Some(target)) => target.counts()?.iter().sum(),
        (false, None) => 0,
    };
    let rows = TABLES.iter().map(|table| table.name).zip(counts).collect();
    Ok(Moved { from: from_is, to: to_is, rows, there, was_done, older: None })
}

/// Gives up what is not done: lets the source be served again, then takes out of the target what was copied. Whether
/// there was anything in the target. Without its source's mark, none is ever finished.
pub fn abandon(from: &End, to: Option<&End>) -> Result<bool, Error> {
    let source = from.hold()?.ok_or_else(|| from.in_the_way("there is no database"))?;
    let mark = source.mark()?;
    if let Some(Mark { state: State::Left, other, .. }) = &mark {
        return Err(from.in_the_way(&format!(
            "all of it is in {other}: the same `strongroom migrate` without --abandon makes sure that this one is finished"
        )));
    }
    let mut target = None;
    if let Some(to) = to
        && to.older().is_none()
        && let Some(held) = to.hold()?
        && let Some(arriving) = held.mark()?.filter(|mark| mark.state == State::Arriving)
    {
        // A target is no source: whoever names it as both would lose what it holds.
        let is_its_own = match &mark {
            Some(mark) => mark.state == State::Leaving && mark.id == arriving.id,
            None => arriving.other == from.to_string(),
        };
        if !is_its_own {
            return Err(to.in_the_way(&format!("what it holds comes from {}", arriving.other)));
        }
        target = Some((held, arriving));
    }
    match mark.filter(|mark| mark.state == State::Leaving) {
        Some(leaving) => source.in_turn(|sql| match mark::holds(sql, &leaving)? {
            true => Ok(mark::remove(sql)?),
            false => Err(Wrong::InTheWay("it is finished, or given up, by another `strongroom migrate`".to_owned())),
        })?,
        None if target.is_none() => return Err(from.in_the_way("there is no unfinished migration from it")),
        None => {}
    }
    let was_there = target.is_some();
    if let Some((held, arriving)) = target {
        held.empty(&arriving)?;
    }
    Ok(was_there)
}

fn plan(from: &End, to: &End) -> Result<Plan, Error> {
    let source = from.hold()?.ok_or_else(|| from.in_the_way("there is no database"))?;
    if from.told(|| source.chain())?.is_empty() {
        return Err(from.in_the_way("there is no vault in it"));
    }
    if from.to_string() == to.to_string() {
        return Err(to.in_the_way("it cannot be moved onto itself"));
    }
    if to.older().is_some() {
        return Err(to.in_the_way(TAKEN));
    }
    let found = source.mark()?;
    let target = to.hold()?;
    let arriving = target.as_ref().map(Held::mark).transpose()?.flatten();
    let is_free = match (&target, &arriving) {
        (Some(target), None) => to.told(|| Held::is_empty(target.sql()))?,
        (None, _) => true,
        (Some(_), Some(_)) => false,
    };
    let (leaving, was_done) = match (found.clone(), arriving) {
        (None | Some(Mark { state: State::Arrived, .. }), None) if is_free => {
            let at = Timestamp::now();
            let leaving =
                Mark { id: Uuid::now_v7(), state: State::Leaving, other: to.to_string(), run: Uuid::nil(), at };
            (leaving, false)
        }
        (Some(leaving), Some(arriving)) if leaving.id == arriving.id => {
            let was_done = leaving.state == State::Left && arriving.state == State::Arrived;
            (leaving, was_done)
        }
        // Nothing has come there yet.
        (Some(leaving), None) if leaving.state == State::Leaving && is_free && leaving.other == to.to_string() => {
            (leaving, false)
        }
        (Some(Mark { state: State::Leaving, other, .. }), None) if is_free => {
            return Err(from.in_the_way(&format!(
                "it is being moved to {other}: go on with that, or give up by `strongroom migrate --abandon`"
            )));
        }
        (Some(Mark { state: State::Left, other, at, .. }), _) => {
            return Err(from.in_the_way(&format!("it was moved to {other} on {at:.0}: migrate from there")));
        }
        (_, Some(Mark { state: State::Arriving, other, .. })) => {
            return Err(to.in_the_way(&format!(
                "it holds an unfinished migration from {other}, or an earlier one of this: `strongroom migrate --abandon` \
                 empties it"
            )));
        }
        _ => return Err(to.in_the_way(TAKEN)),
    };
    Ok(Plan { source, target, found, leaving, was_done })
}

const TAKEN: &str = "it holds a vault, and nothing is ever written over one: name a new place";

/// Marks the target, and takes it from whoever has worked on it before.
fn begin(source: &Held, target: &Held, leaving: &Mark) -> Result<Mark, Error> {
    let (state, other, run) = (State::Arriving, source.end.to_string(), Uuid::now_v7());
    let arriving = Mark { id: leaving.id, state, other, run, at: Timestamp::now() };
    target.in_turn(|sql| {
        match mark::read(sql)? {
            Some(mark) if mark.id == arriving.id && mark.state == State::Arriving => {}
            None if Held::is_empty(sql)? => target.count_on(sql, source.sql())?,
            _ => return Err(Wrong::InTheWay(TAKEN.to_owned())),
        }
        Ok(mark::write(sql, &arriving)?)
    })?;
    Ok(arriving)
}

fn stands(sql: &dyn Sql, arriving: &Mark) -> Result<(), Wrong> {
    match mark::holds(sql, arriving)? {
        true => Ok(()),
        false => Err(Wrong::InTheWay(mark::OVERTAKEN.to_owned())),
    }
}

/// What the target has not. Answers how much it had.
fn copy(source: &Held, target: &mut Held, arriving: &Mark, counts: &[u64], tell: Tell<'_>) -> Result<u64, Error> {
    let mut there = target.counts()?;
    let known = there.iter().sum();
    let (mut pieces, of) = (source.rows()?, counts.iter().sum());
    let mut past = known;
    let mut keys = HashMap::new();
    for (table, (have, all)) in TABLES.iter().zip(there.iter().zip(counts)) {
        if have > all {
            let why = format!("{} has {have} rows, and the source {all}", table.name);
            return Err(Error::Differs { place: target.end.to_string(), why });
        }
    }
    while let Some(Piece { table, mut rows }) = source.next(&mut pieces)? {
        let at = TABLES.iter().position(|known| known.name == table.name).unwrap_or_default();
        let skipped = usize::try_from(there[at]).map_or(rows.len(), |there| there.min(rows.len()));
        rows.drain(..skipped);
        there[at] -= skipped as u64;
        if !rows.is_empty() {
            if past == known && known > 0 {
                target.reconnect()?;
            }
            target.within(|sql| {
                stands(sql, arriving)?;
                Ok(backup::put_all(sql, table, &rows, &mut keys)?)
            })?;
            past += rows.len() as u64;
        }
        tell(Progress { step: Step::Copy, table: table.name, rows: past, of });
    }
    Ok(known)
}
