//! What is not moved, and what is not moved over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use strongroom::store::Postgres;
use strongroom::store::postgres::{Patience, Server, Url};

use super::*;
use crate::daemon::runtime;

fn reached(database: &str) -> Arc<Server> {
    let url = Url::parse(&format!("{}?sslmode=disable", shared().url(database))).unwrap();
    Arc::new(Server::new(url, Patience::default()).unwrap())
}

async fn open(database: &str) -> Result<Postgres, Error> {
    Postgres::open(reached(database)).await
}

/// Tables that no row is in.
pub async fn tables_alone(database: &str) {
    drop(open(database).await.unwrap());
    shared().psql(database, "DELETE FROM meta; DELETE FROM instances");
}

#[test]
fn nothing_is_moved_over_a_vault_nor_under_a_daemon() {
    let (place, database) = (Folder::new(), shared().create_database());
    let (from, to) = (place.file("a.db"), place.database(&database));
    refused(&from, &to, &[], IN_THE_WAY, "there is no database");
    assert!(!place.path("a.db").exists());
    fill(&place.path("a.db"), 3, 3);
    let before = dump(&place.path("a.db"));

    runtime().block_on(async {
        let serving = Sqlite::open(&place.path("a.db")).unwrap();
        refused(&from, &to, &[], IN_THE_WAY, "a daemon");
        drop(serving);
        let serving = open(&database).await.unwrap();
        refused(&from, &to, &[], IN_THE_WAY, "a daemon is using it");
        refused(&to, &place.file("new.db"), &[], IN_THE_WAY, "a daemon is using it");
        drop(serving);
    });
    refused(&from, &to, &[], IN_THE_WAY, "it holds a vault");
    refused(&from, &to, &["--check"], IN_THE_WAY, "it holds a vault");
    assert!(!place.path("new.db").exists());

    fill(&place.path("b.db"), 1, 1);
    let there = dump(&place.path("b.db"));
    refused(&from, &place.file("b.db"), &[], IN_THE_WAY, "it holds a vault");
    assert_eq!(dump(&place.path("b.db")), there);
    std::fs::write(place.path("text"), "somebody's own text, as long as a page needs to be for it to be looked at")
        .unwrap();
    assert_ne!(migrate(&from, &place.file("text"), &[]).0, 0);
    assert!(std::fs::read_to_string(place.path("text")).unwrap().starts_with("somebody's own"));
    refused(&from, &from, &[], IN_THE_WAY, "");

    // Nobody was hurt.
    assert_eq!(dump(&place.path("a.db")), before);
    runtime().block_on(async { drop(Sqlite::open(&place.path("a.db")).unwrap()) });
}

#[test]
fn a_password_in_an_argument_is_refused_and_not_repeated() {
    let place = Folder::new();
    fill(&place.path("a.db"), 1, 1);
    let url = format!("{}?sslmode=disable", shared().url("postgres"));
    refused(&place.file("a.db"), &url, &[], 2, "password_file");
    refused(&place.file("a.db"), "mysql://who:sekret@where/what", &[], 2, "sqlite://PATH");
}

