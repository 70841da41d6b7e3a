//! The table `meta`: what there is one of.

use jiff::Timestamp;
use uuid::Uuid;

use super::super::Error;
use super::values;
use super::{Sql, cells};

/// What keys of rules begin with that were in force before.
const REPLACED: &str = "replaced ";
/// What `store::migration` keeps.
pub const MIGRATION: &str = "migration";
/// There are records of several chains.
pub const COMPANY: &str = "company";

/// What this database is known by, and its audit chain where one process writes it. Chosen once.
pub fn instance(connection: &dyn Sql) -> Result<String, Error> {
    if let Some(instance) = get(connection, "instance")? {
        return Ok(instance);
    }
    let instance = Uuid::now_v7().to_string();
    set(connection, "instance", &instance)?;
    Ok(instance)
}

/// What the rules are known by that were in force last.
pub fn rules(connection: &dyn Sql) -> Result<Option<String>, Error> {
    get(connection, "rules")
}

/// Those before them stay known as such.
pub fn keep_rules(connection: &dyn Sql, digests: &str, at: Timestamp) -> Result<(), Error> {
    if let Some(before) = rules(connection)?.filter(|before| before != digests) {
        set(connection, &format!("{REPLACED}{before}"), &at.to_string())?;
    }
    connection.execute("DELETE FROM meta WHERE key = ?1", values![format!("{REPLACED}{digests}")])?;
    set(connection, "rules", digests)
}

/// When others were put in force in the place of these, if they were.
pub fn rules_replaced(connection: &dyn Sql, digests: &str) -> Result<Option<String>, Error> {
    get(connection, &format!("{REPLACED}{digests}"))
}

pub fn recovery_proven(connection: &dyn Sql) -> Result<Option<Timestamp>, Error> {
    let read = |text: String| text.parse().map_err(|_| Error::Corrupt("when recovery was proven is no time".into()));
    get(connection, "recovery_proven")?.map(read).transpose()
}

pub fn prove_recovery(connection: &dyn Sql, at: Timestamp) -> Result<(), Error> {
    set(connection, "recovery_proven", &at.to_string())
}

pub fn get(connection: &dyn Sql, key: &str) -> Result<Option<String>, Error> {
    cells::first(connection, "SELECT key, value FROM meta WHERE key = ?1", values![key], "meta", |cells| {
        let _: String = cells.plain()?;
        cells.plain()
    })
}

pub fn set(connection: &dyn Sql, key: &str, value: &str) -> Result<(), Error> {
    let sql = "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
    connection.execute(sql, values![key, value]).map(drop)
}

/// Writes something new, and nothing that matters. SQLite does not write a page that stays the same.
pub fn count_proof(connection: &dyn Sql) -> Result<(), Error> {
    let sql = "INSERT INTO meta (key, value) VALUES ('proofs', '1') \
         ON CONFLICT (key) DO UPDATE SET value = CAST(CAST(meta.value AS BIGINT) + 1 AS TEXT)";
    connection.execute(sql, &[]).map(drop)
}

/// Proves that a read works.
pub fn exists(connection: &dyn Sql) -> Result<(), Error> {
    match get(connection, "instance")? {
        Some(_) => Ok(()),
        None => Err(Error::Corrupt("meta: instance is missing".into())),
    }
}
