//! Reading the audit log, and proving it.

use std::collections::BTreeMap;

use crate::store::{self, AuditFilter, Record, chain};
use crate::vault::inspect::page_size;
use crate::vault::names::EVERYTHING;
use crate::vault::policy::Resource;
use crate::vault::request::{AuditQuery, ChainReport, Page};
use crate::vault::trail::Trail;
use crate::vault::{Action, Caller, Error, Vault};

const DEFAULT_PAGE: u32 = 100;
const LARGEST_PAGE: u32 = 1_000;

impl Vault {
    pub async fn audit(&self, caller: &Caller, query: AuditQuery) -> Result<Page<Record>, Error> {
        let org = query.org.clone().unwrap_or_else(|| EVERYTHING.to_owned());
        let mut trail = Trail::begin(caller, Action::ListAudit);
        let result = async {
            self.about_scope(&org, &mut trail)?;
            let permit = self.guard.permit(caller, Resource::Org(&org), &mut trail)?;
            let from = match query.page_token.as_str() {
                "" => None,
                token => Some(token.parse().map_err(|_| Error::invalid("page_token", "must be a next_page_token"))?),
            };
            let filter = AuditFilter {
                instance: None,
                org: query.org,
                credential_id: query.credential_id,
                action: query.action,
                outcome: query.outcome,
                caller: query.caller,
            };
            let size = page_size(query.page_size, DEFAULT_PAGE, LARGEST_PAGE);
            let rows = self.store.audit(&filter, from, query.descending, size).await?;
            self.guard.admit(permit, &trail).await?;
            // Ascending, the last place stays good for records yet to come; descending, the log has a beginning.
            let more = !query.descending || rows.len() == size as usize;
            let last = rows.last().map(|(position, _)| *position).or(from);
            let next = last.filter(|_| more).map(|position| position.to_string()).unwrap_or_default();
            Ok(Page { items: rows.into_iter().map(|(_, record)| record).collect(), next })
        };
        let result = result.await;
        self.guard.finish(trail, result).await
    }

    /// Recomputes every chain from its first record.
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

/// Walks the log and names, for each instance, the first record that cannot be what was written.
pub async fn verify(store: &dyn store::Store) -> Result<Vec<ChainReport>, store::Error> {
    let mut chains: BTreeMap<String, Walk> = BTreeMap::new();
    let mut from = None;
    loop {
        let page = match store.audit(&AuditFilter::default(), from, false, LARGEST_PAGE).await {
            // Somewhere in this page; go on one by one to find where.
            Err(store::Error::Corrupt(_)) => store.audit(&AuditFilter::default(), from, false, 1).await,
            page => page,
        };
        let page = match page {
            Err(store::Error::Corrupt(_)) => {
                // It cannot be read, so nobody knows whose it is: every chain ends here, and where none was read yet, a
                // chain without a name is broken at its first record.
                if chains.is_empty() {
                    chains.insert(String::new(), Walk::default());
                }
                chains.values_mut().for_each(|walk| walk.breaks("unreadable"));
                break;
            }
            page => page?,
        };
        let Some((last, _)) = page.last() else { break };
        from = Some(*last);
        for (_, record) in page {
            chains.entry(record.instance.clone()).or_default().step(&record);
        }
    }
    Ok(chains.into_iter().map(|(instance, walk)| walk.report(instance)).collect())
}

#[derive(Default)]
struct Walk {
    records: u64,
    hash: [u8; 32],
    broken: Option<(u64, &'static str)>,
}

impl Walk {
    fn step(&mut self, record: &Record) {
        if self.broken.is_some() {
            return;
        }
        let expected = self.records + 1;
        if record.sequence > expected {
            return self.breaks("missing");
        }
        if record.sequence < expected {
            return self.breaks("reordered");
        }
        if chain::link(&self.hash, &record.canonical) != record.hash {
            return self.breaks("edited");
        }
        (self.records, self.hash) = (expected, record.hash);
    }

    fn breaks(&mut self, fault: &'static str) {
        self.broken = self.broken.or(Some((self.records + 1, fault)));
    }

    fn report(self, instance: String) -> ChainReport {
        ChainReport { instance, records: self.records, head: self.hash, broken: self.broken }
    }
}
