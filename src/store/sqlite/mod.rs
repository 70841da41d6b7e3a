//! The store that needs nothing prepared: one SQLite file, one thread that writes, a few connections that read.

pub(in crate::store) mod backup;
mod checkpoint;
pub(in crate::store) mod connection;
pub(in crate::store) mod files;
mod readers;
mod restore;
pub(in crate::store) mod schema;
mod serve;
mod sql;
mod writer;

use std::sync::mpsc::{self as orders, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::sync::{Semaphore, mpsc, oneshot, watch};

pub use self::files::Look;
pub use self::restore::{Purpose, Restore};
pub use self::schema::KNOWN as SCHEMA;

use self::files::Claim;
use self::readers::Readers;
use self::writer::Writer;
use super::backup::Rows;
use super::migration::Entry;
use super::sql::orders::{Boxed, Newest, Order, QUEUE, Trouble};
use super::sql::store::Engine;
use super::sql::{Sql, meta};
use super::{Change, Draft, Error, Keep, Receipt};

/// So many pieces of an export wait for whoever reads slowly.
const AHEAD: usize = 2;
/// Queries at the same time.
const READERS: usize = 4;

/// A SQLite database, held by this process alone. Dropping it finishes what is under way and closes the file.
pub struct Sqlite {
    readers: Readers,
    /// Taken when it is dropped: the writer ends when nobody can order any more.
    orders: Option<Sender<Boxed>>,
    places: Arc<Semaphore>,
    newest_change: watch::Receiver<u64>,
    newest_record: watch::Receiver<u64>,
    instance: String,
    trouble: Trouble,
    writer: Option<JoinHandle<()>>,
    claim: Claim,
}

impl Sqlite {
    /// What is there, without touching it.
    pub fn look(path: &std::path::Path) -> Look {
        Look::at(path)
    }

    /// Opens the database, creates it where there is none, and brings its schema up to date. Its folder must exist.
    pub fn open(path: &std::path::Path) -> Result<Self, Error> {
        Self::enter(path, Entry::Work)
    }

    pub(in crate::store) fn enter(path: &std::path::Path, entry: Entry) -> Result<Self, Error> {
        let claim = Claim::take(path)?;
        let (change, newest_change) = watch::channel(0);
        let (record, newest_record) = watch::channel(0);
        let trouble = Arc::new(Mutex::new(None));
        let writer = Writer::new(&claim.path, entry, Newest { change, record }, Arc::clone(&trouble))?;
        let instance = writer.instance().to_owned();
        let readers = Readers::open(&claim.path, READERS)?;
        let (orders, waiting) = orders::channel();
        let thread = thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer.run(&waiting))
            .map_err(|error| Error::Unavailable(format!("cannot start the store's writer: {error}")))?;
        Ok(Self {
            readers,
            orders: Some(orders),
            places: Arc::new(Semaphore::new(QUEUE)),
            newest_change,
            newest_record,
            instance,
            trouble,
            writer: Some(thread),
            claim,
        })
    }

    fn order(&self, order: Order) -> Result<(), Error> {
        self.orders.as_ref().and_then(|orders| orders.send(Box::new(order)).ok()).ok_or_else(stopped)
    }
}

impl Engine for Sqlite {
    fn chain(&self) -> &str {
        &self.instance
    }

    async fn read<T, F>(&self, query: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&dyn Sql) -> Result<T, Error> + Send + 'static,
    {
        self.readers.read(move |connection| query(connection)).await
    }

    async fn moment<T, F>(&self, queries: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&dyn Sql) -> Result<T, Error> + Send + 'static,
    {
        self.readers.moment(move |connection| queries(connection)).await
    }

    async fn commit(&self, change: Change, record: Arc<Draft>) -> Result<Receipt, Error> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| stopped())?;
        let (answer, outcome) = oneshot::channel();
        self.order(Order::Commit { change, record, answer, place })?;
        outcome.await.map_err(|_| stopped())?
    }

    async fn keep(&self, what: Keep) -> Result<u64, Error> {
        let (answer, outcome) = oneshot::channel();
        self.order(Order::Keep { what, answer })?;
        outcome.await.map_err(|_| stopped())?
    }

    fn newest_change(&self) -> watch::Receiver<u64> {
        self.newest_change.clone()
    }

    fn newest_record(&self) -> watch::Receiver<u64> {
        self.newest_record.clone()
    }

    async fn export(&self) -> Result<Rows, Error> {
        let (pieces, rows) = mpsc::channel(AHEAD);
        let (begun, begins) = oneshot::channel();
        let (path, chain) = (self.claim.path.clone(), self.instance.clone());
        tokio::task::spawn_blocking(move || backup::send(&path, &chain, begun, &pieces));
        begins.await.map_err(|_| stopped())??;
        Ok(rows)
    }

    /// After a failed commit, only a commit shows that it works again.
    async fn ready(&self) -> Result<(), Error> {
        self.readers.read(|connection| meta::exists(connection)).await?;
        if self.writer.as_ref().is_none_or(JoinHandle::is_finished) {
            return Err(stopped());
        }
        if self.trouble.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
            return Ok(());
        }
        let (answer, outcome) = oneshot::channel();
        self.order(Order::Prove { answer })?;
        outcome.await.map_err(|_| stopped())?
    }
}

impl Drop for Sqlite {
    /// The writer's connection closes last: that one may tidy the write-ahead log away.
    fn drop(&mut self) {
        self.readers.close();
        drop(self.orders.take());
        if let Some(writer) = self.writer.take() {
            _ = writer.join();
        }
    }
}

fn stopped() -> Error {
    Error::Unavailable("the store's writer has stopped".into())
}
