//! Out of the database as a whole, while it is written to; and into a new one.

use std::collections::HashMap;
use std::ops::ControlFlow;

use tokio::sync::mpsc;

use super::{Borrowed, Columns, Dialect, Sql, Value, cells, values, versions, wraps};
use crate::store::backup::{Cell, Kind, META_LEFT_OUT, Next, Piece, TABLES, Table};
use crate::store::{Error, KeyVersion};

/// A piece is sent when it has so many rows or bytes.
const ROWS: usize = 256;
const BYTES: usize = 256 << 10;

/// In which order rows are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As they came, where the database knows that without sorting; else by what names them.
    Any,
    /// By what names them: whichever database they are in, it is the same.
    Named,
}

/// Sends everything that the connection sees. It must see one moment.
pub fn send(connection: &dyn Sql, order: Order, chain: &str, pieces: &mpsc::Sender<Next>) {
    for table in TABLES {
        match send_table(connection, order, chain, table, pieces) {
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
fn send_table(
    connection: &dyn Sql,
    order: Order,
    chain: &str,
    table: &'static Table,
    pieces: &mpsc::Sender<Next>,
) -> Result<bool, Error> {
    let (mut rows, mut bytes, mut is_heard) = (Vec::new(), 0, true);
    let values: &[Value<'_>] = if table.name == "meta" { values![chain] } else { &[] };
    connection.query(&select(connection.dialect(), order, table), values, &mut |row| {
        let cells = (0..table.columns.len()).map(|at| cell(table, at, row));
        let cells = cells.collect::<Result<Vec<_>, Error>>()?;
        bytes += cells.iter().map(Cell::size).sum::<usize>();
        rows.push(cells);
        if rows.len() >= ROWS || bytes >= BYTES {
            bytes = 0;
            let rows = std::mem::take(&mut rows);
            is_heard = pieces.blocking_send(Ok(Some(Piece { table, rows }))).is_ok();
        }
        Ok(if is_heard { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(is_heard && pieces.blocking_send(Ok(Some(Piece { table, rows }))).is_ok())
}

fn select(dialect: Dialect, order: Order, table: &Table) -> String {
    let columns = table.columns().join(", ");
    match table.name {
        "wraps" => format!(
            "SELECT w.holder, k.key, k.key_version, w.bytes FROM wraps w JOIN wrapping_keys k ON k.id = w.key \
             WHERE w.live = 1 ORDER BY {}",
            if order == Order::Any { "w.id" } else { "w.holder, k.key, k.key_version" }
        ),
        // Zeros stand where a destroyed blob was. What was sealed anew goes out as if it had come so.
        "org_integration_credentials" => {
            let blob = format!(
                "CASE WHEN s.state = 'destroyed' THEN {} ELSE coalesce(r.sealed_blob, v.sealed_blob) END",
                dialect.bytes("")
            );
            let columns = table.columns.iter().map(|column| match column.name {
                "seal" => "coalesce(r.seal, v.seal)".to_owned(),
                "sealed_blob" => blob.clone(),
                name => format!("v.{name}"),
            });
            let columns: Vec<String> = columns.collect();
            let is_as_kept = dialect == Dialect::Sqlite && order == Order::Any;
            let order = if is_as_kept { "v.rowid" } else { "v.credential_id, v.version" };
            format!("SELECT {} FROM {} ORDER BY {order}", columns.join(", "), versions::JOINED)
        }
        "meta" => {
            // Whoever takes it over goes on with the chain of the process that it comes from.
            let value = "CASE WHEN key = 'instance' THEN ?1 ELSE value END";
            format!("SELECT key, {value} FROM meta WHERE {} ORDER BY key", of_meta())
        }
        name => {
            let by = match (dialect, order, name) {
                (Dialect::Sqlite, Order::Any, _) => "rowid".to_owned(),
                // Its id stays behind.
                (_, _, "org_integration_credential_tests") => "id".to_owned(),
                _ => table.names().iter().map(|column| column.name).collect::<Vec<_>>().join(", "),
            };
            format!("SELECT {columns} FROM {name} ORDER BY {by}")
        }
    }
}

fn of_meta() -> String {
    let names: Vec<String> = META_LEFT_OUT.iter().map(|(name, _)| format!("'{name}'")).collect();
    format!("key NOT IN ({})", names.join(", "))
}

fn cell(table: &Table, at: usize, row: &dyn Columns) -> Result<Cell, Error> {
    let column = &table.columns[at];
    match (column.kind, row.get(at)) {
        (_, Some(Borrowed::Null)) if column.optional => Ok(Cell::Null),
        (Kind::Flag | Kind::Count | Kind::Time, Some(Borrowed::Integer(number))) => Ok(Cell::Integer(number)),
        (Kind::Id | Kind::Hash | Kind::Bytes, Some(Borrowed::Bytes(bytes))) => Ok(Cell::Bytes(bytes.to_vec())),
        (Kind::Text | Kind::Json, Some(Borrowed::Text(text))) => Ok(Cell::Text(text.to_owned())),
        _ => Err(Error::Corrupt(format!("{}: {} is of the wrong type", table.name, column.name))),
    }
}

impl<'a> From<&'a Cell> for Value<'a> {
    fn from(cell: &'a Cell) -> Self {
        match cell {
            Cell::Null => Self::Null,
            Cell::Integer(number) => Self::Integer(*number),
            Cell::Text(text) => text.into(),
            Cell::Bytes(bytes) => bytes.into(),
        }
    }
}

/// Adds a row to a database that is being made.
pub fn put(connection: &dyn Sql, table: &Table, cells: &[Cell]) -> Result<(), Error> {
    put_all(connection, table, &[cells], &mut HashMap::new())
}

/// How many rows a statement adds: as many round trips are saved.
const TOGETHER: usize = 64;

/// Adds rows of one table, in their order. `keys` are those that wraps name, as they were put before.
pub fn put_all(
    connection: &dyn Sql,
    table: &Table,
    rows: &[impl AsRef<[Cell]>],
    keys: &mut HashMap<KeyVersion, i64>,
) -> Result<(), Error> {
    let columns = match table.name {
        "wraps" => vec!["live", "holder", "key", "bytes"],
        _ => table.columns(),
    };
    let places = format!("({})", vec!["?"; columns.len()].join(", "));
    for together in rows.chunks(TOGETHER) {
        let mut values = Vec::with_capacity(together.len() * columns.len());
        for cells in together {
            match (table.name, cells.as_ref()) {
                ("wraps", [holder, Cell::Text(key), Cell::Text(version), bytes]) => {
                    let under = KeyVersion { key: key.clone(), version: version.clone() };
                    let key = match keys.get(&under) {
                        Some(key) => *key,
                        None => {
                            let key = wraps::key(connection, &under)?;
                            keys.insert(under, key);
                            key
                        }
                    };
                    values.extend([1_i64.into(), holder.into(), key.into(), bytes.into()]);
                }
                (_, cells) => values.extend(cells.iter().map(Value::from)),
            }
        }
        let all = vec![places.as_str(); together.len()].join(", ");
        connection.execute(&format!("INSERT INTO {} ({}) VALUES {all}", table.name, columns.join(", ")), &values)?;
    }
    Ok(())
}

/// How many rows [`send`] sends.
pub fn count(connection: &dyn Sql, table: &Table) -> Result<u64, Error> {
    let these = match table.name {
        "wraps" => "live = 1".to_owned(),
        "meta" => of_meta(),
        _ => "TRUE".to_owned(),
    };
    let sql = format!("SELECT count(*) FROM {} WHERE {these}", table.name);
    let count = cells::first(connection, &sql, &[], table.name, |cells| cells.count())?;
    Ok(count.unwrap_or_default())
}
