//! Which keys wrap what: so that nobody destroys one that something still needs.

use std::collections::BTreeMap;

use crate::store::{HolderKind, KeyUse};
use crate::vault::names::{EVERYTHING, PLATFORM};
use crate::vault::policy::Resource;
use crate::vault::request::{Holders, KeyInUse};
use crate::vault::trail::Trail;
use crate::vault::{Action, Caller, Error, Vault};

impl Vault {
    /// Every key and version in use, and the configured keys that nothing is wrapped under.
    pub async fn keys(&self, caller: &Caller, by_org: bool) -> Result<Vec<KeyInUse>, Error> {
        let mut trail = Trail::begin(caller, Action::ListKeys);
        let result = async {
            self.about_scope(EVERYTHING, &mut trail)?;
            let permit = self.guard.permit(caller, Resource::Org(EVERYTHING), &mut trail)?;
            let in_use = self.store.keys_in_use(by_org).await?;
            self.guard.admit(permit, &trail).await?;
            Ok(self.described_keys(in_use, by_org))
        };
        let result = result.await;
        self.guard.finish(trail, result).await
    }

    /// What rows are under and nobody has configured, and how many do not open for it.
    pub async fn unconfigured_keys(&self) -> Result<BTreeMap<String, u64>, Error> {
        let mut unconfigured = BTreeMap::new();
        for KeyUse { under, count, .. } in self.store.keys_in_use(false).await? {
            if !under.is_recovery() && self.keeper.keyring().get(&under.key).is_none() {
                *unconfigured.entry(under.key).or_default() += count;
            }
        }
        Ok(unconfigured)
    }

    fn described_keys(&self, in_use: Vec<KeyUse>, by_org: bool) -> Vec<KeyInUse> {
        let mut keys = BTreeMap::new();
        for used in in_use {
            let org = org_of(&used);
            let KeyUse { under, kind, count, .. } = used;
            let row = keys
                .entry((under.key.clone(), under.version.clone()))
                .or_insert_with(|| self.key_in_use(&under.key, &under.version, under.is_recovery()));
            row.held.add(kind, count);
            if by_org {
                row.by_org.entry(org).or_default().add(kind, count);
            }
        }
        let keyring = self.keeper.keyring();
        let configured = keyring.keys().map(|uri| (uri.to_owned(), false));
        for (uri, recovery) in configured.chain(keyring.recipients().into_iter().map(|uri| (uri, true))) {
            if !keys.keys().any(|(key, _)| *key == uri) {
                keys.insert((uri.clone(), String::new()), self.key_in_use(&uri, "", recovery));
            }
        }
        keys.into_values().collect()
    }

    fn key_in_use(&self, key: &str, version: &str, recovery: bool) -> KeyInUse {
        let keyring = self.keeper.keyring();
        KeyInUse {
            configured: keyring.get(key).is_some() || keyring.recipients().iter().any(|uri| uri == key),
            default: keyring.default() == key,
            recovery,
            owners: keyring.owners().filter(|(_, uri)| *uri == key).map(|(org, _)| org.to_owned()).collect(),
            key: key.to_owned(),
            version: version.to_owned(),
            held: Holders::default(),
            by_org: BTreeMap::new(),
        }
    }
}

/// The org whose key is meant for it: audit keys belong to all, second factors to the operator.
pub fn org_of(used: &KeyUse) -> String {
    match used.kind {
        HolderKind::Version | HolderKind::OrgKey => used.org.clone().unwrap_or_default(),
        HolderKind::AuditKey => EVERYTHING.to_owned(),
        HolderKind::Factor => PLATFORM.to_owned(),
    }
}

impl Holders {
    const fn add(&mut self, kind: HolderKind, count: u64) {
        match kind {
            HolderKind::Version => self.versions += count,
            HolderKind::OrgKey => self.org_keys += count,
            HolderKind::AuditKey => self.audit_keys += count,
            HolderKind::Factor => self.factors += count,
        }
    }
}
