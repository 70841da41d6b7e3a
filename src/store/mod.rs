//! What the vault keeps. Readers read rows; every change goes through [`Store::commit`] together with the audit record
//! that tells of it, in one transaction.

pub mod backup;
pub mod chain;
pub mod change;
pub mod migration;
pub mod org;
pub mod postgres;
pub mod row;
mod seal;
pub mod sql;
pub mod sqlite;
mod stepup;
mod word;
pub mod wrap;

use std::sync::Arc;

use async_trait::async_trait;
pub use change::{Change, NewVersion, Settlement, Target};
use jiff::Timestamp;
pub use org::{Destruction, OrgChange, OrgEnd, Proof, Remains, Toll};
pub use postgres::Postgres;
pub use row::{
    AuditFilter, AuditKey, AuditPage, Boundary, Chained, ChangeEvent, Checkpoint, Credential, CredentialState, Cursor,
    Draft, Filter, Grant, GrantFilter, Health, Keep, OrgKey, Path, ProbeRecord, Record, Sealed, Takers, Tested, ToTest,
    Token, Version, VersionState,
};
pub use seal::{Resealed, SealedAs};
pub use sqlite::{Look, Purpose, Restore, Sqlite};
pub use stepup::{Approval, ApprovalChange, Factor, FactorChange, FactorState};
use tokio::sync::watch;
use uuid::Uuid;
pub use word::Word;
pub use wrap::{Held, HeldFor, Holder, HolderKind, KeyUse, KeyVersion, Moved, Wrap};

/// Why the store did not do it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Try again later: disk full, locked, gone. Whether the change was made is unknown; a retry must be idempotent.
    #[error("store unavailable: {0}")]
    Unavailable(String),
    /// Other rules are in force than it was decided under: another process has put them in force. Nothing was written.
    #[error(
        "other rules are in force than those that it was decided under; where that lasts, give this replica the same files \
         and have it read them"
    )]
    OtherRules,
    /// The change was decided on knowledge that is out of date. Nothing was written, the record neither.
    #[error("the credential has changed meanwhile")]
    Stale { current: Option<Box<Credential>> },
    /// A name is taken by another live credential; or what there can be one of is there already.
    #[error("another credential has this name")]
    Taken,
    /// As many as there may be of one caller's are kept already.
    #[error("no more of these are kept for one caller")]
    Full,
    /// The caller's token was revoked, or ended, after the request was let in.
    #[error("the token is good no more")]
    Revoked,
    /// The grant is used up, revoked or has ended. Nothing was counted.
    #[error("the grant is good no more")]
    Spent,
    /// The org is to be destroyed, and until then it can be taken back; or it is being destroyed now. Nothing of it is
    /// stored.
    #[error("org {org} is being destroyed")]
    Doomed { org: String, until: Option<Timestamp> },
    /// A row cannot be what this program wrote.
    #[error("corrupt: {0}")]
    Corrupt(String),
    /// The database was written by a newer program.
    #[error("the database has schema {found}, and this program knows up to {known}: run the newer strongroom")]
    Newer { found: u32, known: u32 },
    /// It is not, or not any more, the vault: a migration has begun or ended.
    #[error("{0}")]
    Moving(String),
}

/// What a committed change left behind.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// The audit record's place in this instance's chain.
    pub sequence: u64,
    /// The credential after a change of one.
    pub credential: Option<Credential>,
    /// The version that the change brought.
    pub version: Option<Version>,
    /// The credential's health before and after, where the change changed it. That has a record of its own.
    pub health: Option<(Health, Health)>,
}

/// A place to keep rows. An adapter passes `tests/it/store.rs`, the suite that every adapter runs.
#[async_trait]
pub trait Store: Send + Sync {
    /// Makes the change and appends its record, durably and in one transaction, or does neither. Returns after the
    /// commit is on disk; concurrent calls share one.
    async fn commit(&self, change: Change, record: Arc<Draft>) -> Result<Receipt, Error>;

    /// The credential that bears this name and is not deleted.
    async fn credential(&self, path: &Path) -> Result<Option<Credential>, Error>;

    /// The newest tombstone of this name whose ciphertext is still there.
    async fn deleted(&self, path: &Path) -> Result<Option<Credential>, Error>;

    /// The credential with this id, tombstones too.
    async fn credential_by_id(&self, id: Uuid) -> Result<Option<Credential>, Error>;

