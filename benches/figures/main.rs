//! The figures that the design promises, each beside what it is measured against, in one run on one machine.
//!
//! ```text
//!   cargo bench                      everything; a million rows twice over, so it takes a while
//!   cargo bench -- --quick           shorter and smaller
//!   cargo bench -- warm setup        only these sections
//! ```
//!
//! Servers are child processes: the daemon's own release binary, and for comparison this program again as a [`bare`]
//! tonic server. Both sides of a comparison take turns, and medians of the turns are shown. Nothing fails here: other
//! work on the machine moves the absolute figures, less so the ratios.

#![allow(clippy::unwrap_used, reason = "a figure that cannot be taken ends the run")]

mod allocator;
mod apart;
mod bare;
mod callers;
mod cold;
mod inside;
mod load;
mod parse;
mod policies;
#[path = "../../tests/postgres/server.rs"]
#[allow(dead_code, clippy::expect_used, clippy::disallowed_methods, reason = "the tests need more of it")]
mod postgres;
mod replicas;
mod resident;
mod revalidate;
mod rewrap;
mod rows;
#[path = "../../tests/it/live/sample.rs"]
#[allow(dead_code, reason = "the tests need more of it")]
mod sample;
mod seal;
mod server;
mod setup;
#[path = "../../tests/it/fake/signer.rs"]
mod signer;
mod table;
mod warm;

use std::path::Path;
use std::time::Duration;

/// How much of it.
#[derive(Clone, Copy)]
pub struct Plan {
    pub quick: bool,
}

impl Plan {
    /// One turn of one side.
    pub const fn turn(self) -> Duration {
        Duration::from_millis(if self.quick { 600 } else { 2_000 })
    }

    pub const fn rounds(self) -> usize {
        if self.quick { 3 } else { 5 }
    }

    pub const fn pick<T: Copy>(self, quick: T, full: T) -> T {
        if self.quick { quick } else { full }
    }
}

type Section = (&'static str, fn(Plan, &Path));

const SECTIONS: [Section; 13] = [
    ("warm", warm::run),
    ("policies", policies::run),
    ("apart", apart::run),
    ("callers", callers::run),
    ("cold", cold::run),
    ("setup", setup::run),
    ("rows", rows::run),
    ("postgres", replicas::run),
    ("memory", resident::run),
    ("seal", seal::run),
    ("parse", parse::run),
    ("revalidate", revalidate::run),
    ("rewrap", rewrap::run),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == bare::ARGUMENT) {
        return bare::serve(&arguments[1..]);
    }
    let plan = Plan { quick: arguments.iter().any(|argument| argument == "--quick") };
    let wanted: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    // Beside the build, where the disk is: a directory in memory would make every commit look free.
    let home = tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    table::head(plan);
    for (name, run) in SECTIONS {
        if wanted.is_empty() || wanted.iter().any(|wanted| *wanted == name) {
            let home = home.path().join(name);
            std::fs::create_dir(&home).unwrap();
            run(plan, &home);
        }
    }
}
