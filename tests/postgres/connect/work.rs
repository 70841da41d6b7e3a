//! Statements, values and transactions.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::sync::mpsc;
use std::thread;

use strongroom::store::postgres::{Connection, Failure, Isolation, Limits};

use super::*;
use crate::server::shared;

const OPEN: Limits = Limits { statement: None, lock: None, idle: None };

fn connected(runtime: &Runtime, database: &str) -> Connection {
    runtime.block_on(plain(&shared().url(database)).connect()).unwrap()
}

fn table(sql: &Connection) {
    sql.batch("CREATE TABLE kept (id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name TEXT COLLATE \"C\" UNIQUE, blob BYTEA)")
        .unwrap();
}

#[test]
fn what_goes_in_comes_out() {
    let runtime = runtime();
    let sql = connected(&runtime, &shared().create_database());
    table(&sql);
    let insert = "INSERT INTO kept (name, blob) VALUES (?2, ?1)";
    let bytes = [0, 1, 255];
    assert_eq!(sql.insert_numbered(insert, &[Value::from(&bytes), Value::from("it's ?")], "id").unwrap(), 1);
    assert_eq!(sql.insert_numbered(insert, &[Value::Null, Value::Null], "id").unwrap(), 2);
    let mut rows = Vec::new();
    sql.query(
        "SELECT id, name, blob, '?', 7, 1 = 1 FROM kept WHERE id > ? ORDER BY id",
        &[Value::from(0_i64)],
        &mut |row| {
            rows.push(format!("{:?}", (0..7).map(|column| row.get(column)).collect::<Vec<_>>()));
            assert_eq!((row.name(0), row.name(1), row.name(9)), ("id", "name", ""));
            Ok(ControlFlow::Continue(()))
        },
    )
    .unwrap();
    assert_eq!(
        rows,
        [
            "[Some(Integer(1)), Some(Text(\"it's ?\")), Some(Bytes([0, 1, 255])), Some(Text(\"?\")), Some(Integer(7)), \
             Some(Integer(1)), None]",
            "[Some(Integer(2)), Some(Null), Some(Null), Some(Text(\"?\")), Some(Integer(7)), Some(Integer(1)), None]",
        ]
    );
    assert_eq!(sql.execute("UPDATE kept SET name = ?", &[Value::Null]).unwrap(), 2);
    assert_eq!(sql.execute("UPDATE kept SET name = ? WHERE id = ?", &["a".into(), 1_i64.into()]).unwrap(), 1);
}

