//! The way out. Look up, permit, open (from the cache where it can), then one transaction that appends the audit record
//! and confirms that this version is still the one to serve, then the answer.
//!
//! Opening comes before the transaction, not after it: a delete that is acknowledged while the key service is slow is
//! then seen by the confirmation, and the old plaintext does not leave.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::join_all;

use crate::crypto::Secret;
use crate::store::{Credential, Path};
use crate::vault::guard::{Opened, Permit, Withheld};
use crate::vault::policy::Resource;
use crate::vault::request::{Decrypt, Decrypted};
use crate::vault::trail::Trail;
use crate::vault::{Action, Caller, Error, Vault, VersionState};

/// How often a decrypt looks again when the credential changes under it.
const TRIES: usize = 5;

/// How many a batch may ask for.
const LARGEST_BATCH: usize = 100;

impl Vault {
    /// Answers the plaintext of the active version.
    pub async fn decrypt(self: &Arc<Self>, caller: &Caller, request: Decrypt) -> Result<Decrypted, Error> {
        let mut trail = Trail::begin(caller, Action::Decrypt);
        let result = self.decrypt_permitted(caller, &request, &mut trail).await;
        self.guard.finish(trail, result).await
    }

    /// Answers several. Each is permitted and recorded by itself; their records share a commit.
    pub async fn decrypt_batch(
        self: &Arc<Self>,
        caller: &Caller,
        paths: Vec<Path>,
    ) -> Result<Vec<Result<Decrypted, Error>>, Error> {
        if paths.is_empty() || paths.len() > LARGEST_BATCH {
            let error = Error::invalid("credentials", format!("must be 1 to {LARGEST_BATCH}"));
            return Err(self.refused(caller, Action::Decrypt, error).await);
        }
        // Each counts as a call of its own.
        let _turns = match self.turns.more(caller, paths.len() as u32 - 1) {
            Ok(turns) => turns,
            Err(error) => return Err(self.refused(caller, Action::Decrypt, error).await),
        };
        // A second person is shown one thing, and agrees to that: never to what else is in the batch.
        let mut caller = caller.clone();
        caller.circumstances.approval = None;
        caller.circumstances.request = None;
        let each = paths.into_iter().map(|path| self.decrypt(&caller, Decrypt { path, fresh: false }));
        Ok(join_all(each).await)
    }

