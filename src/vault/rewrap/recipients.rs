//! Offline recipients: what those lack that are configured, and what there is for others.

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::Run;
use super::page::{context, failure};
use crate::crypto::Dek;
use crate::kms::{self, Context};
use crate::store::{Change, Held, Holder, KeyVersion, Moved, Wrap};
use crate::vault::keeper::Keeper;
use crate::vault::moving::{AT_ONCE, End, PAGE};
use crate::vault::request::Left;
use crate::vault::{Action, Error, Vault};

/// So many are counted at a time.
const COUNTED: u32 = 4_096;

/// What becomes of one holder's wraps for recipients.
enum Found {
    Nothing,
    Failed(Left),
    Change { added: Vec<(Holder, Wrap)>, moved: Moved },
}

/// How many a recipient lacks.
pub(super) async fn lacking(vault: &Vault, recipient: &str) -> Result<u64, Error> {
    let (mut count, mut after) = (0, None);
    loop {
        let holders = vault.store.lacking(recipient, after.as_ref(), COUNTED).await?;
        count += holders.len() as u64;
        match holders.last() {
            Some(last) => after = Some(last.clone()),
            None => return Ok(count),
        }
    }
}

impl Run {
    /// After the KMS keys have been moved: each holder has one that opens.
    pub(super) async fn recipients(&mut self) -> Result<(), End> {
        let lacking = self.plan.lacking.clone().into_iter().map(|key| KeyVersion { key, version: String::new() });
        let lacking = lacking.map(|under| (under, true)).collect::<Vec<_>>();
        for (under, lacks) in lacking.into_iter().chain(self.plan.strange.clone().into_iter().map(|it| (it, false))) {
            let mut after = None;
            loop {
                let holders = match lacks {
                    true => self.moving.vault.store.lacking(&under.key, after.as_ref(), PAGE).await?,
                    false => self.moving.vault.store.holders(&under, after.as_ref(), PAGE).await?,
                };
                let Some(last) = holders.last().cloned() else { break };
                self.recipients_of(&under, holders).await?;
                after = Some(last);
                self.moving.tell().await?;
                self.moving.pace().await?;
            }
        }
        Ok(())
    }

    async fn recipients_of(&mut self, under: &KeyVersion, holders: Vec<Holder>) -> Result<(), End> {
        let this = &*self;
        let found = stream::iter(holders).map(|holder| this.look(under, holder)).buffered(AT_ONCE);
        let found: Vec<Found> = found.try_collect().await?;
        let (mut added, mut dropped) = (Vec::new(), Vec::new());
        for one in found {
            match one {
                Found::Nothing => (),
                Found::Failed(failure) => self.moving.failed(failure),
                Found::Change { added: new, moved } => {
                    added.extend(new);
                    dropped.extend(Some(moved).filter(|moved| !moved.dropped.is_empty()));
                }
            }
        }
        let gone: u64 = dropped.iter().map(|moved| moved.dropped.len() as u64).sum();
        for (change, count) in [
            (Change::AddWraps(added.clone()), added.len() as u64),
            // What opens was opened just now; the store drops none unless that is there.
            (Change::DropWraps(dropped), gone),
        ] {
            let Some(more) = count.checked_sub(1) else { continue };
            let mut trail = self.moving.trail(Action::KeepWraps);
            trail.changed(&under.key, "");
            trail.alike(more);
            self.moving.commit(change, trail).await?;
            self.moving.moved(count);
            metrics::counter!("strongroom_rewrapped_total").increment(count);
        }
        Ok(())
    }

    async fn look(&self, under: &KeyVersion, holder: Holder) -> Result<Found, Error> {
        let Some(Held { wraps, what }) = self.moving.vault.store.held(&holder).await? else {
            return Ok(Found::Nothing);
        };
        let context = context(&holder, &what)?;
        let keyring = self.moving.vault.keeper.keyring();
        let (offline, others): (Vec<Wrap>, Vec<Wrap>) = wraps.into_iter().partition(|wrap| wrap.under().is_recovery());
        let proven = match self.opening(&holder, &others, &context).await {
            Ok((key, kept)) => Keeper::fits(&self.moving.permit, &holder, &what, &key).map(|()| (key, kept)),
            Err(why) => Err(why),
        };
        let (key, kept) = match proven {
            Ok(proven) => proven,
            Err(why) => return Ok(Found::Failed(failure(holder, under, why)?)),
        };
        let configured = keyring.recipients();
        let has: Vec<&str> = offline.iter().map(|wrap| wrap.key.as_str()).collect();
        let new = keyring.wrap_to_recipients(&key, &context, &has)?;
        let dropped = offline.iter().filter(|wrap| !configured.contains(&wrap.key)).map(Wrap::under).collect();
        let added = new.into_iter().map(|new| (holder.clone(), Wrap::from(new))).collect();
        Ok(Found::Change { added, moved: Moved { holder, kept, dropped } })
    }

    /// The key, and which wrap opens to it.
    async fn opening(&self, holder: &Holder, wraps: &[Wrap], context: &Context) -> Result<(Dek, KeyVersion), Error> {
        let mut why = None;
        for wrap in wraps {
            match self.moving.vault.keeper.unwrap(std::slice::from_ref(wrap), context).await {
                Ok(key) => return Ok((key, wrap.under())),
                Err(error @ kms::Error::Unavailable { .. }) => return Err(error.into()),
                Err(error) => why = Some(error),
            }
        }
        let why = why.map_or_else(|| "no key of a KMS wraps it".to_owned(), |why| why.to_string());
        Err(Error::Corrupt { what: format!("{holder}: {why}") })
    }
}
