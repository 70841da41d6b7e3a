//! Reading the audit log, and proving it.

use crate::crypto::ledger::merkle::Frontier;
use crate::crypto::ledger::note::{Note, Verifier};
use crate::crypto::ledger::walk::{Boundary, Report, Walk};

use crate::store::{self, AuditFilter, Store};
use crate::vault::inspect::page_size;
use crate::vault::ledger::verifiers;
use crate::vault::names::EVERYTHING;
use crate::vault::policy::Resource;
use crate::vault::request::{AuditFound, AuditQuery, ChainReport};
use crate::vault::trail::Trail;
use crate::vault::{Action, Caller, Error, Vault, meant};

const DEFAULT_PAGE: u32 = 100;
const LARGEST_PAGE: u32 = 1_000;

impl Vault {
    pub async fn audit(&self, caller: &Caller, query: AuditQuery) -> Result<AuditFound, Error> {
        let org = query.org.clone().unwrap_or_else(|| EVERYTHING.to_owned());
        let mut trail = Trail::begin(caller, Action::ListAudit);
        let result = async {
            self.about_scope(&org, &mut trail)?;
            let permit = self.guard.permit(caller, Resource::Org(&org), &mut trail)?;
            query.check()?;
            let from = match query.page_token.as_str() {
                "" => None,
                token => Some(token.parse().map_err(|_| Error::invalid("page_token", "must be a next_page_token"))?),
            };
            let (size, descending) = (page_size(query.page_size, DEFAULT_PAGE, LARGEST_PAGE), query.descending);
            let page = self.store.audit(&query.filter(), from, descending, size).await?;
            self.guard.admit(permit, &trail).await?;
            // Ascending, the last place stays good for records yet to come; descending, the log has a beginning.
            let last = page.records.last().map(|(position, _)| *position).or(from);
            let next = page.next.or_else(|| last.filter(|_| !descending));
            Ok(AuditFound {
                records: page.records.into_iter().map(|(_, record)| record).collect(),
                next: next.map(|position| position.to_string()).unwrap_or_default(),
                more: page.next.is_some(),
                pruned: page.pruned,
            })
        };
        let result = result.await;
        self.guard.finish(trail, result).await
    }

    /// Recomputes every chain from its first record, and compares it with its checkpoints.
    pub async fn verify_audit(&self, caller: &Caller) -> Result<Vec<ChainReport>, Error> {
        let mut trail = Trail::begin(caller, Action::VerifyAudit).about_org(EVERYTHING);
        let result = async {
            let permit = self.guard.permit(caller, Resource::Org(EVERYTHING), &mut trail)?;
            self.guard.admit(permit, &trail).await?;
            Ok(verify(self.store.as_ref()).await?)
        };
        let result = result.await;
        self.guard.finish(trail, result).await
    }
}

impl AuditQuery {
    /// A slip in a word would find nothing, which reads as if nothing had happened.
    pub(super) fn check(&self) -> Result<(), Error> {
        if let Some(action) = &self.action
            && !Action::ALL.iter().any(|known| known.as_str() == action)
        {
            let meant = meant(action, Action::ALL.iter().map(|known| known.as_str()));
            return Err(Error::invalid("action", format!("is not among the actions of the log{meant}")));
        }
        // Connection tests and health bring words of their own, in lower case.
        let reason =
            |outcome: &str| outcome.chars().any(char::is_uppercase) || Error::is_reason(&outcome.to_uppercase());
        match self.outcome.as_deref().filter(|outcome| reason(outcome) && !Error::is_reason(outcome)) {
            Some(_) => Err(Error::invalid(
                "outcome",
                format!("must be `ok`, or as records say it: {}", Error::REASONS.join(", ")),
            )),
            None => Ok(()),
        }
    }

    pub(super) fn filter(&self) -> AuditFilter {
        let query = self.clone();
        AuditFilter {
            instance: None,
            org: query.org,
            credential_id: query.credential_id,
            action: query.action,
            outcome: query.outcome,
            caller: query.caller,
            run: query.run,
            grant: query.grant,
            since: query.since,
            until: query.until,
        }
    }
}

