//! Out of the database as a whole, while it is written to; and into a new one.

use std::path::Path;

use rusqlite::types::{ToSql, ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, params_from_iter};
use tokio::sync::{mpsc, oneshot};

use super::super::backup::{Cell, Kind, META_LEFT_OUT, Next, Piece, Table};
use super::super::{Error, KeyVersion, backup};
use super::connection;
use crate::store::sql::{versions, wraps};

/// A piece is sent when it has so many rows or bytes.
const ROWS: usize = 256;
const BYTES: usize = 256 << 10;

/// Sends everything as it is at one moment: one transaction, on a connection of its own. What is written meanwhile waits in
/// the write-ahead log.
pub fn send(path: &Path, begun: oneshot::Sender<Result<(), Error>>, pieces: &mpsc::Sender<Next>) {
    let begin = || {
        let connection = connection::reader(path)?;
        // The first read is the moment.
        connection.execute_batch("BEGIN; SELECT count(*) FROM meta;")?;
        Ok(connection)
    };
    let connection = match begin() {
        Ok(connection) => connection,
        Err(error) => {
            _ = begun.send(Err(error));
            return;
        }
    };
    if begun.send(Ok(())).is_err() {
        return;
    }
    for table in backup::TABLES {
        match send_table(&connection, table, pieces) {
            Ok(true) => (),
            Ok(false) => return,
            Err(error) => {
                _ = pieces.blocking_send(Err(error));
                return;
            }
        }
    }
    _ = pieces.blocking_send(Ok(None));
}

/// Whether anybody still reads. Each table is told of, also when it has no rows.
fn send_table(connection: &Connection, table: &'static Table, pieces: &mpsc::Sender<Next>) -> Result<bool, Error> {
    let mut statement = connection.prepare(&select(table))?;
    let mut found = statement.query([])?;
    let (mut rows, mut bytes) = (Vec::new(), 0);
    while let Some(row) = found.next()? {
        let cells = (0..table.columns.len()).map(|at| cell(table, at, row.get_ref(at)?));
        let cells = cells.collect::<Result<Vec<_>, Error>>()?;
        bytes += cells.iter().map(Cell::size).sum::<usize>();
        rows.push(cells);
        if rows.len() >= ROWS || bytes >= BYTES {
            bytes = 0;
            let rows = std::mem::take(&mut rows);
            if pieces.blocking_send(Ok(Some(Piece { table, rows }))).is_err() {
                return Ok(false);
            }
        }
    }
    Ok(pieces.blocking_send(Ok(Some(Piece { table, rows }))).is_ok())
}

fn select(table: &Table) -> String {
    let columns = table.columns().join(", ");
    match table.name {
        "wraps" => "SELECT w.holder, k.key, k.key_version, w.bytes FROM wraps w JOIN wrapping_keys k ON k.id = w.key \
             WHERE w.live = 1 ORDER BY w.id"
            .to_owned(),
        // Zeros stand where a destroyed blob was. What was sealed anew goes out as if it had come so.
        "org_integration_credentials" => {
            let columns = table.columns.iter().map(|column| match column.name {
                "seal" => "coalesce(r.seal, v.seal)".to_owned(),
                "sealed_blob" => "CASE WHEN s.state = 'destroyed' THEN x'' \
                     ELSE coalesce(r.sealed_blob, v.sealed_blob) END"
                    .to_owned(),
                name => format!("v.{name}"),
            });
            let columns: Vec<String> = columns.collect();
            format!("SELECT {} FROM {} ORDER BY v.rowid", columns.join(", "), versions::JOINED)
        }
        "meta" => {
            let names: Vec<String> = META_LEFT_OUT.iter().map(|(name, _)| format!("'{name}'")).collect();
            format!("SELECT {columns} FROM meta WHERE key NOT IN ({}) ORDER BY key", names.join(", "))
        }
        name => format!("SELECT {columns} FROM {name} ORDER BY rowid"),
    }
}

fn cell(table: &Table, at: usize, value: ValueRef<'_>) -> Result<Cell, Error> {
    let column = &table.columns[at];
    let corrupt = |why: &str| Error::Corrupt(format!("{}: {} {why}", table.name, column.name));
    match (column.kind, value) {
        (_, ValueRef::Null) if column.optional => Ok(Cell::Null),
        (Kind::Flag | Kind::Count | Kind::Time, ValueRef::Integer(number)) => Ok(Cell::Integer(number)),
        (Kind::Id | Kind::Hash | Kind::Bytes, ValueRef::Blob(bytes)) => Ok(Cell::Bytes(bytes.to_vec())),
        (Kind::Text | Kind::Json, ValueRef::Text(text)) => {
            let text = std::str::from_utf8(text).map_err(|_| corrupt("is no text"))?;
            Ok(Cell::Text(text.to_owned()))
        }
        _ => Err(corrupt("is of the wrong type")),
    }
}

impl ToSql for Cell {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Null => ToSqlOutput::Owned(Value::Null),
            Self::Integer(number) => ToSqlOutput::Owned(Value::Integer(*number)),
            Self::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Self::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
        })
    }
}

/// Adds a row to a database that is being made. What breaks a rule of its table is told in words.
pub fn put(connection: &Connection, table: &Table, cells: &[Cell]) -> Result<Result<(), String>, Error> {
    let inserted = match (table.name, cells) {
        ("wraps", [holder, Cell::Text(key), Cell::Text(version), bytes]) => {
            let key = wraps::key(connection, &KeyVersion { key: key.clone(), version: version.clone() })?;
            let sql = "INSERT INTO wraps (live, holder, key, bytes) VALUES (1, ?1, ?2, ?3)";
            connection.prepare_cached(sql)?.execute((holder, key, bytes))
        }
        _ => {
            let (columns, places) = (table.columns().join(", "), vec!["?"; table.columns.len()].join(", "));
            let sql = format!("INSERT INTO {} ({columns}) VALUES ({places})", table.name);
            connection.prepare_cached(&sql)?.execute(params_from_iter(cells))
        }
    };
    match inserted {
        Ok(_) => Ok(Ok(())),
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) => {
            Ok(Err(format!("a row of {} is there twice, or breaks another rule of the table: {error}", table.name)))
        }
        Err(error) => Err(error.into()),
    }
}
