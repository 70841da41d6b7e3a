//! The audit log of several: each writes a chain of its own, and any of them shows and verifies all.

use std::collections::BTreeSet;

use strongroom::pb::v1::VerifyAuditRequest;
use tonic::Request;

use super::orphans::{OFTEN, age};
use super::{World, records};
use crate::daemon::{Daemon, decrypt, openai_key, runtime, setup};

async fn decrypt_as(daemon: &Daemon, token: &str, id: &str) {
    let mut request = Request::new(decrypt("acme", "one"));
    request.metadata_mut().insert("x-request-id", id.parse().unwrap());
    daemon.credentials(token).await.decrypt_credential(request).await.unwrap();
}

/// Which chain has the record of this answer.
fn chain_of(world: &World, id: &str) -> String {
    let like = format!("canonical LIKE '%\"{id}\"%' AND canonical LIKE '%\"decrypt\"%'");
    world.ask(&format!("SELECT instance FROM audit_log WHERE {like}"))
}

async fn verified(daemon: &Daemon, token: &str) -> BTreeSet<String> {
    let verified = daemon.admin(token).await.verify_audit(VerifyAuditRequest {}).await.unwrap().into_inner();
    assert!(verified.intact, "{verified:?}");
    verified.chains.into_iter().map(|chain| chain.instance).collect()
}

#[test]
fn each_writes_its_own_chain_and_any_of_them_shows_all() {
    let world = World::new();
    let (a, b) = world.two();
    let token = a.token.clone();
    runtime().block_on(async {
        a.credentials(&token).await.setup_credential(setup("acme", "one", &openai_key("one"))).await.unwrap();
        let mut chains = BTreeSet::new();
        for (daemon, name) in [(&a, "a"), (&b, "b")] {
            for count in 0..5 {
                let id = format!("of-{name}-{count}");
                decrypt_as(daemon, &token, &id).await;
                // It is there when it was answered: no waiting.
                let chain = chain_of(&world, &id);
                assert_eq!(chain.lines().count(), 1, "{chain}");
                chains.insert((name, chain));
            }
        }
        assert_eq!(chains.len(), 2, "{chains:?}");
        let mine: BTreeSet<String> = chains.into_iter().map(|(_, chain)| chain).collect();
        assert_eq!(mine.len(), 2);
        for daemon in [&a, &b] {
            let all = records(&mut daemon.admin(&token).await, "decrypt").await;
            let ids: BTreeSet<_> = all.iter().map(|record| record.request_id.clone()).collect();
            assert_eq!((all.len(), ids.len()), (10, 10));
            assert_eq!(all.iter().map(|record| record.instance.clone()).collect::<BTreeSet<_>>(), mine);
            assert!(verified(daemon, &token).await.is_superset(&mine));
            let told = daemon.cli(&token, &["audit", "verify"], None);
            assert!(told.status.success(), "{told:?}");
        }
        let forged = "UPDATE audit_log SET canonical = replace(canonical, 'of-a-3', 'of-a-7') \
                      WHERE canonical LIKE '%of-a-3%'";
        world.ask(forged);
        let told = b.admin(&token).await.verify_audit(VerifyAuditRequest {}).await.unwrap().into_inner();
        assert!(!told.intact && told.chains.iter().any(|chain| chain.fault == "edited"), "{told:?}");
    });
}

#[test]
fn a_killed_one_leaves_a_whole_chain_and_one_that_ends_hands_its_own_on() {
    let world = World::new();
    let (a, b) = (world.start_with("a", &world.url(), OFTEN), world.start("b"));
    let token = a.token.clone();
    runtime().block_on(async {
        a.credentials(&token).await.setup_credential(setup("acme", "one", &openai_key("one"))).await.unwrap();
        decrypt_as(&a, &token, "a-first").await;
        decrypt_as(&b, &token, "b-first").await;
        b.kill();
        assert_eq!(verified(&a, &token).await.len(), 2);
        // Nobody knows yet that it is dead: it may only be cut off.
        let b = world.start("b");
        decrypt_as(&b, &token, "b-second").await;
        let (first, second) = (chain_of(&world, "b-first"), chain_of(&world, "b-second"));
        assert_ne!(first, second);
        assert!(b.stop().success());
        assert_eq!(world.ask(&format!("SELECT holder IS NULL FROM instances WHERE instance = '{second}'")), "t");
        let c = world.start("c");
        decrypt_as(&c, &token, "c-first").await;
        assert_eq!(chain_of(&world, "c-first"), second);
        age(&world, &first);
        world.awaits(&format!("SELECT holder IS NULL FROM instances WHERE instance = '{first}'"), "t");
        let d = world.start("d");
        decrypt_as(&d, &token, "d-first").await;
        assert_eq!(chain_of(&world, "d-first"), first);
        assert_eq!(verified(&d, &token).await.len(), 3);
        drop((a, c));
    });
}

