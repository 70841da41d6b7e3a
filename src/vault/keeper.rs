//! Seals what comes in and opens what is asked for: data keys from the KMS, blobs by `crypto`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use crate::crypto::ledger::note::Signer;
use crate::crypto::{self, Dek, Identity, Seal, Secret};
use crate::kms::{self, Context, Keyring, Wrapped};
use crate::store::{AuditKey, Change, Credential, HeldFor, Holder, OrgKey, Path, Sealed, Store, Wrap};
use crate::vault::guard::Permit;
use crate::vault::names::EVERYTHING;
use crate::vault::trail::Trail;
use crate::vault::{Action, Caller, Error, stepup};

pub struct Keeper {
    store: Arc<dyn Store>,
    keyring: Keyring,
    /// The orgs' keys for digests. They open nothing.
    org_keys: moka::future::Cache<(u64, String), Arc<Dek>>,
    /// What was read of them under another number is not looked at any more, whenever it comes.
    reading: AtomicU64,
}

impl Keeper {
    pub fn new(store: Arc<dyn Store>, keyring: Keyring) -> Self {
        Self { store, keyring, org_keys: moka::future::Cache::new(1_000), reading: AtomicU64::new(0) }
    }

    pub async fn seal(&self, identity: &Identity, seal: Seal, secret: &Secret) -> Result<Sealed, Error> {
        let dek = Dek::new(crypto::random().map_err(Error::bug)?);
        let message_id = crypto::random().map_err(Error::bug)?;
        let wraps = self.wrap(&dek, &Context::of(identity)).await?;
        let blob = crypto::seal(seal, &dek, message_id, identity, secret).map_err(Error::bug)?;
        Ok(Sealed { blob, wraps })
    }

    /// Opens a stored version. What comes out is put under lock at once, as `Opened`; the cache keeps it besides.
    pub async fn open(&self, _permit: &Permit, credential: &Credential, version: u32) -> Result<Secret, Error> {
        let identity = identity(&credential.path, credential.id, version);
        let what = format!("credential {} version {version}", credential.id);
        let missing =
            || Error::Corrupt { what: format!("credential {} has no ciphertext of version {version}", credential.id) };
        let (_, sealed) = self.store.sealed(credential.id, version).await?.ok_or_else(missing)?;
        self.open_sealed(&identity, &sealed, &what).await
    }

    /// Opens what [`Keeper::seal`] sealed for this identity. What it is, is for the operator, when it does not open.
    pub async fn open_sealed(&self, identity: &Identity, sealed: &Sealed, what: &str) -> Result<Secret, Error> {
        let damaged = |why: &dyn std::fmt::Display| Error::Corrupt { what: format!("{what}: {why}") };
        if sealed.wraps.is_empty() {
            return Err(damaged(&"its data key is gone"));
        }
        let dek = match self.unwrap(&sealed.wraps, &Context::of(identity)).await {
            Err(error @ kms::Error::Mismatch { .. }) => return Err(damaged(&error)),
            other => other?,
        };
        crypto::open(&dek, identity, &sealed.blob).map_err(|error| damaged(&error))
    }

    /// The key for an org's digests and keyed fingerprints: made on first use, then always the same.
    pub async fn org_key(&self, org: &str) -> Result<Arc<Dek>, Error> {
        let load = async {
            if let Some(kept) = self.store.org_key(org).await? {
                return self.unwrap_org_key(kept).await;
            }
            let key = Dek::new(crypto::random().map_err(Error::bug)?);
            let wraps = self.wrap(&key, &Context::for_org_key(org)).await?;
            let row = OrgKey { org: org.to_owned(), wraps };
            let trail = Trail::begin(&Caller::system(), Action::KeepOrgKey).about_org(org);
            self.store.commit(Change::KeepOrgKey(row), trail.record()).await?;
            // Another may have been first: the one that is kept counts.
            let kept =
                self.store.org_key(org).await?.ok_or_else(|| Error::bug("an org key was kept and is not there"))?;
            self.unwrap_org_key(kept).await
        };
        let key = (self.reading.load(Ordering::SeqCst), org.to_owned());
        self.org_keys.try_get_with(key, load).await.map_err(|error: Arc<Error>| (*error).clone())
    }

    /// The next use of an org's key reads it again, or makes another where it has gone.
    pub fn forget_org_keys(&self) {
        self.reading.fetch_add(1, Ordering::SeqCst);
        self.org_keys.invalidate_all();
    }

    /// Opens the key of no org, if it is kept already: it tells whether the keys fit the store.
    pub async fn open_sample(&self) -> Result<(), Error> {
        match self.store.org_key(EVERYTHING).await? {
            Some(kept) => self.unwrap_org_key(kept).await.map(drop),
            None => Ok(()),
        }
    }

    async fn unwrap_org_key(&self, kept: OrgKey) -> Result<Arc<Dek>, Error> {
        let OrgKey { org, wraps } = kept;
        Ok(Arc::new(self.unwrap(&wraps, &Context::for_org_key(&org)).await?))
    }

    /// A new key for checkpoints, not kept yet.
    pub async fn new_audit_key(&self, instance: &str, number: u32, now: Timestamp) -> Result<AuditKey, Error> {
        let seed = Dek::new(crypto::random().map_err(Error::bug)?);
        let public = signer(instance, &seed)?.public();
        let wraps = self.wrap(&seed, &Context::for_audit_key(instance, number)).await?;
        Ok(AuditKey { number, public, wraps, created_at: now })
    }

