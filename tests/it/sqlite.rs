//! What only SQLite has: a file.

mod backup;
mod reseal;
mod wraps;

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rusqlite::Connection;
use strongroom::store::Sqlite;
use tempfile::TempDir;

use crate::store::*;

/// A folder with one database.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> std::path::PathBuf {
        self.0.path().join("strongroom.db")
    }

    fn open(&self) -> Sqlite {
        Sqlite::open(&self.file()).unwrap()
    }

    fn side(&self, suffix: &str) -> std::path::PathBuf {
        self.0.path().join(format!("strongroom.db{suffix}"))
    }

    fn refused(&self) -> Error {
        Sqlite::open(&self.file()).err().expect("it opened")
    }

    /// The database as SQLite's own tools would see it.
    fn raw(&self) -> Connection {
        Connection::open(self.file()).unwrap()
    }
}

impl Place for Folder {
    type Store = Sqlite;

    async fn open(&self) -> Sqlite {
        Self::open(self)
    }
}

conformance!(conforms, super::Folder::new());

#[tokio::test]
async fn one_daemon_at_a_time() {
    let folder = Folder::new();
    let store = folder.open();
    let error = folder.refused().to_string();
    assert!(error.contains("another strongroom daemon") && error.contains("strongroom.db-lock"), "{error}");
    // A symbolic link leads to the same lock.
    let link = folder.0.path().join("link.db");
    std::os::unix::fs::symlink(folder.file(), &link).unwrap();
    assert!(Sqlite::open(&link).err().unwrap().to_string().contains("another strongroom daemon"));
    // The one that has it was not disturbed.
    commit(&store, Change::Record).await.unwrap();
    drop(store);
    Sqlite::open(&link).unwrap();
}

