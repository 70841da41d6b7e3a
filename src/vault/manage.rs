//! Changes that need no secret: metadata, activate, delete, undelete.

use jiff::Timestamp;

use crate::store::{Change, Credential, Path, Target, Version, VersionState};
use crate::vault::guard::Permit;
use crate::vault::policy::Resource;
use crate::vault::request::{Activate, Delete, Update};
use crate::vault::setup::check_etag;
use crate::vault::trail::Trail;
use crate::vault::{Action, Caller, Error, Vault};

/// A delete can be taken back for at most this long.
const LONGEST_DELAY: std::time::Duration = std::time::Duration::from_secs(90 * 24 * 3600);

impl Vault {
    pub async fn update_metadata(&self, caller: &Caller, request: Update) -> Result<Credential, Error> {
        let mut trail = Trail::begin(caller, Action::UpdateMetadata);
        let result = async {
            let (credential, permit) = self.find(caller, &request.path, &mut trail).await?;
            check_etag(Some(&credential), request.etag.as_deref())?;
            let provider = self.provider(&request.path.provider)?;
            if let Some(metadata) = &request.metadata {
                provider.check_metadata(metadata)?;
            }
            if let Some(labels) = &request.labels {
                self.check_labels(labels)?;
            }
            let Update { metadata, labels, disabled, .. } = request;
            if metadata.is_none() && labels.is_none() && disabled.is_none() {
                return Err(Error::invalid(
                    "metadata",
                    "give metadata, labels or disabled: there is nothing to change",
                ));
            }
            self.change(&permit, Change::Update { target: target(&credential), metadata, labels, disabled }, &trail)
                .await
        };
        let result = result.await;
        self.guard.finish(trail, result).await
    }

    /// Serves another version: a rollback, or one that was never tested, which needs the permission to skip the test.
    pub async fn activate(&self, caller: &Caller, request: Activate) -> Result<(Credential, Version), Error> {
        let mut trail = Trail::begin(caller, Action::Activate);
        let result = async {
            let (credential, permit) = self.find(caller, &request.path, &mut trail).await?;
            check_etag(Some(&credential), request.etag.as_deref())?;
            let version = self.activatable(&credential, request.version).await?;
            trail.version(version.version, &version.fingerprint);
            if version.state == VersionState::Pending {
                self.guard.permit_also(caller, Action::SkipProbe, Resource::Credential(&credential), &mut trail)?;
            }
            let change = Change::Activate { target: target(&credential), version: request.version };
            let credential = self.change(&permit, change, &trail).await?;
            let version = self.version(&credential, request.version).await?;
            Ok((credential, version))
        };
        let result = result.await;
        self.guard.finish(trail, result).await
    }

    pub async fn delete(&self, caller: &Caller, request: Delete) -> Result<Credential, Error> {
        let mut trail = Trail::begin(caller, Action::Delete);
        let result = async {
            let (credential, permit) = self.find(caller, &request.path, &mut trail).await?;
            check_etag(Some(&credential), request.etag.as_deref())?;
            let delay = request.destroy_after.unwrap_or_default();
            if delay > LONGEST_DELAY {
                return Err(Error::invalid("destroy_after", "must not be more than 90 days"));
            }
            let destroy_at = (!delay.is_zero()).then(|| trail.at() + delay);
            trail.fingerprint(&credential.fingerprint);
            self.change(&permit, Change::Delete { target: target(&credential), destroy_at }, &trail).await
        };
        let result = result.await;
        self.guard.finish(trail, result).await
    }

    pub async fn undelete(&self, caller: &Caller, path: &Path) -> Result<Credential, Error> {
        let mut trail = Trail::begin(caller, Action::Undelete);
        let result = async {
            self.about(path, &mut trail)?;
            let Some(credential) = self.store.deleted(path).await? else {
                return Err(self.guard.absent(caller, path, &mut trail));
            };
            trail.found(&credential);
            let permit = self.guard.permit(caller, Resource::Credential(&credential), &mut trail)?;
            if credential.destroy_at.is_none_or(|end| end <= Timestamp::now()) {
                return Err(Error::NotFound { what: "its time is over; the ciphertext is being destroyed".to_owned() });
            }
            self.change(&permit, Change::Undelete { target: target(&credential) }, &trail).await
        };
        let result = result.await;
        self.guard.finish(trail, result).await
    }

    /// The live credential of a name, with the permission for the trail's action.
    pub(super) async fn find(
        &self,
        caller: &Caller,
        path: &Path,
        trail: &mut Trail,
    ) -> Result<(Credential, Permit), Error> {
        self.about(path, trail)?;
        let Some(credential) = self.store.credential(path).await? else {
            return Err(self.guard.absent(caller, path, trail));
        };
        trail.found(&credential);
        let permit = self.guard.permit(caller, Resource::Credential(&credential), trail)?;
        Ok((credential, permit))
    }

    /// Commits, and forgets what the cache knew, before anybody is told.
    pub(super) async fn change(&self, permit: &Permit, change: Change, trail: &Trail) -> Result<Credential, Error> {
        let receipt = self.guard.commit(permit, change, trail).await?;
        let credential = receipt.credential.ok_or_else(|| Error::bug("a change left no credential"))?;
        self.cache.forget(&credential).await;
        Ok(credential)
    }

    async fn activatable(&self, credential: &Credential, number: u32) -> Result<Version, Error> {
        let version = self.version(credential, number).await?;
        let why = match version.state {
            VersionState::Pending | VersionState::Superseded => return Ok(version),
            VersionState::Active => "this version is the one that is served already",
            VersionState::Invalid => "the provider refused this version; set the credential up again",
            VersionState::Destroyed => "this version's ciphertext is destroyed",
        };
        Err(Error::Conflict { why: why.to_owned(), id: credential.id.to_string(), version: credential.latest_version })
    }

    async fn version(&self, credential: &Credential, number: u32) -> Result<Version, Error> {
        let versions = self.store.versions(credential.id).await?;
        let found = versions.into_iter().find(|version| version.version == number);
        found.ok_or_else(|| Error::invalid("version", format!("must be 1 to {}", credential.latest_version)))
    }
}

fn target(credential: &Credential) -> Target {
    Target { credential: credential.id, revision: credential.revision }
}
