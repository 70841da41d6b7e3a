//! Who is calling: each proof yields the same [`Caller`].
//!
//! ```text
//!   authorization: Bearer srt_…       token       a row of ours, by the hash of its text
//!                  Bearer srg_…       grant       the same; or in strongroom-grant, beside any other proof
//!                  Bearer srb_…       bootstrap   the daemon's own first words, while nobody is known
//!                  Bearer a.b.c       jwt         an issuer's signature, then callers.toml
//!   a client's certificate            mtls        the TLS handshake, then callers.toml      ┐ where there is no
//!   a Unix socket                     unix        the kernel's word, then callers.toml      ┘ authorization
//! ```

pub mod authorities;
mod bootstrap;
pub mod callers;
pub mod grant;
mod granted;
mod jwt;
mod known;
mod mtls;
mod presented;
mod strangers;
mod text;
pub mod token;
mod unix;

use std::sync::Arc;
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption};
pub use authorities::Authorities;
pub use callers::Callers;
use jiff::Timestamp;
pub use presented::{Certificate, Peer, Presented, Source};
use tokio::sync::{Notify, watch};

use self::bootstrap::Bootstrap;
use self::granted::Granted;
use self::jwt::{Issuers, Proven, SignedBy};
use self::known::Known;
use self::mtls::Weighed;
use self::strangers::Strangers;
use crate::crypto::Secret;
use crate::http::Client;
use crate::store::{self, Grant, Store};
use crate::vault::{Action, Caller, Circumstances, Error, Principal, Proof, Standing, Vault};

