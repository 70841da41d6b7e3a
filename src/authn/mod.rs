//! Who is calling: each proof yields the same [`Caller`].
//!
//! ```text
//!   authorization: Bearer srt_…       token   a row of ours, by the hash of its text
//!                  Bearer a.b.c       jwt     an issuer's signature, then callers.toml
//!   a client's certificate            mtls    the TLS handshake, then callers.toml      ┐ where there is no
//!   a Unix socket                     unix    the kernel's word, then callers.toml      ┘ authorization
//! ```

pub mod callers;
mod jwt;
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
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use self::jwt::{Issuers, Proven};
use self::known::Known;
use self::strangers::Strangers;
use crate::http::Client;
use crate::store::{self, Store};
use crate::vault::{Action, Caller, Circumstances, Error, Vault};

/// Proves callers by what they present.
pub struct Authenticator {
    vault: Arc<Vault>,
    tokens: Known,
    callers: ArcSwap<Callers>,
    issuers: ArcSwap<Issuers>,
    replaced: Notify,
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
    /// Issuers' keys are fetched through the client. `failures` is how many from one network in a minute are too many; none
    /// means no limit.
    pub fn new(store: Arc<dyn Store>, vault: Arc<Vault>, callers: Callers, client: Client, failures: u32) -> Arc<Self> {
        let callers = Arc::new(callers);
        Arc::new(Self {
            vault,
            tokens: Known::new(store),
            issuers: ArcSwap::from_pointee(Issuers::new(Arc::new(client), Arc::clone(&callers))),
            callers: ArcSwap::new(callers),
            replaced: Notify::new(),
            strangers: Strangers::new(failures),
        })
    }

    /// From the next request on.
    pub fn replace(&self, callers: Callers) {
        let callers = Arc::new(callers);
        self.issuers.store(Arc::new(self.issuers.load().replaced(Arc::clone(&callers))));
        self.callers.store(callers);
        self.replaced.notify_one();
    }

    /// Fetches issuers' keys before they are old, until the doors close.
    pub async fn upkeep(self: Arc<Self>, mut closing: watch::Receiver<bool>) {
        let fresh = async {
            loop {
                let issuers = self.issuers.load_full();
                tokio::select! {
                    () = issuers.keep_fresh() => {}
                    () = self.replaced.notified() => {}
                }
            }
        };
        tokio::select! {
            () = fresh => {}
            _ = closing.wait_for(|closing| *closing) => {}
        }
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
            Ok(Proven { principal, step_up }) => {
                if is_suspect {
                    self.strangers.proved(source, now);
                }
                let circumstances = Circumstances { step_up, ..circumstances };
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

    /// Whether proving needs no look-up and no signature: one that is remembered, or what the connection itself
    /// brought.
    fn knows(&self, presented: &Presented<'_>) -> bool {
        match presented.authorization {
            Some(header) => header.split_once(' ').is_some_and(|(_, text)| match text.contains('.') {
                true => self.issuers.load().knows(text),
                false => self.tokens.knows(text),
            }),
            None => presented.grant.is_none(),
        }
    }

    async fn prove(&self, presented: Presented<'_>) -> Result<Proven, Unproven> {
        match presented.authorization {
            Some(header) => {
                // The scheme's name is case-insensitive (RFC 9110); the token is not.
                let bearer = header.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
                let (_, text) = bearer.ok_or_else(|| refused("authorization is not `Bearer` and a token"))?;
                // No token of ours has a dot.
                if text.contains('.') {
                    return self.issuers.load_full().prove(text).await;
                }
                let principal = self.tokens.prove(text).await?;
                Ok(Proven { principal, step_up: None })
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
