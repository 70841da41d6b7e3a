//! Memory: the idle daemon, what a cached plaintext costs, and what wiping costs.

use std::hint::black_box;
use std::path::Path;

use tokio::task::JoinSet;

use crate::inside::each;
use crate::load::{Sample, drive};
use crate::server::{Door, SECRET_BYTES, Server, runtime};
use crate::table::{Row, Target, median, section, time};
use crate::{Plan, allocator};

const MIB: f64 = 1_048_576.0;

pub fn run(plan: Plan, home: &Path) {
    section("memory", "here", "beside");
    let (wiping, plain) = (home.join("wiping"), home.join("plain"));
    for home in [&wiping, &plain] {
        std::fs::create_dir(home).unwrap();
    }
    runtime().block_on(async {
        let daemon = Server::daemon(home, false);
        std::thread::sleep(std::time::Duration::from_secs(1));
        let idle = daemon.resident();
        Row::shown("idle, resident", format!("{:.1} MiB", idle / MIB), "an empty vault, no caller yet")
            .value(idle / 1e6, " MB", Target::AtMost(30.0))
            .print();
        cached(plan, &daemon).await;

        let (wiping, plain) = (Server::bare(&wiping, false, true), Server::bare(&plain, false, false));
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for _ in 0..plan.rounds() {
            for (server, turns) in [(&wiping, &mut with), (&plain, &mut without)] {
                let client = server.client(Door::Tcp).await;
                let call = move |_, _| {
                    let client = client.clone();
                    async move { client.decrypt("default", false).await }
                };
                turns.push(drive(server, 64, plan.turn() / 2, call).await);
            }
        }
        let (with, without) = (Sample::median(&with), Sample::median(&without));
        Row::shown("wiping: bare rpc, 64 in flight", with.shown(), format!("system's: {}", without.shown()))
            .ratio(with.rate / without.rate, Target::None)
            .print();
        let cpu = |sample: &Sample| format!("{} of the server's cpu", time(sample.cpu));
        Row::shown("  each call", cpu(&with), cpu(&without)).print();
    });
    for (what, act) in [
        ("64 bytes", block::<64> as fn()),
        ("2.3 KiB", block::<SECRET_BYTES>),
        ("64 KiB", block::<65_536>),
        ("a vector that grows to 64 KiB", grow),
    ] {
        let (mut wiping, mut plain) = (Vec::new(), Vec::new());
        for _ in 0..plan.rounds() {
            for (wipes, times) in [(true, &mut wiping), (false, &mut plain)] {
                allocator::wipe(wipes);
                times.push(each(plan.pick(5_000, 20_000), |_| act()));
            }
        }
        allocator::wipe(false);
        let (wiping, plain) = (median(wiping), median(plain));
        Row::shown(format!("wiping: {what}"), time(wiping), format!("system's: {}", time(plain)))
            .value((wiping - plain.min(wiping)).as_nanos() as f64, " ns more", Target::None)
            .print();
    }
}

/// Many credentials of one org, none of them cached; then all of them.
async fn cached(plan: Plan, daemon: &Server) {
    let many: usize = plan.pick(1_000, 5_000);
    let client = daemon.client(Door::Tcp).await;
    for is_setup in [true, false] {
        let before = daemon.resident();
        let mut lanes = JoinSet::new();
        for lane in 0..50 {
            let client = client.clone();
            lanes.spawn(async move {
                for nth in (lane..many).step_by(50) {
                    match is_setup {
                        true => client.setup(&format!("cached-{nth}")).await,
                        false => client.decrypt(&format!("cached-{nth}"), false).await,
                    }
                }
            });
        }
        lanes.join_all().await;
        if !is_setup {
            let each = (daemon.resident() - before) / many as f64;
            Row::shown("a cached credential", format!("{each:.0} bytes"), format!("its secret: {SECRET_BYTES} bytes"))
                .ratio(each / SECRET_BYTES as f64, Target::None)
                .print();
        }
        // Buffers of the connections go when these end.
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
}

fn block<const N: usize>() {
    drop(black_box(Vec::<u8>::with_capacity(black_box(N))));
}

fn grow() {
    let mut bytes = Vec::new();
    for chunk in 0..1_024 {
        bytes.extend_from_slice(&[chunk as u8; 64]);
        black_box(&bytes);
    }
}
