//! Whose an export is, and what a database says that was made of one.

use std::collections::BTreeMap;
use std::sync::Arc;

use data_encoding::HEXLOWER;

use crate::crypto::Dek;
use crate::crypto::age::Identity;
use crate::crypto::backup::Whole;
use crate::crypto::ledger::Hash;
use crate::crypto::ledger::note::{Signer, Verifier};
use crate::kms::{self, Context, Keyring, Wrapped, recovery};
use crate::store::{AuditKey, Change, KeyVersion, Store, Wrap};
use crate::vault::names::EVERYTHING;
use crate::vault::trail::Trail;
use crate::vault::{Action, Caller, Error, audit};

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
            Proof::Keys(keyring) => match keyring.unwrap(&wraps, context).await {
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

/// What would not open: rows by the keys that they are under, and that are not configured.
pub async fn under_other_keys(store: &dyn Store, keyring: &Keyring) -> Result<BTreeMap<KeyVersion, u64>, Error> {
    let mut others = BTreeMap::new();
    for used in store.keys_in_use(false).await? {
        if !used.under.is_recovery() && keyring.get(&used.under.key).is_none() {
            *others.entry(used.under).or_default() += used.count;
        }
    }
    Ok(others)
}

/// The first thing that the new database tells of: what it was made of.
pub async fn record_import(store: &Arc<dyn Store>, taken_at: &str, digest: &Hash) -> Result<(), Error> {
    let mut trail = Trail::begin(&Caller::system(), Action::ImportVault).about_org(EVERYTHING);
    trail.named(taken_at);
    trail.changed("", &HEXLOWER.encode(digest));
    store.commit(Change::Record, trail.record()).await?;
    Ok(())
}
