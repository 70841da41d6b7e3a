//! Key files through those cases of the suite that need no network.

use std::sync::{Arc, Mutex};

use strongroom::kms::{Kms, Local};

use super::suite;
use crate::fake::kms::{Service, State, Trouble};

/// A directory with two key files, which its readers follow as the daemon does on SIGHUP.
struct Files {
    directory: tempfile::TempDir,
    readers: Mutex<Vec<Arc<Local>>>,
}

impl Files {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["k", "k2"] {
            Local::create(directory.path(), name, None).unwrap();
        }
        Self { directory, readers: Mutex::default() }
    }

    fn open(&self, name: &str) -> Arc<Local> {
        Arc::new(Local::open(self.directory.path(), name, None).unwrap())
    }
}

impl Service for Files {
    fn key(&self) -> Arc<dyn Kms> {
        let key = self.open("k");
        self.readers.lock().unwrap().push(Arc::clone(&key));
        key
    }

    fn other_key(&self) -> Arc<dyn Kms> {
        self.open("k2")
    }

    fn rotate(&self) {
        let newer = Local::rotate(self.directory.path(), "k", None).unwrap();
        for reader in self.readers.lock().unwrap().iter() {
            reader.is_followed_by(&newer).unwrap();
            reader.follow(&newer);
        }
    }

    fn set(&self, version: &str, _: State) {
        unreachable!("version {version} has no state");
    }

    fn trouble(&self, trouble: Trouble) {
        unreachable!("a file has no {trouble:?}");
    }

    fn calls(&self) -> usize {
        0
    }
}

suite::cases! { Files::new() => round_trip, another_context, another_key, damage, versions, crowd, }
