//! Which rules are in force: policies and providers. No other ones decide anything before a record says so, and what was
//! changed while nobody served is recorded at the next start.

use std::sync::Arc;

use crate::providers::Registry;
use crate::store::Change;
use crate::vault::guard::Guard;
use crate::vault::names::EVERYTHING;
use crate::vault::trail::Trail;
use crate::vault::{Action, Caller, Error, Policies, Vault};

impl Vault {
    /// Takes new rules, and answers what they are known by. They hold from the next request on; without a record the old
    /// ones stay.
    pub async fn replace_rules(&self, policies: Policies, registry: Registry) -> Result<String, Error> {
        let (before, after) = (self.rules(), known_by(&policies.digest, &registry.digest));
        if before != after {
            self.record_rules_change(&before, &after).await?;
        }
        self.guard.replace(policies);
        self.registry.store(Arc::new(registry));
        Ok(after)
    }

    /// At the start: the rules may be others than those that were recorded last.
    pub async fn record_rules(&self) -> Result<(), Error> {
        let (before, after) = (self.store.rules().await?.unwrap_or_default(), self.rules());
        if before == after { Ok(()) } else { self.record_rules_change(&before, &after).await }
    }

    async fn record_rules_change(&self, before: &str, after: &str) -> Result<(), Error> {
        let mut trail = Trail::begin(&Caller::system(), Action::ReplacePolicies).about_org(EVERYTHING);
        trail.changed(before, after);
        let change = Change::KeepRules { digests: after.to_owned() };
        let result = self.guard.commit(&Guard::own_work(), change, &trail).await;
        self.guard.finish(trail, result.map(drop).map_err(Error::from)).await
    }

    fn rules(&self) -> String {
        known_by(&self.guard.digest(), &self.registry.load().digest)
    }
}

fn known_by(policies: &str, providers: &str) -> String {
    format!("policies={policies} providers={providers}")
}
