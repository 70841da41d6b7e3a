//! The audit log as a file that proves itself, a piece at a time.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::stream::BoxStream;
use tokio::sync::mpsc;

use crate::crypto::ledger::export::{FORMAT, Header, Line, Text};
use crate::crypto::ledger::merkle::{self, Frontier, Leaves, Prover};
use crate::store::{AuditFilter, Checkpoint, Store};
use crate::vault::ledger::PAGE;
use crate::vault::moving::End;
use crate::vault::names::EVERYTHING;
use crate::vault::opener::Opener;
use crate::vault::policy::Resource;
use crate::vault::request::AuditQuery;
use crate::vault::trail::Trail;
use crate::vault::{Action, Caller, Error, Turn, Vault};

/// So many pieces wait for whoever reads slowly.
const AHEAD: usize = 4;
/// So many lines go in one piece.
const LINES: usize = 100;
/// So many older checkpoints may be asked about.
const KNOWN: usize = 16;

type Piece = Result<Vec<String>, Error>;

impl Vault {
    /// All that is left of the log, or the records that a query finds, each with its proof. `known` are the sizes of older
    /// checkpoints that whoever asks has.
    pub async fn export_audit(
        self: &Arc<Self>,
        caller: &Caller,
        query: AuditQuery,
        known: Vec<u64>,
    ) -> Result<BoxStream<'static, Piece>, Error> {
        let org = query.org.clone().unwrap_or_else(|| EVERYTHING.to_owned());
        let mut trail = Trail::begin(caller, Action::ExportAudit);
        let result = async {
            self.about_scope(&org, &mut trail)?;
            let permit = self.guard.permit(caller, Resource::Org(&org), &mut trail)?;
            query.check()?;
            if known.len() > KNOWN {
                return Err(Error::invalid("known_sizes", format!("must be at most {KNOWN}")));
            }
            self.guard.admit(permit, &trail).await?;
            // The newest checkpoint covers this very export's record too. Over a broken log none is made: then all that
            // is there goes out, for whoever wants to see what was done to it.
            let sound = match self.checkpoint().await {
                Ok(()) => true,
                Err(Error::Corrupt { .. }) => false,
                Err(error) => return Err(error),
            };
            let newest = self.store.checkpoint(self.store.instance(), u64::MAX).await?;
            let newest = newest.ok_or_else(|| Error::bug("a checkpoint was made and is not there"))?;
            Ok((if sound { newest.position } else { u64::MAX }, newest))
        };
        let result = result.await;
        let (end, newest) = self.guard.finish(trail, result).await?;
        let (pieces, ready) = mpsc::channel(AHEAD);
        let filter = query.filter();
        let (store, turn) = (Arc::clone(&self.store), caller.turn.clone());
        let export = Export { store, newest, end, pieces, lines: Vec::new(), _turn: turn };
        tokio::spawn(export.run(filter, known).boxed());
        Ok(Opener::new(self, caller.clone()).pass(ready))
    }
}

struct Export {
    store: Arc<dyn Store>,
    newest: Checkpoint,
    /// The position of the last record to go out.
    end: u64,
    pieces: mpsc::Sender<Piece>,
    lines: Vec<String>,
    /// Whoever hangs up has their place back when the work for them has ended.
    _turn: Turn,
}

impl Export {
    async fn run(mut self, filter: AuditFilter, known: Vec<u64>) {
        let done = match filter == AuditFilter::default() {
            true => self.all().await,
            false => self.part(&filter, known).await,
        };
        let done = match done {
            Ok(()) => self.send().await,
            other => other,
        };
        if let Err(End::Failed(error)) = done {
            _ = self.pieces.send(Err(error)).await;
        }
    }

