//! The one thread that writes. It takes what is waiting, makes it one transaction, and answers when that is on disk;
//! the next group gathers meanwhile.
//!
//! ```text
//!   commit() ──► queue ──► [ group ] ──► BEGIN  change + record, change + record, …  COMMIT (one fsync) ──► answers
//! ```
//!
//! A change that is refused leaves its group alone. When the commit itself fails, nobody knows what a crash would bring
//! back: every change of the group is answered [`Error::Unavailable`], and the chain's end is read from the file again
//! before the next group.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, DropBehavior, Transaction, TransactionBehavior};

use super::super::chain::Head;
use super::super::migration::Entry;
use super::super::{Change, Draft, Error, Keep, OrgChange, Receipt};
use super::files::Opened;
use super::serve::Memo;
use super::{checkpoint, connection};
use crate::store::sql::apply::{Applied, apply};
use crate::store::sql::orders::{self, Boxed, Done, Newest, Trouble, refused};
use crate::store::sql::{audit, changes, ledger, meta};

/// A checkpoint is made in the first pause that is this long.
const PAUSE: Duration = Duration::from_millis(25);

pub struct Writer {
    path: std::path::PathBuf,
    opened: Opened,
    connection: Connection,
    head: Head,
    memo: Memo,
    newest: Newest,
    trouble: Trouble,
    checkpoints: checkpoint::Plan,
}

impl Writer {
    pub fn new(path: &std::path::Path, entry: Entry, newest: Newest, trouble: Trouble) -> Result<Self, Error> {
        let connection = connection::writer(path)?;
        entry.admit(&connection)?;
        let head = audit::head(&connection, meta::instance(&connection)?)?;
        newest.change.send_replace(changes::newest(&connection)?);
        newest.record.send_replace(head.sequence);
        let mut checkpoints = checkpoint::Plan::default();
        // What a crash left in the log may be what was destroyed.
        checkpoints.scrub(&connection);
        Ok(Self {
            path: path.to_owned(),
            opened: Opened::now(path)?,
            connection,
            head,
            memo: Memo::default(),
            newest,
            trouble,
            checkpoints,
        })
    }

    pub fn instance(&self) -> &str {
        &self.head.instance
    }

    /// Ends when all senders are gone and everything is done.
    pub fn run(mut self, orders: &Receiver<Boxed>) {
        while let Some(first) = self.next(orders) {
            self.serve(orders::Group::gather(first, orders));
        }
        self.memo.write_uses(&mut self.connection);
        self.checkpoints.close(&self.connection);
    }

    /// Waits for an order, and uses a pause for a checkpoint.
    fn next(&mut self, orders: &Receiver<Boxed>) -> Option<Boxed> {
        while self.checkpoints.pending() {
            match orders.recv_timeout(PAUSE) {
                Ok(order) => return Some(order),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {
                    self.memo.write_uses(&mut self.connection);
                    self.checkpoints.in_a_pause(&self.connection);
                }
            }
        }
        orders.recv().ok()
    }

    fn serve(&mut self, mut group: orders::Group) {
        let (work, keeps) = (std::mem::take(&mut group.work), std::mem::take(&mut group.keeps));
        let outcome = self.commit(work, keeps, group.is_to_prove());
        self.set_trouble(outcome.as_ref().err());
        let is_done = outcome.is_ok();
        group.answer(outcome);
        if is_done {
            self.checkpoints.after_a_group(&self.connection);
        }
    }

    /// One outcome per piece of work and per thing to keep, or the reason why none of it was done.
    fn commit(&mut self, work: Vec<(Change, Arc<Draft>)>, keeps: Vec<Keep>, prove: bool) -> Result<Done, Error> {
        self.opened.still_there()?;
        if self.in_trouble() {
            self.start_anew()?;
        }
        let mut group = Group {
            transaction: self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(broken)?,
            memo: &mut self.memo,
            head: self.head.clone(),
            newest: None,
            destroyed: false,
            unscrubbed: self.checkpoints.unscrubbed(),
        };
        let mut outcomes = Vec::with_capacity(work.len());
        for (change, record) in work {
            outcomes.push(group.add(change, &record)?);
        }
        if group.memo.uses.is_overdue() {
            group.memo.uses.write(&*group.transaction, None).map_err(broken)?;
        }
        let kept = keeps.into_iter().map(|what| group.keep(&what)).collect::<Result<_, _>>()?;
        if prove {
            meta::count_proof(&*group.transaction).map_err(broken)?;
        }
        let Group { transaction, head, newest, destroyed, .. } = group;
        transaction.commit().map_err(broken)?;
        self.opened.still_there()?;
        self.head = head;
        self.checkpoints.committed(destroyed);
        if let Some(newest) = newest {
            self.newest.change.send_replace(newest);
        }
        let record = self.head.sequence;
        self.newest.record.send_if_modified(|newest| std::mem::replace(newest, record) != record);
        Ok((outcomes, kept))
    }

