//! What [`Sql`] asks of a database, as SQLite does it.

use std::ops::ControlFlow;

use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, Row, params_from_iter};

use super::super::Error;
use super::super::sql::{Borrowed, Columns, Dialect, Each, Sql, Value};

impl Sql for Connection {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    fn query(&self, sql: &str, values: &[Value<'_>], each: &mut Each<'_>) -> Result<(), Error> {
        let mut statement = self.prepare_cached(sql)?;
        let mut rows = statement.query(params_from_iter(values))?;
        while let Some(row) = rows.next()? {
            if each(row)? == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<u64, Error> {
        Ok(self.prepare_cached(sql)?.execute(params_from_iter(values))? as u64)
    }

    /// RETURNING would open a temporary table for one number.
    fn insert_numbered(&self, sql: &str, values: &[Value<'_>], _column: &str) -> Result<u64, Error> {
        Sql::execute(self, sql, values)?;
        Ok(self.last_insert_rowid().unsigned_abs())
    }
}

impl Columns for Row<'_> {
    fn get(&self, column: usize) -> Option<Borrowed<'_>> {
        match self.get_ref(column).ok()? {
            ValueRef::Null => Some(Borrowed::Null),
            ValueRef::Integer(number) => Some(Borrowed::Integer(number)),
            ValueRef::Text(text) => std::str::from_utf8(text).ok().map(Borrowed::Text),
            ValueRef::Blob(bytes) => Some(Borrowed::Bytes(bytes)),
            ValueRef::Real(_) => None,
        }
    }

    fn name(&self, column: usize) -> &str {
        self.as_ref().column_name(column).unwrap_or("?")
    }
}

impl ToSql for Value<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}
