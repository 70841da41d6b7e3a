//! Reading an upload: cleaning, rules and local checks, for a credential of each provider, beside the hash of what is
//! stored of it.

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use strongroom::crypto::fingerprint;
use strongroom::providers::Registry;
use strongroom::providers::probe::Metadata;

use crate::table::{Row, Target, median, section, time};
use crate::{Plan, sample};

pub fn run(plan: Plan, _: &Path) {
    section("parse and local checks", "one upload", "SHA-256 of what is stored");
    let registry = Registry::embedded().unwrap();
    for provider in registry.all().filter(|provider| provider.is_tested(&Metadata::new())) {
        let upload = sample::upload(&provider.id);
        let stored = provider.parse(&upload).unwrap().secret;
        let (mut parses, mut hashes) = (Vec::new(), Vec::new());
        for _ in 0..plan.rounds() {
            parses.push(each_within(plan.turn() / 20, || drop(black_box(provider.parse(&upload)))));
            hashes.push(each_within(plan.turn() / 80, || drop(black_box(fingerprint::plain(&stored)))));
        }
        let (parse, hash) = (median(parses), median(hashes));
        let size = format!("{} of {} bytes", time(hash), stored.len());
        Row::shown(&provider.id, time(parse), size)
            .ratio(parse.as_secs_f64() / hash.as_secs_f64(), Target::None)
            .print();
    }
}

/// The time that one takes, of as many as there is time for.
fn each_within(turn: Duration, mut act: impl FnMut()) -> Duration {
    // What is made when it is first needed is made here.
    act();
    let begin = Instant::now();
    let mut times = 0;
    while begin.elapsed() < turn {
        (0..16).for_each(|_| act());
        times += 16;
    }
    begin.elapsed() / times
}
