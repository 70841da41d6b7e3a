//! The table `resealed_blobs`. Of each version, the blob that is live there is the one that is read, or else the one that
//! came with it.

use rusqlite::{Connection, OptionalExtension as _};
use uuid::Uuid;

use super::super::{Error, Resealed, SealedAs};
use super::cells::{self, signed};
use super::versions::JOINED;
use crate::store::Word as _;

const DROP: &str = "UPDATE resealed_blobs SET state = 'gone', sealed_blob = zeroblob(length(sealed_blob))";

pub fn sealed_as(connection: &Connection, after: Option<(Uuid, u32)>, limit: u32) -> Result<Vec<SealedAs>, Error> {
    let sql = format!(
        "SELECT v.credential_id, v.version, c.org, c.provider, coalesce(r.seal, v.seal) AS seal, \
         substr(coalesce(r.sealed_blob, v.sealed_blob), 1, 2) AS sealed_blob \
         FROM {JOINED} JOIN credentials c ON c.id = v.credential_id \
         WHERE (v.credential_id, v.version) > (?1, ?2) AND s.state IS DISTINCT FROM 'destroyed' \
         ORDER BY v.credential_id, v.version LIMIT ?3"
    );
    let (credential, version) = after.unwrap_or_default();
    let after = (credential.as_bytes(), version, limit);
    cells::all(connection, &sql, after, "org_integration_credentials", |cells| {
        let (credential, version) = (cells.id()?, cells.plain()?);
        let (org, provider) = (cells.plain()?, cells.plain()?);
        Ok(SealedAs { credential, version, org, provider, seal: cells.word()?, head: cells.plain()? })
    })
}

/// What was added for a version and is not read yet; none of what was destroyed.
pub fn next(connection: &Connection, credential: Uuid, version: u32) -> Result<Option<Vec<u8>>, Error> {
    if is_destroyed(connection, credential, version)? {
        return Ok(None);
    }
    let sql = "SELECT credential_id, sealed_blob FROM resealed_blobs \
         WHERE credential_id = ?1 AND version = ?2 AND state = 'next'";
    cells::first(connection, sql, (credential.as_bytes(), version), "resealed_blobs", |cells| {
        cells.id()?;
        cells.plain()
    })
}

/// Beside what is read. What was destroyed meanwhile gets none.
pub fn add(connection: &Connection, resealed: &[Resealed]) -> Result<(), Error> {
    for new in resealed {
        if is_destroyed(connection, new.credential, new.version)? {
            continue;
        }
        let of = (new.credential.as_bytes(), new.version);
        let sql = format!("{DROP} WHERE credential_id = ?1 AND version = ?2 AND state = 'next'");
        connection.prepare_cached(&sql)?.execute(of)?;
        put(connection, new)?;
    }
    Ok(())
}

/// In the place of one of this version's that has gone and was as long, where there is one.
fn put(connection: &Connection, Resealed { credential, version, seal, blob }: &Resealed) -> Result<(), Error> {
    let free = "SELECT id FROM resealed_blobs WHERE credential_id = ?1 AND version = ?2 AND state = 'gone' \
         AND seal = ?3 AND length(sealed_blob) = ?4 LIMIT 1";
    let mut free = connection.prepare_cached(free)?;
    let fits = (credential.as_bytes(), version, seal.word(), signed(blob.len() as u64));
    let free: Option<i64> = free.query_row(fits, |row| row.get(0)).optional()?;
    match free {
        Some(id) => {
            let sql = "UPDATE resealed_blobs SET state = 'next', sealed_blob = ?2 WHERE id = ?1";
            connection.prepare_cached(sql)?.execute((id, blob))?;
        }
        None => {
            let sql = "INSERT INTO resealed_blobs (state, credential_id, version, seal, sealed_blob) \
                 VALUES ('next', ?1, ?2, ?3, ?4)";
            connection.prepare_cached(sql)?.execute((credential.as_bytes(), version, seal.word(), blob))?;
        }
    }
    Ok(())
}

/// From now on these are read, and what was read before is overwritten with zeros where it stands. Only what is there as it
/// was proven: what was destroyed meanwhile stays so.
pub fn settle(connection: &Connection, resealed: &[Resealed]) -> Result<(), Error> {
    for Resealed { credential, version, blob, .. } in resealed {
        if next(connection, *credential, *version)?.as_ref() != Some(blob) {
            continue;
        }
        let of = (credential.as_bytes(), version);
        let sql = format!("{DROP} WHERE credential_id = ?1 AND version = ?2 AND state = 'live'");
        if connection.prepare_cached(&sql)?.execute(of)? == 0 {
            let sql = "UPDATE org_integration_credentials SET sealed_blob = zeroblob(length(sealed_blob)) \
                 WHERE credential_id = ?1 AND version = ?2";
            connection.prepare_cached(sql)?.execute(of)?;
        }
        let sql =
            "UPDATE resealed_blobs SET state = 'live' WHERE credential_id = ?1 AND version = ?2 AND state = 'next'";
        connection.prepare_cached(sql)?.execute(of)?;
    }
    Ok(())
}

/// What was added and never came to be read.
pub fn drop_next(connection: &Connection) -> Result<(), Error> {
    connection.prepare_cached(&format!("{DROP} WHERE state = 'next'"))?.execute([])?;
    Ok(())
}

/// Overwrites all there is of a credential with zeros, where it stands.
pub fn destroy(connection: &Connection, credential: Uuid) -> Result<(), Error> {
    let sql = "UPDATE resealed_blobs SET sealed_blob = zeroblob(length(sealed_blob)) WHERE credential_id = ?1";
    connection.prepare_cached(sql)?.execute([credential.as_bytes()])?;
    Ok(())
}

fn is_destroyed(connection: &Connection, credential: Uuid, version: u32) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM org_integration_credential_states \
         WHERE credential_id = ?1 AND version = ?2 AND state = 'destroyed'";
    Ok(connection.prepare_cached(sql)?.exists((credential.as_bytes(), version))?)
}
