//! Clocks of replicas that differ. Some seconds change nothing but when tokens end, and the operator is told. Whoever
//! is further off does nothing, says why, and goes on when its clock is right.

use std::collections::HashSet;
use std::process::Command;
use std::time::{Duration, Instant};

use strongroom::pb::v1::{
    DeleteCredentialRequest, IssueTokenRequest, ListTokensRequest, RevokeTokenRequest, UndeleteCredentialRequest,
    VerifyAuditRequest, WatchCredentialsRequest,
};
use tonic::{Code, Status};

use crate::daemon::{Daemon, PORTS, decrypt, openai_key, runtime, setup};
use crate::outages::is_clear;
use crate::preload::Clock;
use crate::replicas::World;

const PATIENCE: Duration = Duration::from_secs(30);
const HOUR: i64 = 3600;
/// As far apart as is borne, less what a slow machine takes.
const APART: i64 = 45;

fn start(world: &World, name: &str, seconds: i64) -> (Daemon, Clock) {
    let clock = world.clock(name);
    clock.set(seconds);
    match world.start_by(name, &clock) {
        Ok(daemon) => (daemon, clock),
        Err((status, log)) => panic!("{name} did not start: {status}\n{log}"),
    }
}

fn delete(name: &str, destroy_after: Duration) -> DeleteCredentialRequest {
    DeleteCredentialRequest {
        org: "acme".into(),
        provider: "openai".into(),
        name: name.into(),
        destroy_after: Some(destroy_after.into()),
        ..Default::default()
    }
}

async fn token(by: &Daemon, admin: &str, name: &str, ttl: Duration) -> String {
    let request = IssueTokenRequest {
        name: name.into(),
        role: "pipeline".into(),
        org: "acme".into(),
        providers: vec!["openai".into()],
        ttl: Some(ttl.into()),
        ..Default::default()
    };
    let issued = by.admin(admin).await.issue_token(request).await.unwrap().into_inner();
    issued.token.unwrap().expose_text().unwrap().to_owned()
}

async fn ask(daemon: &Daemon, token: &str, name: &str) -> Result<String, Status> {
    let reply = daemon.credentials(token).await.decrypt_credential(decrypt("acme", name)).await?;
    Ok(reply.into_inner().secret.unwrap().expose_text().unwrap().to_owned())
}

async fn is_intact(daemon: &Daemon, admin: &str) -> usize {
    let verified = daemon.admin(admin).await.verify_audit(VerifyAuditRequest {}).await.unwrap().into_inner();
    assert!(verified.intact, "{verified:?}");
    verified.chains.len()
}

/// That a clock is about so many seconds off: what is measured is less by the time that the database took to answer.
fn says(text: &str, seconds: i64) -> bool {
    let side = if seconds < 0 { "behind" } else { "ahead of" };
    let off = seconds.abs();
    (off - 10..=off).any(|off| text.contains(&format!("this machine's clock is {off} s {side} the database's")))
}

