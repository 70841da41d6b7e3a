//! The cells of a row, read in the order of its columns. What this program cannot have written is
//! [`Error::Corrupt`], and says table, row and column; never the value.

use std::ops::ControlFlow;

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::super::{Error, Holder, HolderKind};
use super::{Borrowed, Columns, FromCell, Sql, Value};
use crate::store::Word;

/// The first row that a query finds. The first column names the row.
pub fn first<T>(
    connection: &dyn Sql,
    sql: &str,
    values: &[Value<'_>],
    table: &'static str,
    read: impl FnOnce(&mut Cells<'_>) -> Result<T, Error>,
) -> Result<Option<T>, Error> {
    let (mut read, mut found) = (Some(read), None);
    connection.query(sql, values, &mut |row| {
        found = read.take().map(|read| read(&mut Cells::new(table, row))).transpose()?;
        Ok(ControlFlow::Break(()))
    })?;
    Ok(found)
}

/// All rows that a query finds.
pub fn all<T>(
    connection: &dyn Sql,
    sql: &str,
    values: &[Value<'_>],
    table: &'static str,
    read: impl Fn(&mut Cells<'_>) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    some(connection, sql, values, table, usize::MAX, |cells| read(cells).map(Some))
}

/// The first rows of a query of which there is something to take, so many of them.
pub fn some<T>(
    connection: &dyn Sql,
    sql: &str,
    values: &[Value<'_>],
    table: &'static str,
    limit: usize,
    take: impl Fn(&mut Cells<'_>) -> Result<Option<T>, Error>,
) -> Result<Vec<T>, Error> {
    let mut found = Vec::new();
    connection.query(sql, values, &mut |row| {
        found.extend(take(&mut Cells::new(table, row))?);
        Ok(if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(found)
}

pub struct Cells<'r> {
    table: &'static str,
    row: &'r dyn Columns,
    first: usize,
    next: usize,
}

impl<'r> Cells<'r> {
    const fn new(table: &'static str, row: &'r dyn Columns) -> Self {
        Self { table, row, first: 0, next: 0 }
    }

    /// The columns that follow are another table's, and the first of them names its row.
    pub const fn joined(&mut self, table: &'static str) -> &mut Self {
        self.table = table;
        self.first = self.next;
        self
    }

    /// Text, bytes, whole numbers; optional ones too.
    pub fn plain<T: FromCell>(&mut self) -> Result<T, Error> {
        self.next += 1;
        let cell = self.row.get(self.next - 1).and_then(T::read);
        cell.ok_or_else(|| self.corrupt("is of the wrong type or out of range"))
    }

    pub fn flag(&mut self) -> Result<bool, Error> {
        match self.plain::<i64>()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.corrupt("is neither 0 nor 1")),
        }
    }

    pub fn count(&mut self) -> Result<u64, Error> {
        u64::try_from(self.plain::<i64>()?).map_err(|_| self.corrupt("is negative"))
    }

    pub fn id(&mut self) -> Result<Uuid, Error> {
        Ok(Uuid::from_bytes(self.plain()?))
    }

    pub fn holder(&mut self) -> Result<Holder, Error> {
        let bytes: Vec<u8> = self.plain()?;
        Holder::read(&bytes).ok_or_else(|| self.corrupt("names nothing that has a key"))
    }

    /// From a holder's first byte.
    pub fn holder_kind(&mut self) -> Result<HolderKind, Error> {
        let bytes: Vec<u8> = self.plain()?;
        match bytes.as_slice() {
            b"v" => Ok(HolderKind::Version),
            b"o" => Ok(HolderKind::OrgKey),
            b"a" => Ok(HolderKind::AuditKey),
            b"f" => Ok(HolderKind::Factor),
            _ => Err(self.corrupt("names nothing that has a key")),
        }
    }

    pub fn optional_id(&mut self) -> Result<Option<Uuid>, Error> {
        Ok(self.plain::<Option<[u8; 16]>>()?.map(Uuid::from_bytes))
    }

    pub fn time(&mut self) -> Result<Timestamp, Error> {
        let microseconds = self.plain()?;
        self.timestamp(microseconds)
    }

    pub fn optional_time(&mut self) -> Result<Option<Timestamp>, Error> {
        let microseconds: Option<i64> = self.plain()?;
        microseconds.map(|microseconds| self.timestamp(microseconds)).transpose()
    }

    pub fn word<T: Word>(&mut self) -> Result<T, Error> {
        let text: String = self.plain()?;
        T::read(&text).ok_or_else(|| self.corrupt("is an unknown word"))
    }

    pub fn json<T: DeserializeOwned>(&mut self) -> Result<T, Error> {
        let text: String = self.plain()?;
        serde_json::from_str(&text).map_err(|_| self.corrupt("is not the JSON it should be"))
    }

    pub fn optional_json<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Error> {
        let text: Option<String> = self.plain()?;
        text.map(|text| serde_json::from_str(&text))
            .transpose()
            .map_err(|_| self.corrupt("is not the JSON it should be"))
    }

    /// Complains about the cell that was read last.
    fn corrupt(&self, why: &str) -> Error {
        let column = self.row.name(self.next.saturating_sub(1));
        Error::Corrupt(format!("{} {}: {column} {why}", self.table, self.name()))
    }

    fn timestamp(&self, microseconds: i64) -> Result<Timestamp, Error> {
        Timestamp::from_microsecond(microseconds).map_err(|_| self.corrupt("is not a time"))
    }

    fn name(&self) -> String {
        match self.row.get(self.first) {
            Some(Borrowed::Integer(number)) => number.to_string(),
            Some(Borrowed::Text(text)) => text.to_owned(),
            Some(Borrowed::Bytes(bytes)) => {
                Uuid::from_slice(bytes).map_or_else(|_| "with a damaged id".into(), |id| id.to_string())
            }
            _ => "without an id".into(),
        }
    }
}

/// The time that will be read back.
pub fn stored(at: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(at.as_microsecond()).unwrap_or(at)
}

pub fn json<T: Serialize>(value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::Corrupt(format!("a value has no JSON form: {error}")))
}
