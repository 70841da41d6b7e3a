//! Seals what comes in and opens what is asked for: data keys from the KMS, blobs by `crypto`.

use std::sync::Arc;

use uuid::Uuid;

use crate::crypto::ledger::note::Signer;
use crate::crypto::{self, Dek, Identity, Seal, Secret};
use crate::kms::{self, Context, Keyring, Wrapped};
use crate::store::{AuditKey, Change, Credential, OrgKey, Path, Sealed, Store, Version};
use crate::vault::guard::Permit;
use crate::vault::names::EVERYTHING;
use crate::vault::trail::Trail;
use crate::vault::{Action, Caller, Error};

pub struct Keeper {
    store: Arc<dyn Store>,
    keyring: Keyring,
    /// The orgs' keys for digests. They open nothing.
    org_keys: moka::future::Cache<String, Arc<Dek>>,
}

/// A version's ciphertext with the key that its data key is wrapped under.
pub struct Kept {
    pub sealed: Sealed,
    pub kms_key: String,
    pub kms_key_version: String,
}

impl Keeper {
    pub fn new(store: Arc<dyn Store>, keyring: Keyring) -> Self {
        Self { store, keyring, org_keys: moka::future::Cache::new(1_000) }
    }

    pub async fn seal(&self, identity: &Identity, seal: Seal, secret: &Secret) -> Result<Kept, Error> {
        let dek = Dek::new(crypto::random().map_err(Error::bug)?);
        let message_id = crypto::random().map_err(Error::bug)?;
        let wrapped = self.wrap(&dek, &Context::of(identity)).await?;
        let blob = crypto::seal(seal, &dek, message_id, identity, secret).map_err(Error::bug)?;
        let Wrapped { key, key_version, bytes } = wrapped;
        Ok(Kept { sealed: Sealed { blob, wrapped_dek: bytes }, kms_key: key, kms_key_version: key_version })
    }

    /// Opens a stored version. What comes out is put under lock at once, as `Opened`; the cache keeps it besides.
    pub async fn open(&self, _permit: &Permit, credential: &Credential, version: u32) -> Result<Secret, Error> {
        let identity = identity(&credential.path, credential.id, version);
        let what = format!("credential {} version {version}", credential.id);
        let missing =
            || Error::Corrupt { what: format!("credential {} has no ciphertext of version {version}", credential.id) };
        let (row, sealed) = self.store.sealed(credential.id, version).await?.ok_or_else(missing)?;
        let Version { kms_key, kms_key_version, .. } = row;
        self.open_kept(&identity, Kept { sealed, kms_key, kms_key_version }, &what).await
    }

    /// Opens what [`Keeper::seal`] sealed for this identity. What it is, is for the operator, when it does not open.
    pub async fn open_kept(&self, identity: &Identity, kept: Kept, what: &str) -> Result<Secret, Error> {
        let Kept { sealed, kms_key, kms_key_version } = kept;
        let wrapped = Wrapped { key: kms_key, key_version: kms_key_version, bytes: sealed.wrapped_dek };
        let damaged = |why: &dyn std::fmt::Display| Error::Corrupt { what: format!("{what}: {why}") };
        let dek = match self.unwrap(&wrapped, &Context::of(identity)).await {
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
            let Wrapped { key: kms_key, key_version, bytes } = self.wrap(&key, &Context::for_org_key(org)).await?;
            let row = OrgKey { org: org.to_owned(), wrapped: bytes, kms_key, kms_key_version: key_version };
            let trail = Trail::begin(&Caller::system(), Action::KeepOrgKey).about_org(org);
            self.store.commit(Change::KeepOrgKey(row), trail.record()).await?;
            // Another may have been first: the one that is kept counts.
            let kept =
                self.store.org_key(org).await?.ok_or_else(|| Error::bug("an org key was kept and is not there"))?;
            self.unwrap_org_key(kept).await
        };
        self.org_keys.try_get_with_by_ref(org, load).await.map_err(|error: Arc<Error>| (*error).clone())
    }

    /// Opens the key of no org, if it is kept already: it tells whether the keys fit the store.
    pub async fn open_sample(&self) -> Result<(), Error> {
        match self.store.org_key(EVERYTHING).await? {
            Some(kept) => self.unwrap_org_key(kept).await.map(drop),
            None => Ok(()),
        }
    }

    async fn unwrap_org_key(&self, kept: OrgKey) -> Result<Arc<Dek>, Error> {
        let OrgKey { org, wrapped, kms_key, kms_key_version } = kept;
        let wrapped = Wrapped { key: kms_key, key_version: kms_key_version, bytes: wrapped };
        Ok(Arc::new(self.unwrap(&wrapped, &Context::for_org_key(&org)).await?))
    }

    /// A new key for checkpoints, not kept yet.
    pub async fn new_audit_key(&self, number: u32, now: jiff::Timestamp) -> Result<AuditKey, Error> {
        let instance = self.store.instance();
        let seed = Dek::new(crypto::random().map_err(Error::bug)?);
        let public = signer(instance, &seed)?.public();
        let Wrapped { key, key_version, bytes } = self.wrap(&seed, &Context::for_audit_key(instance, number)).await?;
        Ok(AuditKey { number, public, wrapped: bytes, kms_key: key, kms_key_version: key_version, created_at: now })
    }

    pub async fn open_audit_key(&self, kept: AuditKey) -> Result<Signer, Error> {
        let AuditKey { number, public, wrapped, kms_key, kms_key_version, .. } = kept;
        let instance = self.store.instance();
        let wrapped = Wrapped { key: kms_key, key_version: kms_key_version, bytes: wrapped };
        let signer = signer(instance, &self.unwrap(&wrapped, &Context::for_audit_key(instance, number)).await?)?;
        if signer.public() != public {
            return Err(Error::Corrupt { what: format!("audit key {number} has another public half") });
        }
        Ok(signer)
    }

    pub const fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    async fn wrap(&self, dek: &Dek, context: &Context) -> Result<Wrapped, kms::Error> {
        self.keyring.wrap(dek, context).await
    }

    async fn unwrap(&self, wrapped: &Wrapped, context: &Context) -> Result<Dek, kms::Error> {
        self.keyring.unwrap(std::slice::from_ref(wrapped), context).await
    }
}

fn signer(instance: &str, seed: &Dek) -> Result<Signer, Error> {
    Signer::new(instance, seed.expose()).ok_or_else(|| Error::bug("a seed was refused"))
}

pub fn identity(path: &Path, credential: Uuid, version: u32) -> Identity {
    let Path { org, project, provider, name } = path.clone();
    Identity { org, project, provider, name, credential, version }
}
