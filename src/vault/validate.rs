//! Connection tests that somebody asks for: of an upload that is not stored, or of what is.

use std::sync::Arc;

use jiff::Timestamp;

use crate::crypto::fingerprint;
use crate::providers::FingerprintMode;
use crate::providers::probe::Patience;
use crate::store::{self, Credential, Version};
use crate::vault::guard::{Permit, Withheld};
use crate::vault::policy::Resource;
use crate::vault::probing::{self, Job};
use crate::vault::request::{Validate, Validated};
use crate::vault::setup::check_metadata;
use crate::vault::trail::Trail;
use crate::vault::{Action, Caller, Error, Outcome, Upload, Vault};

/// How often a test begins anew when the credential changes under it.
const TRIES: usize = 5;

impl Vault {
    /// Tests an upload without storing it, or the newest version of what is stored.
    pub async fn validate(self: &Arc<Self>, caller: &Caller, request: Validate) -> Result<Validated, Error> {
        let mut trail = Trail::begin(caller, Action::Validate);
        let result = self.validate_permitted(caller, &request, &mut trail).await;
        self.guard.finish(trail, result).await
    }

    async fn validate_permitted(
        self: &Arc<Self>,
        caller: &Caller,
        request: &Validate,
        trail: &mut Trail,
    ) -> Result<Validated, Error> {
        self.about(&request.path, trail)?;
        if let Some(upload) = &request.upload {
            let existing = self.store.credential(&request.path).await?;
            let resource = existing.as_ref().map_or(Resource::Absent(&request.path), Resource::Credential);
            let permit = self.guard.permit(caller, resource, trail)?;
            return self.validate_upload(caller, permit, request, upload, trail).await;
        }
        if request.metadata.is_some() {
            return Err(Error::invalid("metadata", "is for an upload: what is stored is tested with its own"));
        }
        for _ in 0..TRIES {
            trail.decide_again();
            let Some(existing) = self.store.credential(&request.path).await? else {
                return Err(self.guard.absent(caller, &request.path, trail));
            };
            trail.found(&existing);
            let permit = self.guard.permit(caller, Resource::Credential(&existing), trail)?;
            match self.validate_stored(caller, permit, existing, trail).await {
                Ok(validated) => return Ok(validated),
                Err(Withheld::Stale) => (),
                Err(Withheld::Failed(error)) => return Err(error),
            }
        }
        Err(store::Error::Stale { current: None }.into())
    }

    /// The record is there before the secret goes out; what was found has a second one.
    async fn validate_upload(
        &self,
        caller: &Caller,
        permit: Permit,
        request: &Validate,
        upload: &Upload,
        trail: &mut Trail,
    ) -> Result<Validated, Error> {
        let provider = self.provider(&request.path.provider)?;
        let parsed = self.parse(&provider, upload).await?;
        check_metadata(&provider, request.metadata.as_ref(), &parsed)?;
        let metadata = request.metadata.clone().unwrap_or_default();
        let shown = match provider.fingerprint {
            FingerprintMode::Plain => fingerprint::plain(&parsed.secret),
            FingerprintMode::Keyed => {
                fingerprint::keyed(self.keeper.org_key(&request.path.org).await?.expose(), &parsed.secret)
            }
        };
        trail.fingerprint(&shown);
        self.guard.admit(permit, trail).await?;
        let mut probe = match self.untested(&provider, &metadata) {
            Some(untested) => untested,
            None => {
                let outcome = match self.pace.admit(&provider, &request.path.org, Patience::Now).await {
                    Ok(_turn) => self.ask(&provider, &parsed.secret, &metadata).await,
                    Err(wait) => probing::throttled(wait),
                };
                let mut told = Trail::begin(caller, Action::Probe).about(&request.path);
                told.fingerprint(&shown);
                self.told_of_test(told, &outcome).await?;
                outcome
            }
        };
        probe.learned.warnings.splice(0..0, parsed.warnings);
        probe.learned.expires_at = [probe.learned.expires_at, parsed.expires_at].into_iter().flatten().min();
        let public_identity = parsed.public_identity;
        Ok(Validated { probe, at: Timestamp::now(), fingerprint: shown, public_identity, credential: None })
    }

    async fn validate_stored(
        self: &Arc<Self>,
        caller: &Caller,
        permit: Permit,
        credential: Credential,
        trail: &mut Trail,
    ) -> Result<Validated, Withheld> {
        let newest = self.store.versions(credential.id).await.map_err(Error::from)?.into_iter().next();
        let newest =
            newest.ok_or_else(|| Error::Corrupt { what: format!("credential {} has no version", credential.id) })?;
        trail.version(newest.version, &newest.fingerprint);
        let provider = self.provider(&credential.path.provider)?;
        if let Some(untested) = self.untested(&provider, &credential.metadata) {
            self.guard.admit(permit, trail).await?;
            return Ok(validated(untested, Timestamp::now(), newest, credential));
        }
        let job = Job {
            caller: caller.clone(),
            permit,
            credential,
            version: newest.clone(),
            provider,
            trail: trail.clone(),
            slots: None,
        };
        let tested = self.test_stored(job).await?;
        Ok(validated(tested.outcome.clone(), tested.at, newest, tested.credential.clone()))
    }
}

fn validated(probe: Outcome, at: Timestamp, version: Version, credential: Credential) -> Validated {
    Validated {
        probe,
        at,
        fingerprint: version.fingerprint,
        public_identity: version.public_identity,
        credential: Some(credential),
    }
}
