//! The table `approvals`.

use jiff::Timestamp;
use uuid::Uuid;

use super::super::{Approval, ApprovalChange, Error, Path};
use super::cells::{self, Cells, json};
use super::values;
use super::{Sql, Value};

const TABLE: &str = "approvals";

/// In the order in which [`read`] takes them.
const COLUMNS: &str = "id, requester, requester_name, known_by, action, org, project, provider, name, digest, \
     requested_at, expires_at, approved_by, approved_at";

pub fn by_id(connection: &dyn Sql, id: Uuid) -> Result<Option<Approval>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM approvals WHERE id = ?1");
    cells::first(connection, &sql, values![&id], TABLE, read)
}

pub fn of_request(connection: &dyn Sql, requester: &str, digest: &[u8; 32]) -> Result<Option<Approval>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM approvals WHERE requester = ?1 AND digest = ?2");
    cells::first(connection, &sql, values![requester, digest], TABLE, read)
}

pub fn all(connection: &dyn Sql, org: Option<&str>) -> Result<Vec<Approval>, Error> {
    let filter = if org.is_some() { "WHERE org = ?1" } else { "" };
    let sql = format!("SELECT {COLUMNS} FROM approvals {filter} ORDER BY requested_at DESC, id DESC");
    cells::all(connection, &sql, org.map(Value::from).as_slice(), TABLE, read)
}

/// Those whose time is over.
pub fn ended(connection: &dyn Sql, now: Timestamp, limit: u32) -> Result<Vec<Approval>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM approvals WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2");
    cells::all(connection, &sql, values![now, limit], TABLE, read)
}

pub fn apply(connection: &dyn Sql, change: &ApprovalChange, at: Timestamp) -> Result<(), Error> {
    match change {
        ApprovalChange::Request(approval) => request(connection, approval, at),
        ApprovalChange::Approve { id, by, until } => approve(connection, *id, by, *until, at),
        ApprovalChange::Reject { id } => reject(connection, *id, at),
        ApprovalChange::Spend { id, requester, digest } => spend(connection, *id, requester, digest, at),
        ApprovalChange::Expire { id } => expire(connection, *id, at),
    }
}

/// One request, one row: another may have been first, and then that one counts.
fn request(connection: &dyn Sql, new: &Approval, at: Timestamp) -> Result<(), Error> {
    let requester = &new.requester;
    let sql = "DELETE FROM approvals WHERE requester = ?1 AND digest = ?2 AND expires_at <= ?3";
    connection.execute(sql, values![requester, &new.digest, at])?;
    if of_request(connection, requester, &new.digest)?.is_some() {
        return Ok(());
    }
    let sql = "SELECT count(*) FROM approvals WHERE requester = ?1 AND expires_at > ?2";
    let live = cells::first(connection, sql, values![requester, at], TABLE, |cells| cells.plain::<u32>())?;
    if live >= Some(Approval::MOST) {
        return Err(Error::Full);
    }
    let Path { org, project, provider, name } = &new.path;
    connection.insert(
        TABLE,
        &[
            ("id", (&new.id).into()),
            ("requester", requester.into()),
            ("requester_name", (&new.requester_name).into()),
            ("known_by", json(&new.known_by)?.into()),
            ("action", (&new.action).into()),
            ("org", org.into()),
            ("project", project.into()),
            ("provider", provider.into()),
            ("name", name.into()),
            ("digest", (&new.digest).into()),
            ("requested_at", new.requested_at.into()),
            ("expires_at", new.expires_at.into()),
        ],
    )
}

fn approve(connection: &dyn Sql, id: Uuid, by: &str, until: Timestamp, at: Timestamp) -> Result<(), Error> {
    let sql = "UPDATE approvals SET approved_by = ?2, approved_at = ?3, expires_at = ?4 \
         WHERE id = ?1 AND approved_by IS NULL AND expires_at > ?3";
    one_row(connection.execute(sql, values![&id, by, at, until])?)
}

/// Whether somebody had agreed already or not.
fn reject(connection: &dyn Sql, id: Uuid, at: Timestamp) -> Result<(), Error> {
    let sql = "DELETE FROM approvals WHERE id = ?1 AND expires_at > ?2";
    one_row(connection.execute(sql, values![&id, at])?)
}

fn spend(connection: &dyn Sql, id: Uuid, requester: &str, digest: &[u8; 32], at: Timestamp) -> Result<(), Error> {
    let sql = "DELETE FROM approvals WHERE id = ?1 AND requester = ?2 AND digest = ?3 \
         AND approved_by IS NOT NULL AND expires_at > ?4";
    one_row(connection.execute(sql, values![&id, requester, digest, at])?)
}

fn expire(connection: &dyn Sql, id: Uuid, at: Timestamp) -> Result<(), Error> {
    let sql = "DELETE FROM approvals WHERE id = ?1 AND expires_at <= ?2";
    one_row(connection.execute(sql, values![&id, at])?)
}

const fn one_row(changed: u64) -> Result<(), Error> {
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
