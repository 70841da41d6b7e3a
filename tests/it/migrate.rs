//! `strongroom migrate` where no PostgreSQL is: from file to file, and what its arguments may be. `tests/postgres/migrate.rs`
//! has the rest.

use std::path::Path;
use std::process::{Command, Output};

use crate::daemon::{Daemon, decrypt, openai_key, program, runtime, setup};

fn migrate(home: &Path, line: &str) -> (i32, String) {
    let Output { status, stderr, .. } =
        Command::new(program()).arg("migrate").args(line.split(' ')).current_dir(home).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn from_file_to_file() {
    let (home, runtime) = (tempfile::tempdir().unwrap(), runtime());
    let daemon = Daemon::start(home.path());
    let token = daemon.token.clone();
    runtime.block_on(async {
        let mut client = daemon.credentials(&token).await;
        client.setup_credential(setup("acme", "one", &openai_key("one"))).await.unwrap();
    });
    let there = "--from sqlite://strongroom-data/strongroom.db --to sqlite://new.db";
    let (code, said) = migrate(home.path(), there);
    assert!(code == 7 && said.contains("a daemon, or another strongroom, is using it"), "{said}");
    assert!(daemon.stop().success());
    let (code, said) = migrate(home.path(), there);
    assert!(code == 0 && said.contains("every row was compared"), "{said}");
    for step in ["copying", "comparing"] {
        let lines = said.lines().filter(|line| line.starts_with(step)).count();
        assert!(lines == 1 && said.contains("(100 %)"), "{said}");
    }
    let (status, log) = Daemon::try_start(home.path(), "", &[]).err().expect("two vaults");
    assert!(status.code() == Some(67) && log.contains("it was moved to sqlite://"), "{log}");
    assert!(log.contains("hint: docs/postgres.md"), "{log}");
    let daemon = Daemon::start_with(home.path(), "[store]\nurl = \"sqlite://new.db\"\n");
    runtime.block_on(async {
        let reply = daemon.credentials(&token).await.decrypt_credential(decrypt("acme", "one")).await.unwrap();
        assert_eq!(reply.into_inner().secret.unwrap().expose(), openai_key("one").as_bytes());
    });
}

#[test]
fn arguments_that_mean_nothing() {
    let home = tempfile::tempdir().unwrap();
    for (line, code, words) in [
        ("--from sqlite://a.db", 2, "--to <URL>"),
        ("--from sqlite://a.db --to sqlite://b.db --check --abandon", 2, "cannot be used with"),
        ("--from sqlite://a.db --to postgres://who:sekret@where/what", 2, "password_file=FILE"),
        ("--from postgres:who:sekret --to sqlite://b.db", 2, "is none of sqlite://PATH"),
        ("--from sqlite://a.db --to sqlite://b.db", 7, "there is no database"),
        ("--from sqlite://a.db --abandon", 7, "there is no database"),
    ] {
        let (found, said) = migrate(home.path(), line);
        assert!(found == code && said.contains(words), "{line}: {found}: {said}");
        assert!(!said.contains("sekret"), "{said}");
    }
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0, "something was left behind");
}
