//! The schema: made once, whoever else makes it at the same time, and only where it may be.

use std::collections::BTreeMap;
use std::sync::{Arc, Barrier};

use jiff::Timestamp;
use strongroom::store::postgres::schema::{KNOWN, migrate, recognise, tables};
use strongroom::store::postgres::{Connection, Patience, Server, Url};
use strongroom::store::{Error, Sqlite};

use super::server::{USER, shared};

const AT: Timestamp = Timestamp::constant(1_790_000_000, 0);
const RELATIONS: &str = "SELECT relname, oid FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1";

/// On a connection of its own, from a thread that may block.
fn on<T>(url: &str, work: impl FnOnce(&Connection) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let url = Url::parse(&format!("{url}?sslmode=disable")).unwrap();
    let server = Arc::new(Server::new(url, Patience::default()).unwrap());
    let connection = runtime.block_on(server.connect()).unwrap();
    work(&connection)
}

fn migrated() -> String {
    let database = shared().create_database();
    on(&shared().url(&database), |connection| migrate(connection, AT)).unwrap();
    database
}

fn refused<T: std::fmt::Debug>(outcome: Result<T, Error>) -> String {
    match outcome.unwrap_err() {
        Error::Unavailable(why) => why,
        error => panic!("{error:?}"),
    }
}

#[test]
fn replicas_that_start_at_once_make_it_once() {
    for _ in 0..5 {
        let database = shared().create_database();
        let url = shared().url(&database);
        let start = Barrier::new(8);
        let replica = || {
            on(&url, |connection| {
                start.wait();
                migrate(connection, AT)?;
                recognise(connection)
            })
        };
        std::thread::scope(|scope| {
            let replicas: Vec<_> = (0..8).map(|_| scope.spawn(replica)).collect();
            for replica in replicas {
                assert_eq!(replica.join().unwrap().unwrap(), KNOWN);
            }
        });
        let versions = shared().psql(&database, "SELECT version, at FROM schema_versions ORDER BY 1");
        assert_eq!(versions, format!("0|{0}\n1|{0}", AT.as_microsecond()));
        assert_eq!(shared().psql(&database, "SELECT id FROM turn"), "1");
    }
}

/// Each waits for row 0, and finds the version that the one before it has written.
#[test]
fn replicas_that_upgrade_at_once_do_it_once() {
    let database = shared().create_database();
    let url = shared().url(&database);
    // As a later program finds it: versions are told of, and the newest is missing.
    let before = "CREATE TABLE schema_versions (version BIGINT NOT NULL PRIMARY KEY, at BIGINT NOT NULL); \
        INSERT INTO schema_versions VALUES (0, 0)";
    shared().try_psql(&url, before).unwrap();
    let start = Barrier::new(8);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                on(&url, |connection| {
                    start.wait();
                    migrate(connection, AT).unwrap();
                });
            });
        }
    });
    assert_eq!(shared().psql(&database, "SELECT version FROM schema_versions ORDER BY 1"), "0\n1");
}

#[test]
fn a_second_run_changes_nothing() {
    let database = migrated();
    let before = shared().psql(&database, RELATIONS);
    shared().psql(&database, "INSERT INTO meta VALUES ('instance', 'kept')");
    on(&shared().url(&database), |connection| migrate(connection, AT + jiff::SignedDuration::from_secs(1))).unwrap();
    assert_eq!(shared().psql(&database, RELATIONS), before);
    assert_eq!(shared().psql(&database, "SELECT max(at) FROM schema_versions"), AT.as_microsecond().to_string());
    assert_eq!(shared().psql(&database, "SELECT value FROM meta"), "kept");
}

#[test]
fn a_newer_schema_is_refused() {
    let database = migrated();
    shared().psql(&database, "INSERT INTO schema_versions VALUES (9, 0)");
    let error = on(&shared().url(&database), |connection| migrate(connection, AT)).unwrap_err();
    assert!(matches!(error, Error::Newer { found: 9, known: KNOWN }), "{error:?}");
}

#[test]
fn other_peoples_tables_are_not_touched() {
    let samples = [
        ("CREATE TABLE tokens (id INT)", "has a table tokens that is not strongroom's"),
        ("CREATE VIEW changes AS SELECT 1 AS one", "has a table changes that is not strongroom's"),
        ("CREATE TABLE schema_versions (version TEXT)", "has a table schema_versions that is not strongroom's"),
        // Of a program that counts as we do.
        (
            "CREATE TABLE schema_versions (version BIGINT, at BIGINT); CREATE TABLE grants (id INT)",
            "has a table grants that is not strongroom's",
        ),
    ];
    for (theirs, why) in samples {
        let database = shared().create_database();
        shared().try_psql(&shared().url(&database), theirs).unwrap();
        let before = shared().psql(&database, RELATIONS);
        let told = refused(on(&shared().url(&database), |connection| migrate(connection, AT)));
        assert!(told.contains(why) && told.contains(&format!("schema public of database {database}")), "{told}");
        assert_eq!(shared().psql(&database, RELATIONS), before);
    }
    // What they call otherwise may stand beside ours.
    let database = shared().create_database();
    shared().try_psql(&shared().url(&database), "CREATE TABLE films (id INT)").unwrap();
    on(&shared().url(&database), |connection| migrate(connection, AT)).unwrap();
}

