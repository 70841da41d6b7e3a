//! The tables `org_integration_credentials`, which keeps what was sealed, and `org_integration_credential_states`.

use jiff::Timestamp;
use uuid::Uuid;

use super::super::{Error, Holder, NewVersion, ProbeRecord, Sealed, Version, VersionState, Wrap};
use super::cells::{self, Cells, json, stored};
use super::values;
use super::{Sql, resealed, wraps};
use crate::store::Word as _;

const TABLE: &str = "org_integration_credentials";

/// In the order in which [`read`] takes them.
const COLUMNS: &str = "v.credential_id, v.version, s.state, v.fingerprint, v.digest, v.public_identity, \
     coalesce(r.seal, v.seal) AS seal, s.probe, v.created_by, v.created_at, s.activated_at, s.destroyed_at, \
     s.expires_at, s.warnings, s.learned, s.probe_at, s.failures";

/// Of each version, what was sealed anew is read where there is something.
pub const JOINED: &str = "org_integration_credentials v LEFT JOIN org_integration_credential_states s \
     ON s.credential_id = v.credential_id AND s.version = v.version LEFT JOIN resealed_blobs r \
     ON r.credential_id = v.credential_id AND r.version = v.version AND r.state = 'live'";

pub const BLOB: &str = "coalesce(r.sealed_blob, v.sealed_blob) AS sealed_blob";

pub fn all(connection: &dyn Sql, credential: Uuid) -> Result<Vec<Version>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM {JOINED} WHERE v.credential_id = ?1 ORDER BY v.version DESC");
    let mut versions = cells::all(connection, &sql, values![&credential], TABLE, read)?;
    let mut keys = wraps::of_versions(connection, credential)?;
    for version in &mut versions {
        version.keys = keys.remove(&version.version).unwrap_or_default();
    }
    Ok(versions)
}

/// Without what its key is wrapped under.
pub fn one(connection: &dyn Sql, credential: Uuid, version: u32) -> Result<Option<Version>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM {JOINED} WHERE v.credential_id = ?1 AND v.version = ?2");
    cells::first(connection, &sql, values![&credential, version], TABLE, read)
}

/// A version that is not destroyed, with its ciphertext.
pub fn sealed(connection: &dyn Sql, credential: Uuid, version: u32) -> Result<Option<(Version, Sealed)>, Error> {
    let sql = format!(
        "SELECT {COLUMNS}, {BLOB} FROM {JOINED} \
         WHERE v.credential_id = ?1 AND v.version = ?2 AND s.state IS DISTINCT FROM 'destroyed'"
    );
    let found = cells::first(connection, &sql, values![&credential, version], TABLE, |cells| {
        Ok((read(cells)?, cells.plain::<Vec<u8>>()?))
    })?;
    let Some((row, blob)) = found else { return Ok(None) };
    let wraps = wraps::of(connection, &Holder::Version { credential, version })?;
    let keys = wraps.iter().map(Wrap::under).collect();
    Ok(Some((Version { keys, ..row }, Sealed { blob, wraps })))
}

/// The number of the version that is active. That of a deleted credential waits for an undelete.
pub fn active(connection: &dyn Sql, credential: Uuid) -> Result<Option<u32>, Error> {
    let sql = "SELECT version FROM org_integration_credential_states WHERE credential_id = ?1 AND state = 'active'";
    cells::first(connection, sql, values![&credential], TABLE, |cells| cells.plain())
}

/// A version as it is read back after [`insert`].
pub fn arrived(credential: Uuid, new: &NewVersion, at: Timestamp) -> Version {
    let mut keys: Vec<_> = new.sealed.wraps.iter().map(Wrap::under).collect();
    keys.sort();
    Version {
        credential,
        version: new.version,
        state: state(new),
        fingerprint: new.fingerprint.clone(),
        digest: new.digest,
        public_identity: new.public_identity.clone(),
        seal: new.seal,
        keys,
        expires_at: new.expires_at.map(stored),
        warnings: new.warnings.clone(),
        probe: new.probe.clone(),
        learned: None,
        probe_at: new.probe_at.map(stored),
        failures: 0,
        created_by: new.created_by.clone(),
        created_at: stored(at),
        activated_at: new.activate.then(|| stored(at)),
        destroyed_at: None,
    }
}

const fn state(new: &NewVersion) -> VersionState {
    if new.activate { VersionState::Active } else { VersionState::Pending }
}

/// Adds a version, active at once or pending.
pub fn insert(connection: &dyn Sql, credential: Uuid, new: &NewVersion, at: Timestamp) -> Result<(), Error> {
    connection.insert(
        TABLE,
        &[
            ("credential_id", (&credential).into()),
            ("version", new.version.into()),
            ("fingerprint", (&new.fingerprint).into()),
            ("digest", (&new.digest).into()),
            ("public_identity", json(&new.public_identity)?.into()),
            ("seal", new.seal.word().into()),
            ("created_by", (&new.created_by).into()),
            ("created_at", at.into()),
            ("sealed_blob", (&new.sealed.blob).into()),
        ],
    )?;
    for wrap in &new.sealed.wraps {
        wraps::put(connection, &Holder::Version { credential, version: new.version }, wrap)?;
    }
    connection.insert(
        "org_integration_credential_states",
        &[
            ("credential_id", (&credential).into()),
            ("version", new.version.into()),
            ("state", state(new).word().into()),
            ("probe", new.probe.as_ref().map(json).transpose()?.into()),
            ("activated_at", new.activate.then_some(at).into()),
            ("probe_at", new.probe_at.into()),
            ("expires_at", new.expires_at.into()),
            ("warnings", json(&new.warnings)?.into()),
        ],
    )
}

