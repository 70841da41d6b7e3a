//! What needs PostgreSQL: `cargo test --test postgres`. It starts a server of its own; see `server.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test may fail, and may look for programs"
)]

#[path = "../store/mod.rs"]
#[macro_use]
mod store;

mod adapter;
mod clocks;
mod cluster;
mod connect;
#[path = "../it/daemon.rs"]
#[allow(dead_code, reason = "some of it only the other test target needs")]
mod daemon;
#[path = "../it/fake/mod.rs"]
#[allow(dead_code, unused_imports, reason = "some of it only the other test target needs")]
mod fake;
mod migrate;
mod outages;
mod pages;
mod preload;
mod replicas;
mod rules;
mod schema;
mod server;
mod shared;
