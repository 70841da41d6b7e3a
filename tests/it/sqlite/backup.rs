//! All that a database keeps goes out, comes into a new one, and goes out the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use strongroom::store::backup::{COLUMNS_LEFT_OUT, Cell, Kind, LEFT_OUT, META_LEFT_OUT, SCHEMA, TABLES, Table};
use strongroom::store::{Holder, KeyVersion, OrgKey, Purpose, Restore};

use super::*;
use crate::store::reseal::anew;

/// SQLite does not say of a row's number that it is never null.
const INFO: &str = "SELECT name, type, \"notnull\" OR (pk = 1 AND type = 'INTEGER') FROM pragma_table_info(?1)";

/// A new table or column that is in neither list breaks this: decide whether it belongs into a backup.
#[test]
fn each_table_and_column_is_exported_or_left_out_with_a_reason() {
    let folder = Folder::new();
    drop(folder.open());
    let raw = folder.raw();
    let mut tables = raw.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").unwrap();
    let tables: BTreeSet<String> = tables.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let exported = TABLES.iter().map(|table| table.name.to_owned());
    let listed: BTreeSet<String> = exported.chain(LEFT_OUT.iter().map(|(name, _)| (*name).to_owned())).collect();
    assert_eq!(tables, listed, "src/store/backup.rs lists other tables than the schema has");
    assert_eq!(listed.len(), TABLES.len() + LEFT_OUT.len(), "a table is listed twice");

    for table in TABLES.iter().filter(|table| table.name != "wraps") {
        let mut columns = raw.prepare(INFO).unwrap();
        let columns = columns.query_map([table.name], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?)))).unwrap();
        let mut columns: BTreeMap<String, (String, bool)> = columns.map(Result::unwrap).collect();
        for (_, name, _) in COLUMNS_LEFT_OUT.iter().filter(|(of, ..)| *of == table.name) {
            assert!(columns.remove(*name).is_some(), "{} has no {name}", table.name);
        }
        let listed = table.columns.iter().map(|column| {
            let kind = match column.kind {
                Kind::Id | Kind::Hash | Kind::Bytes => "BLOB",
                Kind::Text | Kind::Json => "TEXT",
                Kind::Flag | Kind::Count | Kind::Time => "INTEGER",
            };
            (column.name.to_owned(), (kind.to_owned(), !column.optional))
        });
        assert_eq!(columns, listed.collect(), "{}", table.name);
    }
    let version: u32 = raw.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert_eq!(version, SCHEMA);
}

type All = Vec<(&'static str, Vec<Vec<Cell>>)>;

async fn exported(store: &Sqlite) -> All {
    let mut all = All::new();
    let mut rows = store.export().await.unwrap();
    while let Some(piece) = rows.recv().await.expect("an end").unwrap() {
        match all.last_mut() {
            Some((table, rows)) if *table == piece.table.name => rows.extend(piece.rows),
            _ => all.push((piece.table.name, piece.rows)),
        }
    }
    assert!(rows.recv().await.is_none(), "something comes after the end");
    assert_eq!(
        all.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        TABLES.iter().map(|it| it.name).collect::<Vec<_>>()
    );
    all
}

fn restored(into: &Folder, all: &All) -> Sqlite {
    let mut restore = Restore::begin(&into.file(), Purpose::Keep).unwrap();
    for (table, (name, rows)) in TABLES.iter().zip(all) {
        assert_eq!(table.name, *name);
        rows.iter().for_each(|row| restore.put(table, row).unwrap().unwrap());
    }
    drop(restore.open().unwrap());
    restore.keep().unwrap();
    let left: Vec<_> = fs::read_dir(into.0.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("-import")), "{left:?}");
    into.open()
}

/// What is not in that database.
const MORE: &str = "
    INSERT INTO org_integration_credential_tests (credential_id, version, at, outcome, reason, hint)
        SELECT id, 1, 2, 'ok', 'r', 'h' FROM credentials;
    INSERT INTO grants (id, org, run, phase, credentials, uses, hash, minted_by, created_at, expires_at)
        VALUES (zeroblob(16), 'acme', 'r', 'p', '[]', 3, zeroblob(32), 'm', 1, 2);
    INSERT INTO audit_boundaries SELECT value, 0, 0 FROM meta WHERE key = 'instance';
    INSERT INTO org_destructions VALUES (zeroblob(16), 'o', 'a', 'b', 1, 2, 3, 4, '{}', '{}');
    INSERT INTO audit_cursors VALUES ('file', 2);";

