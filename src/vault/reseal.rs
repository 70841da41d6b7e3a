//! Seals versions anew whose provider's entry names another seal by now, or that are in an older format, while everything
//! is served. Their data keys stay, and so do all wraps: a fresh message id makes fresh keys of them.
//!
//! ```text
//!   for each page:  unwrap, open, seal anew
//!                   commit the new blobs BESIDE those that are read
//!                   read them back, open both, compare
//!                   read the new from now on and overwrite the old, with the page's record
//! ```
//!
//! Killed at any moment, every version has one blob that is read, and that opens. Begun again, it drops what was not proven
//! and goes on with what is left.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use uuid::Uuid;

use crate::crypto::{self, Dek, Seal};
use crate::kms;
use crate::store::{Change, Held, Holder, Resealed, SealedAs};
use crate::vault::keeper::{self, Keeper};
use crate::vault::moving::{AT_ONCE, End, Leave, Moving, News};
use crate::vault::request::{Left, Reseal};
use crate::vault::trail::Trail;
use crate::vault::{Action, Caller, Error, Vault};

/// So many rows are looked at in one read.
const LOOKED_AT: u32 = 4_096;

impl Vault {
    pub async fn reseal(self: &Arc<Self>, caller: &Caller, request: Reseal) -> Result<BoxStream<'static, News>, Error> {
        let mut trail = Trail::begin(caller, Action::Reseal);
        let result = async {
            let leave = Leave::of(self, caller, &mut trail)?;
            if let Some(org) = &request.org {
                self.check_name("org", org)?;
            }
            if let Some(provider) = &request.provider {
                self.check_name("provider", provider)?;
                self.provider(provider)?;
            }
            let total = self.to_reseal(&request).await?;
            // A run that was killed may have left what nobody will read.
            let change = if request.dry_run { Change::Record } else { Change::DropResealed };
            self.guard.commit(&leave.permit, change, &trail).await?;
            Ok((leave, total))
        };
        let result = result.await;
        let (leave, total) = self.guard.finish(trail, result).await?;
        let (moving, news) = Moving::begin(self, caller, leave, Action::Reseal, (total, request.rate));
        tokio::spawn(Run { moving, request }.finish().boxed());
        Ok(news)
    }

    async fn to_reseal(&self, request: &Reseal) -> Result<u64, Error> {
        let (mut count, mut after) = (0, None);
        loop {
            let rows = self.store.sealed_as(after, LOOKED_AT).await?;
            let Some(last) = rows.last() else { return Ok(count) };
            after = Some((last.credential, last.version));
            count += rows.iter().filter(|row| self.seal_anew(request, row).is_some()).count() as u64;
        }
    }

    /// How to seal a version anew; nothing where it is not to be. Of a provider that is not in the registry any more, the
    /// seal stays.
    fn seal_anew(&self, request: &Reseal, row: &SealedAs) -> Option<Seal> {
        let is_meant = request.org.as_ref().is_none_or(|org| *org == row.org)
            && request.provider.as_ref().is_none_or(|provider| *provider == row.provider);
        let seal = self.registry.load().get(&row.provider).map_or(row.seal, |provider| provider.seal);
        (is_meant && !crypto::is_newest(&row.head, seal)).then_some(seal)
    }
}

struct Run {
    moving: Moving,
    request: Reseal,
}

/// A version to seal anew.
type Due = (Uuid, u32, Seal);

/// What was found of a version.
enum Found<T> {
    /// It was destroyed meanwhile.
    Gone,
    Failed(Left),
    Good(T),
}

impl Run {
    async fn finish(mut self) {
        let ended = self.all().await;
        let last = (!self.request.dry_run).then_some(Change::DropResealed);
        self.moving.finish(ended, last).await;
    }

    async fn all(&mut self) -> Result<(), End> {
        self.moving.tell().await?;
        if self.request.dry_run {
            return Ok(());
        }
        let mut after = None;
        loop {
            let vault = &self.moving.vault;
            let rows = vault.store.sealed_as(after, LOOKED_AT).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = Some((last.credential, last.version));
            let due =
                rows.iter().filter_map(|row| Some((row.credential, row.version, vault.seal_anew(&self.request, row)?)));
            let due: Vec<Due> = due.collect();
            for page in due.chunks(self.moving.page() as usize) {
                self.page(page).await?;
                self.moving.tell().await?;
                self.moving.pace().await?;
            }
        }
    }

