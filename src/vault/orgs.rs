//! The end of an org: deleted at once, destroyed when its time has come, and proven.
//!
//! ```text
//!   destroy_org ─► all is deleted ──── restore_org ─► all is back
//!                        │ its time has come
//!                        ▼
//!   the org's key and second factors destroyed, tokens and grants revoked     shredOrg
//!   every ciphertext with its wrapped keys                                    destroy, one record each
//!   all read again: nothing is left                                           orgDestroyed, with the counts
//! ```
//!
//! Each step is on disk before the next one begins; after a crash it goes on where it was. What this cannot reach: backups
//! and exports from before. Their ciphertext opens as long as a key does that it was wrapped under: the record names them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use tokio::sync::watch;
use uuid::Uuid;

use crate::kms;
use crate::store::{self, Change, Destruction, OrgChange, OrgEnd, Proof};
use crate::vault::guard::Guard;
use crate::vault::keys::org_of;
use crate::vault::names::{EVERYTHING, PLATFORM};
use crate::vault::policy::Resource;
use crate::vault::trail::Trail;
use crate::vault::{Action, Caller, Error, Vault};

/// Long enough for a weekend to be over before it is.
const DEFAULT_DELAY: Duration = Duration::from_secs(72 * 3600);
const LONGEST_DELAY: Duration = Duration::from_secs(90 * 24 * 3600);

const LOOK: Duration = Duration::from_secs(5);
/// Credentials that share a commit.
const PAGE: u32 = 128;

/// An org's end, and the keys that are the org's alone: destroying them destroys what backups hold.
pub type Ending = (Destruction, Vec<String>);

impl Vault {
    /// From now on nothing of an org is served or stored. Without a delay it is 72 hours until it is destroyed; a delay of
    /// nothing means that it begins at once.
    pub async fn destroy_org(&self, caller: &Caller, org: &str, delay: Option<Duration>) -> Result<Ending, Error> {
        let mut trail = Trail::begin(caller, Action::DestroyOrg);
        let result = async {
            self.about_org(org, &mut trail)?;
            let permit = self.guard.permit(caller, Resource::Org(org), &mut trail)?;
            if org == PLATFORM {
                return Err(Error::invalid("org", "is the operator's own: what all tenants need hangs on it"));
            }
            let delay = delay.unwrap_or(DEFAULT_DELAY);
            if delay > LONGEST_DELAY {
                return Err(Error::invalid("after", "must not be more than 90 days"));
            }
            if let Some(doomed) = self.under_way(org).await? {
                let until = (doomed.began_at.is_none()).then_some(doomed.destroy_at);
                return Err(store::Error::Doomed { org: org.to_owned(), until }.into());
            }
            if self.store.remains(org, trail.at()).await?.is_nothing() {
                return Err(Error::NotFound { what: "there is nothing of this org".to_owned() });
            }
            let own_keys = self.own_keys(org).await?;
            let (id, destroy_at) = (Uuid::now_v7(), trail.at() + delay);
            trail.org_end(OrgEnd { id, destroy_at, destroyed: None, proof: None });
            let (by, by_name) = (caller.principal.id.clone(), caller.principal.name.clone());
            let change = OrgChange::Destroy { id, org: org.to_owned(), by, by_name, destroy_at };
            let committed = self.guard.commit(&permit, Change::Org(change), &trail).await;
            // Whether it was made is unknown when it failed.
            self.cache.forget_org(org).await;
            committed.map_err(changed)?;
            let doomed = self.under_way(org).await?;
            Ok((doomed.ok_or_else(|| Error::bug("an org's end was kept and is not there"))?, own_keys))
        };
        let result = result.await;
        self.guard.finish(trail, result).await
    }

    pub async fn restore_org(&self, caller: &Caller, org: &str) -> Result<Destruction, Error> {
        let mut trail = Trail::begin(caller, Action::RestoreOrg);
        let result = async {
            self.about_org(org, &mut trail)?;
            let permit = self.guard.permit(caller, Resource::Org(org), &mut trail)?;
            let absent = |what: &str| Error::NotFound { what: what.to_owned() };
            let doomed = self.under_way(org).await?.ok_or_else(|| absent("this org is not to be destroyed"))?;
            if doomed.began_at.is_some() || doomed.destroy_at <= trail.at() {
                return Err(absent("its time is over; what the org had is being destroyed"));
            }
            trail.org_end(end_of(&doomed));
            let change = Change::Org(OrgChange::Restore { id: doomed.id });
            self.guard.commit(&permit, change, &trail).await.map_err(changed)?;
            Ok(doomed)
        };
        let result = result.await;
        self.guard.finish(trail, result).await
    }

    /// The ends of orgs, newest first; of one org or of all.
    pub async fn org_destructions(&self, caller: &Caller, org: Option<&str>) -> Result<Vec<Ending>, Error> {
        let mut trail = Trail::begin(caller, Action::ListOrgDestructions);
        let result = async {
            let scope = org.unwrap_or(EVERYTHING);
            self.about_scope(scope, &mut trail)?;
            let permit = self.guard.permit(caller, Resource::Org(scope), &mut trail)?;
            let mut found = Vec::new();
            for row in self.store.destructions(org).await? {
                let own_keys = match &row.proof {
                    Some(proof) => proof.own_keys.clone(),
                    None => self.own_keys(&row.org).await?,
                };
                found.push((row, own_keys));
            }
            self.guard.admit(permit, &trail).await?;
            Ok(found)
        };
        let result = result.await;
        self.guard.finish(trail, result).await
    }

