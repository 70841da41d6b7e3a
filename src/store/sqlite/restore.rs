//! A database that is made of an export: beside the place where it is to be, in a directory of its own, and moved there
//! when it is whole. Killed at any moment, there is none, or all of it.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::super::Error;
use super::super::backup::{Cell, Table};
use super::files::{self, Claim, failed};
use super::{Sqlite, connection};
use crate::store::sql::{audit, backup};

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It is moved to where it is to be.
    Keep,
    /// It is looked into, and goes.
    Look,
}

pub struct Restore {
    target: PathBuf,
    making: Making,
    connection: Option<Connection>,
}

impl Restore {
    /// What is there is never written to: where there is a database, or what one has left, none is begun to be kept.
    pub fn begin(target: &Path, purpose: Purpose) -> Result<Self, Error> {
        let target = files::resolve(target)?;
        if purpose == Purpose::Keep {
            free(&target)?;
        }
        let making = Making::begin(&target, purpose)?;
        let connection = connection::maker(&making.database())?;
        connection.execute_batch("BEGIN")?;
        Ok(Self { target, making, connection: Some(connection) })
    }

    /// The inner error is the row's.
    pub fn put(&self, table: &Table, cells: &[Cell]) -> Result<Result<(), String>, Error> {
        let connection =
            self.connection.as_ref().ok_or_else(|| Error::Unavailable("all rows are in it already".to_owned()))?;
        match backup::put(connection, table, cells) {
            Err(Error::Corrupt(cause)) => {
                Ok(Err(format!("a row of {} is there twice, or breaks another rule of the table: {cause}", table.name)))
            }
            other => other.map(Ok),
        }
    }

    /// All rows are in it: opens it as what it will be.
    pub fn open(&mut self) -> Result<Sqlite, Error> {
        if let Some(connection) = self.connection.take() {
            audit::note_company(&connection)?;
            connection.execute_batch("COMMIT")?;
            connection.close().map_err(|(_, error)| error)?;
        }
        Sqlite::open(&self.making.database())
    }

    /// Moves it to its place. Whoever has opened it must have let it go.
    pub fn keep(self) -> Result<(), Error> {
        let (made, target) = (self.making.database(), &self.target);
        let unmoved = |cause: std::io::Error| failed("move the new database to", target, &cause);
        let log = files::beside(&made, "-wal");
        if fs::metadata(log).is_ok_and(|log| log.len() > 0) {
            return Err(Error::Unavailable("the new database is still open".to_owned()));
        }
        File::open(&made).and_then(|file| file.sync_all()).map_err(unmoved)?;
        let _claim = Claim::lock(target)?;
        free(target)?;
        fs::rename(&made, target).map_err(unmoved)?;
        let folder = target.parent().unwrap_or_else(|| Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(unmoved)
    }
}

fn free(target: &Path) -> Result<(), Error> {
    // A log without its database would be read into the next one.
    for there in ["", "-wal", "-journal"].map(|suffix| files::beside(target, suffix)) {
        if fs::symlink_metadata(&there).is_ok() {
            let there = there.display();
            return Err(Error::Unavailable(format!("{there} is there, and nothing is ever restored over a database")));
        }
    }
    Ok(())
}

/// The directory, for one at a time. It goes when this is dropped; what a kill has left goes when the next one begins.
struct Making {
    directory: PathBuf,
    _lock: File,
}

impl Making {
    fn begin(target: &Path, purpose: Purpose) -> Result<Self, Error> {
        let [import, check] = ["-import", "-check"].map(|suffix| files::beside(target, suffix));
        let (directory, other) = if purpose == Purpose::Keep { (import, check) } else { (check, import) };
        sweep(&other);
        let refused = |cause: std::io::Error| failed("write", &directory, &cause);
        DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(refused)?;
        let lock = files::private(&directory.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                Error::Unavailable(format!("another strongroom writes {}", directory.display()))
            }
            TryLockError::Error(cause) => refused(cause),
        })?;
        for left in fs::read_dir(&directory).map_err(refused)? {
            let left = left.map_err(refused)?;
            if left.file_name() != "lock" {
                fs::remove_file(left.path()).map_err(refused)?;
            }
        }
        let making = Self { directory, _lock: lock };
        files::private(&making.database())?;
        Ok(making)
    }

    fn database(&self) -> PathBuf {
        self.directory.join("strongroom.db")
    }
}

/// What a kill has left there; what somebody works on stays.
fn sweep(directory: &Path) {
    let unused = File::open(directory.join("lock")).is_ok_and(|lock| lock.try_lock().is_ok());
    if unused {
        _ = fs::remove_dir_all(directory);
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.directory);
    }
}
