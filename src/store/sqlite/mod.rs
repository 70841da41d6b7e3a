//! The store that needs nothing prepared: one SQLite file, one thread that writes, a few connections that read.

mod access;
mod apply;
mod approvals;
mod audit;
mod backup;
mod cells;
mod changes;
mod checkpoint;
mod connection;
mod credentials;
mod factors;
mod files;
mod grants;
mod ledger;
mod list;
mod meta;
mod orgs;
mod readers;
mod resealed;
mod restore;
mod schema;
mod serve;
mod tests;
mod uses;
mod versions;
mod wraps;
mod writer;

use std::sync::mpsc::{self as orders, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use uuid::Uuid;

pub use self::files::Look;
pub use self::restore::{Purpose, Restore};
pub use self::schema::KNOWN as SCHEMA;

use self::files::Claim;
use self::readers::Readers;
use self::writer::{Boxed, Newest, Order, Trouble, Writer};
use super::backup::Rows;
use super::{
    Approval, AuditFilter, AuditKey, AuditPage, Boundary, Chained, Change, ChangeEvent, Checkpoint, Credential, Cursor,
    Destruction, Draft, Error, Factor, FactorState, Filter, Grant, GrantFilter, Health, Held, Holder, Keep, KeyUse,
    KeyVersion, OrgKey, Path, Receipt, Remains, Sealed, SealedAs, Store, Tested, ToTest, Token, Version,
};

/// More than this many commits do not wait in memory; the next ones wait to be let in.
const QUEUE: usize = 4096;
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
        let claim = Claim::take(path)?;
        let (change, newest_change) = watch::channel(0);
        let (record, newest_record) = watch::channel(0);
        let trouble = Arc::new(Mutex::new(None));
        let writer = Writer::new(&claim.path, Newest { change, record }, Arc::clone(&trouble))?;
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

#[async_trait]
impl Store for Sqlite {
    async fn commit(&self, change: Change, record: Arc<Draft>) -> Result<Receipt, Error> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| stopped())?;
        let (answer, outcome) = oneshot::channel();
        self.order(Order::Commit { change, record, answer, place })?;
        outcome.await.map_err(|_| stopped())?
    }

    async fn credential(&self, path: &Path) -> Result<Option<Credential>, Error> {
        let path = path.clone();
        self.readers.read(move |connection| credentials::live(connection, &path)).await
    }

    async fn deleted(&self, path: &Path) -> Result<Option<Credential>, Error> {
        let path = path.clone();
        self.readers.read(move |connection| credentials::deleted(connection, &path)).await
    }

    async fn credential_by_id(&self, id: Uuid) -> Result<Option<Credential>, Error> {
        self.readers.read(move |connection| credentials::by_id(connection, id)).await
    }

    async fn list(&self, filter: &Filter, after: Option<&Cursor>, limit: u32) -> Result<Vec<Credential>, Error> {
        let (filter, after) = (filter.clone(), after.cloned());
        self.readers.read(move |connection| list::page(connection, &filter, after.as_ref(), limit)).await
    }

    async fn versions(&self, credential: Uuid) -> Result<Vec<Version>, Error> {
        self.readers.moment(move |connection| versions::all(connection, credential)).await
    }

    async fn sealed(&self, credential: Uuid, version: u32) -> Result<Option<(Version, Sealed)>, Error> {
        self.readers.moment(move |connection| versions::sealed(connection, credential, version)).await
    }

    async fn changes(&self, org: &str, after: u64, limit: u32) -> Result<Vec<ChangeEvent>, Error> {
        let org = org.to_owned();
        self.readers.read(move |connection| changes::after(connection, &org, after, limit)).await
    }

    fn newest_change(&self) -> watch::Receiver<u64> {
        self.newest_change.clone()
    }

    async fn audit(
        &self,
        filter: &AuditFilter,
        from: Option<u64>,
        descending: bool,
        limit: u32,
    ) -> Result<AuditPage, Error> {
        let filter = filter.clone();
        self.readers.moment(move |connection| audit::page(connection, &filter, from, descending, limit)).await
    }

    fn instance(&self) -> &str {
        &self.instance
    }

    async fn chained(&self, after: u64, limit: u32) -> Result<Vec<Chained>, Error> {
        self.readers.read(move |connection| audit::chained(connection, after, limit)).await
    }

    fn newest_record(&self) -> watch::Receiver<u64> {
        self.newest_record.clone()
    }

    async fn checkpoint(&self, at_most: u64) -> Result<Option<Checkpoint>, Error> {
        self.readers.read(move |connection| ledger::at_most(connection, at_most)).await
    }

    async fn checkpoints(&self, after: u64, limit: u32) -> Result<Vec<Checkpoint>, Error> {
        self.readers.read(move |connection| ledger::after(connection, after, limit)).await
    }

    async fn checkpoint_before(&self, time: Timestamp) -> Result<Option<Checkpoint>, Error> {
        self.readers.read(move |connection| ledger::before(connection, time)).await
    }

    async fn audit_keys(&self) -> Result<Vec<AuditKey>, Error> {
        self.readers.moment(ledger::keys).await
    }

    async fn boundary(&self) -> Result<Boundary, Error> {
        self.readers.read(ledger::boundary).await
    }

    async fn cursor(&self, copy: &str) -> Result<Option<u64>, Error> {
        let copy = copy.to_owned();
        self.readers.read(move |connection| ledger::cursor(connection, &copy)).await
    }

    async fn keep(&self, what: Keep) -> Result<u64, Error> {
        let (answer, outcome) = oneshot::channel();
        self.order(Order::Keep { what, answer })?;
        outcome.await.map_err(|_| stopped())?
    }

    async fn token(&self, id: Uuid) -> Result<Option<Token>, Error> {
        self.readers.read(move |connection| access::token(connection, id)).await
    }

    async fn tokens(&self, org: Option<&str>) -> Result<Vec<Token>, Error> {
        let org = org.map(str::to_owned);
        self.readers.read(move |connection| access::tokens(connection, org.as_deref())).await
    }

    async fn factor(&self, caller: &str, state: FactorState) -> Result<Option<Factor>, Error> {
        let caller = caller.to_owned();
        self.readers.moment(move |connection| factors::one(connection, &caller, state)).await
    }

    async fn factors(&self, org: Option<&str>) -> Result<Vec<Factor>, Error> {
        let org = org.map(str::to_owned);
        self.readers.moment(move |connection| factors::all(connection, org.as_deref())).await
    }

    async fn waiting_factors(&self, since: Timestamp, limit: u32) -> Result<Vec<Factor>, Error> {
        self.readers.moment(move |connection| factors::waiting(connection, since, limit)).await
    }

    async fn approval(&self, id: Uuid) -> Result<Option<Approval>, Error> {
        self.readers.read(move |connection| approvals::by_id(connection, id)).await
    }

    async fn approval_of(&self, requester: &str, digest: &[u8; 32]) -> Result<Option<Approval>, Error> {
        let (requester, digest) = (requester.to_owned(), *digest);
        self.readers.read(move |connection| approvals::of_request(connection, &requester, &digest)).await
    }

    async fn approvals(&self, org: Option<&str>) -> Result<Vec<Approval>, Error> {
        let org = org.map(str::to_owned);
        self.readers.read(move |connection| approvals::all(connection, org.as_deref())).await
    }

    async fn ended_approvals(&self, now: Timestamp, limit: u32) -> Result<Vec<Approval>, Error> {
        self.readers.read(move |connection| approvals::ended(connection, now, limit)).await
    }

    async fn grant(&self, id: Uuid) -> Result<Option<Grant>, Error> {
        self.readers.read(move |connection| grants::grant(connection, id)).await
    }

    async fn grants(&self, filter: &GrantFilter, before: Option<Uuid>, limit: u32) -> Result<Vec<Grant>, Error> {
        let filter = filter.clone();
        self.readers.read(move |connection| grants::page(connection, &filter, before, limit)).await
    }

    async fn org_key(&self, org: &str) -> Result<Option<OrgKey>, Error> {
        let org = org.to_owned();
        self.readers.read(move |connection| access::org_key(connection, &org)).await
    }

    async fn keys_in_use(&self, by_org: bool) -> Result<Vec<KeyUse>, Error> {
        self.readers.read(move |connection| wraps::in_use(connection, by_org)).await
    }

    async fn holders(&self, under: &KeyVersion, after: Option<&Holder>, limit: u32) -> Result<Vec<Holder>, Error> {
        let (under, after) = (under.clone(), after.cloned());
        self.readers.read(move |connection| wraps::holders(connection, &under, after.as_ref(), limit)).await
    }

    async fn lacking(&self, key: &str, after: Option<&Holder>, limit: u32) -> Result<Vec<Holder>, Error> {
        let (key, after) = (key.to_owned(), after.cloned());
        self.readers.read(move |connection| wraps::lacking(connection, &key, after.as_ref(), limit)).await
    }

    async fn held(&self, holder: &Holder) -> Result<Option<Held>, Error> {
        let holder = holder.clone();
        self.readers.moment(move |connection| wraps::held(connection, &holder)).await
    }

    async fn sealed_as(&self, after: Option<(Uuid, u32)>, limit: u32) -> Result<Vec<SealedAs>, Error> {
        self.readers.read(move |connection| resealed::sealed_as(connection, after, limit)).await
    }

    async fn next_blob(&self, credential: Uuid, version: u32) -> Result<Option<Vec<u8>>, Error> {
        self.readers.moment(move |connection| resealed::next(connection, credential, version)).await
    }

    async fn recovery_proven(&self) -> Result<Option<Timestamp>, Error> {
        self.readers.read(meta::recovery_proven).await
    }

    async fn rules(&self) -> Result<Option<String>, Error> {
        self.readers.read(meta::rules).await
    }

    async fn due(&self, now: Timestamp, limit: u32) -> Result<Vec<Credential>, Error> {
        self.readers.read(move |connection| credentials::due(connection, now, limit)).await
    }

    async fn destructions(&self, org: Option<&str>) -> Result<Vec<Destruction>, Error> {
        let org = org.map(str::to_owned);
        self.readers.read(move |connection| orgs::all(connection, org.as_deref())).await
    }

    async fn due_orgs(&self, now: Timestamp) -> Result<Vec<Destruction>, Error> {
        self.readers.read(move |connection| orgs::due(connection, now)).await
    }

    async fn kept(&self, org: &str, limit: u32) -> Result<Vec<Credential>, Error> {
        let org = org.to_owned();
        self.readers.read(move |connection| orgs::kept(connection, &org, limit)).await
    }

    async fn remains(&self, org: &str, now: Timestamp) -> Result<Remains, Error> {
        let org = org.to_owned();
        self.readers.moment(move |connection| orgs::remains(connection, &org, now)).await
    }

    async fn to_test(
        &self,
        providers: &[String],
        busy: &[(String, String)],
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<ToTest>, Error> {
        let (providers, busy) = (providers.to_vec(), busy.to_vec());
        self.readers.read(move |connection| tests::due(connection, &providers, &busy, now, limit)).await
    }

    async fn to_tell(&self, now: Timestamp, limit: u32) -> Result<Vec<Credential>, Error> {
        self.readers.read(move |connection| credentials::to_tell(connection, now, limit)).await
    }

    async fn tests(&self, credential: Uuid) -> Result<Vec<Tested>, Error> {
        self.readers.read(move |connection| tests::newest(connection, credential)).await
    }

    async fn unhealthy(&self) -> Result<Vec<(Health, u64)>, Error> {
        self.readers.read(tests::unhealthy).await
    }

    async fn export(&self) -> Result<Rows, Error> {
        let (pieces, rows) = mpsc::channel(AHEAD);
        let (begun, begins) = oneshot::channel();
        let path = self.claim.path.clone();
        tokio::task::spawn_blocking(move || backup::send(&path, begun, &pieces));
        begins.await.map_err(|_| stopped())??;
        Ok(rows)
    }

    /// After a failed commit, only a commit shows that it works again.
    async fn ready(&self) -> Result<(), Error> {
        self.readers.read(meta::exists).await?;
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
