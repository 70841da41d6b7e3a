//! The store of many replicas: a PostgreSQL database, or one that speaks its protocol. How it is reached is said by a URL;
//! connections run one statement at a time on a thread that may block.
//!
//! ```text
//!   commit() ─┬─► answers ─► one statement: confirm and append the records                         a connection
//!             └─► changes ─► BEGIN, take the turn, change rows, append their records, COMMIT       another
//!   reads ──────► a few connections more
//! ```
//!
//! Each process appends to an audit chain of its own ([`claim`]). What is answered is confirmed by the statement that records
//! it, so that what another replica has revoked is not answered here, whatever is remembered.

mod answers;
mod chain;
mod changes;
pub(in crate::store) mod claim;
mod clock;
mod connection;
mod desk;
mod errors;
mod io;
mod lease;
mod news;
mod placeholders;
mod pool;
mod record;
pub mod schema;
mod server;
mod settled;
mod silence;
mod tls;
mod url;

use std::collections::HashSet;
use std::sync::mpsc::{self as orders, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use futures_util::FutureExt as _;
use jiff::Timestamp;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::AbortHandle;

pub use self::connection::{Connection, Isolation, Limits};
pub use self::errors::Failure;
pub use self::pool::Pool;
pub use self::server::{Patience, Server};
pub use self::url::Url;

use self::answers::Answers;
use self::chain::Chain;
use self::changes::Changes;
use self::claim::Claim;
use self::clock::Clock;
use self::desk::Desk;
use self::io::Io;
use self::lease::Lease;
use self::settled::Settled;
use self::silence::Silence;
use super::backup::Rows;
use super::migration::Entry;
use super::sql::orders::{Boxed, Newest, Order, QUEUE, Trouble};
use super::sql::store::Engine;
use super::sql::{Sql, backup, meta};
use super::{Change, Draft, Error, Keep, Look, Receipt, Takers};

/// Queries at the same time.
const READERS: usize = 4;
/// So many pieces of an export wait for whoever reads slowly.
const AHEAD: usize = 2;

pub struct Postgres {
    readers: Arc<Pool>,
    answers: Writer,
    changes: Writer,
    places: Arc<Semaphore>,
    newest_change: watch::Receiver<u64>,
    newest_record: watch::Receiver<u64>,
    chain: Arc<Chain>,
    server: Arc<Server>,
    /// What a process has besides its own chain; none of it where a chain was adopted.
    lease: Option<Lease>,
    silence: Silence,
    /// The chains that this process has adopted and not let go yet.
    adopted: Arc<Mutex<HashSet<String>>>,
    settled: Arc<Settled>,
    news: Option<AbortHandle>,
    /// Goes last: the writers end by it.
    io: Io,
}

/// A thread that writes.
struct Writer {
    /// Taken when it is to end.
    orders: Option<Sender<Boxed>>,
    trouble: Trouble,
    thread: Option<JoinHandle<()>>,
}

impl Postgres {
    /// What is there. Changes nothing, and says what would stand in a start's way.
    pub async fn look(server: Arc<Server>) -> Result<Look, Error> {
        let connection = server.connect().await?;
        let look = move || {
            let found = schema::recognise(&connection)?;
            // Whoever goes on to open it looks then.
            if found != schema::KNOWN {
                Clock::default().look(&connection)?;
            }
            Ok::<_, Error>(found)
        };
        let found = tokio::task::spawn_blocking(look).await.map_err(|_| stopped())??;
        Ok(match found {
            0 => Look::Absent,
            schema::KNOWN => Look::Whole,
            found => Look::Older { found, known: schema::KNOWN },
        })
    }

    /// Connects, brings the schema up to date, and takes an audit chain to write.
    pub async fn open(server: Arc<Server>) -> Result<Self, Error> {
        Self::enter(server, Entry::Work).await
    }

    pub(in crate::store) async fn enter(server: Arc<Server>, entry: Entry) -> Result<Self, Error> {
        let take = move |connection: &Connection| {
            schema::migrate(connection, Timestamp::now())?;
            Claim::take(connection, entry).map(Some)
        };
        let mut store = Self::write(server, Arc::default(), READERS, take).await?.ok_or_else(stopped)?;
        let (server, readers) = (Arc::clone(&store.server), Arc::clone(&store.readers));
        let (chain, settled) = (Arc::clone(&store.chain), Arc::clone(&store.settled));
        store.lease = Some(Lease::default());
        store.news = Some(tokio::spawn(news::follow(server, readers, chain, settled).boxed()).abort_handle());
        Ok(store)
    }

    /// Takes a chain, and writes it.
    async fn write(
        server: Arc<Server>,
        clock: Arc<Clock>,
        readers: usize,
        take: impl FnOnce(&Connection) -> Result<Option<Claim>, Error> + Send + 'static,
    ) -> Result<Option<Self>, Error> {
        let io = Io::start()?;
        let (change, newest_change) = watch::channel(0);
        let (record, newest_record) = watch::channel(0);
        let settled = Arc::<Settled>::default();
        let (opened, runtime, watched) = (Arc::clone(&server), io.handle.clone(), Arc::clone(&settled));
        let begin = move || {
            let connection = runtime.block_on(opened.connect())?;
            clock.look(&connection)?;
            let Some(claim) = take(&connection)? else { return Ok(None) };
            change.send_replace(watched.watch(&connection)?);
            let chain = Chain::new(claim, clock, Newest { change, record });
            chain.read(&connection)?;
            Ok::<_, Error>(Some(Arc::new(chain)))
        };
        let begun = tokio::task::spawn_blocking(begin).await.map_err(|_| stopped())??;
        let Some(chain) = begun else { return Ok(None) };
        let desk = |trouble: &Trouble| {
            Desk::new(Arc::clone(&chain), Arc::clone(&server), io.handle.clone(), Arc::clone(trouble))
        };
        let answers = Writer::start("store-answers", |trouble| {
            let answers = Answers::new(desk(trouble));
            move |orders: orders::Receiver<Boxed>| answers.run(&orders)
        })?;
        let changes = Writer::start("store-changes", |trouble| {
            let changes = Changes::new(desk(trouble));
            move |orders: orders::Receiver<Boxed>| changes.run(&orders)
        })?;
        let readers = Arc::new(Pool::new(Arc::clone(&server), readers));
        let places = Arc::new(Semaphore::new(QUEUE));
        Ok(Some(Self {
            readers,
            answers,
            changes,
            places,
            newest_change,
            newest_record,
            chain,
            server,
            lease: None,
            silence: Silence::default(),
            adopted: Arc::default(),
            settled,
            news: None,
            io,
        }))
    }

    fn adopted(&self) -> MutexGuard<'_, HashSet<String>> {
        self.adopted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writer {
    fn start<R>(name: &str, writer: impl FnOnce(&Trouble) -> R) -> Result<Self, Error>
    where
        R: FnOnce(orders::Receiver<Boxed>) + Send + 'static,
    {
        let trouble = Arc::new(Mutex::new(None));
        let (orders, waiting) = orders::channel();
        let run = writer(&trouble);
        let thread = thread::Builder::new()
            .name(name.into())
            .spawn(move || run(waiting))
            .map_err(|error| Error::Unavailable(format!("cannot start the store's writer: {error}")))?;
        Ok(Self { orders: Some(orders), trouble, thread: Some(thread) })
    }

    fn order(&self, order: Order) -> Result<(), Error> {
        self.orders.as_ref().and_then(|orders| orders.send(Box::new(order)).ok()).ok_or_else(stopped)
    }

    fn is_in_trouble(&self) -> bool {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn end(&mut self) {
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

impl Engine for Postgres {
    fn chain(&self) -> &str {
        &self.chain.claim.chain
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn settled(&self) -> impl FnOnce(&dyn Sql) -> Result<u64, Error> + Send + 'static {
        let settled = Arc::clone(&self.settled);
        let floor = settled.floor();
        move |connection| settled.beyond(connection, floor)
    }

    async fn has_company(&self) -> Result<bool, Error> {
        let claim = self.chain.claim.clone();
        self.readers.read(move |connection| claim.has_company(connection)).await
    }

    async fn leads(&self) -> Result<bool, Error> {
        let Some(lease) = &self.lease else { return Ok(false) };
        if let Some(holds) = lease.told() {
            return Ok(holds);
        }
        let (asked, claim) = (Instant::now(), self.chain.claim.clone());
        // Who has lost its chain writes nothing any more, and would only keep it from others.
        let take = move |connection: &dyn Sql| Ok(claim.renew(connection)? && lease::take(connection, claim.holder)?);
        let holds = self.readers.read(take).await?;
        lease.tell(asked, holds);
        Ok(holds)
    }

    async fn adopt(&self, after: &str, before: Option<Timestamp>, takers: &Takers) -> Result<Option<Self>, Error> {
        if after.is_empty() {
            self.silence.begin();
        }
        let mut after = after.to_owned();
        loop {
            let (claim, takers) = (self.chain.claim.clone(), takers.clone());
            let look = move |connection: &dyn Sql| claim.unattended(connection, &after, before, &takers);
            let Some((chain, seen_at)) = self.readers.read(look).await? else { return Ok(None) };
            let is_dead = seen_at.is_none_or(|seen_at| self.silence.lasts(&chain, seen_at));
            // What this process has adopted, it may still be handing on.
            if !is_dead || self.adopted().contains(&chain) {
                after = chain;
                continue;
            }
            let (claim, name) = (self.chain.claim.clone(), chain.clone());
            let (server, clock) = (Arc::clone(&self.server), Arc::clone(&self.chain.clock));
            let take = move |connection: &Connection| claim.adopt(connection, name);
            match Self::write(server, clock, 1, take).await {
                // It stays taken, so that nobody begins to write it; the others are looked after all the same.
                Err(error @ Error::Corrupt(_)) => {
                    tracing::error!(chain, cause = %error, "an audit chain that nobody writes cannot be read");
                    after = chain;
                }
                Ok(Some(mut store)) => {
                    self.adopted().insert(chain);
                    store.adopted = Arc::clone(&self.adopted);
                    return Ok(Some(store));
                }
                outcome => return outcome,
            }
        }
    }

    async fn read<T, F>(&self, query: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&dyn Sql) -> Result<T, Error> + Send + 'static,
    {
        self.readers.read(query).await
    }

    async fn moment<T, F>(&self, queries: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&dyn Sql) -> Result<T, Error> + Send + 'static,
    {
        self.readers.moment(queries).await
    }

    async fn commit(&self, change: Change, record: Arc<Draft>) -> Result<Receipt, Error> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| stopped())?;
        let (answer, outcome) = oneshot::channel();
        let writer = if answers::is_answer(&change) { &self.answers } else { &self.changes };
        writer.order(Order::Commit { change, record, answer, place })?;
        outcome.await.map_err(|_| stopped())?
    }

    async fn keep(&self, what: Keep) -> Result<u64, Error> {
        let (answer, outcome) = oneshot::channel();
        self.changes.order(Order::Keep { what, answer })?;
        outcome.await.map_err(|_| stopped())?
    }

    fn newest_change(&self) -> watch::Receiver<u64> {
        self.newest_change.clone()
    }

    fn newest_record(&self) -> watch::Receiver<u64> {
        self.newest_record.clone()
    }

    /// On a connection of its own, for as long as somebody reads.
    async fn export(&self) -> Result<Rows, Error> {
        let (pieces, rows) = mpsc::channel(AHEAD);
        let connection = self.server.connect().await?;
        let begin = move || connection.begin(Isolation::Moment, Limits::default(), None).map(|()| connection);
        let connection = tokio::task::spawn_blocking(begin).await.map_err(|_| stopped())??;
        let chain = Arc::clone(&self.chain);
        tokio::task::spawn_blocking(move || backup::send(&connection, backup::Order::Any, &chain.claim.chain, &pieces));
        Ok(rows)
    }

    /// After a failed commit, only a commit shows that it works again.
    async fn ready(&self) -> Result<(), Error> {
        let chain = Arc::clone(&self.chain);
        self.readers
            .read(move |connection| chain.clock.look(connection).and_then(|()| meta::exists(connection)))
            .await?;
        for writer in [&self.answers, &self.changes] {
            if writer.is_in_trouble() {
                let (answer, outcome) = oneshot::channel();
                writer.order(Order::Prove { answer })?;
                outcome.await.map_err(|_| stopped())??;
            }
        }
        Ok(())
    }
}

impl Drop for Postgres {
    /// Finishes what is under way, and lets another process have the audit chain.
    fn drop(&mut self) {
        if let Some(news) = &self.news {
            news.abort();
        }
        self.readers.close();
        self.answers.end();
        self.changes.end();
        let (server, chain, runtime) = (Arc::clone(&self.server), Arc::clone(&self.chain), self.io.handle.clone());
        let leads = self.lease.is_some();
        // On a thread of its own: this one may be a worker of a runtime, that must not wait.
        let release = thread::spawn(move || {
            let connection = runtime.block_on(server.connect())?;
            if leads {
                lease::release(&connection, chain.claim.holder)?;
            }
            chain.claim.release(&connection)
        });
        _ = release.join();
        self.adopted().remove(&self.chain.claim.chain);
    }
}

fn stopped() -> Error {
    Error::Unavailable("the store's writer has stopped".into())
}
