//! A database that an older build wrote, with every kind of thing that has a key: it opens, and its keys move.

use super::*;

const DATABASE: &str = include_str!("../../vectors/databases/schema-7.sql");
const KEY: &str = include_str!("../../vectors/databases/schema-7.key");
const TOKEN: &str = "srt_AaH-tD3gcuqyPZ-xuNIe-kUJPuHpWHwTOJ1lDnXlhZ8ucWx1aMl73XJ5TisXqQSiwWZNpw";

fn plaintext(daemon: &Daemon, args: &[&str]) -> String {
    let output = daemon.cli(TOKEN, &[&["decrypt"], args].concat(), None);
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn opens(daemon: &Daemon) {
    assert_eq!(plaintext(daemon, &["acme", "openai"]), openai_key("second"));
    assert_eq!(plaintext(daemon, &["acme", "openai", "--name", "kept"]), openai_key("kept"));
    assert_eq!(plaintext(daemon, &["beta", "cloudflare"]), "Zq3v-8mKp_L2xT9wR5nB7cY1dF4gH6jS0aE2uI8o");
    let audit = daemon.cli(TOKEN, &["audit", "verify"], None);
    assert!(audit.status.success(), "{audit:?}");
}

#[test]
fn a_database_of_the_schema_before_opens_and_its_keys_move() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(keys(home.path())).unwrap();
    let key = keys(home.path()).join("default.key");
    std::fs::write(&key, KEY).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    Connection::open(home.path().join("strongroom-data/strongroom.db")).unwrap().execute_batch(DATABASE).unwrap();

    let daemon = Daemon::start(home.path());
    // Two versions of one, what waits to be destroyed, and another org's; what was destroyed has no key.
    let held = [4, 3, 1, 1];
    assert_eq!(in_use(&daemon, TOKEN)["local://default 1"], held);
    let undeleted = daemon.cli(TOKEN, &["undelete", "acme", "openai", "--name", "kept"], None);
    assert!(undeleted.status.success(), "{undeleted:?}");
    opens(&daemon);
    let back = daemon.cli(TOKEN, &["activate", "acme", "openai", "1"], None);
    assert!(back.status.success(), "{back:?}");
    assert_eq!(plaintext(&daemon, &["acme", "openai"]), openai_key("first"));
    let back = daemon.cli(TOKEN, &["activate", "acme", "openai", "2"], None);
    assert!(back.status.success(), "{back:?}");
    assert!(daemon.stop().success());

    let daemon = Daemon::start_with(home.path(), NEXT);
    let (code, news, said) = rewrap(&daemon, TOKEN, &[]);
    assert_eq!((code, count(&news, "moved"), count(&news, "failed")), (0, 9, 0), "{said}");
    assert_eq!(in_use(&daemon, TOKEN)["local://next 1"], held);
    assert!(daemon.stop().success());
    std::fs::remove_file(key).unwrap();
    let daemon = Daemon::start_with(home.path(), NEXT);
    opens(&daemon);
    // And its orgs can come to their end.
    let end = daemon.cli(TOKEN, &["org", "destroy", "acme", "--yes", "--after", "0s"], None);
    assert!(end.status.success(), "{end:?}");
    let proof = crate::shred::destroyed(&daemon, TOKEN, "acme");
    assert_eq!(proof["destroyed"]["wraps"], serde_json::json!({"local://next": "4"}), "{proof}");
    assert!(daemon.stop().success());
}
