//! `config/strongroom.toml` is the configuration's reference: complete, and true.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use strongroom::config::Config;

use crate::daemon::program;

fn reference() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/strongroom.toml")).expect("readable")
}

#[test]
fn the_reference_file_is_the_defaults() {
    let parsed: Config = toml::from_str(&reference()).expect("the reference parses");
    assert_eq!(parsed, Config::default());
}

#[test]
fn the_reference_file_holds_every_key_once() {
    let file: toml::Table = reference().parse().expect("the reference parses");
    let known = toml::Table::try_from(Config::default()).expect("a configuration is a table");
    assert_eq!(keys(&file), keys(&known));
}

#[test]
fn every_key_of_the_reference_is_explained() {
    let text = reference();
    let (mut explained, mut section) = (false, String::new());
    for line in text.lines() {
        if line.starts_with('[') {
            (section, explained) = (line.to_owned(), false);
        } else if line.starts_with('#') {
            explained = true;
        } else if line.is_empty() {
            assert!(explained || section.is_empty() || section == "[listen]", "{section} says nothing about its keys");
        }
    }
}

#[test]
fn load_takes_the_reference_file() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/strongroom.toml");
    let mut loaded = Config::load(Some(&path)).expect("loads");
    loaded.log.level = Config::default().log.level;
    assert_eq!(loaded, Config::default());
}

#[test]
fn a_check_reads_the_certificate_too() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("strongroom.toml");
    std::fs::write(home.path().join("tls.pem"), "not a certificate").unwrap();
    std::fs::write(&file, "[tls]\ncert = \"tls.pem\"\nkey = \"tls.key\"\n[kms.local]\ncreate = true\n").unwrap();
    let check = Command::new(program()).args(["serve", "--check", "--config"]).arg(&file).current_dir(&home).output();
    let check = check.unwrap();
    let said = String::from_utf8_lossy(&check.stderr);
    assert_eq!(check.status.code(), Some(64), "{said}");
    assert!(said.contains("tls.cert: tls.pem: holds nothing of the kind in PEM"), "{said}");
    assert!(!home.path().join("strongroom-data").exists(), "what is wrong is told before anything is made");
}

fn keys(table: &toml::Table) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for (key, value) in table {
        match value {
            toml::Value::Table(inner) => all.extend(keys(inner).into_iter().map(|name| format!("{key}.{name}"))),
            _ => drop(all.insert(key.clone())),
        }
    }
    all
}
