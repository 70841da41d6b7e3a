//! Whose an export is, and what a database says that was made of one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;

use crate::crypto::Dek;
use crate::crypto::age::Identity;
use crate::crypto::backup::Whole;
use crate::crypto::ledger::Hash;
use crate::crypto::ledger::note::{Signer, Verifier};
use crate::kms::{self, Context, Keyring, Wrapped, recovery};
use crate::store::{AuditKey, Change, Held, KeyVersion, Store, Wrap};
use crate::vault::guard::Guard;
use crate::vault::keeper::{self, Keeper};
use crate::vault::names::EVERYTHING;
use crate::vault::trail::Trail;
use crate::vault::{Action, Caller, Error, audit};

const GRACE: Duration = Duration::from_hours(72);

/// What tells that an export is ours. Anybody can make one that is signed by a key of its own.
pub enum Proof<'a> {
    /// The private half of the key that signed opens under a key of these.
    Keys(&'a Keyring),
    /// … or by this identity.
    Identity(&'a Identity),
    /// It is one of these keys, that somebody has kept elsewhere.
    Known(&'a [Verifier]),
}

/// Why it is not shown to be ours.
#[derive(Debug, thiserror::Error)]
pub enum NotOurs {
    #[error("it is signed by {0}, which is none of the keys given")]
    Unknown(Verifier),
    #[error("it is signed by {key}, whose private half does not open: {why}")]
    Unopened { key: Verifier, why: kms::Error },
    #[error("it is signed by {key}, whose private half in it is not wrapped for {recipient}")]
    NotFor { key: Verifier, recipient: String },
    #[error("it is signed by {0}, and the private half in it is another key's")]
    OtherHalf(Verifier),
    #[error(
        "it is signed by {key}, whose private half is wrapped under {under} alone: whoever knows the public half of that can \
         wrap one, so it proves nothing; give the public key that was kept, by --key"
    )]
    Anybodys { key: Verifier, under: String },
}

impl Proof<'_> {
    /// `kept` are the audit keys in the export with their wraps.
    pub async fn accepts(&self, whole: &Whole, kept: &[AuditKey]) -> Result<Result<(), NotOurs>, Error> {
        let key = || whole.key.clone();
        if let Proof::Known(known) = self {
            return Ok(if known.contains(&whole.key) { Ok(()) } else { Err(NotOurs::Unknown(key())) });
        }
        let Some(own) = kept.iter().find(|kept| kept.public == whole.key.public()) else {
            return Ok(Err(NotOurs::OtherHalf(key())));
        };
        if let (Proof::Keys(_), Some(wrap)) = (self, own.wraps.first())
            && !own.wraps.iter().any(|wrap| kms::proves_origin(&wrap.key))
        {
            return Ok(Err(NotOurs::Anybodys { key: key(), under: wrap.key.clone() }));
        }
        let context = Context::for_audit_key(&whole.header.instance, own.number);
        let opened = match self.open(&own.wraps, &context).await? {
            Ok(opened) => opened,
            Err(Some(why)) => return Ok(Err(NotOurs::Unopened { key: key(), why })),
            Err(None) => {
                let recipient = self.recipient()?;
                return Ok(Err(NotOurs::NotFor { key: key(), recipient }));
            }
        };
        let signer = Signer::new(&whole.header.instance, opened.expose());
        let same = signer.is_some_and(|signer| signer.verifier() == &whole.key);
        Ok(if same { Ok(()) } else { Err(NotOurs::OtherHalf(key())) })
    }

    async fn open(&self, wraps: &[Wrap], context: &Context) -> Result<Result<Dek, Option<kms::Error>>, Error> {
        let wraps: Vec<Wrapped> = wraps.iter().cloned().map(Wrapped::from).collect();
        let opened = match self {
            Proof::Keys(keyring) => match keyring.unwrap(&bound(wraps), context).await {
                Err(error @ kms::Error::Unavailable { .. }) => return Err(error.into()),
                opened => opened.map_err(Some),
            },
            Proof::Identity(identity) => {
                let own = self.recipient()?;
                let own = wraps.iter().find(|wrap| wrap.key == own).ok_or(None);
                own.and_then(|own| recovery::unwrap(identity, own, context).map_err(Some))
            }
            Proof::Known(_) => Err(None),
        };
        Ok(opened)
    }

    fn recipient(&self) -> Result<String, Error> {
        match self {
            Proof::Identity(identity) => Ok(recovery::uri(&identity.recipient().map_err(Error::bug)?)),
            _ => Ok(String::new()),
        }
    }
}

/// The first record of the audit log that cannot be what was written.
pub async fn broken_log(store: &dyn Store) -> Result<Option<String>, Error> {
    let reports = audit::verify(store).await?;
    let broken = reports.into_iter().find_map(|report| Some((report.instance, report.broken?)));
    Ok(broken.map(|(instance, (record, fault))| format!("record {record} of instance {instance} is broken: {fault}")))
}

fn bound(wraps: Vec<Wrapped>) -> Vec<Wrapped> {
    wraps.into_iter().filter(|wrap| kms::proves_origin(&wrap.key)).collect()
}

/// Rows that would not open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unopened {
    pub under: KeyVersion,
    pub count: u64,
    pub why: String,
}

/// Of each key and version one row is opened: a key file of before its last rotation bears the right name too.
pub async fn unopened(store: &Arc<dyn Store>, keyring: &Keyring) -> Result<Vec<Unopened>, Error> {
    let mut counts = BTreeMap::<KeyVersion, u64>::new();
    for used in store.keys_in_use(false).await? {
        if !used.under.is_recovery() {
            *counts.entry(used.under).or_default() += used.count;
        }
    }
    let mut unopened = Vec::new();
    for (under, count) in counts {
        if let Some(why) = refusal(store, keyring, &under).await? {
            unopened.push(Unopened { under, count, why });
        }
    }
    Ok(unopened)
}

async fn refusal(store: &Arc<dyn Store>, keyring: &Keyring, under: &KeyVersion) -> Result<Option<String>, Error> {
    let Some(key) = keyring.get(&under.key) else { return Ok(Some("is not configured".to_owned())) };
    let Some(holder) = store.holders(under, None, 1).await?.pop() else { return Ok(None) };
    let Some(Held { wraps, what }) = store.held(&holder).await? else { return Ok(None) };
    let context = keeper::context_of(&holder, &what).ok_or_else(|| Error::bug("a holder of another kind"))?;
    let Some(wrap) = wraps.into_iter().find(|wrap| wrap.under() == *under) else { return Ok(None) };
    match key.unwrap(&wrap.into(), &context).await {
        Ok(key) => Ok(Keeper::fits(&Guard::own_import(), &holder, &what, &key).err().map(|error| match error {
            Error::Corrupt { what } => format!("does not fit: {what}"),
            other => other.to_string(),
        })),
        Err(error @ kms::Error::Unavailable { .. }) => Err(error.into()),
        Err(error) => Ok(Some(format!("does not open {holder}: {error}"))),
    }
}

/// The first thing that the new database tells of: what it was made of. What waited to be destroyed when it was exported may
/// have been taken back since, and its time may be over: it waits for three days more, in which it can be taken back again.
pub async fn record_import(store: &Arc<dyn Store>, taken_at: &str, digest: &Hash) -> Result<(), Error> {
    let mut trail = Trail::begin(&Caller::system(), Action::ImportVault).about_org(EVERYTHING);
    trail.named(taken_at);
    trail.changed("", &HEXLOWER.encode(digest));
    let until = trail.at() + GRACE;
    store.commit(Change::PutOffDestruction { until }, trail.record()).await?;
    Ok(())
}
