//! The table `second_factors`.

use jiff::Timestamp;
use rusqlite::{Connection, named_params};
use uuid::Uuid;

use super::super::{Error, Factor, FactorChange, FactorState, Sealed};
use super::cells::{self, Cells, micros, signed};
use crate::store::Word as _;

const TABLE: &str = "second_factors";

/// In the order in which [`read`] takes them.
const COLUMNS: &str = "caller, state, id, caller_name, org, blob, wrapped_dek, kms_key, kms_key_version, created_by, \
     created_at, confirmed_at, last_step, failures, locked_until";

pub fn one(connection: &Connection, caller: &str, state: FactorState) -> Result<Option<Factor>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM second_factors WHERE caller = ?1 AND state = ?2");
    cells::first(connection, &sql, (caller, state.word()), TABLE, read)
}

pub fn all(connection: &Connection, org: Option<&str>) -> Result<Vec<Factor>, Error> {
    let filter = if org.is_some() { "WHERE org = ?1" } else { "" };
    let sql = format!("SELECT {COLUMNS} FROM second_factors {filter} ORDER BY created_at DESC, id DESC");
    cells::all(connection, &sql, rusqlite::params_from_iter(org), TABLE, read)
}

/// Those that wait for their first code since before a time.
pub fn waiting(connection: &Connection, since: Timestamp, limit: u32) -> Result<Vec<Factor>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM second_factors WHERE state = 'pending' AND created_at <= ?1 LIMIT ?2");
    cells::all(connection, &sql, (micros(since), limit), TABLE, read)
}

pub fn apply(connection: &Connection, change: &FactorChange, at: Timestamp) -> Result<(), Error> {
    match change {
        FactorChange::Enrol { factor, beside } => enrol(connection, factor, *beside),
        FactorChange::Confirm { caller, id, step } => confirm(connection, caller, *id, *step, at),
        FactorChange::Spend { caller, id, step } => spend(connection, caller, *id, *step, at),
        FactorChange::Miss { caller, id } => miss(connection, caller, *id, at),
        FactorChange::Remove { caller } => remove(connection, caller),
        FactorChange::Forget { caller, id } => forget(connection, caller, *id),
    }
}

fn enrol(connection: &Connection, new: &Factor, beside: Option<Uuid>) -> Result<(), Error> {
    if one(connection, &new.caller, FactorState::Active)?.map(|active| active.id) != beside {
        return Err(Error::Stale { current: None });
    }
    let sql = format!(
        "INSERT OR REPLACE INTO second_factors ({COLUMNS}) VALUES (:caller, 'pending', :id, :caller_name, :org, :blob, \
         :wrapped_dek, :kms_key, :kms_key_version, :created_by, :created_at, NULL, 0, 0, NULL)"
    );
    connection.prepare_cached(&sql)?.execute(named_params! {
        ":caller": new.caller,
        ":id": new.id.as_bytes(),
        ":caller_name": new.caller_name,
        ":org": new.org,
        ":blob": new.sealed.blob,
        ":wrapped_dek": new.sealed.wrapped_dek,
        ":kms_key": new.kms_key,
        ":kms_key_version": new.kms_key_version,
        ":created_by": new.created_by,
        ":created_at": micros(new.created_at),
    })?;
    Ok(())
}

fn confirm(connection: &Connection, caller: &str, id: Uuid, step: u64, at: Timestamp) -> Result<(), Error> {
    spend(connection, caller, id, step, at)?;
    let sql = "DELETE FROM second_factors WHERE caller = ?1 AND state = 'active'";
    connection.prepare_cached(sql)?.execute([caller])?;
    let sql = "UPDATE second_factors SET state = 'active', confirmed_at = ?3 \
         WHERE caller = ?1 AND id = ?2 AND state = 'pending'";
    one_row(connection.prepare_cached(sql)?.execute((caller, id.as_bytes(), micros(at)))?)
}

fn spend(connection: &Connection, caller: &str, id: Uuid, step: u64, at: Timestamp) -> Result<(), Error> {
    let sql = "UPDATE second_factors SET last_step = ?3, failures = 0, locked_until = NULL \
         WHERE caller = ?1 AND id = ?2 AND last_step < ?3 AND (locked_until IS NULL OR locked_until <= ?4)";
    one_row(connection.prepare_cached(sql)?.execute((caller, id.as_bytes(), signed(step), micros(at)))?)
}

fn miss(connection: &Connection, caller: &str, id: Uuid, at: Timestamp) -> Result<(), Error> {
    let sql = "UPDATE second_factors SET failures = failures + 1 \
         WHERE caller = ?1 AND id = ?2 AND (locked_until IS NULL OR locked_until <= ?3) RETURNING failures";
    let failures = cells::first(connection, sql, (caller, id.as_bytes(), micros(at)), TABLE, |cells| cells.plain())?;
    let failures: u32 = failures.ok_or(Error::Stale { current: None })?;
    let until = Factor::lock(failures).map(|lock| micros(at.saturating_add(lock).unwrap_or(Timestamp::MAX)));
    let sql = "UPDATE second_factors SET locked_until = ?3 WHERE caller = ?1 AND id = ?2";
    one_row(connection.prepare_cached(sql)?.execute((caller, id.as_bytes(), until))?)
}

fn remove(connection: &Connection, caller: &str) -> Result<(), Error> {
    match connection.prepare_cached("DELETE FROM second_factors WHERE caller = ?1")?.execute([caller])? {
        0 => Err(Error::Stale { current: None }),
        _ => Ok(()),
    }
}

fn forget(connection: &Connection, caller: &str, id: Uuid) -> Result<(), Error> {
    let sql = "DELETE FROM second_factors WHERE caller = ?1 AND id = ?2 AND state = 'pending'";
    one_row(connection.prepare_cached(sql)?.execute((caller, id.as_bytes()))?)
}

const fn one_row(changed: usize) -> Result<(), Error> {
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
        sealed: Sealed { blob: cells.plain()?, wrapped_dek: cells.plain()? },
        kms_key: cells.plain()?,
        kms_key_version: cells.plain()?,
        created_by: cells.plain()?,
        created_at: cells.time()?,
        confirmed_at: cells.optional_time()?,
        last_step: cells.count()?,
        failures: cells.plain()?,
        locked_until: cells.optional_time()?,
    })
}
