//! Audit chains whose process has died: one of the others signs for them up to their end, and prunes them.

use strongroom::crypto::ledger::note::{Note, Verifier};
use strongroom::pb::v1::{AuditChain, VerifyAuditRequest};

use super::World;
use crate::daemon::{Daemon, decrypt, openai_key, runtime, setup};

pub const OFTEN: &str = "[audit]\ncheckpoint_every = \"200ms\"\n";
pub const SELDOM: &str = "[audit]\ncheckpoint_every = \"1h\"\n";

/// Some records in the chain of a replica, and which one that is.
pub async fn write(world: &World, daemon: &Daemon, token: &str, name: &str) -> String {
    let mut client = daemon.credentials(token).await;
    client.setup_credential(setup("acme", name, &openai_key(name))).await.unwrap();
    for _ in 0..3 {
        client.decrypt_credential(decrypt("acme", name)).await.unwrap();
    }
    let said = format!("CAST(canonical AS JSON) ->> 'name' = '{name}'");
    world.ask(&format!("SELECT DISTINCT instance FROM audit_log WHERE {said}"))
}

/// As if eleven minutes had gone by since its process was heard of.
pub fn age(world: &World, chain: &str) {
    world.ask(&format!("UPDATE instances SET seen_at = seen_at - 660 * 1000000 WHERE instance = '{chain}'"));
}

/// How many checkpoints there are of a chain, and whether the newest stands for all.
pub fn signed(chain: &str) -> String {
    format!(
        "SELECT count(*), max(size) = (SELECT max(sequence) FROM audit_log WHERE instance = '{chain}') \
         FROM audit_checkpoints WHERE instance = '{chain}'"
    )
}

/// Whether the newest stands for all.
pub fn covered(chain: &str) -> String {
    signed(chain).replace("count(*), ", "")
}

async fn verified(daemon: &Daemon, token: &str, chain: &str) -> AuditChain {
    let verified = daemon.admin(token).await.verify_audit(VerifyAuditRequest {}).await.unwrap().into_inner();
    verified.chains.into_iter().find(|one| one.instance == chain).unwrap()
}

