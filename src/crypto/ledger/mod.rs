//! What makes the audit log provable, for whoever has its records: the daemon, and a verifier far away from it. Pure: no
//! clock, no I/O.
//!
//! - [`chain`]: each record's hash covers the one before it.
//! - [`merkle`]: a tree over the records, whose root stands for all of them, and in which one can be proven alone.
//! - [`note`]: checkpoints: the tree's size and root, the chain's head, signed by the audit key.
//! - [`export`]: the file that a part of the log leaves in, and what proves it without the daemon.
//! - [`walk`]: goes through records and names the first that cannot be what was written.

pub mod chain;
pub mod export;
pub mod merkle;
pub mod note;
pub mod walk;

/// SHA-256.
pub type Hash = [u8; 32];
