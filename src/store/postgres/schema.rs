//! The schema's versions. Each migration is a file, runs once, and is told of in `schema_versions`. Several replicas may
//! start at once, on an empty database too. No more rights are needed than to make and use tables in one schema.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::super::Error;
use super::super::sql::{Sql, cells};
use super::{Connection, Isolation, Limits};

const MIGRATIONS: [&str; 1] = [include_str!("migrations/0001_store.sql")];

#[allow(clippy::cast_possible_truncation, reason = "a handful")]
pub const KNOWN: u32 = MIGRATIONS.len() as u32;

/// Its row 0 is no version: it is what replicas that migrate take FOR UPDATE.
const VERSIONS: &str =
    "CREATE TABLE IF NOT EXISTS schema_versions (version BIGINT NOT NULL PRIMARY KEY, at BIGINT NOT NULL)";

/// The version of the schema that the connection's tables are in; 0 where there are none yet. Refuses what is somebody
/// else's, what a newer program wrote, and what this user may not do. Changes nothing.
pub fn recognise(connection: &dyn Sql) -> Result<u32, Error> {
    let place = Place::of(connection)?;
    place.keeps_its_word(connection)?;
    let there = place.relations(connection)?;
    let stranger = tables().find(|table| there.contains(*table));
    if !there.contains("schema_versions") {
        return stranger.map_or_else(|| place.may_create(connection), |table| Err(place.foreign(table))).map(|()| 0);
    }
    place.check_versions(connection)?;
    place.may_use(connection)?;
    let version = version(connection)?;
    match stranger {
        Some(table) if version == 0 => Err(place.foreign(table)),
        _ if version > KNOWN => Err(Error::Newer { found: version, known: KNOWN }),
        _ if version < KNOWN => place.may_create(connection).map(|()| version),
        _ => Ok(version),
    }
}

/// Brings the schema up to what this program knows.
pub fn migrate(connection: &Connection, now: Timestamp) -> Result<(), Error> {
    let mut found = recognise(connection)?;
    while found < KNOWN {
        let Err(error) = upgrade(connection, now) else { return Ok(()) };
        // Where two make a table at once, one is refused, in one of several words. What it wanted is there then.
        match recognise(connection) {
            Ok(reached) if reached > found => found = reached,
            Err(newer @ Error::Newer { .. }) => return Err(newer),
            _ => return Err(error),
        }
    }
    Ok(())
}

/// All that is missing, or nothing.
fn upgrade(connection: &Connection, now: Timestamp) -> Result<(), Error> {
    connection.begin(Isolation::ReadCommitted, Limits::default(), None)?;
    let done = apply(connection, now).and_then(|()| connection.commit());
    if done.is_err() {
        // Where this fails too, the connection is gone and the transaction with it.
        let _ = connection.rollback();
    }
    done
}

fn apply(connection: &Connection, now: Timestamp) -> Result<(), Error> {
    let tell = "INSERT INTO schema_versions (version, at) VALUES (?, ?)";
    connection.batch(VERSIONS)?;
    connection.execute(&format!("{tell} ON CONFLICT (version) DO NOTHING"), &[0_i64.into(), now.into()])?;
    connection.execute("SELECT version FROM schema_versions WHERE version = 0 FOR UPDATE", &[])?;
    // Read once more: another replica may have had the row until now.
    let found = version(connection)?;
    for (number, migration) in (1..=KNOWN).zip(MIGRATIONS).skip(found as usize) {
        connection.batch(migration)?;
        connection.execute(tell, &[number.into(), now.into()])?;
    }
    Ok(())
}

fn version(connection: &dyn Sql) -> Result<u32, Error> {
    let sql = "SELECT coalesce(max(version), 0) FROM schema_versions";
    let version = cells::first(connection, sql, &[], "schema_versions", |cells| cells.plain())?;
    Ok(version.unwrap_or(0))
}

/// The tables that migrations make.
pub fn tables() -> impl Iterator<Item = &'static str> {
    let made = |line: &'static str| line.strip_prefix("CREATE TABLE ")?.strip_suffix(" (");
    MIGRATIONS.into_iter().flat_map(str::lines).filter_map(made)
}

/// Where tables are made and found when their schema is not named: the first one of `search_path` that there is.
struct Place {
    schema: String,
    database: String,
    user: String,
}

