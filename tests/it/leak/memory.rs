//! The memory of the live process: no plaintext is left a second after it should be gone.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant};

use super::canary::Canary;

/// As much as AES opens at a time: a piece this long that stands where it stood in the secret is a find.
const PIECE: usize = 16;
const PAGE: usize = 4096;

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
        let mut pieces = Vec::new();
        let mut begins = [false; 256];
        for (whose, secret) in secrets {
            for piece in secret.parts.iter().flat_map(|part| part.chunks_exact(PIECE)) {
                begins[usize::from(piece[0])] = true;
                pieces.push((piece, whose));
            }
        }
        let mut found = Vec::new();
        for region in std::fs::read_to_string(format!("/proc/{}/maps", self.pid)).unwrap().lines() {
            let mut words = region.split_whitespace();
            let (range, mode) = (words.next().unwrap(), words.next().unwrap());
            if !mode.starts_with("rw") {
                continue;
            }
            let name = words.nth(3).unwrap_or("anonymous");
            let (start, end) = range.split_once('-').unwrap();
            let [start, end] = [start, end].map(|hex| u64::from_str_radix(hex, 16).unwrap());
            let mut page = vec![0; PAGE + PIECE];
            for address in (start..end).step_by(PAGE) {
                let length = page.len().min((end - address) as usize);
                // A mapping may be gone by now.
                if self.bytes.read_exact_at(&mut page[..length], address).is_err()
                    || page[..length] == [0; PAGE + PIECE][..length]
                {
                    continue;
                }
                for at in 0..PAGE.min(length - PIECE + 1) {
                    let here = &page[at..at + PIECE];
                    if begins[usize::from(here[0])]
                        && let Some((_, whose)) = pieces.iter().find(|(piece, _)| *piece == here)
                    {
                        found.push(format!("{whose}: {:#x} in {name} {range}", address + at as u64));
                    }
                }
            }
        }
        found
    }

    /// Nothing is left a second from now.
    #[track_caller]
    pub fn assert_wiped(&self, secrets: &[(String, Canary)]) {
        let begun = Instant::now();
        std::thread::sleep(SOON);
        loop {
            let found = self.find(secrets);
            if found.is_empty() {
                return;
            }
            assert!(begun.elapsed() < SOON + LATER, "{} pieces are left: {found:#?}", found.len());
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}
