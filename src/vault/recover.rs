//! Life without a KMS: opens data keys by an offline identity, and wraps them under the keys of now. Nothing is served
//! meanwhile, and no policy is asked: whoever has the identity opens everything without this program.
//!
//! ```text
//!   for each page:  open by the identity, prove that it opens what is held
//!                   drop what bears the new key's name and does not open; the identity's own wrap stays
//!                   add wraps under the new key, and for recipients that lack one
//!                   read them back, open by the new key, compare, open what is held
//!                   drop what does not open any more
//! ```
//!
//! Killed at any moment, the identity opens everything. Begun again, it goes on with what does not open by the new key.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use subtle::ConstantTimeEq as _;

use crate::crypto::age::Identity;
use crate::crypto::{self, Dek};
use crate::kms::{self, Context, Keyring, recovery};
use crate::store::{Change, Held, HeldFor, Holder, KeyVersion, Moved, Store, Wrap};
use crate::vault::guard::Guard;
use crate::vault::keeper::{self, Keeper};
use crate::vault::names::EVERYTHING;
use crate::vault::trail::Trail;
use crate::vault::{Action, Caller, Error};

const PAGE: u32 = 64;
const AT_ONCE: usize = 8;

/// What an identity opens of what a store keeps.
pub struct Recovery {
    store: Arc<dyn Store>,
    identity: Identity,
    own: KeyVersion,
}

/// What became of the keys.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// How many have a wrap for the identity.
    pub total: u64,
    pub recovered: u64,
    /// Opened by a configured key already.
    pub whole: u64,
    /// What the identity does not open, and why.
    pub failed: Vec<(Holder, String)>,
    /// What has no wrap for it, and does not open otherwise.
    pub lost: Vec<Holder>,
}

/// What a drill has found.
#[derive(Clone, Debug, Default)]
pub struct Drilled {
    pub total: u64,
    pub tried: u64,
    pub failed: Vec<(Holder, String)>,
    /// What has no wrap for the identity.
    pub lacking: Vec<Holder>,
}

impl Drilled {
    pub fn is_proven(&self) -> bool {
        self.tried > 0 && self.failed.is_empty() && self.lacking.is_empty()
    }
}

/// What the identity has opened.
struct Opened {
    holder: Holder,
    key: Dek,
    context: Context,
    /// By others' keys.
    usable: bool,
    useless: Vec<KeyVersion>,
    has: Vec<String>,
}

impl Recovery {
    pub fn new(store: Arc<dyn Store>, identity: Identity) -> Result<Self, Error> {
        let key = recovery::uri(&identity.recipient().map_err(Error::bug)?);
        Ok(Self { store, identity, own: KeyVersion { key, version: String::new() } })
    }

    /// Whom the identity is of, as rows name them.
    pub fn recipient(&self) -> &str {
        &self.own.key
    }

    /// Proves on so many that all would be recovered. Changes nothing but when this was proven last.
    pub async fn drill(&self, sample: u32) -> Result<Drilled, Error> {
        let mut all = Vec::new();
        while let Some(page) = self.page(all.last()).await? {
            all.extend(page);
        }
        let mut found = Drilled { total: all.len() as u64, lacking: self.lacking().await?, ..Drilled::default() };
        for holder in spread(all, sample)? {
            found.tried += 1;
            match self.open(&holder).await {
                Ok(_) => {}
                Err(Error::Corrupt { what }) => found.failed.push((holder, what)),
                Err(error) => return Err(error),
            }
        }
        if found.is_proven() {
            let mut trail = trail(Action::ProveRecovery);
            trail.named(&self.own.key);
            trail.alike(found.tried - 1);
            self.store.commit(Change::ProveRecovery, trail.record()).await?;
        }
        Ok(found)
    }