#[test]
fn many_rows_arrive_in_order_and_whoever_has_enough_leaves() {
    let runtime = runtime();
    let sql = connected(&runtime, &shared().create_database());
    let mut last = 0;
    sql.query("SELECT CAST(x AS BIGINT) FROM generate_series(1, 100000) t (x)", &[], &mut |row| {
        let Some(Borrowed::Integer(next)) = row.get(0) else { panic!("a number") };
        assert_eq!(next, last + 1);
        last = next;
        // Nobody else may ask meanwhile: it would wait for ever.
        if next == 5 {
            assert!(number(&sql, "SELECT 1", &[]).unwrap_err().to_string().contains("while the rows of another"));
        }
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    assert_eq!(last, 100_000);
    let mut count = 0;
    let series = "SELECT x FROM generate_series(1, 1000) t (x)";
    sql.query(series, &[], &mut |_| {
        count += 1;
        Ok(if count == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })
    .unwrap();
    assert_eq!(count, 3);
    let stopped = sql.query(series, &[], &mut |_| Err(Error::Full));
    assert!(matches!(stopped, Err(Error::Full)) && !sql.is_broken());
    assert_eq!(number(&sql, "SELECT 1", &[]).unwrap(), 1);
}

#[test]
fn a_transaction_with_a_failure_in_it_is_never_committed() {
    let runtime = runtime();
    let database = shared().create_database();
    let sql = connected(&runtime, &database);
    table(&sql);
    let insert = |name: &'static str| sql.execute("INSERT INTO kept (name) VALUES (?)", &[name.into()]);

    sql.begin(Isolation::ReadCommitted, OPEN, None).unwrap();
    insert("sekret").unwrap();
    let told = insert("sekret").unwrap_err();
    assert_eq!(sql.failure(), Some(Failure::Duplicate));
    assert!(
        matches!(&told, Error::Corrupt(cause) if cause.contains("kept_name_key") && !cause.contains("sekret")),
        "{told}"
    );
    assert!(sql.commit().is_err());
    assert!(!sql.is_in_transaction() && !sql.is_broken());
    assert_eq!(shared().psql(&database, "SELECT count(*) FROM kept"), "0");

    // An error that comes after the rows that were wanted counts too.
    sql.begin(Isolation::ReadCommitted, OPEN, None).unwrap();
    insert("kept").unwrap();
    let late = "SELECT 1 / (2000 - x) FROM generate_series(1, 2000) t (x)";
    assert!(sql.query(late, &[], &mut |_| Ok(ControlFlow::Break(()))).is_err());
    assert!(sql.commit().is_err());

    // A part is undone alone, and the rest stays.
    sql.begin(Isolation::ReadCommitted, OPEN, None).unwrap();
    insert("whole").unwrap();
    sql.savepoint().unwrap();
    insert("whole").unwrap_err();
    sql.undo().unwrap();
    assert_eq!(sql.failure(), None);
    sql.savepoint().unwrap();
    insert("part").unwrap();
    sql.release().unwrap();
    sql.commit().unwrap();
    assert_eq!(shared().psql(&database, "SELECT string_agg(name, ' ' ORDER BY id) FROM kept"), "whole part");
    assert!(sql.commit().is_err(), "there is none");
    sql.rollback().unwrap();
}

#[test]
fn what_nobody_waits_for_goes_with_the_next_statement_and_fails_with_it() {
    let runtime = runtime();
    let database = shared().create_database();
    let sql = connected(&runtime, &database);
    table(&sql);
    let send = |name: &'static str| sql.send("INSERT INTO kept (name) VALUES (?)", &[name.into()]).unwrap();
    let count = || number(&sql, "SELECT count(*) FROM kept", &[]);
    let begin = || sql.begin(Isolation::ReadCommitted, OPEN, None).unwrap();

    // In order, ahead of what is waited for, and more of them than wait at once.
    begin();
    (0..40).for_each(|_| sql.send("INSERT INTO kept (name) SELECT 'n' || count(*) FROM kept", &[]).unwrap());
    assert_eq!(count().unwrap(), 40);
    send("last");
    sql.commit().unwrap();
    assert_eq!(shared().psql(&database, "SELECT name FROM kept ORDER BY id DESC LIMIT 1"), "last");

    // What failed is not committed, and the part that it was for is undone alone.
    begin();
    send("twice");
    send("twice");
    assert!(sql.commit().is_err());
    assert_eq!(sql.failure(), Some(Failure::Duplicate));
    begin();
    sql.savepoint().unwrap();
    send("one");
    sql.release().unwrap();
    sql.savepoint().unwrap();
    send("two");
    send("two");
    assert!(sql.release().is_err(), "it fails where its part ends");
    sql.undo().unwrap();
    // Nothing of this one has reached the server.
    sql.savepoint().unwrap();
    send("three");
    sql.undo().unwrap();
    sql.savepoint().unwrap();
    send("four");
    assert_eq!(count().unwrap(), 43);
    sql.undo().unwrap();
    sql.commit().unwrap();
    assert_eq!(count().unwrap(), 42);

    // A transaction that is given up takes along what waits.
    begin();
    send("five");
    sql.rollback().unwrap();
    assert_eq!(count().unwrap(), 42);
    send("at once");
    assert_eq!(shared().psql(&database, "SELECT count(*) FROM kept"), "43");
}

#[test]
fn a_deadlock_is_known_as_a_conflict() {
    let runtime = runtime();
    let database = shared().create_database();
    let (one, other) = (connected(&runtime, &database), connected(&runtime, &database));
    table(&one);
    one.batch("INSERT INTO kept (name) VALUES ('a'), ('b')").unwrap();
    let lock = |sql: &Connection, name: &'static str| {
        number(sql, "SELECT id FROM kept WHERE name = ? FOR UPDATE", &[name.into()]).map(drop)
    };
    for sql in [&one, &other] {
        sql.begin(Isolation::ReadCommitted, OPEN, None).unwrap();
    }
    lock(&one, "a").unwrap();
    lock(&other, "b").unwrap();
    let (ready, waits) = mpsc::channel();
    let waiter = thread::spawn(move || {
        ready.send(()).unwrap();
        let outcome = lock(&other, "a");
        let conflicted = other.failure() == Some(Failure::Conflict);
        other.rollback().unwrap();
        (outcome.is_err(), conflicted)
    });
    waits.recv().unwrap();
    let failed = lock(&one, "b").is_err();
    let conflicted = one.failure() == Some(Failure::Conflict);
    one.rollback().unwrap();
    let (other_failed, other_conflicted) = waiter.join().unwrap();
    assert!(failed != other_failed, "one of them is the victim");
    assert_eq!((failed, other_failed), (conflicted, other_conflicted));
}

#[test]
fn limits_hold_in_the_server_and_end_with_their_transaction() {
    let runtime = runtime();
    let database = shared().create_database();
    let (one, other) = (connected(&runtime, &database), connected(&runtime, &database));
    table(&one);
    let brief = Some(Duration::from_millis(100));
    one.begin(Isolation::ReadCommitted, OPEN, None).unwrap();
    one.batch("LOCK TABLE kept").unwrap();
    other.begin(Isolation::ReadCommitted, Limits { lock: brief, ..OPEN }, None).unwrap();
    let told = number(&other, "SELECT count(*) FROM kept", &[]).unwrap_err().to_string();
    assert!(told.contains("55P03") && !other.is_broken(), "{told}");
    other.rollback().unwrap();

    other.begin(Isolation::ReadCommitted, Limits { statement: brief, ..OPEN }, None).unwrap();
    let told = other.batch("SELECT pg_sleep(5)").unwrap_err().to_string();
    assert!(told.contains("57014"), "{told}");
    other.rollback().unwrap();
    other.batch("SELECT pg_sleep(0.3)").unwrap();

    other.begin(Isolation::ReadCommitted, Limits { idle: brief, ..OPEN }, None).unwrap();
    thread::sleep(Duration::from_millis(500));
    let told = other.batch("SELECT 1").unwrap_err().to_string();
    assert!(told.contains("25P03") && other.is_broken(), "{told}");
}

#[test]
fn errors_name_relations_and_never_values() {
    let runtime = runtime();
    let database = shared().create_database();
    let sql = connected(&runtime, &database);
    shared().psql(&database, "CREATE TABLE locked (id BIGINT)");
    for (query, value, cause) in [
        ("SELECT id FROM locked WHERE ?1 = 'x'", Value::from("sekret"), "permission denied for table locked (42501)"),
        ("SELECT 1 FROM absent WHERE ?1 = 'x'", Value::from("sekret"), "\"absent\" does not exist (42P01)"),
        ("SELECT CAST(?1 AS BIGINT)", Value::Text(Cow::Borrowed("sekret")), "refuses a value (22P02)"),
        ("SELECT CAST(?1 AS TEXT)", Value::from("sekret\0"), "(22021)"),
        ("SELECT CAST(CAST(?1 AS TEXT) AS JSON)", Value::from("sekret"), "(22P02)"),
    ] {
        let told = sql.query(query, &[value], &mut |_| Ok(ControlFlow::Continue(()))).unwrap_err().to_string();
        assert!(told.contains(cause) && !told.contains("sekret"), "{told}");
    }
    assert!(!sql.is_broken());
}

#[test]
fn a_moment_is_one_and_cannot_write() {
    let runtime = runtime();
    let database = shared().create_database();
    table(&connected(&runtime, &database));
    let pool = Pool::new(plain(&shared().url(&database)), 2);
    let inside = database.clone();
    let count = |sql: &dyn Sql| number(sql, "SELECT count(*) FROM kept", &[]);
    let (before, after) = runtime
        .block_on(pool.moment(move |sql| {
            let before = count(sql)?;
            shared().psql(&inside, "INSERT INTO kept (name) VALUES ('a')");
            Ok((before, count(sql)?))
        }))
        .unwrap();
    assert_eq!((before, after), (0, 0));
    assert_eq!(runtime.block_on(pool.read(count)).unwrap(), 1);
    assert!(runtime.block_on(pool.moment(|sql| sql.execute("DELETE FROM kept", &[]))).is_err());
    assert_eq!(runtime.block_on(pool.read(count)).unwrap(), 1);
    pool.close();
    assert!(runtime.block_on(pool.read(count)).unwrap_err().to_string().contains("the store is closed"));
}
