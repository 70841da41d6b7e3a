//! What the vault does when nobody asks: frees expired plaintext, destroys deleted ciphertext when its time has come, tests
//! what is due, tells of credentials that have come near their end.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use jiff::Timestamp;
use tokio::sync::watch;

use crate::store::{self, ApprovalChange, Change, Credential, FactorChange, Health, Target, Word as _};
use crate::vault::guard::Guard;
use crate::vault::trail::Trail;
use crate::vault::{Action, Caller, Error, Vault, stepup, tally};

/// Expired plaintext leaves the memory within this time.
const TEND: Duration = Duration::from_millis(250);

const DESTROY: Duration = Duration::from_secs(5);
const TELL: Duration = Duration::from_secs(1);
const DESTROY_AT_ONCE: u32 = 100;

const END: Duration = Duration::from_secs(10);
const END_AT_ONCE: u32 = 100;

const TELL_AT_ONCE: u32 = 100;
const CHANGES_AT_ONCE: u32 = 256;
const COUNT: Duration = Duration::from_secs(30);

impl Vault {
    /// Runs until shutdown.
    pub async fn upkeep(self: Arc<Self>, mut shutdown: watch::Receiver<bool>) {
        let mut tend = tokio::time::interval(TEND);
        let mut destroy = tokio::time::interval(DESTROY);
        let mut tell = tokio::time::interval(TELL);
        let mut end = tokio::time::interval(END);
        let mut count = tokio::time::interval(COUNT);
        let mut sum_up = tokio::time::interval(tally::EVERY);
        let testing = tokio::spawn(Arc::clone(&self).keep_testing(shutdown.clone()).boxed());
        let ledger = tokio::spawn(Arc::clone(&self).keep_ledger(shutdown.clone()).boxed());
        let ending = tokio::spawn(Arc::clone(&self).keep_ending_orgs(shutdown.clone()).boxed());
        let others = self.store.is_shared().then(|| Arc::clone(&self).follow_others(shutdown.clone()));
        let others = others.map(tokio::spawn);
        // Only this program's `recover`, which needs the daemon stopped, proves it anew.
        self.tell_recovery().await;
        loop {
            tokio::select! {
                _ = tend.tick() => self.cache.tend().await,
                _ = destroy.tick() => if self.leads().await { self.destroy_due().await },
                _ = tell.tick() => if self.leads().await { self.tell_due().await },
                _ = end.tick() => if self.leads().await { self.end_step_up().await },
                _ = count.tick() => self.count_unhealthy().await,
                _ = sum_up.tick() => self.record_counted().await,
                // An error means that whoever could say so is gone: down as well.
                () = async { drop(shutdown.wait_for(|down| *down).await) } => break,
            }
        }
        for (what, task) in
            [("the schedule of tests", testing), ("the audit log's upkeep", ledger), ("the end of orgs", ending)]
        {
            if let Err(fault) = task.await {
                tracing::error!(cause = %fault, what, "ended by a fault");
            }
        }
        if let Some(Err(fault)) = futures_util::future::OptionFuture::from(others).await {
            tracing::error!(cause = %fault, "following what others change ended by a fault");
        }
        self.cache.forget_all().await;
    }

    /// Whether this process is the one that does what is to be done once.
    pub(super) async fn leads(&self) -> bool {
        match self.store.leads().await {
            Ok(leads) => leads,
            Err(error) => {
                tracing::warn!(cause = %error, "whether upkeep is this process's part could not be read; trying again");
                false
            }
        }
    }

    /// What other processes have changed is not kept in memory any longer than until it is heard of. No answer depends on
    /// that: each is confirmed.
    async fn follow_others(self: Arc<Self>, mut shutdown: watch::Receiver<bool>) {
        let mut news = self.store.newest_change();
        let mut after = *news.borrow_and_update();
        loop {
            tokio::select! {
                changed = news.changed() => if changed.is_err() { return },
                () = async { drop(shutdown.wait_for(|down| *down).await) } => return,
            }
            news.borrow_and_update();
            loop {
                let changes = match self.store.changes(None, after, CHANGES_AT_ONCE).await {
                    Ok(changes) => changes,
                    Err(error) => {
                        tracing::warn!(cause = %error, "what others changed could not be read; all is forgotten");
                        self.cache.forget_all().await;
                        break;
                    }
                };
                let Some(last) = changes.last().map(|change| change.sequence) else { break };
                after = last;
                for change in &changes {
                    self.cache.outdate(&change.credential).await;
                }
            }
        }
    }

    /// Records the refusals that were only counted. Also the last thing that a daemon does, when nobody is served any more.
    pub async fn record_counted(&self) {
        if let Err(error) = self.guard.record_counted().await {
            tracing::error!(cause = error.cause(), "refusals that came often could not be recorded; they count on");
        }
    }

