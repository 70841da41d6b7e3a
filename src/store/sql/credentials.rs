//! The table `credentials`.

use jiff::Timestamp;
use uuid::Uuid;

use super::super::{Credential, Error, Path};
use super::cells::{self, Cells, json};
use super::values;
use super::{Sql, Value};
use crate::store::Word as _;

pub const TABLE: &str = "credentials";

/// In the order in which [`read`] takes them.
pub const COLUMNS: &str = "id, org, project, provider, name, state, disabled, failing_since, active_version, \
     latest_version, fingerprint, public_identity, metadata, labels, revision, created_at, updated_at, expires_at, \
     deleted_at, destroy_at, declared_expires_at, secret_created_at, warnings, last_test, next_test_at, told_health";

pub fn live(connection: &dyn Sql, path: &Path) -> Result<Option<Credential>, Error> {
    let filter = "org = ?1 AND project = ?2 AND provider = ?3 AND name = ?4 AND deleted_at IS NULL";
    one(connection, filter, values![&path.org, &path.project, &path.provider, &path.name])
}

/// The newest tombstone that has its ciphertext.
pub fn deleted(connection: &dyn Sql, path: &Path) -> Result<Option<Credential>, Error> {
    let filter = "org = ?1 AND project = ?2 AND provider = ?3 AND name = ?4 AND deleted_at IS NOT NULL \
                  AND destroy_at IS NOT NULL ORDER BY deleted_at DESC, id DESC LIMIT 1";
    one(connection, filter, values![&path.org, &path.project, &path.provider, &path.name])
}

pub fn by_id(connection: &dyn Sql, id: Uuid) -> Result<Option<Credential>, Error> {
    one(connection, "id = ?1", values![&id])
}

pub fn due(connection: &dyn Sql, now: Timestamp, limit: u32) -> Result<Vec<Credential>, Error> {
    let filter = "destroy_at <= ?1 AND NOT EXISTS (SELECT 1 FROM org_destructions d WHERE d.org = credentials.org \
                  AND d.destroy_at = credentials.destroy_at AND d.ended_at IS NULL) \
                  ORDER BY destroy_at, id LIMIT ?2";
    many(connection, filter, values![now, limit])
}

pub fn to_tell(connection: &dyn Sql, now: Timestamp, limit: u32) -> Result<Vec<Credential>, Error> {
    many(connection, "tell_at <= ?1 ORDER BY tell_at, id LIMIT ?2", values![now, limit])
}

pub fn insert(connection: &dyn Sql, row: &Credential, tell_at: Option<Timestamp>) -> Result<(), Error> {
    let mut columns = changing(row, tell_at)?;
    columns.extend([
        ("id", (&row.id).into()),
        ("org", (&row.path.org).into()),
        ("project", (&row.path.project).into()),
        ("provider", (&row.path.provider).into()),
        ("name", (&row.path.name).into()),
        ("created_at", row.created_at.into()),
    ]);
    connection.insert(TABLE, &columns)
}

/// Writes back what may change in a credential's life.
pub fn save(connection: &dyn Sql, row: &Credential, tell_at: Option<Timestamp>) -> Result<(), Error> {
    connection.update(TABLE, (&row.id).into(), &changing(row, tell_at)?)
}

fn changing(row: &Credential, tell_at: Option<Timestamp>) -> Result<Vec<(&'static str, Value<'_>)>, Error> {
    Ok(vec![
        ("state", row.state.word().into()),
        ("disabled", row.disabled.into()),
        ("failing_since", row.failing_since.into()),
        ("active_version", row.active_version.into()),
        ("latest_version", row.latest_version.into()),
        ("fingerprint", (&row.fingerprint).into()),
        ("public_identity", json(&row.public_identity)?.into()),
        ("metadata", json(&row.metadata)?.into()),
        ("labels", json(&row.labels)?.into()),
        ("revision", row.revision.into()),
        ("updated_at", row.updated_at.into()),
        ("expires_at", row.expires_at.into()),
        ("deleted_at", row.deleted_at.into()),
        ("destroy_at", row.destroy_at.into()),
        ("declared_expires_at", row.declared_expires_at.into()),
        ("secret_created_at", row.secret_created_at.into()),
        ("warnings", json(&row.warnings)?.into()),
        ("last_test", row.last_test.as_ref().map(json).transpose()?.into()),
        ("next_test_at", row.next_test_at.into()),
        ("told_health", row.told_health.word().into()),
        ("tell_at", tell_at.into()),
    ])
}

/// The rows that a filter, with its order and limit, selects.
pub fn many(connection: &dyn Sql, filter: &str, values: &[Value<'_>]) -> Result<Vec<Credential>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM credentials WHERE {filter}");
    cells::all(connection, &sql, values, TABLE, read)
}

/// Reads [`COLUMNS`].
pub fn read(cells: &mut Cells<'_>) -> Result<Credential, Error> {
    Ok(Credential {
        id: cells.id()?,
        path: Path { org: cells.plain()?, project: cells.plain()?, provider: cells.plain()?, name: cells.plain()? },
        state: cells.word()?,
        disabled: cells.flag()?,
        failing_since: cells.optional_time()?,
        active_version: cells.plain()?,
        latest_version: cells.plain()?,
        fingerprint: cells.plain()?,
        public_identity: cells.json()?,
        metadata: cells.json()?,
        labels: cells.json()?,
        revision: cells.count()?,
        created_at: cells.time()?,
        updated_at: cells.time()?,
        expires_at: cells.optional_time()?,
        deleted_at: cells.optional_time()?,
        destroy_at: cells.optional_time()?,
        declared_expires_at: cells.optional_time()?,
        secret_created_at: cells.time()?,
        warnings: cells.json()?,
        last_test: cells.optional_json()?,
        next_test_at: cells.optional_time()?,
        told_health: cells.word()?,
    })
}

fn one(connection: &dyn Sql, filter: &str, values: &[Value<'_>]) -> Result<Option<Credential>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM credentials WHERE {filter}");
    cells::first(connection, &sql, values, TABLE, read)
}
