//! Where wrapped keys are in the file: once, and nowhere after they went.

use std::slice::from_ref;

use strongroom::store::{AuditKey, Factor, FactorChange, FactorState, Holder, KeyVersion, Moved, OrgKey};

use super::*;

const BEFORE: [&str; 7] = [
    include_str!("../../../src/store/migrations/0001_credentials.sql"),
    include_str!("../../../src/store/migrations/0002_audit.sql"),
    include_str!("../../../src/store/migrations/0003_access.sql"),
    include_str!("../../../src/store/migrations/0004_health.sql"),
    include_str!("../../../src/store/migrations/0005_access.sql"),
    include_str!("../../../src/store/migrations/0006_second_factors.sql"),
    include_str!("../../../src/store/migrations/0007_checkpoints.sql"),
];

/// How often something is in the files.
fn times(folder: &Folder, needle: &str) -> usize {
    let files = [folder.file(), folder.side("-wal")].map(|file| fs::read(file).unwrap_or_default());
    files.iter().map(|file| file.windows(needle.len()).filter(|window| *window == needle.as_bytes()).count()).sum()
}

/// A database as the daemon before this table left it: many versions, some destroyed, and one of each other holder.
fn before(folder: &Folder) -> Vec<Uuid> {
    let raw = folder.raw();
    raw.execute_batch("PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; PRAGMA secure_delete = ON").unwrap();
    BEFORE.iter().for_each(|migration| raw.execute_batch(migration).unwrap());
    raw.pragma_update(None, "user_version", 7).unwrap();
    raw.execute("INSERT INTO meta VALUES ('instance', 'one')", []).unwrap();
    let ids: Vec<_> = (0..300).map(|_| Uuid::now_v7()).collect();
    for (number, id) in ids.iter().enumerate() {
        let (gone, key_version) = (number % 10 == 0, number % 3);
        raw.execute(
            "INSERT INTO credentials (id, org, project, provider, name, state, disabled, active_version, latest_version, \
             fingerprint, public_identity, metadata, labels, revision, created_at, updated_at, deleted_at) VALUES (?1, \
             'acme', 'default', 'openai', ?2, ?3, 0, ?4, 1, 'f', '{}', '{}', '{}', 1, 1, 2, ?5)",
            (
                id.as_bytes(),
                number.to_string(),
                if gone { "deleted" } else { "active" },
                (!gone).then_some(1),
                gone.then_some(5),
            ),
        )
        .unwrap();
        let (blob, wrapped) = (format!("blob of {id}").repeat(20), format!("key of {id}"));
        raw.execute(
            "INSERT INTO org_integration_credentials VALUES (?1, 1, 'f', zeroblob(32), '{}', 'aes256gcm', \
             'local://default', ?2, 'tester', 3, CAST(?3 AS BLOB), CAST(?4 AS BLOB))",
            (id.as_bytes(), key_version.to_string(), blob, wrapped),
        )
        .unwrap();
        let state = if gone { "destroyed" } else { "active" };
        raw.execute(
            "INSERT INTO org_integration_credential_states (credential_id, version, state) VALUES (?1, 1, ?2)",
            (id.as_bytes(), state),
        )
        .unwrap();
        if gone {
            raw.execute(
                "UPDATE org_integration_credentials SET sealed_blob = zeroblob(length(sealed_blob)), \
                 wrapped_dek = zeroblob(length(wrapped_dek)) WHERE credential_id = ?1",
                [id.as_bytes()],
            )
            .unwrap();
        }
    }
    raw.execute_batch(
        "INSERT INTO org_keys VALUES ('acme', CAST('key of acme' AS BLOB), 'local://default', '1');
         INSERT INTO audit_keys VALUES ('one', 1, zeroblob(32), CAST('key of one' AS BLOB), 'local://default', '1', 7);
         INSERT INTO second_factors VALUES ('me', 'active', zeroblob(16), 'me', '*', CAST('blob of me' AS BLOB),
             CAST('key of me' AS BLOB), 'local://other', '9', 'me', 1, 2, 3, 0, NULL);
         PRAGMA wal_checkpoint(TRUNCATE);",
    )
    .unwrap();
    ids
}

