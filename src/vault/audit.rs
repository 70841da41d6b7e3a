//! Reading the audit log, and proving it.

use std::collections::BTreeMap;

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
        let begins = store.boundary().await?;
        let reports = walk(store).await?;
        // What was pruned under the walk was no fault.
        if store.boundary().await? == begins {
            return Ok(reports);
        }
    }
}

async fn walk(store: &dyn Store) -> Result<Vec<ChainReport>, store::Error> {
    let own = store.instance();
    let mut signed = Signed::of(store).await?;
    let mut chains = BTreeMap::from([(own.to_owned(), signed.begin().await?)]);
    let mut from = None;
    loop {
        let page = match store.audit(&AuditFilter::default(), from, false, LARGEST_PAGE).await {
            // Somewhere in this page; go on one by one to find where.
            Err(store::Error::Corrupt(_)) => store.audit(&AuditFilter::default(), from, false, 1).await,
            page => page,
        };
        let page = match page {
            Err(store::Error::Corrupt(_)) => {
                // It cannot be read, so nobody knows whose it is: every chain ends here.
                chains.values_mut().for_each(Walk::unreadable);
                break;
            }
            page => page?.records,
        };
        let Some((last, _)) = page.last() else { break };
        from = Some(*last);
        for (_, record) in page {
            let walk = chains.entry(record.instance.clone()).or_default();
            if record.instance == own {
                signed.prepare(walk, record.sequence).await?;
            }
            walk.step(record.sequence, &record.canonical, &record.hash);
        }
    }
    if let Some(walk) = chains.get_mut(own) {
        signed.prepare(walk, u64::MAX).await?;
    }
    Ok(chains.into_iter().map(|(instance, walk)| report(instance, walk.report())).collect())
}

/// The checkpoints, a few at a time.
struct Signed<'a> {
    store: &'a dyn Store,
    keys: Vec<Verifier>,
    /// Those up to this size were told to the walk.
    told: u64,
    /// The newest when the walk began: newer ones may be of records that it did not come to.
    newest: u64,
}

impl<'a> Signed<'a> {
    async fn of(store: &'a dyn Store) -> Result<Self, store::Error> {
        let newest = store.checkpoint(u64::MAX).await?.map_or(0, |newest| newest.size);
        Ok(Self { store, keys: verifiers(store).await?, told: 0, newest })
    }

    /// From what was pruned on. Where the checkpoint that proves it is missing or damaged, the first record will not fit.
    async fn begin(&mut self) -> Result<Walk, store::Error> {
        let size = self.store.boundary().await?.size;
        if size == 0 {
            return Ok(Walk::default());
        }
        let end = self.store.checkpoint(size).await?.filter(|end| end.size == size);
        let boundary = end.and_then(|end| {
            Some(Boundary { head: end.head, frontier: Frontier::from_bytes(end.size, &end.frontier)? })
        });
        Ok(Walk::new(boundary.unwrap_or_default()))
    }

    /// Tells the walk of the checkpoints up to a record.
    async fn prepare(&mut self, walk: &mut Walk, sequence: u64) -> Result<(), store::Error> {
        while self.told < sequence.min(self.newest) {
            let page = self.store.checkpoints(self.told, LARGEST_PAGE).await?;
            if page.is_empty() {
                break;
            }
            for checkpoint in page.into_iter().filter(|checkpoint| checkpoint.size <= self.newest) {
                self.told = checkpoint.size;
                let note = checkpoint.note.parse::<Note>().and_then(|note| note.open(&self.keys));
                match note.ok().filter(|said| said.size == checkpoint.size) {
                    Some(said) => walk.signed(&said),
                    None => walk.unsigned(checkpoint.size),
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
