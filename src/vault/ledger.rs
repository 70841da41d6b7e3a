//! The audit log's checkpoints, and how long its records are kept.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard, watch};
use tokio::time::Instant;

use crate::crypto::ledger::merkle::{self, Frontier};
use crate::crypto::ledger::note::{self, Note, Signer, Verifier};
use crate::crypto::ledger::{Hash, chain};
use crate::store::{self, AuditKey, Chained, Change, Checkpoint, Keep, Store};
use crate::vault::names::EVERYTHING;
use crate::vault::policy::Resource;
use crate::vault::request::AuditKeyInfo;
use crate::vault::trail::Trail;
use crate::vault::{Action, Caller, Error, Vault};

/// A checkpoint stands for no more new records than this, however many there are: what is pruned, and what is read again
/// at a start, is a whole span.
const SPAN: u64 = 50_000;
/// So many records are read at a time.
pub(super) const PAGE: u32 = 1_000;

const PRUNE_EVERY: Duration = Duration::from_secs(60);
/// Between two pieces of what was pruned: the writer has other things to do.
const SWEEP_PAUSE: Duration = Duration::from_millis(20);
/// After so long a checkpoint, or another chain, has its turn before the rest.
const SWEEP_FOR: Duration = Duration::from_secs(5);

/// How the audit log is looked after.
#[derive(Clone, Copy, Debug)]
pub struct Auditing {
    pub checkpoint_every: Duration,
    /// None: for ever.
    pub keep: Option<Duration>,
}

impl Default for Auditing {
    fn default() -> Self {
        Self { checkpoint_every: Duration::from_secs(60), keep: None }
    }
}

pub struct Ledger {
    pub(super) auditing: Auditing,
    /// One checkpoint at a time; with the key that signs it, once that was needed.
    signer: Mutex<Option<Signer>>,
    /// How many records the newest checkpoint stands for.
    newest: watch::Sender<u64>,
}

/// Why this is not the log that a checkpoint was made of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Diverged {
    #[error(
        "its newest checkpoint of this log tells of {told} records, and the database has {found}: its tail was cut \
             off, or an older database was put back"
    )]
    Cut { told: u64, found: u64 },
    #[error(
        "its checkpoint of {size} records is of another log than the database's: one of them was rewritten, or the \
             log went on in two ways after an older database was put back"
    )]
    Forked { size: u64 },
    #[error("its checkpoint of {size} records is not signed by this database's audit key")]
    OtherKey { size: u64 },
}

impl Ledger {
    pub fn new(auditing: Auditing) -> Self {
        Self { auditing, signer: Mutex::new(None), newest: watch::Sender::new(0) }
    }
}

impl Vault {
    /// Makes checkpoints and prunes, until shutdown.
    pub(super) async fn keep_ledger(self: Arc<Self>, mut shutdown: watch::Receiver<bool>) {
        let Auditing { checkpoint_every, keep } = self.ledger.auditing;
        let mut checkpoint = tokio::time::interval_at(Instant::now() + checkpoint_every, checkpoint_every);
        let mut prune = tokio::time::interval(keep.map_or(PRUNE_EVERY, |keep| keep.min(PRUNE_EVERY)));
        loop {
            tokio::select! {
                () = async { drop(shutdown.wait_for(|down| *down).await) } => break,
                _ = checkpoint.tick() => self.checkpoint_or_say_why().await,
                _ = prune.tick() => match self.prune_audit(self.store.as_ref(), &shutdown).await {
                    Ok(true) => {}
                    // A checkpoint may be due meanwhile.
                    Ok(false) => prune.reset_immediately(),
                    Err(error) => {
                        tracing::error!(cause = error.cause(), "the audit log could not be pruned; trying again");
                    }
                },
            }
        }
    }

    /// For the end of the daemon too, when nothing more is recorded.
    pub async fn checkpoint_or_say_why(&self) {
        if let Err(error) = self.checkpoint().await {
            metrics::counter!("strongroom_audit_checkpoint_failures_total").increment(1);
            tracing::error!(cause = error.cause(), "no checkpoint of the audit log was made; trying again");
        }
    }

