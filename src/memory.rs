//! Memory that gives nothing away: wiped when freed, out of core dumps, out of other processes' reach, out of swap.
//!
//! What this does not cover, said plainly: stack frames and registers are not wiped; memory that C libraries take from
//! malloc themselves is not ours (SQLite's holds ciphertext only, aws-lc wipes its own); root can read any process.

use std::fmt;

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::{CapabilitySet, capabilities};

use crate::config::Lock;

pub use allocator::WipingAllocator;

/// What could be had. Logged by [`Report::log`], because hardening comes before the log is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub locked: Locked,
}

impl Report {
    pub fn log(&self) {
        match &self.locked {
            Locked::Yes => tracing::info!("memory is locked, wiped when freed, and in no core dump"),
            Locked::Off => tracing::info!("memory is wiped when freed, and in no core dump; memory.lock is off"),
            Locked::No(why) => tracing::warn!(%why, "memory could not be locked and may reach swap"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Locked {
    Yes,
    /// Switched off in the configuration.
    Off,
    /// Not to be had here, and not required.
    No(Refusal),
}

/// Why memory could not be locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A limit of that many bytes, and no right to pass it.
    Limited(u64),
    System(rustix::io::Errno),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limited(bytes) => write!(
                f,
                "only {bytes} bytes may be locked: raise the limit to unlimited (ulimit -l, LimitMEMLOCK=infinity) or \
                 grant CAP_IPC_LOCK"
            ),
            Self::System(errno) => write!(f, "{errno}"),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("core dumps could not be switched off: {0}")]
    CoreDumps(rustix::io::Errno),
    #[error("the process could not be made undumpable: {0}")]
    Dumpable(rustix::io::Errno),
    #[error("memory.lock is \"require\", and memory cannot be locked: {0}")]
    Lock(Refusal),
}

/// Hardens the process. Called once, before the first secret is read and before threads start.
///
/// Not dumpable also means that no process but root's may read `/proc/PID/mem` or attach a debugger.
pub fn harden(lock: Lock) -> Result<Report, Error> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).map_err(Error::CoreDumps)?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(Error::Dumpable)?;
    let locked = match lock {
        Lock::Off => Locked::Off,
        Lock::Try => lock_all().map_or_else(Locked::No, |()| Locked::Yes),
        Lock::Require => lock_all().map(|()| Locked::Yes).map_err(Error::Lock)?,
    };
    Ok(Report { locked })
}

/// Locks pages as they are touched, so that what is reserved and never used costs nothing.
///
/// Only where no limit holds: under a small limit MCL_FUTURE succeeds now, and later makes mmap fail, which is an
/// allocation failure, which is an abort under load.
fn lock_all() -> Result<(), Refusal> {
    let limit = getrlimit(Resource::Memlock);
    if limit.current.is_some() && limit.maximum.is_none() {
        setrlimit(Resource::Memlock, limit).map_err(Refusal::System)?;
    }
    if let Some(bytes) = limit.maximum
        && !may_pass_the_limit()
    {
        return Err(Refusal::Limited(bytes));
    }
    mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT).map_err(Refusal::System)
}

fn may_pass_the_limit() -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK))
}

/// The one place with `unsafe`: an allocator cannot be written without it.
#[allow(unsafe_code)]
mod allocator {
    use std::alloc::{GlobalAlloc, Layout, System};

    /// The system's allocator, which writes zeros over every block before it gives it back.
    ///
    /// Buffers of HTTP, TLS, JSON and protobuf hold secrets that no type of ours can wipe; all of them are freed
    /// through here. `main.rs` declares it as the global allocator.
    pub struct WipingAllocator;

    // SAFETY: every block comes from `System` and goes back to it with the layout that it was made with; between the
    // two only bytes inside the block are written. Nothing here panics or allocates.
    unsafe impl GlobalAlloc for WipingAllocator {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            // SAFETY: the caller keeps `GlobalAlloc::alloc`'s contract, which is `System`'s too.
            unsafe { System.alloc(layout) }
        }

        unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
            // SAFETY: as above. Passed through, because the system knows which fresh pages are zero already.
            unsafe { System.alloc_zeroed(layout) }
        }

        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            // SAFETY: the caller gives up `block`, which is alive and `layout.size()` long until `System` takes it.
            unsafe {
                wipe(block, layout.size());
                System.dealloc(block, layout);
            }
        }

        // `realloc` stays the trait's own: allocate, copy, then `dealloc` above, which wipes. `System.realloc` may move
        // a block, when it grows and when it shrinks, and frees the old bytes as they are. The price is that nothing
        // grows in place; the bench shows it.
    }

    /// Writes zeros that the compiler must not leave out.
    ///
    /// It may drop a plain write to memory that is freed next. The empty assembly takes the pointer and, as far as the
    /// compiler knows, reads what is behind it. Unlike volatile writes, byte by byte, it keeps memset's speed.
    ///
    /// # Safety
    /// `block` must be valid for writes of `len` bytes.
    #[inline]
    unsafe fn wipe(block: *mut u8, len: usize) {
        // SAFETY: the caller's promise; the assembly is empty.
        unsafe {
            block.write_bytes(0, len);
            std::arch::asm!("/* {0} */", in(reg) block, options(nostack, preserves_flags));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::FileExt as _;
    use std::process::Command;

    use rustix::process::dumpable_behavior;
    use rustix::thread::set_capabilities;

    use super::*;

    /// The lib's own tests run on it too.
    #[global_allocator]
    static ALLOCATOR: WipingAllocator = WipingAllocator;

    /// A pattern that stands nowhere else, the test's own code included.
    fn canary(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i as u8).wrapping_mul(31) ^ 0xa5 ^ (i >> 8) as u8).collect()
    }

    /// Reads our memory as another process would: no reference to freed memory is made.
    fn peek(address: usize, len: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; len];
        let memory = File::open("/proc/self/mem").expect("linux");
        memory.read_exact_at(&mut bytes, address as u64).ok().map(|()| bytes)
    }

    /// Whether eight bytes of it in a row are still there. The allocator's own bookkeeping may stand in the rest, and
    /// a block that went back to the system cannot be read at all.
    fn remains(address: usize, secret: &[u8]) -> bool {
        peek(address, secret.len())
            .is_some_and(|found| found.chunks_exact(8).zip(secret.chunks_exact(8)).any(|(a, b)| a == b))
    }

    #[test]
    fn freed_memory_is_wiped() {
        for len in [8, 64, 1_000, 16_384, 1 << 20] {
            let secret = canary(len);
            let copy = secret.clone();
            let address = copy.as_ptr() as usize;
            assert!(remains(address, &secret), "the look itself works");
            drop(copy);
            assert!(!remains(address, &secret), "{len} bytes were left");
        }
    }

    #[test]
    fn what_a_vector_leaves_behind_when_it_moves_is_wiped() {
        for len in [64, 1_000, 16_384] {
            let secret = canary(len);
            let mut growing = secret.clone();
            let before = growing.as_ptr() as usize;
            growing.reserve_exact(len * 4);
            assert_ne!(growing.as_ptr() as usize, before, "it never grows in place");
            assert!(!remains(before, &secret), "{len} bytes were left by growth");

            let before = growing.as_ptr() as usize;
            growing.truncate(len / 2);
            growing.shrink_to_fit();
            assert!(!remains(before, &secret), "{len} bytes were left by shrinking");
            assert_eq!(growing, secret[..len / 2]);
        }
    }

    #[test]
    fn zeroed_and_aligned_blocks_are_right() {
        #[repr(align(4096))]
        struct Page([u8; 4096]);
        let page = Box::new(Page([7; 4096]));
        assert!((std::ptr::from_ref(&*page) as usize).is_multiple_of(4096) && page.0.iter().all(|byte| *byte == 7));
        assert!(vec![0_u8; 1 << 20].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn a_hardened_process_leaves_no_core_and_locks_what_it_may() {
        alone("a_hardened_process_leaves_no_core_and_locks_what_it_may", || {
            let report = harden(Lock::Try).expect("hardens");
            assert_eq!(getrlimit(Resource::Core).current, Some(0));
            assert_eq!(dumpable_behavior(), Ok(DumpableBehavior::NotDumpable));

            let status = std::fs::read_to_string("/proc/self/status").expect("linux");
            let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:")).expect("has it").trim();
            assert_eq!(report.locked == Locked::Yes, locked != "0 kB", "{report:?}, {locked}");
            assert_eq!(harden(Lock::Off).expect("hardens").locked, Locked::Off);
        });
    }

    #[test]
    fn what_is_required_and_cannot_be_had_is_refused() {
        alone("what_is_required_and_cannot_be_had_is_refused", || {
            let limit = Rlimit { current: Some(1 << 20), maximum: Some(1 << 20) };
            setrlimit(Resource::Memlock, limit).expect("lowers");
            let mut sets = capabilities(None).expect("linux");
            sets.effective.remove(CapabilitySet::IPC_LOCK);
            set_capabilities(None, sets).expect("gives up");

            assert!(matches!(harden(Lock::Require), Err(Error::Lock(Refusal::Limited(1_048_576)))));
            assert_eq!(harden(Lock::Try).expect("hardens").locked, Locked::No(Refusal::Limited(1 << 20)));
        });
    }

    /// Runs a test's body in a process of its own: hardening cannot be undone, and others want to read their memory.
    fn alone(test: &str, body: impl FnOnce()) {
        // Skips nothing; tells the child that it is one.
        const CHILD: &str = "--skip=in-the-child-alone";
        if std::env::args().any(|argument| argument == CHILD) {
            return body();
        }
        let program = std::env::current_exe().expect("a program");
        let name = format!("memory::tests::{test}");
        let ran = Command::new(program).args(["--exact", &name, CHILD]).output().expect("runs");
        let said = String::from_utf8_lossy(&ran.stdout).into_owned();
        assert!(ran.status.success() && said.contains("1 passed"), "{said}");
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let refusal = Error::Lock(Refusal::Limited(8_388_608)).to_string();
        assert!(refusal.contains("8388608") && refusal.contains("CAP_IPC_LOCK"), "{refusal}");
    }
}
