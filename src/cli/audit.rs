//! The audit log: read it, follow it, prove it.

mod export;
mod key;
pub(super) mod verify;

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::Context;
use super::client::Admin;
use super::error::Failure;
use super::output::{Array, escape, say};
use super::values;
use super::view::{self, Columns};
use crate::pb::v1::{AuditRecord, ListAuditRequest};

const PAGE: u32 = 500;
/// What a tail reads each time; a busier log takes more pages.
const TAIL_PAGE: u32 = 100;
const POLL: Duration = Duration::from_secs(1);
/// A record's time is that of its request, which may have taken long.
const TAIL_BEGINS: &str = "5m";

/// Read, follow and verify the audit log.
#[derive(Args)]
#[command(after_help = "Example:\n  strongroom audit verify")]
pub(super) struct Audit {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Subcommand)]
enum AuditCommand {
    List(List),
    Tail(Tail),
    Verify(verify::Verify),
    Export(export::Export),
    Key(key::Key),
}

impl Audit {
    pub async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self.command {
            AuditCommand::List(command) => command.run(context).await,
            AuditCommand::Tail(command) => command.run(context).await,
            AuditCommand::Verify(command) => command.run(context).await,
            AuditCommand::Export(command) => command.run(context).await,
            AuditCommand::Key(command) => command.run(context).await,
        }
    }
}

#[derive(Args)]
struct Filters {
    /// Only this tenant.
    #[arg(long)]
    org: Option<String>,

    /// Only this credential.
    #[arg(long, value_name = "ID")]
    credential: Option<String>,

    /// Only this action, such as `decrypt`.
    #[arg(long)]
    action: Option<String>,

    /// Only this outcome: `ok`, or the reason why not, such as DENIED.
    #[arg(long)]
    outcome: Option<String>,

    /// Only this caller's id.
    #[arg(long, value_name = "ID")]
    caller: Option<String>,

    /// Only this pipeline run.
    #[arg(long, value_name = "ID")]
    run: Option<String>,

    /// Only this grant.
    #[arg(long, value_name = "ID")]
    grant: Option<String>,

    /// Only from this instant on, or from so long ago, such as 2027-06-30T12:00:00Z or 12h.
    #[arg(long, value_name = "WHEN", value_parser = values::moment)]
    since: Option<pbjson_types::Timestamp>,

    /// Only from before this instant, or longer ago than this.
    #[arg(long, value_name = "WHEN", value_parser = values::moment)]
    until: Option<pbjson_types::Timestamp>,
}

impl Filters {
    fn request(&self) -> ListAuditRequest {
        ListAuditRequest {
            org: self.org.clone().unwrap_or_default(),
            credential_id: self.credential.clone().unwrap_or_default(),
            action: self.action.clone().unwrap_or_default(),
            outcome: self.outcome.clone().unwrap_or_default(),
            caller: self.caller.clone().unwrap_or_default(),
            run: self.run.clone().unwrap_or_default(),
            grant: self.grant.clone().unwrap_or_default(),
            since: self.since,
            until: self.until,
            ..ListAuditRequest::default()
        }
    }
}

/// List audit records, newest first.
#[derive(Args)]
#[command(after_help = "Example:\n  strongroom audit list --org acme --action decrypt --outcome DENIED")]
struct List {
    #[command(flatten)]
    filters: Filters,

    /// At most this many.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,

    /// Oldest first.
    #[arg(long)]
    oldest_first: bool,
}

impl List {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let mut client = context.server.admin().await?;
        let out = &mut context.out;
        let mut left = self.limit;
        let mut page_token = String::new();
        let (mut array, mut columns) = (Array::default(), Columns::new(view::AUDIT));
        let pruned = loop {
            let page_size = u32::try_from(left).unwrap_or(PAGE).min(PAGE);
            let request =
                ListAuditRequest { page_size, page_token, descending: !self.oldest_first, ..self.filters.request() };
            let mut page = client.list_audit(request).await?.into_inner();
            page.records.truncate(page_size as usize);
            left -= page.records.len() as u64;
            page_token = page.next_page_token;
            match out.is_json() {
                true => array.page(out, &page.records)?,
                false => out.text(&columns.page(page.records.iter().map(view::audit_row)))?,
            }
            // A page may be short, even empty, while there is more.
            if left == 0 || !page.more || page_token.is_empty() {
                break page.pruned;
            }
        };
        if pruned > 0 && left > 0 {
            say(format!("the first {pruned} records were pruned; the log begins after them"));
        }
        if out.is_json() { array.end(out) } else { Ok(()) }
    }
}

