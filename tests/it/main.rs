//! One binary for all integration tests: it links once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test may fail, and may be told how long to run"
)]

#[path = "../store/mod.rs"]
#[macro_use]
mod store;

mod api;
mod audit;
mod backup;
mod bad_input;
mod cli;
mod cli_help;
mod cloud;
mod config;
mod crash;
mod crypto;
mod daemon;
mod deploy;
mod disk;
mod fake;
mod first_run;
mod grants;
mod house;
mod inside;
mod jwt;
mod kms;
mod leak;
mod life;
mod limits;
mod listen;
mod live;
mod migrate;
mod mtls;
mod outbound;
mod policy;
mod providers;
mod readme;
mod recovery;
mod reseal;
mod rewrap;
mod rpcs;
mod shred;
mod sqlite;
mod stampede;
mod start;
mod stepup;
mod tenants;
mod tested;
mod tokens;
mod unix;
mod vault;
