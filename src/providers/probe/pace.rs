//! How often a provider is asked: a bucket of tokens for each org, and seats for all orgs together, of which one org takes
//! at most half. A provider that answers some org slowly, as an address of its own may, is there for the others still.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use serde::{Deserialize, Deserializer, de};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::providers::Provider;

/// What a provider is asked at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// For each org.
    #[serde(deserialize_with = "at_least_one")]
    pub per_minute: u32,
    /// For each org, after a rest.
    #[serde(deserialize_with = "at_least_one")]
    pub burst: u32,
    /// For all orgs together.
    #[serde(deserialize_with = "at_least_one")]
    pub at_once: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { per_minute: 60, burst: 10, at_once: 4 }
    }
}

/// The limits of every provider, kept while the daemon runs.
#[derive(Default)]
pub struct Pace {
    gates: Mutex<HashMap<String, Arc<Gate>>>,
}

/// Leave to ask a provider once. Keep it until the answer is there.
#[derive(Debug)]
#[must_use]
pub struct Turn {
    _share: OwnedSemaphorePermit,
    _seat: OwnedSemaphorePermit,
}

/// What to do when it is not one's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Be told when to come back.
    Now,
    /// Wait for it.
    Wait,
}

/// It is not your turn before this time has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryAfter(pub Duration);

impl Pace {
    pub fn new() -> Self {
        Self::default()
    }

    /// Who waits is always admitted in the end.
    pub async fn admit(&self, provider: &Provider, org: &str, patience: Patience) -> Result<Turn, RetryAfter> {
        let gate = self.gate(&provider.id, provider.limits);
        match patience {
            Patience::Now => gate.now(org),
            Patience::Wait => gate.wait(org).await,
        }
    }

    /// A registry that is read anew may bring other limits: they count from then on.
    fn gate(&self, id: &str, limits: Limits) -> Arc<Gate> {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = gates.get(id).filter(|gate| gate.limits == limits) {
            return Arc::clone(gate);
        }
        let gate = Arc::new(Gate::new(limits));
        gates.insert(id.to_owned(), Arc::clone(&gate));
        gate
    }
}

/// One provider's.
struct Gate {
    limits: Limits,
    buckets: DefaultKeyedRateLimiter<String>,
    seats: Arc<Semaphore>,
    /// Of those, one org's. Kept while it has any.
    shares: Mutex<HashMap<String, Arc<Semaphore>>>,
    share: usize,
    asked: AtomicU32,
}

/// How many admissions there are between two looks for buckets that are full again and need not be remembered.
const TIDY_EVERY: u32 = 1024;
/// A seat is free again after about that long.
const A_PROBE: Duration = Duration::from_secs(1);

impl Gate {
    fn new(limits: Limits) -> Self {
        let some = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_minute(some(limits.per_minute)).allow_burst(some(limits.burst));
        let seats = usize::try_from(limits.at_once).unwrap_or(1).clamp(1, Semaphore::MAX_PERMITS);
        Self {
            limits,
            buckets: RateLimiter::keyed(quota),
            seats: Arc::new(Semaphore::new(seats)),
            shares: Mutex::default(),
            share: seats.div_ceil(2),
            asked: AtomicU32::new(0),
        }
    }

    /// The seat first, so that who finds none has spent no token.
    fn now(&self, org: &str) -> Result<Turn, RetryAfter> {
        let share = self.share(org).try_acquire_owned().map_err(|_| RetryAfter(A_PROBE))?;
        let seat = Arc::clone(&self.seats).try_acquire_owned().map_err(|_| RetryAfter(A_PROBE))?;
        self.token(org)?;
        Ok(Turn { _share: share, _seat: seat })
    }

    /// The token first, so that one org's waiting keeps no other from its seat.
    async fn wait(&self, org: &str) -> Result<Turn, RetryAfter> {
        while let Err(RetryAfter(wait)) = self.token(org) {
            tokio::time::sleep(wait).await;
        }
        let share = self.share(org).acquire_owned().await.map_err(|_| RetryAfter(A_PROBE))?;
        let seat = Arc::clone(&self.seats).acquire_owned().await.map_err(|_| RetryAfter(A_PROBE))?;
        Ok(Turn { _share: share, _seat: seat })
    }