/// A database of an older schema with something of nearly everything, and what came later.
async fn filled() -> (Folder, Sqlite) {
    let folder = Folder::new();
    folder.raw().execute_batch(include_str!("../../vectors/databases/schema-7.sql")).unwrap();
    drop(folder.open());
    folder.raw().execute_batch(MORE).unwrap();
    let store = folder.open();
    let one = created(&store, Path { name: "more".into(), ..acme() }).await;
    let target = Target { credential: one.id, revision: one.revision };
    commit(&store, Change::Delete { target, destroy_at: None }).await.unwrap();
    let under = |key: &str| Wrap { key: key.into(), key_version: "1".into(), bytes: vec![7; 40] };
    let key = OrgKey { org: "new".into(), wraps: vec![under("local://a"), under("age:b")] };
    commit(&store, Change::KeepOrgKey(key)).await.unwrap();
    let resealed = served(&store, Path { name: "resealed".into(), ..acme() }).await;
    let anew = anew(resealed.id, 1, Seal::Fernet, "sealed anew");
    for change in [Change::AddResealed(vec![anew.clone()]), Change::SettleResealed(vec![anew])] {
        commit(&store, change).await.unwrap();
    }
    store.ready().await.unwrap();
    (folder, store)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_went_out_and_in_goes_out_the_same() {
    let (_folder, store) = filled().await;
    let (first, into) = (exported(&store).await, Folder::new());
    let again = restored(&into, &first);
    assert_eq!(exported(&again).await, first);
    assert_eq!(again.instance(), store.instance());
    assert!(first.iter().all(|(_, rows)| !rows.is_empty()), "a table is not tried");
    let rows = |name: &str| &first.iter().find(|(table, _)| *table == name).unwrap().1;
    assert!(rows("meta").iter().all(|row| !META_LEFT_OUT.iter().any(|(key, _)| row[0] == Cell::Text((*key).into()))));
    // Nothing of what was destroyed goes along, not even its length.
    let versions = rows("org_integration_credentials");
    assert!(versions.iter().any(|row| row[8] == Cell::Bytes(Vec::new())));
    assert!(
        !versions
            .iter()
            .any(|row| matches!(&row[8], Cell::Bytes(blob) if !blob.is_empty() && blob.iter().all(|b| *b == 0)))
    );
    let named = |row: &&Vec<Cell>| row[8] == Cell::Bytes(b"sealed anew".to_vec());
    assert_eq!(versions.iter().filter(named).map(|row| &row[5]).collect::<Vec<_>>(), [&Cell::Text("fernet".into())]);
    // What is written next has its place after what came in.
    let receipts = [&store, &again].map(|store| commit(store, Change::Record));
    let [one, two] = futures_util::future::join_all(receipts).await.try_into().unwrap();
    assert_eq!(one.unwrap().sequence, two.unwrap().sequence);
    let under = KeyVersion { key: "age:b".into(), version: "1".into() };
    assert_eq!(again.holders(&under, None, 9).await.unwrap(), [Holder::OrgKey("new".into())]);
}

/// What was destroyed is to go from the write-ahead log too. An export is in the way of that, and no commit waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn commits_do_not_wait_for_an_export_that_nobody_reads() {
    let (folder, store) = filled().await;
    let forty = async || {
        let begun = Instant::now();
        for _ in 0..40 {
            commit(&store, Change::Record).await.unwrap();
        }
        begun.elapsed()
    };
    let alone = forty().await;
    let rows = store.export().await.unwrap();
    let one = created(&store, Path { name: "to go".into(), ..acme() }).await;
    let target = Target { credential: one.id, revision: one.revision };
    commit(&store, Change::Delete { target, destroy_at: None }).await.unwrap();
    let beside = forty().await;
    assert!(beside < alone * 3 + Duration::from_millis(500), "{beside:?}, and {alone:?} without an export");
    drop(rows);
    let end = Instant::now() + Duration::from_secs(20);
    while fs::metadata(folder.side("-wal")).is_ok_and(|log| log.len() > 0) {
        assert!(Instant::now() < end, "what was destroyed is still in the log");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn nothing_is_restored_over_anything() {
    let refused = |folder: &Folder| Restore::begin(&folder.file(), Purpose::Keep).err().unwrap().to_string();
    for there in ["", "-wal", "-journal"] {
        let folder = Folder::new();
        fs::write(folder.side(there), "somebody's").unwrap();
        let why = refused(&folder);
        assert!(why.contains(&format!("strongroom.db{there} is there")), "{why}");
        assert_eq!(fs::read_dir(folder.0.path()).unwrap().count(), 1, "something was left behind");
    }
    let folder = Folder::new();
    let held = Restore::begin(&folder.file(), Purpose::Keep).unwrap();
    assert!(refused(&folder).contains("another strongroom writes"));
    // To look into one, nothing need be free.
    drop(Restore::begin(&folder.file(), Purpose::Look).unwrap());
    // A daemon was quicker: its database stays.
    let mut held = held;
    let row = |key: &str, value: &str| [Cell::Text(key.into()), Cell::Text(value.into())];
    let meta: &Table = &TABLES[0];
    held.put(meta, &row("instance", "one")).unwrap().unwrap();
    assert!(held.put(meta, &row("instance", "two")).unwrap().unwrap_err().contains("a row of meta is there twice"));
    drop(held.open().unwrap());
    let quicker = folder.open();
    let instance = quicker.instance().to_owned();
    drop(quicker);
    assert!(held.keep().unwrap_err().to_string().contains("nothing is ever restored over a database"));
    assert_eq!(folder.open().instance(), instance);
}