#[tokio::test]
async fn files_are_the_owners_alone() {
    let folder = Folder::new();
    let store = folder.open();
    created(&store, acme()).await;
    let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for suffix in ["", "-wal", "-shm", "-lock"] {
        assert_eq!(mode(folder.side(suffix)), 0o600, "{suffix}");
    }
    drop(store);
    // Nothing is left to recover after a clean end.
    assert!(!folder.side("-wal").exists());
    fs::set_permissions(folder.file(), fs::Permissions::from_mode(0o644)).unwrap();
    let _store = folder.open();
    assert_eq!(mode(folder.file()), 0o600);
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_alone() {
    let folder = Folder::new();
    drop(folder.open());
    folder.raw().pragma_update(None, "user_version", 99).unwrap();
    let before = fs::read(folder.file()).unwrap();
    match folder.refused() {
        error @ Error::Newer { found: 99, known } => {
            assert_eq!(
                error.to_string(),
                format!("the database has schema 99, and this program knows up to {known}: run the newer strongroom")
            );
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(fs::read(folder.file()).unwrap(), before);
}

#[test]
fn what_is_no_database_of_ours_is_refused_and_left_alone() {
    let folder = Folder::new();
    let names_file = |error: Error, why: &str| {
        let error = error.to_string();
        assert!(error.contains("strongroom.db") && error.contains(why), "{error}");
    };
    let text = "some notes of mine\n".repeat(1_000);
    fs::write(folder.file(), &text).unwrap();
    names_file(folder.refused(), "not a database");
    assert_eq!(fs::read_to_string(folder.file()).unwrap(), text);

    fs::remove_file(folder.file()).unwrap();
    folder.raw().execute_batch("CREATE TABLE books (title TEXT)").unwrap();
    let before = fs::read(folder.file()).unwrap();
    names_file(folder.refused(), "not one of strongroom's");
    assert_eq!(fs::read(folder.file()).unwrap(), before);

    fs::remove_file(folder.file()).unwrap();
    fs::create_dir(folder.file()).unwrap();
    names_file(folder.refused(), "directory");

    let nowhere = folder.0.path().join("missing").join("strongroom.db");
    let error = Sqlite::open(&nowhere).err().unwrap().to_string();
    assert!(error.contains("missing") && error.contains("No such file"), "{error}");
    let error = Sqlite::open(std::path::Path::new("/proc/strongroom.db")).err().unwrap().to_string();
    assert!(error.contains("cannot open /proc/strongroom.db"), "{error}");
}

#[tokio::test]
async fn damaged_rows_are_named() {
    let folder = Folder::new();
    let (credential, issued);
    {
        let store = folder.open();
        credential = served(&store, acme()).await;
        issued = token("acme");
        commit(&store, Change::IssueToken(issued.clone())).await.unwrap();
    }
    let id = credential.id;
    for (damage, names) in [
        ("UPDATE credentials SET metadata = '{broken'", format!("credentials {id}: metadata is not the JSON")),
        (
            "UPDATE credentials SET state = 'odd', active_version = 1",
            format!("credentials {id}: state is an unknown word"),
        ),
        ("UPDATE credentials SET id = x'0102'", "credentials with a damaged id: id is of the wrong type".into()),
        (
            "UPDATE credentials SET created_at = 9000000000000000000",
            format!("credentials {id}: created_at is not a time"),
        ),
        ("UPDATE credentials SET revision = -1", format!("credentials {id}: revision is negative")),
        ("UPDATE credentials SET disabled = 2", format!("credentials {id}: disabled is neither 0 nor 1")),
        ("UPDATE credentials SET labels = '{\"a\": 1}'", format!("credentials {id}: labels is not the JSON")),
        ("UPDATE credentials SET latest_version = 5000000000", format!("credentials {id}: latest_version is of the")),
        (
            "UPDATE org_integration_credentials SET digest = x'01'",
            format!("org_integration_credentials {id}: digest is"),
        ),
        (
            "UPDATE org_integration_credentials SET seal = 'wax'",
            format!("org_integration_credentials {id}: seal is an"),
        ),
        ("DELETE FROM org_integration_credential_states", format!("org_integration_credentials {id}: state is of the")),
        ("UPDATE tokens SET projects = '[1]'", format!("tokens {}: projects is not the JSON", issued.id)),
        ("UPDATE audit_log SET canonical = 'x' WHERE position = 1", "audit_log 1: canonical is not the JSON".into()),
        ("UPDATE audit_log SET hash = x'01' WHERE position = 2", "audit_log 2: hash is of the wrong type".into()),
        ("UPDATE audit_log SET org = 'other' WHERE position = 1", "audit_log 1: the columns do not say".into()),
    ] {
        let copy = Folder::new();
        fs::copy(folder.file(), copy.file()).unwrap();
        let raw = copy.raw();
        raw.execute_batch("PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON").unwrap();
        raw.execute_batch(damage).unwrap();
        raw.close().unwrap();
        let store = match Sqlite::open(&copy.file()) {
            Ok(store) => store,
            // The chain cannot go on from a record that is damaged.
            Err(error) => {
                assert!(error.to_string().contains(&names), "{damage} gave {error}");
                continue;
            }
        };
        let mut errors = Vec::new();
        errors.extend(store.credential(&acme()).await.err());
        errors.extend(store.versions(id).await.err());
        errors.extend(store.sealed(id, 1).await.err());
        errors.extend(store.tokens(None).await.err());
        errors.extend(store.changes(Some("acme"), 0, 10).await.err());
        errors.extend(store.audit(&AuditFilter::default(), None, false, 10).await.err());
        assert!(!errors.is_empty(), "{damage} was not noticed");
        for error in errors {
            assert!(matches!(&error, Error::Corrupt(what) if what.contains(&names)), "{damage} gave {error:?}");
        }
        // Everything else goes on.
        created(&store, path("other", "default", "openai", "default")).await;
    }
}

/// A change that meets a damaged row half way is taken back, and the others of its group are made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_meets_damage_leaves_nothing() {
    let folder = Folder::new();
    let store = Arc::new(folder.open());
    let credential = served(&*store, acme()).await;
    folder.raw().execute_batch("DELETE FROM org_integration_credential_states").unwrap();
    let tasks: Vec<_> = (0..40)
        .map(|number| {
            let store = Arc::clone(&store);
            let change = match number % 2 {
                0 => rotation(at(&credential), version(credential.id, 2)),
                _ => Change::Record,
            };
            tokio::spawn(async move { commit(&*store, change).await })
        })
        .collect();
    for (number, task) in tasks.into_iter().enumerate() {
        match task.await.unwrap() {
            Ok(_) => assert_eq!(number % 2, 1),
            Err(Error::Corrupt(what)) => {
                assert_eq!(number % 2, 0);
                assert!(what.contains(&credential.id.to_string()), "{what}");
            }
            Err(error) => panic!("{error:?}"),
        }
    }
    let count = |table: &str| -> i64 {
        folder.raw().query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
    };
    assert_eq!(count("org_integration_credentials"), 1);
    assert_eq!(count("org_integration_credential_states"), 0);
    assert_eq!(count("changes"), 2);
    assert_eq!(store.credential(&acme()).await.unwrap(), Some(credential));
    assert_eq!(verified(&*store).await.len(), 21);
}

/// Destroyed ciphertext and wrapped keys are in no byte of the files: neither where they were, nor where SQLite might
/// have moved them, nor in the write-ahead log.
#[tokio::test]
async fn tombstones_hold_no_ciphertext() {
    let folder = Folder::new();
    let store = folder.open();
    let mut random = Random(seed());
    let (mut live, mut gone) = (Vec::new(), Vec::new());
    for number in 0..400 {
        let id = Uuid::now_v7();
        let mut first = version(id, 1);
        // Some in one page, some over several.
        first.sealed.blob = first.sealed.blob.repeat(1 + random.below(if number % 10 == 0 { 400 } else { 20 }));
        live.push(done(&store, creation(id, path("acme", "p", "openai", &number.to_string()), first)).await);
        while live.len() > 60 || (!live.is_empty() && random.chance(40)) {
            let credential = live.swap_remove(random.below(live.len()));
            if random.chance(30) {
                let number = credential.latest_version + 1;
                live.push(done(&store, rotation(at(&credential), active(credential.id, number))).await);
                continue;
            }
            let delayed = random.chance(50).then(tick);
            let mut tombstone = done(&store, Change::Delete { target: at(&credential), destroy_at: delayed }).await;
            if delayed.is_some() {
                tombstone = done(&store, Change::Destroy { target: at(&tombstone) }).await;
            }
            gone.push(tombstone);
        }
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut held = HashSet::new();
    for bytes in [fs::read(folder.file()).unwrap(), fs::read(folder.side("-wal")).unwrap()] {
        for needle in ["blob of ", "key of "] {
            let found = bytes.windows(needle.len() + 32).filter(|window| window.starts_with(needle.as_bytes()));
            held.extend(found.filter_map(|window| Uuid::try_parse_ascii(&window[needle.len()..]).ok()));
        }
    }
    assert!(gone.len() > 100 && !live.is_empty());
    for credential in &live {
        assert!(held.contains(&credential.id), "the search does not find what is there");
    }
    for credential in &gone {
        assert!(!held.contains(&credential.id), "{} is still there", credential.id);
    }
}

/// Copies of the files, taken under load, are what a crash would have left: each opens, and has everything that was
/// acknowledged before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_under_load_is_whole() {
    let folder = Folder::new();
    let store = Arc::new(folder.open());
    let stop = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..16)
        .map(|task| {
            let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut number = 0;
                while !stop.load(Ordering::Relaxed) {
                    let name = path("acme", &task.to_string(), "openai", &number.to_string());
                    let credential = served(&*store, name).await;
                    let serve = Change::Serve { target: at(&credential), version: 1, token: None, grant: None };
                    commit(&*store, serve).await.unwrap();
                    let target = at(&credential);
                    commit(&*store, Change::Delete { target, destroy_at: Some(tick()) }).await.unwrap();
                    number += 1;
                }
            })
        })
        .collect();
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(40)).await;
        let acknowledged = commit(&*store, Change::Record).await.unwrap().sequence;
        let copy = Folder::new();
        // A reader keeps the write-ahead log from starting over between the two copies, as a crash would.
        let raw = folder.raw();
        raw.execute_batch("BEGIN; SELECT count(*) FROM meta").unwrap();
        fs::copy(folder.file(), copy.file()).unwrap();
        fs::copy(folder.side("-wal"), copy.side("-wal")).unwrap();
        drop(raw);
        let copied = copy.open();
        let records = verified(&copied).await;
        assert!(records.len() as u64 >= acknowledged, "{} of {acknowledged}", records.len());
        let credentials = records.iter().filter(|record| record.draft.action == "test").count();
        assert_eq!(credentials, records.len());
        let events = copied.changes(Some("acme"), 0, 100_000).await.unwrap();
        for event in &events {
            assert_eq!(copied.versions(event.credential.id).await.unwrap().len(), 1);
        }
        let receipt = commit(&copied, Change::Record).await.unwrap();
        assert_eq!(receipt.sequence, records.len() as u64 + 1);
        let raw = copy.raw();
        let check: String = raw.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok");
    }
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    verified(&*store).await;
}

