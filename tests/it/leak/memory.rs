//! The memory of the live process: no plaintext is left a second after it should be gone.

use std::collections::HashMap;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use super::canary::Canary;

/// As much as AES opens at a time: a piece this long that stands where it stood in the secret is a find.
const PIECE: usize = 16;
const PAGE: usize = 4096;
const BLOCK: usize = 1 << 20;

/// The promise.
const SOON: Duration = Duration::from_secs(1);
/// What a loaded machine may add to it before the test takes it for a leak.
const LATER: Duration = Duration::from_secs(4);

/// Another process's memory, which only root may read.
pub struct Memory {
    pid: u32,
    bytes: File,
}

impl Memory {
    /// None where the system refuses: to everybody but root, because the daemon is not dumpable.
    pub fn of(pid: u32) -> Option<Self> {
        match File::open(format!("/proc/{pid}/mem")) {
            Ok(bytes) => Some(Self { pid, bytes }),
            Err(refused) => {
                assert_eq!(refused.kind(), ErrorKind::PermissionDenied, "{refused}");
                None
            }
        }
    }

    /// Where pieces of the secrets stand, one entry a piece; each secret with a word for people.
    pub fn find(&self, secrets: &[(String, Canary)]) -> Vec<String> {
        search(&self.copy(), secrets)
    }

    /// What is in memory now, and not while it is searched, which takes longer than anything here may last.
    fn copy(&self) -> Vec<Run> {
        let mut runs = Vec::new();
        for region in std::fs::read_to_string(format!("/proc/{}/maps", self.pid)).unwrap().lines() {
            let mut words = region.split_whitespace();
            let (range, mode) = (words.next().unwrap(), words.next().unwrap());
            if !mode.starts_with("rw") {
                continue;
            }
            let name = words.nth(3).unwrap_or("anonymous");
            let (start, end) = range.split_once('-').unwrap();
            let [start, end] = [start, end].map(|hex| u64::from_str_radix(hex, 16).unwrap());
            let mut run = Run { start, name: format!("{name} {range}"), bytes: Vec::new() };
            for block in (start..end).step_by(BLOCK) {
                let mut bytes = vec![0; BLOCK.min((end - block) as usize)];
                // A mapping may be gone by now.
                if self.bytes.read_exact_at(&mut bytes, block).is_err() {
                    continue;
                }
                for (at, page) in (block..).step_by(PAGE).zip(bytes.chunks(PAGE)) {
                    // Most pages were never touched.
                    if *page == [0; PAGE][..page.len()] {
                        continue;
                    }
                    if at != run.start + run.bytes.len() as u64 {
                        let next = Run { start: at, name: run.name.clone(), bytes: Vec::new() };
                        runs.push(std::mem::replace(&mut run, next));
                    }
                    run.bytes.extend_from_slice(page);
                }
            }
            runs.push(run);
        }
        runs
    }

    /// Nothing is left a second from now.
    #[track_caller]
    pub fn assert_wiped(&self, secrets: &[(String, Canary)]) {
        let begun = Instant::now();
        std::thread::sleep(SOON);
        loop {
            let copied = self.copy();
            let taken = begun.elapsed();
            let found = search(&copied, secrets);
            if found.is_empty() {
                return;
            }
            assert!(taken < SOON + LATER, "{} pieces are left after {taken:?}: {found:#?}", found.len());
        }
    }
}

/// Pages in a row that are not empty.
struct Run {
    start: u64,
    name: String,
    bytes: Vec<u8>,
}

fn search(runs: &[Run], secrets: &[(String, Canary)]) -> Vec<String> {
    let mut pieces = HashMap::new();
    let mut begins = vec![false; 1 << 16];
    for (whose, secret) in secrets {
        for piece in secret.parts.iter().flat_map(|part| part.chunks_exact(PIECE)) {
            begins[begin(piece[0], piece[1])] = true;
            pieces.insert(piece, whose);
        }
    }
    let mut found = Vec::new();
    for Run { start, name, bytes } in runs {
        let mut last = 0;
        for (next, &byte) in bytes.iter().enumerate() {
            let at = next.wrapping_sub(1);
            if begins[begin(last, byte)]
                && let Some(whose) = bytes.get(at..at.wrapping_add(PIECE)).and_then(|here| pieces.get(here))
            {
                found.push(format!("{whose}: {:#x} in {name}", start + at as u64));
            }
            last = byte;
        }
    }
    found
}

fn begin(first: u8, second: u8) -> usize {
    usize::from(first) << 8 | usize::from(second)
}
