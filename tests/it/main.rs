//! One binary for all integration tests: it links once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test may fail, and may be told how long to run"
)]

mod api;
mod bad_input;
mod cli;
mod cli_help;
mod cloud;
mod config;
mod crash;
mod crypto;
mod daemon;
mod disk;
mod fake;
mod grants;
mod house;
mod inside;
mod leak;
mod life;
mod listen;
mod live;
mod outbound;
mod providers;
mod readme;
mod stampede;
mod start;
mod store;
mod tested;
mod tokens;
mod vault;
