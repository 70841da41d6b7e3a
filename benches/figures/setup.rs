//! Setups that share commits, beside a program that pays for each row with one fsync.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use strongroom::crypto::Secret;

use crate::load::{Sample, drive};
use crate::server::{Door, SECRET_BYTES, Server, runtime};
use crate::table::{Row, Target, count, median, section, time};
use crate::{Plan, sample};

const IN_FLIGHT: usize = 64;
/// Of a setup's rows besides the blob: names, states, key, index entries, audit record.
const ROWS_BYTES: usize = 1_500;

/// What comes in, how many at a time, and what is asked of it beside a program whose disk is as quick.
const CASES: [(&str, usize, Target); 3] = [
    ("a token", 1, Target::None),
    ("a token", IN_FLIGHT, Target::AtLeast(4.0)),
    // Most of it is the check of the RSA key, which no disk makes slower.
    ("a service account", IN_FLIGHT, Target::None),
];

pub fn run(plan: Plan, home: &Path) {
    section("setup without a test, 2.3 KiB", "setups: rate, p50 / p99", "one row, one commit, one fsync");
    let file = sample::google_file().to_string();
    runtime().block_on(async {
        let daemon = Server::daemon(home, false);
        let lonely = Lonely::new(home);
        let mut rates = Vec::new();
        let mut turns = CASES.map(|_| Vec::new());
        for round in 0..plan.rounds() {
            rates.push(lonely.rate(plan.turn() / 2));
            for ((what, in_flight, _), turns) in CASES.iter().zip(&mut turns) {
                let client = daemon.client(Door::Tcp).await;
                let file = (*what != "a token").then(|| file.clone());
                let call = move |lane: usize, nth: usize| {
                    let (client, file) = (client.clone(), file.clone());
                    let name = format!("r{round}-{in_flight}-{lane}-{nth}");
                    async move {
                        match file {
                            Some(file) => client.setup_key(&name, Secret::from(file)).await,
                            None => client.setup(&name).await,
                        }
                    }
                };
                turns.push(drive(&daemon, *in_flight, plan.turn(), call).await);
            }
        }
        let rate = median(rates);
        for ((what, in_flight, target), turns) in CASES.iter().zip(&turns) {
            let sample = Sample::median(turns);
            Row::shown(format!("{what}, {in_flight} in flight"), sample.shown(), format!("{}/s", count(rate)))
                .ratio(sample.rate / rate, *target)
                .print();
            Row::shown("  each call", format!("{} of the server's cpu", time(sample.cpu)), "").print();
        }
    });
}

/// A table without indexes, a loop without a socket: nothing but the commits.
pub struct Lonely(Connection);

impl Lonely {
    pub fn new(home: &Path) -> Self {
        let connection = Connection::open(home.join("lonely.db")).unwrap();
        connection
            .execute_batch(
                "PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
                 CREATE TABLE rows (id INTEGER PRIMARY KEY, row BLOB NOT NULL);",
            )
            .unwrap();
        Self(connection)
    }

    pub fn rate(&self, turn: Duration) -> f64 {
        let row = vec![7_u8; SECRET_BYTES + ROWS_BYTES];
        let begin = Instant::now();
        let mut rows = 0.0;
        while begin.elapsed() < turn {
            self.0.prepare_cached("INSERT INTO rows (row) VALUES (?1)").unwrap().execute([&row]).unwrap();
            rows += 1.0;
        }
        rows / begin.elapsed().as_secs_f64()
    }
}
