//! A key that is asked with patience: each call has a deadline; what is unavailable is asked again inside it, after pauses
//! of random length, so that a crowd does not come back at once; and a service that is down is left alone (`breaker.rs`).
//! What is refused, or does not fit, is so the next time too, and is asked once.
//!
//! An adapter makes one attempt and knows nothing of this. Every attempt is counted: a KMS bills those that fail too.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, sleep, timeout_at};

use super::breaker::Breaker;
use super::{Context, Error, Kms, Wrapped};
use crate::crypto::{self, Dek};

/// The longest that the first pause can be; the next is twice as long, and so on.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

pub struct Steady {
    key: Arc<dyn Kms>,
    deadline: Duration,
    prices: Prices,
    breaker: Breaker,
}

/// What one attempt costs, in millionths of a dollar.
#[derive(Clone, Copy, Debug, Default)]
pub struct Prices {
    pub wrap: u64,
    pub unwrap: u64,
}

impl Steady {
    pub fn new(key: Arc<dyn Kms>, deadline: Duration, prices: Prices) -> Self {
        let breaker = Breaker::new(key.uri());
        Self { key, deadline, prices, breaker }
    }

    async fn call<T, F>(&self, op: &'static str, price: u64, attempt: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let begin = Instant::now();
        let end = begin + self.deadline;
        let mut turn = self.breaker.enter(begin).map_err(|cause| self.unavailable(cause))?;
        let mut pause = FIRST_PAUSE;
        let mut before: Option<Error> = None;
        loop {
            let started = Instant::now();
            let answer = match timeout_at(end, attempt()).await {
                Ok(answer) => answer,
                Err(_) => Err(self.unavailable(format!("no answer within {:?}", self.deadline))),
            };
            self.count(op, price, &answer, started.elapsed());
            let Err(error @ Error::Unavailable { .. }) = answer else {
                turn.answered();
                return answer;
            };
            turn.failed(error.cause());
            let wait = shortened(pause);
            if Instant::now() + wait >= end {
                // What a full attempt has said tells more than that the last one was cut short.
                return Err(if Instant::now() >= end { before.unwrap_or(error) } else { error });
            }
            before = Some(error);
            sleep(wait).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn count<T>(&self, op: &'static str, price: u64, answer: &Result<T, Error>, took: Duration) {
        let outcome = match answer {
            Ok(_) => "ok",
            Err(Error::Unavailable { .. }) => "unavailable",
            Err(Error::Refused { .. }) => "refused",
            Err(Error::Mismatch { .. } | Error::Unknown { .. }) => "mismatch",
        };
        let key = || self.key.uri().to_owned();
        metrics::counter!("strongroom_kms_calls_total", "key" => key(), "op" => op, "outcome" => outcome).increment(1);
        metrics::histogram!("strongroom_kms_seconds", "key" => key(), "op" => op).record(took);
        metrics::counter!("strongroom_kms_cost_microdollars_total", "key" => key()).increment(price);
    }

    fn unavailable(&self, cause: String) -> Error {
        Error::Unavailable { key: self.key.uri().to_owned(), cause }
    }
}

#[async_trait]
impl Kms for Steady {
    fn uri(&self) -> &str {
        self.key.uri()
    }

    async fn wrap(&self, dek: &Dek, context: &Context) -> Result<Wrapped, Error> {
        self.call("wrap", self.prices.wrap, || self.key.wrap(dek, context)).await
    }

    async fn unwrap(&self, wrapped: &Wrapped, context: &Context) -> Result<Dek, Error> {
        self.call("unwrap", self.prices.unwrap, || self.key.unwrap(wrapped, context)).await
    }
}

/// Anything from nothing to all of it. Without randomness, all of it.
fn shortened(pause: Duration) -> Duration {
    let share = crypto::random().map_or(1.0, |random| f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX));
    pause.mul_f64(share)
}

#[cfg(test)]
mod tests;