    /// Tells how far it has come, page by page.
    pub async fn recover(&self, keyring: Keyring, mut tell: impl FnMut(&Recovered)) -> Result<Recovered, Error> {
        let keeper = Keeper::new(Arc::clone(&self.store), keyring);
        let in_use = self.store.keys_in_use(false).await?;
        let total = in_use.iter().filter(|used| used.under == self.own).map(|used| used.count).sum();
        let mut so_far = Recovered { total, ..Recovered::default() };
        let mut after = None;
        while let Some(page) = self.page(after.as_ref()).await? {
            after = page.last().cloned();
            self.recover_page(&keeper, page, &mut so_far).await?;
            tell(&so_far);
        }
        for holder in self.lacking().await? {
            let Some(Held { wraps, what }) = self.store.held(&holder).await? else { continue };
            let context = context(&holder, &what)?;
            let opens = keeper.unwrap(&wraps, &context).await;
            if !opens.is_ok_and(|key| Keeper::fits(&Guard::own_recovery(&self.identity), &holder, &what, &key).is_ok())
            {
                so_far.lost.push(holder);
            }
        }
        // What was dropped is still in the write-ahead log.
        self.store.commit(Change::Scrub, trail(Action::Recover).record()).await?;
        Ok(so_far)
    }

    async fn recover_page(&self, keeper: &Keeper, page: Vec<Holder>, so_far: &mut Recovered) -> Result<(), Error> {
        let looks = stream::iter(page).map(|holder| self.look(keeper, holder)).buffered(AT_ONCE);
        let looks: Vec<Result<Option<Opened>, (Holder, String)>> = looks.try_collect().await?;
        let (mut blocking, mut added, mut opened) = (Vec::new(), Vec::new(), Vec::new());
        for look in looks {
            let one = match look {
                Ok(Some(one)) => one,
                Ok(None) => continue,
                Err(failed) => {
                    so_far.failed.push(failed);
                    continue;
                }
            };
            let keyring = keeper.keyring();
            let has: Vec<&str> = one.has.iter().map(String::as_str).collect();
            let mut new = keyring.wrap_to_recipients(&one.key, &one.context, &has)?;
            if one.usable && one.useless.is_empty() && new.is_empty() {
                so_far.whole += 1;
                continue;
            }
            let mut kept = None;
            if !one.usable {
                let wrapped = keyring.wrap(&one.key, &one.context).await?;
                kept = Some(KeyVersion { key: wrapped.key.clone(), version: wrapped.key_version.clone() });
                new.push(wrapped);
            }
            // A key that was made anew under the old one's name.
            if let Some(same) = kept.clone().filter(|kept| one.useless.contains(kept)) {
                blocking.push(Moved { holder: one.holder.clone(), kept: self.own.clone(), dropped: vec![same] });
            }
            added.extend(new.into_iter().map(|wrapped| (one.holder.clone(), Wrap::from(wrapped))));
            opened.push((one, kept));
        }
        self.commit(Action::KeepWraps, blocking.len(), Change::DropWraps(blocking)).await?;
        self.commit(Action::KeepWraps, added.len(), Change::AddWraps(added)).await?;

        let mut dropped = Vec::new();
        let mut recovered = 0;
        for (one, kept) in opened {
            if let Err(why) = self.check(keeper, &one, kept.as_ref()).await? {
                so_far.failed.push((one.holder, why));
                continue;
            }
            recovered += 1;
            let old = one.useless.into_iter().filter(|useless| kept.as_ref() != Some(useless)).collect();
            dropped.push(Moved { holder: one.holder, kept: self.own.clone(), dropped: old });
        }
        self.commit(Action::Recover, recovered, Change::DropWraps(dropped)).await?;
        so_far.recovered += recovered as u64;
        Ok(())
    }

    /// None where it was destroyed.
    async fn look(&self, keeper: &Keeper, holder: Holder) -> Result<Result<Option<Opened>, (Holder, String)>, Error> {
        let (key, context, wraps) = match self.open(&holder).await {
            Ok(Some(opened)) => opened,
            Ok(None) => return Ok(Ok(None)),
            Err(Error::Corrupt { what }) => return Ok(Err((holder, what))),
            Err(error) => return Err(error),
        };
        let (mut usable, mut useless, mut has) = (false, Vec::new(), Vec::new());
        for wrap in wraps {
            if wrap.under().is_recovery() {
                has.push(wrap.key);
                continue;
            }
            match keeper.unwrap(std::slice::from_ref(&wrap), &context).await {
                Ok(other) if same(&other, &key) => usable = true,
                // It may come back, and is nobody's harm until then.
                Err(kms::Error::Unavailable { .. }) => {}
                Ok(_) | Err(_) => useless.push(wrap.under()),
            }
        }
        Ok(Ok(Some(Opened { holder, key, context, usable, useless, has })))
    }

