//! A page of a list. Each page is a range of an index, so that a page costs the same wherever it is.

use jiff::Timestamp;

use super::super::{Credential, CredentialState, Cursor, Error, Filter, Health};
use super::{Dialect, Sql, Value, credentials};
use crate::store::Word as _;

pub fn page(
    connection: &dyn Sql,
    filter: &Filter,
    after: Option<&Cursor>,
    limit: u32,
) -> Result<Vec<Credential>, Error> {
    let query = Query::new(connection.dialect(), filter, after, limit);
    credentials::many(connection, &query.sql, &query.values)
}

#[derive(Default)]
struct Query<'a> {
    sql: String,
    values: Vec<Value<'a>>,
}

impl<'a> Query<'a> {
    fn new(dialect: Dialect, filter: &'a Filter, after: Option<&'a Cursor>, limit: u32) -> Self {
        let mut query = Self::default();
        query.bind("org = ?", [(&filter.org).into()]);
        match filter.state {
            Some(CredentialState::Deleted) => query.bind("deleted_at IS NOT NULL", []),
            Some(state) => query.bind("deleted_at IS NULL AND state = ?", [state.word().into()]),
            None => query.bind("deleted_at IS NULL", []),
        }
        query.begin(dialect, filter, after);
        if let Some((health, now)) = filter.health {
            query.health(health, now);
        }
        for (key, value) in &filter.labels {
            let members = dialect.members("labels");
            let label = format!("EXISTS (SELECT 1 FROM {members} AS label WHERE label.key = ?");
            match value {
                Some(value) => query.bind(&format!("{label} AND label.value = ?)"), [key.into(), value.into()]),
                None => query.bind(&format!("{label})"), [key.into()]),
            }
        }
        // A name belongs to one live credential: were they ordered by their ids as well, PostgreSQL would sort all of them.
        let last = if is_gone(filter) { ", id" } else { "" };
        query.sql.push_str(&format!(" ORDER BY project, provider, name{last} LIMIT ?"));
        query.values.push(limit.into());
        query
    }

    fn bind<const N: usize>(&mut self, condition: &str, values: [Value<'a>; N]) {
        if !self.sql.is_empty() {
            self.sql.push_str(" AND ");
        }
        self.sql.push_str(condition);
        self.values.extend(values);
    }

    /// The same decision as [`Credential::health`].
    fn health(&mut self, health: Health, now: Timestamp) {
        let soon = now.saturating_add(Health::EXPIRING).unwrap_or(Timestamp::MAX);
        let (now, soon) = (Value::from(now), Value::from(soon));
        match health {
            Health::Disabled => self.bind("disabled = 1", []),
            Health::Expired => self.bind("disabled = 0 AND expires_at <= ?", [now]),
            Health::Failing => self
                .bind("disabled = 0 AND (expires_at IS NULL OR expires_at > ?) AND failing_since IS NOT NULL", [now]),
            Health::Expiring => {
                self.bind("disabled = 0 AND failing_since IS NULL AND expires_at > ? AND expires_at <= ?", [now, soon])
            }
            Health::Ok => {
                self.bind("disabled = 0 AND failing_since IS NULL AND (expires_at IS NULL OR expires_at > ?)", [soon])
            }
        }
    }

    /// Where a page begins, said so that both databases find it in an index instead of searching for it from the start.
    /// What the filter fixes is left out of the comparison where an index has it before the rest. A project is so before
    /// its providers; but PostgreSQL would as soon take the index by provider then: to it alone, the project is a bound
    /// from above.
    fn begin(&mut self, dialect: Dialect, filter: &'a Filter, after: Option<&'a Cursor>) {
        let in_project = after.is_some_and(|after| filter.project.as_ref() == Some(&after.project));
        let in_provider = after.is_some_and(|after| filter.provider.as_ref() == Some(&after.provider));
        let is_bound = dialect == Dialect::Postgres && in_project && !in_provider;
        if let Some(project) = &filter.project {
            self.bind(if is_bound { "project <= ?" } else { "project = ?" }, [project.into()]);
        }
        if let Some(provider) = &filter.provider {
            // An index by state has the provider behind the project: SQLite would sort for an equality, and not for a test.
            let is_test = dialect == Dialect::Sqlite && filter.state.is_some() && filter.project.is_none();
            self.bind(if is_test { "+provider = ?" } else { "provider = ?" }, [provider.into()]);
        }
        let Some(Cursor { project, provider, name, id }) = after else { return };
        let (project, provider) = (("project", project.into()), ("provider", provider.into()));
        let mut place: Vec<(&str, Value<'a>)> = match (in_project, in_provider) {
            (true, true) => vec![],
            (true, false) if !is_bound => vec![provider],
            (false, true) if filter.state.is_none() => vec![project],
            _ => vec![project, provider],
        };
        place.push(("name", name.into()));
        if is_gone(filter) {
            place.push(("id", id.into()));
        }
        let (columns, values): (Vec<_>, Vec<_>) = place.into_iter().unzip();
        let marks = vec!["?"; columns.len()].join(", ");
        self.bind(&format!("({}) > ({marks})", columns.join(", ")), []);
        self.values.extend(values);
    }
}

fn is_gone(filter: &Filter) -> bool {
    filter.state == Some(CredentialState::Deleted)
}

#[cfg(test)]
mod tests {
    use rusqlite::{Connection, params_from_iter};
    use uuid::Uuid;

