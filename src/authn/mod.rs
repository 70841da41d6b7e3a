//! Who is calling: each proof yields the same [`Caller`].
//!
//! ```text
//!   authorization: Bearer srt_…       token   a row of ours, by the hash of its text
//!                  Bearer a.b.c       jwt     an issuer's signature, then callers.toml
//!   a client's certificate            mtls    the TLS handshake, then callers.toml      ┐ where there is no
//!   a Unix socket                     unix    the kernel's word, then callers.toml      ┘ authorization
//! ```

pub mod callers;
mod known;
mod presented;
mod strangers;
mod text;
pub mod token;

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
pub use callers::Callers;
pub use presented::{Certificate, Peer, Presented, Source};
use uuid::Uuid;

use self::known::Known;
use self::strangers::Strangers;
use crate::store::{self, Store};
use crate::vault::{Action, Caller, Circumstances, Error, Principal, Vault};

/// Proves callers by what they present.
pub struct Authenticator {
    vault: Arc<Vault>,
    tokens: Known,
    callers: ArcSwap<Callers>,
    strangers: Strangers,
}

/// Why nobody is proven.
#[derive(Debug)]
enum Unproven {
    /// The proof is no good; the words are the operator's and hold no part of it.
    Refused(String),
    /// Whether it is good cannot be found out now.
    Failed(Error),
}

impl Authenticator {
    /// `failures` is how many from one network in a minute are too many; none means no limit.
    pub fn new(store: Arc<dyn Store>, vault: Arc<Vault>, callers: Callers, failures: u32) -> Arc<Self> {
        let (tokens, strangers) = (Known::new(store), Strangers::new(failures));
        Arc::new(Self { vault, tokens, callers: ArcSwap::from_pointee(callers), strangers })
    }

    /// From the next request on.
    pub fn replace(&self, callers: Callers) {
        self.callers.store(Arc::new(callers));
    }

    /// Weighs what a request brings. A failure is recorded before it is told.
    pub async fn authenticate(&self, presented: Presented<'_>, request_id: String) -> Result<Caller, Error> {
        let circumstances = Circumstances { address: presented.peer.address(), ..Circumstances::default() };
        let (source, now) = (presented.peer.source(), Instant::now());
        let is_suspect = self.strangers.lists(source, now) && !self.knows(&presented);
        if is_suspect && let Err(retry_after) = self.strangers.admit(source, now) {
            metrics::counter!("strongroom_limited_total", "limit" => "failed_authentications").increment(1);
            let caller = Caller { circumstances, ..Caller::anonymous(request_id) };
            return Err(self.vault.refused(&caller, Action::Authenticate, Error::Limited { retry_after }).await);
        }
        match self.prove(presented).await {
            Ok(principal) => {
                if is_suspect {
                    self.strangers.proved(source, now);
                }
                Ok(Caller { circumstances, ..Caller::new(principal, request_id) })
            }
            Err(Unproven::Refused(why)) => {
                metrics::counter!("strongroom_failed_authentications_total").increment(1);
                self.strangers.failed(source, now);
                Err(self.vault.unauthenticated(request_id, circumstances, &why).await)
            }
            Err(Unproven::Failed(error)) => Err(error),
        }
    }

    /// Whether proving needs no look-up and no signature: a token that is remembered, or what the connection itself brought.
    fn knows(&self, presented: &Presented<'_>) -> bool {
        match presented.authorization {
            Some(header) => header.split_once(' ').is_some_and(|(_, text)| self.tokens.knows(text)),
            None => presented.grant.is_none(),
        }
    }

    async fn prove(&self, presented: Presented<'_>) -> Result<Arc<Principal>, Unproven> {
        match presented.authorization {
            Some(header) => {
                // The scheme's name is case-insensitive (RFC 9110); the token is not.
                let bearer = header.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
                let (_, text) = bearer.ok_or_else(|| refused("authorization is not `Bearer` and a token"))?;
                self.tokens.prove(text).await
            }
            None => Err(refused("nothing was presented that proves a caller")),
        }
    }

    fn forget(&self, token: Uuid) {
        self.tokens.forget(token);
    }
}

fn refused(why: impl Into<String>) -> Unproven {
    Unproven::Refused(why.into())
}

impl From<store::Error> for Unproven {
    fn from(error: store::Error) -> Self {
        Self::Failed(error.into())
    }
}
