//! Moving all wrapped keys to the next version of their key: how quick that is, and what decrypts lose by it meanwhile.
//! A decrypt that fails ends the run.

use std::path::Path;
use std::time::Instant;

use strongroom::kms::Local;
use strongroom::pb::v1::RewrapRequest;
use strongroom::pb::v1::admin_service_client::AdminServiceClient;
use tokio::task::JoinSet;

use crate::Plan;
use crate::load::{Sample, drive};
use crate::server::{Client, Door, Server, runtime};
use crate::setup::Lonely;
use crate::table::{Row, Target, count, section};

/// Setups, to fill it.
const LANES: usize = 64;
const IN_FLIGHT: usize = 16;
/// Keys a second, where it is told to take its time.
const THROTTLE: u32 = 200;

pub fn run(plan: Plan, home: &Path) {
    let rows = plan.pick(4_000, 100_000);
    section(
        &format!("{} keys move to the next version of theirs", count(rows as f64)),
        "meanwhile: rate, p50 / p99",
        "without: rate, p50 / p99",
    );
    runtime().block_on(async {
        let daemon = Server::daemon(home, false);
        fill(&daemon, rows).await;
        daemon.stop();

        let daemon = with_next_version(home);
        let lonely = Lonely::new(home).rate(plan.turn());
        let alone = moved(&daemon, 0).await;
        daemon.stop();
        Row::shown(
            "keys, nothing else to do",
            format!("{}/s", count(alone)),
            format!("{}/s commits of one row", count(lonely)),
        )
        .ratio(alone / lonely, Target::None)
        .print();
        for (what, fresh) in [("decrypts past the cache", true), ("decrypts from the cache", false)] {
            daemon_under_load(plan, home, (what, fresh), rows, alone).await;
        }
    });
}

/// The same load before and meanwhile, unthrottled and throttled.
async fn daemon_under_load(plan: Plan, home: &Path, (what, fresh): (&str, bool), rows: usize, alone: f64) {
    for rate in [0, THROTTLE] {
        let daemon = with_next_version(home);
        let clients = clients(&daemon, 4).await;
        // One that is read again and again is in the cache.
        let among = if fresh { rows } else { 1 };
        let load = |turn| {
            let clients = clients.clone();
            drive(&daemon, IN_FLIGHT, turn, move |lane, nth| {
                let client = clients[lane % clients.len()].clone();
                async move { client.decrypt(&name((lane * 7_919 + nth) % among), fresh).await }
            })
        };
        let mut without = Vec::new();
        for _ in 0..plan.rounds() {
            without.push(load(plan.turn() / 2).await);
        }
        let mut moving = Box::pin(moved(&daemon, rate));
        let mut meanwhile = Vec::new();
        let keys = loop {
            tokio::select! {
                keys = &mut moving => break Some(keys),
                turn = load(plan.turn() / 4) => meanwhile.push(turn),
            }
            if rate > 0 && meanwhile.len() >= 2 * plan.rounds() {
                break None;
            }
        };
        if meanwhile.is_empty() {
            return Row::shown(what, "over before the first turn", "").print();
        }
        let (meanwhile, without) = (Sample::median(&meanwhile), Sample::median(&without));
        let how = if rate == 0 { what.to_owned() } else { format!("  at most {rate} keys a second") };
        Row::shown(how, meanwhile.shown(), without.shown()).ratio(meanwhile.rate / without.rate, Target::None).print();
        if let Some(keys) = keys {
            Row::shown(
                "  keys meanwhile",
                format!("{}/s", count(keys)),
                format!("{}/s, nothing else to do", count(alone)),
            )
            .ratio(keys / alone, Target::None)
            .print();
        }
    }
}

fn name(number: usize) -> String {
    format!("n{number}")
}

async fn clients(daemon: &Server, many: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for _ in 0..many {
        clients.push(daemon.client(Door::Tcp).await);
    }
    clients
}

async fn fill(daemon: &Server, rows: usize) {
    let clients = clients(daemon, 4).await;
    let mut lanes = JoinSet::new();
    for lane in 0..LANES {
        let client = clients[lane % clients.len()].clone();
        lanes.spawn(async move {
            for number in (lane..rows).step_by(LANES) {
                client.setup(&name(number)).await;
            }
        });
    }
    lanes.join_all().await;
}

/// Everything is one version behind.
fn with_next_version(home: &Path) -> Server {
    Local::rotate(&home.join("strongroom-data/keys"), "default", None).unwrap();
    Server::daemon(home, false)
}

/// Keys a second.
async fn moved(daemon: &Server, rate: u32) -> f64 {
    let request = daemon.client(Door::Tcp).await.request(RewrapRequest { rate, ..RewrapRequest::default() });
    let mut admin = AdminServiceClient::new(daemon.channel(Door::Tcp).await);
    let begin = Instant::now();
    let mut news = admin.rewrap(request).await.unwrap().into_inner();
    let mut last = None;
    while let Some(now) = news.message().await.unwrap() {
        last = Some(now);
    }
    let last = last.unwrap();
    assert!(last.done && last.failed == 0 && last.moved == last.total, "{last:?}");
    last.moved as f64 / begin.elapsed().as_secs_f64()
}
