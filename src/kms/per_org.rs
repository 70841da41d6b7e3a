//! `org+URI`: the key of that URI wraps a key for each org, and that one wraps the org's data keys. So a key service that
//! bills each request is asked once for an org rather than once for each credential.
//!
//! ```text
//!   byte 0     1        3                        3 + n                                80
//!        ┌─────┬────────┬────────────────────────┬────────────────────────────────────┐
//!        │ 01  │ n (u16)│ the org key, as the key│ salt (32) ‖ ciphertext (32) ‖ tag  │  crypto::wrap under the org key,
//!        │     │        │ of the URI wrapped it  │                                    │  bound to Context::canonical()
//!        └─────┴────────┴────────────────────────┴────────────────────────────────────┘
//! ```
//!
//! Each wrap carries its org key along, so nothing else has to be kept, moved or backed up. Unwrapped, an org key stays in
//! memory for the cache's time, and what is new is wrapped under the one that is there; where none is, another is made.
//!
//! What is given up for it: the key service binds whose data key it is no closer than to the org, and its log tells of no
//! more; who reads an org key in memory opens, with the database, what it has wrapped; and a key that was disabled is still
//! used until the org key's time is over.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;

use super::{Cause, Context, Error, Kms, Wrapped};
use crate::crypto::{self, Dek};

/// What stands before the URI of the key that wraps the org keys.
pub(super) const PREFIX: &str = "org+";
const FORMAT: u8 = 0x01;

pub struct PerOrg {
    uri: String,
    key: Arc<dyn Kms>,
    keep: Duration,
    held: Arc<Mutex<Held>>,
}

type Held = HashMap<Place, Arc<OnceCell<Arc<OrgKey>>>>;

/// Whoever needs the same org key waits for the same call.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Place {
    /// What this org's data keys are wrapped under now.
    Newest(String),
    /// What the key of the URI has wrapped, for this org.
    Opened(String, [u8; 32]),
}

struct OrgKey {
    key: Dek,
    wrapped: Wrapped,
}

impl PerOrg {
    /// `keep`: how long an org key may stay in memory.
    pub fn new(key: Arc<dyn Kms>, keep: Duration) -> Self {
        let uri = format!("{PREFIX}{}", key.uri());
        Self { uri, key, keep, held: Arc::default() }
    }

    /// The org key to wrap under. What belongs to no org is rare, and gets a key of its own each time: so whoever asks for
    /// the newest version is told it.
    async fn newest(&self, org: &str) -> Result<Arc<OrgKey>, Error> {
        if org.is_empty() {
            return self.make(org).await.map(Arc::new);
        }
        // Not remembered as opened: the first to unwrap asks the key whether it opens what it has wrapped.
        self.at(&Place::Newest(org.to_owned()), || self.make(org)).await
    }

    async fn make(&self, org: &str) -> Result<OrgKey, Error> {
        let random = crypto::random().map_err(|error| self.unavailable(error))?;
        let key = Dek::new(random);
        let wrapped = self.key.wrap(&key, &Context::for_wrapping_key(org)).await?;
        // A version of the key that is not the newest any more wraps nothing new.
        self.lock().retain(|place, there| match place {
            Place::Newest(_) => there.get().is_none_or(|there| there.wrapped.key_version == wrapped.key_version),
            Place::Opened(..) => true,
        });
        Ok(OrgKey { key, wrapped })
    }

    async fn opened(&self, org: &str, wrapped: Wrapped) -> Result<Arc<OrgKey>, Error> {
        let place = Place::Opened(org.to_owned(), digest(&wrapped));
        let open = || async {
            let key = self.key.unwrap(&wrapped, &Context::for_wrapping_key(org)).await?;
            Ok(OrgKey { key, wrapped: wrapped.clone() })
        };
        self.at(&place, open).await
    }

    async fn at<F>(&self, place: &Place, ask: impl FnOnce() -> F) -> Result<Arc<OrgKey>, Error>
    where
        F: Future<Output = Result<OrgKey, Error>>,
    {
        let cell = Arc::clone(self.lock().entry(place.clone()).or_default());
        let asked = cell.get_or_try_init(|| async {
            let found = Arc::new(ask().await?);
            self.forget_later(place.clone(), &cell);
            Ok(found)
        });
        match asked.await {
            Ok(found) => Ok(Arc::clone(found)),
            Err(error) => {
                self.lock().retain(|other, cell| other != place || cell.initialized());
                Err(error)
            }
        }
    }

    /// Also when nobody asks again.
    fn forget_later(&self, place: Place, cell: &Arc<OnceCell<Arc<OrgKey>>>) {
        let (held, cell, keep) = (Arc::downgrade(&self.held), Arc::downgrade(cell), self.keep);
        tokio::spawn(async move {
            tokio::time::sleep(keep).await;
            let Some(held) = Weak::upgrade(&held) else { return };
            let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
            if held.get(&place).is_some_and(|there| std::ptr::eq(Arc::as_ptr(there), cell.as_ptr())) {
                held.remove(&place);
            }
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unavailable(&self, cause: impl ToString) -> Error {
        Cause::Unavailable(cause.to_string()).of(&self.uri)
    }
}

#[async_trait]
impl Kms for PerOrg {
    fn uri(&self) -> &str {
        &self.uri
    }

    async fn wrap(&self, dek: &Dek, context: &Context) -> Result<Wrapped, Error> {
        let org_key = self.newest(context.org()).await.map_err(|error| error.under(&self.uri))?;
        let salt = crypto::random().map_err(|error| self.unavailable(error))?;
        let sealed = crypto::wrap(org_key.key.expose(), salt, &context.canonical(), dek.expose())
            .map_err(|error| self.unavailable(error))?;
        let inner = &org_key.wrapped;
        let length = u16::try_from(inner.bytes.len()).map_err(|_| self.unavailable("a wrap of 64 KiB"))?;
        let bytes = [&[FORMAT], length.to_be_bytes().as_slice(), &inner.bytes, &sealed].concat();
        Ok(Wrapped { key: self.uri.clone(), key_version: inner.key_version.clone(), bytes })
    }

    async fn unwrap(&self, wrapped: &Wrapped, context: &Context) -> Result<Dek, Error> {
        let mismatch = || Cause::Mismatch.of(&self.uri);
        let (inner, sealed) = parts(&wrapped.bytes).filter(|_| wrapped.key == self.uri).ok_or_else(mismatch)?;
        let key_version = wrapped.key_version.clone();
        let inner = Wrapped { key: self.key.uri().to_owned(), key_version, bytes: inner.to_vec() };
        let org_key = self.opened(context.org(), inner).await.map_err(|error| error.under(&self.uri))?;
        let opened = crypto::unwrap(org_key.key.expose(), &context.canonical(), sealed).map_err(|_| mismatch())?;
        opened.as_ref().try_into().map(Dek::new).map_err(|_| mismatch())
    }
}

/// The wrapped org key, and what it has wrapped.
fn parts(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let ([FORMAT, length @ ..], rest) = bytes.split_first_chunk::<3>()? else { return None };
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

fn digest(wrapped: &Wrapped) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in [wrapped.key_version.as_bytes(), &wrapped.bytes] {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}
