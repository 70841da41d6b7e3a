//! The connections that read. There are a few, opened at the start, and each query borrows one.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::super::Error;
use super::connection;

pub struct Readers {
    idle: Idle,
    permits: Arc<Semaphore>,
}

type Idle = Arc<Mutex<Vec<Connection>>>;

impl Readers {
    pub fn open(path: &Path, count: usize) -> Result<Self, Error> {
        let mut idle = Vec::with_capacity(count);
        for _ in 0..count {
            let connection = connection::reader(path)?;
            // The first read opens the write-ahead log.
            connection.query_row("SELECT count(*) FROM meta", [], |_| Ok(()))?;
            idle.push(connection);
        }
        Ok(Self { idle: Arc::new(Mutex::new(idle)), permits: Arc::new(Semaphore::new(count)) })
    }

    /// Runs a query where it may block.
    pub async fn read<T, F>(&self, query: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| closed())?;
        let idle = Arc::clone(&self.idle);
        let work = tokio::task::spawn_blocking(move || {
            let found = Lent::new(idle).query(query);
            drop(permit);
            found
        });
        work.await.map_err(|error| Error::Unavailable(format!("a query did not end: {error}")))?
    }

    /// The same for what takes several queries: all of them see one moment.
    pub async fn moment<T, F>(&self, queries: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    {
        self.read(move |connection| queries(&*connection.unchecked_transaction()?)).await
    }

    /// Closes what is not in use.
    pub fn close(&self) {
        self.permits.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// A borrowed connection. Goes home whatever happens.
struct Lent {
    connection: Option<Connection>,
    home: Idle,
}

impl Lent {
    fn new(home: Idle) -> Self {
        let connection = home.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Self { connection, home }
    }

    fn query<T>(self, query: impl FnOnce(&Connection) -> Result<T, Error>) -> Result<T, Error> {
        self.connection.as_ref().map_or_else(|| Err(closed()), query)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.home.lock().unwrap_or_else(PoisonError::into_inner).extend(self.connection.take());
    }
}

fn closed() -> Error {
    Error::Unavailable("the store is closed".into())
}
