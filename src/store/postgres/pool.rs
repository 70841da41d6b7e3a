//! The connections that read. There are a few, opened when they are needed, and each query borrows one. A connection that
//! died is replaced; while the server cannot be reached all are told so, and nobody waits longer than for one attempt.

use std::cell::OnceCell;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::super::Error;
use super::super::sql::{Dialect, Each, Sql, Value};
use super::connection::{Connection, Isolation, Limits};
use super::errors::Failure;
use super::server::Server;

/// A moment holds the server's housekeeping up. One whose reader is slower than this is over.
const IDLE: Duration = Duration::from_secs(600);

pub struct Pool {
    shared: Arc<Shared>,
    permits: Arc<Semaphore>,
    count: usize,
}

struct Shared {
    server: Arc<Server>,
    idle: Mutex<Vec<Connection>>,
    /// When a connection could last not be opened, and why.
    refused: Mutex<Option<(Instant, Error)>>,
}

impl Pool {
    /// Opens nothing yet.
    pub fn new(server: Arc<Server>, count: usize) -> Self {
        let shared = Shared { server, idle: Mutex::new(Vec::with_capacity(count)), refused: Mutex::new(None) };
        Self { shared: Arc::new(shared), permits: Arc::new(Semaphore::new(count)), count }
    }

    /// Runs a query where it may block. A statement that finds its connection dead is made once more on another: it must
    /// only read.
    pub async fn read<T, F>(&self, query: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&dyn Sql) -> Result<T, Error> + Send + 'static,
    {
        self.lend(move |lent| query(lent)).await
    }

    /// The same for what takes several queries: all of them see one moment.
    pub async fn moment<T, F>(&self, queries: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&dyn Sql) -> Result<T, Error> + Send + 'static,
    {
        self.lend(move |lent| {
            lent.begin()?;
            let found = queries(lent);
            // There is nothing to commit. A connection that does not end it in order is not lent again.
            let _ = lent.current()?.rollback();
            found
        })
        .await
    }

    async fn lend<T, F>(&self, work: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Lent) -> Result<T, Error> + Send + 'static,
    {
        let patience = self.shared.server.patience().statement;
        let permit = tokio::time::timeout(patience, Arc::clone(&self.permits).acquire_owned()).await;
        let permit = permit.map_err(|_| self.busy(patience))?.map_err(|_| closed())?;
        let (connection, is_fresh) = match self.shared.idle() {
            Some(connection) => (connection, false),
            None => (self.shared.open().await?, true),
        };
        let lent = Lent {
            first: Some(connection),
            second: OnceCell::new(),
            is_fresh,
            home: Arc::clone(&self.shared),
            runtime: Handle::current(),
        };
        let work = tokio::task::spawn_blocking(move || {
            let found = work(&lent);
            drop(lent);
            drop(permit);
            found
        });
        work.await.map_err(|error| Error::Unavailable(format!("a query did not end: {error}")))?
    }

    /// Closes what is not in use.
    pub fn close(&self) {
        self.permits.close();
        self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn busy(&self, patience: Duration) -> Error {
        Error::Unavailable(format!("all {} connections that read the database were busy for {patience:?}", self.count))
    }
}

impl Shared {
    /// One that is open and well, as far as is known.
    fn idle(&self) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| idle.pop()).find(|connection| !connection.is_broken())
    }

    async fn open(&self) -> Result<Connection, Error> {
        if let Some((at, error)) = &*self.refused.lock().unwrap_or_else(PoisonError::into_inner)
            && at.elapsed() < self.server.patience().pause
        {
            return Err(error.clone());
        }
        let opened = self.server.connect().await;
        let refused = opened.as_ref().err().map(|error| (Instant::now(), error.clone()));
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
        opened
    }
}

/// A borrowed connection, and the one that takes its place when it turns out to have died. Goes home whatever happens.
struct Lent {
    first: Option<Connection>,
    second: OnceCell<Connection>,
    is_fresh: bool,
    home: Arc<Shared>,
    runtime: Handle,
}

impl Lent {
    fn current(&self) -> Result<&Connection, Error> {
        self.second.get().or(self.first.as_ref()).ok_or_else(closed)
    }

    fn begin(&self) -> Result<(), Error> {
        let begin = |connection: &Connection| {
            connection.begin(Isolation::Moment, Limits { statement: None, lock: None, idle: Some(IDLE) }, None)
        };
        match begin(self.current()?) {
            Err(error) if self.may_replace() => begin(self.replace().ok_or(error)??),
            outcome => outcome,
        }
    }

    /// It died before this statement, or by it; and it was well when it was lent last.
    fn may_replace(&self) -> bool {
        let was_idle = !self.is_fresh && self.second.get().is_none();
        was_idle && self.first.as_ref().is_some_and(|first| first.failure() == Some(Failure::Lost))
    }

    /// None where there is another already.
    fn replace(&self) -> Option<Result<&Connection, Error>> {
        let opened = match self.runtime.block_on(self.home.open()) {
            Ok(opened) => opened,
            Err(error) => return Some(Err(error)),
        };
        self.second.set(opened).ok()?;
        self.second.get().map(Ok)
    }
}

impl Sql for Lent {
    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    fn query(&self, sql: &str, values: &[Value<'_>], each: &mut Each<'_>) -> Result<(), Error> {
        let connection = self.current()?;
        let is_alone = !connection.is_in_transaction();
        let mut count = 0;
        match connection.rows(sql, values, each, &mut count) {
            Err(error) if is_alone && count == 0 && self.may_replace() => {
                self.replace().ok_or(error)??.query(sql, values, each)
            }
            outcome => outcome,
        }
    }

    fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<u64, Error> {
        self.current()?.execute(sql, values)
    }

    fn insert_numbered(&self, sql: &str, values: &[Value<'_>], column: &str) -> Result<u64, Error> {
        self.current()?.insert_numbered(sql, values, column)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let connection = self.second.take().or(self.first.take());
        let free = connection.filter(Connection::is_free);
        self.home.idle.lock().unwrap_or_else(PoisonError::into_inner).extend(free);
    }
}

fn closed() -> Error {
    Error::Unavailable("the store is closed".into())
}
