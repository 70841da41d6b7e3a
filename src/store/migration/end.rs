//! One end of a migration: a SQLite file or a PostgreSQL database, held so that nobody else works with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::mark::{self, Entry, Mark, State};
use super::{Error, Wrong};
use crate::store::backup::{LEFT_OUT, Piece, Rows, TABLES};
use crate::store::postgres::{self, Isolation, Limits, Server, claim};
use crate::store::sql::backup::{self, Order};
use crate::store::sql::{Sql, audit, cells, meta, values};
use crate::store::sqlite::files::{self, Claim};
use crate::store::sqlite::{self, connection};
use crate::store::{self, Look, Postgres, Sqlite, Store};

/// So many pieces wait for whoever takes them.
const AHEAD: usize = 4;

#[derive(Clone)]
pub enum End {
    File(PathBuf),
    Server(Arc<Server>),
}

impl End {
    /// Its folder must be there.
    pub fn file(path: &Path) -> Result<Self, Error> {
        let wrong = |cause| Error::Store { place: format!("sqlite://{}", path.display()), cause };
        files::resolve(path).map(Self::File).map_err(wrong)
    }

    /// Holds what is there; none where there is nothing. A file is opened without being made, and brought up to the schema
    /// of this program.
    pub fn hold(&self) -> Result<Option<Held>, Error> {
        let held = match self {
            Self::File(path) => {
                let nothing = path.metadata().is_ok_and(|file| file.len() == 0);
                match Look::at(path) {
                    Look::InUse => {
                        Err(self.in_the_way("a daemon, or another strongroom, is using it: stop that first"))
                    }
                    Look::Absent => Ok(None),
                    _ if nothing => Ok(None),
                    _ => self.hold_file(path).map(Some),
                }
            }
            Self::Server(server) => {
                let connection = Handle::current().block_on(server.connect()).map_err(|cause| self.failed(cause))?;
                let version = postgres::schema::recognise(&connection).map_err(|cause| self.failed(cause))?;
                match version {
                    0 => Ok(None),
                    postgres::schema::KNOWN => Ok(Some(Line::Server(connection))),
                    _ => Err(self.in_the_way("it has an older schema: start this strongroom's daemon on it once")),
                }
            }
        };
        let Some(line) = held? else { return Ok(None) };
        let held = Held { end: self.clone(), line };
        // Of one that is an end of a migration nobody serves: what claims a chain there was proving it.
        let is_served = held.mark()?.is_none_or(|mark| mark.state == State::Arrived);
        if is_served && self.told(|| held.is_in_use())? {
            let why = "a daemon is using it, or did until a minute ago: stop all that serve from it first";
            return Err(self.in_the_way(why));
        }
        Ok(Some(held))
    }

    /// As [`End::hold`], and makes it where there is nothing.
    pub fn make(&self) -> Result<Held, Error> {
        let line = match self {
            Self::File(path) => {
                for left in ["-wal", "-journal"].map(|suffix| files::beside(path, suffix)) {
                    if !path.exists() && left.metadata().is_ok_and(|left| left.len() > 0) {
                        return Err(self.in_the_way(&format!("{} is there, without its database", left.display())));
                    }
                }
                self.hold_file(path)?
            }
            Self::Server(server) => {
                let connection = Handle::current().block_on(server.connect()).map_err(|cause| self.failed(cause))?;
                let made = postgres::schema::migrate(&connection, jiff::Timestamp::now());
                made.map_err(|cause| self.failed(cause))?;
                Line::Server(connection)
            }
        };
        Ok(Held { end: self.clone(), line })
    }

    fn hold_file(&self, path: &Path) -> Result<Line, Error> {
        let hold = || {
            let claim = Claim::take(path)?;
            let connection = connection::writer(&claim.path)?;
            // Elsewhere the daemon does that in its pauses.
            connection.pragma_update(None, "wal_autocheckpoint", 1000)?;
            Ok(Line::File { connection, _claim: claim })
        };
        self.told(hold)
    }

    /// As whoever proves what was copied sees it. Nobody may hold it.
    pub fn enter(&self) -> Result<Arc<dyn Store>, Error> {
        let entered = match self {
            Self::File(path) => Sqlite::enter(path, Entry::Prove).map(|store| Arc::new(store) as Arc<dyn Store>),
            Self::Server(server) => Handle::current()
                .block_on(Postgres::enter(Arc::clone(server), Entry::Prove))
                .map(|store| Arc::new(store) as Arc<dyn Store>),
        };
        entered.map_err(|cause| match cause {
            store::Error::Moving(why) => self.in_the_way(&why),
            cause => self.failed(cause),
        })
    }

    /// The schema of a file that a start would bring up to date; and the newest.
    pub fn older(&self) -> Option<(u32, u32)> {
        match self {
            Self::File(path) => match Look::at(path) {
                Look::Older { found, known } => Some((found, known)),
                _ => None,
            },
            Self::Server(_) => None,
        }
    }

