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

use futures_util::FutureExt as _;
use futures_util::stream::BoxStream;

use self::plan::Plan;
use crate::store::Change;
use crate::vault::moving::{End, Leave, Moving, News};
use crate::vault::request::Rewrap;
use crate::vault::trail::Trail;
use crate::vault::{Action, Caller, Error, Vault};

impl Vault {
    pub async fn rewrap(self: &Arc<Self>, caller: &Caller, request: Rewrap) -> Result<BoxStream<'static, News>, Error> {
        let mut trail = Trail::begin(caller, Action::Rewrap);
        let result = async {
            let leave = Leave::of(self, caller, &mut trail)?;
            let plan = Plan::of(self, &request).await?;
            trail.changed(request.from.as_deref().unwrap_or_default(), request.to.as_deref().unwrap_or_default());
            self.guard.commit(&leave.permit, Change::Record, &trail).await?;
            Ok((leave, plan))
        };
        let result = result.await;
        let (leave, plan) = self.guard.finish(trail, result).await?;
        let (moving, news) = Moving::begin(self, caller, leave, Action::Rewrap, (plan.total, request.rate));
        tokio::spawn(Run { moving, request, plan }.finish().boxed());
        Ok(news)
    }
}

struct Run {
    moving: Moving,
    request: Rewrap,
    plan: Plan,
}

impl Run {
    async fn finish(mut self) {
        let ended = self.all().await;
        let last = (!self.request.dry_run).then_some(Change::Scrub);
        self.moving.finish(ended, last).await;
    }

    async fn all(&mut self) -> Result<(), End> {
        self.moving.tell().await?;
        if self.request.dry_run {
            return Ok(());
        }
        let size = self.moving.page();
        for under in self.plan.from.clone() {
            let mut after = None;
            loop {
                let holders = self.moving.vault.store.holders(&under, after.as_ref(), size).await?;
                let Some(last) = holders.last().cloned() else { break };
                let before = self.moving.done();
                self.page(&under, holders).await?;
                after = Some(last);
                if self.moving.done() > before || self.moving.is_unheard() {
                    self.moving.tell().await?;
                    self.moving.pace().await?;
                }
            }
        }
        self.recipients().await
    }
}