    /// By the identity, proven by what is held.
    async fn open(&self, holder: &Holder) -> Result<Option<(Dek, Context, Vec<Wrap>)>, Error> {
        let damaged = |why: &dyn std::fmt::Display| Error::Corrupt { what: format!("{holder}: {why}") };
        let Some(Held { wraps, what }) = self.store.held(holder).await? else { return Ok(None) };
        let Some(own) = wraps.iter().find(|wrap| wrap.under() == self.own) else { return Ok(None) };
        let context = context(holder, &what)?;
        let key = recovery::unwrap(&self.identity, &own.clone().into(), &context).map_err(|why| damaged(&why))?;
        Keeper::fits(&Guard::own_recovery(&self.identity), holder, &what, &key)?;
        Ok(Some((key, context, wraps)))
    }

    /// Reads the new wrap back, and opens with it what is held. Why not, otherwise.
    async fn check(
        &self,
        keeper: &Keeper,
        one: &Opened,
        new: Option<&KeyVersion>,
    ) -> Result<Result<(), String>, Error> {
        let Some(new) = new else { return Ok(Ok(())) };
        let Some(Held { wraps, what }) = self.store.held(&one.holder).await? else { return Ok(Ok(())) };
        let new: Vec<Wrap> = wraps.into_iter().filter(|wrap| wrap.under() == *new).collect();
        let read = match keeper.unwrap(&new, &one.context).await {
            Err(error @ kms::Error::Unavailable { .. }) => return Err(error.into()),
            Err(error) => return Ok(Err(format!("{}: {error}", one.holder))),
            Ok(read) => read,
        };
        let fits = Keeper::fits(&Guard::own_recovery(&self.identity), &one.holder, &what, &read);
        match same(&read, &one.key) && fits.is_ok() {
            true => Ok(Ok(())),
            false => Ok(Err(format!("{}: the new wrap opens to another key", one.holder))),
        }
    }

    async fn page(&self, after: Option<&Holder>) -> Result<Option<Vec<Holder>>, Error> {
        let page = self.store.holders(&self.own, after, PAGE).await?;
        Ok(Some(page).filter(|page| !page.is_empty()))
    }

    async fn lacking(&self) -> Result<Vec<Holder>, Error> {
        let mut all = Vec::new();
        loop {
            let page = self.store.lacking(&self.own.key, all.last(), PAGE).await?;
            match page.is_empty() {
                true => return Ok(all),
                false => all.extend(page),
            }
        }
    }

    async fn commit(&self, action: Action, count: usize, change: Change) -> Result<(), Error> {
        let Some(more) = count.checked_sub(1) else { return Ok(()) };
        let mut trail = trail(action);
        trail.changed(&self.own.key, "");
        trail.alike(more as u64);
        self.store.commit(change, trail.record()).await?;
        Ok(())
    }
}

fn trail(action: Action) -> Trail {
    Trail::begin(&Caller::system(), action).about_org(EVERYTHING)
}

fn context(holder: &Holder, what: &HeldFor) -> Result<Context, Error> {
    keeper::context_of(holder, what).ok_or_else(|| Error::bug("a holder of another kind"))
}

fn same(one: &Dek, other: &Dek) -> bool {
    one.expose().ct_eq(other.expose()).into()
}

/// So many of all, as far apart as can be, and not the same ones each time.
fn spread(all: Vec<Holder>, count: u32) -> Result<Vec<Holder>, Error> {
    let (length, count) = (all.len() as u64, u64::from(count));
    if count >= length {
        return Ok(all);
    }
    let begin = u64::from_le_bytes(crypto::random().map_err(Error::bug)?) % length;
    let mut chosen: Vec<usize> = (0..count).map(|one| ((begin + one * length / count) % length) as usize).collect();
    chosen.sort_unstable();
    let mut chosen = chosen.into_iter().peekable();
    Ok(all.into_iter().enumerate().filter_map(|(at, one)| chosen.next_if_eq(&at).map(|_| one)).collect())
}
