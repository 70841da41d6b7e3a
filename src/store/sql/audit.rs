//! The table `audit_log`.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::Deserialize;

use super::super::chain::{self, Head};
use super::super::{AuditFilter, AuditPage, Chained, Draft, Error, Record};
use super::cells::{self, Cells};
use super::values;
use super::{Dialect, Sql, Value, ledger, meta};

const TABLE: &str = "audit_log";

/// So many records one page looks at: no filter, whatever it asks for, holds a reader for longer than that takes.
const LOOK: u32 = 5_000;

/// Appends a draft to the chain. When it fails, nobody knows what is left: the transaction must not go on.
pub fn append(connection: &dyn Sql, head: &mut Head, draft: &Draft) -> Result<u64, Error> {
    let unwritten = |cause: String| Error::Unavailable(format!("the audit record was not written: {cause}"));
    let canonical = head.append(draft).map_err(|error| unwritten(error.to_string()))?;
    let sql = "INSERT INTO audit_log (instance, sequence, org, credential_id, run, canonical, hash) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let row = values![
        &head.instance,
        head.sequence,
        &draft.org,
        draft.credential_id.as_ref(),
        (!draft.run.is_empty()).then_some(&draft.run),
        &canonical,
        &head.hash
    ];
    connection.execute(sql, row).map_err(|error| unwritten(error.to_string()))?;
    Ok(head.sequence)
}

/// Where an instance's chain ends.
pub fn head(connection: &dyn Sql, instance: String) -> Result<Head, Error> {
    let sql = "SELECT position, sequence, hash FROM audit_log WHERE instance = ?1 ORDER BY position DESC LIMIT 1";
    let found = cells::first(connection, sql, values![&instance], TABLE, |cells| {
        let _position = cells.count()?;
        Ok((cells.count()?, cells.plain()?))
    })?;
    Ok(match found {
        Some((sequence, hash)) => Head { instance, sequence, hash },
        None => Head::start(instance),
    })
}

/// All chains that there is anything of, and this process's own.
pub fn chains(connection: &dyn Sql, own: String) -> Result<Vec<String>, Error> {
    let mut chains = BTreeSet::from([own]);
    for table in [TABLE, "audit_keys", "audit_boundaries"] {
        let sql = format!("SELECT DISTINCT instance FROM {table}");
        chains.extend(cells::all(connection, &sql, &[], TABLE, |cells| cells.plain::<String>())?);
    }
    Ok(chains.into_iter().collect())
}

/// Records strictly beyond a position, in the direction asked for, and before an end.
pub fn page(
    connection: &dyn Sql,
    chain: &str,
    filter: &AuditFilter,
    from: Option<u64>,
    (descending, end): (bool, u64),
    limit: u32,
) -> Result<AuditPage, Error> {
    let pruned = ledger::pruned(connection)?;
    let alone = is_alone(connection, chain)?;
    let floor = if alone { ledger::boundary(connection, chain)?.position } else { 0 };
    let from_there = match (from, descending) {
        (Some(from), false) => Stretch { above: from.max(floor), below: end, beyond: None },
        (Some(from), true) => Stretch { above: floor, below: from, beyond: None },
        (None, _) => Stretch { above: floor, below: end, beyond: None },
    };
    let stretch = if alone { in_time(connection, filter, descending, from_there)? } else { Some(from_there) };
    let Some(Stretch { above, below, beyond }) = stretch else {
        return Ok(AuditPage { pruned, ..AuditPage::default() });
    };
    let (near, nearby) = near(filter);
    let order = if descending { "DESC" } else { "ASC" };
    let begun = match alone {
        true => "",
        false => {
            "AND sequence > coalesce((SELECT b.size FROM audit_boundaries b WHERE b.instance = audit_log.instance), 0)"
        }
    };
    let looked_at =
        format!("FROM audit_log WHERE position > ? AND position < ? {near} {begun} ORDER BY position {order} LIMIT");
    let place = || [Value::from(above), Value::from(below)].into_iter().chain(nearby.clone());

    let mut conditions = String::from("TRUE");
    let mut values: Vec<Value<'_>> = place().collect();
    let said = |name| format!("{} = ?", connection.dialect().member("canonical", name));
    for (condition, wanted) in [
        ("instance = ?".to_owned(), filter.instance.clone()),
        ("org = ?".to_owned(), filter.org.clone()),
        (said("action"), filter.action.clone()),
        (said("outcome"), filter.outcome.clone()),
        (said("caller"), filter.caller.clone()),
        (said("run"), filter.run.clone()),
        (said("grant"), filter.grant.map(|id| id.to_string())),
    ] {
        if let Some(wanted) = wanted {
            conditions += " AND ";
            conditions += &condition;
            values.push(wanted.into());
        }
    }
    let sql = format!(
        "SELECT position, instance, sequence, org, credential_id, run, canonical, hash FROM (SELECT * {looked_at} {LOOK}) looked_at \
         WHERE {conditions}"
    );
    let records = cells::some(connection, &sql, &values, TABLE, limit as usize, |cells| {
        let found = read(cells)?;
        let at = found.1.draft.at;
        let in_time = filter.since.is_none_or(|since| at >= since) && filter.until.is_none_or(|until| at < until);
        Ok(in_time.then_some(found))
    })?;
    if records.len() == limit as usize {
        let next = records.last().map(|(position, _)| *position);
        return Ok(AuditPage { records, next, pruned });
    }
    // The last that one page looks at, if there are so many.
    let sql = format!("SELECT position {looked_at} 1 OFFSET {}", LOOK - 1);
    let next = cells::first(connection, &sql, &place().collect::<Vec<_>>(), TABLE, |cells| cells.count())?.or(beyond);
    Ok(AuditPage { records, next, pruned })
}

