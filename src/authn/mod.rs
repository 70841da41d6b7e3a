//! Who is calling: each proof yields the same [`Caller`].
//!
//! ```text
//!   authorization: Bearer srt_…       token   a row of ours, by the hash of its text
//!                  Bearer srg_…       grant   the same; or in strongroom-grant, beside any other proof
//!                  Bearer a.b.c       jwt     an issuer's signature, then callers.toml
//!   a client's certificate            mtls    the TLS handshake, then callers.toml      ┐ where there is no
//!   a Unix socket                     unix    the kernel's word, then callers.toml      ┘ authorization
//! ```

pub mod callers;
pub mod grant;
mod granted;
mod known;
mod presented;
mod text;
pub mod token;

use std::sync::Arc;

use arc_swap::ArcSwap;
pub use callers::Callers;
pub use presented::{Certificate, Peer, Presented};

use self::granted::Granted;
use self::known::Known;
use crate::store::{self, Grant, Store};
use crate::vault::{Caller, Circumstances, Error, Principal, Vault};

/// Proves callers by what they present.
pub struct Authenticator {
    vault: Arc<Vault>,
    tokens: Known,
    grants: Granted,
    callers: ArcSwap<Callers>,
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
    pub fn new(store: Arc<dyn Store>, vault: Arc<Vault>, callers: Callers) -> Arc<Self> {
        let (tokens, grants) = (Known::new(Arc::clone(&store)), Granted::new(store));
        Arc::new(Self { vault, tokens, grants, callers: ArcSwap::from_pointee(callers) })
    }

    /// From the next request on.
    pub fn replace(&self, callers: Callers) {
        self.callers.store(Arc::new(callers));
    }

    /// Weighs what a request brings. A failure is recorded before it is told.
    pub async fn authenticate(&self, presented: Presented<'_>, request_id: String) -> Result<Caller, Error> {
        let circumstances = Circumstances { address: presented.peer.address(), ..Circumstances::default() };
        match self.prove_with_grant(presented).await {
            Ok((principal, grant)) => {
                Ok(Caller { principal, request_id, circumstances: Circumstances { grant, ..circumstances } })
            }
            Err(Unproven::Refused(why)) => Err(self.vault.unauthenticated(request_id, circumstances, &why).await),
            Err(Unproven::Failed(error)) => Err(error),
        }
    }

    async fn prove_with_grant(
        &self,
        presented: Presented<'_>,
    ) -> Result<(Arc<Principal>, Option<Arc<Grant>>), Unproven> {
        let bearer = presented.authorization.and_then(bearer).filter(|text| text::GRANT.begins(text));
        match (bearer, presented.grant) {
            (None, None) => Ok((self.prove(presented).await?, None)),
            (None, Some(text)) => {
                let principal = self.prove(presented).await?;
                let grant = self.grants.beside(text, &principal).await?;
                Ok((principal, Some(grant)))
            }
            (Some(text), None) => self.grants.alone(text).await.map(|(principal, grant)| (principal, Some(grant))),
            (Some(_), Some(_)) => Err(refused("two grants were presented")),
        }
    }

    async fn prove(&self, presented: Presented<'_>) -> Result<Arc<Principal>, Unproven> {
        match presented.authorization {
            Some(header) => {
                let text = bearer(header).ok_or_else(|| refused("authorization is not `Bearer` and a token"))?;
                self.tokens.prove(text).await
            }
            None => Err(refused("nothing was presented that proves a caller")),
        }
    }

    /// After a token's end has come nearer, before anybody is told.
    fn forget_tokens(&self) {
        self.tokens.forget();
    }
}

/// The scheme's name is case-insensitive (RFC 9110); the token is not.
fn bearer(header: &str) -> Option<&str> {
    let (scheme, text) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(text)
}

fn refused(why: impl Into<String>) -> Unproven {
    Unproven::Refused(why.into())
}

impl From<store::Error> for Unproven {
    fn from(error: store::Error) -> Self {
        Self::Failed(error.into())
    }
}