#[tokio::test]
async fn a_schema_without_this_table_is_brought_up_to_date() {
    let folder = Folder::new();
    let ids = before(&folder);
    let store = folder.open();
    for (number, id) in ids.iter().enumerate() {
        let row = store.versions(*id).await.unwrap().remove(0);
        let sealed = store.sealed(*id, 1).await.unwrap();
        if number % 10 == 0 {
            assert_eq!((row.keys, sealed), (Vec::new(), None));
            continue;
        }
        let (version, sealed) = sealed.unwrap();
        assert_eq!((version.keys.len(), &version.keys), (1, &row.keys));
        let key = wrap("local://default", &(number % 3).to_string(), &format!("key of {id}"));
        assert_eq!(sealed.wraps, [key]);
        assert_eq!(sealed.blob, format!("blob of {id}").repeat(20).as_bytes());
    }
    assert_eq!(store.org_key("acme").await.unwrap().unwrap().wraps, [wrap("local://default", "1", "key of acme")]);
    let keys = store.audit_keys(store.instance()).await.unwrap();
    assert_eq!((keys[0].number, &keys[0].wraps), (1, &vec![wrap("local://default", "1", "key of one")]));
    let factor = store.factor("me", FactorState::Active).await.unwrap().unwrap();
    assert_eq!(factor.sealed.wraps, [wrap("local://other", "9", "key of me")]);
    assert_eq!((factor.sealed.blob.as_slice(), factor.last_step), (b"blob of me".as_slice(), 3));

    // Nothing of what was moved is where it was.
    for id in ids.iter().skip(1).step_by(10) {
        assert_eq!((times(&folder, &format!("blob of {id}")), times(&folder, &format!("key of {id}"))), (20, 1));
    }
    assert_eq!(["acme", "one", "me"].map(|what| times(&folder, &format!("key of {what}"))), [1; 3]);
    let raw = folder.raw();
    let pragma = |what: &str| raw.query_row(&format!("PRAGMA {what}"), [], |row| row.get::<_, String>(0));
    assert_eq!(pragma("integrity_check").unwrap(), "ok");
    assert!(!raw.prepare("PRAGMA foreign_key_check").unwrap().exists([]).unwrap());
    // The tables point at each other as before.
    let orphan =
        "INSERT INTO org_integration_credential_states (credential_id, version, state) VALUES (x'00', 1, 'active')";
    raw.execute_batch("PRAGMA foreign_keys = ON").unwrap();
    assert!(raw.execute(orphan, []).unwrap_err().to_string().contains("FOREIGN KEY"));
    // And it goes on.
    created(&store, path("acme", "p", "openai", "new")).await;
}

/// What cannot be brought up to date is left as it was, and opens again once it is mended.
#[tokio::test]
async fn a_migration_that_fails_leaves_the_database_as_it_was() {
    let folder = Folder::new();
    let ids = before(&folder);
    let orphan = "INSERT INTO org_integration_credential_states (credential_id, version, state) \
         VALUES (zeroblob(16), 1, 'active')";
    let raw = folder.raw();
    raw.execute_batch(&format!("PRAGMA foreign_keys = OFF; {orphan}; PRAGMA wal_checkpoint(TRUNCATE)")).unwrap();
    let error = folder.refused().to_string();
    assert!(error.contains("points nowhere after migration 8"), "{error}");
    let asked = |sql: &str| raw.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(asked("PRAGMA user_version"), 7);
    assert_eq!(asked("SELECT count(*) FROM sqlite_schema WHERE name IN ('wraps', 'wrapping_keys', 'sealed')"), 0);
    let kept = "SELECT count(*) FROM org_integration_credentials WHERE CAST(wrapped_dek AS TEXT) LIKE 'key of %'";
    assert_eq!((asked(kept), asked("SELECT count(*) FROM org_keys")), (270, 1));
    raw.execute("DELETE FROM org_integration_credential_states WHERE credential_id = zeroblob(16)", []).unwrap();
    drop(raw);
    let (_, sealed) = folder.open().sealed(ids[1], 1).await.unwrap().unwrap();
    assert_eq!(sealed.wraps, [wrap("local://default", "1", &format!("key of {}", ids[1]))]);
}

/// A version that is destroyed while it is read is there with its key, or not at all.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_is_of_one_moment() {
    let folder = Folder::new();
    let store = std::sync::Arc::new(folder.open());
    for number in 0..200 {
        let credential = served(&*store, path("acme", "p", "openai", &number.to_string())).await;
        let reading = {
            let store = std::sync::Arc::clone(&store);
            tokio::spawn(async move {
                while let Some((_, sealed)) = store.sealed(credential.id, 1).await.unwrap() {
                    assert!(!sealed.wraps.is_empty(), "a ciphertext without its key");
                }
            })
        };
        commit(&*store, Change::Delete { target: at(&credential), destroy_at: None }).await.unwrap();
        reading.await.unwrap();
    }
}

