//! Bad input through the real daemon: every refusal names the field and the rule and never the value, stores nothing, and
//! is on record with who tried. The same table for gRPC and REST.

mod damage;
mod table;
mod tokens;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use strongroom::crypto::Secret;
use strongroom::pb::v1::{AuditRecord, ListAuditRequest, SetupCredentialRequest};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::daemon::{Daemon, openai_key, runtime, setup};

/// What a client reads of a refusal.
#[derive(Debug, PartialEq, Eq)]
struct Refusal {
    reason: String,
    field: String,
    words: String,
    request_id: String,
}

impl Refusal {
    fn of_grpc(status: &Status) -> Self {
        let info = status.get_details_error_info().unwrap_or_else(|| panic!("no details: {status:?}"));
        let part = |name: &str| info.metadata.get(name).cloned().unwrap_or_default();
        Self {
            reason: info.reason.clone(),
            field: part("field"),
            words: status.message().to_owned(),
            request_id: part("request_id"),
        }
    }

    fn of_rest((status, body): &(u16, String)) -> Self {
        assert!((400..600).contains(status), "{status}: {body}");
        let problem: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("no JSON: {body}"));
        let part = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
        Self { reason: part("reason"), field: part("field"), words: part("detail"), request_id: part("request_id") }
    }
}

/// The record of a request.
async fn record(daemon: &Daemon, request_id: &str) -> Option<AuditRecord> {
    let newest = ListAuditRequest { descending: true, page_size: 20, ..Default::default() };
    let records = daemon.admin(&daemon.token).await.list_audit(newest).await.unwrap().into_inner().records;
    records.into_iter().find(|record| record.request_id == request_id)
}

/// How many rows there are of everything but the audit log.
fn rows(daemon: &Daemon) -> BTreeMap<&'static str, i64> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let database = rusqlite::Connection::open_with_flags(daemon.database(), flags).unwrap();
    // The audit log's own key comes with its first checkpoint.
    let wraps = "wraps WHERE substr(holder, 1, 1) <> x'61'";
    ["credentials", "org_integration_credentials", "org_integration_credential_states", "changes", "tokens", wraps]
        .into_iter()
        .map(|table| {
            (table, database.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap())
        })
        .collect()
}