#[test]
fn a_missing_right_is_named() {
    let database = shared().create_database();
    let url = shared().url(&database);
    let run = |sql: &str| shared().psql(&database, sql);
    run(&format!("ALTER DATABASE {database} OWNER TO postgres"));
    let told = refused(on(&url, |connection| migrate(connection, AT)));
    assert!(told.contains(&format!("user {USER} lacks the right CREATE on schema public")), "{told}");
    assert!(told.contains(&format!("GRANT USAGE, CREATE ON SCHEMA public TO {USER}")), "{told}");

    run("REVOKE USAGE ON SCHEMA public FROM PUBLIC");
    let told = refused(on(&url, |connection| migrate(connection, AT)));
    assert!(told.contains(&format!("user {USER} may use none of the schemas of search_path")), "{told}");
    assert_eq!(run(RELATIONS), "");

    // What it was told is enough.
    run(&format!("GRANT USAGE, CREATE ON SCHEMA public TO {USER}"));
    on(&url, |connection| migrate(connection, AT)).unwrap();
}

/// Tables that an operator made as another user: the daemon need not be able to make any.
#[test]
fn who_only_uses_the_tables_needs_no_more_rights() {
    let database = shared().create_database();
    let url = shared().url(&database);
    let run = |sql: &str| shared().psql(&database, sql);
    run(&format!("ALTER DATABASE {database} OWNER TO postgres"));
    on(&shared().admin_url(&database), |connection| migrate(connection, AT)).unwrap();
    let told = refused(on(&url, recognise_on));
    assert!(told.contains(&format!("user {USER} lacks the right DELETE on table public.approvals")), "{told}");
    run(&format!("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {USER}"));
    on(&url, |connection| migrate(connection, AT)).unwrap();
    // Tables that number their rows themselves, too.
    let row = "INSERT INTO wrapping_keys VALUES (32768, 'k', '1'); \
        INSERT INTO wraps (live, holder, key, bytes) VALUES (1, 'v', 32768, 'b')";
    shared().try_psql(&url, row).unwrap();
    run(&format!("REVOKE UPDATE ON turn FROM {USER}"));
    let told = refused(on(&url, recognise_on));
    assert!(told.contains("lacks the right UPDATE on table public.turn"), "{told}");
    run(&format!("REVOKE ALL ON schema_versions FROM {USER}"));
    let told = refused(on(&url, recognise_on));
    assert!(told.contains("lacks the right SELECT on table public.schema_versions"), "{told}");
}

fn recognise_on(connection: &Connection) -> Result<u32, Error> {
    recognise(connection)
}

#[test]
fn to_recognise_changes_nothing() {
    let database = shared().create_database();
    assert_eq!(on(&shared().url(&database), recognise_on).unwrap(), 0);
    assert_eq!(shared().psql(&database, RELATIONS), "");
}

#[test]
fn a_schema_of_ones_own_is_used() {
    let database = shared().create_database();
    shared().try_psql(&shared().url(&database), "CREATE TABLE tokens (id INT); CREATE SCHEMA strongroom").unwrap();
    on(&shared().url(&database), |connection| migrate(connection, AT)).unwrap();
    let made = "SELECT count(*) FROM pg_tables WHERE schemaname = 'strongroom'";
    assert_eq!(shared().psql(&database, made), (tables().count() + 1).to_string());
}

/// A row that one can hold the other can, and what one finds quickly the other does.
#[test]
fn tables_are_those_of_sqlite() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("strongroom.db");
    drop(Sqlite::open(&file).unwrap());
    let sqlite = rusqlite::Connection::open(&file).unwrap();
    let database = migrated();

    let theirs = sqlite_columns(&sqlite);
    assert!(theirs.len() > 15, "{theirs:#?}");
    let mut ours = postgres_columns(&database);
    assert_eq!(ours.remove("turn").unwrap(), ["id BIGINT NOT NULL PRIMARY 1"]);
    assert_eq!(ours.remove("schema_versions").unwrap().len(), 2);
    assert_eq!(ours.remove("instances").unwrap().len(), 3);
    assert_eq!(ours.remove("leases").unwrap().len(), 3);
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    for (table, columns) in theirs {
        assert_eq!(ours[&table], columns, "{table}");
    }

    let made = include_str!("../../src/store/postgres/migrations/0001_store.sql");
    let mut indexes: Vec<_> = statements(made).into_iter().filter(|sql| sql.contains("INDEX")).collect();
    indexes.retain(|index| !index.contains("audit_log_by_instance"));
    indexes.sort();
    let sql = "SELECT sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL";
    let mut theirs: Vec<_> = texts(&sqlite, sql).iter().flat_map(|sql| statements(sql)).collect();
    theirs.sort();
    assert_eq!(indexes, theirs);

    let rules = |sql: &str| -> BTreeMap<String, Vec<String>> {
        let created = statements(sql).into_iter().filter(|sql| sql.starts_with("CREATE TABLE"));
        created
            .map(|sql| {
                let name = sql.split_whitespace().nth(2).unwrap().trim_matches('"').to_owned();
                let words = ["CHECK", "REFERENCES", "FOREIGN KEY", "UNIQUE"];
                let mut rules: Vec<_> = words.iter().flat_map(|word| after(&sql, word)).collect();
                rules.sort();
                (name, rules)
            })
            .collect()
    };
    let theirs = texts(&sqlite, "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'");
    let theirs = rules(&theirs.join(";"));
    let mut ours = rules(made);
    assert_eq!(ours.remove("turn").unwrap(), ["CHECK (id = 1)"]);
    for table in ["instances", "leases"] {
        assert_eq!(ours.remove(table).unwrap(), ["CHECK (length(holder) = 16)"]);
    }
    let audit_log = ours.get_mut("audit_log").unwrap();
    assert_eq!(std::mem::take(audit_log), ["UNIQUE (instance, sequence)"]);
    assert_eq!(ours, theirs);
}