/// Print the newest audit records, then every new one, until ended.
///
/// Reading the log is an act that is recorded too. Those records are left out, or the log would grow by being watched
/// and show nothing else; `strongroom audit list` has them.
#[derive(Args)]
#[command(after_help = "Example:\n  strongroom audit tail --org acme")]
struct Tail {
    #[command(flatten)]
    filters: Filters,

    /// Begin with this many old records.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=1000))]
    lines: u32,
}

impl Tail {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let mut client = context.server.admin().await?;
        let mut seen = Seen::default();
        let mut request = ListAuditRequest { page_size: TAIL_PAGE, descending: true, ..self.filters.request() };
        // More than was asked for, since some of it is left out.
        let first = ListAuditRequest { page_size: (2 * self.lines).clamp(TAIL_PAGE, 1000), ..request.clone() };
        let newest = client.list_audit(first).await?.into_inner().records;
        let old = seen.only_new(newest);
        let old = old.iter().filter(|record| self.wanted(record)).take(self.lines as usize).collect::<Vec<_>>();
        for record in old.into_iter().rev() {
            context.out.line(record, view::audit_line)?;
        }
        // What comes now is not older: a filter that matches little must not look through all of the log each time.
        if request.since.is_none() {
            request.since = values::moment(TAIL_BEGINS).ok();
        }
        loop {
            tokio::time::sleep(POLL).await;
            let fresh = match newer(&mut client, &request, &mut seen).await {
                Err(failure) if failure.passes() => {
                    say(escape(failure.message()));
                    continue;
                }
                fresh => fresh?,
            };
            for record in fresh.iter().rev().filter(|record| self.wanted(record)) {
                context.out.line(record, view::audit_line)?;
            }
        }
    }

    fn wanted(&self, record: &AuditRecord) -> bool {
        self.filters.action.is_some() || record.action != READING
    }
}

/// The action that reading the log is recorded as.
const READING: &str = "listAudit";

/// How far each chain has been read. A record's sequence grows within its chain, and a page comes in the order of
/// commits, so the first record that was seen before ends what is new.
#[derive(Default)]
struct Seen(BTreeMap<String, u64>);

impl Seen {
    fn has(&self, record: &AuditRecord) -> bool {
        self.0.get(&record.instance).is_some_and(|newest| record.sequence <= *newest)
    }

    /// The records, newest first, that were not seen before; they are now.
    fn only_new(&mut self, mut records: Vec<AuditRecord>) -> Vec<AuditRecord> {
        records.retain(|record| !self.has(record));
        for record in &records {
            let newest = self.0.entry(record.instance.clone()).or_default();
            *newest = record.sequence.max(*newest);
        }
        records
    }
}

/// Everything that came since the last time, newest first.
async fn newer(client: &mut Admin, request: &ListAuditRequest, seen: &mut Seen) -> Result<Vec<AuditRecord>, Failure> {
    let mut fresh = Vec::new();
    let mut request = request.clone();
    loop {
        let page = client.list_audit(request.clone()).await?.into_inner();
        let reached = page.records.iter().any(|record| seen.has(record));
        fresh.extend(page.records);
        if reached || page.next_page_token.is_empty() {
            return Ok(seen.only_new(fresh));
        }
        request.page_token = page.next_page_token;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(instance: &str, sequence: u64) -> AuditRecord {
        AuditRecord { instance: instance.into(), sequence, ..AuditRecord::default() }
    }

    #[test]
    fn a_tail_shows_every_record_once_over_several_chains() {
        let mut seen = Seen::default();
        assert_eq!(seen.only_new(vec![record("a", 2), record("a", 1)]).len(), 2);
        let fresh = seen.only_new(vec![record("b", 1), record("a", 3), record("a", 2)]);
        assert_eq!(fresh, [record("b", 1), record("a", 3)]);
        assert!(seen.only_new(vec![record("b", 1), record("a", 3)]).is_empty());
    }
}
