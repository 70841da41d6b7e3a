//! The tables, in SQL that SQLite and PostgreSQL both speak. What a row means and what a change does to it is written here
//! once; `sqlite/` and `postgres/` open connections, begin and end transactions, and put changes into groups.

pub mod access;
pub mod apply;
pub mod approvals;
pub mod audit;
pub mod backup;
pub mod cells;
pub mod changes;
pub mod confirm;
pub mod credentials;
pub mod factors;
pub mod grants;
pub mod ledger;
mod list;
pub mod meta;
pub mod orders;
pub mod orgs;
pub mod resealed;
pub mod store;
pub mod tests;
pub mod uses;
mod value;
pub mod versions;
pub mod wraps;

use std::ops::ControlFlow;

pub(in crate::store) use self::value::values;
pub use self::value::{Borrowed, FromCell, Value};
use super::Error;

/// A connection to a database, or a transaction on it. Placeholders are `?1`, `?2` … or, in the order of the values, `?`.
pub trait Sql {
    fn dialect(&self) -> Dialect;

    /// Hands one row after another to `each`, until there is none or it has enough.
    fn query(&self, sql: &str, values: &[Value<'_>], each: &mut Each<'_>) -> Result<(), Error>;

    /// Answers how many rows it touched.
    fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<u64, Error>;

    /// As [`Self::execute`], for what nobody waits for. Over a network it goes with the next statement of the transaction,
    /// and when it fails, that one does.
    fn send(&self, sql: &str, values: &[Value<'_>]) -> Result<(), Error> {
        self.execute(sql, values).map(drop)
    }

    /// Inserts rows that the table gives numbers in this column, and answers the highest.
    fn insert_numbered(&self, sql: &str, values: &[Value<'_>], column: &str) -> Result<u64, Error>;
}

/// Takes a row.
pub type Each<'a> = dyn FnMut(&dyn Columns) -> Result<ControlFlow<()>, Error> + 'a;

/// A row as a database hands it over.
pub trait Columns {
    /// None: not of a type that a table has.
    fn get(&self, column: usize) -> Option<Borrowed<'_>>;
    fn name(&self, column: usize) -> &str;
}

/// Where the two do not speak alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    /// As many zeros as there are bytes.
    pub fn zeros(self, bytes: &str) -> String {
        match self {
            Self::Sqlite => format!("zeroblob(length({bytes}))"),
            Self::Postgres => format!("decode(repeat('00', length({bytes})), 'hex')"),
        }
    }

    /// Bytes that are written out in hexadecimal digits.
    pub fn bytes(self, hex: &str) -> String {
        match self {
            Self::Sqlite => format!("x'{hex}'"),
            Self::Postgres => format!("decode('{hex}', 'hex')"),
        }
    }

    /// What another expression makes of bytes is bytes.
    pub fn as_bytes(self, expression: &str) -> String {
        match self {
            Self::Sqlite => format!("CAST({expression} AS BLOB)"),
            Self::Postgres => format!("({expression})"),
        }
    }

    /// Text as its bytes.
    pub fn to_bytes(self, text: &str) -> String {
        match self {
            Self::Sqlite => format!("CAST({text} AS BLOB)"),
            Self::Postgres => format!("convert_to({text}, 'UTF8')"),
        }
    }

    /// Bytes as the text that they are.
    pub fn to_text(self, bytes: &str) -> String {
        match self {
            Self::Sqlite => format!("CAST({bytes} AS TEXT)"),
            Self::Postgres => format!("convert_from({bytes}, 'UTF8')"),
        }
    }

    /// Bytes in lower hexadecimal digits.
    pub fn hex(self, bytes: &str) -> String {
        match self {
            Self::Sqlite => format!("lower(hex({bytes}))"),
            Self::Postgres => format!("encode({bytes}, 'hex')"),
        }
    }

    /// A member of an object in a column of JSON text, as text.
    pub fn member(self, column: &str, name: &str) -> String {
        match self {
            Self::Sqlite => format!("{column} ->> '{name}'"),
            Self::Postgres => format!("CAST({column} AS JSON) ->> '{name}'"),
        }
    }

    /// The members of such an object, as rows of `key` and `value`.
    pub fn members(self, column: &str) -> String {
        match self {
            Self::Sqlite => format!("json_each({column})"),
            Self::Postgres => format!("json_each_text(CAST({column} AS JSON))"),
        }
    }
}

impl dyn Sql + '_ {
    pub fn exists(&self, sql: &str, values: &[Value<'_>]) -> Result<bool, Error> {
        let mut found = false;
        self.query(sql, values, &mut |_| {
            found = true;
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    }

    /// Adds a row of these columns.
    pub fn insert(&self, table: &str, row: &[(&str, Value<'_>)]) -> Result<(), Error> {
        let (columns, values): (Vec<_>, Vec<_>) = row.iter().cloned().unzip();
        let places = vec!["?"; columns.len()].join(", ");
        self.send(&format!("INSERT INTO {table} ({}) VALUES ({places})", columns.join(", ")), &values)
    }

    /// Writes these columns of the row of an id.
    pub fn update(&self, table: &str, id: Value<'_>, row: &[(&str, Value<'_>)]) -> Result<(), Error> {
        let (columns, mut values): (Vec<_>, Vec<_>) = row.iter().cloned().unzip();
        values.push(id);
        self.send(&format!("UPDATE {table} SET {} = ? WHERE id = ?", columns.join(" = ?, ")), &values)
    }
}