    /// The org's own keys that nothing else needs: neither by the configuration nor by any row.
    async fn own_keys(&self, org: &str) -> Result<Vec<String>, Error> {
        let keyring = self.keeper.keyring();
        let others = keyring.owners().filter(|(it, _)| *it != org).map(|(_, key)| key).chain([keyring.default()]);
        let others: Vec<_> = others.map(kms::asked).collect();
        let own = keyring.owners().filter(|(it, _)| *it == org).map(|(_, key)| kms::asked(key));
        let mut own: Vec<_> = own.filter(|key| !others.contains(key)).map(str::to_owned).collect();
        if !own.is_empty() {
            let in_use = self.store.keys_in_use(true).await?;
            own.retain(|key| in_use.iter().all(|used| kms::asked(&used.under.key) != key || org_of(used) == org));
        }
        Ok(own)
    }

    /// Grows with every org whose tokens were revoked with it: whoever remembers tokens asks.
    pub fn orgs_ended(&self) -> u64 {
        self.orgs_ended.load(Ordering::SeqCst)
    }

    async fn under_way(&self, org: &str) -> Result<Option<Destruction>, Error> {
        Ok(self.store.destructions(Some(org)).await?.into_iter().find(|it| it.ended_at.is_none()))
    }

    /// Runs until shutdown.
    pub(super) async fn keep_ending_orgs(self: Arc<Self>, mut shutdown: watch::Receiver<bool>) {
        let mut look = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                _ = look.tick() => {}
                // An error means that whoever could say so is gone: down as well.
                () = async { drop(shutdown.wait_for(|down| *down).await) } => return,
            }
            if !self.leads().await {
                continue;
            }
            let due = match self.store.due_orgs(Timestamp::now()).await {
                Ok(due) => due,
                Err(error) => {
                    tracing::warn!(cause = %error, "which orgs are to be destroyed could not be read; trying again");
                    continue;
                }
            };
            for doomed in due {
                if let Err(error) = self.end_org(&doomed, &shutdown).await {
                    tracing::error!(org = doomed.org, cause = error.cause(), "not destroyed yet; trying again");
                }
            }
        }
    }

    async fn end_org(&self, doomed: &Destruction, shutdown: &watch::Receiver<bool>) -> Result<(), Error> {
        if doomed.began_at.is_none() {
            let mut trail = Trail::begin(&Caller::system(), Action::ShredOrg).about_org(&doomed.org);
            trail.org_end(end_of(doomed));
            let change = Change::Org(OrgChange::Begin { id: doomed.id });
            let committed = self.guard.commit(&Guard::own_work(), change, &trail).await;
            // Whether it was made is unknown when it failed.
            self.orgs_ended.fetch_add(1, Ordering::SeqCst);
            let result = match committed {
                // Taken back at the last moment.
                Err(store::Error::Stale { .. }) => return Ok(()),
                other => other.map(drop).map_err(Error::from),
            };
            self.guard.finish(trail, result).await?;
        }
        self.cache.forget_org(&doomed.org).await;
        self.keeper.forget_org_keys();
        loop {
            let page = self.store.kept(&doomed.org, PAGE).await?;
            if page.is_empty() {
                return self.prove_end(doomed).await;
            }
            join_all(page.iter().map(|credential| self.destroy(credential)))
                .await
                .into_iter()
                .collect::<Result<(), _>>()?;
            if *shutdown.borrow() {
                return Ok(());
            }
        }
    }

    /// Says that an org is destroyed, once all that it had was read again.
    async fn prove_end(&self, doomed: &Destruction) -> Result<(), Error> {
        let mut trail = Trail::begin(&Caller::system(), Action::OrgDestroyed).about_org(&doomed.org);
        let destroyed = self.under_way(&doomed.org).await?.filter(|it| it.id == doomed.id).map(|it| it.toll);
        let left = self.store.remains(&doomed.org, trail.at()).await?;
        if !left.is_nothing() {
            return Err(Error::bug(format!("something of org {} is left: {left:?}", doomed.org)));
        }
        let proof = Proof { left, own_keys: self.own_keys(&doomed.org).await? };
        trail.org_end(OrgEnd { destroyed, proof: Some(proof.clone()), ..end_of(doomed) });
        let change = Change::Org(OrgChange::End { id: doomed.id, proof });
        match self.guard.commit(&Guard::own_work(), change, &trail).await {
            // A reader keeps the write-ahead log from being emptied: the next look finds it done.
            Err(store::Error::Stale { .. }) => Ok(()),
            other => {
                let result = other.map(drop).map_err(Error::from);
                self.guard.finish(trail, result).await
            }
        }
    }
}

fn end_of(doomed: &Destruction) -> OrgEnd {
    OrgEnd { id: doomed.id, destroy_at: doomed.destroy_at, destroyed: None, proof: None }
}

/// What the store says of credentials, said of orgs.
fn changed(error: store::Error) -> Error {
    match error {
        store::Error::Stale { .. } => Error::conflict("the org has changed meanwhile; look at `strongroom org status`"),
        error => error.into(),
    }
}
