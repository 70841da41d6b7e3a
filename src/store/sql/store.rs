//! The store, of whatever engine: every read is a query on a connection that the engine lends.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::watch;
use uuid::Uuid;

use super::{
    Sql, access, approvals, audit, changes, credentials, factors, grants, ledger, list, meta, orgs, resealed, tests,
    versions, wraps,
};
use crate::store::backup::Rows;
use crate::store::{
    Approval, AuditFilter, AuditKey, AuditPage, Boundary, Chained, Change, ChangeEvent, Checkpoint, Credential, Cursor,
    Destruction, Draft, Error, Factor, FactorState, Filter, Grant, GrantFilter, Health, Held, Holder, Keep, KeyUse,
    KeyVersion, OrgKey, Path, Receipt, Remains, Sealed, SealedAs, Store, Takers, Tested, ToTest, Token, Version,
};

/// What a database that speaks SQL does in its own way. The rest of [`Store`] is the same for all of them.
pub trait Engine: Send + Sync {
    /// The audit chain that this process writes.
    fn chain(&self) -> &str;

    /// Whether other processes may change what is kept.
    fn is_shared(&self) -> bool {
        false
    }

    fn leads(&self) -> impl Future<Output = Result<bool, Error>> + Send {
        std::future::ready(Ok(true))
    }

    /// A chain that nobody writes any more, as a store of its own.
    fn adopt(
        &self,
        _after: &str,
        _before: Option<Timestamp>,
        _takers: &Takers,
    ) -> impl Future<Output = Result<Option<Self>, Error>> + Send
    where
        Self: Sized,
    {
        std::future::ready(Ok(None))
    }

    /// Runs a query where it may block.
    fn read<T, F>(&self, query: F) -> impl Future<Output = Result<T, Error>> + Send
    where
        T: Send + 'static,
        F: FnOnce(&dyn Sql) -> Result<T, Error> + Send + 'static;

    /// The same for what takes several queries: all of them see one moment.
    fn moment<T, F>(&self, queries: F) -> impl Future<Output = Result<T, Error>> + Send
    where
        T: Send + 'static,
        F: FnOnce(&dyn Sql) -> Result<T, Error> + Send + 'static;

    fn commit(&self, change: Change, record: Arc<Draft>) -> impl Future<Output = Result<Receipt, Error>> + Send;
    fn keep(&self, what: Keep) -> impl Future<Output = Result<u64, Error>> + Send;
    /// Looks up to which position nothing can appear in the audit log any more.
    fn settled(&self) -> impl FnOnce(&dyn Sql) -> Result<u64, Error> + Send + 'static {
        |_: &dyn Sql| Ok(u64::MAX)
    }

    /// Whether other processes serve now.
    fn has_company(&self) -> impl Future<Output = Result<bool, Error>> + Send {
        std::future::ready(Ok(false))
    }

    fn newest_change(&self) -> watch::Receiver<u64>;
    fn newest_record(&self) -> watch::Receiver<u64>;
    fn export(&self) -> impl Future<Output = Result<Rows, Error>> + Send;
    fn ready(&self) -> impl Future<Output = Result<(), Error>> + Send;
}

