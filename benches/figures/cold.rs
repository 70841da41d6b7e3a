//! Past the cache: one at a time, many at a time, and a thousand who all want the same.

use std::path::Path;

use tokio::task::JoinSet;

use crate::Plan;
use crate::load::{Sample, drive};
use crate::server::{Client, Door, Server, runtime};
use crate::table::{Row, Target, median, section, time};

const STAMPEDE: usize = 1_000;
/// A connection carries at most 256 calls at a time.
const CONNECTIONS: usize = 8;

pub fn run(plan: Plan, home: &Path) {
    section("cold decrypt: key unwrapped and blob opened", "cold: rate, p50 / p99", "warm: rate, p50 / p99");
    runtime().block_on(async {
        let daemon = Server::daemon(home, false);
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS {
            clients.push(daemon.client(Door::Tcp).await);
        }
        clients[0].setup("default").await;
        for in_flight in [1, 64] {
            let (mut cold, mut warm) = (Vec::new(), Vec::new());
            for _ in 0..plan.rounds() {
                for (fresh, turns) in [(true, &mut cold), (false, &mut warm)] {
                    let clients = clients.clone();
                    let call = move |lane: usize, _| {
                        let client = clients[lane % CONNECTIONS].clone();
                        async move { client.decrypt("default", fresh).await }
                    };
                    turns.push(drive(&daemon, in_flight, plan.turn() / 2, call).await);
                }
            }
            let (cold, warm) = (Sample::median(&cold), Sample::median(&warm));
            Row::shown(format!("TCP, {in_flight} in flight"), cold.shown(), warm.shown())
                .ratio(cold.rate / warm.rate, Target::None)
                .print();
        }
        stampedes(plan, &daemon, &clients).await;
    });
}

async fn stampedes(plan: Plan, daemon: &Server, clients: &[Client]) {
    let (mut calls, mut times) = (Vec::new(), Vec::new());
    for round in 0..plan.rounds() {
        let name = format!("wanted-{round}");
        clients[0].setup(&name).await;
        let unwraps = || daemon.counted("strongroom_kms_calls_total", "op=\"unwrap\"");
        let before = unwraps();
        let begin = std::time::Instant::now();
        let mut crowd = JoinSet::new();
        for one in 0..STAMPEDE {
            let (client, name) = (clients[one % CONNECTIONS].clone(), name.clone());
            crowd.spawn(async move { client.decrypt(&name, false).await });
        }
        crowd.join_all().await;
        times.push(begin.elapsed());
        calls.push(unwraps() - before);
    }
    let most = calls.iter().copied().fold(0.0, f64::max);
    let shown = format!("{most} KMS calls at most, {} for all", time(median(times)));
    Row::shown(format!("{STAMPEDE} at once, one credential"), shown, format!("{STAMPEDE} calls without sharing"))
        .value(most, "", Target::AtMost(1.0))
        .print();
}
