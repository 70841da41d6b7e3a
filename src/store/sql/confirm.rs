//! What is looked at in the transaction that answers: may this still be answered?

use uuid::Uuid;

use super::values;
use super::{Sql, cells, credentials, versions};
use crate::store::{Error, Target, VersionState};

/// A token that exists and is not revoked.
pub struct Valid {
    /// In microseconds, as the cells have it.
    pub ends_at: i64,
    pub used_at: i64,
}

pub fn token(connection: &dyn Sql, id: Uuid) -> Result<Valid, Error> {
    let sql = "SELECT id, expires_at, last_used_at FROM tokens WHERE id = ?1 AND revoked_at IS NULL";
    let found = cells::first(connection, sql, values![&id], "tokens", |cells| {
        cells.id()?;
        let (ends_at, used_at): (_, Option<i64>) = (cells.plain()?, cells.plain()?);
        Ok(Valid { ends_at, used_at: used_at.unwrap_or(i64::MIN) })
    })?;
    found.ok_or(Error::Revoked)
}

/// The revision of a live, enabled credential, and the version that it serves.
pub fn served(connection: &dyn Sql, id: Uuid) -> Result<Option<(u64, u32)>, Error> {
    let sql = "SELECT id, revision, active_version FROM credentials \
         WHERE id = ?1 AND deleted_at IS NULL AND disabled = 0 AND active_version IS NOT NULL";
    cells::first(connection, sql, values![&id], credentials::TABLE, |cells| {
        cells.id()?;
        Ok((cells.count()?, cells.plain()?))
    })
}

/// Whether a version is still in the state that a test was decided on.
pub fn test(connection: &dyn Sql, target: Target, version: u32, from: VersionState) -> Result<(), Error> {
    let current = credentials::by_id(connection, target.credential)?;
    let is_same = current.as_ref().is_some_and(|now| now.revision == target.revision && now.deleted_at.is_none());
    if is_same && versions::one(connection, target.credential, version)?.is_some_and(|it| it.state == from) {
        return Ok(());
    }
    Err(Error::Stale { current: current.map(Box::new) })
}

/// It is not what is served any more: this is.
pub fn stale(connection: &dyn Sql, credential: Uuid) -> Result<Error, Error> {
    let current = credentials::by_id(connection, credential)?;
    Ok(Error::Stale { current: current.map(Box::new) })
}
