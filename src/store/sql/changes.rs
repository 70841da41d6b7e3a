//! The table `changes`: what those who watch are told.

use jiff::Timestamp;

use super::super::{ChangeEvent, Credential, Error};
use super::values;
use super::{Sql, Value, cells, credentials};

/// One fact. A commit may tell several.
#[derive(Clone, Copy, Debug)]
pub enum Happened {
    Setup,
    Activated,
    Refused,
    Pending,
    Metadata,
    Disabled,
    Enabled,
    Deleted,
    Undeleted,
    Destroyed,
    Health,
}

impl Happened {
    const fn word(self) -> &'static str {
        match self {
            Self::Setup => "setup",
            Self::Activated => "activated",
            Self::Refused => "refused",
            Self::Pending => "pending",
            Self::Metadata => "metadata",
            Self::Disabled => "disabled",
            Self::Enabled => "enabled",
            Self::Deleted => "deleted",
            Self::Undeleted => "undeleted",
            Self::Destroyed => "destroyed",
            Self::Health => "health",
        }
    }
}

/// Adds a row for each, and answers the highest of their sequence numbers.
pub fn insert(
    connection: &dyn Sql,
    credential: &Credential,
    happened: &[(Happened, Option<u32>)],
    at: Timestamp,
) -> Result<Option<u64>, Error> {
    if happened.is_empty() {
        return Ok(None);
    }
    let rows = vec!["(?1, ?2, ?3, ?, ?)"; happened.len()].join(", ");
    let sql = format!("INSERT INTO changes (org, credential_id, at, change, version) VALUES {rows}");
    let mut values = values![&credential.path.org, &credential.id, at].to_vec();
    for (what, version) in happened {
        values.extend([Value::from(what.word()), Value::from(*version)]);
    }
    connection.insert_numbered(&sql, &values, "sequence").map(Some)
}

pub fn newest(connection: &dyn Sql) -> Result<u64, Error> {
    let newest = cells::first(connection, "SELECT max(sequence) FROM changes", &[], "changes", |cells| cells.plain())?;
    Ok(newest.flatten().map_or(0, i64::unsigned_abs))
}

pub fn after(connection: &dyn Sql, org: Option<&str>, after: u64, limit: u32) -> Result<Vec<ChangeEvent>, Error> {
    let columns = credentials::COLUMNS.split(", ").map(|column| format!("c.{column}")).collect::<Vec<_>>().join(", ");
    let filter = if org.is_some() { "h.org = ? AND" } else { "" };
    let sql = format!(
        "SELECT h.sequence, h.at, h.change, h.version, {columns} FROM changes h \
         JOIN credentials c ON c.id = h.credential_id WHERE {filter} h.sequence > ? ORDER BY h.sequence LIMIT ?"
    );
    let values: Vec<_> = org.map(Value::from).into_iter().chain([after.into(), limit.into()]).collect();
    cells::all(connection, &sql, &values, "changes", |cells| {
        let (sequence, at, change, version) = (cells.count()?, cells.time()?, cells.plain()?, cells.plain()?);
        let credential = credentials::read(cells.joined(credentials::TABLE))?;
        Ok(ChangeEvent { sequence, at, change, version, credential })
    })
}