#[async_trait]
impl<E: Engine + 'static> Store for E {
    async fn commit(&self, change: Change, record: Arc<Draft>) -> Result<Receipt, Error> {
        Engine::commit(self, change, record).await
    }

    async fn keep(&self, what: Keep) -> Result<u64, Error> {
        Engine::keep(self, what).await
    }

    fn instance(&self) -> &str {
        self.chain()
    }

    fn is_shared(&self) -> bool {
        Engine::is_shared(self)
    }

    async fn leads(&self) -> Result<bool, Error> {
        Engine::leads(self).await
    }

    async fn adopt(
        &self,
        after: &str,
        before: Option<Timestamp>,
        takers: &Takers,
    ) -> Result<Option<Box<dyn Store>>, Error> {
        let adopted = Engine::adopt(self, after, before, takers).await?;
        Ok(adopted.map(|adopted| Box::new(adopted) as Box<dyn Store>))
    }

    fn newest_change(&self) -> watch::Receiver<u64> {
        Engine::newest_change(self)
    }

    fn newest_record(&self) -> watch::Receiver<u64> {
        Engine::newest_record(self)
    }

    async fn export(&self) -> Result<Rows, Error> {
        Engine::export(self).await
    }

    async fn ready(&self) -> Result<(), Error> {
        Engine::ready(self).await
    }

    async fn credential(&self, path: &Path) -> Result<Option<Credential>, Error> {
        let path = path.clone();
        self.read(move |connection| credentials::live(connection, &path)).await
    }

    async fn deleted(&self, path: &Path) -> Result<Option<Credential>, Error> {
        let path = path.clone();
        self.read(move |connection| credentials::deleted(connection, &path)).await
    }

    async fn credential_by_id(&self, id: Uuid) -> Result<Option<Credential>, Error> {
        self.read(move |connection| credentials::by_id(connection, id)).await
    }

    async fn list(&self, filter: &Filter, after: Option<&Cursor>, limit: u32) -> Result<Vec<Credential>, Error> {
        let (filter, after) = (filter.clone(), after.cloned());
        self.read(move |connection| list::page(connection, &filter, after.as_ref(), limit)).await
    }

    async fn versions(&self, credential: Uuid) -> Result<Vec<Version>, Error> {
        self.moment(move |connection| versions::all(connection, credential)).await
    }

    async fn sealed(&self, credential: Uuid, version: u32) -> Result<Option<(Version, Sealed)>, Error> {
        self.moment(move |connection| versions::sealed(connection, credential, version)).await
    }

    async fn changes(&self, org: Option<&str>, after: u64, limit: u32) -> Result<Vec<ChangeEvent>, Error> {
        let org = org.map(str::to_owned);
        self.read(move |connection| changes::after(connection, org.as_deref(), after, limit)).await
    }

    async fn audit(
        &self,
        filter: &AuditFilter,
        from: Option<u64>,
        descending: bool,
        limit: u32,
    ) -> Result<AuditPage, Error> {
        let (chain, filter, settled) = (self.chain().to_owned(), filter.clone(), self.settled());
        self.moment(move |connection| {
            // A chain by itself comes in order, and whoever looks back does not come again.
            let below = if descending || filter.instance.is_some() { u64::MAX } else { settled(connection)? };
            audit::page(connection, &chain, &filter, from, (descending, below.saturating_add(1)), limit)
        })
        .await
    }

    async fn chains(&self) -> Result<Vec<String>, Error> {
        let own = self.chain().to_owned();
        self.moment(move |connection| audit::chains(connection, own)).await
    }

    async fn chained(&self, after: u64, limit: u32) -> Result<Vec<Chained>, Error> {
        let chain = self.chain().to_owned();
        self.read(move |connection| audit::chained(connection, &chain, after, limit)).await
    }

    async fn checkpoint(&self, chain: &str, at_most: u64) -> Result<Option<Checkpoint>, Error> {
        let chain = chain.to_owned();
        self.read(move |connection| ledger::at_most(connection, &chain, at_most)).await
    }

    async fn checkpoints(&self, chain: &str, after: u64, limit: u32) -> Result<Vec<Checkpoint>, Error> {
        let chain = chain.to_owned();
        self.read(move |connection| ledger::after(connection, &chain, after, limit)).await
    }

    async fn checkpoint_before(&self, time: Timestamp) -> Result<Option<Checkpoint>, Error> {
        let chain = self.chain().to_owned();
        self.read(move |connection| ledger::before(connection, &chain, time)).await
    }

    async fn audit_keys(&self, chain: &str) -> Result<Vec<AuditKey>, Error> {
        let chain = chain.to_owned();
        self.moment(move |connection| ledger::keys(connection, &chain)).await
    }

    async fn boundary(&self, chain: &str) -> Result<Boundary, Error> {
        let chain = chain.to_owned();
        self.read(move |connection| ledger::boundary(connection, &chain)).await
    }

    async fn cursor(&self, copy: &str) -> Result<Option<u64>, Error> {
        let copy = copy.to_owned();
        self.read(move |connection| ledger::cursor(connection, &copy)).await
    }

    async fn token(&self, id: Uuid) -> Result<Option<Token>, Error> {
        self.read(move |connection| access::token(connection, id)).await
    }

    async fn tokens(&self, org: Option<&str>) -> Result<Vec<Token>, Error> {
        let org = org.map(str::to_owned);
        self.read(move |connection| access::tokens(connection, org.as_deref())).await
    }

    async fn factor(&self, caller: &str, state: FactorState) -> Result<Option<Factor>, Error> {
        let caller = caller.to_owned();
        self.moment(move |connection| factors::one(connection, &caller, state)).await
    }

    async fn factors(&self, org: Option<&str>) -> Result<Vec<Factor>, Error> {
        let org = org.map(str::to_owned);
        self.moment(move |connection| factors::all(connection, org.as_deref())).await
    }

    async fn waiting_factors(&self, since: Timestamp, limit: u32) -> Result<Vec<Factor>, Error> {
        self.moment(move |connection| factors::waiting(connection, since, limit)).await
    }

    async fn approval(&self, id: Uuid) -> Result<Option<Approval>, Error> {
        self.read(move |connection| approvals::by_id(connection, id)).await
    }

    async fn approval_of(&self, requester: &str, digest: &[u8; 32]) -> Result<Option<Approval>, Error> {
        let (requester, digest) = (requester.to_owned(), *digest);
        self.read(move |connection| approvals::of_request(connection, &requester, &digest)).await
    }

    async fn approvals(&self, org: Option<&str>) -> Result<Vec<Approval>, Error> {
        let org = org.map(str::to_owned);
        self.read(move |connection| approvals::all(connection, org.as_deref())).await
    }

    async fn ended_approvals(&self, now: Timestamp, limit: u32) -> Result<Vec<Approval>, Error> {
        self.read(move |connection| approvals::ended(connection, now, limit)).await
    }

    async fn grant(&self, id: Uuid) -> Result<Option<Grant>, Error> {
        self.read(move |connection| grants::grant(connection, id)).await
    }

    async fn grants(&self, filter: &GrantFilter, before: Option<Uuid>, limit: u32) -> Result<Vec<Grant>, Error> {
        let filter = filter.clone();
        self.read(move |connection| grants::page(connection, &filter, before, limit)).await
    }

    async fn org_key(&self, org: &str) -> Result<Option<OrgKey>, Error> {
        let org = org.to_owned();
        self.read(move |connection| access::org_key(connection, &org)).await
    }

    async fn keys_in_use(&self, by_org: bool) -> Result<Vec<KeyUse>, Error> {
        self.read(move |connection| wraps::in_use(connection, by_org)).await
    }

    async fn holders(&self, under: &KeyVersion, after: Option<&Holder>, limit: u32) -> Result<Vec<Holder>, Error> {
        let (under, after) = (under.clone(), after.cloned());
        self.read(move |connection| wraps::holders(connection, &under, after.as_ref(), limit)).await
    }

    async fn lacking(&self, key: &str, after: Option<&Holder>, limit: u32) -> Result<Vec<Holder>, Error> {
        let (key, after) = (key.to_owned(), after.cloned());
        self.read(move |connection| wraps::lacking(connection, &key, after.as_ref(), limit)).await
    }

    async fn held(&self, holder: &Holder) -> Result<Option<Held>, Error> {
        let holder = holder.clone();
        self.moment(move |connection| wraps::held(connection, &holder)).await
    }

    async fn sealed_as(&self, after: Option<(Uuid, u32)>, limit: u32) -> Result<Vec<SealedAs>, Error> {
        self.read(move |connection| resealed::sealed_as(connection, after, limit)).await
    }

    async fn next_blob(&self, credential: Uuid, version: u32) -> Result<Option<Vec<u8>>, Error> {
        self.moment(move |connection| resealed::next(connection, credential, version)).await
    }

    async fn recovery_proven(&self) -> Result<Option<Timestamp>, Error> {
        self.read(meta::recovery_proven).await
    }

    async fn rules_replaced(&self, rules: &str) -> Result<Option<String>, Error> {
        if !self.has_company().await? {
            return Ok(None);
        }
        let rules = rules.to_owned();
        self.read(move |connection| meta::rules_replaced(connection, &rules)).await
    }

    async fn rules(&self) -> Result<Option<String>, Error> {
        self.read(meta::rules).await
    }

    async fn due(&self, now: Timestamp, limit: u32) -> Result<Vec<Credential>, Error> {
        self.read(move |connection| credentials::due(connection, now, limit)).await
    }

    async fn destructions(&self, org: Option<&str>) -> Result<Vec<Destruction>, Error> {
        let org = org.map(str::to_owned);
        self.read(move |connection| orgs::all(connection, org.as_deref())).await
    }

    async fn due_orgs(&self, now: Timestamp) -> Result<Vec<Destruction>, Error> {
        self.read(move |connection| orgs::due(connection, now)).await
    }

    async fn kept(&self, org: &str, limit: u32) -> Result<Vec<Credential>, Error> {
        let org = org.to_owned();
        self.read(move |connection| orgs::kept(connection, &org, limit)).await
    }

    async fn remains(&self, org: &str, now: Timestamp) -> Result<Remains, Error> {
        let org = org.to_owned();
        self.moment(move |connection| orgs::remains(connection, &org, now)).await
    }

    async fn to_test(
        &self,
        providers: &[String],
        busy: &[(String, String)],
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<ToTest>, Error> {
        let (providers, busy) = (providers.to_vec(), busy.to_vec());
        self.read(move |connection| tests::due(connection, &providers, &busy, now, limit)).await
    }

    async fn to_tell(&self, now: Timestamp, limit: u32) -> Result<Vec<Credential>, Error> {
        self.read(move |connection| credentials::to_tell(connection, now, limit)).await
    }

    async fn tests(&self, credential: Uuid) -> Result<Vec<Tested>, Error> {
        self.read(move |connection| tests::newest(connection, credential)).await
    }

    async fn unhealthy(&self) -> Result<Vec<(Health, u64)>, Error> {
        self.read(tests::unhealthy).await
    }
}
