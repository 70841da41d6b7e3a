//! Refusals are told on a beat. What is there takes a little longer to refuse than what is not (a row is read, its record
//! has an id to index), and a stranger with a clock would tell them apart. A tenant's own callers wait for nothing here:
//! what they may do is answered at once.

use std::time::Duration;

use crate::vault::Error;

/// Longer than a refusal takes with its record, so that nearly all of them are told on the first.
const BEAT: Duration = Duration::from_millis(10);

/// Waits for the next beat since a request began, where its answer must not tell whether something is there.
pub async fn wait(elapsed: Duration, error: &Error) {
    if matches!(error, Error::Denied | Error::NeedsStepUp { .. } | Error::NeedsApproval { .. }) {
        tokio::time::sleep(rest(elapsed)).await;
    }
}

fn rest(elapsed: Duration) -> Duration {
    BEAT.saturating_sub(Duration::from_nanos((elapsed.as_nanos() % BEAT.as_nanos()) as u64))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_refusal_ends_on_a_beat(elapsed in 0..10_000_000_000_u64) {
            let elapsed = Duration::from_nanos(elapsed);
            prop_assert_eq!((elapsed + rest(elapsed)).as_nanos() % BEAT.as_nanos(), 0);
            prop_assert!(rest(elapsed) <= BEAT);
        }
    }
}