/// When the file goes away under the daemon, SQLite would go on writing to what nobody can open any more.
#[tokio::test]
async fn a_file_that_went_away_is_noticed() {
    let folder = Folder::new();
    let store = folder.open();
    commit(&store, Change::Record).await.unwrap();
    for suffix in ["", "-wal"] {
        let aside = folder.0.path().join("aside");
        fs::rename(folder.side(suffix), &aside).unwrap();
        let error = commit(&store, Change::Record).await.unwrap_err();
        assert!(matches!(&error, Error::Unavailable(why) if why.contains("strongroom.db")), "{error:?}");
        store.ready().await.unwrap_err();
        fs::write(folder.side(suffix), "").unwrap();
        let error = commit(&store, Change::Record).await.unwrap_err();
        assert!(error.to_string().contains("was replaced"), "{error:?}");
        fs::rename(&aside, folder.side(suffix)).unwrap();
        // It recovers by itself, whether asked to commit or whether it is ready.
        store.ready().await.unwrap();
        commit(&store, Change::Record).await.unwrap();
    }
    assert_eq!(verified(&store).await.len(), 3);
}

/// Another process holds the write lock for long: refused, nothing kept; and then it works again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_group_is_forgotten_whole() {
    let folder = Folder::new();
    let store = Arc::new(folder.open());
    let credential = served(&*store, acme()).await;
    let raw = folder.raw();
    raw.execute_batch("BEGIN IMMEDIATE").unwrap();
    let tasks: Vec<_> = (0..20)
        .map(|number| {
            let (store, credential) = (Arc::clone(&store), credential.clone());
            tokio::spawn(async move {
                let change = match number {
                    0 => Change::Update { target: at(&credential), metadata: None, labels: None, disabled: Some(true) },
                    _ => Change::Serve { target: at(&credential), version: 1, token: None, grant: None },
                };
                commit(&*store, change).await
            })
        })
        .collect();
    // Readers do not wait for anybody.
    assert_eq!(store.credential(&acme()).await.unwrap().as_ref(), Some(&credential));
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    raw.execute_batch("ROLLBACK").unwrap();
    let mut refused = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(_) => (),
            Err(Error::Unavailable(_)) => refused += 1,
            Err(Error::Stale { .. }) => (),
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!(refused > 0);
    store.ready().await.unwrap();
    let now = store.credential(&acme()).await.unwrap().unwrap();
    commit(&*store, Change::Update { target: at(&now), metadata: None, labels: None, disabled: Some(false) })
        .await
        .unwrap();
    verified(&*store).await;
}

