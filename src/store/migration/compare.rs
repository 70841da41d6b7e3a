//! Both ends, row by row and cell by cell. What differs is named by its table and by what names the row; never shown.

use std::collections::VecDeque;

use super::end::Held;
use super::{Error, Progress, Step, Tell};
use crate::store::Holder;
use crate::store::backup::{Cell, Kind, Piece, Rows, TABLES, Table};

pub fn all(source: &Held, target: &Held, counts: &[u64], tell: Tell<'_>) -> Result<(), Error> {
    let (mut here, mut there) = (Stream::of(source)?, Stream::of(target)?);
    let (mut rows, of) = (0, counts.iter().sum());
    for table in TABLES {
        loop {
            let why = match (here.next(table)?, there.next(table)?) {
                (None, None) => break,
                (Some(one), Some(other)) if one == other => None,
                (Some(one), Some(other)) => Some(difference(table, &one, &other)),
                (Some(one), None) => Some(format!("{} is missing", name(table, &one))),
                (None, Some(other)) => Some(format!("{} is one too many", name(table, &other))),
            };
            if let Some(why) = why {
                return Err(Error::Differs { place: target.end.to_string(), why });
            }
            rows += 1;
            if rows % 256 == 0 {
                tell(Progress { step: Step::Compare, table: table.name, rows, of });
            }
        }
    }
    tell(Progress { step: Step::Compare, table: TABLES.last().map_or("", |table| table.name), rows, of });
    match rows == of {
        true => Ok(()),
        false => Err(Error::Differs { place: target.end.to_string(), why: format!("{rows} rows, and not {of}") }),
    }
}

struct Stream<'a> {
    held: &'a Held,
    rows: Rows,
    table: &'static str,
    read: VecDeque<Vec<Cell>>,
    has_ended: bool,
}

impl<'a> Stream<'a> {
    fn of(held: &'a Held) -> Result<Self, Error> {
        Ok(Self { held, rows: held.rows()?, table: "", read: VecDeque::new(), has_ended: false })
    }

    fn next(&mut self, table: &Table) -> Result<Option<Vec<Cell>>, Error> {
        loop {
            if !self.read.is_empty() {
                return Ok(if self.table == table.name { self.read.pop_front() } else { None });
            }
            if self.has_ended {
                return Ok(None);
            }
            match self.held.next(&mut self.rows)? {
                Some(Piece { table, rows }) => (self.table, self.read) = (table.name, rows.into()),
                None => self.has_ended = true,
            }
        }
    }
}

fn difference(table: &Table, one: &[Cell], other: &[Cell]) -> String {
    let (expected, found) = (name(table, one), name(table, other));
    if expected != found {
        return format!("{found} stands where {expected} should");
    }
    let differs =
        |(at, column): (usize, &crate::store::backup::Column)| (one.get(at) != other.get(at)).then_some(column.name);
    let columns: Vec<_> = table.columns.iter().enumerate().filter_map(differs).collect();
    format!("{expected} differs in {}", columns.join(", "))
}

fn name(table: &Table, row: &[Cell]) -> String {
    let shown = table.names().iter().zip(row).map(|(column, cell)| match (column.kind, cell) {
        (_, Cell::Null) => "NULL".to_owned(),
        (Kind::Time, Cell::Integer(at)) => {
            jiff::Timestamp::from_microsecond(*at).map_or_else(|_| at.to_string(), |at| at.to_string())
        }
        (_, Cell::Integer(number)) => number.to_string(),
        (_, Cell::Text(text)) => text.clone(),
        (Kind::Id, Cell::Bytes(id)) => uuid::Uuid::from_slice(id).unwrap_or_default().to_string(),
        (_, Cell::Bytes(bytes)) => Holder::read(bytes).map_or_else(|| "?".to_owned(), |holder| holder.to_string()),
    });
    format!("{} ({})", table.name, shown.collect::<Vec<_>>().join(", "))
}