    /// What nobody has confirmed, decided or used in time goes.
    async fn end_step_up(&self) {
        let now = Timestamp::now();
        let ended = async {
            let since = now - stepup::CONFIRM_WITHIN;
            let approvals = self.store.ended_approvals(now, END_AT_ONCE).await?;
            Ok::<_, store::Error>((approvals, self.store.waiting_factors(since, END_AT_ONCE).await?))
        };
        let (approvals, factors) = match ended.await {
            Ok(ended) => ended,
            Err(error) => return tracing::warn!(cause = %error, "what has ended could not be read; trying again"),
        };
        let approvals = approvals.into_iter().map(|approval| {
            let mut trail = Trail::begin(&Caller::system(), Action::ExpireApproval).about(&approval.path);
            trail.approval(approval.id);
            (trail, Change::Approval(ApprovalChange::Expire { id: approval.id }))
        });
        let factors = factors.into_iter().map(|factor| {
            let mut trail = Trail::begin(&Caller::system(), Action::RemoveSecondFactor).about_org(&factor.org);
            trail.named(&factor.caller);
            (trail, Change::Factor(FactorChange::Forget { caller: factor.caller, id: factor.id }))
        });
        for (trail, change) in approvals.chain(factors) {
            let result = match self.guard.commit(&Guard::own_work(), change, &trail).await {
                // Used or confirmed at the last moment.
                Err(store::Error::Stale { .. }) => continue,
                other => other.map(drop).map_err(Error::from),
            };
            if let Err(error) = self.guard.finish(trail, result).await {
                tracing::error!(cause = error.cause(), "what has ended could not be removed; trying again");
            }
        }
    }

    /// Tells of those whose health time alone has changed.
    async fn tell_due(&self) {
        let now = Timestamp::now();
        let due = match self.store.to_tell(now, TELL_AT_ONCE).await {
            Ok(due) => due,
            Err(error) => {
                return tracing::warn!(cause = %error, "whose health has changed could not be read; trying again");
            }
        };
        for credential in due {
            let mut trail = Trail::begin(&Caller::system(), Action::Health).about(&credential.path);
            trail.found(&credential);
            trail.fingerprint(&credential.fingerprint);
            let change = Change::Tell { target: Target { credential: credential.id, revision: credential.revision } };
            let health = credential.health(trail.at()).word();
            let result = match self.guard.commit_as(&Guard::own_work(), change, &trail, health).await {
                // Changed at the last moment: the change told of it.
                Err(store::Error::Stale { .. }) => continue,
                other => other.map(drop).map_err(Error::from),
            };
            if let Err(error) = self.guard.finish_as(trail, result, health).await {
                tracing::error!(cause = error.cause(), "a change of health could not be told; trying again");
            }
        }
    }

    /// Seconds since 1970; 0 is never.
    async fn tell_recovery(&self) {
        match self.store.recovery_proven().await {
            Ok(at) => metrics::gauge!("strongroom_recovery_proven_timestamp_seconds")
                .set(at.map_or(0.0, |at| at.as_second() as f64)),
            Err(error) => tracing::warn!(cause = %error, "when recovery was proven could not be read"),
        }
    }

    async fn count_unhealthy(&self) {
        let Ok(counts) = self.store.unhealthy().await else { return };
        for health in [Health::Failing, Health::Expiring, Health::Expired] {
            let count = counts.iter().find(|(one, _)| *one == health).map_or(0, |(_, count)| *count);
            metrics::gauge!("strongroom_credentials_unhealthy", "health" => health.word()).set(count as f64);
        }
    }

    async fn destroy_due(&self) {
        let due = match self.store.due(Timestamp::now(), DESTROY_AT_ONCE).await {
            Ok(due) => due,
            Err(error) => {
                return tracing::warn!(cause = %error, "what is due to be destroyed could not be read; trying again");
            }
        };
        for credential in due {
            if let Err(error) = self.destroy(&credential).await {
                tracing::error!(cause = error.cause(), "what is due could not be destroyed; trying again");
            }
        }
    }

    /// Destroys what a deleted credential still has, unless it was taken back at the last moment.
    pub(super) async fn destroy(&self, credential: &Credential) -> Result<(), Error> {
        let mut trail = Trail::begin(&Caller::system(), Action::Destroy).about(&credential.path);
        trail.found(credential);
        trail.fingerprint(&credential.fingerprint);
        let target = Target { credential: credential.id, revision: credential.revision };
        let result = match self.guard.commit(&Guard::own_work(), Change::Destroy { target }, &trail).await {
            Err(store::Error::Stale { .. }) => return Ok(()),
            other => other.map(drop).map_err(Error::from),
        };
        self.guard.finish(trail, result).await
    }
}