    use super::*;

    /// Every page is read from an index in its order: nothing is sorted, and no more than the page is looked at.
    #[test]
    fn pages_are_ranges_of_an_index() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(include_str!("../migrations/0001_credentials.sql")).unwrap();
        let cursor =
            Cursor { project: "default".into(), provider: "openai".into(), name: "default".into(), id: Uuid::nil() };
        let all = Filter { org: "acme".into(), ..Filter::default() };
        let project = Filter { project: Some("default".into()), ..all.clone() };
        let provider = Filter { provider: Some("openai".into()), ..all.clone() };
        let both = Filter { provider: Some("openai".into()), ..project.clone() };
        let state = Filter { state: Some(CredentialState::Pending), ..all.clone() };
        let gone = Filter { state: Some(CredentialState::Deleted), ..all.clone() };
        let of = |filter: &Filter, other: &Filter| Filter { state: other.state, ..filter.clone() };
        for (filter, index, range) in [
            (all.clone(), "live", "(project,provider,name)>(?,?,?)"),
            (project.clone(), "live", "project=? AND (provider,name)>(?,?)"),
            (provider.clone(), "live_by_provider", "provider=? AND (project,name)>(?,?)"),
            (both.clone(), "live", "project=? AND provider=? AND name>?"),
            (state.clone(), "live_by_state", "state=? AND (project,provider,name)>(?,?,?)"),
            (of(&project, &state), "live", "project=? AND (provider,name)>(?,?)"),
            (of(&provider, &state), "live_by_state", "state=? AND (project,provider,name)>(?,?,?)"),
            (of(&both, &state), "live_by_state", "state=? AND project=? AND provider=? AND name>?"),
            (gone.clone(), "gone", "(project,provider,name,id)>(?,?,?,?)"),
            (of(&project, &gone), "gone", "project=? AND (provider,name,id)>(?,?,?)"),
            (of(&provider, &gone), "gone", "(project,provider,name,id)>(?,?,?,?)"),
            (of(&both, &gone), "gone", "project=? AND provider=? AND (name,id)>(?,?)"),
        ] {
            let plan = plan(&connection, &filter, &cursor);
            assert_eq!(plan, [format!("SEARCH credentials USING INDEX credentials_{index} (org=? AND {range})")]);
        }
    }

    fn plan(connection: &Connection, filter: &Filter, cursor: &Cursor) -> Vec<String> {
        let query = Query::new(Dialect::Sqlite, filter, Some(cursor), 50);
        let sql = format!("EXPLAIN QUERY PLAN SELECT * FROM credentials WHERE {}", query.sql);
        let mut statement = connection.prepare(&sql).unwrap();
        let steps = statement.query_map(params_from_iter(query.values), |row| row.get(3)).unwrap();
        steps.map(Result::unwrap).collect()
    }
}