#[test]
fn half_a_vault_is_not_served_and_goes_on_from_its_own_source_alone() {
    let (place, database) = (Folder::new(), shared().create_database());
    let (from, to) = (place.file("a.db"), place.database(&database));
    fill(&place.path("a.db"), 20, 900);
    fill(&place.path("b.db"), 1, 1);
    let before = dump(&place.path("a.db"));
    runtime().block_on(tables_alone(&database));
    // A place where it ends is wanted.
    shared().psql(&database, "ALTER TABLE audit_log ADD CONSTRAINT stop CHECK (position < 500)");
    refused(&from, &to, &[], STORE, "by its rule stop");
    let there = || shared().psql(&database, "SELECT count(*) FROM audit_log").parse::<u64>().unwrap();
    let half = there();
    assert!(half > 0 && half < 500, "{half}");

    runtime().block_on(async {
        let told = open(&database).await.err().unwrap().to_string();
        assert!(told.contains("unfinished migration from sqlite://") && told.contains("--abandon"), "{told}");
        let told = Sqlite::open(&place.path("a.db")).err().unwrap().to_string();
        assert!(told.contains("is being moved to postgres://") && told.contains("--abandon"), "{told}");
    });
    refused(&place.file("b.db"), &to, &[], IN_THE_WAY, "unfinished migration from");
    refused(&place.file("b.db"), &to, &["--abandon"], IN_THE_WAY, "what it holds comes from");
    refused(&from, &place.file("c.db"), &[], IN_THE_WAY, "is being moved to postgres://");
    refused(&to, &place.file("c.db"), &[], IN_THE_WAY, "");
    assert_eq!(there(), half);

    // Somebody writes to what was copied.
    shared().psql(&database, "ALTER TABLE audit_log DROP CONSTRAINT stop");
    shared().psql(&database, "UPDATE credentials SET revision = revision + 1 WHERE name = 'n5'");
    let id = shared().psql(&database, "SELECT encode(id, 'hex') FROM credentials WHERE name = 'n5'");
    let id = Uuid::parse_str(&id).unwrap();
    refused(&from, &to, &[], DIFFERS, &format!("credentials ({id}) differs in revision"));
    shared().psql(&database, "UPDATE credentials SET revision = revision - 1 WHERE name = 'n5'");
    shared().psql(&database, "UPDATE audit_log SET canonical = replace(canonical, 'test', 'tset') WHERE position = 7");
    refused(&from, &to, &[], DIFFERS, "audit_log (7) differs in canonical");
    shared().psql(&database, "DELETE FROM grants; DELETE FROM audit_log WHERE position = 7");
    // One that is missing is put at the end, where it does not belong: it is there already.
    assert_ne!(migrate(&from, &to, &[]).0, 0);

    let (code, _, said) = migrate(&from, &to, &["--abandon"]);
    assert!(code == 0 && said.contains("the target is empty again"), "{said}");
    assert_eq!(there(), 0);
    assert_eq!(dump(&place.path("a.db")), before);
    runtime().block_on(async { drop(Sqlite::open(&place.path("a.db")).unwrap()) });
    refused(&from, &to, &["--abandon"], IN_THE_WAY, "no unfinished migration");
    migrated(&from, &to);
    // Killed before the last word was said to the target: nobody serves, and it goes on.
    shared().psql(&database, "UPDATE meta SET value = replace(value, 'arrived', 'arriving') WHERE key = 'migration'");
    runtime().block_on(async {
        let told = open(&database).await.err().unwrap().to_string();
        assert!(told.contains("unfinished migration from sqlite://"), "{told}");
        let told = Sqlite::open(&place.path("a.db")).err().unwrap().to_string();
        assert!(told.contains("was moved to postgres://"), "{told}");
    });
    refused(&from, &to, &["--abandon"], IN_THE_WAY, "all of it is in postgres://");
    // Nor is it emptied by whoever takes it for both ends.
    refused(&to, &to, &["--abandon"], IN_THE_WAY, "what it holds comes from sqlite://");
    migrated(&from, &to);
    runtime().block_on(async { drop(open(&database).await.unwrap()) });
    refused(&from, &to, &["--abandon"], IN_THE_WAY, "all of it is in postgres://");
    refused(&from, &place.file("c.db"), &[], IN_THE_WAY, "was moved to postgres://");
}

#[test]
fn what_was_tampered_with_before_does_not_become_the_vault() {
    let (place, database) = (Folder::new(), shared().create_database());
    let (from, to) = (place.file("a.db"), place.database(&database));
    fill(&place.path("a.db"), 3, 30);
    let edit = "UPDATE audit_log SET canonical = replace(canonical, 'tester', 'nobody') WHERE position = 9";
    assert_eq!(Connection::open(place.path("a.db")).unwrap().execute(edit, []).unwrap(), 1);
    refused(&from, &to, &[], DIFFERS, "record 9 of instance");
    assert_eq!(migrate(&from, &to, &["--abandon"]).0, 0);
}