fn texts(sqlite: &rusqlite::Connection, sql: &str) -> Vec<String> {
    let mut statement = sqlite.prepare(sql).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

/// Of each table its columns: name, type, whether it must be there, default, and place in the primary key.
fn sqlite_columns(sqlite: &rusqlite::Connection) -> BTreeMap<String, Vec<String>> {
    let sql = "SELECT t.name || '|' || c.name || ' ' \
            || CASE c.type WHEN 'INTEGER' THEN 'BIGINT' WHEN 'TEXT' THEN 'TEXT' WHEN 'BLOB' THEN 'BYTEA' END \
            || CASE WHEN c.\"notnull\" OR c.pk > 0 THEN ' NOT NULL' ELSE '' END \
            || coalesce(' DEFAULT ' || c.dflt_value, '') || CASE WHEN c.pk > 0 THEN ' PRIMARY ' || c.pk ELSE '' END \
        FROM sqlite_schema t JOIN pragma_table_info(t.name) c \
        WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%' ORDER BY t.name, c.cid";
    grouped(texts(sqlite, sql).iter().map(String::as_str))
}

fn postgres_columns(database: &str) -> BTreeMap<String, Vec<String>> {
    let sql = "SELECT t.relname || '|' || c.attname || ' ' || CASE format_type(c.atttypid, c.atttypmod) \
                WHEN 'bigint' THEN 'BIGINT' WHEN 'bytea' THEN 'BYTEA' WHEN 'text' THEN 'TEXT' ELSE 'unknown' END \
            || CASE WHEN c.attcollation NOT IN (0, '\"C\"'::regcollation) THEN ' of a collation' ELSE '' END \
            || CASE WHEN c.attnotnull THEN ' NOT NULL' ELSE '' END \
            || coalesce(' DEFAULT ' || replace(pg_get_expr(d.adbin, d.adrelid), '::text', ''), '') \
            || coalesce(' PRIMARY ' || array_position(p.conkey, c.attnum), '') \
        FROM pg_class t JOIN pg_attribute c ON c.attrelid = t.oid AND c.attnum > 0 AND NOT c.attisdropped \
        LEFT JOIN pg_attrdef d ON d.adrelid = t.oid AND d.adnum = c.attnum \
        LEFT JOIN pg_constraint p ON p.conrelid = t.oid AND p.contype = 'p' \
        WHERE t.relnamespace = 'public'::regnamespace AND t.relkind = 'r' ORDER BY t.relname, c.attnum";
    grouped(shared().psql(database, sql).lines())
}

fn grouped<'a>(lines: impl Iterator<Item = &'a str>) -> BTreeMap<String, Vec<String>> {
    let mut tables = BTreeMap::<_, Vec<_>>::new();
    for line in lines {
        let (table, column) = line.split_once('|').unwrap();
        tables.entry(table.to_owned()).or_default().push(column.to_owned());
    }
    tables
}

/// One by one, on one line, without comments.
fn statements(sql: &str) -> Vec<String> {
    let lines: Vec<_> = sql.lines().map(|line| line.split("--").next().unwrap()).collect();
    let words = |statement: &str| statement.split_whitespace().collect::<Vec<_>>().join(" ");
    lines.join("\n").split(';').map(words).filter(|statement| !statement.is_empty()).collect()
}

/// A word and what follows it, up to the end of its brackets, wherever it stands.
fn after(sql: &str, word: &str) -> Vec<String> {
    sql.match_indices(&format!("{word} "))
        .map(|(at, _)| {
            let mut depth = 0;
            let end = sql[at..].find(|letter| {
                depth += i32::from(letter == '(') - i32::from(letter == ')');
                letter == ')' && depth == 0
            });
            sql[at..=at + end.unwrap()].to_owned()
        })
        .collect()
}