    /// A page in the order of (project, provider, name, id), strictly after the cursor.
    async fn list(&self, filter: &Filter, after: Option<&Cursor>, limit: u32) -> Result<Vec<Credential>, Error>;

    /// All versions, newest first.
    async fn versions(&self, credential: Uuid) -> Result<Vec<Version>, Error>;

    /// One version with its ciphertext; none when it was destroyed or never was.
    async fn sealed(&self, credential: Uuid, version: u32) -> Result<Option<(Version, Sealed)>, Error>;

    /// Changes of an org, or of all, after a sequence number, oldest first.
    async fn changes(&self, org: Option<&str>, after: u64, limit: u32) -> Result<Vec<ChangeEvent>, Error>;

    /// The sequence number of the newest change, and a wake-up for every newer one.
    fn newest_change(&self) -> watch::Receiver<u64>;

    /// Audit records strictly after (or, descending, before) a position. Looks at a bounded number of them.
    async fn audit(
        &self,
        filter: &AuditFilter,
        from: Option<u64>,
        descending: bool,
        limit: u32,
    ) -> Result<AuditPage, Error>;

    /// The audit chain that this process writes. Where others keep the same store, each writes one of its own.
    fn instance(&self) -> &str;

    /// Whether other processes may change what is kept.
    fn is_shared(&self) -> bool;

    /// Whether this process is the one that does what is to be done once: it stays so for a while, unless it ends.
    async fn leads(&self) -> Result<bool, Error>;

    /// Takes a chain that nobody writes and that is not at rest, the first after a name: one whose process has died, or that
    /// has records which no checkpoint stands for, or some from before a time, or that one of these has not all of. It is
    /// this process's own as far as the store that comes back is concerned, and is let go with it.
    async fn adopt(
        &self,
        after: &str,
        before: Option<Timestamp>,
        takers: &Takers,
    ) -> Result<Option<Box<dyn Store>>, Error>;

    /// The chains that there is anything of. Reads the whole log.
    async fn chains(&self) -> Result<Vec<String>, Error>;

    /// This instance's records after a position, in order.
    async fn chained(&self, after: u64, limit: u32) -> Result<Vec<Chained>, Error>;

    /// The number of the newest record, and a wake-up for every newer one.
    fn newest_record(&self) -> watch::Receiver<u64>;

    /// The newest checkpoint of a chain that stands for at most so many records.
    async fn checkpoint(&self, chain: &str, at_most: u64) -> Result<Option<Checkpoint>, Error>;

    /// Checkpoints that stand for more than so many records, in order.
    async fn checkpoints(&self, chain: &str, after: u64, limit: u32) -> Result<Vec<Checkpoint>, Error>;

    /// The newest checkpoint whose records are all from before a time, and so are those of all checkpoints before it.
    async fn checkpoint_before(&self, time: Timestamp) -> Result<Option<Checkpoint>, Error>;

    /// The audit keys of a chain, oldest first.
    async fn audit_keys(&self, chain: &str) -> Result<Vec<AuditKey>, Error>;

    /// Where a chain begins.
    async fn boundary(&self, chain: &str) -> Result<Boundary, Error>;

    /// How far a copy of the log has come.
    async fn cursor(&self, copy: &str) -> Result<Option<u64>, Error>;

    /// Keeps something about the log, durably. Returns how many rows it was about.
    async fn keep(&self, what: Keep) -> Result<u64, Error>;

    async fn token(&self, id: Uuid) -> Result<Option<Token>, Error>;

    /// Tokens newest first, of one org or of all.
    async fn tokens(&self, org: Option<&str>) -> Result<Vec<Token>, Error>;

    /// Somebody's second factor in one of its states.
    async fn factor(&self, caller: &str, state: FactorState) -> Result<Option<Factor>, Error>;

    /// Second factors newest first, of one org's callers or of all.
    async fn factors(&self, org: Option<&str>) -> Result<Vec<Factor>, Error>;

    /// Second factors that nobody has confirmed since this time.
    async fn waiting_factors(&self, since: Timestamp, limit: u32) -> Result<Vec<Factor>, Error>;

    async fn approval(&self, id: Uuid) -> Result<Option<Approval>, Error>;

    /// The approval that one caller's very request waits for or has.
    async fn approval_of(&self, requester: &str, digest: &[u8; 32]) -> Result<Option<Approval>, Error>;

