//! Appends records to the chain, and confirms in the same statement what they are answered on: so that many decrypts are
//! one round trip, and nobody else's change comes in between.
//!
//! ```text
//!   WITH unfit AS (what does not hold any more)
//!        INSERT the records WHERE there is nothing in unfit
//!   SELECT unfit                                             none: all is recorded, and durable
//! ```

use std::collections::HashSet;
use std::sync::Arc;

use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use super::claim::Claim;
use super::clock;
use super::connection::Connection;
use crate::store::chain::Head;
use crate::store::sql::{Sql as _, values};
use crate::store::{Draft, Error};

/// What must still hold when it is answered.
#[derive(Default)]
pub struct Confirmations {
    /// Credentials, the revision of each and the version that it serves.
    pub served: HashSet<(Uuid, u64, u32)>,
    /// Tokens, and when each was used, in microseconds.
    pub tokens: HashSet<(Uuid, i64)>,
    /// What the rules are known by that it was decided under; more than one while they are replaced.
    pub rules: HashSet<Arc<str>>,
}

/// What does not hold.
#[derive(Default)]
pub struct Unfit {
    pub served: HashSet<Uuid>,
    pub tokens: HashSet<Uuid>,
    pub rules: HashSet<Arc<str>>,
}

impl Unfit {
    fn is_empty(&self) -> bool {
        self.served.is_empty() && self.tokens.is_empty() && self.rules.is_empty()
    }
}

const APPEND: &str = "\
WITH unfit (what, id) AS (
    SELECT 'served', a.id FROM unnest($1::bytea[], $2::bigint[], $3::bigint[]) AS a (id, revision, version)
        WHERE NOT EXISTS (SELECT 1 FROM credentials c WHERE c.id = a.id AND c.revision = a.revision
            AND c.active_version = a.version AND c.deleted_at IS NULL AND c.disabled = 0)
    UNION ALL
    SELECT 'token', a.id FROM unnest($4::bytea[], $5::bigint[]) AS a (id, used_at)
        WHERE NOT EXISTS (SELECT 1 FROM tokens t WHERE t.id = a.id AND t.revoked_at IS NULL
            AND t.expires_at > a.used_at)
    UNION ALL
    SELECT 'rules', convert_to(a.rules, 'UTF8') FROM unnest($6::text[]) AS a (rules)
        WHERE NOT EXISTS (SELECT 1 FROM meta WHERE key = 'rules' AND value = a.rules)
    UNION ALL
    SELECT 'claim', NULL WHERE NOT EXISTS (SELECT 1 FROM instances WHERE instance = $7 AND holder = $8)
    UNION ALL
    SELECT 'clock', NULL
        WHERE abs(CAST(extract(epoch FROM statement_timestamp()) * 1000000 AS BIGINT) - $15) > $16
), told AS (
    INSERT INTO audit_log (instance, sequence, org, credential_id, run, canonical, hash)
        SELECT $7, r.sequence, r.org, r.credential_id, r.run, r.canonical, r.hash
        FROM unnest($9::bigint[], $10::text[], $11::bytea[], $12::text[], $13::text[], $14::bytea[])
            AS r (sequence, org, credential_id, run, canonical, hash)
        WHERE NOT EXISTS (SELECT 1 FROM unfit) ORDER BY r.sequence
)
SELECT what, id FROM unfit";

/// No record of an answer is longer, as a rule.
const ROOM: usize = 1_000;

