//! The table `second_factors`.

use jiff::Timestamp;
use uuid::Uuid;

use super::super::{Error, Factor, FactorChange, FactorState, Holder, Sealed};
use super::cells::{self, Cells};
use super::values;
use super::{Sql, Value, orgs, wraps};
use crate::store::Word as _;

const TABLE: &str = "second_factors";

/// In the order in which [`read`] takes them.
const COLUMNS: &str = "caller, state, id, caller_name, org, blob, created_by, created_at, \
     confirmed_at, last_step, failures, locked_until";

pub fn one(connection: &dyn Sql, caller: &str, state: FactorState) -> Result<Option<Factor>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM second_factors WHERE caller = ?1 AND state = ?2");
    let found = cells::first(connection, &sql, values![caller, state.word()], TABLE, read)?;
    found.map(|factor| with_wraps(connection, factor)).transpose()
}

pub fn all(connection: &dyn Sql, org: Option<&str>) -> Result<Vec<Factor>, Error> {
    let filter = if org.is_some() { "WHERE org = ?1" } else { "" };
    let sql = format!("SELECT {COLUMNS} FROM second_factors {filter} ORDER BY created_at DESC, id DESC");
    let found = cells::all(connection, &sql, org.map(Value::from).as_slice(), TABLE, read)?;
    found.into_iter().map(|factor| with_wraps(connection, factor)).collect()
}

/// Those that wait for their first code since before a time.
pub fn waiting(connection: &dyn Sql, since: Timestamp, limit: u32) -> Result<Vec<Factor>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM second_factors WHERE state = 'pending' AND created_at <= ?1 LIMIT ?2");
    let found = cells::all(connection, &sql, values![since, limit], TABLE, read)?;
    found.into_iter().map(|factor| with_wraps(connection, factor)).collect()
}

fn with_wraps(connection: &dyn Sql, mut factor: Factor) -> Result<Factor, Error> {
    factor.sealed.wraps = wraps::of(connection, &Holder::Factor(factor.id))?;
    Ok(factor)
}

/// Answers whether a wrapped key was destroyed.
pub fn apply(connection: &dyn Sql, change: &FactorChange, at: Timestamp) -> Result<bool, Error> {
    match change {
        FactorChange::Enrol { factor, beside } => enrol(connection, factor, *beside),
        FactorChange::Confirm { caller, id, step } => confirm(connection, caller, *id, *step, at),
        FactorChange::Spend { caller, id, step } => spend(connection, caller, *id, *step, at).map(|()| false),
        FactorChange::Miss { caller, id } => miss(connection, caller, *id, at).map(|()| false),
        FactorChange::Remove { caller } => remove(connection, caller),
        FactorChange::Forget { caller, id } => forget(connection, caller, *id),
    }
}

fn enrol(connection: &dyn Sql, new: &Factor, beside: Option<Uuid>) -> Result<bool, Error> {
    if one(connection, &new.caller, FactorState::Active)?.map(|active| active.id) != beside {
        return Err(Error::Stale { current: None });
    }
    orgs::refuse(connection, &new.org)?;
    let destroyed = drop_wraps(connection, &new.caller, Some(FactorState::Pending))?;
    let sql = "DELETE FROM second_factors WHERE caller = ?1 AND state = 'pending'";
    connection.execute(sql, values![&new.caller])?;
    connection.insert(
        TABLE,
        &[
            ("state", FactorState::Pending.word().into()),
            ("last_step", 0_u32.into()),
            ("failures", 0_u32.into()),
            ("caller", (&new.caller).into()),
            ("id", (&new.id).into()),
            ("caller_name", (&new.caller_name).into()),
            ("org", (&new.org).into()),
            ("blob", (&new.sealed.blob).into()),
            ("created_by", (&new.created_by).into()),
            ("created_at", new.created_at.into()),
        ],
    )?;
    for wrap in &new.sealed.wraps {
        wraps::put(connection, &Holder::Factor(new.id), wrap)?;
    }
    Ok(destroyed)
}

