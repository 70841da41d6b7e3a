//! API tokens that were looked up before. A revoked one leaves before its revocation is acknowledged.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;
use uuid::Uuid;

use super::{Unproven, refused, text};
use crate::store::{self, Store, Token};
use crate::vault::Principal;

/// More tokens than this in use at a time, and the memory of them begins anew.
const MOST: usize = 10_000;

pub struct Known {
    store: Arc<dyn Store>,
    memory: RwLock<Memory>,
}

#[derive(Default)]
struct Memory {
    tokens: HashMap<Uuid, Arc<Entry>>,
    /// Hashes of those that were looked up, which stay when tokens are forgotten: they prove nothing, and tell callers from
    /// strangers.
    seen: HashMap<Uuid, [u8; 32]>,
    /// Counts revocations: what was read from the store before one must not be remembered after it.
    revocations: u64,
    /// How many orgs had come to their end when all this was read: their tokens ended with them.
    orgs_ended: u64,
}

struct Entry {
    principal: Arc<Principal>,
    hash: [u8; 32],
    expires_at: Timestamp,
}

impl Known {
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, memory: RwLock::default() }
    }

    /// `orgs_ended` is how many have, by now.
    pub async fn prove(&self, text: &str, orgs_ended: u64) -> Result<Arc<Principal>, Unproven> {
        let (id, secret) = text::TOKEN.read(text).ok_or_else(|| refused("the bearer token is none of ours"))?;
        let known =
            self.look_up(id, orgs_ended).await?.ok_or_else(|| refused(format!("token {id} is unknown or revoked")))?;
        if !text::matches(&secret, &known.hash) {
            return Err(refused(format!("token {id} has another secret")));
        }
        if Timestamp::now() >= known.expires_at {
            return Err(refused(format!("token {id} has expired")));
        }
        Ok(Arc::clone(&known.principal))
    }

    /// Whether this very text was proven before. It need not be good any more.
    pub fn knows(&self, text: &str) -> bool {
        let Some((id, secret)) = text::TOKEN.read(text) else { return false };
        let memory = self.memory.read().unwrap_or_else(PoisonError::into_inner);
        memory.seen.get(&id).is_some_and(|hash| text::matches(&secret, hash))
    }

    /// All of them: who descends from a token that has ended is not known here, and to learn the others again is cheap.
    pub fn forget(&self) {
        let mut memory = self.memory.write().unwrap_or_else(PoisonError::into_inner);
        memory.revocations += 1;
        memory.tokens.clear();
    }

    async fn look_up(&self, id: Uuid, orgs_ended: u64) -> Result<Option<Arc<Entry>>, store::Error> {
        let revocations = {
            let memory = self.memory.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = memory.tokens.get(&id)
                && memory.orgs_ended == orgs_ended
            {
                return Ok(Some(Arc::clone(known)));
            }
            memory.revocations
        };
        let Some(token) = self.store.token(id).await?.filter(|token| token.revoked_at.is_none()) else {
            return Ok(None);
        };
        let entry = Arc::new(Entry::from(token));
        let mut memory = self.memory.write().unwrap_or_else(PoisonError::into_inner);
        if memory.tokens.len() >= MOST {
            memory.tokens.clear();
        }
        if memory.seen.len() >= MOST {
            memory.seen.clear();
        }
        memory.seen.insert(id, entry.hash);
        if memory.orgs_ended < orgs_ended {
            memory.orgs_ended = orgs_ended;
            memory.tokens.clear();
        }
        if memory.revocations == revocations && memory.orgs_ended == orgs_ended {
            memory.tokens.insert(id, Arc::clone(&entry));
        }
        Ok(Some(entry))
    }
}

impl From<Token> for Entry {
    fn from(token: Token) -> Self {
        let (hash, expires_at) = (token.hash, token.expires_at);
        Self { principal: Arc::new(token.into()), hash, expires_at }
    }
}
