//! The tables `org_integration_credentials`, which keeps what was sealed, and `org_integration_credential_states`.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, named_params};
use uuid::Uuid;

use super::super::{Error, Holder, NewVersion, ProbeRecord, Sealed, Version, VersionState, Wrap};
use super::cells::{self, Cells, json, micros, stored};
use super::{resealed, wraps};
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

pub fn all(connection: &Connection, credential: Uuid) -> Result<Vec<Version>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM {JOINED} WHERE v.credential_id = ?1 ORDER BY v.version DESC");
    let mut versions = cells::all(connection, &sql, [credential.as_bytes()], TABLE, read)?;
    let mut keys = wraps::of_versions(connection, credential)?;
    for version in &mut versions {
        version.keys = keys.remove(&version.version).unwrap_or_default();
    }
    Ok(versions)
}

/// Without what its key is wrapped under.
pub fn one(connection: &Connection, credential: Uuid, version: u32) -> Result<Option<Version>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM {JOINED} WHERE v.credential_id = ?1 AND v.version = ?2");
    cells::first(connection, &sql, (credential.as_bytes(), version), TABLE, read)
}

/// A version that is not destroyed, with its ciphertext.
pub fn sealed(connection: &Connection, credential: Uuid, version: u32) -> Result<Option<(Version, Sealed)>, Error> {
    let sql = format!(
        "SELECT {COLUMNS}, {BLOB} FROM {JOINED} \
         WHERE v.credential_id = ?1 AND v.version = ?2 AND s.state IS DISTINCT FROM 'destroyed'"
    );
    let found = cells::first(connection, &sql, (credential.as_bytes(), version), TABLE, |cells| {
        Ok((read(cells)?, cells.plain::<Vec<u8>>()?))
    })?;
    let Some((row, blob)) = found else { return Ok(None) };
    let wraps = wraps::of(connection, &Holder::Version { credential, version })?;
    let keys = wraps.iter().map(Wrap::under).collect();
    Ok(Some((Version { keys, ..row }, Sealed { blob, wraps })))
}

/// The number of the version that is active. That of a deleted credential waits for an undelete.
pub fn active(connection: &Connection, credential: Uuid) -> Result<Option<u32>, Error> {
    let sql = "SELECT version FROM org_integration_credential_states WHERE credential_id = ?1 AND state = 'active'";
    Ok(connection.prepare_cached(sql)?.query_row([credential.as_bytes()], |row| row.get(0)).optional()?)
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
pub fn insert(connection: &Connection, credential: Uuid, new: &NewVersion, at: Timestamp) -> Result<(), Error> {
    let sql = "INSERT INTO org_integration_credentials (credential_id, version, fingerprint, digest, public_identity, \
         seal, created_by, created_at, sealed_blob) VALUES (:credential, :version, :fingerprint, :digest, \
         :public_identity, :seal, :created_by, :created_at, :sealed_blob)";
    connection.prepare_cached(sql)?.execute(named_params! {
        ":credential": credential.as_bytes(),
        ":version": new.version,
        ":fingerprint": new.fingerprint,
        ":digest": new.digest,
        ":public_identity": json(&new.public_identity)?,
        ":seal": new.seal.word(),
        ":created_by": new.created_by,
        ":created_at": micros(at),
        ":sealed_blob": new.sealed.blob,
    })?;
    for wrap in &new.sealed.wraps {
        wraps::put(connection, &Holder::Version { credential, version: new.version }, wrap)?;
    }
    let sql = "INSERT INTO org_integration_credential_states (credential_id, version, state, probe, activated_at, \
         probe_at, expires_at, warnings) \
         VALUES (:credential, :version, :state, :probe, :activated_at, :probe_at, :expires_at, :warnings)";
    connection.prepare_cached(sql)?.execute(named_params! {
        ":credential": credential.as_bytes(),
        ":version": new.version,
        ":state": state(new).word(),
        ":probe": new.probe.as_ref().map(json).transpose()?,
        ":activated_at": new.activate.then_some(micros(at)),
        ":probe_at": new.probe_at.map(micros),
        ":expires_at": new.expires_at.map(micros),
        ":warnings": json(&new.warnings)?,
    })?;
    Ok(())
}

pub fn set_state(connection: &Connection, credential: Uuid, version: u32, state: VersionState) -> Result<(), Error> {
    let sql = "UPDATE org_integration_credential_states SET state = ?3 WHERE credential_id = ?1 AND version = ?2";
    connection.prepare_cached(sql)?.execute((credential.as_bytes(), version, state.word()))?;
    Ok(())
}

pub fn set_activated(connection: &Connection, credential: Uuid, version: u32, at: Timestamp) -> Result<(), Error> {
    let sql = "UPDATE org_integration_credential_states SET state = 'active', activated_at = ?3 \
         WHERE credential_id = ?1 AND version = ?2";
    connection.prepare_cached(sql)?.execute((credential.as_bytes(), version, micros(at)))?;
    Ok(())
}

pub fn set_probe(connection: &Connection, credential: Uuid, version: u32, probe: &ProbeRecord) -> Result<(), Error> {
    let sql = "UPDATE org_integration_credential_states SET probe = ?3 WHERE credential_id = ?1 AND version = ?2";
    connection.prepare_cached(sql)?.execute((credential.as_bytes(), version, json(probe)?))?;
    Ok(())
}

/// What a test found well stays known when a later one finds nothing out.
pub fn set_learned(connection: &Connection, credential: Uuid, version: u32, probe: &ProbeRecord) -> Result<(), Error> {
    let sql = "UPDATE org_integration_credential_states SET learned = ?3 WHERE credential_id = ?1 AND version = ?2";
    connection.prepare_cached(sql)?.execute((credential.as_bytes(), version, json(probe)?))?;
    Ok(())
}

pub fn set_next_test(
    connection: &Connection,
    credential: Uuid,
    version: u32,
    at: Option<Timestamp>,
    failures: u32,
) -> Result<(), Error> {
    let sql = "UPDATE org_integration_credential_states SET probe_at = ?3, failures = ?4 \
         WHERE credential_id = ?1 AND version = ?2";
    connection.prepare_cached(sql)?.execute((credential.as_bytes(), version, at.map(micros), failures))?;
    Ok(())
}

/// The earliest next test among the version that is served and the newest, where that is pending.
pub fn next_test(connection: &Connection, credential: Uuid, latest: u32) -> Result<Option<Timestamp>, Error> {
    let sql = "SELECT min(probe_at) FROM org_integration_credential_states WHERE credential_id = ?1 \
         AND (state = 'active' OR (state = 'pending' AND version = ?2))";
    let next = cells::first(connection, sql, (credential.as_bytes(), latest), TABLE, |cells| cells.optional_time())?;
    Ok(next.flatten())
}

/// Overwrites the ciphertext and the wrapped keys of every version with zeros, where they stand.
pub fn destroy(connection: &Connection, credential: Uuid, at: Timestamp) -> Result<(), Error> {
    let sql = "UPDATE org_integration_credentials SET sealed_blob = zeroblob(length(sealed_blob)) \
         WHERE credential_id = ?1";
    connection.prepare_cached(sql)?.execute([credential.as_bytes()])?;
    resealed::destroy(connection, credential)?;
    wraps::drop_versions(connection, credential)?;
    let sql = "UPDATE org_integration_credential_states SET state = 'destroyed', destroyed_at = ?2 \
         WHERE credential_id = ?1";
    connection.prepare_cached(sql)?.execute((credential.as_bytes(), micros(at)))?;
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

    use super::super::connection;
    use super::*;

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