fn confirm(connection: &dyn Sql, caller: &str, id: Uuid, step: u64, at: Timestamp) -> Result<bool, Error> {
    spend(connection, caller, id, step, at)?;
    let destroyed = drop_wraps(connection, caller, Some(FactorState::Active))?;
    let sql = "DELETE FROM second_factors WHERE caller = ?1 AND state = 'active'";
    connection.execute(sql, values![caller])?;
    let sql = "UPDATE second_factors SET state = 'active', confirmed_at = ?3 \
         WHERE caller = ?1 AND id = ?2 AND state = 'pending'";
    one_row(connection.execute(sql, values![caller, &id, at])?)?;
    Ok(destroyed)
}

fn spend(connection: &dyn Sql, caller: &str, id: Uuid, step: u64, at: Timestamp) -> Result<(), Error> {
    let sql = "UPDATE second_factors SET last_step = ?3, failures = 0, locked_until = NULL \
         WHERE caller = ?1 AND id = ?2 AND last_step < ?3 AND (locked_until IS NULL OR locked_until <= ?4)";
    one_row(connection.execute(sql, values![caller, &id, step, at])?)
}

fn miss(connection: &dyn Sql, caller: &str, id: Uuid, at: Timestamp) -> Result<(), Error> {
    let sql = "UPDATE second_factors SET failures = failures + 1 \
         WHERE caller = ?1 AND id = ?2 AND (locked_until IS NULL OR locked_until <= ?3) RETURNING failures";
    let failures = cells::first(connection, sql, values![caller, &id, at], TABLE, |cells| cells.plain())?;
    let failures: u32 = failures.ok_or(Error::Stale { current: None })?;
    let until = Factor::lock(failures).map(|lock| at.saturating_add(lock).unwrap_or(Timestamp::MAX));
    let sql = "UPDATE second_factors SET locked_until = ?3 WHERE caller = ?1 AND id = ?2";
    one_row(connection.execute(sql, values![caller, &id, until])?)
}

fn remove(connection: &dyn Sql, caller: &str) -> Result<bool, Error> {
    let destroyed = drop_wraps(connection, caller, None)?;
    match connection.execute("DELETE FROM second_factors WHERE caller = ?1", values![caller])? {
        0 => Err(Error::Stale { current: None }),
        _ => Ok(destroyed),
    }
}

fn forget(connection: &dyn Sql, caller: &str, id: Uuid) -> Result<bool, Error> {
    let sql = "DELETE FROM second_factors WHERE caller = ?1 AND id = ?2 AND state = 'pending'";
    one_row(connection.execute(sql, values![caller, &id])?)?;
    wraps::drop_all(connection, &Holder::Factor(id))
}

/// Of what a caller has in a state, or in any.
fn drop_wraps(connection: &dyn Sql, caller: &str, state: Option<FactorState>) -> Result<bool, Error> {
    let sql = "SELECT id FROM second_factors WHERE caller = ?1 AND state = coalesce(?2, state)";
    let ids = cells::all(connection, sql, values![caller, state.map(FactorState::word)], TABLE, |cells| cells.id())?;
    ids.into_iter().try_fold(false, |any, id| Ok(wraps::drop_all(connection, &Holder::Factor(id))? || any))
}

const fn one_row(changed: u64) -> Result<(), Error> {
    match changed {
        1 => Ok(()),
        _ => Err(Error::Stale { current: None }),
    }
}

fn read(cells: &mut Cells<'_>) -> Result<Factor, Error> {
    Ok(Factor {
        caller: cells.plain()?,
        state: cells.word()?,
        id: cells.id()?,
        caller_name: cells.plain()?,
        org: cells.plain()?,
        sealed: Sealed { blob: cells.plain()?, wraps: Vec::new() },
        created_by: cells.plain()?,
        created_at: cells.time()?,
        confirmed_at: cells.optional_time()?,
        last_step: cells.count()?,
        failures: cells.plain()?,
        locked_until: cells.optional_time()?,
    })
}