    /// Wakes whoever passes checkpoints on.
    pub fn newest_checkpoint(&self) -> watch::Receiver<u64> {
        self.ledger.newest.subscribe()
    }

    /// Signs for what is new. The tree grows from the last checkpoint on: only newer records are read, after they were
    /// answered, and nothing is signed that does not follow from what was signed before.
    pub async fn checkpoint(&self) -> Result<(), Error> {
        let signer = self.signer().await?;
        let newest = &self.ledger.newest;
        self.sign(self.store.as_ref(), &signer, newest).await?;
        let made = *newest.borrow();
        if made > 0 {
            metrics::gauge!("strongroom_audit_checkpoint_records").set(made as f64);
        }
        Ok(())
    }

    pub(super) async fn sign(
        &self,
        store: &dyn Store,
        signer: &Signer,
        newest: &watch::Sender<u64>,
    ) -> Result<(), Error> {
        loop {
            let last = store.checkpoint(store.instance(), u64::MAX).await?;
            let begun = last.as_ref().map_or(0, |last| last.size);
            let made = *newest.borrow();
            check_signed(store, last.as_ref(), made).await?;
            let mut span = Span::after(last.as_ref())?;
            while span.count() < SPAN {
                let page = store.chained(span.position, PAGE).await?;
                let Some(last) = page.last().map(|last| last.position) else { break };
                page.iter().try_for_each(|record| span.take(record))?;
                span.position = last;
            }
            let Some((oldest_at, newest_at)) = span.times else { break };
            let size = span.frontier.size();
            let claim = note::Checkpoint {
                instance: store.instance().to_owned(),
                size,
                root: span.frontier.root(),
                head: span.head,
                time: format!("{:.0}", Timestamp::now()),
            };
            let checkpoint = Checkpoint {
                size,
                note: signer.sign(&claim).to_string(),
                head: span.head,
                frontier: span.frontier.to_bytes(),
                after: span.after,
                position: span.position,
                oldest_at,
                newest_at,
            };
            store.keep(Keep::Checkpoint(Box::new(checkpoint))).await?;
            tracing::debug!(size, new = size - begun, "a checkpoint of the audit log");
            newest.send_replace(size);
            if size - begun < SPAN {
                break;
            }
        }
        Ok(())
    }