    pub fn in_the_way(&self, why: &str) -> Error {
        Error::InTheWay { place: self.to_string(), why: why.to_owned() }
    }

    pub fn failed(&self, cause: store::Error) -> Error {
        Error::Store { place: self.to_string(), cause }
    }

    pub fn told<T>(&self, work: impl FnOnce() -> Result<T, store::Error>) -> Result<T, Error> {
        work().map_err(|cause| self.failed(cause))
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "sqlite://{}", path.display()),
            Self::Server(server) => write!(f, "{}", server.url()),
        }
    }
}

enum Line {
    File { connection: rusqlite::Connection, _claim: Claim },
    Server(postgres::Connection),
}

pub struct Held {
    pub end: End,
    line: Line,
}

impl Held {
    pub fn sql(&self) -> &dyn Sql {
        match &self.line {
            Line::File { connection, .. } => connection,
            Line::Server(connection) => connection,
        }
    }

    /// A transaction; all of it or nothing.
    pub(super) fn within<T>(&self, work: impl FnOnce(&dyn Sql) -> Result<T, Wrong>) -> Result<T, Error> {
        self.begin(false)?;
        self.ended(work(self.sql()))
    }

    /// The same in its turn among those who change rows, where several may.
    pub(super) fn in_turn<T>(&self, work: impl FnOnce(&dyn Sql) -> Result<T, Wrong>) -> Result<T, Error> {
        self.begin(true)?;
        self.ended(work(self.sql()))
    }

    fn begin(&self, in_turn: bool) -> Result<(), Error> {
        self.end.told(|| match &self.line {
            Line::File { connection, .. } => Ok(connection.execute_batch("BEGIN IMMEDIATE")?),
            Line::Server(connection) if in_turn => connection.begin_turn(),
            Line::Server(connection) => connection.begin(Isolation::ReadCommitted, Limits::default(), None),
        })
    }

    fn ended<T>(&self, outcome: Result<T, Wrong>) -> Result<T, Error> {
        let outcome = outcome.and_then(|done| {
            match &self.line {
                Line::File { connection, .. } => connection.execute_batch("COMMIT").map_err(store::Error::from)?,
                Line::Server(connection) => connection.commit()?,
            }
            Ok(done)
        });
        outcome.map_err(|wrong| {
            // What is told is why it failed; a connection that cannot even do this is gone with the transaction.
            match &self.line {
                Line::File { connection, .. } => drop(connection.execute_batch("ROLLBACK")),
                Line::Server(connection) => drop(connection.rollback()),
            }
            match wrong {
                Wrong::Store(cause) => self.end.failed(cause),
                Wrong::InTheWay(why) => self.end.in_the_way(&why),
            }
        })
    }

    /// All rows as they are at this moment, in the order of what names them.
    pub fn rows(&self) -> Result<Rows, Error> {
        let chain = self.end.told(|| self.chain())?;
        let (pieces, rows) = mpsc::channel(AHEAD);
        let connection: Box<dyn Sql + Send> = match &self.end {
            End::File(path) => Box::new(self.end.told(|| sqlite::backup::moment(path))?),
            End::Server(server) => {
                let connection = self.end.told(|| Handle::current().block_on(server.connect()))?;
                self.end.told(|| connection.begin(Isolation::Moment, Limits::default(), Some("SELECT 1 FROM meta")))?;
                Box::new(connection)
            }
        };
        let spawned = thread::Builder::new()
            .name("migration-reads".into())
            .spawn(move || backup::send(connection.as_ref(), Order::Named, &chain, &pieces));
        let unspawned = |cause| self.end.failed(store::Error::Unavailable(format!("cannot start a thread: {cause}")));
        spawned.map(|_| rows).map_err(unspawned)
    }

    /// The next of them; none after the last.
    pub fn next(&self, rows: &mut Rows) -> Result<Option<Piece>, Error> {
        let ended = || Err(store::Error::Unavailable("its rows ended early".to_owned()));
        self.end.told(|| rows.blocking_recv().unwrap_or_else(ended))
    }

    /// How many rows there are, in the order of [`TABLES`].
    pub fn counts(&self) -> Result<Vec<u64>, Error> {
        self.end.told(|| TABLES.iter().map(|table| backup::count(self.sql(), table)).collect())
    }

    pub fn mark(&self) -> Result<Option<Mark>, Error> {
        self.end.told(|| mark::read(self.sql()))
    }

    /// What the vault is known by.
    pub fn chain(&self) -> Result<String, store::Error> {
        meta::get(self.sql(), "instance").map(Option::unwrap_or_default)
    }

