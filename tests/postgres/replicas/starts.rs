//! Starts and checks: of several at the same time, and where the database is not as it should be.

use std::path::Path;
use std::process::Command;

use super::World;
use crate::daemon::{Daemon, PORTS, decrypt, openai_key, program, runtime, setup};
use crate::server::shared;

/// `serve --check` with this configuration: its exit code and all that it says.
fn check(home: &Path, config: &str) -> (Option<i32>, String) {
    std::fs::write(home.join("check.toml"), format!("{PORTS}{config}")).unwrap();
    let done = Command::new(program()).args(["serve", "--check", "--config", "check.toml"]).current_dir(home).output();
    let done = done.unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    std::fs::remove_file(home.join("check.toml")).unwrap();
    assert!(!said.contains("panicked"), "{said}");
    (done.status.code(), said)
}

#[test]
fn three_start_on_an_empty_database_at_once() {
    for _ in 0..3 {
        let world = World::new();
        let daemons: Vec<Daemon> = std::thread::scope(|scope| {
            let starts: Vec<_> = ["a", "b", "c"].map(|name| scope.spawn(|| world.start(name))).into_iter().collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        let tokens: Vec<_> = daemons.iter().filter(|daemon| !daemon.token.is_empty()).collect();
        assert_eq!(tokens.len(), 1, "one prints the first admin's token");
        let token = tokens[0].token.clone();
        assert_eq!(world.ask("SELECT count(*), count(DISTINCT holder) FROM instances"), "3|3");
        runtime().block_on(async {
            for (number, daemon) in daemons.iter().enumerate() {
                assert_eq!(daemon.scrape("/readyz"), (200, "ready\n".to_owned()));
                let mut client = daemon.credentials(&token).await;
                client.setup_credential(setup("acme", "one", &openai_key(&format!("k{number}")))).await.unwrap();
                client.decrypt_credential(decrypt("acme", "one")).await.unwrap();
            }
        });
    }
}

#[test]
fn a_check_beside_others_and_before_the_first_changes_nothing() {
    let world = World::new();
    let home = world.home("checked");
    let config = world.config(&world.url());
    let (code, said) = check(&home, &config);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the next start makes the key `default` and the database"), "{said}");
    assert_eq!(world.ask("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), "0");

    let (a, b) = world.two();
    // Other rules than those in force: a check puts none in force.
    std::fs::write(home.join("policies/more.cedar"), "@id(\"x\") forbid (principal, action, resource);\n").unwrap();
    let state = || {
        world.ask(
            "SELECT (SELECT count(*) FROM instances), (SELECT value FROM meta WHERE key = 'rules'), \
             (SELECT count(*) FROM audit_log), (SELECT count(*) FROM changes)",
        )
    };
    let before = state();
    let (code, said) = check(&home, &config);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("everything is in order"), "{said}");
    assert_eq!(state(), before);
    for daemon in [&a, &b] {
        assert_eq!(daemon.scrape("/readyz").0, 200);
    }
}

#[test]
fn what_is_wrong_is_said_early_and_without_the_password() {
    let world = World::new();
    let password = shared().password();
    let right = world.url();
    let bare = right.trim_end_matches("?sslmode=disable").to_owned();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let port = right.split('@').nth(1).unwrap().split(':').nth(1).unwrap().split('/').next().unwrap().to_owned();
    let cases = [
        ("wrong password", right.replace(password, "not-the-password-2718"), "password"),
        ("missing database", right.replace(&world.database, "no_such_database"), "no_such_database"),
        ("nobody listens", right.replace(&format!(":{port}/"), &format!(":{free}/")), "nobody listens there"),
        ("no such host", right.replace("127.0.0.1", "host.invalid"), "host.invalid"),
        ("no TLS", bare, "TLS"),
        ("unknown user", right.replace("://strongroom:", "://nobody:"), "password"),
        ("wrong parameter", format!("{right}&sslmood=off"), "sslmood"),
        ("wrong mode", right.replace("disable", "prefer"), "sslmode"),
    ];
    for (number, (case, url, word)) in cases.into_iter().enumerate() {
        let home = world.home(&format!("case-{number}"));
        let (code, said) = check(&home, &world.config(&url));
        assert!(code.is_some_and(|code| code != 0), "{case}: {said}");
        let (status, log) = match Daemon::try_start(&home, &world.config(&url), &[]) {
            Ok(_) => panic!("{case}: it started"),
            Err(refused) => refused,
        };
        assert!(!status.success(), "{case}: {log}");
        for text in [&said, &log] {
            assert!(text.contains(word), "{case}: `{word}` is not in:\n{text}");
            assert!(!text.contains(password) && !text.contains("not-the-password-2718"), "{case}:\n{text}");
            assert!(!text.contains("panicked") && !text.contains("the directory must be"), "{case}:\n{text}");
        }
    }
    assert!(!world.written().contains(password));
}

#[test]
fn the_password_is_in_nothing_that_a_replica_writes() {
    let world = World::new();
    let (a, b) = world.two();
    let password = shared().password();
    let token = a.token.clone();
    runtime().block_on(async {
        let key = openai_key("one");
        a.credentials(&token).await.setup_credential(setup("acme", "one", &key)).await.unwrap();
        b.credentials(&token).await.decrypt_credential(decrypt("acme", "one")).await.unwrap();
    });
    world.ask(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    );
    for path in ["/readyz", "/metrics", "/healthz"] {
        assert!(!a.scrape(path).1.contains(password), "{path}");
    }
    assert!(a.stop().success() && b.stop().success());
    assert!(!world.written().contains(password));
}

#[test]
fn a_database_that_forgets_what_it_has_acknowledged_is_refused() {
    let world = World::new();
    let set = |to: &str| world.ask(&format!("ALTER DATABASE {} SET synchronous_commit = {to}", world.database));
    set("off");
    let home = world.home("a");
    let config = world.config(&world.url());
    let told = "synchronous_commit is off for user strongroom";
    let (code, said) = check(&home, &config);
    assert!(code == Some(67) && said.contains(told), "{code:?} {said}");
    let (_, log) = Daemon::try_start(&home, &config, &[]).err().expect("it does not start");
    assert!(log.contains(told), "{log}");
    assert_eq!(world.ask("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), "0");
    set("on");
    world.start("a");
}
