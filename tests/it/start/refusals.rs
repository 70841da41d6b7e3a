//! One test for each exit code.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::*;

#[test]
fn a_wrong_configuration_is_named_with_file_line_and_key() {
    let place = Place::new();
    place.write("empty/README", "");
    place.write("broken/a.cedar", "permit (principal, action, resource);\n\npermit (principal, acton, resource);\n");
    place.write(
        "misfit/a.cedar",
        "// One line.\npermit (principal, action == Strongroom::Action::\"decypt\", resource);\n",
    );
    place.write(
        "twice/a.cedar",
        "@id(\"x\") permit (principal, action, resource);\n@id(\"x\") permit (principal, action, resource);",
    );
    let providers = std::fs::read_to_string("config/providers.yml").unwrap();
    place.write("providers.yml", &providers.replace("  - id: openai\n", "  - id: openai\n    colour: red\n"));
    let line = 1 + providers.lines().position(|line| line == "  - id: openai").unwrap();
    place.write("cut.pem", "-----BEGIN CERTIFICATE-----\nTm90IG9uZQ\n");
    for (config, words) in [
        ("gprc = \"127.0.0.1:1\"", &["strongroom.toml:5: listen.gprc is refused: unknown field"][..]),
        ("[cache]\nttl = \"301s\"", &["strongroom.toml:6: cache.ttl is longer than 300s"]),
        ("[cache\n", &["strongroom.toml:5: "]),
        ("[cache]\nttl = \"soon\"", &["strongroom.toml:6: cache.ttl is refused"]),
        ("[cache]\nttl = \"1s\"\n[cache]", &["strongroom.toml:7: "]),
        ("[tls]\ncert = \"a.pem\"", &["tls.key must be given too"]),
        ("[tls]\ncert = \"nowhere.pem\"\nkey = \"nowhere.pem\"", &["tls.cert", "nowhere.pem", "cannot be read"]),
        ("[tls]\ncert = \"cut.pem\"\nkey = \"cut.pem\"", &["tls.cert", "cut.pem", "PEM"]),
        (
            "[kms]\ndefault = \"kms://x\"",
            &["strongroom.toml:6: kms.default names `kms://x`: the scheme is not local, gcp-kms, aws-kms"],
        ),
        (
            "[kms]\ndefault = \"gcp-kms://projects/p\"",
            &["strongroom.toml:6: kms.default names `gcp-kms://projects/p`: not gcp-kms://projects/P/"],
        ),
        (
            "[kms]\nothers = [\"local://a\", \"aws-kms://x\"]",
            &["strongroom.toml:6: kms.others names `aws-kms://x`: not aws-kms://arn:"],
        ),
        (
            "[kms.orgs]\nacme = \"azure-kv://V/k\"",
            &["strongroom.toml:6: kms.orgs.acme names `azure-kv://V/k`: the vault has a 'V'"],
        ),
        ("[kms.orgs]\n\"a/b\" = \"local://default\"", &["strongroom.toml:6: kms.orgs.a/b names no org"]),
        ("[kms]\ndeadline = \"0s\"", &["strongroom.toml:6: kms.deadline must be more than nothing"]),
        ("[kms.gcp]\nendpoint = \"http://kms.example.com\"", &["strongroom.toml:6: kms.gcp.endpoint must be https://"]),
        ("[store]\nurl = \"mysql://u:p@h/d\"", &["strongroom.toml:6: store.url must be sqlite://"]),
        ("[policy]\ndirectory = \"nowhere\"", &["nowhere", "No such file"]),
        ("[policy]\ndirectory = \"empty\"", &["empty", "no .cedar file"]),
        ("[policy]\ndirectory = \"broken\"", &["broken/a.cedar:3: "]),
        ("[policy]\ndirectory = \"misfit\"", &["misfit/a.cedar:2: "]),
        ("[policy]\ndirectory = \"twice\"", &["twice/a.cedar:2: ", "`x`"]),
        ("[providers]\nfile = \"nowhere.yml\"", &["nowhere.yml", "No such file"]),
        ("[providers]\nfile = \"providers.yml\"", &[format!("providers.yml:{}: ", line + 1).as_str(), "colour"]),
        ("[kms.local]\npassphrase_file = \"nowhere\"", &["nowhere", "No such file"]),
    ] {
        place.refuses(config, &[], CONFIGURATION, words);
        place.refuses(config, &["--check"], CONFIGURATION, words);
        place.refuses(config, &["--dev"], CONFIGURATION, words);
    }
    let everywhere = "[listen]\ngrpc = \"0.0.0.0:0\"\n";
    place.write("everywhere.toml", everywhere);
    said(
        &place.serve_file("everywhere.toml", &[]),
        CONFIGURATION,
        &["everywhere.toml:2: listen.grpc is reachable from other machines"],
    );
    said(&place.serve_file("nowhere.toml", &[]), CONFIGURATION, &["nowhere.toml: cannot be read"]);
    still_serves(&place, "");
}

