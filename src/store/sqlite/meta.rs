//! The table `meta`: what there is one of.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _};
use uuid::Uuid;

use super::super::Error;

/// Who writes this database's audit chain. Chosen once.
pub fn instance(connection: &Connection) -> Result<String, Error> {
    let sql = "SELECT value FROM meta WHERE key = 'instance'";
    if let Some(instance) = connection.query_row(sql, [], |row| row.get(0)).optional()? {
        return Ok(instance);
    }
    let instance = Uuid::now_v7().to_string();
    connection.execute("INSERT INTO meta (key, value) VALUES ('instance', ?1)", [&instance])?;
    Ok(instance)
}

/// What the rules are known by that were in force last.
pub fn rules(connection: &Connection) -> Result<Option<String>, Error> {
    let sql = "SELECT value FROM meta WHERE key = 'rules'";
    Ok(connection.query_row(sql, [], |row| row.get(0)).optional()?)
}

pub fn keep_rules(connection: &Connection, digests: &str) -> Result<(), Error> {
    let sql = "INSERT INTO meta (key, value) VALUES ('rules', ?1) ON CONFLICT (key) DO UPDATE SET value = ?1";
    connection.execute(sql, [digests])?;
    Ok(())
}

pub fn recovery_proven(connection: &Connection) -> Result<Option<Timestamp>, Error> {
    let sql = "SELECT value FROM meta WHERE key = 'recovery_proven'";
    let text: Option<String> = connection.query_row(sql, [], |row| row.get(0)).optional()?;
    let read = |text: String| text.parse().map_err(|_| Error::Corrupt("when recovery was proven is no time".into()));
    text.map(read).transpose()
}

pub fn prove_recovery(connection: &Connection, at: Timestamp) -> Result<(), Error> {
    let sql = "INSERT INTO meta (key, value) VALUES ('recovery_proven', ?1) ON CONFLICT (key) DO UPDATE SET value = ?1";
    connection.execute(sql, [at.to_string()])?;
    Ok(())
}

/// Writes something new, and nothing that matters. SQLite does not write a page that stays the same.
pub fn count_proof(connection: &Connection) -> Result<(), Error> {
    let sql = "INSERT INTO meta (key, value) VALUES ('proofs', '1') \
         ON CONFLICT (key) DO UPDATE SET value = CAST(CAST(meta.value AS BIGINT) + 1 AS TEXT)";
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}

/// Proves that a read works.
pub fn exists(connection: &Connection) -> Result<(), Error> {
    connection.prepare_cached("SELECT 1 FROM meta WHERE key = 'instance'")?.query_row([], |_| Ok(()))?;
    Ok(())
}
