//! A stream of changes: no secrets, only what the caller may see, resumable from a sequence number.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt as _};
use jiff::Timestamp;
use tokio::sync::watch;

use crate::store::ChangeEvent;
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
                caller: Caller { turn, ..caller.clone() },
                request,
                news,
                after,
                ready: VecDeque::new(),
                checked: None,
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
    caller: Caller,
    request: Watch,
    news: watch::Receiver<u64>,
    after: u64,
    ready: VecDeque<ChangeEvent>,
    checked: Option<Checked>,
}

/// The token that opened the stream was good.
#[derive(Clone, Copy)]
struct Checked {
    epoch: u64,
    /// Its end.
    until: Timestamp,
}

impl Watcher {
    /// The next change; none when the store is gone.
    async fn next(&mut self) -> Result<Option<ChangeEvent>, Error> {
        loop {
            while let Some(change) = self.ready.pop_front() {
                self.refuse_revoked().await?;
                self.after = change.sequence;
                if self.matches(&change) && self.vault.guard.may_see(&self.caller, &change.credential) {
                    return Ok(Some(change));
                }
            }
            self.news.borrow_and_update();
            self.refuse_revoked().await?;
            let changes = self.vault.store.changes(&self.request.org, self.after, BATCH).await?;
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

    /// A stream outlives its request: the proof that opened it must still be good, for each change that is told.
    async fn refuse_revoked(&mut self) -> Result<(), Error> {
        if !self.caller.standing.holds() {
            return Err(Error::Unauthenticated);
        }
        // Before the look: what is revoked behind it is seen next time.
        let (epoch, now) = (self.vault.guard.epoch(), Timestamp::now());
        if self.caller.principal.expires_at.is_some_and(|end| end <= now) {
            return Err(Error::Unauthenticated);
        }
        let Some(id) = self.caller.principal.token else { return Ok(()) };
        if self.checked.is_some_and(|checked| checked.epoch == epoch && now < checked.until) {
            return Ok(());
        }
        let token = self.vault.store.token(id).await?.filter(|token| token.revoked_at.is_none());
        let until = token.map(|token| token.expires_at).filter(|end| now < *end).ok_or(Error::Unauthenticated)?;
        self.checked = Some(Checked { epoch, until });
        Ok(())
    }
}
