//! What other replicas have changed, seen soon; and that this process is there, said often.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::chain::Chain;
use super::pool::Pool;
use super::server::Server;
use super::settled::Settled;
use crate::store::sql::Sql;

/// Who has changed rows says so to all who listen; empty, as only that it happened matters. Engines that speak PostgreSQL's
/// protocol may lack it, and a pooler may lose it: it is looked all the same.
pub const LISTEN: &str = "LISTEN strongroom_changes";
/// One transaction, which nobody would miss.
pub const NOTIFY: &str = "SET LOCAL lock_timeout = 50; SET LOCAL synchronous_commit = off; NOTIFY strongroom_changes";

/// So often it is looked whether there is something new, told or not.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Not sooner after another look, however much is told.
const PAUSE: Duration = Duration::from_millis(100);
const RENEW_EVERY: Duration = Duration::from_secs(20);

/// Until it is aborted.
pub async fn follow(server: Arc<Server>, readers: Arc<Pool>, chain: Arc<Chain>, settled: Arc<Settled>) {
    let mut renewed = Instant::now();
    loop {
        tokio::time::sleep(PAUSE).await;
        _ = tokio::time::timeout(LOOK_EVERY - PAUSE, server.told().notified()).await;
        let seen = Arc::clone(&settled);
        if let Ok(newest) = readers.read(move |connection| seen.watch(connection)).await {
            chain.newest.change.send_if_modified(|change| std::mem::replace(change, newest.max(*change)) < newest);
        }
        if renewed.elapsed() >= RENEW_EVERY {
            let ours = Arc::clone(&chain);
            let renew = move |connection: &dyn Sql| Ok((ours.claim.renew(connection)?, ours.clock.look(connection)));
            match readers.read(renew).await {
                Ok((true, clock)) => {
                    renewed = Instant::now();
                    if let Err(error) = clock {
                        tracing::error!(cause = %error, "nothing is answered");
                    }
                }
                Ok((false, _)) => {
                    tracing::error!(cause = %chain.claim.lost(), "this process writes nothing any more");
                    return;
                }
                Err(error) => tracing::warn!(cause = %error, "the claim to the audit chain could not be renewed"),
            }
        }
    }
}
