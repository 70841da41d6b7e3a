//! What a writing thread works with: a connection of its own, opened again when it broke.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use tokio::runtime::Handle;
use uuid::Uuid;

use super::chain::Chain;
use super::connection::Connection;
use super::news::{LISTEN, NOTIFY};
use super::server::Server;
use crate::store::Error;
use crate::store::sql::orders::Trouble;
use crate::store::sql::uses::{COARSE, Uses};

/// More tokens than this are not remembered; then each is told of once more.
const TOKENS: usize = 65_536;

pub struct Desk {
    pub chain: Arc<Chain>,
    server: Arc<Server>,
    /// Where connections live: not a thread that waits for them here.
    runtime: Handle,
    connection: Option<Connection>,
    /// The server knows how those who listen are told.
    tells: bool,
    refused: Option<(Instant, Error)>,
    trouble: Trouble,
    pub uses: Uses,
    used: HashMap<Uuid, i64>,
}

impl Desk {
    pub fn new(chain: Arc<Chain>, server: Arc<Server>, runtime: Handle, trouble: Trouble) -> Self {
        Self {
            chain,
            server,
            runtime,
            connection: None,
            tells: false,
            refused: None,
            trouble,
            uses: Uses::default(),
            used: HashMap::new(),
        }
    }

    /// One that works, as far as is known.
    pub fn connect(&mut self) -> Result<(), Error> {
        if self.connection.as_ref().is_some_and(|connection| !connection.is_broken()) {
            return Ok(());
        }
        if let Some((at, error)) = &self.refused
            && at.elapsed() < self.server.patience().pause
        {
            return Err(error.clone());
        }
        self.connection = None;
        match self.runtime.block_on(self.server.connect()).and_then(listening) {
            Ok((connection, tells)) => {
                self.tells = tells;
                self.connection = Some(connection);
                self.refused = None;
                Ok(())
            }
            Err(error) => {
                self.refused = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    pub fn connection(&self) -> Result<&Connection, Error> {
        self.connection.as_ref().ok_or_else(|| Error::Unavailable("there is no connection to the database".into()))
    }

    pub fn set_trouble(&self, cause: Option<&Error>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = cause.cloned();
    }

    /// Notes that tokens were used, at these times.
    pub fn note_uses(&mut self, tokens: impl IntoIterator<Item = (Uuid, i64)>) {
        for (token, at) in tokens {
            if self.used.len() >= TOKENS {
                self.used.clear();
            }
            let known = self.used.entry(token).or_insert(i64::MIN);
            if at.saturating_sub(*known) >= COARSE {
                *known = at;
                self.uses.note(token, at);
            }
        }
    }

    /// Tells the other replicas that something has changed. After the commit, and for a moment only: the server has one
    /// queue for all its databases, and whoever is told too late asks.
    pub fn tell(&self) {
        if let Some(connection) = self.connection.as_ref().filter(|_| self.tells) {
            _ = connection.batch(NOTIFY);
        }
    }

    /// A failure loses them: they are not worth another try.
    pub fn write_uses(&mut self) {
        let Some(connection) = self.connection.as_ref().filter(|_| !self.uses.is_empty()) else { return };
        let claim = &self.chain.claim;
        if self.uses.write(connection, Some((&claim.chain, &claim.holder))).is_err() {
            self.uses.clear();
        }
    }
}

/// Whether the server knows how those who listen are told. Where it does not, they ask.
fn listening(connection: Connection) -> Result<(Connection, bool), Error> {
    match connection.batch(LISTEN) {
        Err(error) if connection.is_broken() => Err(error),
        outcome => Ok((connection, outcome.is_ok())),
    }
}
