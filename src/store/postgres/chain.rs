//! The end of this process's audit chain. Both writers append to it: whoever appends holds it from the first record until
//! these are durable.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::claim::Claim;
use super::clock::Clock;
use super::connection::Connection;
use super::errors::Failure;
use super::record::{self, Confirmations, Unfit};
use crate::store::chain::Head;
use crate::store::sql::audit;
use crate::store::sql::orders::Newest;
use crate::store::{Draft, Error};

pub struct Chain {
    pub claim: Claim,
    /// The process's: of all chains that it writes.
    pub clock: Arc<Clock>,
    pub newest: Newest,
    end: Mutex<End>,
}

pub struct End {
    /// None: a commit failed, and nobody knows what the database has. It is read again.
    head: Option<Head>,
}

impl Chain {
    pub const fn new(claim: Claim, clock: Arc<Clock>, newest: Newest) -> Self {
        Self { claim, clock, newest, end: Mutex::new(End { head: None }) }
    }

    pub fn end(&self) -> MutexGuard<'_, End> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads where the chain ends.
    pub fn read(&self, connection: &Connection) -> Result<(), Error> {
        let head = audit::head(connection, self.claim.chain.clone())?;
        self.newest.record.send_replace(head.sequence);
        self.end().head = Some(head);
        Ok(())
    }

    /// Appends records in the transaction that the connection is in, and ends it; or in one of their own. Answers the
    /// number of the first.
    pub fn append(
        &self,
        end: &mut End,
        connection: &Connection,
        records: &[&Draft],
        confirmations: &Confirmations,
    ) -> Result<Result<u64, Unfit>, Error> {
        let before = match end.head.take() {
            Some(head) => head,
            None => audit::head(connection, self.claim.chain.clone())?,
        };
        let mut head = before.clone();
        let first = head.sequence + 1;
        let appended = record::append(connection, &self.claim, &mut head, records, confirmations);
        let done = match appended {
            Ok(Ok(())) if connection.is_in_transaction() => connection.commit().map(Ok),
            other => other,
        };
        match done {
            Ok(Ok(())) => {
                let newest = head.sequence;
                end.head = Some(head);
                self.newest.record.send_if_modified(|record| std::mem::replace(record, newest) != newest);
                Ok(Ok(first))
            }
            Ok(Err(unfit)) => {
                end.head = Some(before);
                Ok(Err(unfit))
            }
            Err(error) => {
                // What the server itself refused was not written. A number that is taken: what was given up came through.
                let is_known = matches!(connection.failure(), Some(Failure::Conflict | Failure::Refused));
                end.head = is_known.then_some(before);
                Err(error)
            }
        }
    }
}
