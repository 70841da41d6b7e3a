//! One page: what stands above about it, for some holders at a time.

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use subtle::ConstantTimeEq as _;

use super::Run;
use crate::crypto::Dek;
use crate::kms::{self, Context};
use crate::store::{Change, Held, HeldFor, Holder, KeyVersion, Moved, Wrap};
use crate::vault::keeper::{self, Keeper};
use crate::vault::moving::{AT_ONCE, End};
use crate::vault::names::{EVERYTHING, PLATFORM};
use crate::vault::request::Left;
use crate::vault::{Action, Error};

/// What was found of a holder.
enum Found {
    /// It is not to be moved.
    Elsewhere,
    /// It was destroyed meanwhile.
    Gone,
    Failed(Left),
    Opened(Box<Opened>),
}

struct Opened {
    holder: Holder,
    key: Dek,
    /// To be added; none where it is there already.
    new: Option<Wrap>,
    moved: Moved,
}

/// What was read back of a holder.
enum Checked {
    Gone,
    Failed(Left),
    Good(Moved),
}

impl Run {
    pub(super) async fn page(&mut self, under: &KeyVersion, holders: Vec<Holder>) -> Result<(), End> {
        let this = &*self;
        let found = stream::iter(holders).map(|holder| this.open(under, holder)).buffered(AT_ONCE);
        let found: Vec<Found> = found.try_collect().await?;
        let mut opened = Vec::with_capacity(found.len());
        for one in found {
            match one {
                Found::Elsewhere => (),
                Found::Gone => self.moving.gone(),
                Found::Failed(failure) => self.moving.failed(failure),
                Found::Opened(one) => opened.push(*one),
            }
        }
        self.add(&mut opened).await?;

        let this = &*self;
        let checked = stream::iter(opened).map(|one| this.check(under, one)).buffered(AT_ONCE);
        let checked: Vec<Checked> = checked.try_collect().await?;
        let mut moved = Vec::with_capacity(checked.len());
        for one in checked {
            match one {
                Checked::Gone => self.moving.gone(),
                Checked::Failed(failure) => self.moving.failed(failure),
                Checked::Good(one) => moved.push(one),
            }
        }
        self.drop_old(under, moved).await
    }

    async fn add(&self, opened: &mut [Opened]) -> Result<(), End> {
        let new = opened.iter_mut().filter_map(|one| Some((one.holder.clone(), one.new.take()?)));
        let new: Vec<_> = new.collect();
        let Some(more) = (new.len() as u64).checked_sub(1) else { return Ok(()) };
        let mut trail = self.moving.trail(Action::KeepWraps);
        trail.alike(more);
        self.moving.commit(Change::AddWraps(new), trail).await?;
        Ok(())
    }

    async fn drop_old(&mut self, under: &KeyVersion, moved: Vec<Moved>) -> Result<(), End> {
        let Some(first) = moved.first() else { return Ok(()) };
        let count = moved.len() as u64;
        let mut trail = self.moving.trail(Action::Rewrap);
        trail.changed(&text(under), &text(&first.kept));
        trail.alike(count - 1);
        self.moving.commit(Change::DropWraps(moved), trail).await?;
        self.moving.moved(count);
        metrics::counter!("strongroom_rewrapped_total").increment(count);
        Ok(())
    }

    /// Opens a holder's key by what is to go, and wraps it under what it goes to.
    async fn open(&self, under: &KeyVersion, holder: Holder) -> Result<Found, Error> {
        let Some(Held { wraps, what }) = self.moving.vault.store.held(&holder).await? else { return Ok(Found::Gone) };
        let org = org(&holder, &what).to_owned();
        let Some(target) = self.plan.target(&self.moving.vault, &self.request, under, &org) else {
            return Ok(Found::Elsewhere);
        };
        let context = context(&holder, &what)?;
        let is_old = |wrap: &&Wrap| wrap.under() != *target && !wrap.under().is_recovery();
        let (old, there): (Vec<Wrap>, Vec<Wrap>) = wraps.into_iter().partition(|wrap| is_old(&wrap));
        let there = there.into_iter().find(|wrap| wrap.under() == *target);
        let key = match self.key(&holder, &what, &old, there.as_ref(), &context).await {
            Ok(key) => key,
            Err(why) => return Ok(Found::Failed(failure(holder, under, why)?)),
        };
        let (new, kept) = match there {
            Some(_) => (None, target.clone()),
            // The key may have a newer version since.
            None => {
                let new = self.moving.vault.keeper.wrap_under(&target.key, &key, &context).await?;
                let kept = new.under();
                (Some(new), kept)
            }
        };
        let is_meant = |old: &Wrap| self.request.from.as_ref().is_none_or(|from| *from == old.key);
        let dropped = old.iter().filter(|old| is_meant(old)).map(Wrap::under).collect();
        let moved = Moved { holder: holder.clone(), kept, dropped };
        Ok(Found::Opened(Box::new(Opened { holder, key, new, moved })))
    }