/// What was asked for before the store was dropped is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_finishes_what_is_under_way() {
    let folder = Folder::new();
    let store = Arc::new(folder.open());
    let tasks: Vec<_> = (0..500)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { commit(&*store, Change::Record).await.unwrap().sequence })
        })
        .collect();
    drop(store);
    let mut newest = 0;
    for task in tasks {
        newest = newest.max(task.await.unwrap());
    }
    assert_eq!(newest, 500);
    // The last task's store may take a moment to close.
    let store = loop {
        match Sqlite::open(&folder.file()) {
            Ok(store) => break store,
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    assert_eq!(verified(&store).await.len(), 500);
}

/// A database as the daemon before connection tests left it.
#[tokio::test]
async fn an_older_schema_is_brought_up_to_date() {
    let folder = Folder::new();
    let raw = folder.raw();
    for migration in [
        include_str!("../../src/store/migrations/0001_credentials.sql"),
        include_str!("../../src/store/migrations/0002_audit.sql"),
        include_str!("../../src/store/migrations/0003_access.sql"),
    ] {
        raw.execute_batch(migration).unwrap();
    }
    raw.pragma_update(None, "user_version", 3).unwrap();
    let live = Uuid::now_v7();
    for (id, name, state, deleted, disabled) in [
        (live, "a", "active", None, 0),
        (Uuid::now_v7(), "b", "deleted", Some(5), 0),
        (Uuid::now_v7(), "c", "active", None, 1),
    ] {
        let active = (state == "active").then_some(1);
        raw.execute(
            "INSERT INTO credentials (id, org, project, provider, name, state, disabled, failing_since, active_version, \
             latest_version, fingerprint, public_identity, metadata, labels, revision, created_at, updated_at, \
             expires_at, deleted_at) VALUES (?1, 'acme', 'default', 'openai', ?2, ?3, ?4, 4, ?5, 1, 'f0000001', '{}', \
             '{}', '{}', 7, 1, 2, 4000000000000000, ?6)",
            (id.as_bytes(), name, state, disabled, active, deleted),
        )
        .unwrap();
        raw.execute(
            "INSERT INTO org_integration_credentials VALUES (?1, 1, 'f0000001', zeroblob(32), '{}', 'aes256gcm', \
             'local://default', '1', 'tester', 3, x'01', x'02')",
            [id.as_bytes()],
        )
        .unwrap();
        let probe = r#"{"outcome":"ok","reason":"","hint":"","at":"2026-01-01T00:00:00Z","retry_after_seconds":null}"#;
        raw.execute(
            "INSERT INTO org_integration_credential_states (credential_id, version, state, probe) \
             VALUES (?1, 1, 'active', ?2)",
            (id.as_bytes(), probe),
        )
        .unwrap();
    }
    drop(raw);

    let store = folder.open();
    let now = Timestamp::now();
    let row = store.credential_by_id(live).await.unwrap().unwrap();
    assert_eq!((row.revision, row.secret_created_at.as_microsecond()), (7, 3));
    assert_eq!((row.expires_at, row.last_test.unwrap().outcome.as_str()), (row.declared_expires_at, "ok"));
    // Each is tested within a day, and what was not told is told.
    let wait = row.next_test_at.unwrap().duration_since(now);
    assert!(wait.as_hours() <= 24, "{wait}");
    let tomorrow = now + jiff::SignedDuration::from_hours(25);
    let due = store.to_test(&["openai".to_owned()], &[], tomorrow, 9).await.unwrap();
    assert_eq!(due.iter().map(|one| one.credential).collect::<Vec<_>>(), [live]);
    assert_eq!(store.to_tell(now, 9).await.unwrap().iter().map(|row| row.id).collect::<Vec<_>>(), [live]);
    let settle = Change::Tell { target: Target { credential: live, revision: 7 } };
    assert_eq!(done(&store, settle).await.told_health, strongroom::store::Health::Failing);
}
