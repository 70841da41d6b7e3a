//! What goes through all that is kept, a page at a time, while everything is served: rewrap and reseal. One at a time, no
//! faster than it was asked to, and heard of while it goes on. It stops after its page when nobody listens any more.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::{OwnedMutexGuard, mpsc};

use crate::store::{self, Change};
use crate::vault::guard::{Guard, Permit};
use crate::vault::names::EVERYTHING;
use crate::vault::policy::Resource;
use crate::vault::request::{Left, Progress};
use crate::vault::trail::Trail;
use crate::vault::{Action, Caller, Error, Vault};

/// So many at a time: each page is two commits, and the writer does nothing else meanwhile.
pub const PAGE: u32 = 64;
/// So many keys are asked of the KMS at the same time.
pub const AT_ONCE: usize = 8;
/// So many failures are told one by one; the rest is counted.
const TOLD: u64 = 1_000;

pub type News = Result<Progress, Error>;

/// Leave to move everything, and nobody else does.
pub struct Leave {
    pub permit: Permit,
    alone: OwnedMutexGuard<()>,
}

impl Leave {
    pub fn of(vault: &Vault, caller: &Caller, trail: &mut Trail) -> Result<Self, Error> {
        vault.about_scope(EVERYTHING, trail)?;
        let permit = vault.guard.permit(caller, Resource::Org(EVERYTHING), trail)?;
        let alone = Arc::clone(&vault.moving).try_lock_owned();
        let alone = alone.map_err(|_| Error::conflict("another rewrap or reseal is under way"))?;
        Ok(Self { permit, alone })
    }
}

pub struct Moving {
    pub vault: Arc<Vault>,
    pub permit: Permit,
    caller: Caller,
    action: Action,
    rate: u32,
    so_far: Progress,
    news: mpsc::Sender<News>,
    begun: Instant,
    alone: OwnedMutexGuard<()>,
}

/// Nobody listens any more, or it cannot go on.
pub enum End {
    Unheard,
    Failed(Error),
}

impl<E: Into<Error>> From<E> for End {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl Moving {
    /// No rate is as many as can be.
    pub fn begin(
        vault: &Arc<Vault>,
        caller: &Caller,
        leave: Leave,
        action: Action,
        (total, rate): (u64, u32),
    ) -> (Self, BoxStream<'static, News>) {
        let (news, ready) = mpsc::channel(1);
        let (vault, caller, Leave { permit, alone }) = (Arc::clone(vault), caller.clone(), leave);
        let so_far = Progress { total, ..Progress::default() };
        let moving = Self { vault, permit, caller, action, rate, so_far, news, begun: Instant::now(), alone };
        let heard = stream::unfold(ready, |mut ready| async { ready.recv().await.map(|news| (news, ready)) });
        (moving, heard.boxed())
    }

    /// What was dropped is still in the write-ahead log: the last change takes it from there, whatever became of the
    /// caller's right.
    pub async fn finish(mut self, ended: Result<(), End>, last_change: Option<Change>) {
        let outcome = match &ended {
            Ok(()) => "ok",
            Err(End::Unheard) => "CANCELLED",
            Err(End::Failed(error)) => error.reason(),
        };
        let changed = match last_change {
            None => Ok(()),
            Some(change) => {
                let trail = self.trail(self.action);
                let changed = self.vault.guard.commit_as(&Guard::own_work(), change, &trail, outcome).await;
                changed.map(drop).map_err(End::from)
            }
        };
        let action = self.action.as_str();
        let Progress { total, moved, gone, failed, .. } = self.so_far;
        tracing::info!(action, total, moved, gone, failed, outcome, "a move of everything has ended");
        let last = match ended.and(changed) {
            Ok(()) => Ok(Progress { done: true, ..std::mem::take(&mut self.so_far) }),
            Err(End::Failed(error)) => {
                tracing::error!(action, reason = error.reason(), cause = error.cause(), "it stopped early");
                Err(error)
            }
            Err(End::Unheard) => return,
        };
        // Whoever hears the last of it may begin the next.
        let Self { news, alone, .. } = self;
        drop(alone);
        _ = news.send(last).await;
    }

    pub async fn tell(&mut self) -> Result<(), End> {
        let news = Progress { failures: std::mem::take(&mut self.so_far.failures), ..self.so_far.clone() };
        self.news.send(Ok(news)).await.map_err(|_| End::Unheard)
    }

    pub const fn moved(&mut self, count: u64) {
        self.so_far.moved += count;
    }

    pub const fn gone(&mut self) {
        self.so_far.gone += 1;
    }

    pub fn failed(&mut self, left: Left) {
        self.so_far.failed += 1;
        if self.so_far.failed <= TOLD {
            let (action, key) = (self.action.as_str(), left.under.as_ref().map(|under| under.key.as_str()));
            tracing::error!(action, what = %left.holder, key, why = left.why, "left as it is");
            self.so_far.failures.push(left);
        }
    }

    pub const fn done(&self) -> u64 {
        self.so_far.moved + self.so_far.failed
    }

    pub fn is_unheard(&self) -> bool {
        self.news.is_closed()
    }

    /// How many are gone through between two pauses.
    pub fn page(&self) -> u32 {
        if self.rate == 0 { PAGE } else { self.rate.min(PAGE) }
    }

    pub async fn pace(&self) -> Result<(), End> {
        if self.rate == 0 {
            return Ok(());
        }
        let due = Duration::from_secs_f64(self.done() as f64 / f64::from(self.rate));
        tokio::select! {
            () = tokio::time::sleep(due.saturating_sub(self.begun.elapsed())) => Ok(()),
            () = self.news.closed() => Err(End::Unheard),
        }
    }

    pub fn trail(&self, action: Action) -> Trail {
        Trail::begin(&self.caller, action).about_org(EVERYTHING)
    }

    /// One step. All of them take long: each goes by the rules that this process has then.
    pub async fn commit(&self, change: Change, mut trail: Trail) -> Result<(), store::Error> {
        let guard = &self.vault.guard;
        loop {
            trail.decide_again();
            trail.allowed_by(guard.rules());
            match guard.commit(&self.permit, change.clone(), &trail).await {
                Err(store::Error::OtherRules) if guard.takes_others(trail.rules()).await => {}
                other => return other.map(drop),
            }
        }
    }
}