    pub async fn open_audit_key(&self, instance: &str, kept: AuditKey) -> Result<Signer, Error> {
        let AuditKey { number, public, wraps, .. } = kept;
        if wraps.is_empty() {
            return Err(Error::Corrupt { what: format!("the seed of audit key {number} is gone") });
        }
        let signer = signer(instance, &self.unwrap(&wraps, &Context::for_audit_key(instance, number)).await?)?;
        if signer.public() != public {
            return Err(Error::Corrupt { what: format!("audit key {number} has another public half") });
        }
        Ok(signer)
    }

    pub const fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// Wraps what is wrapped already under another key, one that is configured.
    pub async fn wrap_under(&self, uri: &str, dek: &Dek, context: &Context) -> Result<Wrap, kms::Error> {
        let key = self.keyring.get(uri).ok_or_else(|| kms::Error::Unknown { key: uri.to_owned() })?;
        Ok(key.wrap(dek, context).await?.into())
    }

    /// Proves that a key is the one of what is held. Of an org's key, nothing tells.
    pub fn fits(_permit: &Permit, holder: &Holder, held: &HeldFor, key: &Dek) -> Result<(), Error> {
        let damaged = |why: &dyn std::fmt::Display| Error::Corrupt { what: format!("{holder}: {why}") };
        match (holder, held) {
            (Holder::OrgKey(_), _) => Ok(()),
            (Holder::AuditKey { instance, .. }, HeldFor::AuditKey { public }) => {
                let fits = signer(instance, key)?.public() == *public;
                if fits { Ok(()) } else { Err(damaged(&"its public half is another")) }
            }
            (_, HeldFor::Version { .. } | HeldFor::Factor { .. }) => opened(holder, held, key).map(drop),
            _ => Err(Error::bug("a holder of another kind")),
        }
    }

    /// Seals what is held anew under the same key.
    pub fn reseal(_permit: &Permit, holder: &Holder, held: &HeldFor, key: &Dek, seal: Seal) -> Result<Vec<u8>, Error> {
        let (identity, secret) = opened(holder, held, key)?;
        let message_id = crypto::random().map_err(Error::bug)?;
        crypto::seal(seal, key, message_id, &identity, &secret).map_err(Error::bug)
    }

    /// Proves that what was sealed anew is what is held.
    pub fn is_same(_permit: &Permit, holder: &Holder, held: &HeldFor, key: &Dek, blob: &[u8]) -> Result<(), Error> {
        let damaged = |why: &dyn std::fmt::Display| Error::Corrupt { what: format!("{holder}, sealed anew: {why}") };
        let (identity, secret) = opened(holder, held, key)?;
        let other = crypto::open(key, &identity, blob).map_err(|why| damaged(&why))?;
        let is_same = bool::from(secret.expose().ct_eq(other.expose()));
        if is_same { Ok(()) } else { Err(damaged(&"it opens to something else")) }
    }

    async fn wrap(&self, dek: &Dek, context: &Context) -> Result<Vec<Wrap>, kms::Error> {
        let wrapped = self.keyring.wrap(dek, context).await?;
        let offline = self.keyring.wrap_to_recipients(dek, context, &[])?;
        Ok(std::iter::once(wrapped).chain(offline).map(Wrap::from).collect())
    }

    /// Any of a holder's wraps will do.
    pub async fn unwrap(&self, wraps: &[Wrap], context: &Context) -> Result<Dek, kms::Error> {
        let wraps: Vec<Wrapped> = wraps.iter().cloned().map(Wrapped::from).collect();
        self.keyring.unwrap(&wraps, context).await
    }
}

impl From<Wrapped> for Wrap {
    fn from(Wrapped { key, key_version, bytes }: Wrapped) -> Self {
        Self { key, key_version, bytes }
    }
}

impl From<Wrap> for Wrapped {
    fn from(Wrap { key, key_version, bytes }: Wrap) -> Self {
        Self { key, key_version, bytes }
    }
}

/// What a holder's key is bound to.
pub fn context_of(holder: &Holder, held: &HeldFor) -> Option<Context> {
    match holder {
        Holder::OrgKey(org) => Some(Context::for_org_key(org)),
        Holder::AuditKey { instance, number } => Some(Context::for_audit_key(instance, *number)),
        Holder::Version { .. } | Holder::Factor(_) => Some(Context::of(&identity_of(holder, held)?)),
    }
}

/// Whose it is that is held, and what it opens to.
fn opened(holder: &Holder, held: &HeldFor, key: &Dek) -> Result<(Identity, Secret), Error> {
    let (HeldFor::Version { blob, .. } | HeldFor::Factor { blob, .. }, Some(identity)) =
        (held, identity_of(holder, held))
    else {
        return Err(Error::bug("a holder of another kind"));
    };
    let secret = crypto::open(key, &identity, blob);
    let secret = secret.map_err(|why| Error::Corrupt { what: format!("{holder}: {why}") })?;
    Ok((identity, secret))
}

fn identity_of(holder: &Holder, held: &HeldFor) -> Option<Identity> {
    match (holder, held) {
        (Holder::Version { credential, version }, HeldFor::Version { path, .. }) => {
            Some(identity(path, *credential, *version))
        }
        (Holder::Factor(id), HeldFor::Factor { caller, .. }) => Some(stepup::identity(caller, *id)),
        _ => None,
    }
}

fn signer(instance: &str, seed: &Dek) -> Result<Signer, Error> {
    Signer::new(instance, seed.expose()).ok_or_else(|| Error::bug("a seed was refused"))
}

pub fn identity(path: &Path, credential: Uuid, version: u32) -> Identity {
    let Path { org, project, provider, name } = path.clone();
    Identity { org, project, provider, name, credential, version }
}