/// Proves callers by what they present.
pub struct Authenticator {
    vault: Arc<Vault>,
    tokens: Known,
    grants: Granted,
    callers: ArcSwap<Callers>,
    issuers: ArcSwap<Issuers>,
    replaced: Notify,
    authorities: ArcSwapOption<Authorities>,
    strangers: Strangers,
    bootstrap: Bootstrap,
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
            tokens: Known::new(Arc::clone(&store)),
            grants: Granted::new(store),
            issuers: ArcSwap::from_pointee(Issuers::new(Arc::new(client), Arc::clone(&callers))),
            callers: ArcSwap::new(callers),
            replaced: Notify::new(),
            authorities: ArcSwapOption::empty(),
            strangers: Strangers::new(failures),
            bootstrap: Bootstrap::default(),
        })
    }

    /// From the next request on.
    pub fn replace(&self, callers: Callers) {
        if !callers.is_empty() {
            self.bootstrap.end();
        }
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

    /// Whose certificates count from the next request on, on connections that are open already too.
    pub fn trust(&self, authorities: Option<Arc<Authorities>>) {
        self.authorities.store(authorities);
    }

    /// Whether nobody can come in: no token was ever issued, and callers.toml names nobody.
    pub async fn knows_nobody(&self) -> Result<bool, Error> {
        Ok(self.callers.load().is_empty() && self.vault.has_no_token().await?)
    }

    /// A bootstrap token, for a vault that knows nobody.
    pub fn offer_bootstrap(&self) -> Result<Secret, Error> {
        self.bootstrap.offer()
    }

    /// Weighs what a request brings. A failure is recorded before it is told.
    pub async fn authenticate(self: &Arc<Self>, presented: Presented<'_>, request_id: String) -> Result<Caller, Error> {
        let issuers = self.issuers.load_full();
        let certificate = self.certificate(presented.peer);
        let identity = certificate.as_deref().and_then(Weighed::identity);
        let circumstances = Circumstances {
            address: presented.peer.address(),
            certificate: identity,
            // What is no id is nobody's, as the nil id is.
            named_approval: presented.approval.map(|id| id.parse().unwrap_or_default()),
            ..Circumstances::default()
        };
        let (source, now) = (presented.peer.source(), Instant::now());
        let is_suspect = self.strangers.lists(source, now) && !self.knows(&presented);
        if is_suspect && let Err(retry_after) = self.strangers.admit(source, now) {
            metrics::counter!("strongroom_limited_total", "limit" => "failed_authentications").increment(1);
            let caller = Caller { circumstances, ..Caller::anonymous(request_id) };
            return Err(self.vault.refused(&caller, Action::Authenticate, Error::Limited { retry_after }).await);
        }
        match self.prove_with_grant(presented, certificate.as_deref()).await {
            Ok((Proven { principal, step_up, signed_by }, grant)) => {
                if is_suspect {
                    self.strangers.proved(source, now);
                }
                let standing = self.standing(presented.peer, certificate.as_deref(), &principal, (issuers, signed_by));
                let circumstances = Circumstances { step_up, grant, ..circumstances };
                let caller = Caller { circumstances, standing, ..Caller::new(principal, request_id) };
                self.step_up(caller, presented.code).await
            }
            Err(Unproven::Refused(why)) => {
                metrics::counter!("strongroom_failed_authentications_total").increment(1);
                self.strangers.failed(source, now);
                Err(self.vault.unauthenticated(request_id, circumstances, &why).await)
            }
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

    /// Whether this was proven before, or is what the connection itself brought: that is no stranger's.
    fn knows(&self, presented: &Presented<'_>) -> bool {
        match presented.authorization {
            Some(header) => header.split_once(' ').is_some_and(|(_, text)| match text.contains('.') {
                true => self.issuers.load().knows(text),
                false => self.tokens.knows(text),
            }),
            None => presented.grant.is_none(),
        }
    }

    async fn prove_with_grant(
        &self,
        presented: Presented<'_>,
        certificate: Option<&Weighed>,
    ) -> Result<(Proven, Option<Arc<Grant>>), Unproven> {
        let bearer = presented.authorization.and_then(bearer).filter(|text| text::GRANT.begins(text));
        match (bearer, presented.grant) {
            (None, None) => Ok((self.prove(presented, certificate).await?, None)),
            (None, Some(text)) => {
                let proven = self.prove(presented, certificate).await?;
                let grant = self.grants.beside(text, &proven.principal).await?;
                Ok((proven, Some(grant)))
            }
            (Some(text), None) => {
                let (principal, grant) = self.grants.alone(text).await?;
                Ok((Proven { principal, step_up: None, signed_by: None }, Some(grant)))
            }
            (Some(_), Some(_)) => Err(refused("two grants were presented")),
        }
    }

    /// What is presented in words decides; a connection speaks only for whoever presents nothing.
    async fn prove(&self, presented: Presented<'_>, certificate: Option<&Weighed>) -> Result<Proven, Unproven> {
        let principal = match (presented.authorization, certificate, presented.peer) {
            (Some(header), ..) => {
                let text = bearer(header).ok_or_else(|| refused("authorization is not `Bearer` and one token"))?;
                // No token of ours has a dot.
                if text.contains('.') {
                    return self.issuers.load_full().prove(text).await;
                }
                match bootstrap::is_one(text) {
                    true => self.bootstrap.prove(text)?,
                    false => self.tokens.prove(text, self.vault.orgs_ended()).await?,
                }
            }
            (None, certificate, peer) => self.by_connection(peer, certificate).map_err(refused)?,
        };
        Ok(Proven { principal, step_up: None, signed_by: None })
    }

    fn by_connection(&self, peer: &Peer, certificate: Option<&Weighed>) -> Result<Arc<Principal>, String> {
        match (certificate, peer) {
            (Some(certificate), _) => certificate.principal().map_err(str::to_owned),
            (None, Peer::Unix { uid, gid, .. }) => unix::find(&self.callers.load(), *uid, *gid),
            (None, Peer::Tcp { .. }) => Err("nothing was presented that proves a caller".to_owned()),
        }
    }

    /// Everything of the proof that can end without the store.
    fn standing(
        self: &Arc<Self>,
        peer: &Peer,
        certificate: Option<&Weighed>,
        principal: &Arc<Principal>,
        (issuers, signed_by): (Arc<Issuers>, Option<SignedBy>),
    ) -> Standing {
        if certificate.is_none() && !matches!(principal.proof, Proof::Unix | Proof::Jwt | Proof::Bootstrap) {
            return Standing::default();
        }
        let identity = certificate.and_then(Weighed::identity);
        let (this, peer, principal) = (Arc::clone(self), peer.clone(), Arc::clone(principal));
        Standing::of(move || {
            let certificate = this.certificate(&peer);
            let stands = match principal.proof {
                Proof::Mtls | Proof::Unix => {
                    this.by_connection(&peer, certificate.as_deref()).is_ok_and(|now| now == principal)
                }
                Proof::Jwt => {
                    principal.expires_at.is_none_or(|end| Timestamp::now() < end)
                        && signed_by
                            .as_ref()
                            .is_some_and(|by| this.issuers.load().still_vouch(&issuers, &principal, by))
                }
                Proof::Bootstrap => this.bootstrap.is_offered(),
                _ => true,
            };
            stands && identity == certificate.as_deref().and_then(Weighed::identity)
        })
    }

    fn certificate(&self, peer: &Peer) -> Option<Arc<Weighed>> {
        let Peer::Tcp { certificate: Some(certificate), .. } = peer else { return None };
        // Without authorities, there is no certificate that a handshake asked for.
        let authorities = self.authorities.load_full()?;
        Some(Weighed::of(certificate, &authorities, &self.callers.load_full()))
    }

    fn end_bootstrap(&self) {
        self.bootstrap.end();
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
