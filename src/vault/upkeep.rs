//! What the vault does when nobody asks: frees expired plaintext, destroys deleted ciphertext when its time has come.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::store::{self, Change, Target};
use crate::vault::guard::Guard;
use crate::vault::trail::Trail;
use crate::vault::{Action, Caller, Error, Vault};

/// Expired plaintext leaves the memory within this time.
const TEND: Duration = Duration::from_millis(250);

const DESTROY: Duration = Duration::from_secs(5);
const DESTROY_AT_ONCE: u32 = 100;

impl Vault {
    /// Runs until shutdown.
    pub async fn upkeep(self: Arc<Self>, mut shutdown: watch::Receiver<bool>) {
        let mut tend = tokio::time::interval(TEND);
        let mut destroy = tokio::time::interval(DESTROY);
        loop {
            tokio::select! {
                _ = tend.tick() => self.cache.tend().await,
                _ = destroy.tick() => self.destroy_due().await,
                // An error means that whoever could say so is gone: down as well.
                () = async { drop(shutdown.wait_for(|down| *down).await) } => break,
            }
        }
        self.cache.forget_all().await;
    }

    async fn destroy_due(&self) {
        let due = match self.store.due(Timestamp::now(), DESTROY_AT_ONCE).await {
            Ok(due) => due,
            Err(error) => {
                return tracing::warn!(cause = %error, "what is due to be destroyed could not be read; trying again");
            }
        };
        for credential in due {
            let mut trail = Trail::begin(&Caller::system(), Action::Destroy).about(&credential.path);
            trail.found(&credential);
            trail.fingerprint(&credential.fingerprint);
            let target = Target { credential: credential.id, revision: credential.revision };
            let result = match self.guard.commit(&Guard::own_work(), Change::Destroy { target }, &trail).await {
                // Taken back at the last moment.
                Err(store::Error::Stale { .. }) => continue,
                other => other.map(drop).map_err(Error::from),
            };
            if let Err(error) = self.guard.finish(trail, result).await {
                tracing::error!(cause = error.cause(), "what is due could not be destroyed; trying again");
            }
        }
    }
}
