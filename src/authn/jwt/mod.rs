//! Callers whom an issuer vouches for: OpenID Connect's JSON Web Tokens (RFC 7519).
//!
//! ```text
//!   text ─► seen before? ──────────────────────────────────────────────────────────────────► principal
//!           read strictly ─► `iss` and `aud`: which [[issuer]]? ─► its keys ─► signature
//!                                 ─► holds now? ─► attributes ─► exactly one [[caller]] ─► remembered, principal
//! ```
//!
//! What a token says about keys, places and rules is never followed: the configuration alone names issuers, hosts and
//! algorithms.

mod claims;
mod fetch;
mod issuer;
mod jwks;
mod keys;
mod preset;
mod remembered;
#[cfg(test)]
#[path = "../../../tests/it/fake/signer.rs"]
mod signer;
mod strict;
#[cfg(test)]
mod tests;
mod token;

use std::sync::Arc;

use futures_util::future::join_all;
pub use issuer::{Issuer, SUBJECT, Written};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use self::claims::Checked;
use self::jwks::KeySet;
use self::keys::{Held, Keys};
use self::token::{Unsigned, Unverified, Verified};
use super::callers::{Binding, Callers, Unknown};
use super::{Unproven, refused};
use crate::http::Client;
use crate::vault::{Principal, Proof, StepUp};

/// The issuers of a callers.toml, and their keys.
pub struct Issuers {
    client: Arc<Client>,
    callers: Arc<Callers>,
    keys: Vec<Arc<Keys>>,
}

/// Somebody, and the second factor that their token tells of.
#[derive(Clone, Debug)]
pub struct Proven {
    pub principal: Arc<Principal>,
    pub step_up: Option<StepUp>,
    /// For a JWT.
    pub signed_by: Option<SignedBy>,
}

/// The key that a signature was verified with, and the set that it was in.
#[derive(Clone, Debug)]
pub struct SignedBy {
    kid: Option<String>,
    keys: Arc<KeySet>,
}

impl SignedBy {
    fn is_still_in(&self, keys: &Arc<KeySet>) -> bool {
        let kid = self.kid.as_deref();
        Arc::ptr_eq(&self.keys, keys) || keys.find(kid).is_some_and(|key| self.keys.find(kid) == Some(key))
    }
}

impl Issuers {
    pub fn new(client: Arc<Client>, callers: Arc<Callers>) -> Self {
        Self::over(client, callers, None)
    }

    /// Those of another callers.toml. Keys of an issuer that is in both need not be fetched again.
    pub fn replaced(&self, callers: Arc<Callers>) -> Self {
        Self::over(Arc::clone(&self.client), callers, Some(self))
    }

    fn over(client: Arc<Client>, callers: Arc<Callers>, before: Option<&Self>) -> Self {
        let keys = callers.issuers().iter().map(|issuer| {
            let before = before.and_then(|before| before.keys_of(&issuer.name));
            Arc::new(Keys::new(issuer.source.clone(), Arc::clone(&client), before))
        });
        Self { keys: keys.collect(), client, callers }
    }

    fn keys_of(&self, name: &str) -> Option<&Keys> {
        let issuers = self.callers.issuers().iter().zip(&self.keys);
        issuers.into_iter().find(|(issuer, _)| issuer.name == name).map(|(_, keys)| &**keys)
    }

    pub async fn prove(&self, text: &str) -> Result<Proven, Unproven> {
        let wrong = |why: String| refused(format!("a JWT is refused: {why}"));
        token::check_length(text).map_err(wrong)?;
        let now = Timestamp::now();
        let digest = Sha256::digest(text).into();
        if let Some(proven) = self.remembered(&digest, now) {
            return Ok(proven);
        }
        let token = Unverified::read(text).map_err(wrong)?;
        let (issuer, keys) = self.issuer_of(&token).map_err(|why| wrong(why.to_owned()))?;
        let of_issuer = |why: &str| wrong(format!("of {}: {why}", issuer.name));
        let (verified, held) = verify(&token, issuer, keys).await?;
        let checked = claims::check(&verified, issuer, now).map_err(of_issuer)?;
        let span = checked.span;
        let somebody = self.somebody(issuer, checked).map_err(|why| of_issuer(&why))?;
        let signed_by = SignedBy { kid: token.kid().map(str::to_owned), keys: Arc::clone(&held.keys) };
        let proven = Proven { signed_by: Some(signed_by), ..somebody };
        held.remembered.keep(digest, proven.clone(), span, now);
        Ok(proven)
    }

