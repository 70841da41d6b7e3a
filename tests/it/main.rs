//! One binary for all integration tests: it links once.

mod api;
mod cli_help;
mod config;
mod crash;
mod crypto;
mod daemon;
mod disk;
mod house;
mod leak;
mod life;
mod listen;
mod providers;
mod readme;
mod start;
mod store;
