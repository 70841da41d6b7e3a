//! One binary for all integration tests: it links once.

mod cli_help;
mod config;
mod crash;
mod crypto;
mod daemon;
mod disk;
mod house;
mod life;
mod listen;
mod providers;
mod store;
