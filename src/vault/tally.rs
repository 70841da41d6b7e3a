//! Refusals that come in floods: the first are recorded one by one, the others together, so that nobody fills the disk by
//! being refused. Nothing that went well ever comes here.
//!
//! What is counted and not yet recorded is in memory alone. A clean stop records it; a crash loses the counts of the last
//! [`EVERY`]. Each of them was a refusal that took no effect.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::store::Draft;
use crate::vault::{Action, Error, Proof, network};

/// How often what was counted is recorded.
pub const EVERY: Duration = Duration::from_secs(10);

/// Failed authentications of one network that are recorded one by one before the others are counted.
const STRANGERS_ALONE: u32 = 20;
/// The same for refusals for being too many: the first says it all.
const LIMITED_ALONE: u32 = 1;

/// Strangers' refusals that are recorded one by one, however many networks they come from: so many at first, then one a
/// second. With the sums that is at most about 200 MB a day under an attack that does not end.
const BUDGET: NonZeroU32 = NonZeroU32::MIN.saturating_add(199);

/// Networks with a sum of their own in one interval, those that came most often; the others have one together.
const NETWORKS: usize = 16;
/// The same for proven callers.
const CALLERS: usize = 64;

/// Counted apart at the same time. More are counted together.
const MOST: usize = 4_096;

/// Whose refusals in sum have no caller or address of their own.
const VARIOUS: &str = "various";

pub struct Tally {
    sums: Mutex<HashMap<Key, Sum>>,
    budget: DefaultDirectRateLimiter,
}

/// What is alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    stranger: bool,
    /// A caller's id, a stranger's network; nothing for those that are counted together.
    who: String,
    action: Action,
    outcome: &'static str,
}

#[derive(Default)]
struct Sum {
    /// Recorded one by one since the last quiet interval.
    alone: u32,
    /// Not recorded yet.
    count: u64,
    last: Option<Arc<Draft>>,
}

impl Tally {
    pub fn new() -> Self {
        let quota = Quota::per_second(NonZeroU32::MIN).allow_burst(BUDGET);
        Self { sums: Mutex::default(), budget: RateLimiter::direct(quota) }
    }

    /// Whether this refusal was counted here, to be recorded with others like it. If not, it is to be recorded now.
    pub fn takes(&self, action: Action, draft: &Arc<Draft>, error: &Error) -> bool {
        let most_alone = match error {
            Error::Unauthenticated => STRANGERS_ALONE,
            Error::Limited { .. } => LIMITED_ALONE,
            _ => return false,
        };
        let key = Key::of(action, draft, error.reason());
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        let key = if sums.len() < MOST || sums.contains_key(&key) { key } else { key.together() };
        let stranger = key.stranger;
        let sum = sums.entry(key).or_default();
        if sum.alone < most_alone && sum.count == 0 && (!stranger || self.budget.check().is_ok()) {
            sum.alone += 1;
            return false;
        }
        sum.alone = most_alone;
        sum.count += 1;
        sum.last = Some(Arc::clone(draft));
        true
    }

    /// What was counted, as records; each with the key under which it is given back when it cannot be kept. Who was quiet
    /// since the last time begins anew.
    pub fn due(&self) -> Vec<(Key, Arc<Draft>)> {
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        sums.retain(|_, sum| sum.count > 0);
        let mut counted: Vec<(Key, u64, Arc<Draft>)> = Vec::new();
        for (key, sum) in sums.iter_mut() {
            if let Some(last) = sum.last.take() {
                counted.push((key.clone(), std::mem::take(&mut sum.count), last));
            }
        }
        drop(sums);
        counted.sort_by_key(|(_, count, _)| std::cmp::Reverse(*count));
        let (mut networks, mut callers) = (0, 0);
        let mut records: HashMap<Key, (u64, Arc<Draft>)> = HashMap::new();
        for (key, count, last) in counted {
            let (before, most) = if key.stranger { (&mut networks, NETWORKS) } else { (&mut callers, CALLERS) };
            *before += 1;
            let key = if *before <= most { key } else { key.together() };
            records.entry(key).or_insert((0, last)).0 += count;
        }
        records.into_iter().map(|(key, (count, last))| (key.clone(), key.record(count, &last))).collect()
    }

    /// Could not be recorded: counts on.
    pub fn give_back(&self, key: Key, record: Arc<Draft>) {
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        let sum = sums.entry(key).or_default();
        sum.count += record.alike + 1;
        sum.last.get_or_insert(record);
    }
}

