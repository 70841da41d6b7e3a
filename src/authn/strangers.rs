//! Networks from which failed authentications come. After too many in a minute, what would have to be looked up or verified
//! anew is refused at once, for a second first, then for twice as long each time that one more try fails. Whose proof is
//! known in memory still comes in from there: many share an address, and one of them must not lock the others out.
//!
//! Bounded: a flood of networks makes it forget the oldest, never grow.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Source;

const WINDOW: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(60);
/// For the one that may try when a wait is over, until it is known whether it failed.
const TRIAL: Duration = Duration::from_secs(1);

/// Networks are remembered for this long at least after their last failure, and less than twice as long, unless there are
/// more than [`MOST`] of them.
const GENERATION: Duration = Duration::from_secs(120);
const MOST: usize = 16_384;

pub struct Strangers {
    /// Failures within a minute; none counts as no limit.
    most: u32,
    memory: Mutex<Memory>,
    /// How many are remembered: mostly nobody, and then nobody is looked for.
    listed: AtomicUsize,
}

/// Two generations: those that came lately, and those before.
struct Memory {
    since: Instant,
    young: HashMap<Source, Entry>,
    old: HashMap<Source, Entry>,
}

#[derive(Clone, Copy)]
struct Entry {
    failures: u32,
    /// When the first of those was.
    since: Instant,
    /// How often it was sent away.
    waits: u32,
    until: Instant,
    /// One was let in since, and has not failed yet.
    on_trial: bool,
}

impl Strangers {
    pub fn new(most: u32) -> Self {
        let memory = Memory { since: Instant::now(), young: HashMap::new(), old: HashMap::new() };
        Self { most, memory: Mutex::new(memory), listed: AtomicUsize::new(0) }
    }

    /// Whether authentications failed from there lately.
    pub fn lists(&self, source: Source, now: Instant) -> bool {
        self.listed.load(Ordering::Relaxed) > 0 && self.memory(now).find(source).is_some()
    }

    /// Before work for a proof that is not known. Refused with the time to wait.
    pub fn admit(&self, source: Source, now: Instant) -> Result<(), Duration> {
        let mut memory = self.memory(now);
        let Some(entry) = memory.find(source).filter(|entry| entry.waits > 0) else { return Ok(()) };
        match entry.until.checked_duration_since(now).filter(|wait| !wait.is_zero()) {
            Some(wait) => Err(wait),
            None => {
                entry.until = now + TRIAL;
                entry.on_trial = true;
                Ok(())
            }
        }
    }

    pub fn failed(&self, source: Source, now: Instant) {
        if self.most == 0 {
            return;
        }
        let mut memory = self.memory(now);
        let entry = memory.find_or_add(source, now);
        if entry.waits == 0 && now.duration_since(entry.since) > WINDOW {
            *entry = Entry::new(now);
        }
        entry.failures = entry.failures.saturating_add(1);
        // Those that were let in together fail together: that is one time, not many.
        if entry.failures >= self.most && (entry.waits == 0 || entry.on_trial) {
            let wait = Duration::from_secs(1 << entry.waits.min(6)).min(LONGEST);
            entry.waits = entry.waits.saturating_add(1);
            entry.until = now + wait;
            entry.on_trial = false;
        }
        self.listed.store(memory.len(), Ordering::Relaxed);
    }

    /// Somebody from there has proven who they are, by a proof that was not known before.
    pub fn proved(&self, source: Source, now: Instant) {
        let mut memory = self.memory(now);
        memory.young.remove(&source);
        self.listed.store(memory.len(), Ordering::Relaxed);
    }

    fn memory(&self, now: Instant) -> MutexGuard<'_, Memory> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(memory.since) > GENERATION || memory.young.len() >= MOST {
            memory.old = std::mem::take(&mut memory.young);
            memory.since = now;
            self.listed.store(memory.len(), Ordering::Relaxed);
        }
        memory
    }
}

impl Memory {
    /// Whoever is looked for is young again.
    fn find(&mut self, source: Source) -> Option<&mut Entry> {
        if let Some(entry) = self.old.remove(&source) {
            self.young.insert(source, entry);
        }
        self.young.get_mut(&source)
    }

    fn find_or_add(&mut self, source: Source, now: Instant) -> &mut Entry {
        if let Some(entry) = self.old.remove(&source) {
            self.young.insert(source, entry);
        }
        self.young.entry(source).or_insert_with(|| Entry::new(now))
    }

    fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }
}

impl Entry {
    const fn new(now: Instant) -> Self {
        Self { failures: 0, since: now, waits: 0, until: now, on_trial: false }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    const fn source(number: u32) -> Source {
        Source::Network(IpAddr::V4(Ipv4Addr::from_bits(number)))
    }

    const ONE: Source = source(1);

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn after_too_many_in_a_minute_it_waits_twice_as_long_each_time() {
        let (strangers, mut now) = (Strangers::new(3), Instant::now());
        for _ in 0..2 {
            assert_eq!(strangers.admit(ONE, now), Ok(()));
            strangers.failed(ONE, now);
        }
        assert_eq!(strangers.admit(ONE, now), Ok(()));
        // Ten were let in at the same time.
        (0..10).for_each(|_| strangers.failed(ONE, now));
        for wait in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            assert_eq!(strangers.admit(ONE, now), Err(seconds(wait)), "{wait}");
            assert_eq!(strangers.admit(source(2), now), Ok(()));
            now += seconds(wait);
            assert_eq!(strangers.admit(ONE, now), Ok(()));
            assert_eq!(strangers.admit(ONE, now), Err(TRIAL), "one tries at a time");
            strangers.failed(ONE, now);
        }
    }

    #[test]
    fn few_failures_are_forgotten_and_a_proof_ends_the_wait() {
        let (strangers, mut now) = (Strangers::new(3), Instant::now());
        for _ in 0..20 {
            strangers.failed(ONE, now);
            now += seconds(31);
            assert_eq!(strangers.admit(ONE, now), Ok(()));
        }
        (0..3).for_each(|_| strangers.failed(ONE, now));
        assert!(strangers.admit(ONE, now).is_err());
        strangers.proved(ONE, now);
        assert!(!strangers.lists(ONE, now));
        assert_eq!(strangers.admit(ONE, now), Ok(()));
    }

    #[test]
    fn quiet_networks_are_forgotten_and_many_do_not_add_up() {
        let (strangers, mut now) = (Strangers::new(1), Instant::now());
        (0..100_000).for_each(|number| strangers.failed(source(number), now));
        assert!(strangers.memory(now).len() <= 2 * MOST);
        assert!(strangers.lists(source(99_999), now));
        for _ in 0..2 {
            now += GENERATION * 2;
            assert!(!strangers.lists(ONE, now));
        }
        assert_eq!(strangers.listed.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn none_counts_as_no_limit() {
        let (strangers, now) = (Strangers::new(0), Instant::now());
        (0..1_000).for_each(|_| strangers.failed(ONE, now));
        assert!(!strangers.lists(ONE, now));
        assert_eq!(strangers.admit(ONE, now), Ok(()));
    }
}