#[test]
fn a_source_can_be_given_up_when_its_target_is_gone() {
    let (place, database) = (Folder::new(), shared().create_database());
    let (from, to) = (place.file("a.db"), place.database(&database));
    fill(&place.path("a.db"), 3, 30);
    runtime().block_on(tables_alone(&database));
    shared().psql(&database, "ALTER TABLE audit_log ADD CONSTRAINT stop CHECK (position < 5)");
    refused(&from, &to, &[], STORE, "by its rule stop");
    let output = Command::new(program()).args(["migrate", "--abandon", "--from", &from]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    runtime().block_on(async { drop(Sqlite::open(&place.path("a.db")).unwrap()) });
    // The one that is left knows of another attempt, and is not taken for this one's.
    refused(&from, &to, &[], IN_THE_WAY, "or an earlier one of this");
    assert_eq!(migrate(&from, &to, &["--abandon"]).0, 0);
    shared().psql(&database, "ALTER TABLE audit_log DROP CONSTRAINT stop");
    migrated(&from, &to);
}

#[test]
fn an_older_schema_is_brought_up_and_a_newer_one_refused() {
    let (place, database) = (Folder::new(), shared().create_database());
    let (from, to) = (place.file("a.db"), place.database(&database));
    fill(&place.path("a.db"), 3, 30);
    let raw = |sql: &str| Connection::open(place.path("a.db")).unwrap().execute_batch(sql).unwrap();
    raw("PRAGMA user_version = 99");
    refused(&from, &to, &[], 66, "run the newer strongroom");
    // As the version before the last migration has left it.
    raw("DROP TABLE resealed_blobs; PRAGMA user_version = 9");
    let (code, report, said) = migrate(&from, &to, &["--check"]);
    assert!(code == 0 && said.contains("it has schema 9") && report["total"] == 0, "{code}: {said}");
    migrated(&from, &to);
}

#[test]
fn a_replica_that_comes_back_after_its_vault_has_left_writes_nothing() {
    let (place, database) = (Folder::new(), shared().create_database());
    fill(&place.path("a.db"), 3, 30);
    migrated(&place.file("a.db"), &place.database(&database));
    runtime().block_on(async {
        let away = open(&database).await.unwrap();
        commit(&away, Change::Record).await.unwrap();
        // As if nothing had been heard of it.
        shared().psql(&database, "UPDATE instances SET seen_at = 0");
        migrated(&place.database(&database), &place.file("b.db"));
        let before = shared().psql(&database, "SELECT count(*) FROM audit_log");
        assert!(commit(&away, Change::Record).await.is_err());
        let id = Uuid::now_v7();
        let late = creation(id, Path { name: "late".into(), ..acme() }, active(id, 1));
        assert!(commit(&away, late).await.is_err());
        assert_eq!(shared().psql(&database, "SELECT count(*) FROM audit_log"), before);
        assert_eq!(shared().psql(&database, "SELECT count(*) FROM credentials WHERE name = 'late'"), "0");
    });
}

#[test]
fn a_use_that_waits_to_be_written_while_all_are_shut_out_is_not_written_any_more() {
    let (database, runtime) = (shared().create_database(), runtime());
    let away = runtime.block_on(open(&database)).unwrap();
    let token = token("acme");
    runtime.block_on(commit(&away, Change::IssueToken(token.clone()))).unwrap();
    // Tokens can be read meanwhile, and not written.
    let other = runtime.block_on(reached(&database).connect()).unwrap();
    other.batch("BEGIN; LOCK TABLE tokens IN SHARE MODE").unwrap();
    let by = Change::By { token: token.id, change: Box::new(Change::Record) };
    runtime.block_on(commit(&away, by)).unwrap();
    let waits = "SELECT count(*) FROM pg_locks WHERE relation = 'tokens'::regclass AND NOT granted";
    let end = Instant::now() + Duration::from_secs(9);
    while shared().psql(&database, waits) != "1" {
        assert!(Instant::now() < end, "the use is not written");
        std::thread::sleep(Duration::from_millis(20));
    }
    shared().psql(&database, "UPDATE instances SET holder = NULL");
    other.batch("COMMIT").unwrap();
    // It waits for what is under way.
    drop(away);
    assert_eq!(shared().psql(&database, "SELECT count(*), count(last_used_at) FROM tokens"), "1|0");
}
