//! A circuit breaker: while a key's service is down, nobody waits for it, and it is not kept busy by those who would.
//!
//! ```text
//!   closed ──5 calls in a row fail──► open ──1 s, doubling to 30 s──► half open: one call is let through
//!     ▲                                ▲                                  │ fails │
//!     │                                └──────────────────────────────────┘       │
//!     └────────────────────────────── any call is answered ◄──────────────────────┘
//! ```

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

const FAILURES: u32 = 5;
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

pub(super) struct Breaker {
    key: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// In a row.
    failures: u32,
    open: Option<Open>,
}

#[derive(Clone)]
struct Open {
    until: Instant,
    wait: Duration,
    /// Somebody tries whether it is answered again.
    tried: bool,
    cause: String,
}

/// A call that was let through. Letting it go without an answer, as when its caller has gone, changes nothing.
pub(super) struct Turn<'a> {
    breaker: &'a Breaker,
    trial: bool,
    answered: Option<bool>,
    cause: String,
}

impl Breaker {
    pub fn new(key: &str) -> Self {
        let breaker = Self { key: key.to_owned(), state: Mutex::default() };
        breaker.show(0.0);
        breaker
    }

    /// Or why not.
    pub fn enter(&self, now: Instant) -> Result<Turn<'_>, String> {
        let mut state = self.state();
        let trial = match &mut state.open {
            None => false,
            Some(Open { until, tried, cause, .. }) if *tried || now < *until => {
                return Err(format!("it is given time to recover from: {cause}"));
            }
            Some(open) => {
                open.tried = true;
                self.show(0.5);
                true
            }
        };
        Ok(Turn { breaker: self, trial, answered: None, cause: String::new() })
    }

    fn leave(&self, now: Instant, trial: bool, answered: Option<bool>, cause: String) {
        let mut state = self.state();
        match answered {
            Some(true) => {
                if state.open.is_some() {
                    tracing::info!(key = self.key, "the key answers again");
                    self.show(0.0);
                }
                *state = State::default();
            }
            Some(false) => {
                state.failures = state.failures.saturating_add(1);
                let wait = match &state.open {
                    Some(Open { wait, .. }) if trial => (*wait * 2).min(LONGEST),
                    None if state.failures >= FAILURES => SHORTEST,
                    _ => return,
                };
                tracing::warn!(key = self.key, cause, wait = ?wait, "the key does not answer, and is left alone for a while");
                state.open = Some(Open { until: now + wait, wait, tried: false, cause });
                self.show(1.0);
            }
            None => {
                if let (true, Some(open)) = (trial, &mut state.open) {
                    open.tried = false;
                    self.show(1.0);
                }
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn show(&self, open: f64) {
        metrics::gauge!("strongroom_kms_breaker", "key" => self.key.clone()).set(open);
    }
}

impl Turn<'_> {
    pub const fn answered(&mut self) {
        self.answered = Some(true);
    }

    pub fn failed(&mut self, cause: &str) {
        self.answered = Some(false);
        cause.clone_into(&mut self.cause);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.breaker.leave(Instant::now(), self.trial, self.answered, std::mem::take(&mut self.cause));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(breaker: &Breaker, now: Instant) {
        for _ in 0..FAILURES {
            breaker.leave(now, false, Some(false), "no route".into());
        }
    }

    /// Whether it lets a call in at this time; if so, it does not come to anything.
    fn lets_in(breaker: &Breaker, now: Instant) -> bool {
        breaker.enter(now).is_ok()
    }

    #[test]
    fn five_failures_in_a_row_open_it() {
        let (breaker, now) = (Breaker::new("test://key"), Instant::now());
        for _ in 0..20 {
            for _ in 0..FAILURES - 1 {
                breaker.leave(now, false, Some(false), "no route".into());
            }
            assert!(lets_in(&breaker, now));
            breaker.leave(now, false, Some(true), String::new());
        }
        opened(&breaker, now);
        let error = breaker.enter(now).err();
        assert_eq!(error.as_deref(), Some("it is given time to recover from: no route"));
    }

    #[test]
    fn one_call_tries_at_a_time_and_its_answer_lets_all_in() {
        let (breaker, now) = (Breaker::new("test://key"), Instant::now());
        opened(&breaker, now);
        let later = now + SHORTEST;
        assert!(!lets_in(&breaker, later - Duration::from_millis(1)));
        let mut trial = breaker.enter(later).unwrap();
        assert!(!lets_in(&breaker, later) && !lets_in(&breaker, later + LONGEST));
        trial.answered();
        drop(trial);
        let both = (breaker.enter(later), breaker.enter(later));
        assert!(both.0.is_ok() && both.1.is_ok());
    }

    #[test]
    fn a_caller_who_goes_while_trying_leaves_the_trial_to_the_next() {
        let (breaker, now) = (Breaker::new("test://key"), Instant::now());
        opened(&breaker, now);
        drop(breaker.enter(now + SHORTEST).unwrap());
        assert!(lets_in(&breaker, now + SHORTEST));
    }

    #[test]
    fn half_open_is_shown_only_while_somebody_tries() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let shown =
            |value: &str| handle.render().contains(&format!("strongroom_kms_breaker{{key=\"test://key\"}} {value}\n"));
        metrics::with_local_recorder(&recorder, || {
            let (breaker, now) = (Breaker::new("test://key"), Instant::now());
            assert!(shown("0"));
            opened(&breaker, now);
            assert!(shown("1"));
            let trial = breaker.enter(now + SHORTEST).unwrap();
            assert!(shown("0.5"));
            drop(trial);
            assert!(shown("1"));
        });
    }

    #[test]
    fn trials_come_ever_later_and_at_least_every_30_seconds() {
        let (breaker, mut now) = (Breaker::new("test://key"), Instant::now());
        opened(&breaker, now);
        for wait in [1, 2, 4, 8, 16, 30, 30, 30].map(Duration::from_secs) {
            assert!(!lets_in(&breaker, now + wait - Duration::from_millis(1)), "{wait:?}");
            now += wait;
            assert!(breaker.enter(now).is_ok(), "{wait:?}");
            breaker.leave(now, true, Some(false), "no route".into());
        }
    }

    #[test]
    fn calls_that_were_under_way_when_it_opened_do_not_put_the_trial_off() {
        let (breaker, now) = (Breaker::new("test://key"), Instant::now());
        opened(&breaker, now);
        breaker.leave(now + SHORTEST / 2, false, Some(false), "no route".into());
        assert!(lets_in(&breaker, now + SHORTEST));
    }
}
