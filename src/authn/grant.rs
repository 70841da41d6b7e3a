//! Run-scoped grants: minted, revoked, listed. Their text is shown once; the store keeps a hash.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::text;
use crate::crypto::{self, Secret};
use crate::store::Grant;
use crate::vault::{Action, Caller, Error, ListGrants, Mint, Page, Vault};

/// As long as a run may take.
const DEFAULT_TTL: Duration = Duration::from_secs(3600);
const LONGEST_TTL: Duration = Duration::from_secs(24 * 3600);
const MOST_USES: u32 = 1_000;

pub struct Grants {
    vault: Arc<Vault>,
}

impl Grants {
    pub const fn new(vault: Arc<Vault>) -> Self {
        Self { vault }
    }

    pub async fn mint(&self, caller: &Caller, request: Mint) -> Result<(Secret, Grant), Error> {
        self.vault.mint_grant(caller, &request, |now, credentials| make(caller, &request, now, credentials)).await
    }

    pub async fn revoke(&self, caller: &Caller, id: &str) -> Result<Grant, Error> {
        let Ok(id) = id.parse::<Uuid>() else {
            let error = Error::invalid("id", "must be a grant's id, as `strongroom grant list` shows it");
            return Err(self.vault.refused(caller, Action::RevokeGrant, error).await);
        };
        self.vault.revoke_grant(caller, id).await
    }

    pub async fn list(&self, caller: &Caller, request: ListGrants) -> Result<Page<Grant>, Error> {
        self.vault.grants(caller, request).await
    }
}

fn make(caller: &Caller, request: &Mint, now: Timestamp, credentials: Vec<Uuid>) -> Result<(Secret, Grant), Error> {
    let ttl = request.ttl.unwrap_or(DEFAULT_TTL);
    if ttl.is_zero() || ttl > LONGEST_TTL {
        return Err(Error::invalid("ttl", "must be more than nothing and at most a day"));
    }
    if request.uses > MOST_USES {
        return Err(Error::invalid("uses", format!("must be at most {MOST_USES}")));
    }
    let id = Uuid::now_v7();
    let secret = Zeroizing::new(crypto::random().map_err(Error::bug)?);
    let token = caller.principal.token;
    // It ends with the token that mints it, in any case.
    let end = caller.principal.expires_at.filter(|_| token.is_some());
    let grant = Grant {
        id,
        org: request.org.clone(),
        run: request.run.clone(),
        phase: request.phase.clone(),
        credentials,
        holder: request.holder.clone(),
        uses: request.uses.max(1),
        used: 0,
        hash: text::hash(&secret),
        minted_by: caller.principal.id.clone(),
        minted_with: token,
        created_at: now,
        expires_at: end.map_or(now + ttl, |end| end.min(now + ttl)),
        revoked_at: None,
    };
    Ok((text::GRANT.write(id, &secret), grant))
}