/// Moves the head behind the records that were appended; where something is unfit, nothing was.
pub fn append(
    connection: &Connection,
    claim: &Claim,
    head: &mut Head,
    records: &[&Draft],
    confirmations: &Confirmations,
) -> Result<Result<(), Unfit>, Error> {
    let mut end = head.clone();
    let (mut sequences, mut texts, mut hashes) = (Vec::new(), Vec::new(), Vec::new());
    for record in records {
        let canonical = end.append(record);
        texts
            .push(canonical.map_err(|error| Error::Unavailable(format!("the audit record was not written: {error}")))?);
        sequences.push(signed(end.sequence));
        hashes.push(end.hash);
    }
    let served: Vec<_> = confirmations.served.iter().collect();
    let tokens: Vec<_> = confirmations.tokens.iter().collect();
    let ids: Vec<&[u8]> = served.iter().map(|(id, ..)| &id.as_bytes()[..]).collect();
    let revisions: Vec<i64> = served.iter().map(|(_, revision, _)| signed(*revision)).collect();
    let versions: Vec<i64> = served.iter().map(|(.., version)| i64::from(*version)).collect();
    let token_ids: Vec<&[u8]> = tokens.iter().map(|(id, _)| &id.as_bytes()[..]).collect();
    let rules: Vec<&str> = confirmations.rules.iter().map(|rules| &**rules).collect();
    let used_at: Vec<i64> = tokens.iter().map(|(_, at)| *at).collect();
    let orgs: Vec<&str> = records.iter().map(|record| record.org.as_str()).collect();
    let about: Vec<Option<&[u8]>> =
        records.iter().map(|record| record.credential_id.as_ref().map(|id| &id.as_bytes()[..])).collect();
    let runs: Vec<Option<&str>> =
        records.iter().map(|record| Some(record.run.as_str()).filter(|run| !run.is_empty())).collect();
    let hashes: Vec<&[u8]> = hashes.iter().map(|hash| &hash[..]).collect();
    let holder = &claim.holder.as_bytes()[..];
    let values: [(&(dyn ToSql + Sync), Type); 16] = [
        (&ids, Type::BYTEA_ARRAY),
        (&revisions, Type::INT8_ARRAY),
        (&versions, Type::INT8_ARRAY),
        (&token_ids, Type::BYTEA_ARRAY),
        (&used_at, Type::INT8_ARRAY),
        (&rules, Type::TEXT_ARRAY),
        (&claim.chain, Type::TEXT),
        (&holder, Type::BYTEA),
        (&sequences, Type::INT8_ARRAY),
        (&orgs, Type::TEXT_ARRAY),
        (&about, Type::BYTEA_ARRAY),
        (&runs, Type::TEXT_ARRAY),
        (&texts, Type::TEXT_ARRAY),
        (&hashes, Type::BYTEA_ARRAY),
        (&clock::ours(), Type::INT8),
        (&clock::FAR, Type::INT8),
    ];
    let mut unfit = Unfit::default();
    for row in connection.ask(APPEND, &values)? {
        let damaged = |error: tokio_postgres::Error| Error::Unavailable(error.to_string());
        let (what, id): (&str, Option<&[u8]>) = (row.try_get(0).map_err(damaged)?, row.try_get(1).map_err(damaged)?);
        let uuid = id.and_then(|id| Uuid::from_slice(id).ok());
        match (what, uuid, id) {
            ("served", Some(id), _) => _ = unfit.served.insert(id),
            ("token", Some(id), _) => _ = unfit.tokens.insert(id),
            ("rules", _, Some(text)) => {
                let rules = confirmations.rules.iter().find(|rules| rules.as_bytes() == text);
                _ = unfit.rules.insert(Arc::clone(rules.ok_or_else(unexplained)?));
            }
            ("clock", ..) => return Err(clock::refusal(connection)),
            _ => return Err(claim.lost()),
        }
    }
    if !unfit.is_empty() {
        return Ok(Err(unfit));
    }
    *head = end;
    Ok(Ok(()))
}

/// Proves that there is room for a record, in the transaction that the connection is in, and leaves none: a disk that
/// still takes something smaller may be full.
pub fn prove_room(connection: &Connection, claim: &Claim) -> Result<(), Error> {
    connection.savepoint()?;
    // In a place of its own: readers of the log would wait for what was given the next one and never appears. And in no
    // other proof's, which would wait for what a lost connection has left there.
    let place = -clock::ours();
    let sql =
        "INSERT INTO audit_log (position, instance, sequence, org, canonical, hash) VALUES (?1, ?2, ?1, '', ?3, ?4)";
    connection.execute(sql, values![place, &claim.chain, "-".repeat(ROOM), [0_u8; 32].as_slice()])?;
    connection.undo()
}

/// Nothing was written, and it does not say what does not hold.
pub fn unexplained() -> Error {
    Error::Unavailable("the database refused a record without saying why".into())
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