    /// After a failure, neither the connection nor what is remembered is trusted.
    fn start_anew(&mut self) -> Result<(), Error> {
        self.memo.clear();
        let connection = connection::writer(&self.path)?;
        self.head = audit::head(&connection, meta::instance(&connection)?)?;
        self.newest.change.send_replace(changes::newest(&connection)?);
        self.newest.record.send_replace(self.head.sequence);
        self.connection = connection;
        // On a full disk, what the log takes may be what is missing.
        self.checkpoints.scrub(&self.connection);
        Ok(())
    }

    fn in_trouble(&self) -> bool {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn set_trouble(&self, cause: Option<&Error>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = cause.cloned();
    }
}

/// A transaction in the making.
struct Group<'a> {
    transaction: Transaction<'a>,
    memo: &'a mut Memo,
    head: Head,
    newest: Option<u64>,
    destroyed: bool,
    /// The write-ahead log still holds what was destroyed before.
    unscrubbed: bool,
}

impl Group<'_> {
    /// The inner error refuses this piece of work and leaves nothing of it; the outer one spoils the group.
    fn add(&mut self, change: Change, record: &Draft) -> Result<Result<Receipt, Error>, Error> {
        let (connection, at) = (&*self.transaction, record.at);
        if let Change::By { token, change } = change {
            return match refused(self.memo.confirm_token(connection, token, at))? {
                Ok(()) => self.add(*change, record),
                Err(refusal) => Ok(Err(refusal)),
            };
        }
        let confirmed = match &change {
            Change::Record => Ok(()),
            Change::Serve { target, version, token, grant } => {
                self.memo.confirm(connection, (*target, *version), *token, *grant, at)
            }
            Change::Test { target, version, from, token } => {
                self.memo.confirm_test(connection, *target, *version, *from, *token, at)
            }
            _ => return self.change(change, record),
        };
        match refused(confirmed)? {
            Ok(()) => self.recorded(record).map(Ok),
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    fn change(&mut self, change: Change, record: &Draft) -> Result<Result<Receipt, Error>, Error> {
        if self.unscrubbed && matches!(change, Change::Org(OrgChange::End { .. })) {
            return Ok(Err(Error::Stale { current: None }));
        }
        self.memo.forget(&change);
        let also = change.also().to_vec();
        let mut savepoint = self.transaction.savepoint().map_err(broken)?;
        savepoint.set_drop_behavior(DropBehavior::Rollback);
        match refused(apply(&*savepoint, &self.head.instance, change, record.at))? {
            Ok(applied) => {
                savepoint.commit().map_err(broken)?;
                let told = applied.also_told(record);
                let Applied { credential, version, newest_change, destroyed, health } = applied;
                self.newest = newest_change.or(self.newest);
                self.destroyed |= destroyed;
                let sequence = self.record(record)?;
                for further in told.iter().chain(also.iter().map(Arc::as_ref)) {
                    self.record(further)?;
                }
                Ok(Ok(Receipt { sequence, credential, version, health }))
            }
            Err(refusal) => {
                savepoint.finish().map_err(broken)?;
                Ok(Err(refusal))
            }
        }
    }

    fn keep(&mut self, what: &Keep) -> Result<Result<u64, Error>, Error> {
        refused(ledger::keep(&*self.transaction, &self.head.instance, what))
    }

    /// For what writes nothing but its record.
    fn recorded(&mut self, record: &Draft) -> Result<Receipt, Error> {
        Ok(Receipt { sequence: self.record(record)?, credential: None, version: None, health: None })
    }

    fn record(&mut self, record: &Draft) -> Result<u64, Error> {
        audit::append(&*self.transaction, &mut self.head, record)
    }
}

fn broken(error: impl Into<Error>) -> Error {
    match error.into() {
        Error::Corrupt(cause) => Error::Unavailable(cause),
        error => error,
    }
}