    /// The key that signs, for as long as nobody else may sign.
    async fn signer(&self) -> Result<MappedMutexGuard<'_, Signer>, Error> {
        let mut signer = self.ledger.signer.lock().await;
        if signer.is_none() {
            *signer = Some(self.audit_signer(self.store.as_ref()).await?);
        }
        MutexGuard::try_map(signer, Option::as_mut).map_err(|_| Error::bug("there is no signer"))
    }

    /// Opens the newest key; made on first use.
    pub(super) async fn audit_signer(&self, store: &dyn Store) -> Result<Signer, Error> {
        let chain = store.instance();
        if store.audit_keys(chain).await?.is_empty() {
            let trail = Trail::begin(&Caller::system(), Action::KeepAuditKey).about_org(EVERYTHING);
            let key = self.keeper.new_audit_key(chain, 1, trail.at()).await?;
            store.commit(Change::KeepAuditKey(key), trail.record()).await?;
        }
        let newest = store.audit_keys(chain).await?.pop();
        let newest = newest.ok_or_else(|| Error::bug("an audit key was kept and is not there"))?;
        self.keeper.open_audit_key(chain, newest).await
    }

    /// The public keys, the one that signs now last.
    pub async fn audit_keys(&self, caller: &Caller) -> Result<Vec<AuditKeyInfo>, Error> {
        let mut trail = Trail::begin(caller, Action::GetAuditKey).about_org(EVERYTHING);
        let result = async {
            let permit = self.guard.permit(caller, Resource::Org(EVERYTHING), &mut trail)?;
            self.guard.admit(permit, &trail).await?;
            drop(self.signer().await?);
            self.audit_key_infos().await
        };
        let result = result.await;
        self.guard.finish(trail, result).await
    }

    /// Signs with a new key from now on. What the old one has signed stays as it is.
    pub async fn rotate_audit_key(&self, caller: &Caller) -> Result<Vec<AuditKeyInfo>, Error> {
        let mut trail = Trail::begin(caller, Action::RotateAuditKey).about_org(EVERYTHING);
        let result = async {
            let permit = self.guard.permit(caller, Resource::Org(EVERYTHING), &mut trail)?;
            // The old key signs for all that came before.
            self.checkpoint().await?;
            let mut signer = self.ledger.signer.lock().await;
            let number =
                self.store.audit_keys(self.store.instance()).await?.last().map_or(1, |newest| newest.number + 1);
            let key = self.keeper.new_audit_key(self.store.instance(), number, trail.at()).await?;
            trail.named(&number.to_string());
            match self.guard.commit(&permit, Change::KeepAuditKey(key), &trail).await {
                Err(store::Error::Taken) => {
                    let why = "another key was made meanwhile".to_owned();
                    return Err(Error::Conflict { why, id: String::new(), version: 0 });
                }
                other => other.map(drop)?,
            }
            *signer = Some(self.audit_signer(self.store.as_ref()).await?);
            self.audit_key_infos().await
        };
        let result = result.await;
        self.guard.finish(trail, result).await
    }

    async fn audit_key_infos(&self) -> Result<Vec<AuditKeyInfo>, Error> {
        let keys = self.store.audit_keys(self.store.instance()).await?;
        let info = |key: AuditKey| {
            let verifier = Verifier::new(self.store.instance(), key.public).to_string();
            AuditKeyInfo { verifier, created_at: key.created_at }
        };
        Ok(keys.into_iter().map(info).collect())
    }

    /// Whether the log is still the one that these notes, kept elsewhere, were made of. Only the newest of this instance is
    /// compared: it stands for all before it. Returns how many records it stands for.
    pub async fn follows(&self, notes: &[Note]) -> Result<Result<Option<u64>, Diverged>, Error> {
        let instance = self.store.instance();
        let claims = notes.iter().filter_map(|note| Some((note.claims()?, note)));
        let newest = claims.filter(|(claim, _)| claim.instance == instance).max_by_key(|(claim, _)| claim.size);
        let Some((claim, note)) = newest else { return Ok(Ok(None)) };
        let size = claim.size;
        let Ok(said) = note.open(&verifiers(self.store.as_ref(), self.store.instance()).await?) else {
            return Ok(Err(Diverged::OtherKey { size }));
        };
        let found = *self.store.newest_record().borrow();
        if said.size > found {
            return Ok(Err(Diverged::Cut { told: said.size, found }));
        }
        let pruned = self.store.boundary(self.store.instance()).await?.size;
        if said.size < pruned {
            tracing::warn!(told = said.size, pruned, "what the newest checkpoint of the file stands for was pruned");
            return Ok(Ok(None));
        }
        // At least the last span is read again, not only what the database says of it.
        let begin = if said.size > pruned { said.size - 1 } else { said.size };
        let mut span = Span::after(self.store.checkpoint(self.store.instance(), begin).await?.as_ref())?;
        while span.frontier.size() < said.size {
            let left = said.size - span.frontier.size();
            let page = self.store.chained(span.position, PAGE).await?;
            if page.is_empty() {
                return Ok(Err(Diverged::Cut { told: said.size, found: span.frontier.size() }));
            }
            for record in page.iter().take(usize::try_from(left).unwrap_or(usize::MAX)) {
                if span.take(record).is_err() {
                    return Ok(Err(Diverged::Forked { size }));
                }
                span.position = record.position;
            }
        }
        let same = (span.frontier.root(), span.head) == (said.root, said.head);
        Ok(if same { Ok(Some(size)) } else { Err(Diverged::Forked { size }) })
    }

    /// Lets the log begin where all that a checkpoint stands for is older than what is kept, then takes the records away;
    /// of very many, some. Whether that was all.
    pub(super) async fn prune_audit(&self, store: &dyn Store, shutdown: &watch::Receiver<bool>) -> Result<bool, Error> {
        let Some(cutoff) = self.cutoff() else { return Ok(true) };
        let boundary = store.boundary(store.instance()).await?;
        if let Some(end) = store.checkpoint_before(cutoff).await?.filter(|end| end.size > boundary.size) {
            let mut trail = Trail::begin(&Caller::system(), Action::PruneAudit).about_org(EVERYTHING);
            trail.named(&chain::prune(boundary.size + 1, end.size));
            let change = Change::PruneAudit { size: end.size };
            let result = store.commit(change, trail.record()).await.map(drop).map_err(Error::from);
            self.guard.finish(trail, result).await?;
        }
        let begun = Instant::now();
        while begun.elapsed() < SWEEP_FOR {
            if *shutdown.borrow() || store.keep(Keep::Sweep).await? == 0 {
                return Ok(true);
            }
            tokio::time::sleep(SWEEP_PAUSE).await;
        }
        Ok(false)
    }

    /// What is older than this is not kept.
    pub(super) fn cutoff(&self) -> Option<Timestamp> {
        let keep = SignedDuration::try_from(self.ledger.auditing.keep?).unwrap_or(SignedDuration::MAX);
        Some(Timestamp::now().saturating_sub(keep).unwrap_or(Timestamp::MIN))
    }
}

