//! How much one caller may ask for, and all callers of one org together: so many calls a second, so many at the same time,
//! so many open watches. Who asks for more is told when to come again, and nobody else waits for it.
//!
//! A call holds its place while anything is done for it, also when the client has hung up: hanging up is no way to have
//! more done. A caller for every org (`*`) is bound by what one caller may alone: it works for many tenants, and is none.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};

use crate::vault::names::EVERYTHING;
use crate::vault::{Action, Caller, Error, Vault};

/// What one may ask for. Nothing means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    /// Calls a second, and as many at once after a rest.
    pub rate: u32,
    pub at_once: u32,
    pub watches: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowances {
    pub caller: Allowance,
    pub org: Allowance,
}

/// Accounts of this many callers are kept. Where more are busy at a time, those that come last share one.
const MOST: usize = 10_000;
/// How often idle accounts are looked for, at most.
const SWEEP: Duration = Duration::from_secs(1);
/// A place is free again after about that long.
const A_CALL: Duration = Duration::from_secs(1);

impl Vault {
    /// Before anything is done for a caller. A refusal is recorded.
    pub async fn take_turn(&self, caller: &Caller, action: Action) -> Result<Turn, Error> {
        match self.turns.take(caller) {
            Ok(turn) => Ok(turn),
            Err(error) => Err(self.refused(caller, action, error).await),
        }
    }
}

/// Places that are given back when the last of its clones is let go.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Turn {
    _held: Option<Arc<Held>>,
}

pub struct Turns {
    callers: Accounts,
    orgs: Accounts,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Call,
    Watch,
}

impl Turns {
    pub fn new(allowances: Allowances) -> Self {
        let callers = Accounts::new(allowances.caller, ["caller_rate", "caller_at_once", "caller_watches"]);
        Self { callers, orgs: Accounts::new(allowances.org, ["org_rate", "org_at_once", "org_watches"]) }
    }

    /// For one call.
    pub fn take(&self, caller: &Caller) -> Result<Turn, Error> {
        self.hold(caller, Kind::Call, 1, 0)
    }

    /// For a call that turns out to be several. Nobody is refused for asking for more than anybody may have at once.
    pub fn more(&self, caller: &Caller, count: u32) -> Result<Turn, Error> {
        self.hold(caller, Kind::Call, count, 1)
    }

    /// For a watch, for as long as it is open.
    pub fn watch(&self, caller: &Caller) -> Result<Turn, Error> {
        self.hold(caller, Kind::Watch, 1, 0)
    }

    fn hold(&self, caller: &Caller, kind: Kind, count: u32, has: u32) -> Result<Turn, Error> {
        if count == 0 {
            return Ok(Turn::default());
        }
        let it = &caller.principal;
        let own = self.callers.hold(&it.id, kind, count, has)?;
        let orgs = match it.org.as_str() {
            "" | EVERYTHING => None,
            org => self.orgs.hold(org, kind, count, has)?,
        };
        let is_nothing = own.is_none() && orgs.is_none();
        Ok(Turn { _held: (!is_nothing).then(|| Arc::new(Held { _own: own, _orgs: orgs })) })
    }
}

#[derive(Debug)]
struct Held {
    _own: Option<Places>,
    _orgs: Option<Places>,
}

#[derive(Debug)]
struct Places {
    account: Arc<Account>,
    kind: Kind,
    count: u32,
}

impl Drop for Places {
    fn drop(&mut self) {
        self.account.taken(self.kind).fetch_sub(self.count, Ordering::Relaxed);
    }
}