    /// Approvals newest first, of requests about one org or about all.
    async fn approvals(&self, org: Option<&str>) -> Result<Vec<Approval>, Error>;

    /// Approvals whose time is over, the earliest first.
    async fn ended_approvals(&self, now: Timestamp, limit: u32) -> Result<Vec<Approval>, Error>;
    async fn grant(&self, id: Uuid) -> Result<Option<Grant>, Error>;

    /// Grants newest first, strictly before one.
    async fn grants(&self, filter: &GrantFilter, before: Option<Uuid>, limit: u32) -> Result<Vec<Grant>, Error>;

    async fn org_key(&self, org: &str) -> Result<Option<OrgKey>, Error>;

    /// What keys are wrapped under, and how many; by org too, or only of one kind as a whole, which is quicker.
    async fn keys_in_use(&self, by_org: bool) -> Result<Vec<KeyUse>, Error>;

    /// Who has a wrap under this, in an order of their own, strictly after one.
    async fn holders(&self, under: &KeyVersion, after: Option<&Holder>, limit: u32) -> Result<Vec<Holder>, Error>;

    /// Who has wraps, and none under this key, as [`Store::holders`].
    async fn lacking(&self, key: &str, after: Option<&Holder>, limit: u32) -> Result<Vec<Holder>, Error>;

    /// A holder's wraps and what they are for; none where it has gone.
    async fn held(&self, holder: &Holder) -> Result<Option<Held>, Error>;

    /// How every version is sealed that is not destroyed, in an order of their own, strictly after one.
    async fn sealed_as(&self, after: Option<(Uuid, u32)>, limit: u32) -> Result<Vec<SealedAs>, Error>;

    /// What [`Change::AddResealed`] added for a version and nobody reads yet; none when it was destroyed.
    async fn next_blob(&self, credential: Uuid, version: u32) -> Result<Option<Vec<u8>>, Error>;

    /// When [`Change::ProveRecovery`] was made last.
    async fn recovery_proven(&self) -> Result<Option<Timestamp>, Error>;

    /// When these rules were replaced, where they were in force before, and other processes serve under those that came after:
    /// whoever starts with them does not put them in force again.
    async fn rules_replaced(&self, rules: &str) -> Result<Option<String>, Error>;

    /// What [`Change::KeepRules`] kept last.
    async fn rules(&self) -> Result<Option<String>, Error>;

    /// Deleted credentials whose ciphertext is due to be destroyed; not those that go with their org.
    async fn due(&self, now: Timestamp, limit: u32) -> Result<Vec<Credential>, Error>;

    /// Orgs that are to be destroyed, are being, or were: newest first, of one name or of all.
    async fn destructions(&self, org: Option<&str>) -> Result<Vec<Destruction>, Error>;

    /// Those that have begun and not ended, and those whose time has come.
    async fn due_orgs(&self, now: Timestamp) -> Result<Vec<Destruction>, Error>;

    /// An org's deleted credentials whose ciphertext is still there.
    async fn kept(&self, org: &str, limit: u32) -> Result<Vec<Credential>, Error>;

    /// What is left of an org that could open anything or let anybody in: all that it ever had is read again.
    async fn remains(&self, org: &str, now: Timestamp) -> Result<Remains, Error>;

    /// Live, enabled credentials of these providers whose next test is due, the longest overdue of each provider first;
    /// at most `limit` of each. Leaves out the pairs of provider and org that are `busy`: however much is due there, it
    /// hides nothing of the others.
    async fn to_test(
        &self,
        providers: &[String],
        busy: &[(String, String)],
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<ToTest>, Error>;

    /// Live credentials whose health time has changed since it was told.
    async fn to_tell(&self, now: Timestamp, limit: u32) -> Result<Vec<Credential>, Error>;

    /// A credential's newest tests, newest first.
    async fn tests(&self, credential: Uuid) -> Result<Vec<Tested>, Error>;

    /// How many live, enabled credentials were told to be in each health but ok.
    async fn unhealthy(&self) -> Result<Vec<(Health, u64)>, Error>;

    /// All that is kept, as it is at one moment: the tables of [`backup::TABLES`], each told of, with what they are to keep.
    /// Written to meanwhile as ever; a slow reader costs no memory.
    async fn export(&self) -> Result<backup::Rows, Error>;

    /// Proves that a read works and that a commit would not be refused for a reason already known.
    async fn ready(&self) -> Result<(), Error>;
}