    async fn decrypt_permitted(
        self: &Arc<Self>,
        caller: &Caller,
        request: &Decrypt,
        trail: &mut Trail,
    ) -> Result<Decrypted, Error> {
        self.about(&request.path, trail)?;
        for _ in 0..TRIES {
            trail.decide_again();
            let Some((credential, remembered)) = self.look_up(&request.path).await? else {
                return Err(self.guard.absent(caller, &request.path, trail));
            };
            trail.found(&credential);
            let (permit, version) = match self.judge(caller, &credential, trail).await {
                Ok(judged) => judged,
                // No answer confirms a refusal: what was remembered may be what is out of date.
                Err(_) if remembered => {
                    self.cache.forget_name(&request.path).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            trail.version(version, &credential.fingerprint);

            let cached = if request.fresh { None } else { self.cache.get(&credential, version).await };
            let is_cached = cached.is_some();
            let released = match cached {
                Some(secret) => {
                    metrics::counter!("strongroom_cache_hits_total").increment(1);
                    self.guard.release(Opened::to_serve(permit, &credential, version, secret)?, trail).await
                }
                None => {
                    metrics::counter!("strongroom_cache_misses_total").increment(1);
                    self.open_and_release(caller, permit, Arc::clone(&credential), version, request.fresh, trail).await
                }
            };
            match released {
                Ok(secret) => {
                    let fingerprint = credential.fingerprint.clone();
                    return Ok(Decrypted {
                        credential_id: credential.id,
                        version,
                        secret,
                        fingerprint,
                        cached: is_cached,
                    });
                }
                Err(Withheld::Failed(error)) => return Err(error),
                // What was remembered is out of date: forget it and look again.
                Err(Withheld::Stale) => self.cache.forget(&credential).await,
            }
        }
        let id = request.path.name.clone();
        Err(Error::Conflict { why: "the credential changes too fast; try again".to_owned(), id, version: 0 })
    }

    async fn judge(&self, caller: &Caller, credential: &Credential, trail: &mut Trail) -> Result<(Permit, u32), Error> {
        let permit = self.guard.permit(caller, Resource::Credential(credential), trail)?;
        Ok((permit, self.served(credential).await?))
    }

    /// Who bears a name, and whether that was remembered rather than read.
    async fn look_up(&self, path: &Path) -> Result<Option<(Arc<Credential>, bool)>, Error> {
        if let Some(known) = self.cache.named(path).await {
            return Ok(Some((known, true)));
        }
        let Some(credential) = self.store.credential(path).await? else { return Ok(None) };
        let credential = Arc::new(credential);
        self.cache.remember(Arc::clone(&credential)).await;
        Ok(Some((credential, false)))
    }

    /// The version to serve, or what stands in the way.
    async fn served(&self, credential: &Credential) -> Result<u32, Error> {
        let refused = |outcome: &str, reason: &str, hint: &str| Error::Refused {
            provider: credential.path.provider.clone(),
            outcome: outcome.to_owned(),
            reason: reason.to_owned(),
            hint: hint.to_owned(),
        };
        if credential.disabled {
            return Err(refused("disabled", "disabled", "enable it with `strongroom metadata --enable`"));
        }
        if let Some(version) = credential.active_version {
            return Ok(version);
        }
        let newest = self.store.versions(credential.id).await?.into_iter().next();
        let Some(newest) = newest else { return Err(refused("untested", "no_version", "set it up again")) };
        Err(match (newest.state, newest.probe) {
            (VersionState::Pending, Some(probe)) => refused(&probe.outcome, &probe.reason, &probe.hint),
            (VersionState::Pending, None) => refused("untested", "in_progress", "its connection test is under way"),
            (_, Some(probe)) => refused(&probe.outcome, &probe.reason, &probe.hint),
            (_, None) => refused("invalid_credential", "rejected", "set it up again with a secret that works"),
        })
    }

    /// The cold way. Runs to its end even when the caller hangs up, so that a plaintext which was revoked while it was
    /// opened cannot stay in the cache unconfirmed.
    async fn open_and_release(
        self: &Arc<Self>,
        caller: &Caller,
        permit: Permit,
        credential: Arc<Credential>,
        version: u32,
        fresh: bool,
        trail: &Trail,
    ) -> Result<Secret, Withheld> {
        let vault = Arc::clone(self);
        let (record, turn) = (trail.clone(), caller.turn.clone());
        let work = async move {
            let _turn = turn;
            let opening = vault.keeper.open(&permit, &credential, version);
            let opened = if fresh { opening.await } else { vault.cache.fill(&credential, version, opening).await };
            let secret = match opened {
                Ok(secret) => secret,
                // Destroyed or replaced since it was looked up is not damage.
                Err(error) => return Err(vault.changed_or(&credential, error).await),
            };
            let opened = Opened::to_serve(permit, &credential, version, secret)?;
            let released = vault.guard.release(opened, &record).await;
            if released.is_err() {
                vault.cache.forget(&credential).await;
            }
            released
        };
        // A panic's words may quote the secret.
        tokio::spawn(work.boxed()).await.unwrap_or_else(|_| Err(Withheld::Failed(Error::bug("an opening did not end"))))
    }

    pub(super) async fn changed_or(&self, credential: &Credential, error: Error) -> Withheld {
        match self.store.credential_by_id(credential.id).await {
            Ok(Some(now)) if now.revision == credential.revision => Withheld::Failed(error),
            Ok(_) => Withheld::Stale,
            Err(unreadable) => Withheld::Failed(unreadable.into()),
        }
    }
}
