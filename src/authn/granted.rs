//! Grants that are presented: alone, as a bearer token, or beside another proof. None is remembered here: each is used a
//! few times, and whether it is good for one more the store says when it counts.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Unproven, refused, text};
use crate::store::{Grant, Store};
use crate::vault::{Principal, Proof};

/// The tenant of those who are for all.
const ALL: &str = "*";

pub struct Granted {
    store: Arc<dyn Store>,
}

impl Granted {
    pub const fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// A grant that comes alone is a caller of its own, if it is nobody's in particular.
    pub async fn alone(&self, text: &str) -> Result<(Arc<Principal>, Arc<Grant>), Unproven> {
        let grant = self.look_up(text).await?;
        if grant.holder.is_some() {
            return Err(refused(format!("grant {} came without its holder's own proof", grant.id)));
        }
        let principal = Principal {
            id: format!("grant:{}", grant.id),
            name: grant.run.clone(),
            role: "grant".to_owned(),
            org: grant.org.clone(),
            proof: Proof::Grant,
            run: grant.run.clone(),
            phase: grant.phase.clone(),
            expires_at: Some(grant.expires_at),
            known_as: Some(grant.id),
            ..Principal::default()
        };
        Ok((Arc::new(principal), grant))
    }

    /// A grant beside a proof must be for whoever that proves.
    pub async fn beside(&self, text: &str, principal: &Principal) -> Result<Arc<Grant>, Unproven> {
        let grant = self.look_up(text).await?;
        let why = if grant.holder.as_ref().is_some_and(|holder| *holder != principal.id) {
            "another caller"
        } else if principal.org != grant.org && principal.org != ALL {
            "another tenant"
        } else if !principal.run.is_empty() && principal.run != grant.run {
            "another run"
        } else if !principal.phase.is_empty() && !grant.phase.is_empty() && principal.phase != grant.phase {
            "another phase"
        } else {
            return Ok(grant);
        };
        Err(refused(format!("grant {} is for {why}", grant.id)))
    }

    async fn look_up(&self, text: &str) -> Result<Arc<Grant>, Unproven> {
        let (id, secret) = text::GRANT.read(text).ok_or_else(|| refused("the grant is none of ours"))?;
        let grant = self.store.grant(id).await?.ok_or_else(|| refused(format!("grant {id} is unknown")))?;
        if !text::matches(&secret, &grant.hash) {
            return Err(refused(format!("grant {id} has another secret")));
        }
        if !grant.is_good(Timestamp::now()) {
            return Err(refused(format!("grant {id} is used up, revoked or has ended")));
        }
        Ok(Arc::new(grant))
    }
}
