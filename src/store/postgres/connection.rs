//! One connection. Every statement goes unnamed, in one round trip: poolers that give a transaction any connection lose
//! named ones. For threads that may block: on a worker of the runtime it would panic.

use std::cell::{Cell, RefCell};
use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::{join, join_all};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_postgres::types::{FromSql, ToSql, Type};
use tokio_postgres::{Client, Row};

use super::super::Error;
use super::super::sql::{Borrowed, Columns, Dialect, Each, Sql, Value};
use super::errors::{Failure, explain};
use super::placeholders::numbered;
use super::server::Server;

/// So many rows are fetched at most before they are handed on.
const BATCH: usize = 256;

/// So many wait at most to go with the next statement: what they hold lies in memory.
const UNSENT: usize = 16;
const SAVEPOINT: &str = "SAVEPOINT part";
const RELEASE: &str = "RELEASE SAVEPOINT part";

/// Whoever changes rows holds this one.
const TAKE_TURN: &str = "SELECT id FROM turn WHERE id = 1 FOR UPDATE";
/// So long a replica waits for its turn, and so long another may sit on it without a word: then the server takes it away.
const LONGEST_TURN: Duration = Duration::from_secs(5);

pub struct Connection {
    client: Client,
    line: Line,
    server: Arc<Server>,
    runtime: Handle,
    trips: metrics::Counter,
    is_broken: Cell<bool>,
    /// Rows are being handed on.
    is_busy: Cell<bool>,
    transaction: Cell<Transaction>,
    failure: Cell<Option<Failure>>,
    unsent: RefCell<Vec<Statement>>,
}

/// One whose outcome nobody waits for.
struct Statement {
    sql: String,
    values: Vec<Value<'static>>,
}

/// What moves the bytes, and why it ended.
pub(super) struct Line {
    pub task: JoinHandle<()>,
    pub end: Arc<OnceLock<Error>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Transaction {
    None,
    Open,
    /// A statement failed: the server ignores all that follows, and would answer a COMMIT with a rollback that is no error.
    Failed,
}

/// What a transaction sees of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Each statement sees what was committed before it.
    ReadCommitted,
    /// It writes nothing, and all its statements see one moment.
    Moment,
}

/// How long the server itself lets a transaction's statements run and wait for locks, and how long it lets the transaction
/// sit idle. None: as the server is set.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    pub statement: Option<Duration>,
    pub lock: Option<Duration>,
    pub idle: Option<Duration>,
}

impl Limits {
    /// For a transaction that others may have to wait for.
    pub const BRIEF: Self = Self { statement: None, lock: Some(LONGEST_TURN), idle: Some(LONGEST_TURN) };
}

impl Connection {
    pub(super) fn new(client: Client, line: Line, server: Arc<Server>, runtime: Handle) -> Self {
        Self {
            client,
            line,
            server,
            runtime,
            trips: metrics::counter!("strongroom_store_round_trips_total"),
            is_broken: Cell::new(false),
            is_busy: Cell::new(false),
            transaction: Cell::new(Transaction::None),
            failure: Cell::new(None),
            unsent: RefCell::default(),
        }
    }

    /// Nothing more can be asked of it.
    pub fn is_broken(&self) -> bool {
        self.is_broken.get() || self.client.is_closed()
    }

    /// How the last statement failed that did, since the transaction began or the last one was undone.
    pub fn failure(&self) -> Option<Failure> {
        self.failure.get()
    }

    /// Whoever comes next finds nothing of whoever was before, also where that one panicked.
    pub(super) fn is_free(&self) -> bool {
        !self.is_broken() && !self.is_in_transaction() && !self.is_busy.get()
    }

    pub fn is_in_transaction(&self) -> bool {
        self.transaction.get() != Transaction::None
    }

    /// One round trip, whatever the limits, and with the first statement where there is one.
    pub fn begin(&self, isolation: Isolation, limits: Limits, first: Option<&str>) -> Result<(), Error> {
        if self.is_in_transaction() {
            return Err(Error::Unavailable("a transaction within a transaction".into()));
        }
        let mut batch = String::from(match isolation {
            Isolation::ReadCommitted => "BEGIN ISOLATION LEVEL READ COMMITTED",
            Isolation::Moment => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        });
        for (name, limit) in [
            ("statement_timeout", limits.statement),
            ("lock_timeout", limits.lock),
            ("idle_in_transaction_session_timeout", limits.idle),
        ] {
            if let Some(limit) = limit {
                batch.push_str(&format!("; SET LOCAL {name} = {}", limit.as_millis()));
            }
        }
        if let Some(first) = first {
            batch.push_str("; ");
            batch.push_str(first);
        }
        self.failure.set(None);
        self.transaction.set(Transaction::Open);
        self.batch(&batch).inspect_err(|_| self.abandon())
    }

    /// Begins a transaction that changes rows, when it is this one's turn among those of all replicas.
    pub fn begin_turn(&self) -> Result<(), Error> {
        self.begin(Isolation::ReadCommitted, Limits::BRIEF, Some(TAKE_TURN))
    }