    fn share(&self, org: &str) -> Arc<Semaphore> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(shares.entry(org.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(self.share))))
    }

    fn token(&self, org: &str) -> Result<(), RetryAfter> {
        if self.asked.fetch_add(1, Ordering::Relaxed) % TIDY_EVERY == TIDY_EVERY - 1 {
            self.buckets.retain_recent();
            self.buckets.shrink_to_fit();
            // Whoever has or awaits a seat holds one too.
            let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
            shares.retain(|_, share| Arc::strong_count(share) > 1);
            shares.shrink_to_fit();
        }
        let early = self.buckets.check_key(&org.to_owned()).err();
        early.map_or(Ok(()), |early| Err(RetryAfter(early.wait_time_from(DefaultClock::default().now()))))
    }
}

fn at_least_one<'de, D: Deserializer<'de>>(number: D) -> Result<u32, D::Error> {
    let number = u32::deserialize(number)?;
    if number == 0 { Err(de::Error::custom("a limit is at least 1")) } else { Ok(number) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEADY: Limits = Limits { per_minute: 1200, burst: 3, at_once: 2 };

    #[test]
    fn a_burst_is_spent_by_its_own_org_alone() {
        let pace = Pace::new();
        let gate = pace.gate("a", STEADY);
        for _ in 0..3 {
            drop(gate.now("one").unwrap());
        }
        let RetryAfter(wait) = gate.now("one").unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_millis(50), "{wait:?}");
        drop(gate.now("two").unwrap());
        drop(pace.gate("b", STEADY).now("one").unwrap());
    }

    #[test]
    fn seats_are_shared_and_who_finds_none_spends_no_token() {
        let gate = Pace::new().gate("a", STEADY);
        let first = gate.now("one").unwrap();
        let _second = gate.now("two").unwrap();
        for _ in 0..10 {
            assert_eq!(gate.now("three").unwrap_err(), RetryAfter(A_PROBE));
        }
        drop(first);
        for _ in 0..3 {
            drop(gate.now("three").unwrap());
        }
        assert!(gate.now("three").unwrap_err().0 < A_PROBE);
    }

    #[tokio::test]
    async fn one_org_takes_no_more_than_half_of_the_seats() {
        let gate = Pace::new().gate("a", Limits { per_minute: 1200, burst: 9, at_once: 4 });
        let slow = [gate.now("one").unwrap(), gate.wait("one").await.unwrap()];
        assert_eq!(gate.now("one").unwrap_err(), RetryAfter(A_PROBE));
        assert!(tokio::time::timeout(Duration::from_millis(20), gate.wait("one")).await.is_err());
        let _others = [gate.now("two").unwrap(), gate.wait("three").await.unwrap()];
        assert_eq!(gate.now("four").unwrap_err(), RetryAfter(A_PROBE));
        drop(slow);
        drop(gate.now("one").unwrap());
    }

    #[test]
    fn a_gate_lives_as_long_as_its_limits() {
        let pace = Pace::new();
        assert!(Arc::ptr_eq(&pace.gate("a", STEADY), &pace.gate("a", STEADY)));
        let old = pace.gate("a", STEADY);
        assert!(!Arc::ptr_eq(&old, &pace.gate("a", Limits::default())));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_waits_is_held_to_rate_and_seats() {
        let gate = Pace::new().gate("a", STEADY);
        let begin = std::time::Instant::now();
        let (inside, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let mut all = tokio::task::JoinSet::new();
        for _ in 0..13 {
            let (gate, inside, most) = (Arc::clone(&gate), Arc::clone(&inside), Arc::clone(&most));
            all.spawn(async move {
                let turn = gate.wait("one").await.unwrap();
                most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(5)).await;
                inside.fetch_sub(1, Ordering::SeqCst);
                drop(turn);
            });
        }
        all.join_all().await;
        // Three at once, ten more at twenty a second.
        assert!(begin.elapsed() >= Duration::from_millis(490), "{:?}", begin.elapsed());
        assert!(most.load(Ordering::SeqCst) <= 2);
    }

    #[test]
    fn full_buckets_are_forgotten() {
        let gate = Gate::new(Limits { per_minute: 60_000_000, burst: 1, at_once: 1 });
        for number in 0..TIDY_EVERY * 4 {
            drop(gate.now(&format!("org-{number}")).unwrap());
        }
        assert!(gate.buckets.len() <= TIDY_EVERY as usize + 1, "{}", gate.buckets.len());
        assert!(gate.shares.lock().unwrap().len() <= TIDY_EVERY as usize + 1);
    }

    #[test]
    fn a_limit_of_nothing_is_refused() {
        assert_eq!(serde_json::from_str::<Limits>("{}").unwrap(), Limits::default());
        for bad in [r#"{"per_minute": 0}"#, r#"{"burst": 0}"#, r#"{"at_once": 0}"#, r#"{"per_hour": 1}"#] {
            assert!(serde_json::from_str::<Limits>(bad).is_err(), "{bad}");
        }
    }
}