#[test]
fn who_starts_takes_no_chain_of_one_that_was_only_silent() {
    let world = World::new();
    let (a, b) = world.two();
    let token = a.token.clone();
    runtime().block_on(async {
        a.credentials(&token).await.setup_credential(setup("acme", "one", &openai_key("one"))).await.unwrap();
        decrypt_as(&b, &token, "b-first").await;
        let chain = chain_of(&world, "b-first");
        // As after an outage of the database: nobody has said anything for long.
        age(&world, &chain);
        let c = world.start("c");
        decrypt_as(&c, &token, "c-first").await;
        assert_ne!(chain_of(&world, "c-first"), chain);
        decrypt_as(&b, &token, "b-second").await;
        assert_eq!(chain_of(&world, "b-second"), chain);
    });
}

#[test]
fn one_that_was_taken_for_dead_writes_no_more() {
    let world = World::new();
    let (a, b) = (world.start_with("a", &world.url(), OFTEN), world.start("b"));
    let token = a.token.clone();
    runtime().block_on(async {
        a.credentials(&token).await.setup_credential(setup("acme", "one", &openai_key("one"))).await.unwrap();
        decrypt_as(&b, &token, "b-first").await;
        let chain = chain_of(&world, "b-first");
        b.signal("STOP");
        age(&world, &chain);
        world.awaits(&format!("SELECT holder IS NULL FROM instances WHERE instance = '{chain}'"), "t");
        let c = world.start("c");
        decrypt_as(&c, &token, "c-first").await;
        assert_eq!(chain_of(&world, "c-first"), chain);
        b.signal("CONT");
        let mut on_b = b.credentials(&token).await;
        on_b.decrypt_credential(decrypt("acme", "one")).await.unwrap_err();
        on_b.setup_credential(setup("acme", "two", &openai_key("two"))).await.unwrap_err();
        assert_eq!(world.ask("SELECT count(*) FROM credentials WHERE name = 'two'"), "0");
        b.logged(|line| line.contains("this process writes the audit chain"));
        assert_eq!(b.scrape("/readyz").0, 503);
        decrypt_as(&c, &token, "c-second").await;
        verified(&c, &token).await;
        // It has nothing to let go.
        b.stop();
        decrypt_as(&c, &token, "c-third").await;
        assert_eq!(chain_of(&world, "c-third"), chain);
    });
}

#[test]
fn who_follows_misses_nothing() {
    let world = World::new();
    let (a, b) = world.two();
    let token = a.token.clone();
    runtime().block_on(async {
        a.credentials(&token).await.setup_credential(setup("acme", "one", &openai_key("one"))).await.unwrap();
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let mut load = tokio::task::JoinSet::new();
        for number in 0..8 {
            let mut client = if number % 2 == 0 { &a } else { &b }.credentials(&token).await;
            let stop = std::sync::Arc::clone(&stop);
            load.spawn(async move {
                for count in 0.. {
                    if stop.load(std::sync::atomic::Ordering::Relaxed) {
                        return;
                    }
                    if number < 4 {
                        let key = openai_key(&format!("k{number}x{count}"));
                        client.setup_credential(setup("acme", &format!("n{number}"), &key)).await.unwrap();
                    } else {
                        client.decrypt_credential(decrypt("acme", "one")).await.unwrap();
                    }
                }
            });
        }
        let mut admin = a.admin(&token).await;
        let (mut seen, mut page_token) = (BTreeSet::new(), String::new());
        let end = std::time::Instant::now() + std::time::Duration::from_secs(5);
        let mut last = false;
        loop {
            let request = strongroom::pb::v1::ListAuditRequest {
                page_size: 1000,
                page_token: page_token.clone(),
                ..Default::default()
            };
            let page = admin.list_audit(request).await.unwrap().into_inner();
            let count = page.records.len();
            for record in page.records {
                assert!(seen.insert((record.instance, record.sequence)), "twice");
            }
            page_token = page.next_page_token;
            if last && count < 1000 {
                break;
            }
            if !last && std::time::Instant::now() > end {
                stop.store(true, std::sync::atomic::Ordering::Relaxed);
                while load.join_next().await.is_some() {}
                last = true;
            }
        }
        let all = world.ask("SELECT instance, sequence FROM audit_log WHERE canonical NOT LIKE '%listAudit%'");
        let missed: Vec<_> = all
            .lines()
            .filter(|line| {
                let (instance, sequence) = line.split_once('|').unwrap();
                !seen.contains(&(instance.to_owned(), sequence.parse().unwrap()))
            })
            .collect();
        assert!(missed.is_empty(), "{missed:?}");
    });
}