#[test]
fn a_wrong_key_file_is_named_with_what_is_wrong_with_it() {
    let place = Place::new();
    let (key, good) = (place.key(), std::fs::read_to_string(place.key()).unwrap());
    let put = |text: &str, mode| {
        let _ = std::fs::remove_file(&key);
        std::fs::write(&key, text).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let refused = |words: &[&str]| {
        for how in [&[][..], &["--check"], &["--dev"]] {
            place.refuses("", how, KEY, &[&["default.key: "], words].concat());
        }
    };
    put(&good, 0o640);
    refused(&["others may read it (mode 0640)", "chmod 600"]);
    put(&good[..good.len() / 2], 0o600);
    refused(&["damaged", "restore it from a backup"]);
    put("", 0o600);
    refused(&["damaged"]);
    let digit = good.rfind("key = \"").unwrap() + 10;
    let other = if &good[digit..=digit] == "0" { "1" } else { "0" };
    put(&format!("{}{other}{}", &good[..digit], &good[digit + 1..]), 0o600);
    refused(&["damaged"]);
    put(&good.replace("format = 1", "format = 2"), 0o600);
    refused(&["newer strongroom"]);
    std::fs::remove_file(&key).unwrap();
    symlink(place.file("elsewhere"), &key).unwrap();
    place.write("elsewhere", &good);
    refused(&["a link is not followed"]);
    std::fs::remove_file(&key).unwrap();
    std::fs::create_dir(&key).unwrap();
    refused(&["not a regular file"]);
    std::fs::remove_dir(&key).unwrap();
    place.refuses("", &[], KEY, &["default.key: ", "no such key file"]);
    place.refuses("", &["--check"], KEY, &["default.key: ", "no such key file"]);
    put(&good, 0o600);
    place.write("passphrase", "something");
    place.refuses("[kms.local]\npassphrase_file = \"passphrase\"", &[], KEY, &["not under a passphrase"]);
    still_serves(&place, "");
}

/// Whole, and of another vault: nothing that is stored would open, and what is new would be sealed under it.
#[test]
fn a_key_of_another_vault_is_refused() {
    let (place, other) = (Place::new(), Place::new());
    let good = std::fs::read(place.key()).unwrap();
    std::fs::copy(other.key(), place.key()).unwrap();
    for how in [&[][..], &["--check"], &["--dev"]] {
        place.refuses("", how, KEY, &["local://default", "not the key that this database was sealed under"]);
    }
    // What `--dev` makes when the directory of the keys is empty is another key too.
    std::fs::remove_file(place.key()).unwrap();
    said(&place.serve("", &["--dev"]), KEY, &["not the key"]);
    std::fs::write(place.key(), good).unwrap();
    still_serves(&place, "");
}

#[test]
fn a_wrong_passphrase_is_refused() {
    let config = "[kms.local]\npassphrase_file = \"tmp/passphrase\"";
    let place = Place(tempfile::tempdir().unwrap());
    place.write("tmp/passphrase", "correct horse\n");
    let daemon = Daemon::start_with(place.path(), config);
    runtime().block_on(async {
        let mut admin = daemon.credentials(&daemon.token).await;
        admin.setup_credential(setup("acme", "", &openai_key("kept"))).await.unwrap();
    });
    assert!(daemon.stop().success());
    place.write("tmp/passphrase", "battery staple\n");
    place.refuses(config, &[], KEY, &["default.key: the passphrase is wrong"]);
    place.refuses("", &[], KEY, &["default.key: it is under a passphrase"]);
    place.write("tmp/passphrase", "\n");
    place.refuses(config, &[], KEY, &["default.key: "]);
    place.write("tmp/passphrase", "correct horse");
    still_serves(&place, config);
}

#[test]
fn a_newer_schema_is_left_alone() {
    let place = Place::new();
    let set = |version: u32| {
        let database = rusqlite::Connection::open(place.file("strongroom-data/strongroom.db")).unwrap();
        database.pragma_update(None, "user_version", version).unwrap();
    };
    let database = rusqlite::Connection::open(place.file("strongroom-data/strongroom.db")).unwrap();
    let known: u32 = database.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    drop(database);
    set(known + 40);
    for how in [&[][..], &["--check"], &["--dev"]] {
        place.refuses("", how, SCHEMA, &[&format!("schema {}", known + 40), "run the newer strongroom"]);
    }
    set(known);
    still_serves(&place, "");
}

#[test]
fn a_store_that_cannot_be_used_is_named() {
    let place = Place::new();
    place.write("file", "no directory");
    place.write("strongroom-data/notes.db", &"This is no database, though it is long enough. ".repeat(100));
    let foreign = rusqlite::Connection::open(place.file("strongroom-data/foreign.db")).unwrap();
    foreign.execute_batch("CREATE TABLE theirs (x)").unwrap();
    drop(foreign);
    std::fs::remove_file(place.file("strongroom-data/strongroom.db-lock")).unwrap_or_default();
    for (url, words) in [
        ("sqlite://nowhere/strongroom.db", "nowhere"),
        ("sqlite://file/strongroom.db", "file"),
        ("sqlite:///proc/strongroom.db", "/proc/strongroom.db"),
        ("sqlite:///dev/null/strongroom.db", "/dev/null"),
    ] {
        place.refuses(&format!("[store]\nurl = \"{url}\""), &[], STORE, &["the store at ", words]);
        place.refuses(&format!("[store]\nurl = \"{url}\""), &["--check"], STORE, &["the store at ", words]);
    }
    for (name, words) in [("notes.db", "not a database"), ("foreign.db", "not one of strongroom's")] {
        let before = std::fs::read(place.file("strongroom-data").join(name)).unwrap();
        said(&place.serve(&format!("[store]\nurl = \"sqlite://strongroom-data/{name}\""), &[]), STORE, &[name, words]);
        assert!(before == std::fs::read(place.file("strongroom-data").join(name)).unwrap());
    }
    // Where directories would be made.
    for url in ["sqlite://file/deeper/strongroom.db", "sqlite:///proc/deeper/strongroom.db"] {
        place.refuses(&format!("[store]\nurl = \"{url}\""), &["--dev"], STORE, &["deeper"]);
    }
    still_serves(&place, "");
}

#[test]
fn one_daemon_a_store() {
    let place = Place::new();
    let daemon = Daemon::start(place.path());
    said(&place.serve("", &[]), STORE, &["another strongroom daemon uses", "strongroom.db-lock"]);
    std::os::unix::fs::symlink("strongroom-data", place.file("alias")).unwrap();
    let alias = "[store]\nurl = \"sqlite://alias/strongroom.db\"";
    said(&place.serve(alias, &[]), STORE, &["another strongroom daemon uses"]);
    let output = daemon.cli(&token(&place), &["decrypt", "acme", "openai"], None);
    assert!(output.status.success(), "the first one goes on");
    assert!(daemon.stop().success());
    still_serves(&place, "");
}

#[test]
fn a_taken_port_is_named_with_its_key() {
    let place = Place::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for key in ["grpc", "rest", "ops"] {
        let config = PORTS.replace(&format!("{key} = \"127.0.0.1:0\""), &format!("{key} = \"{address}\""));
        place.write("taken.toml", &config);
        let before = place.contents();
        said(&place.serve_file("taken.toml", &[]), PORT, &[&format!("listen.{key}: {address} is taken")]);
        assert!(before == place.contents());
    }
    place.write("socket", "a file of somebody's");
    place.refuses("unix = \"socket\"", &[], PORT, &["listen.unix", "is no socket"]);
    assert_eq!(std::fs::read_to_string(place.file("socket")).unwrap(), "a file of somebody's");
    place.refuses("unix = \"nowhere/socket\"", &[], PORT, &["listen.unix", "nowhere/socket"]);
    still_serves(&place, "");
}
