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
mod text;
pub mod token;

use std::sync::Arc;

use arc_swap::ArcSwap;
pub use callers::Callers;
pub use presented::{Certificate, Peer, Presented};
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use self::jwt::{Issuers, Proven};
use self::known::Known;
use crate::http::Client;
use crate::store::{self, Store};
use crate::vault::{Caller, Circumstances, Error, Vault};

/// Proves callers by what they present.
pub struct Authenticator {
    vault: Arc<Vault>,
    tokens: Known,
    callers: ArcSwap<Callers>,
    issuers: ArcSwap<Issuers>,
    replaced: Notify,
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
    /// Issuers' keys are fetched through the client.
    pub fn new(store: Arc<dyn Store>, vault: Arc<Vault>, callers: Callers, client: Client) -> Arc<Self> {
        let callers = Arc::new(callers);
        Arc::new(Self {
            vault,
            tokens: Known::new(store),
            issuers: ArcSwap::from_pointee(Issuers::new(Arc::new(client), Arc::clone(&callers))),
            callers: ArcSwap::new(callers),
            replaced: Notify::new(),
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
        // What is no id is nobody's, as the nil id is.
        let named_approval = presented.approval.map(|id| id.parse().unwrap_or_default());
        let circumstances =
            Circumstances { address: presented.peer.address(), named_approval, ..Circumstances::default() };
        match self.prove(presented).await {
            Ok(Proven { principal, step_up }) => {
                let circumstances = Circumstances { step_up, ..circumstances };
                self.step_up(Caller { principal, request_id, circumstances }, presented.code).await
            }
            Err(Unproven::Refused(why)) => Err(self.vault.unauthenticated(request_id, circumstances, &why).await),
            Err(Unproven::Failed(error)) => Err(error),
        }
    }

    /// A code that came along counts for this one request, and is spent whatever becomes of it.
    async fn step_up(&self, mut caller: Caller, code: Option<&str>) -> Result<Caller, Error> {
        if let Some(code) = code {
            caller.circumstances.step_up = Some(self.vault.step_up(&caller, code).await?);
        }
        Ok(caller)
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