/// The public keys that a chain's checkpoints may be signed by.
pub(super) async fn verifiers(store: &dyn Store, chain: &str) -> Result<Vec<Verifier>, store::Error> {
    let keys = store.audit_keys(chain).await?;
    Ok(keys.iter().map(|key| Verifier::new(chain, key.public)).collect())
}

/// Nothing is signed on top of what somebody else wrote: the checkpoint to go on from bears our signature over what its row
/// says, and none that this process made is gone. Whoever takes all checkpoints away while no daemon runs is found by those
/// that were passed on.
async fn check_signed(store: &dyn Store, last: Option<&Checkpoint>, made: u64) -> Result<(), Error> {
    let said = match last {
        None => None,
        Some(last) => {
            let keys = verifiers(store, store.instance()).await?;
            let said = last.note.parse::<Note>().and_then(|note| note.open(&keys)).ok();
            let root = Frontier::from_bytes(last.size, &last.frontier).map(|tree| tree.root());
            said.filter(|said| (said.size, Some(said.root), said.head) == (last.size, root, last.head))
        }
    };
    if (last.is_some() && said.is_none()) || said.map_or(0, |said| said.size) < made {
        return Err(Error::Corrupt { what: "the audit log's newest checkpoint is not the one that was signed".into() });
    }
    Ok(())
}

/// Records on their way into a checkpoint.
struct Span {
    frontier: Frontier,
    head: Hash,
    after: u64,
    position: u64,
    begun: u64,
    times: Option<(Timestamp, Timestamp)>,
}

impl Span {
    fn after(last: Option<&Checkpoint>) -> Result<Self, Error> {
        let Some(last) = last else {
            return Ok(Self {
                frontier: Frontier::default(),
                head: [0; 32],
                after: 0,
                position: 0,
                begun: 0,
                times: None,
            });
        };
        let damaged = || Error::Corrupt { what: format!("the audit log's checkpoint of {} records", last.size) };
        Ok(Self {
            frontier: Frontier::from_bytes(last.size, &last.frontier).ok_or_else(damaged)?,
            head: last.head,
            after: last.position,
            position: last.position,
            begun: last.size,
            times: None,
        })
    }

    const fn count(&self) -> u64 {
        self.frontier.size() - self.begun
    }

    fn take(&mut self, record: &Chained) -> Result<(), Error> {
        let next = self.frontier.size() + 1;
        if record.sequence != next || chain::link(&self.head, &record.canonical) != record.hash {
            let what = format!("the audit log's record {next}: `strongroom audit verify` tells what is wrong with it");
            return Err(Error::Corrupt { what });
        }
        self.head = record.hash;
        self.frontier.push(merkle::leaf(&record.canonical));
        let (oldest, newest) = self.times.unwrap_or((record.at, record.at));
        self.times = Some((oldest.min(record.at), newest.max(record.at)));
        Ok(())
    }
}
