//! Stands in for `providers::probe::pace` until that is there: never makes anybody wait.

use std::time::Duration;

use crate::providers::Provider;

#[derive(Default)]
pub struct Pace;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    Now,
    Wait,
}

pub struct Turn;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryAfter(pub Duration);

impl Pace {
    pub fn new() -> Self {
        Self
    }

    #[allow(clippy::unused_async, reason = "the real one waits")]
    pub async fn admit(&self, _: &Provider, _: &str, _: Patience) -> Result<Turn, RetryAfter> {
        Ok(Turn)
    }
}