pub fn set_state(connection: &dyn Sql, credential: Uuid, version: u32, state: VersionState) -> Result<(), Error> {
    let sql = "UPDATE org_integration_credential_states SET state = ?3 WHERE credential_id = ?1 AND version = ?2";
    connection.send(sql, values![&credential, version, state.word()])
}

pub fn set_activated(connection: &dyn Sql, credential: Uuid, version: u32, at: Timestamp) -> Result<(), Error> {
    let sql = "UPDATE org_integration_credential_states SET state = 'active', activated_at = ?3 \
         WHERE credential_id = ?1 AND version = ?2";
    connection.send(sql, values![&credential, version, at])
}

pub fn set_probe(connection: &dyn Sql, credential: Uuid, version: u32, probe: &ProbeRecord) -> Result<(), Error> {
    let sql = "UPDATE org_integration_credential_states SET probe = ?3 WHERE credential_id = ?1 AND version = ?2";
    connection.send(sql, values![&credential, version, json(probe)?])
}

/// What a test found well stays known when a later one finds nothing out.
pub fn set_learned(connection: &dyn Sql, credential: Uuid, version: u32, probe: &ProbeRecord) -> Result<(), Error> {
    let sql = "UPDATE org_integration_credential_states SET learned = ?3 WHERE credential_id = ?1 AND version = ?2";
    connection.send(sql, values![&credential, version, json(probe)?])
}

pub fn set_next_test(
    connection: &dyn Sql,
    credential: Uuid,
    version: u32,
    at: Option<Timestamp>,
    failures: u32,
) -> Result<(), Error> {
    let sql = "UPDATE org_integration_credential_states SET probe_at = ?3, failures = ?4 \
         WHERE credential_id = ?1 AND version = ?2";
    connection.send(sql, values![&credential, version, at, failures])
}

/// The earliest next test among the version that is served and the newest, where that is pending.
pub fn next_test(connection: &dyn Sql, credential: Uuid, latest: u32) -> Result<Option<Timestamp>, Error> {
    let sql = "SELECT min(probe_at) FROM org_integration_credential_states WHERE credential_id = ?1 \
         AND (state = 'active' OR (state = 'pending' AND version = ?2))";
    let next = cells::first(connection, sql, values![&credential, latest], TABLE, |cells| cells.optional_time())?;
    Ok(next.flatten())
}

/// Overwrites the ciphertext and the wrapped keys of every version with zeros, where they stand.
pub fn destroy(connection: &dyn Sql, credential: Uuid, at: Timestamp) -> Result<(), Error> {
    let zeros = connection.dialect().zeros("sealed_blob");
    let sql = format!("UPDATE org_integration_credentials SET sealed_blob = {zeros} WHERE credential_id = ?1");
    connection.execute(&sql, values![&credential])?;
    resealed::destroy(connection, credential)?;
    wraps::drop_versions(connection, credential)?;
    let sql = "UPDATE org_integration_credential_states SET state = 'destroyed', destroyed_at = ?2 \
         WHERE credential_id = ?1";
    connection.execute(sql, values![&credential, at])?;
    Ok(())
}

fn read(cells: &mut Cells<'_>) -> Result<Version, Error> {
    Ok(Version {
        credential: cells.id()?,
        version: cells.plain()?,
        state: cells.word()?,
        fingerprint: cells.plain()?,
        digest: cells.plain()?,
        public_identity: cells.json()?,
        seal: cells.word()?,
        keys: Vec::new(),
        probe: cells.optional_json()?,
        created_by: cells.plain()?,
        created_at: cells.time()?,
        activated_at: cells.optional_time()?,
        destroyed_at: cells.optional_time()?,
        expires_at: cells.optional_time()?,
        warnings: cells.json()?,
        learned: cells.optional_json()?,
        probe_at: cells.optional_time()?,
        failures: cells.plain()?,
    })
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;
    use crate::store::sqlite::connection;

    /// For SQLite, the index of those that are active makes any value worth another plan.
    #[test]
    fn a_join_is_planned_once() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("store.db");
        std::fs::File::create(&path).unwrap();
        let connection = connection::writer(&path).unwrap();
        let sql = format!("SELECT {COLUMNS} FROM {JOINED} WHERE v.credential_id = ?1 AND v.version = ?2");
        let mut statement = connection.prepare(&sql).unwrap();
        for id in 1..4 {
            assert!(!statement.exists((Uuid::from_u128(id).as_bytes(), 1)).unwrap());
        }
        assert_eq!(statement.get_status(StatementStatus::RePrepare), 0);
    }
}
