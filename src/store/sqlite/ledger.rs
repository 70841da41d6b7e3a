//! What is kept about the audit log: its keys, checkpoints, beginning, and how far its copies have come.

use jiff::Timestamp;
use rusqlite::Connection;

use super::super::{AuditKey, Boundary, Checkpoint, Error, Holder, Keep};
use super::cells::{self, Cells, micros, signed};
use super::{meta, wraps};

const CHECKPOINTS: &str = "audit_checkpoints";
/// In the order in which [`checkpoint`] takes them.
const COLUMNS: &str = "size, note, head, frontier, after, position, oldest_at, newest_at";
/// So many pruned records are taken away at a time.
const SWEEP: u32 = 500;

pub fn keep(connection: &Connection, what: Keep) -> Result<u64, Error> {
    let rows = match what {
        Keep::Checkpoint(new) => {
            let sql = format!(
                "INSERT INTO audit_checkpoints (instance, {COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
            );
            connection.prepare_cached(&sql)?.execute((
                meta::instance(connection)?,
                signed(new.size),
                &new.note,
                new.head,
                &new.frontier,
                signed(new.after),
                signed(new.position),
                micros(new.oldest_at),
                micros(new.newest_at),
            ))?
        }
        Keep::Cursor { copy, reached } => {
            let sql = "INSERT INTO audit_cursors (copy, reached) VALUES (?1, ?2) \
                 ON CONFLICT (copy) DO UPDATE SET reached = excluded.reached";
            connection.prepare_cached(sql)?.execute((copy, signed(reached)))?
        }
        Keep::Sweep => {
            let sql = "DELETE FROM audit_log WHERE position IN (SELECT position FROM audit_log \
                 WHERE position <= ?1 ORDER BY position LIMIT ?2)";
            connection.prepare_cached(sql)?.execute((signed(boundary(connection)?.position), SWEEP))?
        }
    };
    Ok(rows as u64)
}

pub fn at_most(connection: &Connection, size: u64) -> Result<Option<Checkpoint>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM audit_checkpoints WHERE instance = ?1 AND size <= ?2 ORDER BY size DESC LIMIT 1"
    );
    cells::first(connection, &sql, (meta::instance(connection)?, signed(size)), CHECKPOINTS, checkpoint)
}

pub fn after(connection: &Connection, size: u64, limit: u32) -> Result<Vec<Checkpoint>, Error> {
    let sql =
        format!("SELECT {COLUMNS} FROM audit_checkpoints WHERE instance = ?1 AND size > ?2 ORDER BY size LIMIT ?3");
    cells::all(connection, &sql, (meta::instance(connection)?, signed(size), limit), CHECKPOINTS, checkpoint)
}

pub fn before(connection: &Connection, time: Timestamp) -> Result<Option<Checkpoint>, Error> {
    // The span that ends first among those that are not over yet; the one before it is asked for.
    let sql = format!(
        "SELECT {COLUMNS} FROM audit_checkpoints WHERE instance = ?1 AND position <= coalesce(( \
             SELECT after FROM audit_checkpoints WHERE newest_at >= ?2 ORDER BY position LIMIT 1), 9223372036854775807) \
         ORDER BY size DESC LIMIT 1"
    );
    cells::first(connection, &sql, (meta::instance(connection)?, micros(time)), CHECKPOINTS, checkpoint)
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

pub fn boundary(connection: &Connection) -> Result<Boundary, Error> {
    let sql = "SELECT size, position FROM audit_boundaries WHERE instance = ?1";
    let found = cells::first(connection, sql, [meta::instance(connection)?], "audit_boundaries", |cells| {
        Ok(Boundary { size: cells.count()?, position: cells.count()? })
    })?;
    Ok(found.unwrap_or_default())
}

/// The log begins after the checkpoint of this size; that one stays, those before it go.
pub fn prune(connection: &Connection, size: u64) -> Result<(), Error> {
    let instance = meta::instance(connection)?;
    let there = at_most(connection, size)?.filter(|checkpoint| checkpoint.size == size);
    let Some(end) = there.filter(|_| size > boundary(connection).map_or(u64::MAX, |now| now.size)) else {
        return Err(Error::Stale { current: None });
    };
    let sql = "INSERT INTO audit_boundaries (instance, size, position) VALUES (?1, ?2, ?3) \
         ON CONFLICT (instance) DO UPDATE SET size = excluded.size, position = excluded.position";
    connection.prepare_cached(sql)?.execute((&instance, signed(size), signed(end.position)))?;
    let sql = "DELETE FROM audit_checkpoints WHERE instance = ?1 AND size < ?2";
    connection.prepare_cached(sql)?.execute((&instance, signed(size)))?;
    Ok(())
}

pub fn keys(connection: &Connection) -> Result<Vec<AuditKey>, Error> {
    let instance = meta::instance(connection)?;
    let sql = "SELECT number, public, created_at FROM audit_keys WHERE instance = ?1 ORDER BY number";
    let mut keys = cells::all(connection, sql, [&instance], "audit_keys", |cells| {
        let (number, public, created_at) = (cells.plain()?, cells.plain()?, cells.time()?);
        Ok(AuditKey { number, public, wraps: Vec::new(), created_at })
    })?;
    for key in &mut keys {
        key.wraps = wraps::of(connection, &Holder::AuditKey { instance: instance.clone(), number: key.number })?;
    }
    Ok(keys)
}

pub fn keep_key(connection: &Connection, key: &AuditKey) -> Result<(), Error> {
    let sql = "INSERT INTO audit_keys (instance, number, public, created_at) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT (instance, number) DO NOTHING";
    let instance = meta::instance(connection)?;
    let row = (&instance, key.number, key.public, micros(key.created_at));
    if connection.prepare_cached(sql)?.execute(row)? == 0 {
        return Err(Error::Taken);
    }
    let holder = Holder::AuditKey { instance, number: key.number };
    // Of a key that somebody deleted from the table: they would stand in the way of this one's.
    wraps::drop_all(connection, &holder)?;
    key.wraps.iter().try_for_each(|wrap| wraps::put(connection, &holder, wrap))
}

pub fn cursor(connection: &Connection, copy: &str) -> Result<Option<u64>, Error> {
    let sql = "SELECT copy, reached FROM audit_cursors WHERE copy = ?1";
    cells::first(connection, sql, [copy], "audit_cursors", |cells| {
        let _: String = cells.plain()?;
        cells.count()
    })
}