#[test]
fn some_seconds_apart_they_are_one_vault() {
    let world = World::new();
    let a = world.start("a");
    let admin = a.token.clone();
    world.awaits("SELECT count(*) FROM leases", "1");
    let holder = world.ask("SELECT holder FROM leases");
    let (ahead, _) = start(&world, "ahead", APART);
    let (behind, _) = start(&world, "behind", -APART);
    let daemons = [&a, &ahead, &behind];
    runtime().block_on(async {
        // Whoever watches is told of everything once, in one order, whoever has done it.
        let watch = WatchCredentialsRequest { org: "acme".into(), after: Some(0), ..Default::default() };
        let mut watching = ahead.credentials(&admin).await.watch_credentials(watch).await.unwrap().into_inner();
        for round in 0..5 {
            for (at, daemon) in daemons.iter().enumerate() {
                let name = format!("n{at}");
                let key = openai_key(&format!("{name}x{round}"));
                daemon.credentials(&admin).await.setup_credential(setup("acme", &name, &key)).await.unwrap();
                for other in daemons {
                    assert_eq!(ask(other, &admin, &name).await.unwrap(), key, "what was set up last");
                }
            }
        }
        let all = world.ask("SELECT sequence FROM changes ORDER BY sequence");
        let all: Vec<u64> = all.lines().map(|line| line.parse().unwrap()).collect();
        let mut seen = Vec::new();
        while seen.len() < all.len() {
            let next = tokio::time::timeout(PATIENCE, watching.message()).await.expect("it misses some");
            seen.push(next.unwrap().unwrap().sequence);
        }
        assert_eq!(seen, all);

        // What one has revoked, none answers, whatever it remembers.
        for (at, daemon) in daemons.iter().enumerate() {
            let pipeline = token(&a, &admin, &format!("of-{at}"), Duration::from_secs(600)).await;
            for other in daemons {
                ask(other, &pipeline, "n0").await.unwrap();
            }
            let mut by = daemon.admin(&admin).await;
            let listed = by.list_tokens(ListTokensRequest::default()).await.unwrap().into_inner().tokens;
            let id = listed.into_iter().find(|token| token.name == format!("of-{at}")).unwrap().id;
            by.revoke_token(RevokeTokenRequest { id }).await.unwrap();
            for other in daemons {
                assert_eq!(ask(other, &pipeline, "n0").await.unwrap_err().code(), Code::Unauthenticated);
            }
        }
        behind.credentials(&admin).await.delete_credential(delete("n1", Duration::from_secs(600))).await.unwrap();
        for other in daemons {
            assert_eq!(ask(other, &admin, "n1").await.unwrap_err().code(), Code::NotFound);
        }

        // A token ends by the clock of whoever is asked.
        let brief = token(&a, &admin, "brief", Duration::from_secs(20)).await;
        ask(&behind, &brief, "n0").await.unwrap();
        assert_eq!(ask(&ahead, &brief, "n0").await.unwrap_err().code(), Code::Unauthenticated);
        let brief = token(&behind, &admin, "briefer", Duration::from_secs(20)).await;
        ask(&behind, &brief, "n0").await.unwrap();
        assert_eq!(ask(&a, &brief, "n0").await.unwrap_err().code(), Code::Unauthenticated);

        // Each writes a chain of its own, and takes nobody's.
        for daemon in daemons {
            assert_eq!(is_intact(daemon, &admin).await, 3);
            assert_eq!(daemon.scrape("/readyz").0, 200);
        }
    });
    // What is due is done once, by whoever had the lease.
    world.ask("UPDATE credentials SET destroy_at = 1 WHERE name = 'n1'");
    let destroyed = "SELECT count(*) FROM audit_log WHERE CAST(canonical AS JSON) ->> 'action' = 'destroy'";
    world.awaits(destroyed, "1");
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(world.ask(destroyed), "1");
    assert_eq!(world.ask("SELECT holder FROM leases"), holder);
    assert_eq!(world.ask("SELECT count(*), count(DISTINCT holder) FROM instances"), "3|3");
    // Told once each.
    for (daemon, off) in [(&ahead, APART), (&behind, -APART)] {
        daemon.logged(|line| line.contains("WARN") && says(line, off));
        assert_eq!(daemon.log().matches("this machine's clock").count(), 1, "{}", daemon.log());
    }
    assert!(!a.log().contains("clock"), "{}", a.log());
}

