//! A second person's agreement to one very request.
//!
//! ```text
//!   requester: asks  ─► NeedsApproval { id }     kept: who, what about, and a keyed digest of the whole request
//!   approver:  approveRequest(id)                another person, for whom policy allows it; good for an hour
//!   requester: asks the same again, with the id ─► spent in one transaction, then done
//! ```
//!
//! The digest covers every field of the request, so an approval for one secret sets up no other; and it is made under the
//! platform's key, for a secret may be guessable. What was rejected, used or too late is removed: to whoever names it
//! then, it is as if it had never been.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::people;
use crate::crypto::{fingerprint, put_text};
use crate::store::{self, Approval, ApprovalChange, Change, Path, Store};
use crate::vault::caller::RequestDigest;
use crate::vault::guard::{Guard, Permit};
use crate::vault::keeper::Keeper;
use crate::vault::names::{EVERYTHING, PLATFORM};
use crate::vault::policy::Resource;
use crate::vault::trail::{Asker, Trail};
use crate::vault::{Action, Caller, Error, Vault};

/// A request waits this long for a second person.
const PENDING: Duration = Duration::from_secs(24 * 3600);
/// And an approval this long for its request.
const APPROVED: Duration = Duration::from_secs(3600);

/// Asks second persons. The guard does it when it finds that one is needed.
pub struct Approvals {
    store: Arc<dyn Store>,
    keeper: Arc<Keeper>,
}

impl Approvals {
    pub const fn new(store: Arc<dyn Store>, keeper: Arc<Keeper>) -> Self {
        Self { store, keeper }
    }

    /// The answer to a request that needs a second person: under which id one can agree to it. The same request again has
    /// the same id.
    pub async fn ask(&self, trail: &Trail) -> Error {
        self.request(trail).await.unwrap_or_else(|error| error)
    }

    async fn request(&self, trail: &Trail) -> Result<Error, Error> {
        // Without a digest there is nothing that could be agreed to: part of a larger request, or rules that are so new
        // that the request was read under others.
        let unasked = || Error::NeedsApproval { id: String::new() };
        let Some(Asker { principal, request }) = trail.asker() else { return Ok(unasked()) };
        let (action, path) = trail.subject();
        let digest = self.digest(&principal.id, action, &path, *request).await?;
        let of_request = self.store.approval_of(&principal.id, &digest);
        if let Some(known) = of_request.await?.filter(|known| known.expires_at > trail.at()) {
            return Ok(Error::NeedsApproval { id: known.id.to_string() });
        }
        let approval = Approval {
            id: Uuid::now_v7(),
            requester: principal.id.clone(),
            requester_name: principal.name.clone(),
            known_by: people::known_by(principal),
            action: action.to_owned(),
            path,
            digest,
            requested_at: trail.at(),
            expires_at: trail.at() + PENDING,
            approved: None,
        };
        let mut asked = trail.begin_within(Action::RequestApproval);
        asked.approval(approval.id);
        self.store.commit(Change::Approval(ApprovalChange::Request(Box::new(approval))), asked.record()).await?;
        // Another may have been first: the one that is kept counts.
        let kept = self.store.approval_of(&principal.id, &digest).await?;
        Ok(kept.map_or_else(unasked, |kept| Error::NeedsApproval { id: kept.id.to_string() }))
    }

    /// Of one caller's one request about one thing.
    async fn digest(&self, caller: &str, action: &str, path: &Path, request: RequestDigest) -> Result<[u8; 32], Error> {
        let mut said = Vec::new();
        for text in [caller, action, &path.org, &path.project, &path.provider, &path.name] {
            put_text(&mut said, text);
        }
        said.extend_from_slice(&request.0);
        let key = self.keeper.org_key(PLATFORM).await?;
        Ok(fingerprint::request(key.expose(), &said))
    }
}

impl Vault {
    /// Whether the wrapper should find out what requests say.
    pub fn weighs_approvals(&self) -> bool {
        self.guard.weighs_approvals()
    }