/// Walks the log and names, for each instance, the first record that cannot be what was written.
pub async fn verify(store: &dyn Store) -> Result<Vec<ChainReport>, store::Error> {
    loop {
        let chains = walk(store).await?;
        // What was pruned under the walk was no fault.
        let mut is_pruned = false;
        for chain in &chains {
            is_pruned |= store.boundary(&chain.instance).await?.size != chain.begun;
        }
        if !is_pruned {
            return Ok(chains.into_iter().map(|chain| report(chain.instance, chain.walk.report())).collect());
        }
    }
}

/// One chain after another: records of several, which are written side by side, need not come in order.
async fn walk(store: &dyn Store) -> Result<Vec<Chain<'_>>, store::Error> {
    let mut walked = Vec::new();
    for instance in store.chains().await? {
        let mut chain = Chain::of(store, instance).await?;
        chain.walk().await?;
        walked.push(chain);
    }
    Ok(walked)
}

/// A chain on its walk, with its checkpoints, a few at a time.
struct Chain<'a> {
    store: &'a dyn Store,
    instance: String,
    walk: Walk,
    /// So many records were pruned before it began.
    begun: u64,
    keys: Vec<Verifier>,
    /// Those up to this size were told to the walk.
    told: u64,
    /// The newest when the walk began: newer ones may be of records that it did not come to.
    newest: u64,
}

impl<'a> Chain<'a> {
    /// From what was pruned on. Where the checkpoint that proves it is missing or damaged, the first record will not fit.
    async fn of(store: &'a dyn Store, instance: String) -> Result<Self, store::Error> {
        let newest = store.checkpoint(&instance, u64::MAX).await?.map_or(0, |newest| newest.size);
        let keys = verifiers(store, &instance).await?;
        let begun = store.boundary(&instance).await?.size;
        let walk = match begun {
            0 => Walk::default(),
            size => {
                let end = store.checkpoint(&instance, size).await?.filter(|end| end.size == size);
                let boundary = end.and_then(|end| {
                    Some(Boundary { head: end.head, frontier: Frontier::from_bytes(end.size, &end.frontier)? })
                });
                Walk::new(boundary.unwrap_or_default())
            }
        };
        Ok(Self { store, instance, walk, begun, keys, told: 0, newest })
    }

    async fn walk(&mut self) -> Result<(), store::Error> {
        let filter = AuditFilter { instance: Some(self.instance.clone()), ..AuditFilter::default() };
        let mut from = None;
        loop {
            let page = match self.store.audit(&filter, from, false, LARGEST_PAGE).await {
                // Somewhere in this page; go on one by one to find where.
                Err(store::Error::Corrupt(_)) => self.store.audit(&filter, from, false, 1).await,
                page => page,
            };
            let page = match page {
                Err(store::Error::Corrupt(_)) => {
                    self.walk.unreadable();
                    break;
                }
                page => page?,
            };
            from = page.next.or_else(|| page.records.last().map(|(position, _)| *position));
            let is_last = page.records.is_empty() && page.next.is_none();
            for (_, record) in page.records {
                self.prepare(record.sequence).await?;
                self.walk.step(record.sequence, &record.canonical, &record.hash);
            }
            if is_last {
                break;
            }
        }
        self.prepare(u64::MAX).await
    }

    /// Tells the walk of the checkpoints up to a record.
    async fn prepare(&mut self, sequence: u64) -> Result<(), store::Error> {
        while self.told < sequence.min(self.newest) {
            let page = self.store.checkpoints(&self.instance, self.told, LARGEST_PAGE).await?;
            if page.is_empty() {
                break;
            }
            for checkpoint in page.into_iter().filter(|checkpoint| checkpoint.size <= self.newest) {
                self.told = checkpoint.size;
                let note = checkpoint.note.parse::<Note>().and_then(|note| note.open(&self.keys));
                match note.ok().filter(|said| said.size == checkpoint.size) {
                    Some(said) => self.walk.signed(&said),
                    None => self.walk.unsigned(checkpoint.size),
                }
            }
        }
        Ok(())
    }
}

fn report(instance: String, report: Report) -> ChainReport {
    let Report { pruned, records, head, checkpoints, covered, broken } = report;
    let broken = broken.map(|(sequence, fault)| (sequence, fault.as_str()));
    ChainReport { instance, records, head, pruned, checkpoints, covered, broken }
}