    async fn all(&mut self) -> Result<(), End> {
        let begin = self.begin(false).await?;
        let (mut after, newest) = (begin.size().saturating_sub(1), self.newest.size);
        while after < newest {
            let page = self.store.checkpoints(self.store.instance(), after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.size;
            for Checkpoint { note, .. } in page.into_iter().filter(|one| one.size <= newest) {
                self.put(&Line::Checkpoint { note }).await?;
            }
        }
        let (mut position, mut records, end) = (0, 0, self.end);
        while position < end {
            let page = self.store.chained(position, PAGE).await?;
            let Some(last) = page.last() else { break };
            position = last.position;
            for record in page.into_iter().filter(|record| record.position <= end) {
                records += 1;
                let line = Line::Record { canonical: record.canonical, hash: Text(record.hash), proof: None };
                self.put(&line).await?;
            }
        }
        self.not_pruned_since(&begin).await?;
        self.put(&Line::End { records }).await
    }

    async fn not_pruned_since(&self, begin: &Frontier) -> Result<(), End> {
        if self.store.boundary(self.store.instance()).await?.size == begin.size() {
            return Ok(());
        }
        let why = "records were pruned meanwhile: export again".to_owned();
        Err(Error::Conflict { why, id: String::new(), version: 0 }.into())
    }

    async fn part(&mut self, filter: &AuditFilter, known: Vec<u64>) -> Result<(), End> {
        let begin = self.begin(true).await?;
        self.put(&Line::Checkpoint { note: self.newest.note.clone() }).await?;
        let newest = self.newest.size;
        let mut tree = Tree::of(self.store.as_ref(), begin.clone(), &self.newest).await?;
        for size in known.into_iter().filter(|size| *size < newest) {
            // None for one from before the first record that is left.
            if let Some(proof) = tree.consistency(self.store.as_ref(), size).await? {
                self.put(&Line::Consistency { size, proof: Line::texts(&proof) }).await?;
            }
        }
        let own = AuditFilter { instance: Some(self.store.instance().to_owned()), ..filter.clone() };
        let (mut from, mut records) = (None, 0);
        loop {
            let page = self.store.audit(&own, from, false, PAGE).await?;
            for (position, record) in page.records {
                if position > self.newest.position {
                    continue;
                }
                let proof = tree.inclusion(self.store.as_ref(), record.sequence).await?;
                let proof = Some(Line::texts(&proof.unwrap_or_default()));
                records += 1;
                self.put(&Line::Record { canonical: record.canonical, hash: Text(record.hash), proof }).await?;
            }
            from = page.next.filter(|next| *next < self.newest.position);
            if from.is_none() {
                break;
            }
        }
        self.not_pruned_since(&begin).await?;
        self.put(&Line::End { records }).await
    }

    async fn begin(&mut self, part: bool) -> Result<Frontier, End> {
        let pruned = self.store.boundary(self.store.instance()).await?.size;
        let end = self.store.checkpoint(self.store.instance(), pruned).await?.filter(|end| end.size == pruned);
        let frontier = match &end {
            Some(end) => Frontier::from_bytes(pruned, &end.frontier),
            None if pruned == 0 => Some(Frontier::default()),
            None => None,
        };
        let frontier =
            frontier.ok_or_else(|| Error::Corrupt { what: "the checkpoint that the audit log begins with".into() })?;
        let header = Header {
            format: FORMAT,
            instance: self.store.instance().to_owned(),
            size: self.newest.size,
            part,
            pruned,
            head: Text(end.map_or([0; 32], |end| end.head)),
            frontier: frontier.roots().iter().copied().map(Text).collect(),
        };
        self.put(&Line::Header(header)).await?;
        Ok(frontier)
    }

    async fn put(&mut self, line: &Line) -> Result<(), End> {
        self.lines.push(serde_json::to_string(line).map_err(Error::bug)?);
        if self.lines.len() >= LINES { self.send().await } else { Ok(()) }
    }

    async fn send(&mut self) -> Result<(), End> {
        let lines = std::mem::take(&mut self.lines);
        self.pieces.send(Ok(lines)).await.map_err(|_| End::Unheard)
    }
}

/// The tree up to the newest checkpoint: its blocks in memory, the leaves of one block beside them.
struct Tree {
    prover: Prover,
    /// The position before each block's first record.
    blocks: Vec<u64>,
    first: u64,
    leaves: Leaves,
}

impl Tree {
    async fn of(store: &dyn Store, begin: Frontier, newest: &Checkpoint) -> Result<Self, Error> {
        let first = begin.size() / merkle::BLOCK;
        let (mut prover, mut blocks, mut position) = (Prover::new(begin), Vec::new(), 0);
        while prover.size() < newest.size {
            let page = store.chained(position, PAGE).await?;
            if page.is_empty() {
                return Err(Error::Corrupt { what: "the audit log ends before its newest checkpoint".into() });
            }
            for record in page.into_iter().take_while(|record| record.position <= newest.position) {
                if blocks.is_empty() || prover.size().is_multiple_of(merkle::BLOCK) {
                    blocks.push(position);
                }
                prover.push(merkle::leaf(&record.canonical));
                position = record.position;
            }
            if position >= newest.position && prover.size() < newest.size {
                return Err(Error::Corrupt { what: "the audit log has gaps".into() });
            }
        }
        Ok(Self { prover, blocks, first, leaves: Leaves::default() })
    }

    async fn inclusion(&mut self, store: &dyn Store, sequence: u64) -> Result<Option<Vec<[u8; 32]>>, Error> {
        let Some(index) = sequence.checked_sub(1) else { return Ok(None) };
        self.reach(store, index).await?;
        Ok(self.prover.inclusion(index, &self.leaves))
    }

    async fn consistency(&mut self, store: &dyn Store, size: u64) -> Result<Option<Vec<[u8; 32]>>, Error> {
        let Some(last) = size.checked_sub(1) else { return Ok(None) };
        self.reach(store, last).await?;
        Ok(self.prover.consistency(size, &self.leaves))
    }

    /// Reads the leaves of this one's block, unless they are those at hand.
    async fn reach(&mut self, store: &dyn Store, leaf: u64) -> Result<(), Error> {
        let needs = self.prover.needs(leaf);
        let block = leaf / merkle::BLOCK;
        let after = block.checked_sub(self.first).and_then(|nth| self.blocks.get(usize::try_from(nth).ok()?));
        let is_at_hand = self.leaves.first == needs.start && !self.leaves.hashes.is_empty();
        let Some(after) = after.filter(|_| !needs.is_empty() && !is_at_hand) else { return Ok(()) };
        let count = u32::try_from(needs.end - needs.start).map_err(Error::bug)?;
        let records = store.chained(*after, count).await?;
        let hashes = records.iter().map(|record| merkle::leaf(&record.canonical)).collect();
        self.leaves = Leaves { first: needs.start, hashes };
        Ok(())
    }
}
