//! An export reads on a connection of its own: what is written meanwhile waits in the write-ahead log.

use std::path::Path;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::connection;
use crate::store::Error;
use crate::store::backup::Next;
use crate::store::sql::backup;

/// Sends everything as it is at one moment.
pub fn send(path: &Path, chain: &str, begun: oneshot::Sender<Result<(), Error>>, pieces: &mpsc::Sender<Next>) {
    match moment(path) {
        Err(error) => _ = begun.send(Err(error)),
        Ok(connection) if begun.send(Ok(())).is_ok() => backup::send(&connection, backup::Order::Any, chain, pieces),
        Ok(_) => {}
    }
}

/// Sees one moment: that of its first read.
pub fn moment(path: &Path) -> Result<Connection, Error> {
    let connection = connection::reader(path)?;
    connection.execute_batch("BEGIN; SELECT count(*) FROM meta;")?;
    Ok(connection)
}