#[test]
fn one_whose_clock_runs_away_answers_and_destroys_nothing_until_it_is_right() {
    let world = World::new();
    let (a, clock) = start(&world, "a", 0);
    let admin = a.token.clone();
    world.awaits("SELECT count(*) FROM leases", "1");
    let first = world.ask("SELECT holder FROM leases");
    let b = world.start("b");
    runtime().block_on(async {
        let mut on_a = a.credentials(&admin).await;
        for name in ["kept", "deleted"] {
            on_a.setup_credential(setup("acme", name, &openai_key(name))).await.unwrap();
            ask(&a, &admin, name).await.unwrap();
        }
        // Half an hour is over by a clock that is an hour ahead.
        on_a.delete_credential(delete("deleted", Duration::from_secs(1800))).await.unwrap();
        let brief = token(&a, &admin, "brief", Duration::from_secs(1800)).await;
        let ended = token(&a, &admin, "ended", Duration::from_secs(1)).await;
        ask(&a, &brief, "kept").await.unwrap();

        for off in [HOUR, -HOUR] {
            clock.set(off);
            let mut said = HashSet::new();
            let begun = Instant::now();
            // Longer than its word is good for that it has the lease, and than it looks for what is due.
            while begun.elapsed() < Duration::from_secs(9) {
                is_clear(&ask(&a, &admin, "kept").await.unwrap_err());
                let set_up = on_a.setup_credential(setup("acme", "new", &openai_key("new"))).await;
                is_clear(&set_up.unwrap_err());
                for token in [&brief, &ended] {
                    said.insert(ask(&a, token, "kept").await.unwrap_err().code());
                }
                ask(&b, &admin, "kept").await.unwrap();
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            assert!(said.is_subset(&[Code::Unavailable, Code::Unauthenticated].into()), "{said:?}");
            assert_eq!((a.scrape("/readyz").0, a.scrape("/healthz").0), (503, 200));
            assert_eq!(b.scrape("/readyz").0, 200);
            a.logged(|line| says(line, off));
            // It does not keep its part from others.
            world.ask("UPDATE leases SET until = until - 61 * 1000000");
            let moved = format!("SELECT holder <> '{first}' FROM leases");
            world.awaits(&moved, "t");

            clock.set(0);
            let end = Instant::now() + PATIENCE;
            while let Err(status) = ask(&a, &admin, "kept").await {
                is_clear(&status);
                assert!(Instant::now() < end, "it does not recover: {status}\n{}", a.log());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            while a.scrape("/readyz").0 != 200 {
                assert!(Instant::now() < end, "it does not become ready:\n{}", a.log());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            ask(&a, &brief, "kept").await.unwrap();
            assert_eq!(ask(&a, &ended, "kept").await.unwrap_err().code(), Code::Unauthenticated);
        }
        // Nothing of it was destroyed.
        let back = UndeleteCredentialRequest {
            org: "acme".into(),
            provider: "openai".into(),
            name: "deleted".into(),
            ..Default::default()
        };
        on_a.undelete_credential(back).await.unwrap();
        for daemon in [&a, &b] {
            assert_eq!(ask(daemon, &admin, "deleted").await.unwrap(), openai_key("deleted"));
            assert_eq!(is_intact(daemon, &admin).await, 2);
        }
    });
}

#[test]
fn one_that_is_an_hour_off_does_not_start_and_a_check_says_so() {
    let world = World::new();
    let check = |clock: &Clock| {
        let home = world.home("checked");
        std::fs::write(home.join("check.toml"), format!("{PORTS}{}", world.config(&world.url()))).unwrap();
        let [env, library, seconds] = clock.wrapper();
        let mut check = Command::new(env);
        check.args([&library, &seconds, crate::daemon::program(), "serve", "--check", "--config", "check.toml"]);
        let done = check.current_dir(home).output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        (done.status.code(), said)
    };
    let clock = world.clock("off");
    let is_refused = |off| {
        clock.set(off);
        let (code, said) = check(&clock);
        assert!(code == Some(67) && says(&said, off), "{code:?} {said}");
        let (status, log) = world.start_by("off", &clock).err().expect("it does not start");
        assert!(status.code() == Some(67) && says(&log, off), "{status} {log}");
    };
    // On an empty database: nothing is made.
    for off in [HOUR, -HOUR] {
        is_refused(off);
        assert_eq!(world.ask("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), "0");
    }
    let a = world.start("a");
    [HOUR, -HOUR].into_iter().for_each(is_refused);
    // Nobody has taken a chain and kept it.
    assert_eq!(world.ask("SELECT count(*) FROM instances"), "1");
    clock.set(-APART);
    let (code, said) = check(&clock);
    assert!(code == Some(0) && says(&said, -APART), "{code:?} {said}");
    assert!(said.contains("everything is in order"), "{said}");
    clock.set(0);
    let (code, said) = check(&clock);
    assert!(code == Some(0) && !said.contains("clock"), "{code:?} {said}");
    assert!(a.stop().success());
}
