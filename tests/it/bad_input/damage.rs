//! Rows that somebody changed behind the daemon's back: not served, and the operator is told which.

use rusqlite::Connection;
use strongroom::crypto::Secret;
use strongroom::pb::v1::VerifyAuditRequest;

use super::*;
use crate::daemon::decrypt;

/// Runs SQL on the stopped daemon's database; one row must change.
fn change(database: &std::path::Path, sql: &str) {
    let database = Connection::open(database).unwrap();
    assert_eq!(database.execute(sql, []).unwrap(), 1, "{sql}");
}

/// A table, a column of it, and what tells whose row it is.
type Place = (&'static str, &'static str, &'static str);

const BLOB: Place = ("org_integration_credentials", "sealed_blob", "credential_id");
const WRAP: Place = ("wraps", "bytes", "substr(holder, 2, 16)");

/// One bit of a blob's byte in the middle; `||` of SQLite makes text, so the blob is put together here.
fn flip(database: &std::path::Path, (table, column, of): Place, id: &[u8]) {
    let database = Connection::open(database).unwrap();
    let query = format!("SELECT {column} FROM {table} WHERE {of} = ?1");
    let mut blob: Vec<u8> = database.query_row(&query, [id], |row| row.get(0)).unwrap();
    let middle = blob.len() / 2;
    blob[middle] ^= 1;
    let update = format!("UPDATE {table} SET {column} = ?2 WHERE {of} = ?1");
    assert_eq!(database.execute(&update, (id, blob)).unwrap(), 1);
}

#[test]
fn a_damaged_or_moved_row_is_not_served_and_is_named_to_the_operator() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    let (token, database) = (daemon.token.clone(), daemon.database());
    let names = ["whole", "blob", "key", "moved-blob", "moved-key", "both-moved", "version"];
    let ids: BTreeMap<&str, uuid::Uuid> = runtime().block_on(async {
        let mut admin = daemon.credentials(&token).await;
        let mut ids = BTreeMap::new();
        for name in names {
            let done = admin.setup_credential(setup("acme", name, &openai_key(name))).await.unwrap().into_inner();
            ids.insert(name, done.credential.unwrap().id.parse().unwrap());
        }
        ids
    });
    assert!(daemon.stop().success());

    let hex = |name: &str| format!("x'{}'", ids[name].simple());
    flip(&database, BLOB, ids["blob"].as_bytes());
    flip(&database, WRAP, ids["key"].as_bytes());
    let take = |(table, column, of): Place, to: &str| {
        let (from, to) = (hex("whole"), hex(to));
        let other = format!("(SELECT {column} FROM {table} WHERE {of} = {from})");
        change(&database, &format!("UPDATE {table} SET {column} = {other} WHERE {of} = {to}"));
    };
    take(BLOB, "moved-blob");
    take(WRAP, "moved-key");
    take(BLOB, "both-moved");
    take(WRAP, "both-moved");
    let header = format!(
        "UPDATE org_integration_credentials SET sealed_blob = zeroblob(length(sealed_blob)) WHERE credential_id = {}",
        hex("version")
    );
    change(&database, &header);

    let daemon = Daemon::start(home.path());
    runtime().block_on(async {
        let mut admin = daemon.credentials(&token).await;
        for name in &names[1..] {
            let status = admin.decrypt_credential(decrypt("acme", name)).await.unwrap_err();
            assert_eq!(status.code(), Code::DataLoss, "{name}: {status:?}");
            let refusal = Refusal::of_grpc(&status);
            assert_eq!((refusal.reason.as_str(), refusal.field.as_str()), ("CORRUPT", ""));
            let id = ids[name].to_string();
            assert!(!refusal.words.contains(&id) && refusal.words.contains("tell the operator"), "{refusal:?}");
            let line = daemon.logged(|line| line.contains(&refusal.request_id) && line.contains("ERROR"));
            assert!(line.contains(&format!("credential {id} version 1: ")), "{line}");

            let path = format!("/integrations/acme/openai/decrypt?name={name}");
            let reply = daemon.http("POST", &path, &token, None);
            assert_eq!((reply.0, Refusal::of_rest(&reply).reason.as_str()), (500, "CORRUPT"));
        }
        // The others are served, and what is damaged can be replaced.
        let whole = admin.decrypt_credential(decrypt("acme", "whole")).await.unwrap().into_inner();
        assert_eq!(whole.secret.unwrap().expose(), openai_key("whole").as_bytes());
        admin.setup_credential(setup("acme", "blob", &openai_key("anew"))).await.unwrap();
        let anew = admin.decrypt_credential(decrypt("acme", "blob")).await.unwrap().into_inner();
        assert_eq!(anew.secret, Some(Secret::from(openai_key("anew"))));
        let verified = daemon.admin(&token).await.verify_audit(VerifyAuditRequest {}).await.unwrap().into_inner();
        assert!(verified.intact, "{verified:?}");
    });
}

/// A column that no program wrote.
#[test]
fn a_row_that_cannot_be_read_is_damage_too() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    let (token, database) = (daemon.token.clone(), daemon.database());
    runtime().block_on(async {
        let mut admin = daemon.credentials(&token).await;
        admin.setup_credential(setup("acme", "a", &openai_key("a"))).await.unwrap();
    });
    assert!(daemon.stop().success());
    change(&database, "UPDATE credentials SET metadata = '{\"owner\": ' WHERE name = 'a'");
    let daemon = Daemon::start(home.path());
    runtime().block_on(async {
        let mut admin = daemon.credentials(&token).await;
        let status = admin.decrypt_credential(decrypt("acme", "a")).await.unwrap_err();
        assert_eq!(status.code(), Code::DataLoss, "{status:?}");
        daemon.logged(|line| line.contains("CORRUPT") && line.contains("ERROR"));
    });
}
