//! A stream of changes: no secrets, only what the caller may see, resumable from a sequence number.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::watch;

use crate::store::ChangeEvent;
use crate::vault::opener::Opener;
use crate::vault::policy::Resource;
use crate::vault::request::Watch;
use crate::vault::trail::Trail;
use crate::vault::{Action, Caller, Error, Vault};

/// How many changes are read at a time.
const BATCH: u32 = 256;

impl Vault {
    pub async fn watch(
        self: &Arc<Self>,
        caller: &Caller,
        request: Watch,
    ) -> Result<BoxStream<'static, Result<ChangeEvent, Error>>, Error> {
        let mut trail = Trail::begin(caller, Action::Watch);
        let result = async {
            self.about_org(&request.org, &mut trail)?;
            let permit = self.guard.permit(caller, Resource::Org(&request.org), &mut trail)?;
            // Subscribed before anything is read: no change falls between the two.
            let news = self.store.newest_change();
            let after = request.after.unwrap_or_else(|| *news.borrow());
            let turn = self.turns.watch(caller)?;
            self.guard.admit(permit, &trail).await?;
            Ok(Watcher {
                vault: Arc::clone(self),
                opener: Opener::new(self, Caller { turn, ..caller.clone() }),
                request,
                news,
                after,
                ready: VecDeque::new(),
            })
        };
        let result = result.await;
        let watcher = self.guard.finish(trail, result).await?;
        Ok(stream::unfold(Some(watcher), |watcher| async {
            let mut watcher = watcher?;
            match watcher.next().await {
                Ok(Some(change)) => Some((Ok(change), Some(watcher))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed())
    }
}

struct Watcher {
    vault: Arc<Vault>,
    opener: Opener,
    request: Watch,
    news: watch::Receiver<u64>,
    after: u64,
    ready: VecDeque<ChangeEvent>,
}

impl Watcher {
    /// The next change; none when the store is gone.
    async fn next(&mut self) -> Result<Option<ChangeEvent>, Error> {
        loop {
            while let Some(change) = self.ready.pop_front() {
                self.opener.still_may().await?;
                self.after = change.sequence;
                if self.matches(&change) && self.vault.guard.may_see(self.opener.caller(), &change.credential) {
                    return Ok(Some(change));
                }
            }
            self.news.borrow_and_update();
            self.opener.still_may().await?;
            let changes = self.vault.store.changes(Some(&self.request.org), self.after, BATCH).await?;
            if changes.is_empty() && self.news.changed().await.is_err() {
                return Ok(None);
            }
            self.ready.extend(changes);
        }
    }

    fn matches(&self, change: &ChangeEvent) -> bool {
        let path = &change.credential.path;
        self.request.project.as_ref().is_none_or(|project| *project == path.project)
            && self.request.provider.as_ref().is_none_or(|provider| *provider == path.provider)
    }
}