#[test]
fn what_a_killed_one_left_is_signed_for_once_and_proven_by_its_key() {
    let world = World::new();
    let a = world.start_with("a", &world.url(), OFTEN);
    let b = world.start_with("b", &world.url(), SELDOM);
    let c = world.start_with("c", &world.url(), OFTEN);
    let token = a.token.clone();
    let chain = runtime().block_on(write(&world, &b, &token, "one"));
    b.kill();
    // It may only be cut off.
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert_eq!(world.ask(&signed(&chain)), "0|");
    age(&world, &chain);
    world.awaits(&signed(&chain), "1|t");
    // It is let go, as by a process that ends.
    world.awaits(&format!("SELECT holder IS NULL FROM instances WHERE instance = '{chain}'"), "t");
    let daemons = [&a, &c];
    let told = || daemons.iter().filter(|daemon| daemon.log().contains("signed for up to its end")).count();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while told() == 0 && std::time::Instant::now() < end {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert_eq!(told(), 1, "one of them did it");

    let key = world.ask(&format!("SELECT encode(public, 'hex') FROM audit_keys WHERE instance = '{chain}'"));
    let key = data_encoding::HEXLOWER.decode(key.as_bytes()).unwrap();
    let key = Verifier::new(&chain, key.try_into().unwrap());
    let note = world.ask(&format!("SELECT note FROM audit_checkpoints WHERE instance = '{chain}'"));
    let said = format!("{note}\n").parse::<Note>().unwrap().open(std::slice::from_ref(&key)).unwrap();
    runtime().block_on(async {
        for daemon in daemons {
            let found = verified(daemon, &token, &chain).await;
            assert_eq!((found.covered, found.broken_at), (said.size, 0), "{found:?}");
            assert_eq!((found.records, found.checkpoints), (said.size, 1), "{found:?}");
            let told = daemon.cli(&token, &["audit", "verify"], None);
            assert!(told.status.success(), "{told:?}");
        }
        // Whoever takes the chain goes on with the same key, and what it exports is proven by it without a server.
        let d = world.start_with("d", &world.url(), OFTEN);
        assert_eq!(write(&world, &d, &token, "two").await, chain);
        let out = d.home.join("log.jsonl");
        let done = d.cli(&token, &["audit", "export", "--out", out.to_str().unwrap()], None);
        assert!(done.status.success(), "{done:?}");
        let told = d.cli(&token, &["audit", "verify", out.to_str().unwrap(), "--key", &key.to_string()], None);
        assert!(told.status.success(), "{told:?}");
    });
}

#[test]
fn nothing_is_signed_for_that_was_tampered_with_and_the_others_are_all_the_same() {
    let world = World::new();
    let a = world.start_with("a", &world.url(), OFTEN);
    let token = a.token.clone();
    let mut dead: Vec<String> = Vec::new();
    for name in ["b", "c", "d"] {
        let daemon = world.start_with(name, &world.url(), SELDOM);
        dead.push(runtime().block_on(write(&world, &daemon, &token, name)));
        daemon.kill();
    }
    dead.sort();
    // The first that is looked at.
    let forged = "UPDATE audit_log SET canonical = replace(canonical, '\"ok\"', '\"no\"') WHERE sequence = 3";
    world.ask(&format!("{forged} AND instance = '{}'", dead[0]));
    dead.iter().for_each(|chain| age(&world, chain));
    for chain in &dead[1..] {
        world.awaits(&signed(chain), "1|t");
    }
    a.logged(|line| line.contains("was not looked after") && line.contains(&dead[0]));
    assert_eq!(world.ask(&signed(&dead[0])), "0|");
    let found = runtime().block_on(verified(&a, &token, &dead[0]));
    assert_eq!((found.fault.as_str(), found.broken_at), ("edited", 3), "{found:?}");
}

#[test]
fn one_that_cannot_be_read_keeps_nobody_from_the_others() {
    let world = World::new();
    let a = world.start_with("a", &world.url(), OFTEN);
    let token = a.token.clone();
    let mut dead: Vec<String> = Vec::new();
    for name in ["b", "c"] {
        let daemon = world.start_with(name, &world.url(), SELDOM);
        dead.push(runtime().block_on(write(&world, &daemon, &token, name)));
        daemon.kill();
    }
    dead.sort();
    let last = format!("SELECT max(position) FROM audit_log WHERE instance = '{}'", dead[0]);
    world.ask(&format!("UPDATE audit_log SET hash = '\\x00' WHERE position = ({last})"));
    dead.iter().for_each(|chain| age(&world, chain));
    world.awaits(&signed(&dead[1]), "1|t");
    a.logged(|line| line.contains("cannot be read") && line.contains(&dead[0]));
    assert_eq!(world.ask(&signed(&dead[0])), "0|");
}

#[test]
fn what_is_too_old_is_pruned_from_them_too() {
    let world = World::new();
    let keep = format!("{OFTEN}keep = \"1d\"\n");
    let a = world.start_with("a", &world.url(), &keep);
    let b = world.start_with("b", &world.url(), OFTEN);
    let token = a.token.clone();
    let chain = runtime().block_on(write(&world, &b, &token, "one"));
    // The last records have come, and the newest checkpoint stands for them.
    world.awaits(&covered(&chain), "t");
    b.kill();
    let size = world.ask(&format!("SELECT max(size) FROM audit_checkpoints WHERE instance = '{chain}'"));
    // As if it had been the day before yesterday.
    let day = "oldest_at = oldest_at - 172800000000, newest_at = newest_at - 172800000000";
    world.ask(&format!("UPDATE audit_checkpoints SET {day} WHERE instance = '{chain}'"));
    age(&world, &chain);
    world.awaits(&format!("SELECT min(sequence) > {size} FROM audit_log WHERE instance = '{chain}'"), "t");
    world.awaits(&covered(&chain), "t");
    let found = runtime().block_on(verified(&a, &token, &chain));
    assert_eq!((found.pruned.to_string(), found.broken_at), (size, 0), "{found:?}");
    // It is at rest.
    world.awaits(&format!("SELECT holder IS NULL FROM instances WHERE instance = '{chain}'"), "t");
    let before = world.ask(&format!("SELECT count(*) FROM audit_log WHERE instance = '{chain}'"));
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert_eq!(world.ask(&format!("SELECT count(*) FROM audit_log WHERE instance = '{chain}'")), before);
}

#[test]
fn copies_of_one_chain_do_not_hide_another() {
    let world = World::new();
    let more = format!("{OFTEN}checkpoint_file = \"checkpoints\"\n[audit.file]\npath = \"copy\"\n");
    let a = world.start_with("a", &world.url(), &more);
    let token = a.token.clone();
    runtime().block_on(async {
        for round in 0..5 {
            write(&world, &a, &token, &format!("n{round}")).await;
        }
        // It has passed on a checkpoint of many records, and said so.
        let passed = "SELECT max(reached) > 20 FROM audit_cursors WHERE copy LIKE 'checkpoint-file%'";
        world.awaits(passed, "t");
        world.awaits("SELECT max(reached) > 20 FROM audit_cursors WHERE copy LIKE 'file%'", "t");
        let b = world.start_with("b", &world.url(), &more);
        let chain = write(&world, &b, &token, "of-b").await;
        let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
        for file in ["checkpoints", "copy"] {
            while !std::fs::read_to_string(b.home.join(file)).unwrap_or_default().contains(&chain) {
                assert!(std::time::Instant::now() < end, "nothing of {chain} in {file}");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    });
}

#[test]
fn one_alone_that_crashes_again_and_again_takes_up_what_it_has_left() {
    let world = World::new();
    let mut daemon = world.start_with("a", &world.url(), OFTEN);
    let token = daemon.token.clone();
    let mut chain = runtime().block_on(write(&world, &daemon, &token, "n0"));
    for round in 1..3 {
        // Nothing is left to be done for it, but to let it go.
        world.awaits(&covered(&chain), "t");
        daemon.kill();
        age(&world, &chain);
        daemon = world.start_with("a", &world.url(), OFTEN);
        let next = runtime().block_on(write(&world, &daemon, &token, &format!("n{round}")));
        assert_ne!(next, chain, "nobody has looked twice");
        // After a minute it has the lease.
        world.ask("UPDATE leases SET until = 0");
        world.awaits(&format!("SELECT holder IS NULL FROM instances WHERE instance = '{chain}'"), "t");
        chain = next;
    }
    assert_eq!(world.ask("SELECT count(*) FROM instances"), "2");
}

#[test]
fn while_much_is_taken_away_of_one_the_others_have_their_turn() {
    let world = World::new();
    let a = world.start_with("a", &world.url(), &format!("{OFTEN}keep = \"1d\"\n"));
    let b = world.start_with("b", &world.url(), SELDOM);
    let token = a.token.clone();
    let chain = runtime().block_on(write(&world, &b, &token, "one"));
    b.kill();
    // The first that is looked at.
    world.ask(
        "INSERT INTO audit_log (instance, sequence, org, canonical, hash) \
         SELECT '0', x, '*', '{}', decode(repeat('00', 32), 'hex') FROM generate_series(1, 300000) x; \
         INSERT INTO audit_boundaries SELECT instance, max(sequence), max(position) FROM audit_log \
         WHERE instance = '0' GROUP BY instance; \
         ANALYZE audit_log",
    );
    world.ask(&format!(
        "UPDATE instances SET holder = NULL WHERE instance = '{chain}'; INSERT INTO instances VALUES ('0', NULL, 0)"
    ));
    let own = runtime().block_on(write(&world, &a, &token, "two"));
    world.awaits(&covered(&own), "t");
    world.awaits(&signed(&chain), "1|t");
    let left = world.ask("SELECT count(*) FROM audit_log WHERE canonical = '{}'").parse::<u32>().unwrap();
    assert!(left > 0, "it waited until all was taken away");
    assert!(left < 300_000, "nothing is taken away");
}
