//! The table `resealed_blobs`. Of each version, the blob that is live there is the one that is read, or else the one that
//! came with it.

use uuid::Uuid;

use super::super::{Error, Resealed, SealedAs};
use super::cells;
use super::values;
use super::versions::JOINED;
use super::{Dialect, Sql};
use crate::store::Word as _;

fn dropping(dialect: Dialect) -> String {
    format!("UPDATE resealed_blobs SET state = 'gone', sealed_blob = {}", dialect.zeros("sealed_blob"))
}

pub fn sealed_as(connection: &dyn Sql, after: Option<(Uuid, u32)>, limit: u32) -> Result<Vec<SealedAs>, Error> {
    let sql = format!(
        "SELECT v.credential_id, v.version, c.org, c.provider, coalesce(r.seal, v.seal) AS seal, \
         substr(coalesce(r.sealed_blob, v.sealed_blob), 1, 2) AS sealed_blob \
         FROM {JOINED} JOIN credentials c ON c.id = v.credential_id \
         WHERE (v.credential_id, v.version) > (?1, ?2) AND s.state IS DISTINCT FROM 'destroyed' \
         ORDER BY v.credential_id, v.version LIMIT ?3"
    );
    let (credential, version) = after.unwrap_or_default();
    let after = values![&credential, version, limit];
    cells::all(connection, &sql, after, "org_integration_credentials", |cells| {
        let (credential, version) = (cells.id()?, cells.plain()?);
        let (org, provider) = (cells.plain()?, cells.plain()?);
        Ok(SealedAs { credential, version, org, provider, seal: cells.word()?, head: cells.plain()? })
    })
}

/// What was added for a version and is not read yet; none of what was destroyed.
pub fn next(connection: &dyn Sql, credential: Uuid, version: u32) -> Result<Option<Vec<u8>>, Error> {
    if is_destroyed(connection, credential, version)? {
        return Ok(None);
    }
    let sql = "SELECT credential_id, sealed_blob FROM resealed_blobs \
         WHERE credential_id = ?1 AND version = ?2 AND state = 'next'";
    cells::first(connection, sql, values![&credential, version], "resealed_blobs", |cells| {
        cells.id()?;
        cells.plain()
    })
}

/// Beside what is read. What was destroyed meanwhile gets none.
pub fn add(connection: &dyn Sql, resealed: &[Resealed]) -> Result<(), Error> {
    let drop = dropping(connection.dialect());
    for new in resealed {
        if is_destroyed(connection, new.credential, new.version)? {
            continue;
        }
        let of = values![&new.credential, new.version];
        let sql = format!("{drop} WHERE credential_id = ?1 AND version = ?2 AND state = 'next'");
        connection.execute(&sql, of)?;
        put(connection, new)?;
    }
    Ok(())
}

/// In the place of one of this version's that has gone and was as long, where there is one.
fn put(connection: &dyn Sql, Resealed { credential, version, seal, blob }: &Resealed) -> Result<(), Error> {
    let free = "SELECT id FROM resealed_blobs WHERE credential_id = ?1 AND version = ?2 AND state = 'gone' \
         AND seal = ?3 AND length(sealed_blob) = ?4 LIMIT 1";
    let fits = values![credential, *version, seal.word(), blob.len() as u64];
    let free = cells::first(connection, free, fits, "resealed_blobs", |cells| cells.plain::<i64>())?;
    match free {
        Some(id) => {
            let sql = "UPDATE resealed_blobs SET state = 'next', sealed_blob = ?2 WHERE id = ?1";
            connection.execute(sql, values![id, blob])?;
        }
        None => {
            let sql = "INSERT INTO resealed_blobs (state, credential_id, version, seal, sealed_blob) \
                 VALUES ('next', ?1, ?2, ?3, ?4)";
            connection.execute(sql, values![credential, *version, seal.word(), blob])?;
        }
    }
    Ok(())
}

/// From now on these are read, and what was read before is overwritten with zeros where it stands. Only what is there as it
/// was proven: what was destroyed meanwhile stays so.
pub fn settle(connection: &dyn Sql, resealed: &[Resealed]) -> Result<(), Error> {
    let dialect = connection.dialect();
    let (drop, zeros) = (dropping(dialect), dialect.zeros("sealed_blob"));
    for Resealed { credential, version, blob, .. } in resealed {
        if next(connection, *credential, *version)?.as_ref() != Some(blob) {
            continue;
        }
        let of = values![credential, *version];
        let sql = format!("{drop} WHERE credential_id = ?1 AND version = ?2 AND state = 'live'");
        if connection.execute(&sql, of)? == 0 {
            let sql = format!(
                "UPDATE org_integration_credentials SET sealed_blob = {zeros} WHERE credential_id = ?1 AND version = ?2"
            );
            connection.execute(&sql, of)?;
        }
        let sql =
            "UPDATE resealed_blobs SET state = 'live' WHERE credential_id = ?1 AND version = ?2 AND state = 'next'";
        connection.execute(sql, of)?;
    }
    Ok(())
}

/// What was added and never came to be read.
pub fn drop_next(connection: &dyn Sql) -> Result<(), Error> {
    let drop = dropping(connection.dialect());
    connection.execute(&format!("{drop} WHERE state = 'next'"), &[])?;
    Ok(())
}

/// Overwrites all there is of a credential with zeros, where it stands.
pub fn destroy(connection: &dyn Sql, credential: Uuid) -> Result<(), Error> {
    let zeros = connection.dialect().zeros("sealed_blob");
    let sql = format!("UPDATE resealed_blobs SET sealed_blob = {zeros} WHERE credential_id = ?1");
    connection.execute(&sql, values![&credential])?;
    Ok(())
}

fn is_destroyed(connection: &dyn Sql, credential: Uuid, version: u32) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM org_integration_credential_states \
         WHERE credential_id = ?1 AND version = ?2 AND state = 'destroyed'";
    connection.exists(sql, values![&credential, version])
}
