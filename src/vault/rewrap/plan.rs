//! What is to be moved, and where to.

use std::collections::BTreeMap;

use super::recipients;
use crate::crypto::{self, Dek};
use crate::kms::{self, Context};
use crate::store::{KeyUse, KeyVersion};
use crate::vault::keys::org_of;
use crate::vault::names;
use crate::vault::request::Rewrap;
use crate::vault::{Error, Vault};

pub struct Plan {
    /// The newest version of each key that something is moved to.
    newest: BTreeMap<String, KeyVersion>,
    /// Those that have something to move under them.
    pub from: Vec<KeyVersion>,
    pub total: u64,
    /// Configured recipients, and those that are not and have wraps.
    pub lacking: Vec<String>,
    pub strange: Vec<KeyVersion>,
}

impl Plan {
    pub async fn of(vault: &Vault, request: &Rewrap) -> Result<Self, Error> {
        let keyring = vault.keeper.keyring();
        if let Some(org) = request.org.as_ref().filter(|org| *org != names::EVERYTHING) {
            vault.check_name("org", org)?;
        }
        if let Some(to) = request.to.as_ref().filter(|to| keyring.get(to).is_none()) {
            vault.check_no_secret("to", to)?;
            let keys = keyring.keys().collect::<Vec<_>>().join(", ");
            return Err(Error::invalid("to", format!("is none of the configured keys: {keys}")));
        }
        let by_org = request.org.is_some() || (request.to.is_none() && keyring.owners().next().is_some());
        let in_use = vault.store.keys_in_use(by_org).await?;
        if let Some(from) = &request.from
            && keyring.get(from).is_none()
            && !in_use.iter().any(|used| used.under.key == *from)
        {
            return Err(Error::invalid("from", "nothing is wrapped under it, and it is not configured"));
        }

        let mut plan =
            Self { newest: BTreeMap::new(), from: Vec::new(), total: 0, lacking: Vec::new(), strange: Vec::new() };
        for used in in_use.iter().filter(|used| is_meant(used, request)) {
            let target = meant_for(vault, request, &org_of(used));
            let newest = match plan.newest.get(target) {
                Some(newest) => newest,
                None => {
                    let newest = newest_of(vault, target).await?;
                    plan.newest.entry(target.to_owned()).or_insert(newest)
                }
            };
            if used.under != *newest {
                plan.total += used.count;
                if plan.from.last() != Some(&used.under) {
                    plan.from.push(used.under.clone());
                }
            }
        }
        if (&request.to, &request.from, &request.org) == (&None, &None, &None) {
            plan.lacking = keyring.recipients();
            for recipient in &plan.lacking {
                plan.total += recipients::lacking(vault, recipient).await?;
            }
            for used in in_use.iter().filter(|used| used.under.is_recovery()) {
                if !plan.lacking.contains(&used.under.key) {
                    plan.total += used.count;
                    if plan.strange.last() != Some(&used.under) {
                        plan.strange.push(used.under.clone());
                    }
                }
            }
        }
        Ok(plan)
    }

    /// Where to move what is under a key; nowhere, where it is there already or was made after the plan.
    pub fn target(&self, vault: &Vault, request: &Rewrap, under: &KeyVersion, org: &str) -> Option<&KeyVersion> {
        let target = self.newest.get(meant_for(vault, request, org))?;
        let is_meant = request.org.as_ref().is_none_or(|only| only == org);
        Some(target).filter(|target| is_meant && *target != under)
    }
}

fn is_meant(used: &KeyUse, request: &Rewrap) -> bool {
    !used.under.is_recovery()
        && request.from.as_ref().is_none_or(|from| *from == used.under.key)
        && request.org.as_ref().is_none_or(|org| *org == org_of(used))
}

fn meant_for<'a>(vault: &'a Vault, request: &'a Rewrap, org: &str) -> &'a str {
    let keyring = vault.keeper.keyring();
    request.to.as_deref().unwrap_or_else(|| keyring.newest(&Context::for_org_key(org)))
}

/// Nobody but the key's KMS knows which version wraps now.
async fn newest_of(vault: &Vault, uri: &str) -> Result<KeyVersion, Error> {
    let context = Context::new(vec![("purpose", "check".to_owned())]);
    let dek = Dek::new(crypto::random().map_err(Error::bug)?);
    let wrap = vault.keeper.wrap_under(uri, &dek, &context).await;
    Ok(wrap.map_err(|error: kms::Error| Error::from(error))?.under())
}