/// Where to look, both ends left out, and where to look on when nothing is left in there.
struct Stretch {
    above: u64,
    below: u64,
    beyond: Option<u64>,
}

/// Whether one chain is all there is: then records stand in the order of their times. Replicas write side by side.
fn is_alone(connection: &dyn Sql, chain: &str) -> Result<bool, Error> {
    let others = "SELECT 1 FROM audit_keys WHERE instance <> ?1 LIMIT 1";
    Ok(connection.dialect() == Dialect::Sqlite
        && !connection.exists(others, values![chain])?
        && meta::get(connection, meta::COMPANY)?.is_none())
}

/// Once all rows are in a database that is being made: a chain that ended before it had a key is found by its records
/// alone, and to look for them each time would be to read them all.
pub fn note_company(connection: &dyn Sql) -> Result<(), Error> {
    let own = meta::instance(connection)?;
    match connection.exists("SELECT 1 FROM audit_log WHERE instance <> ?1 LIMIT 1", values![&own])? {
        true => meta::set(connection, meta::COMPANY, "1"),
        false => Ok(()),
    }
}

/// Leaves out what the checkpoints say is of another time: each knows the times of its span. What has no checkpoint yet may
/// be of any time.
fn in_time(
    connection: &dyn Sql,
    filter: &AuditFilter,
    descending: bool,
    Stretch { mut above, mut below, .. }: Stretch,
) -> Result<Option<Stretch>, Error> {
    let position =
        |sql: &str, values: &[Value<'_>]| cells::first(connection, sql, values, TABLE, |cells| cells.count());
    let tail = position("SELECT coalesce(max(position), 0) FROM audit_checkpoints", &[])?.unwrap_or_default();
    if let Some(since) = filter.since {
        let sql = "SELECT after FROM audit_checkpoints WHERE newest_at >= ?1 ORDER BY position LIMIT 1";
        above = above.max(position(sql, values![since])?.unwrap_or(tail));
    }
    let mut beyond = None;
    if let Some(until) = filter.until {
        let sql = "SELECT position FROM audit_checkpoints WHERE oldest_at <= ?1 ORDER BY position DESC LIMIT 1";
        let last = position(sql, values![until])?.unwrap_or_default();
        // First the spans, then what has none; or the other way round.
        if descending && below > tail + 1 && last < tail {
            (above, beyond) = (above.max(tail), (above < last).then_some(last + 1));
        } else if descending {
            below = below.min(if last < tail { last + 1 } else { u64::MAX });
        } else if above < last && last < tail {
            (below, beyond) = (last + 1, Some(tail));
        } else if last < tail {
            above = above.max(tail);
        }
    }
    Ok((above < below).then_some(Stretch { above, below, beyond }))
}

/// The condition that an index answers: the one that leaves the least.
fn near(filter: &AuditFilter) -> (&'static str, Option<Value<'_>>) {
    if let Some(id) = filter.credential_id {
        ("AND credential_id = ?", Some(Value::from(id.as_bytes().to_vec())))
    } else if let Some(run) = filter.run.as_ref().filter(|run| !run.is_empty()) {
        ("AND run = ?", Some(Value::from(run)))
    } else if let Some(org) = &filter.org {
        ("AND org = ?", Some(Value::from(org)))
    } else if let Some(instance) = &filter.instance {
        // And a chain is read in its order, whoever writes beside it.
        ("AND instance = ?", Some(Value::from(instance)))
    } else {
        ("", None)
    }
}

/// The columns beside the text are there to find it, and must say what it says.
fn read(cells: &mut Cells<'_>) -> Result<(u64, Record), Error> {
    let (position, instance, sequence): (_, String, _) = (cells.count()?, cells.plain()?, cells.count()?);
    let (org, credential): (String, Option<[u8; 16]>) = (cells.plain()?, cells.plain()?);
    let run: Option<String> = cells.plain()?;
    let canonical = cells.plain()?;
    let hash = cells.plain()?;
    let record = chain::read(canonical, hash)
        .map_err(|_| Error::Corrupt(format!("{TABLE} {position}: canonical is not the JSON it should be")))?;
    let same = record.instance == instance
        && record.sequence == sequence
        && record.draft.org == org
        && record.draft.run == run.unwrap_or_default()
        && record.draft.credential_id.map(uuid::Uuid::into_bytes) == credential;
    if !same {
        return Err(Error::Corrupt(format!("{TABLE} {position}: the columns do not say what the record says")));
    }
    Ok((position, record))
}

/// What the tree needs of a record's text.
#[derive(Deserialize)]
struct Said {
    instance: String,
    sequence: u64,
    at: Timestamp,
}

/// This instance's records after a position, without more of their texts being read than the tree needs.
pub fn chained(connection: &dyn Sql, chain: &str, after: u64, limit: u32) -> Result<Vec<Chained>, Error> {
    let after = after.max(ledger::boundary(connection, chain)?.position);
    let sql = "SELECT position, canonical, hash FROM audit_log WHERE position > ?1 AND instance = ?2 \
         ORDER BY position LIMIT ?3";
    cells::all(connection, sql, values![after, chain, limit], TABLE, |cells| {
        let (position, canonical, hash): (_, String, _) = (cells.count()?, cells.plain()?, cells.plain()?);
        let said: Said = serde_json::from_str(&canonical)
            .map_err(|_| Error::Corrupt(format!("{TABLE} {position}: canonical is not the JSON it should be")))?;
        if said.instance != chain {
            return Err(Error::Corrupt(format!("{TABLE} {position}: the record is another instance's")));
        }
        Ok(Chained { position, sequence: said.sequence, at: said.at, canonical, hash })
    })
}
