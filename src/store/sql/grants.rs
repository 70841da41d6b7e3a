//! The table `grants`.

use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::super::{Error, Grant, GrantFilter};
use super::cells::{self, Cells, json, stored};
use super::values;
use super::{Sql, Value, access, orgs};

/// In the order in which [`read`] takes them.
const COLUMNS: &str = "id, org, run, phase, credentials, holder, uses, used, hash, minted_by, minted_with, created_at, \
     expires_at, revoked_at";

/// So long what has ended can still be looked at; the audit log keeps what it did.
const KEPT: SignedDuration = SignedDuration::from_hours(30 * 24);

pub fn grant(connection: &dyn Sql, id: Uuid) -> Result<Option<Grant>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM grants WHERE id = ?1");
    cells::first(connection, &sql, values![&id], "grants", read)
}

/// Newest first, strictly before a grant.
pub fn page(connection: &dyn Sql, filter: &GrantFilter, before: Option<Uuid>, limit: u32) -> Result<Vec<Grant>, Error> {
    let mut conditions = vec!["TRUE"];
    let mut values = Vec::new();
    for (condition, wanted) in [("org = ?", &filter.org), ("run = ?", &filter.run)] {
        if let Some(wanted) = wanted {
            conditions.push(condition);
            values.push(Value::from(wanted));
        }
    }
    if let Some(id) = before {
        conditions.push("id < ?");
        values.push(Value::from(id.as_bytes().to_vec()));
    }
    values.push(Value::from(limit));
    let sql = format!("SELECT {COLUMNS} FROM grants WHERE {} ORDER BY id DESC LIMIT ?", conditions.join(" AND "));
    cells::all(connection, &sql, &values, "grants", read)
}

/// Minting the same grant again, after an answer that got lost, is no error. What has ended long ago goes.
pub fn mint(connection: &dyn Sql, new: &Grant, at: Timestamp) -> Result<(), Error> {
    if let Some(known) = grant(connection, new.id)? {
        let same = Grant {
            created_at: stored(new.created_at),
            expires_at: stored(new.expires_at),
            used: known.used,
            ..new.clone()
        };
        return if known == same { Ok(()) } else { Err(Error::Taken) };
    }
    orgs::refuse(connection, &new.org)?;
    if let Some(token) = new.minted_with {
        access::outlived_by(connection, token, new.expires_at, at)?;
    }
    prune(connection, "grants", "TRUE", at)?;
    connection.insert(
        "grants",
        &[
            ("id", (&new.id).into()),
            ("org", (&new.org).into()),
            ("run", (&new.run).into()),
            ("phase", (&new.phase).into()),
            ("credentials", json(&new.credentials)?.into()),
            ("holder", new.holder.as_ref().into()),
            ("uses", new.uses.into()),
            ("hash", (&new.hash).into()),
            ("minted_by", (&new.minted_by).into()),
            ("minted_with", new.minted_with.as_ref().into()),
            ("created_at", new.created_at.into()),
            ("expires_at", new.expires_at.into()),
        ],
    )
}

/// Deletes some of the rows that have ended long ago.
pub fn prune(connection: &dyn Sql, table: &str, of: &str, at: Timestamp) -> Result<(), Error> {
    let Ok(end) = at.checked_sub(KEPT) else { return Ok(()) };
    let sql =
        format!("DELETE FROM {table} WHERE id IN (SELECT id FROM {table} WHERE expires_at < ?1 AND {of} LIMIT 100)");
    connection.execute(&sql, values![end])?;
    Ok(())
}

/// The first revocation counts. There must be such a grant.
pub fn revoke(connection: &dyn Sql, id: Uuid, at: Timestamp) -> Result<(), Error> {
    let sql = "UPDATE grants SET revoked_at = COALESCE(revoked_at, ?2) WHERE id = ?1";
    match connection.execute(sql, values![&id, at])? {
        0 => Err(Error::Stale { current: None }),
        _ => Ok(()),
    }
}

/// Counts a use, unless there is none left. `at` is when the request came.
pub fn spend(connection: &dyn Sql, id: Uuid, at: Timestamp) -> Result<(), Error> {
    let sql = "UPDATE grants SET used = used + 1 \
         WHERE id = ?1 AND used < uses AND revoked_at IS NULL AND expires_at > ?2";
    match connection.execute(sql, values![&id, at])? {
        0 => Err(Error::Spent),
        _ => Ok(()),
    }
}

fn read(cells: &mut Cells<'_>) -> Result<Grant, Error> {
    Ok(Grant {
        id: cells.id()?,
        org: cells.plain()?,
        run: cells.plain()?,
        phase: cells.plain()?,
        credentials: cells.json()?,
        holder: cells.plain()?,
        uses: cells.plain()?,
        used: cells.plain()?,
        hash: cells.plain()?,
        minted_by: cells.plain()?,
        minted_with: cells.optional_id()?,
        created_at: cells.time()?,
        expires_at: cells.time()?,
        revoked_at: cells.optional_time()?,
    })
}