    /// Ok: it is durable. An error with [`Failure::Lost`] or [`Failure::Late`]: nobody knows.
    pub fn commit(&self) -> Result<(), Error> {
        match self.transaction.get() {
            Transaction::Open => {}
            Transaction::Failed => {
                self.abandon();
                return Err(Error::Unavailable(
                    "a transaction was to be committed of which a statement had failed".into(),
                ));
            }
            Transaction::None => return Err(Error::Unavailable("there is no transaction to commit".into())),
        }
        // Whatever becomes of what was sent: a COMMIT behind it would not know.
        if !self.unsent.borrow().is_empty() {
            self.trip(async { Ok(()) }).inspect_err(|_| self.abandon())?;
        }
        let outcome = self.batch("COMMIT");
        // A server that refuses it has undone it.
        self.transaction.set(Transaction::None);
        outcome
    }

    /// Does nothing where no transaction is open.
    pub fn rollback(&self) -> Result<(), Error> {
        if !self.is_in_transaction() {
            return Ok(());
        }
        self.unsent.borrow_mut().clear();
        let outcome = self.batch("ROLLBACK");
        self.transaction.set(Transaction::None);
        if outcome.is_err() {
            self.is_broken.set(true);
        }
        outcome
    }

    /// Begins a part of the transaction that can be undone alone. There is one at a time.
    pub fn savepoint(&self) -> Result<(), Error> {
        self.send(SAVEPOINT, &[])
    }

    /// The part stays. What was sent for it has been done: if it fails, it fails here.
    pub fn release(&self) -> Result<(), Error> {
        if self.unsent.borrow().is_empty() { self.send(RELEASE, &[]) } else { self.batch(RELEASE) }
    }

    /// Undoes the part, also when a statement of it has failed; the transaction goes on.
    pub fn undo(&self) -> Result<(), Error> {
        let begun = self.unsent.borrow().iter().rposition(|statement| statement.sql == SAVEPOINT);
        self.unsent.borrow_mut().truncate(begun.unwrap_or(0));
        // Else the server has not heard of it.
        if begun.is_none() {
            self.batch(&format!("ROLLBACK TO {SAVEPOINT}; {RELEASE}"))?;
            if self.is_in_transaction() {
                self.transaction.set(Transaction::Open);
            }
        }
        self.failure.set(None);
        Ok(())
    }

    /// Statements without values and rows, in one round trip.
    pub fn batch(&self, sql: &str) -> Result<(), Error> {
        self.trip(self.client.batch_execute(sql))
    }

