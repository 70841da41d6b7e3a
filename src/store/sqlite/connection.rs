//! How connections are opened, and what SQLite's errors mean.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::super::Error;
use super::schema;

/// Another process that looks into the file, such as a backup, may hold a lock for a moment. Callers wait meanwhile.
pub const BUSY: Duration = Duration::from_secs(1);
/// More than there are different statements.
const STATEMENTS: usize = 64;

/// The connection that writes. Looks before it touches: a file that is not ours stays as it was.
pub fn writer(path: &Path) -> Result<Connection, Error> {
    let mut connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    schema::recognise(&connection).map_err(|error| at(path, error))?;
    // FULL: a commit is on disk when it returns. Checkpoints are the writer's own business, between commits.
    connection
        .execute_batch(
            "PRAGMA page_size = 8192;
             PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             PRAGMA secure_delete = ON;
             PRAGMA wal_autocheckpoint = 0;
             PRAGMA journal_size_limit = 67108864;
             PRAGMA cache_size = -8192;",
        )
        .map_err(|error| at(path, error.into()))?;
    schema::migrate(&mut connection).map_err(|error| at(path, error))?;
    Ok(connection)
}

/// The connection that makes a new database of our schema, fast: nothing of it counts before it is whole and on the disk.
pub fn maker(path: &Path) -> Result<Connection, Error> {
    let mut connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection
        .execute_batch(
            "PRAGMA page_size = 8192;
             PRAGMA journal_mode = OFF;
             PRAGMA synchronous = OFF;
             PRAGMA cache_size = -8192;",
        )
        .map_err(|error| at(path, error.into()))?;
    schema::migrate(&mut connection).map_err(|error| at(path, error))?;
    Ok(connection)
}

/// A connection that cannot write. It sees the newest commit, and waits for nobody.
pub fn reader(path: &Path) -> Result<Connection, Error> {
    open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

fn open(path: &Path, mode: OpenFlags) -> Result<Connection, Error> {
    let open = || {
        let connection = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(BUSY)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        // Otherwise a join is planned anew for every value that is bound to it: that costs more than the join.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        connection.execute_batch("PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF;")?;
        Ok(connection)
    };
    open().map_err(|error: rusqlite::Error| at(path, error.into()))
}

/// Says which file it was.
fn at(path: &Path, error: Error) -> Error {
    match error {
        Error::Unavailable(cause) | Error::Corrupt(cause) => Error::Unavailable(format!("{}: {cause}", path.display())),
        error => error,
    }
}

/// Bound values never enter these texts.
impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            // Every rule was looked at before: rows that break one together cannot be what this program wrote.
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::ConstraintViolation) => {
                Self::Corrupt(error.to_string())
            }
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_writes_keeps_to_the_rules() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("strongroom.db");
        std::fs::write(&file, "").unwrap();
        // Made, and found made.
        for _ in 0..2 {
            let writer = writer(&file).unwrap();
            let is_on = |what| writer.pragma_query_value(None, what, |row| row.get::<_, i64>(0)).unwrap();
            assert_eq!((is_on("foreign_keys"), is_on("secure_delete"), is_on("synchronous")), (1, 1, 2));
        }
    }
}
