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
        if let Some(project) = &filter.project {
            query.bind("project = ?", [project.into()]);
        }
        if let Some(provider) = &filter.provider {
            query.bind("provider = ?", [provider.into()]);
        }
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
        if let Some(cursor) = after {
            query.after(cursor, filter);
        }
        query.sql.push_str(" ORDER BY project, provider, name, id LIMIT ?");
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

    /// What the filter fixes is left out of the comparison: the rest is then a prefix of an index, and the page begins
    /// where the one before ended instead of being searched for from the start.
    fn after(&mut self, cursor: &'a Cursor, filter: &Filter) {
        let mut columns = Vec::new();
        let mut values = Vec::new();
        if filter.project.as_ref() != Some(&cursor.project) {
            columns.push("project");
            values.push((&cursor.project).into());
        }
        if filter.provider.as_ref() != Some(&cursor.provider) {
            columns.push("provider");
            values.push((&cursor.provider).into());
        }
        columns.extend(["name", "id"]);
        values.extend([(&cursor.name).into(), (&cursor.id).into()]);
        let marks = vec!["?"; columns.len()].join(", ");
        self.bind(&format!("({}) > ({marks})", columns.join(", ")), []);
        self.values.extend(values);
    }
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
        for (filter, index, range) in [
            (&all, "credentials_live", "(org=? AND (project,provider,name)>(?,?,?))"),
            (&project, "credentials_live", "(org=? AND project=? AND (provider,name)>(?,?))"),
            (&provider, "credentials_live_by_provider", "(org=? AND provider=? AND (project,name,id)>(?,?,?))"),
            (&both, "credentials_live", "(org=? AND project=? AND provider=? AND name>?)"),
            (&state, "credentials_live_by_state", "(org=? AND state=? AND (project,provider,name,id)>(?,?,?,?))"),
            (&gone, "credentials_gone", "(org=? AND (project,provider,name,id)>(?,?,?,?))"),
        ] {
            let plan = plan(&connection, filter, &cursor);
            assert_eq!(plan, [format!("SEARCH credentials USING INDEX {index} {range}")]);
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
