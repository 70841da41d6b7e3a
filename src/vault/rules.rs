//! Which rules are in force: policies, providers, and who may come in. No other ones decide anything before a record says
//! so, and what was changed while nobody served is recorded at the next start.

use std::sync::Arc;

use crate::providers::Registry;
use crate::store::Change;
use crate::vault::guard::Guard;
use crate::vault::names::EVERYTHING;
use crate::vault::trail::Trail;
use crate::vault::{Action, Caller, Error, Policies, Vault};

/// Who may come in besides those with an API token, by the digests of the files that say so. Empty where there is none.
#[derive(Clone, Debug, Default)]
pub struct Admission {
    /// callers.toml.
    pub callers: String,
    /// Whose certificates clients may come with, and what those have revoked.
    pub authorities: String,
}

impl Vault {
    /// Takes new rules, and answers what they are known by. They hold from the next request on; without a record the old
    /// ones stay. `admit` puts in force who may come in.
    ///
    /// In this order: what is decided before all of them hold is not answered once a record says that they do.
    pub async fn replace_rules(
        &self,
        policies: Policies,
        registry: Registry,
        admission: Admission,
        admit: impl FnOnce() + Send,
    ) -> Result<String, Error> {
        let mut unheard = self.guard.replacing.lock().await;
        let (before, after) = (self.known_by(), known_by(&policies.digest, &registry.digest, &admission));
        if before != after || unheard.is_some() {
            let in_force = self.store.rules().await?;
            // What came of the last try nobody heard: it may be in force, and was this process's own.
            let knows = in_force.as_ref() == Some(&before) || (unheard.is_some() && in_force == *unheard);
            *unheard = Some(after.clone());
            self.put_in_force(&before, &after, knows).await?;
            *unheard = None;
        }
        admit();
        self.registry.store(Arc::new(registry));
        self.admission.store(Arc::new(admission));
        self.guard.replace(Some(policies), &after);
        Ok(after)
    }

    /// At the start: the rules may be others than those that were recorded last.
    pub async fn record_rules(&self, admission: Admission) -> Result<(), Error> {
        self.admission.store(Arc::new(admission));
        let (before, after) = (self.store.rules().await?.unwrap_or_default(), self.known_by());
        if before != after {
            self.put_in_force(&before, &after, false).await?;
        }
        self.guard.replace(None, &after);
        Ok(())
    }

    /// A replica that was away comes with the files that it had: what others have replaced meanwhile it does not bring back.
    /// Whoever had in force what was in force knows what they do.
    async fn put_in_force(&self, before: &str, after: &str, knows: bool) -> Result<(), Error> {
        if let Some(replaced_at) = self.store.rules_replaced(after).await?.filter(|_| !knows) {
            tracing::error!(
                rules = after,
                replaced_at,
                "other replicas have replaced these rules: nothing is answered here before it has the same files. To go \
                 back to these, change something in them, if only a comment"
            );
            return Ok(());
        }
        self.record_rules_change(before, after).await
    }

    async fn record_rules_change(&self, before: &str, after: &str) -> Result<(), Error> {
        let mut trail = Trail::begin(&Caller::system(), Action::ReplacePolicies).about_org(EVERYTHING);
        trail.changed(before, after);
        let change = Change::KeepRules { digests: after.to_owned() };
        let result = self.guard.commit(&Guard::own_work(), change, &trail).await;
        self.guard.finish(trail, result.map(drop).map_err(Error::from)).await
    }

    fn known_by(&self) -> String {
        known_by(&self.guard.digest(), &self.registry.load().digest, &self.admission.load())
    }
}

fn known_by(policies: &str, providers: &str, admission: &Admission) -> String {
    let Admission { callers, authorities } = admission;
    format!("policies={policies} providers={providers} callers={callers} authorities={authorities}")
}
