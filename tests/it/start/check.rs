//! `serve --check` tells what a start would refuse, and neither makes nor changes anything.

use super::*;

fn in_order(output: &Output, left_out: &str) {
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && words.contains(left_out), "{words}");
    assert_eq!(output.stdout, b"everything is in order\n");
}

#[test]
fn a_check_says_that_all_is_well_and_changes_nothing() {
    let place = Place::new();
    let before = place.contents();
    in_order(&place.serve("", &["--check"]), "");
    assert!(before == place.contents());
}

/// What a refused reload tells people to run.
#[test]
fn a_check_runs_beside_the_daemon() {
    let place = Place::new();
    let daemon = Daemon::start(place.path());
    in_order(&place.serve("", &["--check"]), "a daemon is using it");
    place.write("providers.yml", "providers: 1\n");
    let wrong = "[providers]\nfile = \"providers.yml\"";
    said(&place.serve(wrong, &["--check"]), CONFIGURATION, &["providers.yml"]);
    assert!(daemon.stop().success());
}

#[test]
fn a_check_makes_nothing() {
    let place = Place(tempfile::tempdir().unwrap());
    let create = "[kms.local]\ncreate = true";
    in_order(&place.serve(create, &["--check"]), "the next start makes the key `default` and the database");
    assert!(!place.file("strongroom-data").exists());
    std::fs::create_dir_all(place.file("strongroom-data")).unwrap();
    said(&place.serve("", &["--check"]), KEY, &["no such key file"]);
    assert_eq!(std::fs::read_dir(place.file("strongroom-data")).unwrap().count(), 0);
}

/// What a first start would find is found, though it may make what is missing.
#[test]
fn a_check_before_the_first_start_asks_every_key() {
    let place = Place(tempfile::tempdir().unwrap());
    let create = "[kms.local]\ncreate = true\n";
    let own = format!("{create}[kms.orgs]\nacme = \"local://acme\"\n");
    in_order(&place.serve(&own, &["--check"]), "makes the key `default` and the key `acme` and the database");
    let cloud = "[kms]\ndefault = \"transit://localhost:1/transit/key\"\n[outbound]\nprivate_hosts = [\"localhost\"]\n";
    place.write("token", "a-token");
    let refused = place.serve(&format!("{cloud}{create}"), &["--check"]);
    said(&refused, KEY, &["transit://localhost:1/transit/key"]);
    assert!(!place.file("strongroom-data").exists());

    place.write("passphrase", "not the one");
    let keys = place.file("strongroom-data/keys");
    std::fs::create_dir_all(&keys).unwrap();
    strongroom::kms::Local::create(&keys, "default", Some(&"the one".to_owned().into())).unwrap();
    let under = format!("{create}passphrase_file = \"passphrase\"\n");
    said(&place.serve(&under, &["--check"]), KEY, &["default.key", "passphrase"]);
}

/// Else the program that wrote it could not go back to it.
#[test]
fn a_check_leaves_an_older_schema() {
    let place = Place::new();
    let database = rusqlite::Connection::open(place.file("strongroom-data/strongroom.db")).unwrap();
    let known: u32 = database.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    database.pragma_update(None, "user_version", known - 1).unwrap();
    drop(database);
    let before = place.contents();
    in_order(&place.serve("", &["--check"]), &format!("it has schema {}, and the next start brings it to", known - 1));
    assert!(before == place.contents());
    let database = rusqlite::Connection::open(place.file("strongroom-data/strongroom.db")).unwrap();
    database.pragma_update(None, "user_version", known + 1).unwrap();
    drop(database);
    said(&place.serve("", &["--check"]), SCHEMA, &["run the newer strongroom"]);
}

#[test]
fn a_check_finds_what_would_fail_later() {
    let place = Place::new();
    place.write("file", "no directory");
    for (config, words) in [
        ("[audit.file]\npath = \"nowhere/audit.jsonl\"", "audit.file.path: nowhere is no directory"),
        ("[audit]\ncheckpoint_file = \"nowhere/checkpoints\"", "audit.checkpoint_file: nowhere is no directory"),
        ("[audit.file]\npath = \"file/audit.jsonl\"", "audit.file.path: file is no directory that can be written to"),
    ] {
        said(&place.serve(config, &["--check"]), CONFIGURATION, &[words]);
    }
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    params.not_before = rcgen::date_time_ymd(2019, 1, 1);
    place.write("server.key", &key.serialize_pem());
    place.write("server.pem", &params.self_signed(&key).unwrap().pem());
    let tls = "[tls]\ncert = \"server.pem\"\nkey = \"server.key\"";
    said(&place.serve(tls, &["--check"]), CONFIGURATION, &["tls.cert: server.pem: has expired: it was good until"]);
}
