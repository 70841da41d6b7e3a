//! What is kept about the audit log: its keys, checkpoints, beginning, and how far its copies have come.

use jiff::Timestamp;

use super::super::{AuditKey, Boundary, Checkpoint, Error, Holder, Keep};
use super::cells::{self, Cells};
use super::values;
use super::{Sql, wraps};

const CHECKPOINTS: &str = "audit_checkpoints";
/// In the order in which [`checkpoint`] takes them.
const COLUMNS: &str = "size, note, head, frontier, after, position, oldest_at, newest_at";
/// So many pruned records are taken away at a time.
const SWEEP: u32 = 500;

pub fn keep(connection: &dyn Sql, chain: &str, what: &Keep) -> Result<u64, Error> {
    match what {
        Keep::Checkpoint(new) => {
            let sql = format!(
                "INSERT INTO audit_checkpoints (instance, {COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
            );
            connection.execute(
                &sql,
                values![
                    chain,
                    new.size,
                    &new.note,
                    &new.head,
                    &new.frontier,
                    new.after,
                    new.position,
                    new.oldest_at,
                    new.newest_at
                ],
            )
        }
        Keep::Cursor { copy, reached } => {
            let sql = "INSERT INTO audit_cursors (copy, reached) VALUES (?1, ?2) \
                 ON CONFLICT (copy) DO UPDATE SET reached = excluded.reached";
            connection.execute(sql, values![copy, *reached])
        }
        Keep::Sweep => {
            let sql = "DELETE FROM audit_log WHERE position IN (SELECT position FROM audit_log \
                 WHERE instance = ?1 AND position <= ?2 ORDER BY position LIMIT ?3)";
            connection.execute(sql, values![chain, boundary(connection, chain)?.position, SWEEP])
        }
    }
}

pub fn at_most(connection: &dyn Sql, chain: &str, size: u64) -> Result<Option<Checkpoint>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM audit_checkpoints WHERE instance = ?1 AND size <= ?2 ORDER BY size DESC LIMIT 1"
    );
    cells::first(connection, &sql, values![chain, size], CHECKPOINTS, checkpoint)
}

pub fn after(connection: &dyn Sql, chain: &str, size: u64, limit: u32) -> Result<Vec<Checkpoint>, Error> {
    let sql =
        format!("SELECT {COLUMNS} FROM audit_checkpoints WHERE instance = ?1 AND size > ?2 ORDER BY size LIMIT ?3");
    cells::all(connection, &sql, values![chain, size, limit], CHECKPOINTS, checkpoint)
}

pub fn before(connection: &dyn Sql, chain: &str, time: Timestamp) -> Result<Option<Checkpoint>, Error> {
    // The span that ends first among those that are not over yet; the one before it is asked for.
    let sql = format!(
        "SELECT {COLUMNS} FROM audit_checkpoints WHERE instance = ?1 AND position <= coalesce(( \
             SELECT after FROM audit_checkpoints WHERE instance = ?1 AND newest_at >= ?2 ORDER BY position LIMIT 1), 9223372036854775807) \
         ORDER BY size DESC LIMIT 1"
    );
    cells::first(connection, &sql, values![chain, time], CHECKPOINTS, checkpoint)
}

fn checkpoint(cells: &mut Cells<'_>) -> Result<Checkpoint, Error> {
    Ok(Checkpoint {
        size: cells.count()?,
        note: cells.plain()?,
        head: cells.plain()?,
        frontier: cells.plain()?,
        after: cells.count()?,
        position: cells.count()?,
        oldest_at: cells.time()?,
        newest_at: cells.time()?,
    })
}

pub fn boundary(connection: &dyn Sql, chain: &str) -> Result<Boundary, Error> {
    let sql = "SELECT size, position FROM audit_boundaries WHERE instance = ?1";
    let found = cells::first(connection, sql, values![chain], "audit_boundaries", |cells| {
        Ok(Boundary { size: cells.count()?, position: cells.count()? })
    })?;
    Ok(found.unwrap_or_default())
}

/// How many records are not shown any more, of all chains.
pub fn pruned(connection: &dyn Sql) -> Result<u64, Error> {
    let sql = "SELECT CAST(coalesce(sum(size), 0) AS BIGINT) FROM audit_boundaries";
    Ok(cells::first(connection, sql, &[], "audit_boundaries", |cells| cells.count())?.unwrap_or_default())
}

/// The log begins after the checkpoint of this size; that one stays, those before it go.
pub fn prune(connection: &dyn Sql, chain: &str, size: u64) -> Result<(), Error> {
    let there = at_most(connection, chain, size)?.filter(|checkpoint| checkpoint.size == size);
    let Some(end) = there.filter(|_| size > boundary(connection, chain).map_or(u64::MAX, |now| now.size)) else {
        return Err(Error::Stale { current: None });
    };
    let sql = "INSERT INTO audit_boundaries (instance, size, position) VALUES (?1, ?2, ?3) \
         ON CONFLICT (instance) DO UPDATE SET size = excluded.size, position = excluded.position";
    connection.execute(sql, values![chain, size, end.position])?;
    let sql = "DELETE FROM audit_checkpoints WHERE instance = ?1 AND size < ?2";
    connection.execute(sql, values![chain, size])?;
    Ok(())
}

pub fn keys(connection: &dyn Sql, chain: &str) -> Result<Vec<AuditKey>, Error> {
    let sql = "SELECT number, public, created_at FROM audit_keys WHERE instance = ?1 ORDER BY number";
    let mut keys = cells::all(connection, sql, values![chain], "audit_keys", |cells| {
        let (number, public, created_at) = (cells.plain()?, cells.plain()?, cells.time()?);
        Ok(AuditKey { number, public, wraps: Vec::new(), created_at })
    })?;
    for key in &mut keys {
        key.wraps = wraps::of(connection, &Holder::AuditKey { instance: chain.to_owned(), number: key.number })?;
    }
    Ok(keys)
}

pub fn keep_key(connection: &dyn Sql, chain: &str, key: &AuditKey) -> Result<(), Error> {
    let sql = "INSERT INTO audit_keys (instance, number, public, created_at) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT (instance, number) DO NOTHING";
    let row = values![chain, key.number, &key.public, key.created_at];
    if connection.execute(sql, row)? == 0 {
        return Err(Error::Taken);
    }
    let holder = Holder::AuditKey { instance: chain.to_owned(), number: key.number };
    // Of a key that somebody deleted from the table: they would stand in the way of this one's.
    wraps::drop_all(connection, &holder)?;
    key.wraps.iter().try_for_each(|wrap| wraps::put(connection, &holder, wrap))
}

pub fn cursor(connection: &dyn Sql, copy: &str) -> Result<Option<u64>, Error> {
    let sql = "SELECT copy, reached FROM audit_cursors WHERE copy = ?1";
    cells::first(connection, sql, values![copy], "audit_cursors", |cells| {
        let _: String = cells.plain()?;
        cells.count()
    })
}
