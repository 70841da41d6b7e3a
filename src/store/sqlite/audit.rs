//! The table `audit_log`.

use rusqlite::Connection;
use rusqlite::types::Value;

use super::super::chain::{self, Head};
use super::super::{AuditFilter, Draft, Error, Record};
use super::cells::{self, Cells, signed};

const TABLE: &str = "audit_log";

/// Appends a draft to the chain. When it fails, nobody knows what is left: the transaction must not go on.
pub fn append(connection: &Connection, head: &mut Head, draft: &Draft) -> Result<u64, Error> {
    let unwritten = |cause: String| Error::Unavailable(format!("the audit record was not written: {cause}"));
    let canonical = head.append(draft).map_err(|error| unwritten(error.to_string()))?;
    let sql = "INSERT INTO audit_log (instance, sequence, org, credential_id, canonical, hash) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let insert = || {
        connection.prepare_cached(sql)?.execute((
            &head.instance,
            signed(head.sequence),
            &draft.org,
            draft.credential_id.as_ref().map(uuid::Uuid::as_bytes),
            &canonical,
            &head.hash,
        ))
    };
    insert().map_err(|error: rusqlite::Error| unwritten(error.to_string()))?;
    Ok(head.sequence)
}

/// Where an instance's chain ends.
pub fn head(connection: &Connection, instance: String) -> Result<Head, Error> {
    let sql = "SELECT position, sequence, hash FROM audit_log WHERE instance = ?1 ORDER BY position DESC LIMIT 1";
    let found = cells::first(connection, sql, [&instance], TABLE, |cells| {
        let _position = cells.count()?;
        Ok((cells.count()?, cells.plain()?))
    })?;
    Ok(match found {
        Some((sequence, hash)) => Head { instance, sequence, hash },
        None => Head::start(instance),
    })
}

/// Records strictly beyond a position, in the direction asked for.
pub fn page(
    connection: &Connection,
    filter: &AuditFilter,
    from: Option<u64>,
    descending: bool,
    limit: u32,
) -> Result<Vec<(u64, Record)>, Error> {
    let mut conditions = vec!["TRUE"];
    let mut values = Vec::new();
    if let Some(position) = from {
        conditions.push(if descending { "position < ?" } else { "position > ?" });
        values.push(Value::Integer(signed(position)));
    }
    if let Some(id) = filter.credential_id {
        conditions.push("credential_id = ?");
        values.push(Value::Blob(id.as_bytes().to_vec()));
    }
    for (condition, wanted) in [
        ("instance = ?", &filter.instance),
        ("org = ?", &filter.org),
        ("canonical ->> 'action' = ?", &filter.action),
        ("canonical ->> 'outcome' = ?", &filter.outcome),
        ("canonical ->> 'caller' = ?", &filter.caller),
    ] {
        if let Some(wanted) = wanted {
            conditions.push(condition);
            values.push(Value::Text(wanted.clone()));
        }
    }
    let order = if descending { "DESC" } else { "ASC" };
    values.push(Value::Integer(limit.into()));
    let sql = format!(
        "SELECT position, instance, sequence, org, credential_id, canonical, hash FROM audit_log \
         WHERE {} ORDER BY position {order} LIMIT ?",
        conditions.join(" AND ")
    );
    cells::all(connection, &sql, rusqlite::params_from_iter(values), TABLE, read)
}

/// The columns beside the text are there to find it, and must say what it says.
fn read(cells: &mut Cells<'_>) -> Result<(u64, Record), Error> {
    let (position, instance, sequence): (_, String, _) = (cells.count()?, cells.plain()?, cells.count()?);
    let (org, credential): (String, Option<[u8; 16]>) = (cells.plain()?, cells.plain()?);
    let canonical = cells.plain()?;
    let hash = cells.plain()?;
    let record = chain::read(canonical, hash)
        .map_err(|_| Error::Corrupt(format!("{TABLE} {position}: canonical is not the JSON it should be")))?;
    let same = record.instance == instance
        && record.sequence == sequence
        && record.draft.org == org
        && record.draft.credential_id.map(uuid::Uuid::into_bytes) == credential;
    if !same {
        return Err(Error::Corrupt(format!("{TABLE} {position}: the columns do not say what the record says")));
    }
    Ok((position, record))
}