#[tokio::test]
async fn a_factor_that_went_leaves_no_key() {
    let folder = Folder::new();
    let store = folder.open();
    let factor = |tag: &str| Factor {
        id: Uuid::now_v7(),
        caller: "me".into(),
        caller_name: "me".into(),
        org: "*".into(),
        state: FactorState::Pending,
        sealed: Sealed {
            blob: b"sealed".to_vec(),
            wraps: vec![wrap("local://default", "1", &format!("key of {tag}"))],
        },
        created_by: "me".into(),
        created_at: tick(),
        confirmed_at: None,
        last_step: 0,
        failures: 0,
        locked_until: None,
    };
    let enrol = |factor: &Factor, beside| FactorChange::Enrol { factor: Box::new(factor.clone()), beside };
    let (first, second, third) = (factor("first"), factor("second"), factor("third"));
    for (change, there) in [
        (enrol(&first, None), [1, 0, 0]),
        // Another takes the place of what waits.
        (enrol(&second, None), [0, 1, 0]),
        (FactorChange::Confirm { caller: "me".into(), id: second.id, step: 1 }, [0, 1, 0]),
        (enrol(&third, Some(second.id)), [0, 1, 1]),
        (FactorChange::Confirm { caller: "me".into(), id: third.id, step: 2 }, [0, 0, 1]),
        (FactorChange::Remove { caller: "me".into() }, [0, 0, 0]),
    ] {
        commit(&store, Change::Factor(change)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let found = ["first", "second", "third"].map(|tag| times(&folder, &format!("key of {tag}")).min(1));
        assert_eq!(found, there);
    }
}

/// A wrap comes beside the old one, the old one goes when the new one is there, and what was destroyed stays so.
#[tokio::test]
async fn keys_move_and_do_not_come_back() {
    let folder = Folder::new();
    let store = folder.open();
    let credential = served(&store, acme()).await;
    let holder = Holder::Version { credential: credential.id, version: 1 };
    let (old, new) = (under("local://default", "1"), under("local://next", "1"));
    let add = || Change::AddWraps(vec![(holder.clone(), wrap("local://next", "1", "another wrap of it"))]);
    let drop_old = |dropped: &[KeyVersion]| {
        let dropped = dropped.to_vec();
        Change::DropWraps(vec![Moved { holder: holder.clone(), kept: new.clone(), dropped }])
    };
    let keys = async || store.versions(credential.id).await.unwrap().remove(0).keys;

    // The new one is not there yet.
    commit(&store, drop_old(from_ref(&old))).await.unwrap();
    assert_eq!(keys().await, from_ref(&old));
    for _ in 0..2 {
        commit(&store, add()).await.unwrap();
        assert_eq!(keys().await, [old.clone(), new.clone()]);
    }
    assert_eq!(store.held(&holder).await.unwrap().unwrap().wraps.len(), 2);
    for _ in 0..2 {
        commit(&store, drop_old(&[old.clone(), new.clone()])).await.unwrap();
        assert_eq!(keys().await, from_ref(&new));
    }
    assert!(store.holders(&old, None, 10).await.unwrap().is_empty());
    assert_eq!(store.holders(&new, None, 10).await.unwrap(), from_ref(&holder));

    commit(&store, Change::Delete { target: at(&credential), destroy_at: None }).await.unwrap();
    commit(&store, add()).await.unwrap();
    commit(&store, drop_old(from_ref(&old))).await.unwrap();
    assert!(keys().await.is_empty() && store.held(&holder).await.unwrap().is_none());
    assert!(store.keys_in_use(false).await.unwrap().is_empty());
    assert_eq!(times(&folder, "another wrap of it"), 0);
}

fn under(key: &str, version: &str) -> KeyVersion {
    KeyVersion { key: key.into(), version: version.into() }
}

/// What was dropped makes room for the next of its size, and a key that is kept stays.
#[tokio::test]
async fn places_are_used_again() {
    let folder = Folder::new();
    let store = folder.open();
    for number in 0..50 {
        let credential = served(&store, path("acme", "p", "openai", &number.to_string())).await;
        commit(&store, Change::Delete { target: at(&credential), destroy_at: None }).await.unwrap();
    }
    let rows: i64 = folder.raw().query_row("SELECT count(*) FROM wraps", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 1);
    let key = |bytes: &str| OrgKey { org: "acme".into(), wraps: vec![wrap("local://default", "1", bytes)] };
    commit(&store, Change::KeepOrgKey(key("first"))).await.unwrap();
    commit(&store, Change::KeepOrgKey(key("other"))).await.unwrap();
    assert_eq!(store.org_key("acme").await.unwrap(), Some(key("first")));
    let signer = |bytes| AuditKey {
        number: 1,
        public: [1; 32],
        wraps: vec![wrap("local://default", "1", bytes)],
        created_at: tick(),
    };
    commit(&store, Change::KeepAuditKey(signer("first"))).await.unwrap();
    assert!(matches!(commit(&store, Change::KeepAuditKey(signer("other"))).await, Err(Error::Taken)));
    assert_eq!(store.audit_keys(store.instance()).await.unwrap()[0].wraps[0].bytes, b"first");
}

#[tokio::test]
async fn what_is_gone_behind_our_back_is_seen() {
    let folder = Folder::new();
    let store = folder.open();
    let credential = served(&store, acme()).await;
    let holder = Holder::Version { credential: credential.id, version: 1 };
    let raw = folder.raw();
    raw.execute("UPDATE wrapping_keys SET key = 'local://else'", []).unwrap();
    assert_eq!(store.versions(credential.id).await.unwrap()[0].keys[0].key, "local://else");
    raw.execute("UPDATE wraps SET holder = ?1 || x'00'", [holder.bytes()]).unwrap_err();
    raw.execute_batch("DELETE FROM wraps").unwrap();
    let (version, sealed) = store.sealed(credential.id, 1).await.unwrap().unwrap();
    assert!(version.keys.is_empty() && sealed.wraps.is_empty());
}
