//! Decisions that are known already. A change of what they were made on changes the key; a new policy set has a new memo.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use jiff::Timestamp;
use uuid::Uuid;

use super::{Decision, Resource};
use crate::store::Health;
use crate::vault::{Action, Caller};

/// A full memo is emptied: at 100 bytes an entry this is 10 MB.
const MOST: usize = 100_000;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    caller: Uuid,
    action: Action,
    credential: Uuid,
    revision: u64,
    health: Health,
}

#[derive(Default)]
pub struct Memo(RwLock<HashMap<Key, Decision>>);

/// Only what has an immutable identity can be remembered: a known caller and a credential at one revision.
pub fn key(caller: &Caller, action: Action, resource: Resource<'_>, now: Timestamp) -> Option<Key> {
    match (caller.principal.known_as, resource) {
        (Some(caller), Resource::Credential(it)) => {
            Some(Key { caller, action, credential: it.id, revision: it.revision, health: it.health(now) })
        }
        _ => None,
    }
}

impl Memo {
    pub fn get(&self, key: &Key) -> Option<Decision> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    pub fn put(&self, key: Key, decision: Decision) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(key, decision);
    }
}
