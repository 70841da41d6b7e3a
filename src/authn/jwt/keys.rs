//! An issuer's keys as they are held: fetched before they are old, replaced as a whole, and given up when the issuer was
//! out of reach for too long.
//!
//! ```text
//!   fetched ──refresh──► fetched again ──► another set: the old one goes, with all that was verified by it
//!      │                      └─ in vain ► the old set serves on, until `keep` after it was fetched
//!      └─ a token names a key that is not among them ► fetched again, at once, but not again for 10 s
//! ```

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;

use super::fetch::fetch;
use super::issuer::Source;
use super::jwks::KeySet;
use super::remembered::Remembered;
use crate::http::Client;
use crate::vault::{Dependency, Error};

/// Nobody can have an issuer asked more often, whatever they send.
const PAUSE: Duration = Duration::from_secs(10);
/// After a failure.
const AGAIN: Duration = Duration::from_secs(30);

pub struct Keys {
    source: Source,
    client: Arc<Client>,
    held: ArcSwapOption<Held>,
    /// Held by whoever fetches: when the last fetch began.
    flight: Arc<tokio::sync::Mutex<Option<Instant>>>,
    due: Mutex<Instant>,
}

/// A set of keys, and what was verified by it.
pub struct Held {
    pub keys: Arc<KeySet>,
    pub remembered: Arc<Remembered>,
    /// When the issuer last said that these are its keys. Not by the wall clock, which may jump.
    at: Instant,
}

impl Keys {
    /// Keys that are there already serve on, but for what they verified under older rules.
    pub fn new(source: Source, client: Arc<Client>, before: Option<&Self>) -> Self {
        let before = before.filter(|before| before.source == source);
        let held = before
            .and_then(|before| before.held.load_full())
            .map(|held| Arc::new(Held { keys: Arc::clone(&held.keys), remembered: Arc::default(), at: held.at }));
        let flight = before.map_or_else(Arc::default, |before| Arc::clone(&before.flight));
        let due = held.as_ref().map_or_else(Instant::now, |held| held.at + source.refresh);
        Self { source, client, held: ArcSwapOption::new(held), flight, due: Mutex::new(due) }
    }

    /// Those that are still good.
    pub fn held(&self) -> Option<Arc<Held>> {
        self.held.load_full().filter(|held| held.at.elapsed() < self.source.keep)
    }

    /// Those that the issuer told of last, however long ago that was.
    pub fn latest(&self) -> Option<Arc<KeySet>> {
        self.held.load_full().map(|held| Arc::clone(&held.keys))
    }

    /// Fetched first where there are none.
    pub async fn get(self: &Arc<Self>) -> Result<Arc<Held>, Error> {
        match self.held() {
            Some(held) => Ok(held),
            None => self.newer(None).await,
        }
    }

    /// Newer ones than these if there may be any, these again if they were fetched just now. However many wait, one asks.
    pub async fn newer(self: &Arc<Self>, than: Option<&Arc<Held>>) -> Result<Arc<Held>, Error> {
        let mut last = Arc::clone(&self.flight).lock_owned().await;
        let is_newer = |held: &Arc<Held>| than.is_none_or(|than| held.at > than.at);
        if let Some(held) = self.held().filter(is_newer) {
            return Ok(held);
        }
        let pause = PAUSE.min(self.source.refresh);
        if let Some(rest) = last.and_then(|last| pause.checked_sub(last.elapsed())) {
            return self.held().ok_or_else(|| self.unavailable(rest));
        }
        *last = Some(Instant::now());
        let this = Arc::clone(self);
        // On its own, so that whoever asks and goes away does not take the answer from the others.
        let fetching = tokio::spawn(async move {
            this.fetch().await;
            drop(last);
        });
        fetching.await.map_err(Error::bug)?;
        self.held().ok_or_else(|| self.unavailable(pause))
    }

    /// Fetches them whenever they are due, without end.
    pub async fn keep_fresh(self: &Arc<Self>) {
        loop {
            tokio::time::sleep_until(self.due().into()).await;
            // Somebody who needed a new one may have been first.
            if self.due() <= Instant::now() {
                self.refresh().await;
            }
        }
    }

    async fn refresh(self: &Arc<Self>) {
        // Unless the fetch says otherwise; there is none when another one began a moment ago.
        self.is_due_in(PAUSE.min(self.source.refresh));
        let held = self.held();
        // What went wrong was logged, and is tried again.
        let _ = self.newer(held.as_ref()).await;
    }

    fn due(&self) -> Instant {
        *self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_due_in(&self, wait: Duration) {
        *self.due.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + wait;
    }

    async fn fetch(&self) {
        let issuer = &self.source.name;
        let fetched = fetch(&self.client, &self.source).await;
        self.is_due_in(if fetched.is_ok() { self.source.refresh } else { self.source.refresh.min(AGAIN) });
        match fetched {
            Ok(keys) => self.replace(keys),
            Err(cause) => match self.held.load_full() {
                Some(held) => {
                    let left = self.source.keep.saturating_sub(held.at.elapsed()).as_secs();
                    tracing::warn!(
                        issuer,
                        cause,
                        left,
                        "an issuer's keys could not be fetched; the last ones serve on"
                    );
                }
                None => tracing::warn!(issuer, cause, "an issuer's keys could not be fetched, and there are none"),
            },
        }
    }

    fn replace(&self, keys: KeySet) {
        let before = self.held.load_full();
        let same = before.as_ref().filter(|before| *before.keys == keys);
        let (keys, remembered) = match same {
            Some(before) => (Arc::clone(&before.keys), Arc::clone(&before.remembered)),
            None => {
                tracing::info!(issuer = self.source.name, keys = keys.len(), "an issuer's keys are new");
                (Arc::new(keys), Arc::default())
            }
        };
        self.held.store(Some(Arc::new(Held { keys, remembered, at: Instant::now() })));
    }

    fn unavailable(&self, retry_after: Duration) -> Error {
        let cause = format!("there are no keys of the issuer {}", self.source.name);
        Error::Unavailable { what: Dependency::Issuer, retry_after, cause }
    }
}

#[cfg(test)]
mod tests;