    fn is_in_use(&self) -> Result<bool, store::Error> {
        match &self.line {
            Line::File { .. } => Ok(false),
            Line::Server(connection) => claim::is_anybody_there(connection),
        }
    }

    /// Whether it holds a row of a vault.
    pub fn is_empty(sql: &dyn Sql) -> Result<bool, store::Error> {
        for table in TABLES {
            if backup::count(sql, table)? > 0 {
                return Ok(false);
            }
        }
        // That one is SQLite's own, and counts what once was there.
        for (table, _) in LEFT_OUT.iter().filter(|(table, _)| *table != "sqlite_sequence") {
            if sql.exists(&format!("SELECT 1 FROM {table} LIMIT 1"), &[])? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Marks a source, so that nobody serves from it; in the turn in which nobody does, and it is marked as was found.
    pub fn freeze(&self, found: Option<&Mark>, mark: &Mark) -> Result<(), Error> {
        self.in_turn(|sql| {
            if mark::read(sql)?.as_ref() != found {
                return Err(Wrong::InTheWay("another `strongroom migrate` works with it".into()));
            }
            if let Line::Server(connection) = &self.line {
                if claim::is_anybody_there(connection)? {
                    return Err(Wrong::InTheWay("a daemon has begun to use it: stop all that serve from it".into()));
                }
                claim::shut_out(connection)?;
            }
            Ok(mark::write(sql, mark)?)
        })
    }

    /// Where positions and sequences go on that rows bring with them. SQLite goes on from what there is.
    pub fn count_on(&self, sql: &dyn Sql, from: &dyn Sql) -> Result<(), store::Error> {
        if let Line::Server(_) = self.line {
            for (table, column) in [("changes", "sequence"), ("audit_log", "position")] {
                let newest = format!("SELECT coalesce(max({column}), 0) FROM {table}");
                let newest: Option<i64> = cells::first(from, &newest, &[], table, |cells| cells.plain())?;
                let newest = newest.unwrap_or_default();
                let set = format!(
                    "SELECT setval(pg_get_serial_sequence('{table}', '{column}'), {}, {})",
                    newest.max(1),
                    newest > 0
                );
                sql.exists(&set, &[])?;
            }
        }
        Ok(())
    }

    /// After long idle: servers and poolers may end a connection that nobody has used for a while.
    pub fn reconnect(&mut self) -> Result<(), Error> {
        if let (Line::Server(connection), End::Server(server)) = (&mut self.line, &self.end) {
            *connection = Handle::current().block_on(server.connect()).map_err(|cause| self.end.failed(cause))?;
        }
        Ok(())
    }

    /// What it knows of the chains in it that no row of [`TABLES`] tells; and its copies of the log go on where they were,
    /// whose cursors a server keeps for each chain.
    pub fn settle(&self, sql: &dyn Sql) -> Result<(), store::Error> {
        let chain = meta::instance(sql)?;
        let (named, of) = match &self.line {
            Line::File { .. } => ("replace(copy, ' of ' || ?1, '')", "copy LIKE '% of ' || ?1"),
            Line::Server(_) => ("copy || ' of ' || ?1", "copy NOT LIKE '% of %'"),
        };
        let cursors = format!(
            "INSERT INTO audit_cursors (copy, reached) SELECT {named}, reached FROM audit_cursors WHERE {of} \
             ON CONFLICT (copy) DO UPDATE SET reached = excluded.reached WHERE audit_cursors.reached < excluded.reached"
        );
        sql.execute(&cursors, values![&chain])?;
        match &self.line {
            Line::File { .. } => audit::note_company(sql),
            Line::Server(_) => claim::offer(sql, &audit::chains(sql, chain)?),
        }
    }

    /// Takes out what was copied into it, and its mark with it.
    pub fn empty(self, mark: &Mark) -> Result<(), Error> {
        debug_assert_eq!(mark.state, State::Arriving);
        if let (Line::File { connection, .. }, End::File(path)) = (&self.line, &self.end) {
            // No log stays behind that would be taken for another database's.
            self.end.told(|| Ok(connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")?))?;
            for file in ["", "-wal", "-shm"].map(|suffix| files::beside(path, suffix)) {
                match std::fs::remove_file(&file) {
                    Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                        return Err(self.end.failed(files::failed("remove", &file, &cause)));
                    }
                    _ => {}
                }
            }
            return Ok(());
        }
        self.within(|sql| {
            if !mark::holds(sql, mark)? {
                return Err(Wrong::InTheWay("another migration has begun in it".into()));
            }
            // Each before those that it points at.
            let copied = TABLES.iter().rev().map(|table| table.name);
            let others = ["wrapping_keys", "approvals", "instances", "leases"];
            for table in ["resealed_blobs"].into_iter().chain(copied).chain(others) {
                sql.execute(&format!("DELETE FROM {table}"), &[])?;
            }
            Ok(())
        })
    }
}