    /// As [`Sql::query`], and says how many rows were handed on, also when it failed after them.
    pub(super) fn rows(
        &self,
        sql: &str,
        values: &[Value<'_>],
        each: &mut Each<'_>,
        count: &mut u64,
    ) -> Result<(), Error> {
        let sql = numbered(sql);
        let rows = self.trip(self.client.query_typed_raw(&sql, parameters(values)))?;
        let mut batches = pin!(rows.ready_chunks(BATCH));
        let mut outcome = Ok(ControlFlow::Continue(()));
        // Also when nobody wants more rows: an error that comes after them undoes the transaction all the same.
        while let Some(batch) = self.wait(async { Ok(batches.next().await) })? {
            for row in batch {
                let row = row.map_err(|error| self.failed(&error))?;
                if matches!(outcome, Ok(ControlFlow::Continue(()))) {
                    *count += 1;
                    self.is_busy.set(true);
                    outcome = each(&Found(row));
                    self.is_busy.set(false);
                }
            }
        }
        outcome.map(drop)
    }

    /// The rows of a statement, whose values may be of any type.
    pub(super) fn ask(&self, sql: &str, values: &[(&(dyn ToSql + Sync), Type)]) -> Result<Vec<Row>, Error> {
        self.trip(self.client.query_typed(sql, values))
    }

    /// What the database's network is waited for, once for each statement. What was sent before goes first.
    fn trip<T>(&self, answer: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, Error> {
        self.trips.increment(1);
        let unsent = self.unsent.take();
        if unsent.is_empty() {
            return self.wait(answer);
        }
        self.wait(async {
            // The server gets them in the order in which they are asked for their answers first.
            let (sent, answer) = join(self.all(&unsent), answer).await;
            sent.and(answer)
        })
    }

    /// Carries out statements, one after another; answers how the first failed that did.
    async fn all(&self, statements: &[Statement]) -> Result<(), tokio_postgres::Error> {
        let bound: Vec<_> = statements.iter().map(|statement| parameters(&statement.values)).collect();
        let answers =
            statements.iter().zip(&bound).map(|(statement, bound)| self.client.execute_typed(&statement.sql, bound));
        join_all(answers).await.into_iter().find_map(Result::err).map_or(Ok(()), Err)
    }

    fn wait<T>(&self, answer: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, Error> {
        if self.is_busy.get() {
            // The rows that are handed on would have to be taken first, by whoever waits here.
            self.note(Failure::Refused);
            return Err(Error::Unavailable("a statement while the rows of another are handed on".into()));
        }
        if self.is_broken.get() {
            self.failure.set(Some(Failure::Lost));
            return Err(Error::Unavailable("the connection to the database is broken".into()));
        }
        let patience = self.server.patience().statement;
        match self.runtime.block_on(async { tokio::time::timeout(patience, answer).await }) {
            Ok(answer) => answer.map_err(|error| self.failed(&error)),
            Err(_) => {
                self.note(Failure::Late);
                let (server, token) = (Arc::clone(&self.server), self.client.cancel_token());
                self.runtime.spawn(async move { server.cancel(token).await });
                Err(Error::Unavailable(format!(
                    "the database did not answer within {patience:?}: see what it is busy with, and whether it is reached"
                )))
            }
        }
    }

    fn failed(&self, error: &tokio_postgres::Error) -> Error {
        self.note(Failure::of(error));
        // Why the connection ended says more than that it did.
        match self.line.end.get().filter(|_| error.is_closed()) {
            Some(cause) => cause.clone(),
            None => explain(error),
        }
    }

    fn note(&self, failure: Failure) {
        self.failure.set(Some(failure));
        self.is_broken.set(self.is_broken.get() || matches!(failure, Failure::Lost | Failure::Late));
        if self.is_in_transaction() {
            self.transaction.set(Transaction::Failed);
        }
    }

    /// Rolls back after an error that is told already.
    fn abandon(&self) {
        let failure = self.failure.get();
        let _ = self.rollback();
        self.failure.set(failure);
    }
}

impl Drop for Connection {
    /// One that is well says goodbye; one that is broken might wait for an answer until the network gives up.
    fn drop(&mut self) {
        if self.is_broken.get() {
            self.line.task.abort();
        }
    }
}

impl Sql for Connection {
    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    fn query(&self, sql: &str, values: &[Value<'_>], each: &mut Each<'_>) -> Result<(), Error> {
        self.rows(sql, values, each, &mut 0)
    }

    fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<u64, Error> {
        let sql = numbered(sql);
        self.trip(self.client.execute_typed(&sql, &parameters(values)))
    }

    fn send(&self, sql: &str, values: &[Value<'_>]) -> Result<(), Error> {
        if !self.is_in_transaction() || self.unsent.borrow().len() >= UNSENT {
            return self.execute(sql, values).map(drop);
        }
        let values = values.iter().map(|value| value.clone().into_owned()).collect();
        self.unsent.borrow_mut().push(Statement { sql: numbered(sql).into_owned(), values });
        Ok(())
    }

    fn insert_numbered(&self, sql: &str, values: &[Value<'_>], column: &str) -> Result<u64, Error> {
        let mut number = None;
        self.query(&format!("{sql} RETURNING {column}"), values, &mut |row| {
            if let Some(Borrowed::Integer(found)) = row.get(0) {
                number = number.max(u64::try_from(found).ok());
            }
            Ok(ControlFlow::Continue(()))
        })?;
        number.ok_or_else(|| Error::Corrupt(format!("an inserted row has no number in its column {column}")))
    }
}

// ---- values and rows

fn parameters<'a>(values: &'a [Value<'a>]) -> Vec<(&'a (dyn ToSql + Sync), Type)> {
    let parameter = |value: &'a Value<'a>| -> (&'a (dyn ToSql + Sync), Type) {
        match value {
            // The server finds out by where it stands.
            Value::Null => (&None::<&str>, Type::UNKNOWN),
            Value::Integer(number) => (number, Type::INT8),
            Value::Text(text) => (text, Type::TEXT),
            Value::Bytes(bytes) => (bytes, Type::BYTEA),
        }
    };
    values.iter().map(parameter).collect()
}

struct Found(Row);

impl Found {
    fn cell<'a, T: FromSql<'a>>(&'a self, column: usize, read: impl Fn(T) -> Borrowed<'a>) -> Option<Borrowed<'a>> {
        self.0.try_get(column).ok().map(|cell: Option<T>| cell.map_or(Borrowed::Null, read))
    }
}

impl Columns for Found {
    fn get(&self, column: usize) -> Option<Borrowed<'_>> {
        match *self.0.columns().get(column)?.type_() {
            Type::INT8 => self.cell(column, Borrowed::Integer),
            Type::INT4 => self.cell(column, |number: i32| Borrowed::Integer(number.into())),
            // Of an expression: no column is one.
            Type::BOOL => self.cell(column, |flag: bool| Borrowed::Integer(flag.into())),
            Type::TEXT | Type::VARCHAR | Type::NAME => self.cell(column, Borrowed::Text),
            Type::BYTEA => self.cell(column, Borrowed::Bytes),
            _ => None,
        }
    }

    fn name(&self, column: usize) -> &str {
        self.0.columns().get(column).map_or("", |column| column.name())
    }
}