impl Place {
    fn of(connection: &dyn Sql) -> Result<Self, Error> {
        let sql = "SELECT CAST(coalesce(current_schema(), '') AS TEXT), CAST(current_database() AS TEXT), \
             CAST(current_user AS TEXT)";
        let read = |cells: &mut cells::Cells<'_>| {
            Ok(Self { schema: cells.plain()?, database: cells.plain()?, user: cells.plain()? })
        };
        let place = cells::first(connection, sql, &[], "current_schema()", read)?;
        let Some(place) = place else { return Err(Error::Unavailable("does not tell its schema".into())) };
        if place.schema.is_empty() {
            let Self { database, user, .. } = &place;
            return Err(Error::Unavailable(format!(
                "in database {database}, user {user} may use none of the schemas of search_path: \
                 GRANT USAGE, CREATE ON SCHEMA public TO {user}, or make a schema and name it in search_path"
            )));
        }
        Ok(place)
    }

    /// What a commit has said must outlive a crash of the server: settings of a user or a database can say otherwise.
    fn keeps_its_word(&self, connection: &dyn Sql) -> Result<(), Error> {
        let sql = "SELECT coalesce(current_setting('synchronous_commit', TRUE), '')";
        let setting: Option<String> = cells::first(connection, sql, &[], "current_setting", |cells| cells.plain())?;
        if setting.as_deref() != Some("off") {
            return Ok(());
        }
        let Self { database, user, .. } = self;
        Err(Error::Unavailable(format!(
            "in database {database}, synchronous_commit is off for user {user}: a crash would lose what was acknowledged; \
             ALTER ROLE {user} SET synchronous_commit = on"
        )))
    }

    /// Tables and what else is read like one. Of one moment: a migration's tables are all among them or none.
    fn relations(&self, connection: &dyn Sql) -> Result<BTreeSet<String>, Error> {
        let sql = "SELECT CAST(c.relname AS TEXT) FROM pg_catalog.pg_class c \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = ? AND c.relkind IN ('r', 'p', 'v', 'm', 'f')";
        let names = cells::all(connection, sql, &[(&self.schema).into()], "pg_class", |cells| cells.plain())?;
        Ok(names.into_iter().collect())
    }

    /// The name is one that other programs may have thought of.
    fn check_versions(&self, connection: &dyn Sql) -> Result<(), Error> {
        let sql = "SELECT CAST(a.attname AS TEXT), CAST(t.typname AS TEXT) FROM pg_catalog.pg_attribute a \
             JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
             WHERE n.nspname = ? AND c.relname = 'schema_versions' AND a.attnum > 0 AND NOT a.attisdropped \
             ORDER BY a.attnum";
        let columns: Vec<(String, String)> =
            cells::all(connection, sql, &[(&self.schema).into()], "pg_attribute", |cells| {
                Ok((cells.plain()?, cells.plain()?))
            })?;
        let columns: Vec<_> = columns.iter().map(|(name, kind)| (name.as_str(), kind.as_str())).collect();
        match columns.as_slice() {
            [("version", "int8"), ("at", "int8")] => Ok(()),
            _ => Err(self.foreign("schema_versions")),
        }
    }

    fn may_create(&self, connection: &dyn Sql) -> Result<(), Error> {
        let sql = "SELECT 1 WHERE has_schema_privilege(CAST(? AS TEXT), 'CREATE')";
        if connection.exists(sql, &[(&self.schema).into()])? {
            return Ok(());
        }
        let Self { schema, database, user } = self;
        Err(Error::Unavailable(format!(
            "in database {database}, user {user} lacks the right CREATE on schema {schema}: \
             GRANT USAGE, CREATE ON SCHEMA {schema} TO {user}"
        )))
    }

    /// The tables may have been made by another user.
    fn may_use(&self, connection: &dyn Sql) -> Result<(), Error> {
        let sql = "SELECT CAST(c.relname AS TEXT), r.name FROM pg_catalog.pg_class c \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             CROSS JOIN (VALUES ('SELECT'), ('INSERT'), ('UPDATE'), ('DELETE')) r (name) \
             WHERE n.nspname = ? AND c.relkind = 'r' AND NOT has_table_privilege(c.oid, r.name) ORDER BY 1, 2";
        let missing: Vec<(String, String)> =
            cells::all(connection, sql, &[(&self.schema).into()], "pg_class", |cells| {
                Ok((cells.plain()?, cells.plain()?))
            })?;
        let ours = |table: &str, right: &str| {
            tables().any(|ours| ours == table) || (table == "schema_versions" && right == "SELECT")
        };
        let Some((table, right)) = missing.iter().find(|(table, right)| ours(table, right)) else { return Ok(()) };
        let Self { schema, database, user } = self;
        Err(Error::Unavailable(format!(
            "in database {database}, user {user} lacks the right {right} on table {schema}.{table}: \
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {user}"
        )))
    }

    fn foreign(&self, table: &str) -> Error {
        let Self { schema, database, .. } = self;
        Error::Unavailable(format!(
            "schema {schema} of database {database} has a table {table} that is not strongroom's: \
             give it a database of its own, or a schema of its own in search_path"
        ))
    }
}