    /// Spends the approval that a request names. From here on, the request is approved.
    pub async fn use_approval(&self, caller: &Caller, id: Uuid, request: RequestDigest) -> Result<(), Error> {
        let mut trail = Trail::begin(caller, Action::UseApproval);
        // Under others nothing is spent: what it is spent for would be refused.
        trail.allowed_by(self.guard.rules());
        let result = async {
            let requester = &caller.principal.id;
            let found = self.store.approval(id).await?.filter(|found| found.requester == *requester);
            let found = found.ok_or_else(no_good)?;
            trail.approval(id);
            trail.path(&found.path);
            let digest = self.guard.approvals().digest(requester, &found.action, &found.path, request).await?;
            if digest != found.digest || found.expires_at <= trail.at() {
                return Err(no_good());
            }
            if found.approved.is_none() {
                return Err(Error::NeedsApproval { id: id.to_string() });
            }
            let change = ApprovalChange::Spend { id, requester: requester.clone(), digest };
            match self.guard.commit(&Guard::own_work(), Change::Approval(change), &trail).await {
                Err(store::Error::Stale { .. }) => Err(no_good()),
                other => Ok(other.map(drop)?),
            }
        };
        let result = result.await;
        self.guard.finish(trail, result).await
    }

    /// A second person agrees.
    pub async fn approve(&self, caller: &Caller, id: &str) -> Result<Approval, Error> {
        let mut trail = Trail::begin(caller, Action::ApproveRequest);
        let result = async {
            let (permit, approval) = self.to_decide(caller, id, &mut trail).await?;
            if !self.is_another(&caller.principal, &approval).await? {
                return Err(Error::conflict(
                    "somebody else must approve it: it is your own request, or that of somebody whose token you \
                          made or who made yours",
                ));
            }
            let (id, by, until) = (approval.id, caller.principal.id.clone(), trail.at() + APPROVED);
            let change = ApprovalChange::Approve { id, by: by.clone(), until };
            self.guard.commit(&permit, Change::Approval(change), &trail).await.map_err(decided)?;
            Ok(Approval { expires_at: until, approved: Some((by, trail.at())), ..approval })
        };
        let result = result.await;
        self.guard.finish(trail, result).await
    }

    /// A second person does not agree, or no longer. The requester may take a request back that way too, if policy lets
    /// them.
    pub async fn reject(&self, caller: &Caller, id: &str) -> Result<Approval, Error> {
        let mut trail = Trail::begin(caller, Action::RejectRequest);
        let result = async {
            let (permit, approval) = self.to_decide(caller, id, &mut trail).await?;
            let change = Change::Approval(ApprovalChange::Reject { id: approval.id });
            self.guard.commit(&permit, change, &trail).await.map_err(decided)?;
            Ok(approval)
        };
        let result = result.await;
        self.guard.finish(trail, result).await
    }

    /// What waits for a second person, and what one has agreed to: about one org, or all.
    pub async fn list_approvals(&self, caller: &Caller, org: Option<&str>) -> Result<Vec<Approval>, Error> {
        let mut trail = Trail::begin(caller, Action::ListApprovals);
        let result = async {
            self.about_scope(org.unwrap_or(EVERYTHING), &mut trail)?;
            let permit = self.guard.permit(caller, Resource::Org(org.unwrap_or(EVERYTHING)), &mut trail)?;
            let mut approvals = self.store.approvals(org).await?;
            approvals
                .retain(|approval| approval.expires_at > trail.at() && people::covers(&caller.principal, approval));
            self.guard.admit(permit, &trail).await?;
            Ok(approvals)
        };
        let result = result.await;
        self.guard.finish(trail, result).await
    }

    /// The approval with this id while it is to be decided, on record as what it is about; and the caller's permit.
    async fn to_decide(&self, caller: &Caller, id: &str, trail: &mut Trail) -> Result<(Permit, Approval), Error> {
        let id: Uuid = id
            .parse()
            .map_err(|_| Error::invalid("id", "must be an approval's id, as `strongroom approval list` shows it"))?;
        let approval = self.store.approval(id).await?.filter(|approval| approval.expires_at > trail.at());
        match &approval {
            Some(approval) => {
                trail.approval(id);
                trail.path(&approval.path);
            }
            None => trail.org(EVERYTHING),
        }
        let org = approval.as_ref().map_or(EVERYTHING, |approval| &approval.path.org);
        let permit = self.guard.permit(caller, Resource::Org(org), trail)?;
        let approval = approval.ok_or_else(absent)?;
        if !people::covers(&caller.principal, &approval) {
            return Err(Error::Denied);
        }
        Ok((permit, approval))
    }
}

/// One phrase for all that can be wrong: another's ids tell nothing.
fn no_good() -> Error {
    let why = "is no approval of yours for this very request that is still good: it may have been rejected or used, its \
               time may be over, or the request is another than the one that was approved";
    Error::invalid("strongroom-approval", why)
}

fn absent() -> Error {
    Error::NotFound { what: "there is no such approval".to_owned() }
}

fn decided(error: store::Error) -> Error {
    match error {
        store::Error::Stale { .. } => Error::conflict("it was decided meanwhile, or its time is over"),
        error => error.into(),
    }
}
