//! Who is calling: each proof yields the same [`Caller`].

mod text;
pub mod token;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;
use uuid::Uuid;

use crate::store::{self, Store, Token};
use crate::vault::{Caller, Error, Principal, Vault};

/// More tokens than this in use at a time, and the memory of them begins anew.
const MOST_KNOWN: usize = 10_000;

/// Proves callers by what they present.
pub struct Authenticator {
    store: Arc<dyn Store>,
    vault: Arc<Vault>,
    known: RwLock<Memory>,
}

/// Tokens that were looked up before. A revoked one leaves before its revocation is acknowledged.
#[derive(Default)]
struct Memory {
    tokens: HashMap<Uuid, Arc<Known>>,
    /// Counts revocations: what was read from the store before one must not be remembered after it.
    revocations: u64,
}

struct Known {
    principal: Arc<Principal>,
    hash: [u8; 32],
    expires_at: Timestamp,
}

impl Authenticator {
    pub fn new(store: Arc<dyn Store>, vault: Arc<Vault>) -> Arc<Self> {
        Arc::new(Self { store, vault, known: RwLock::default() })
    }

    /// Reads an `authorization` header. A failure is recorded before it is told.
    pub async fn authenticate(&self, authorization: Option<&str>, request_id: String) -> Result<Caller, Error> {
        match self.prove(authorization).await {
            Ok(Some(principal)) => Ok(Caller { principal, request_id }),
            Ok(None) => Err(self.vault.unauthenticated(request_id).await),
            Err(error) => Err(error.into()),
        }
    }

    async fn prove(&self, authorization: Option<&str>) -> Result<Option<Arc<Principal>>, store::Error> {
        // The scheme's name is case-insensitive (RFC 9110); the token is not.
        let presented = authorization.and_then(|value| value.split_once(' '));
        let bearer = presented.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let Some((id, secret)) = bearer.and_then(|(_, text)| text::read(text)) else { return Ok(None) };
        let Some(known) = self.look_up(id).await? else { return Ok(None) };
        let is_good = text::matches(&secret, &known.hash) && Timestamp::now() < known.expires_at;
        Ok(is_good.then(|| Arc::clone(&known.principal)))
    }

    async fn look_up(&self, id: Uuid) -> Result<Option<Arc<Known>>, store::Error> {
        let revocations = {
            let memory = self.known.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = memory.tokens.get(&id) {
                return Ok(Some(Arc::clone(known)));
            }
            memory.revocations
        };
        let Some(token) = self.store.token(id).await?.filter(|token| token.revoked_at.is_none()) else {
            return Ok(None);
        };
        let known = Arc::new(Known::from(token));
        let mut memory = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if memory.tokens.len() >= MOST_KNOWN {
            memory.tokens.clear();
        }
        if memory.revocations == revocations {
            memory.tokens.insert(id, Arc::clone(&known));
        }
        Ok(Some(known))
    }

    fn forget(&self, id: Uuid) {
        let mut memory = self.known.write().unwrap_or_else(PoisonError::into_inner);
        memory.revocations += 1;
        memory.tokens.remove(&id);
    }
}

impl From<Token> for Known {
    fn from(token: Token) -> Self {
        let principal = Arc::new(Principal {
            id: token.id.to_string(),
            name: token.name,
            role: token.role,
            org: token.org,
            projects: token.projects,
            providers: token.providers,
            token: Some(token.id),
        });
        Self { principal, hash: token.hash, expires_at: token.expires_at }
    }
}
