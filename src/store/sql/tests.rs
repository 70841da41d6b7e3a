//! The table `org_integration_credential_tests`, and what is to be tested.

use jiff::Timestamp;
use uuid::Uuid;

use super::super::{Error, Health, ProbeRecord, Tested, ToTest};
use super::cells;
use super::values;
use super::{Sql, Value, credentials};

const TABLE: &str = "org_integration_credential_tests";

/// How many tests of a credential are kept.
const KEPT: u32 = 20;

/// Adds a test, and lets the oldest go.
pub fn insert(connection: &dyn Sql, credential: Uuid, version: u32, test: &ProbeRecord) -> Result<(), Error> {
    let sql = "INSERT INTO org_integration_credential_tests (credential_id, version, at, outcome, reason, hint) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let row = values![&credential, version, test.at, &test.outcome, &test.reason, &test.hint];
    connection.send(sql, row)?;
    let sql = "DELETE FROM org_integration_credential_tests WHERE credential_id = ?1 AND id <= (\
         SELECT id FROM org_integration_credential_tests WHERE credential_id = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)";
    connection.send(sql, values![&credential, KEPT])
}

pub fn newest(connection: &dyn Sql, credential: Uuid) -> Result<Vec<Tested>, Error> {
    let sql = "SELECT id, version, at, outcome, reason, hint FROM org_integration_credential_tests \
         WHERE credential_id = ?1 ORDER BY id DESC";
    cells::all(connection, sql, values![&credential], TABLE, |cells| {
        let _id: i64 = cells.plain()?;
        Ok(Tested {
            version: cells.plain()?,
            at: cells.time()?,
            outcome: cells.plain()?,
            reason: cells.plain()?,
            hint: cells.plain()?,
        })
    })
}

/// One range of an index for each provider: what is not due costs nothing.
pub fn due(
    connection: &dyn Sql,
    providers: &[String],
    busy: &[(String, String)],
    now: Timestamp,
    limit: u32,
) -> Result<Vec<ToTest>, Error> {
    let mut due = Vec::new();
    for provider in providers {
        let busy: Vec<_> = busy.iter().filter(|(of, _)| of == provider).map(|(_, org)| Value::from(org)).collect();
        let sql = format!(
            "SELECT id, provider, org FROM credentials WHERE provider = ? AND next_test_at <= ?{} \
             ORDER BY next_test_at, org, id LIMIT ?",
            " AND org <> ?".repeat(busy.len())
        );
        let values: Vec<_> = [provider.into(), now.into()].into_iter().chain(busy).chain([limit.into()]).collect();
        due.extend(cells::all(connection, &sql, &values, credentials::TABLE, |cells| {
            Ok(ToTest { credential: cells.id()?, provider: cells.plain()?, org: cells.plain()? })
        })?);
    }
    Ok(due)
}

pub fn unhealthy(connection: &dyn Sql) -> Result<Vec<(Health, u64)>, Error> {
    let sql = "SELECT told_health, count(*) FROM credentials \
         WHERE told_health <> 'ok' AND deleted_at IS NULL AND disabled = 0 GROUP BY told_health";
    cells::all(connection, sql, &[], credentials::TABLE, |cells| Ok((cells.word()?, cells.count()?)))
}

#[cfg(test)]
mod plans {
    use rusqlite::Connection;

    use crate::store::sqlite::schema;

    #[test]
    fn what_upkeep_reads_are_ranges_of_an_index() {
        let mut connection = Connection::open_in_memory().unwrap();
        schema::migrate(&mut connection).unwrap();
        for (sql, plan) in [
            (
                "SELECT id, provider, org FROM credentials WHERE provider = 'p' AND next_test_at <= 1 \
                 AND org <> 'a' AND org <> 'b' ORDER BY next_test_at, org, id LIMIT 1",
                "SEARCH credentials USING COVERING INDEX credentials_to_test (provider=? AND next_test_at<?)",
            ),
            (
                "SELECT * FROM credentials WHERE tell_at <= 1 ORDER BY tell_at, id LIMIT 1",
                "SEARCH credentials USING INDEX credentials_to_tell (tell_at<?)",
            ),
            (
                "SELECT told_health, count(*) FROM credentials \
                 WHERE told_health <> 'ok' AND deleted_at IS NULL AND disabled = 0 GROUP BY told_health",
                "SCAN credentials USING COVERING INDEX credentials_unhealthy",
            ),
        ] {
            let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let steps: Vec<String> = statement.query_map([], |row| row.get(3)).unwrap().map(Result::unwrap).collect();
            assert_eq!(steps, [plan]);
        }
    }
}
