//! Audit chains that nobody writes any more: one replica at a time does for them what their processes have left undone. It
//! prunes them, signs for their last records, and has these reach the copies of the log. Beside its own chain, which does
//! not wait for it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use crate::store::{Store, Takers};
use crate::vault::{Error, Vault};

/// So often it is looked for them, however seldom checkpoints are made.
const LONGEST: Duration = Duration::from_secs(60);

/// Where copies of the audit log go.
#[async_trait]
pub trait Copies: Send + Sync {
    /// Those that take something, as far as is known.
    fn takers(&self) -> Takers;

    /// Hands on what they lack of a chain. Comes back before long: what they do not take until then, they still lack.
    async fn complete(&self, chain: Arc<dyn Store>);
}

impl Vault {
    /// Until shutdown.
    pub async fn attend_to_others(self: Arc<Self>, copies: Arc<dyn Copies>, mut shutdown: watch::Receiver<bool>) {
        if !self.store.is_shared() {
            return;
        }
        let every = self.ledger.auditing.checkpoint_every.min(LONGEST);
        let mut round = tokio::time::interval_at(Instant::now() + every, every);
        round.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = async { drop(shutdown.wait_for(|down| *down).await) } => return,
                _ = round.tick() => {}
            }
            self.attend_to_each(copies.as_ref(), &shutdown).await;
        }
    }

    /// Where it ends in the middle of one, the claim to that chain ends some time after.
    async fn attend_to_each(&self, copies: &dyn Copies, shutdown: &watch::Receiver<bool>) {
        let mut after = String::new();
        while self.leads().await && !*shutdown.borrow() {
            let adopted: Arc<dyn Store> = match self.store.adopt(&after, self.cutoff(), &copies.takers()).await {
                Ok(Some(adopted)) => adopted.into(),
                Ok(None) => return,
                Err(error) => {
                    return tracing::warn!(cause = %error, "audit chains that nobody writes could not be adopted");
                }
            };
            let chain = adopted.instance().to_owned();
            // Before any of it is pruned; and then what was signed.
            copies.complete(Arc::clone(&adopted)).await;
            if let Err(error) = self.attend_to(adopted.as_ref(), shutdown).await {
                metrics::counter!("strongroom_audit_checkpoint_failures_total").increment(1);
                let cause = error.cause();
                tracing::error!(chain, cause, "an audit chain that nobody writes was not looked after; trying again");
            }
            copies.complete(Arc::clone(&adopted)).await;
            // It waits for what is under way.
            _ = tokio::task::spawn_blocking(move || drop(adopted)).await;
            after = chain;
        }
    }

    async fn attend_to(&self, adopted: &dyn Store, shutdown: &watch::Receiver<bool>) -> Result<(), Error> {
        let pruned = self.prune_audit(adopted, shutdown).await;
        let (chain, size) = (adopted.instance(), *adopted.newest_record().borrow());
        let signed = adopted.checkpoint(chain, u64::MAX).await?.map_or(0, |newest| newest.size);
        if signed < size {
            let (signer, newest) = (self.audit_signer(adopted).await?, watch::Sender::new(0));
            self.sign(adopted, &signer, &newest).await?;
            let size = *newest.borrow();
            tracing::info!(chain, size, "nobody writes this audit chain any more; it is signed for up to its end");
        }
        pruned.map(drop)
    }
}