    async fn page(&mut self, due: &[Due]) -> Result<(), End> {
        let this = &*self;
        let sealed = stream::iter(due.to_vec()).map(|due| this.seal(due)).buffered(AT_ONCE);
        let sealed = sealed.try_collect().await?;
        let sealed: Vec<(Resealed, Dek)> = self.good(sealed);
        let new: Vec<Resealed> = sealed.iter().map(|(new, _)| new.clone()).collect();
        self.commit(Action::KeepBlobs, Change::AddResealed(new.clone()), new.len()).await?;

        let this = &*self;
        let proven = stream::iter(sealed).map(|(new, key)| this.prove(new, key)).buffered(AT_ONCE);
        let proven = proven.try_collect().await?;
        let proven: Vec<Resealed> = self.good(proven);
        let count = proven.len();
        self.commit(Action::Reseal, Change::SettleResealed(proven), count).await?;
        self.moving.moved(count as u64);
        metrics::counter!("strongroom_resealed_total").increment(count as u64);
        Ok(())
    }

    fn good<T>(&mut self, found: Vec<Found<T>>) -> Vec<T> {
        let mut good = Vec::with_capacity(found.len());
        for one in found {
            match one {
                Found::Gone => self.moving.gone(),
                Found::Failed(left) => self.moving.failed(left),
                Found::Good(one) => good.push(one),
            }
        }
        good
    }

    async fn commit(&self, action: Action, change: Change, count: usize) -> Result<(), End> {
        let Some(more) = (count as u64).checked_sub(1) else { return Ok(()) };
        let mut trail = self.moving.trail(action);
        trail.alike(more);
        self.moving.commit(change, trail).await?;
        Ok(())
    }

    /// Opens a version, and seals it anew under the same key.
    async fn seal(&self, (credential, version, seal): Due) -> Result<Found<(Resealed, Dek)>, Error> {
        let holder = Holder::Version { credential, version };
        let Moving { vault, permit, .. } = &self.moving;
        let Some(Held { wraps, what }) = vault.store.held(&holder).await? else { return Ok(Found::Gone) };
        let context = keeper::context_of(&holder, &what).ok_or_else(|| Error::bug("a holder of another kind"))?;
        let sealed = match vault.keeper.unwrap(&wraps, &context).await {
            Ok(key) => Keeper::reseal(permit, &holder, &what, &key, seal).map(|blob| (blob, key)),
            Err(error @ kms::Error::Unavailable { .. }) => return Err(error.into()),
            Err(error) => Err(Error::Corrupt { what: format!("{holder}: {error}") }),
        };
        found(&holder, sealed.map(|(blob, key)| (Resealed { credential, version, seal, blob }, key)))
    }

    /// Reads back what was added, and compares it with what is read until now.
    async fn prove(&self, new: Resealed, key: Dek) -> Result<Found<Resealed>, Error> {
        let holder = Holder::Version { credential: new.credential, version: new.version };
        let Moving { vault, permit, .. } = &self.moving;
        let Some(Held { what, .. }) = vault.store.held(&holder).await? else { return Ok(Found::Gone) };
        let Some(blob) = vault.store.next_blob(new.credential, new.version).await? else { return Ok(Found::Gone) };
        let proof = Keeper::is_same(permit, &holder, &what, &key, &blob);
        found(&holder, proof.map(|()| Resealed { blob, ..new }))
    }
}

/// What is damaged is told and left; anything else stops the run.
fn found<T>(holder: &Holder, result: Result<T, Error>) -> Result<Found<T>, Error> {
    match result {
        Ok(good) => Ok(Found::Good(good)),
        Err(Error::Corrupt { what: why }) => Ok(Found::Failed(Left { holder: holder.clone(), under: None, why })),
        Err(other) => Err(other),
    }
}
