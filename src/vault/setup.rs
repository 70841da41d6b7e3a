//! The way in. Permit, parse, seal under a fresh data key, store as pending with its record; then test live, outside any
//! transaction, and write down what the test found.

use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use crate::crypto::{Secret, fingerprint};
use crate::providers::{FingerprintMode, Parsed};
use crate::store::{self, Change, Credential, NewVersion, Receipt, Target, Version, VersionState};
use crate::vault::guard::{Permit, Withheld};
use crate::vault::policy::Resource;
use crate::vault::request::{Metadata, Setup, SetupDone};
use crate::vault::trail::Trail;
use crate::vault::{Action, Caller, Error, Outcome, Provider, Vault, keeper, probing, schedule};

/// How often a setup begins anew when another changes the same credential at the same time.
const TRIES: usize = 5;

impl Vault {
    /// Stores a credential, or a new version of one.
    pub async fn setup(self: &Arc<Self>, caller: &Caller, request: Setup) -> Result<SetupDone, Error> {
        let mut trail = Trail::begin(caller, Action::Setup);
        let result = self.store_permitted(caller, &request, &mut trail).await;
        let (stored, provider, secret) = self.guard.finish(trail, result).await?;
        if request.no_probe || self.untested(&provider, &stored.credential.metadata).is_some() {
            return Ok(stored);
        }
        let SetupDone { credential, version, .. } = stored;
        let (id, number) = (credential.id, version.version);
        // The test goes on when the caller hangs up: what is stored must not stay untested for that.
        match self.test_new(caller.clone(), credential, version, provider, secret).await {
            Ok(tested) => self.describe(tested.credential.clone(), number).await,
            // Another's test of it, which was given up: what is stored waits for the schedule.
            Err(Withheld::Stale) => match self.store.credential_by_id(id).await? {
                Some(credential) => self.describe(credential, number).await,
                None => Err(Error::bug("a credential was stored and is not there")),
            },
            Err(Withheld::Failed(error)) => Err(error),
        }
    }

