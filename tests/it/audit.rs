//! An audit log that proves itself: what was done to it behind the daemon's back is named, and its copies lose nothing.

mod checkpoints;
mod exported;
mod queries;
pub mod retention;
mod sinks;
mod tamper;

use std::path::Path;

use crate::daemon::{Daemon, decrypt, openai_key, setup};

/// So often that a test sees several.
pub const OFTEN: &str = "[audit]\ncheckpoint_every = \"100ms\"\n";

/// Some records, with checkpoints among them.
pub async fn live(daemon: &Daemon, token: &str, from: u32) {
    let mut client = daemon.credentials(token).await;
    for number in from..from + 4 {
        let name = format!("c{number}");
        client.setup_credential(setup("acme", &name, &openai_key(&name))).await.unwrap();
        client.decrypt_credential(decrypt("acme", &name)).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(120)).await;
    }
}

/// A copy of a stopped daemon's home.
pub fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    copy_into(from, to.path());
    to
}

pub fn copy_into(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let there = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&there).unwrap();
            copy_into(&entry.path(), &there);
        } else if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), &there).unwrap();
        }
    }
}
