//! The table `approvals`.

use jiff::Timestamp;
use rusqlite::{Connection, named_params};
use uuid::Uuid;

use super::super::{Approval, ApprovalChange, Error, Path};
use super::cells::{self, Cells, json, micros};

const TABLE: &str = "approvals";

/// In the order in which [`read`] takes them.
const COLUMNS: &str = "id, requester, requester_name, known_by, action, org, project, provider, name, digest, \
     requested_at, expires_at, approved_by, approved_at";

pub fn by_id(connection: &Connection, id: Uuid) -> Result<Option<Approval>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM approvals WHERE id = ?1");
    cells::first(connection, &sql, [id.as_bytes()], TABLE, read)
}

pub fn of_request(connection: &Connection, requester: &str, digest: &[u8; 32]) -> Result<Option<Approval>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM approvals WHERE requester = ?1 AND digest = ?2");
    cells::first(connection, &sql, (requester, digest), TABLE, read)
}

pub fn all(connection: &Connection, org: Option<&str>) -> Result<Vec<Approval>, Error> {
    let filter = if org.is_some() { "WHERE org = ?1" } else { "" };
    let sql = format!("SELECT {COLUMNS} FROM approvals {filter} ORDER BY requested_at DESC, id DESC");
    cells::all(connection, &sql, rusqlite::params_from_iter(org), TABLE, read)
}

/// Those whose time is over.
pub fn ended(connection: &Connection, now: Timestamp, limit: u32) -> Result<Vec<Approval>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM approvals WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2");
    cells::all(connection, &sql, (micros(now), limit), TABLE, read)
}

pub fn apply(connection: &Connection, change: &ApprovalChange, at: Timestamp) -> Result<(), Error> {
    match change {
        ApprovalChange::Request(approval) => request(connection, approval, at),
        ApprovalChange::Approve { id, by, until } => approve(connection, *id, by, *until, at),
        ApprovalChange::Reject { id } => reject(connection, *id, at),
        ApprovalChange::Spend { id, requester, digest } => spend(connection, *id, requester, digest, at),
        ApprovalChange::Expire { id } => expire(connection, *id, at),
    }
}

/// One request, one row: another may have been first, and then that one counts.
fn request(connection: &Connection, new: &Approval, at: Timestamp) -> Result<(), Error> {
    let (requester, at) = (&new.requester, micros(at));
    let sql = "DELETE FROM approvals WHERE requester = ?1 AND digest = ?2 AND expires_at <= ?3";
    connection.prepare_cached(sql)?.execute((requester, new.digest, at))?;
    if of_request(connection, requester, &new.digest)?.is_some() {
        return Ok(());
    }
    let sql = "SELECT count(*) FROM approvals WHERE requester = ?1 AND expires_at > ?2";
    let live: u32 = connection.prepare_cached(sql)?.query_row((requester, at), |row| row.get(0))?;
    if live >= Approval::MOST {
        return Err(Error::Full);
    }
    let sql = format!(
        "INSERT INTO approvals ({COLUMNS}) VALUES (:id, :requester, :requester_name, :known_by, :action, :org, \
         :project, :provider, :name, :digest, :requested_at, :expires_at, NULL, NULL)"
    );
    let Path { org, project, provider, name } = &new.path;
    connection.prepare_cached(&sql)?.execute(named_params! {
        ":id": new.id.as_bytes(),
        ":requester": requester,
        ":requester_name": new.requester_name,
        ":known_by": json(&new.known_by)?,
        ":action": new.action,
        ":org": org,
        ":project": project,
        ":provider": provider,
        ":name": name,
        ":digest": new.digest,
        ":requested_at": micros(new.requested_at),
        ":expires_at": micros(new.expires_at),
    })?;
    Ok(())
}

fn approve(connection: &Connection, id: Uuid, by: &str, until: Timestamp, at: Timestamp) -> Result<(), Error> {
    let sql = "UPDATE approvals SET approved_by = ?2, approved_at = ?3, expires_at = ?4 \
         WHERE id = ?1 AND approved_by IS NULL AND expires_at > ?3";
    one_row(connection.prepare_cached(sql)?.execute((id.as_bytes(), by, micros(at), micros(until)))?)
}

/// Whether somebody had agreed already or not.
fn reject(connection: &Connection, id: Uuid, at: Timestamp) -> Result<(), Error> {
    let sql = "DELETE FROM approvals WHERE id = ?1 AND expires_at > ?2";
    one_row(connection.prepare_cached(sql)?.execute((id.as_bytes(), micros(at)))?)
}

fn spend(connection: &Connection, id: Uuid, requester: &str, digest: &[u8; 32], at: Timestamp) -> Result<(), Error> {
    let sql = "DELETE FROM approvals WHERE id = ?1 AND requester = ?2 AND digest = ?3 \
         AND approved_by IS NOT NULL AND expires_at > ?4";
    one_row(connection.prepare_cached(sql)?.execute((id.as_bytes(), requester, digest, micros(at)))?)
}

fn expire(connection: &Connection, id: Uuid, at: Timestamp) -> Result<(), Error> {
    let sql = "DELETE FROM approvals WHERE id = ?1 AND expires_at <= ?2";
    one_row(connection.prepare_cached(sql)?.execute((id.as_bytes(), micros(at)))?)
}

const fn one_row(changed: usize) -> Result<(), Error> {
    match changed {
        1 => Ok(()),
        _ => Err(Error::Stale { current: None }),
    }
}

fn read(cells: &mut Cells<'_>) -> Result<Approval, Error> {
    Ok(Approval {
        id: cells.id()?,
        requester: cells.plain()?,
        requester_name: cells.plain()?,
        known_by: cells.json()?,
        action: cells.plain()?,
        path: Path { org: cells.plain()?, project: cells.plain()?, provider: cells.plain()?, name: cells.plain()? },
        digest: cells.plain()?,
        requested_at: cells.time()?,
        expires_at: cells.time()?,
        approved: Option::zip(cells.plain()?, cells.optional_time()?),
    })
}