    /// What an earlier run has added is believed where nothing else opens, and what is held proves it.
    async fn key(
        &self,
        holder: &Holder,
        what: &HeldFor,
        old: &[Wrap],
        there: Option<&Wrap>,
        context: &Context,
    ) -> Result<Dek, Error> {
        let keeper = &self.moving.vault.keeper;
        let key = match (keeper.unwrap(old, context).await, there) {
            (Ok(key), _) => key,
            (Err(kms::Error::Mismatch { .. } | kms::Error::Refused { .. }), Some(there))
                if !matches!(holder, Holder::OrgKey(_)) =>
            {
                keeper.unwrap(std::slice::from_ref(there), context).await?
            }
            (Err(kms::Error::Unknown { .. }), Some(there)) => {
                keeper.unwrap(std::slice::from_ref(there), context).await?
            }
            (Err(error @ kms::Error::Unavailable { .. }), _) => return Err(error.into()),
            (Err(error), _) => return Err(Error::Corrupt { what: format!("{holder}: {error}") }),
        };
        Keeper::fits(&self.moving.permit, holder, what, &key)?;
        Ok(key)
    }

    /// Reads the new wrap back, and opens with it what is held.
    async fn check(&self, under: &KeyVersion, opened: Opened) -> Result<Checked, Error> {
        let Opened { holder, key, moved, .. } = opened;
        let Some(Held { wraps, what }) = self.moving.vault.store.held(&holder).await? else { return Ok(Checked::Gone) };
        let new: Vec<Wrap> = wraps.into_iter().filter(|wrap| wrap.under() == moved.kept).collect();
        let context = context(&holder, &what)?;
        let proof = async {
            let read = match self.moving.vault.keeper.unwrap(&new, &context).await {
                Err(error @ kms::Error::Unavailable { .. }) => return Err(Error::from(error)),
                other => other.map_err(|error| Error::Corrupt { what: format!("{holder}: {error}") })?,
            };
            if !bool::from(read.expose().ct_eq(key.expose())) {
                return Err(Error::Corrupt { what: format!("{holder}: {} opens to another key", moved.kept.key) });
            }
            Keeper::fits(&self.moving.permit, &holder, &what, &read)
        };
        let proof = proof.await;
        match proof {
            Ok(()) => Ok(Checked::Good(moved)),
            Err(why) => Ok(Checked::Failed(failure(holder, under, why)?)),
        }
    }
}

/// What is damaged is told and left; anything else stops the run.
pub(super) fn failure(holder: Holder, under: &KeyVersion, error: Error) -> Result<Left, Error> {
    match error {
        Error::Corrupt { what: why } => Ok(Left { holder, under: Some(under.clone()), why }),
        other => Err(other),
    }
}

pub(super) fn context(holder: &Holder, what: &HeldFor) -> Result<Context, Error> {
    keeper::context_of(holder, what).ok_or_else(|| Error::bug("a holder of another kind"))
}

/// The org whose key is meant for it.
fn org<'a>(holder: &'a Holder, what: &'a HeldFor) -> &'a str {
    match (holder, what) {
        (Holder::OrgKey(org), _) => org,
        (_, HeldFor::Version { path, .. }) => &path.org,
        (Holder::Factor(_), _) => PLATFORM,
        _ => EVERYTHING,
    }
}

fn text(under: &KeyVersion) -> String {
    format!("{} {}", under.key, under.version)
}