impl Key {
    fn of(action: Action, draft: &Draft, outcome: &'static str) -> Self {
        let stranger = draft.proof == Proof::None.as_str();
        let who = match stranger {
            // A Unix socket has no address: its strangers are one.
            true => draft.address.parse().map_or_else(|_| "unix".to_owned(), |from| network(from).to_string()),
            false => draft.caller.clone(),
        };
        Self { stranger, who, action, outcome }
    }

    fn together(self) -> Self {
        Self { who: String::new(), ..self }
    }

    /// The last of those that are alike, standing for all of them.
    fn record(&self, count: u64, last: &Draft) -> Arc<Draft> {
        let mut draft = Draft { alike: count - 1, outcome: self.outcome.to_owned(), ..last.clone() };
        if self.who.is_empty() {
            draft.request_id.clear();
            match self.stranger {
                true => VARIOUS.clone_into(&mut draft.address),
                false => {
                    VARIOUS.clone_into(&mut draft.caller);
                    VARIOUS.clone_into(&mut draft.caller_name);
                }
            }
        }
        Arc::new(draft)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stranger(address: &str) -> Arc<Draft> {
        Arc::new(Draft {
            caller: "anonymous".into(),
            proof: "none".into(),
            address: address.into(),
            ..Draft::default()
        })
    }

    fn caller(id: &str) -> Arc<Draft> {
        Arc::new(Draft { caller: id.into(), proof: "token".into(), ..Draft::default() })
    }

    const LIMITED: Error = Error::Limited { retry_after: Duration::from_secs(1) };

    /// How many are recorded now.
    fn alone(tally: &Tally, draft: &Arc<Draft>, error: &Error, times: u32) -> u32 {
        (0..times).filter(|_| !tally.takes(Action::Authenticate, draft, error)).count() as u32
    }

    fn sum(records: &[(Key, Arc<Draft>)]) -> u64 {
        records.iter().map(|(_, record)| record.alike + 1).sum()
    }

    #[test]
    fn the_first_are_told_apart_and_the_others_together() {
        let tally = Tally::new();
        assert_eq!(alone(&tally, &stranger("192.0.2.1"), &Error::Unauthenticated, 120), 20);
        assert_eq!(alone(&tally, &caller("a"), &LIMITED, 8), 1);
        let due = tally.due();
        assert_eq!(due.len(), 2);
        assert_eq!(sum(&due), 107);
        // The flood goes on: nothing of it is recorded by itself.
        assert_eq!(alone(&tally, &stranger("192.0.2.1"), &Error::Unauthenticated, 5), 0);
        assert_eq!(sum(&tally.due()), 5);
        // It was quiet: it begins anew.
        assert_eq!(tally.due().len(), 0);
        assert_eq!(alone(&tally, &stranger("192.0.2.1"), &Error::Unauthenticated, 5), 5);
    }

    #[test]
    fn a_network_is_one_source() {
        let tally = Tally::new();
        let all =
            (0..100).map(|host| alone(&tally, &stranger(&format!("2001:db8::{host:x}")), &Error::Unauthenticated, 1));
        assert_eq!(all.sum::<u32>(), 20);
        assert_eq!(tally.due().len(), 1);
    }

    #[test]
    fn many_networks_are_bounded_and_nothing_is_lost() {
        let tally = Tally::new();
        let mut told = 0;
        for network in 0..10_000_u32 {
            let address = std::net::Ipv4Addr::from(0x0a00_0000 + network).to_string();
            told += alone(&tally, &stranger(&address), &Error::Unauthenticated, 3);
        }
        assert!((200..=400).contains(&told), "{told}");
        assert!(tally.sums.lock().unwrap().len() <= MOST + 1);
        let due = tally.due();
        assert!(due.len() <= NETWORKS + 1, "{}", due.len());
        assert_eq!(sum(&due) + u64::from(told), 30_000);
        assert!(due.iter().any(|(_, record)| record.address == VARIOUS));
    }

    #[test]
    fn what_could_not_be_kept_counts_on() {
        let tally = Tally::new();
        alone(&tally, &caller("a"), &LIMITED, 10);
        for (key, record) in tally.due() {
            tally.give_back(key, record);
        }
        alone(&tally, &caller("a"), &LIMITED, 1);
        assert_eq!(sum(&tally.due()), 10);
    }

    #[test]
    fn only_these_refusals_are_counted() {
        let tally = Tally::new();
        for error in [Error::Denied, Error::bug("x"), Error::invalid("a", "b"), Error::NeedsStepUp { why: None }] {
            assert_eq!(alone(&tally, &caller("a"), &error, 100), 100);
        }
    }
}
