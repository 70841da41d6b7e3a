//! Who is no second person.
//!
//! Refused: the requester; whoever made the requester's token, or has one that the requester made, over any number of
//! steps; whoever bears the same subject, address or token name by another proof. What remains: one person who holds two
//! tokens that an administrator made under two names, or an account at two issuers with nothing in common. Where that
//! matters, let people come by an issuer that knows them, and let policy take approvals from there alone.

use std::collections::BTreeSet;

use uuid::Uuid;

use crate::store::Approval;
use crate::vault::names::EVERYTHING;
use crate::vault::{Error, Principal, Proof, Vault};

/// Claims that name a person.
const NAMING: [&str; 2] = ["sub", "email"];

/// Longer lines of tokens that made tokens are not followed: then nobody of them is a second person.
const LONGEST_LINE: usize = 64;

/// What else tells who somebody is, as it is kept with their request.
pub fn known_by(principal: &Principal) -> Vec<String> {
    let claims = NAMING.iter().filter_map(|claim| Some(format!("{claim}={}", principal.claims.get(*claim)?)));
    let name = (principal.proof == Proof::Token).then(|| format!("name={}", principal.name));
    claims.chain(name).collect()
}

/// Whether what somebody is limited to includes what a request is about.
pub fn covers(approver: &Principal, approval: &Approval) -> bool {
    let org = approver.org == EVERYTHING || approver.org == approval.path.org;
    let within = |limits: &[String], part: &String| {
        limits.is_empty() || limits.iter().any(|limit| limit == EVERYTHING || limit == part)
    };
    org && within(&approver.projects, &approval.path.project) && within(&approver.providers, &approval.path.provider)
}

impl Vault {
    /// Whether somebody may count as another person than the requester.
    pub(super) async fn is_another(&self, approver: &Principal, approval: &Approval) -> Result<bool, Error> {
        let theirs = known_by(approver);
        // Letters' case makes no other person of an address.
        let is_known = approval.known_by.iter().any(|one| theirs.iter().any(|other| one.eq_ignore_ascii_case(other)));
        if is_known {
            return Ok(false);
        }
        let (Some(above_requester), Some(above_approver)) =
            (self.line(&approval.requester).await?, self.line(&approver.id).await?)
        else {
            return Ok(false);
        };
        Ok(!above_requester.contains(&approver.id) && !above_approver.contains(&approval.requester))
    }

    /// A caller and whoever made its token, and theirs. None when there is no end to it.
    async fn line(&self, caller: &str) -> Result<Option<BTreeSet<String>>, Error> {
        let mut line = BTreeSet::new();
        let mut next = caller.to_owned();
        while line.len() < LONGEST_LINE {
            let token = match next.parse::<Uuid>() {
                Ok(id) => self.store.token(id).await?,
                Err(_) => None,
            };
            if !line.insert(next) {
                return Ok(None);
            }
            match token {
                Some(token) => next = token.created_by,
                None => return Ok(Some(line)),
            }
        }
        Ok(None)
    }

    /// Whose second factor counts for a caller.
    pub(super) async fn owner(&self, principal: &Principal) -> Result<String, Error> {
        Ok(principal.id.clone())
    }
}