    async fn store_permitted(
        &self,
        caller: &Caller,
        request: &Setup,
        trail: &mut Trail,
    ) -> Result<(SetupDone, Arc<Provider>, Secret), Error> {
        self.about(&request.path, trail)?;
        let mut tries = 0;
        loop {
            tries += 1;
            trail.decide_again();
            let existing = self.store.credential(&request.path).await?;
            let resource = existing.as_ref().map_or(Resource::Absent(&request.path), Resource::Credential);
            if let Some(existing) = &existing {
                trail.found(existing);
            }
            let permit = self.guard.permit(caller, resource, trail)?;
            if request.no_probe {
                self.guard.permit_also(caller, Action::SkipProbe, resource, trail)?;
            }
            check_etag(existing.as_ref(), request.etag.as_deref())?;

            let provider = self.provider(&request.path.provider)?;
            let parsed = self.parse(&provider, &request.upload).await?;
            check_about(&provider, request, &parsed)?;
            request.labels.as_ref().map_or(Ok(()), |labels| self.check_labels(labels))?;

            match self.store_version(&permit, caller, request, existing, &provider, &parsed, trail).await {
                Ok(done) => return Ok((done, provider, parsed.secret)),
                // Somebody else changed it between the look and the leap. Whoever named an etag wants to know.
                Err(Attempt::Raced) if tries < TRIES && request.etag.is_none() => {}
                Err(Attempt::Raced) => return Err(store::Error::Stale { current: None }.into()),
                Err(Attempt::Failed(error)) => return Err(error),
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "each is a different thing that was established before")]
    async fn store_version(
        &self,
        permit: &Permit,
        caller: &Caller,
        request: &Setup,
        existing: Option<Credential>,
        provider: &Provider,
        parsed: &Parsed,
        trail: &mut Trail,
    ) -> Result<SetupDone, Attempt> {
        let org_key = self.keeper.org_key(&request.path.org).await?;
        let shown = match provider.fingerprint {
            FingerprintMode::Plain => fingerprint::plain(&parsed.secret),
            FingerprintMode::Keyed => fingerprint::keyed(org_key.expose(), &parsed.secret),
        };
        let digest = fingerprint::digest(org_key.expose(), &parsed.secret);
        if let Some(existing) = &existing {
            self.refuse_duplicate(existing, &digest).await?;
        }

        let id = existing.as_ref().map_or_else(Uuid::now_v7, |it| it.id);
        let number = existing.as_ref().map_or(1, |it| it.latest_version + 1);
        trail.created(id);
        trail.version(number, &shown);
        let identity = keeper::identity(&request.path, id, number);
        let sealed = self.keeper.seal(&identity, provider.seal, &parsed.secret).await?;
        let metadata = request.metadata.as_ref().or(existing.as_ref().map(|it| &it.metadata));
        let untested = match request.no_probe {
            true => Some(Outcome::skipped()),
            false => self.untested(provider, metadata.unwrap_or(&Metadata::new())),
        };
        let version = Box::new(NewVersion {
            version: number,
            fingerprint: shown,
            digest,
            public_identity: parsed.public_identity.clone(),
            seal: provider.seal,
            sealed,
            created_by: caller.principal.id.clone(),
            activate: request.no_probe,
            probe_at: Some(schedule::first(untested.is_none(), &self.testing, trail.at())),
            probe: untested.map(|outcome| probing::record(&outcome, trail.at())),
            expires_at: parsed.expires_at,
            warnings: parsed.warnings.clone(),
        });
        let change = match &existing {
            Some(existing) => Change::Rotate {
                target: Target { credential: existing.id, revision: existing.revision },
                metadata: request.metadata.clone(),
                labels: request.labels.clone().filter(|labels| !labels.is_empty()),
                expires_at: request.expires_at,
                version,
            },
            None => Change::Create {
                id,
                path: request.path.clone(),
                metadata: request.metadata.clone().unwrap_or_default(),
                labels: request.labels.clone().unwrap_or_default(),
                expires_at: request.expires_at,
                version,
            },
        };
        let (credential, version) = match self.guard.commit(permit, change, trail).await {
            Ok(Receipt { credential: Some(credential), version: Some(version), .. }) => (credential, version),
            Ok(_) => return Err(Error::bug("a setup left no credential").into()),
            Err(store::Error::Stale { .. } | store::Error::Taken) => return Err(Attempt::Raced),
            Err(error) => return Err(Attempt::Failed(error.into())),
        };
        self.cache.forget(&credential).await;
        Ok(described(credential, version))
    }

    async fn refuse_duplicate(&self, existing: &Credential, digest: &[u8; 32]) -> Result<(), Error> {
        let versions = self.store.versions(existing.id).await?;
        let same = versions.iter().find(|version| {
            version.digest == *digest && matches!(version.state, VersionState::Active | VersionState::Pending)
        });
        match same {
            None => Ok(()),
            Some(same) => Err(Error::Conflict {
                why: format!("this secret is version {} of the credential already", same.version),
                id: existing.id.to_string(),
                version: same.version,
            }),
        }
    }

    /// What became of a version.
    async fn describe(&self, credential: Credential, number: u32) -> Result<SetupDone, Error> {
        let versions = self.store.versions(credential.id).await?;
        let version = versions.into_iter().find(|version| version.version == number);
        let version = version.ok_or_else(|| Error::bug("a version was stored and is not there"))?;
        Ok(described(credential, version))
    }
}

fn described(credential: Credential, version: Version) -> SetupDone {
    let in_progress = || probing::record(&Outcome::untested(), version.created_at);
    let probe = version.probe.clone().unwrap_or_else(in_progress);
    SetupDone { credential, version, probe }
}

/// How storing a version can end without one.
enum Attempt {
    Raced,
    Failed(Error),
}

impl From<Error> for Attempt {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

fn check_about(provider: &Provider, request: &Setup, parsed: &Parsed) -> Result<(), Error> {
    check_metadata(provider, request.metadata.as_ref(), parsed)?;
    if request.expires_at.is_some_and(|end| end <= Timestamp::now()) {
        return Err(Error::invalid("expires_at", "must be in the future"));
    }
    Ok(())
}

/// What is said about an upload fits the provider, and the upload.
pub fn check_metadata(provider: &Provider, metadata: Option<&Metadata>, parsed: &Parsed) -> Result<(), Error> {
    if let Some(metadata) = metadata {
        provider.check_metadata(metadata)?;
        parsed.agrees_with(metadata)?;
    }
    Ok(())
}

/// The etag is the revision, in decimal.
pub fn check_etag(existing: Option<&Credential>, etag: Option<&str>) -> Result<(), Error> {
    match (existing, etag) {
        (_, None) => Ok(()),
        (Some(existing), Some(etag)) if etag == existing.revision.to_string() => Ok(()),
        (existing, Some(_)) => Err(store::Error::Stale { current: existing.cloned().map(Box::new) }.into()),
    }
}
