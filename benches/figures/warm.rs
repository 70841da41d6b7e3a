//! The hot path: a decrypt that is authenticated, authorised, recorded on disk and answered from the cache, beside an
//! rpc that does nothing.

use std::path::Path;

use crate::Plan;
use crate::load::{Sample, appends, drive};
use crate::server::{Client, Door, Server, certify, runtime};
use crate::table::{Row, Target, section, time};

/// So many connections share the calls in flight, as several clients would.
const CONNECTIONS: usize = 4;
const MANY: usize = 64;

pub fn run(plan: Plan, home: &Path) {
    section(
        "warm decrypt, 2.3 KiB: authenticated, authorised, durably recorded",
        "decrypt: rate, p50 / p99",
        "bare tonic rpc: rate, p50 / p99",
    );
    let runtime = runtime();
    for (name, door) in [("TCP", Door::Tcp), ("TLS", Door::Tls), ("Unix socket", Door::Unix)] {
        runtime.block_on(through(plan, &home.join(name.replace(' ', "-")), name, door));
    }
}

async fn through(plan: Plan, home: &Path, name: &str, door: Door) {
    let (ours, theirs) = (home.join("daemon"), home.join("bare"));
    for home in [&ours, &theirs] {
        std::fs::create_dir_all(home).unwrap();
        certify(home);
    }
    let tls = door == Door::Tls;
    let (daemon, bare) = (Server::daemon(&ours, tls), Server::bare(&theirs, tls, true));
    daemon.client(door).await.setup("default").await;

    for in_flight in [1, MANY] {
        let connections = in_flight.min(CONNECTIONS);
        let (mut decrypts, mut bares, mut disk) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..=plan.rounds() {
            let bare_turn = turn(plan, &bare, door, connections, in_flight).await;
            let decrypt_turn = turn(plan, &daemon, door, connections, in_flight).await;
            // The first round warms up.
            if round > 0 {
                bares.push(bare_turn);
                decrypts.push(decrypt_turn);
            }
            if in_flight == 1 && door == Door::Tcp {
                disk.push(appends(home, plan.turn() / 2));
            }
        }
        let (decrypt, bare) = (Sample::median(&decrypts), Sample::median(&bares));
        let target = if in_flight == MANY { Target::AtLeast(0.8) } else { Target::None };
        Row::shown(format!("{name}, {in_flight} in flight"), decrypt.shown(), bare.shown())
            .ratio(decrypt.rate / bare.rate, target)
            .print();
        let cpu = |sample: &Sample| format!("{} of the server's cpu", time(sample.cpu));
        Row::shown("  each call", cpu(&decrypt), cpu(&bare)).print();
        if !disk.is_empty() {
            let append = Sample::median(&disk);
            let over = decrypt.p99.as_secs_f64() - append.p99.as_secs_f64();
            Row::shown("  p99 over one append's", time(decrypt.p99), format!("an fsync'd append: {}", append.shown()))
                .value(over * 1e3, " ms", Target::AtMost(1.0))
                .print();
        }
    }
}

async fn turn(plan: Plan, server: &Server, door: Door, connections: usize, in_flight: usize) -> Sample {
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..connections {
        clients.push(server.client(door).await);
    }
    let call = move |lane: usize, _| {
        let client = clients[lane % clients.len()].clone();
        async move { client.decrypt("default", false).await }
    };
    drive(server, in_flight, plan.turn(), call).await
}
