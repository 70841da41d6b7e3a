//! `strongroom migrate`, between a file and a real server.

mod life;
mod refusals;
mod stops;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rusqlite::Connection;
use rusqlite::types::Value;
use serde_json::Value as Json;
use strongroom::store::Sqlite;
use strongroom::store::backup::{META_LEFT_OUT, TABLES};

use crate::daemon::program;
use crate::server::shared;
use crate::store::*;

/// Exit codes.
const IN_THE_WAY: i32 = 7;
const DIFFERS: i32 = 10;
const STORE: i32 = 67;

/// A folder for files, and what is written in arguments: no password is.
pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let password = folder.path().join("password");
        std::fs::write(&password, shared().password()).unwrap();
        std::fs::set_permissions(password, std::fs::Permissions::from_mode(0o600)).unwrap();
        Self(folder)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn file(&self, name: &str) -> String {
        format!("sqlite://{}", self.path(name).display())
    }

    pub fn database(&self, name: &str) -> String {
        let url = shared().url(name).replace(&format!(":{}@", shared().password()), "@");
        format!("{url}?sslmode=disable&password_file={}", self.path("password").display())
    }
}

pub fn spawn(from: &str, to: &str, options: &[&str]) -> Child {
    Command::new(program())
        .args(["migrate", "--output", "json", "--from", from, "--to", to])
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The exit code, the report, and what was said.
pub fn ended(child: Child) -> (i32, Json, String) {
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!said.contains(shared().password()), "{said}");
    (output.status.code().unwrap_or(-1), serde_json::from_slice(&output.stdout).unwrap_or_default(), said)
}

pub fn migrate(from: &str, to: &str, options: &[&str]) -> (i32, Json, String) {
    ended(spawn(from, to, options))
}

#[track_caller]
pub fn migrated(from: &str, to: &str) -> Json {
    let (code, report, said) = migrate(from, to, &[]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(report["done"], true, "{report}");
    report
}

#[track_caller]
pub fn refused(from: &str, to: &str, options: &[&str], code: i32, words: &str) {
    let (found, _, said) = migrate(from, to, options);
    assert!(found == code && said.contains(words), "{found}, and not {code} with {words:?}: {said}");
}

/// All rows of a file, read past everything that migrates: the columns that leave, and a wrap with the key that it names.
pub fn dump(path: &std::path::Path) -> BTreeMap<&'static str, Vec<Vec<Value>>> {
    let connection = Connection::open(path).unwrap();
    let rows = |sql: &str| -> Vec<Vec<Value>> {
        let mut statement = connection.prepare(sql).unwrap();
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| (0..columns).map(|at| row.get(at)).collect()).unwrap();
        rows.map(Result::unwrap).collect()
    };
    let dumped = TABLES.iter().map(|table| {
        let columns = table.columns().join(", ");
        let rows = match table.name {
            "wraps" => rows(
                "SELECT w.holder, k.key, k.key_version, w.bytes FROM wraps w JOIN wrapping_keys k ON k.id = w.key \
                 WHERE w.live = 1 ORDER BY 1, 2, 3",
            ),
            "meta" => rows("SELECT key, value FROM meta ORDER BY key")
                .into_iter()
                .filter(|row| !META_LEFT_OUT.iter().any(|(key, _)| row[0] == Value::Text((*key).into())))
                .collect(),
            "org_integration_credential_tests" => rows(&format!("SELECT {columns} FROM {} ORDER BY id", table.name)),
            // Zeros stand where it was destroyed, and nothing where it came destroyed.
            "org_integration_credentials" => rows(&format!(
                "SELECT {} FROM org_integration_credentials v JOIN org_integration_credential_states s \
                 ON (s.credential_id, s.version) = (v.credential_id, v.version) ORDER BY 1, 2",
                columns
                    .split(", ")
                    .map(|name| format!("v.{name}"))
                    .collect::<Vec<_>>()
                    .join(", ")
                    .replace("v.sealed_blob", "CASE s.state WHEN 'destroyed' THEN x'' ELSE v.sealed_blob END")
            )),
            name => rows(&format!("SELECT {columns} FROM {name} ORDER BY 1, 2")),
        };
        (table.name, rows)
    });
    dumped.collect()
}

/// A file with so many credentials, and as many more records; some of everything a store alone can make.
pub fn fill(path: &std::path::Path, credentials: usize, records: usize) {
    crate::daemon::runtime().block_on(async {
        let store = Sqlite::open(path).unwrap();
        let at_once = |count: usize, change: &dyn Fn(usize) -> Change| {
            let changes: Vec<_> = (0..count).map(|number| commit(&store, change(number))).collect();
            futures_util::future::join_all(changes)
        };
        let made = at_once(credentials, &|number| {
            let id = Uuid::now_v7();
            creation(id, Path { name: format!("n{number}"), ..acme() }, active(id, 1))
        });
        for made in made.await.into_iter().step_by(7) {
            let credential = made.unwrap().credential.unwrap();
            let target = at(&credential);
            let change = match credential.path.name.len() % 2 {
                0 => rotation(target, active(credential.id, 2)),
                _ => Change::Delete { target, destroy_at: Some(later()) },
            };
            commit(&store, change).await.unwrap();
        }
        let gone = served(&store, Path { name: "gone".into(), ..acme() }).await;
        commit(&store, Change::Delete { target: at(&gone), destroy_at: None }).await.unwrap();
        commit(&store, Change::IssueToken(token("acme"))).await.unwrap();
        assert!(at_once(records, &|_| Change::Record).await.iter().all(Result::is_ok));
    });
}
