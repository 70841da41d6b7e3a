//! An export reads on a connection of its own: what is written meanwhile waits in the write-ahead log.

use std::path::Path;

use tokio::sync::{mpsc, oneshot};

use super::super::Error;
use super::super::backup::Next;
use super::connection;
use crate::store::sql::backup;

/// Sends everything as it is at one moment.
pub fn send(path: &Path, chain: &str, begun: oneshot::Sender<Result<(), Error>>, pieces: &mpsc::Sender<Next>) {
    let begin = || {
        let connection = connection::reader(path)?;
        // The first read is the moment.
        connection.execute_batch("BEGIN; SELECT count(*) FROM meta;")?;
        Ok(connection)
    };
    match begin() {
        Err(error) => _ = begun.send(Err(error)),
        Ok(connection) if begun.send(Ok(())).is_ok() => backup::send(&connection, backup::Order::Any, chain, pieces),
        Ok(_) => {}
    }
}