    /// Whether this very text was verified before and is remembered.
    pub fn knows(&self, text: &str) -> bool {
        token::check_length(text).is_ok() && self.remembered(&Sha256::digest(text).into(), Timestamp::now()).is_some()
    }

    fn remembered(&self, digest: &remembered::Digest, now: Timestamp) -> Option<Proven> {
        self.keys.iter().find_map(|keys| keys.held()?.remembered.get(digest, now))
    }

    /// Who says to have signed it, for one of our names.
    fn issuer_of(&self, token: &Unverified<'_>) -> Result<(&Issuer, &Arc<Keys>), &'static str> {
        let name = token.issuer()?;
        let mut known = self.callers.issuers().iter().zip(&self.keys).filter(|(one, _)| one.issuer == name).peekable();
        known.peek().ok_or("its `iss` is no [[issuer]]'s")?;
        let mut found = None;
        for (issuer, keys) in known {
            if token.is_for(&issuer.audience)? && found.replace((issuer, keys)).is_some() {
                return Err("its `aud` names more than one [[issuer]]'s audience");
            }
        }
        found.ok_or("its `aud` is not this issuer's `audience`")
    }

    fn somebody(&self, issuer: &Issuer, checked: Checked) -> Result<Proven, String> {
        let Checked { subject, attributes, step_up, span } = checked;
        let caller = self.callers.find(&issuer.name, &attributes).map_err(|unknown| match unknown {
            Unknown::None => match self.callers.misfits(&issuer.name, &attributes).as_slice() {
                [] => "no [[caller]] is from this issuer".to_owned(),
                misfits => format!("it fits no [[caller]]: {}", misfits.join(", ")),
            },
            Unknown::Ambiguous(names) => format!("it fits more than one [[caller]]: {}", names.join(", ")),
        })?;
        let said = |name: &str| attributes.get(name).cloned().unwrap_or_default();
        let principal = Principal {
            run: said(RUN),
            phase: said(PHASE),
            expires_at: Some(span.end()),
            known_as: Some(Uuid::now_v7()),
            ..caller.principal(format!("{}:{subject}", issuer.name), Proof::Jwt, attributes.clone())
        };
        Ok(Proven { principal: Arc::new(principal), step_up, signed_by: None })
    }

    /// Whether somebody whom `before` let in would be let in as the same by these: under the same rules for their issuer,
    /// by a key that is still one of its own. That their token has not ended is for whoever asks to know.
    pub fn still_vouch(&self, before: &Self, principal: &Principal, signed_by: &SignedBy) -> bool {
        let Some((name, _)) = principal.id.split_once(':') else { return false };
        if !self.keys_of(name).and_then(Keys::latest).is_some_and(|keys| signed_by.is_still_in(&keys)) {
            return false;
        }
        let issuer = |all: &Self| all.callers.issuers().iter().find(|issuer| issuer.name == name).cloned();
        let is_same = |caller: &Binding| {
            let Principal { id, claims, run, phase, expires_at, known_as, .. } = principal.clone();
            Principal { run, phase, expires_at, known_as, ..caller.principal(id, Proof::Jwt, claims) } == *principal
        };
        std::ptr::eq(self, before)
            || (issuer(self) == issuer(before) && self.callers.find(name, &principal.claims).is_ok_and(is_same))
    }

    /// Fetches what is due, again and again, without end.
    pub async fn keep_fresh(&self) {
        join_all(self.keys.iter().map(|keys| keys.keep_fresh())).await;
        // There are none.
        std::future::pending().await
    }
}

/// The attributes that are a run's id and its phase.
const RUN: &str = "run";
const PHASE: &str = "phase";

/// A key that is not there may be a new one.
async fn verify(token: &Unverified<'_>, issuer: &Issuer, keys: &Arc<Keys>) -> Result<(Verified, Arc<Held>), Unproven> {
    let refused = |why: &str| refused(format!("a JWT is refused: of {}: {why}", issuer.name));
    let mut held = keys.get().await.map_err(Unproven::Failed)?;
    let mut verified = token.verify(&held.keys, &issuer.algorithms);
    if matches!(verified, Err(Unsigned::UnknownKey)) {
        held = keys.newer(Some(&held)).await.map_err(Unproven::Failed)?;
        verified = token.verify(&held.keys, &issuer.algorithms);
    }
    match verified {
        Ok(verified) => Ok((verified, held)),
        Err(Unsigned::UnknownKey) => Err(refused("its `kid` is none of the issuer's keys")),
        Err(Unsigned::Refused(why)) => Err(refused(why)),
    }
}
