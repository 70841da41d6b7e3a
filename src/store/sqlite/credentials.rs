//! The table `credentials`.

use jiff::Timestamp;
use rusqlite::{Connection, Params, named_params};
use uuid::Uuid;

use super::super::{Credential, Error, Path};
use super::cells::{self, Cells, json, micros, signed};
use crate::store::Word as _;

pub const TABLE: &str = "credentials";

/// In the order in which [`read`] takes them.
pub const COLUMNS: &str = "id, org, project, provider, name, state, disabled, failing_since, active_version, \
     latest_version, fingerprint, public_identity, metadata, labels, revision, created_at, updated_at, expires_at, \
     deleted_at, destroy_at, declared_expires_at, secret_created_at, warnings, last_test, next_test_at, told_health";

pub fn live(connection: &Connection, path: &Path) -> Result<Option<Credential>, Error> {
    let filter = "org = ?1 AND project = ?2 AND provider = ?3 AND name = ?4 AND deleted_at IS NULL";
    one(connection, filter, (&path.org, &path.project, &path.provider, &path.name))
}

/// The newest tombstone that has its ciphertext.
pub fn deleted(connection: &Connection, path: &Path) -> Result<Option<Credential>, Error> {
    let filter = "org = ?1 AND project = ?2 AND provider = ?3 AND name = ?4 AND deleted_at IS NOT NULL \
                  AND destroy_at IS NOT NULL ORDER BY deleted_at DESC, id DESC LIMIT 1";
    one(connection, filter, (&path.org, &path.project, &path.provider, &path.name))
}

pub fn by_id(connection: &Connection, id: Uuid) -> Result<Option<Credential>, Error> {
    one(connection, "id = ?1", [id.as_bytes()])
}

pub fn due(connection: &Connection, now: Timestamp, limit: u32) -> Result<Vec<Credential>, Error> {
    let filter = "destroy_at <= ?1 AND NOT EXISTS (SELECT 1 FROM org_destructions d WHERE d.org = credentials.org \
                  AND d.destroy_at = credentials.destroy_at AND d.ended_at IS NULL) \
                  ORDER BY destroy_at, id LIMIT ?2";
    many(connection, filter, (micros(now), limit))
}

pub fn to_tell(connection: &Connection, now: Timestamp, limit: u32) -> Result<Vec<Credential>, Error> {
    many(connection, "tell_at <= ?1 ORDER BY tell_at, id LIMIT ?2", (micros(now), limit))
}

pub fn insert(connection: &Connection, row: &Credential, tell_at: Option<Timestamp>) -> Result<(), Error> {
    let sql = format!(
        "INSERT INTO credentials ({COLUMNS}, tell_at) VALUES (:id, :org, :project, :provider, :name, :state, :disabled, \
         :failing_since, :active_version, :latest_version, :fingerprint, :public_identity, :metadata, :labels, \
         :revision, :created_at, :updated_at, :expires_at, :deleted_at, :destroy_at, \
         :declared_expires_at, :secret_created_at, :warnings, :last_test, :next_test_at, :told_health, :tell_at)"
    );
    connection.prepare_cached(&sql)?.execute(named_params! {
        ":id": row.id.as_bytes(),
        ":org": row.path.org,
        ":project": row.path.project,
        ":provider": row.path.provider,
        ":name": row.path.name,
        ":state": row.state.word(),
        ":disabled": row.disabled,
        ":failing_since": row.failing_since.map(micros),
        ":active_version": row.active_version,
        ":latest_version": row.latest_version,
        ":fingerprint": row.fingerprint,
        ":public_identity": json(&row.public_identity)?,
        ":metadata": json(&row.metadata)?,
        ":labels": json(&row.labels)?,
        ":revision": signed(row.revision),
        ":created_at": micros(row.created_at),
        ":updated_at": micros(row.updated_at),
        ":expires_at": row.expires_at.map(micros),
        ":deleted_at": row.deleted_at.map(micros),
        ":destroy_at": row.destroy_at.map(micros),
        ":declared_expires_at": row.declared_expires_at.map(micros),
        ":secret_created_at": micros(row.secret_created_at),
        ":warnings": json(&row.warnings)?,
        ":last_test": row.last_test.as_ref().map(json).transpose()?,
        ":next_test_at": row.next_test_at.map(micros),
        ":told_health": row.told_health.word(),
        ":tell_at": tell_at.map(micros),
    })?;
    Ok(())
}

/// Writes back what may change in a credential's life.
pub fn save(connection: &Connection, row: &Credential, tell_at: Option<Timestamp>) -> Result<(), Error> {
    let sql = "UPDATE credentials SET state = :state, disabled = :disabled, failing_since = :failing_since, \
         active_version = :active_version, latest_version = :latest_version, fingerprint = :fingerprint, \
         public_identity = :public_identity, metadata = :metadata, labels = :labels, revision = :revision, \
         updated_at = :updated_at, expires_at = :expires_at, deleted_at = :deleted_at, destroy_at = :destroy_at, \
         declared_expires_at = :declared_expires_at, secret_created_at = :secret_created_at, warnings = :warnings, \
         last_test = :last_test, next_test_at = :next_test_at, told_health = :told_health, tell_at = :tell_at \
         WHERE id = :id";
    connection.prepare_cached(sql)?.execute(named_params! {
        ":id": row.id.as_bytes(),
        ":state": row.state.word(),
        ":disabled": row.disabled,
        ":failing_since": row.failing_since.map(micros),
        ":active_version": row.active_version,
        ":latest_version": row.latest_version,
        ":fingerprint": row.fingerprint,
        ":public_identity": json(&row.public_identity)?,
        ":metadata": json(&row.metadata)?,
        ":labels": json(&row.labels)?,
        ":revision": signed(row.revision),
        ":updated_at": micros(row.updated_at),
        ":expires_at": row.expires_at.map(micros),
        ":deleted_at": row.deleted_at.map(micros),
        ":destroy_at": row.destroy_at.map(micros),
        ":declared_expires_at": row.declared_expires_at.map(micros),
        ":secret_created_at": micros(row.secret_created_at),
        ":warnings": json(&row.warnings)?,
        ":last_test": row.last_test.as_ref().map(json).transpose()?,
        ":next_test_at": row.next_test_at.map(micros),
        ":told_health": row.told_health.word(),
        ":tell_at": tell_at.map(micros),
    })?;
    Ok(())
}

/// The rows that a filter, with its order and limit, selects.
pub fn many(connection: &Connection, filter: &str, params: impl Params) -> Result<Vec<Credential>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM credentials WHERE {filter}");
    cells::all(connection, &sql, params, TABLE, read)
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

fn one(connection: &Connection, filter: &str, params: impl Params) -> Result<Option<Credential>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM credentials WHERE {filter}");
    cells::first(connection, &sql, params, TABLE, read)
}