struct Accounts {
    allowance: Allowance,
    /// What the limits are called: rate, at once, watches.
    names: [&'static str; 3],
    known: RwLock<Known>,
}

struct Known {
    accounts: HashMap<String, Arc<Account>>,
    shared: Arc<Account>,
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Account {
    bucket: Option<DefaultDirectRateLimiter>,
    calls: AtomicU32,
    watches: AtomicU32,
}

impl Accounts {
    fn new(allowance: Allowance, names: [&'static str; 3]) -> Self {
        let shared = Arc::new(Account::new(allowance));
        Self { allowance, names, known: RwLock::new(Known { accounts: HashMap::new(), shared, swept: None }) }
    }

    fn hold(&self, name: &str, kind: Kind, count: u32, has: u32) -> Result<Option<Places>, Error> {
        if self.allowance == Allowance::default() {
            return Ok(None);
        }
        let account = self.account(name);
        let places = self.places(account, kind, count, has)?;
        if let Err(wait) = places.account.spend(self.allowance.rate, kind, count) {
            return Err(limited(self.names[0], wait));
        }
        Ok(Some(places))
    }

    fn places(&self, account: Arc<Account>, kind: Kind, count: u32, has: u32) -> Result<Places, Error> {
        let (most, name) = match kind {
            Kind::Call => (self.allowance.at_once, self.names[1]),
            Kind::Watch => (self.allowance.watches, self.names[2]),
        };
        let count = if most == 0 { count } else { count.min(most.saturating_sub(has)) };
        let before = account.taken(kind).fetch_add(count, Ordering::Relaxed);
        // Gives back what is too much.
        let places = Places { account, kind, count };
        match most > 0 && before.saturating_add(count) > most {
            true => Err(limited(name, A_CALL)),
            false => Ok(places),
        }
    }

    fn account(&self, name: &str) -> Arc<Account> {
        if let Some(known) = self.known.read().unwrap_or_else(PoisonError::into_inner).accounts.get(name) {
            return Arc::clone(known);
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if known.accounts.len() >= MOST && known.swept.is_none_or(|last| now.duration_since(last) > SWEEP) {
            // Whoever has something under way holds its account too. The others lose at most a second's spending.
            known.accounts.retain(|_, account| Arc::strong_count(account) > 1);
            known.swept = Some(now);
        }
        if known.accounts.len() >= MOST && !known.accounts.contains_key(name) {
            return Arc::clone(&known.shared);
        }
        Arc::clone(known.accounts.entry(name.to_owned()).or_insert_with(|| Arc::new(Account::new(self.allowance))))
    }
}

impl Account {
    fn new(allowance: Allowance) -> Self {
        let rate = NonZeroU32::new(allowance.rate);
        let bucket = rate.map(|rate| RateLimiter::direct(Quota::per_second(rate)));
        Self { bucket, calls: AtomicU32::new(0), watches: AtomicU32::new(0) }
    }

    const fn taken(&self, kind: Kind) -> &AtomicU32 {
        match kind {
            Kind::Call => &self.calls,
            Kind::Watch => &self.watches,
        }
    }

    /// A watch was counted when it was asked for.
    fn spend(&self, rate: u32, kind: Kind, count: u32) -> Result<(), Duration> {
        let (Some(bucket), Kind::Call) = (&self.bucket, kind) else { return Ok(()) };
        let Some(count) = NonZeroU32::new(count.min(rate)) else { return Ok(()) };
        match bucket.check_n(count) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(early)) => Err(early.wait_time_from(DefaultClock::default().now())),
            // Never: a bucket holds a second's worth.
            Err(_) => Err(A_CALL),
        }
    }
}

fn limited(limit: &'static str, retry_after: Duration) -> Error {
    metrics::counter!("strongroom_limited_total", "limit" => limit).increment(1);
    Error::Limited { retry_after }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::Principal;

    fn caller(id: &str, org: &str) -> Caller {
        let principal = Principal { id: id.into(), org: org.into(), ..Principal::default() };
        Caller::new(Arc::new(principal), String::new())
    }

    fn turns(caller: Allowance, org: Allowance) -> Turns {
        Turns::new(Allowances { caller, org })
    }

    const NONE: Allowance = Allowance { rate: 0, at_once: 0, watches: 0 };

    #[test]
    fn places_are_given_back_and_are_each_callers_own() {
        let turns = turns(Allowance { at_once: 2, ..NONE }, Allowance { at_once: 3, ..NONE });
        let (a, b, c) = (caller("a", "acme"), caller("b", "acme"), caller("c", "other"));
        let held = [turns.take(&a).unwrap(), turns.take(&a).unwrap()];
        assert!(turns.take(&a).is_err());
        let last = turns.take(&b).unwrap();
        assert!(turns.take(&b).is_err(), "the org has three");
        drop(turns.take(&c).unwrap());
        let clone = last.clone();
        drop(last);
        assert!(turns.take(&b).is_err(), "somebody still works for it");
        drop(clone);
        drop(turns.take(&b).unwrap());
        drop(held);
        drop([turns.take(&a).unwrap(), turns.take(&a).unwrap()]);
    }

    #[test]
    fn a_rate_is_spent_by_its_own_caller_alone() {
        let turns = turns(Allowance { rate: 20, ..NONE }, NONE);
        let (a, b) = (caller("a", "acme"), caller("b", "acme"));
        let spent = (0..40).filter(|_| turns.take(&a).is_ok()).count();
        assert!((20..30).contains(&spent), "{spent}");
        let Err(Error::Limited { retry_after }) = (0..40).map(|_| turns.take(&a)).find(Result::is_err).unwrap() else {
            panic!("limited")
        };
        assert!(retry_after <= Duration::from_millis(51), "{retry_after:?}");
        drop(turns.take(&b).unwrap());
    }

    #[test]
    fn a_batch_counts_as_many_as_it_is_and_can_always_be_asked_for() {
        let turns = turns(Allowance { at_once: 10, rate: 1_000, ..NONE }, NONE);
        let a = caller("a", "acme");
        let first = turns.take(&a).unwrap();
        let rest = turns.more(&a, 99).unwrap();
        assert!(turns.take(&a).is_err());
        drop(rest);
        let second = turns.take(&a).unwrap();
        assert!(turns.more(&a, 99).is_err(), "somebody else is in");
        drop((first, second));
    }

    #[test]
    fn watches_have_places_of_their_own() {
        let turns = turns(Allowance { at_once: 1, watches: 1, rate: 0 }, NONE);
        let a = caller("a", "acme");
        let _watch = turns.watch(&a).unwrap();
        assert!(turns.watch(&a).is_err());
        drop(turns.take(&a).unwrap());
    }

    #[test]
    fn a_caller_for_every_org_is_in_none() {
        let turns = turns(NONE, Allowance { at_once: 1, ..NONE });
        let everywhere = caller("a", "*");
        let _all = [turns.take(&everywhere).unwrap(), turns.take(&everywhere).unwrap()];
    }

    #[test]
    fn many_callers_do_not_add_up() {
        let turns = turns(Allowance { at_once: 2, ..NONE }, NONE);
        for number in 0..MOST * 3 {
            drop(turns.take(&caller(&number.to_string(), "acme")).unwrap());
        }
        let busy: Vec<_> = (0..MOST * 2).map(|number| turns.take(&caller(&number.to_string(), "acme"))).collect();
        assert!(busy.iter().filter(|turn| turn.is_ok()).count() <= MOST + 2);
        assert!(turns.callers.known.read().unwrap().accounts.len() <= MOST);
    }
}
