//! The schema's versions. Each migration is a file, runs once, in one transaction, and counts `user_version` up.

use rusqlite::{Connection, TransactionBehavior};

use super::super::Error;

const MIGRATIONS: [&str; 10] = [
    include_str!("../migrations/0001_credentials.sql"),
    include_str!("../migrations/0002_audit.sql"),
    include_str!("../migrations/0003_access.sql"),
    include_str!("../migrations/0004_health.sql"),
    include_str!("../migrations/0005_access.sql"),
    include_str!("../migrations/0006_second_factors.sql"),
    include_str!("../migrations/0007_checkpoints.sql"),
    include_str!("../migrations/0008_wraps.sql"),
    include_str!("../migrations/0009_orgs.sql"),
    include_str!("../migrations/0010_reseal.sql"),
];

#[allow(clippy::cast_possible_truncation, reason = "a handful")]
pub const KNOWN: u32 = MIGRATIONS.len() as u32;

/// `application_id` of our files, set by the first migration.
pub const OURS: i64 = 0x5374_726d;

/// Refuses a file that is somebody else's or a newer program's.
pub fn recognise(connection: &Connection) -> Result<(), Error> {
    let application: i64 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 && application != OURS {
        return Err(Error::Unavailable("is a database, but not one of strongroom's".into()));
    }
    match version(connection)? {
        found if found > KNOWN => Err(Error::Newer { found, known: KNOWN }),
        _ => Ok(()),
    }
}

pub fn migrate(connection: &mut Connection) -> Result<(), Error> {
    let found = version(connection)?;
    // A table that others point at is written anew; it cannot be switched within a transaction.
    connection.pragma_update(None, "foreign_keys", false)?;
    for (number, migration) in (1..=KNOWN).zip(MIGRATIONS).skip(found as usize) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(migration)?;
        if transaction.prepare("PRAGMA foreign_key_check")?.exists([])? {
            return Err(Error::Corrupt(format!("a row points nowhere after migration {number}")));
        }
        transaction.pragma_update(None, "user_version", number)?;
        transaction.commit()?;
    }
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(())
}

fn version(connection: &Connection) -> Result<u32, Error> {
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    u32::try_from(found).map_err(|_| Error::Unavailable("has an impossible schema version".into()))
}
