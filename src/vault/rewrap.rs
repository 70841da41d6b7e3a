//! Moves wrapped keys to the newest version of their key, or to another, while everything is served. Blobs are not touched.
//!
//! ```text
//!   for each page:  unwrap, prove that it opens what is held, wrap under the target
//!                   commit the new wraps BESIDE the old ones
//!                   read them back, unwrap, compare, open what is held
//!                   drop the old ones, with the page's record
//! ```
//!
//! Killed at any moment, every holder has a wrap that opens. Begun again, it goes on with what is left: what is done is not
//! under the old key any more.

mod page;
mod plan;
mod recipients;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::{OwnedMutexGuard, mpsc};

use self::plan::Plan;
use crate::store::Change;
use crate::vault::guard::{Guard, Permit};
use crate::vault::names::EVERYTHING;
use crate::vault::policy::Resource;
use crate::vault::request::{NotRewrapped, Rewrap, Rewrapped};
use crate::vault::trail::Trail;
use crate::vault::{Action, Caller, Error, Vault};

/// So many at a time: each page is two commits, and the writer does nothing else meanwhile.
const PAGE: u32 = 64;
/// So many keys are asked of the KMS at the same time.
const AT_ONCE: usize = 8;
/// So many failures are told one by one; the rest is counted.
const TOLD: u64 = 1_000;

type News = Result<Rewrapped, Error>;

impl Vault {
    /// One at a time. It stops after its page when nobody listens any more.
    pub async fn rewrap(self: &Arc<Self>, caller: &Caller, request: Rewrap) -> Result<BoxStream<'static, News>, Error> {
        let mut trail = Trail::begin(caller, Action::Rewrap);
        let result = async {
            self.about_scope(EVERYTHING, &mut trail)?;
            let permit = self.guard.permit(caller, Resource::Org(EVERYTHING), &mut trail)?;
            let alone = Arc::clone(&self.rewrapping).try_lock_owned();
            let alone = alone.map_err(|_| Error::conflict("another rewrap is under way"))?;
            let plan = Plan::of(self, &request).await?;
            trail.changed(request.from.as_deref().unwrap_or_default(), request.to.as_deref().unwrap_or_default());
            self.guard.commit(&permit, Change::Record, &trail).await?;
            Ok((permit, alone, plan))
        };
        let result = result.await;
        let (permit, alone, plan) = self.guard.finish(trail, result).await?;
        let (news, ready) = mpsc::channel(1);
        let so_far = Rewrapped { total: plan.total, ..Rewrapped::default() };
        let (vault, caller) = (Arc::clone(self), caller.clone());
        let run = Run { vault, caller, permit, request, plan, so_far, news, begun: Instant::now(), _alone: alone };
        tokio::spawn(run.finish());
        Ok(stream::unfold(ready, |mut ready| async { ready.recv().await.map(|news| (news, ready)) }).boxed())
    }
}

struct Run {
    vault: Arc<Vault>,
    caller: Caller,
    permit: Permit,
    request: Rewrap,
    plan: Plan,
    so_far: Rewrapped,
    news: mpsc::Sender<News>,
    begun: Instant,
    _alone: OwnedMutexGuard<()>,
}

/// Nobody listens any more, or it cannot go on.
enum End {
    Unheard,
    Failed(Error),
}

impl<E: Into<Error>> From<E> for End {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Run {
    async fn finish(mut self) {
        let ended = self.all().await;
        // What was dropped is still in the write-ahead log. It goes from there whatever became of the caller's right.
        let trail = self.trail(Action::Rewrap);
        let outcome = match &ended {
            Ok(()) => "ok",
            Err(End::Unheard) => "CANCELLED",
            Err(End::Failed(error)) => error.reason(),
        };
        let scrubbed = match self.request.dry_run {
            true => Ok(()),
            false => {
                let scrub = self.vault.guard.commit_as(&Guard::own_work(), Change::Scrub, &trail, outcome).await;
                scrub.map(drop).map_err(End::from)
            }
        };
        let Rewrapped { total, moved, gone, failed, .. } = self.so_far;
        tracing::info!(total, moved, gone, failed, outcome, "a rewrap has ended");
        let last = match ended.and(scrubbed) {
            Ok(()) => Ok(Rewrapped { done: true, ..std::mem::take(&mut self.so_far) }),
            Err(End::Failed(error)) => {
                tracing::error!(reason = error.reason(), cause = error.cause(), "a rewrap stopped early");
                Err(error)
            }
            Err(End::Unheard) => return,
        };
        let Self { news, .. } = self;
        _ = news.send(last).await;
    }

    async fn all(&mut self) -> Result<(), End> {
        self.tell().await?;
        if self.request.dry_run {
            return Ok(());
        }
        let size = if self.request.rate == 0 { PAGE } else { self.request.rate.min(PAGE) };
        for under in self.plan.from.clone() {
            let mut after = None;
            loop {
                let holders = self.vault.store.holders(&under, after.as_ref(), size).await?;
                let Some(last) = holders.last().cloned() else { break };
                let before = self.so_far.moved + self.so_far.failed;
                self.page(&under, holders).await?;
                after = Some(last);
                if self.so_far.moved + self.so_far.failed > before || self.news.is_closed() {
                    self.tell().await?;
                    self.pace().await?;
                }
            }
        }
        self.recipients().await
    }

    async fn tell(&mut self) -> Result<(), End> {
        let news = Rewrapped { failures: std::mem::take(&mut self.so_far.failures), ..self.so_far.clone() };
        self.news.send(Ok(news)).await.map_err(|_| End::Unheard)
    }

    fn failed(&mut self, failure: NotRewrapped) {
        self.so_far.failed += 1;
        if self.so_far.failed <= TOLD {
            tracing::error!(what = %failure.holder, key = failure.under.key, why = failure.why, "not rewrapped");
            self.so_far.failures.push(failure);
        }
    }

    async fn pace(&self) -> Result<(), End> {
        if self.request.rate == 0 {
            return Ok(());
        }
        let done = self.so_far.moved + self.so_far.failed;
        let due = Duration::from_secs_f64(done as f64 / f64::from(self.request.rate));
        tokio::select! {
            () = tokio::time::sleep(due.saturating_sub(self.begun.elapsed())) => Ok(()),
            () = self.news.closed() => Err(End::Unheard),
        }
    }

    fn trail(&self, action: Action) -> Trail {
        Trail::begin(&self.caller, action).about_org(EVERYTHING)
    }
}
