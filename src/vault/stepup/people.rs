//! Who is no second person.
//!
//! Refused: the requester; whoever made the requester's token, or has one that the requester made, over any number of
//! steps; whoever bears the same subject, address or token name by another proof. What remains: one person who holds two
//! tokens that an administrator made under two names, or an account at two issuers with nothing in common. Where that
//! matters, let people come by an issuer that knows them, and let policy take approvals from there alone.

use std::collections::BTreeSet;

use crate::store::{Approval, Token};
use crate::vault::names::EVERYTHING;
use crate::vault::{Error, Principal, Proof, Vault};

/// Claims that name a person.
const NAMING: [&str; 2] = ["sub", "email"];

/// Longer lines of tokens that made tokens are not followed: then nobody of them is a second person. A token that is
/// rotated every day gets there after eleven years.
const LONGEST_LINE: usize = 4096;

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
        let in_line = above_requester.contains(&approver.id) || above_approver.contains(&approval.requester);
        Ok(!in_line && self.first_of(&approval.requester).await? != self.first_of(&approver.id).await?)
    }

    /// A caller, whoever made its token, and the tokens that it was derived from or took over from; and theirs. None when
    /// there is no end to it.
    async fn line(&self, caller: &str) -> Result<Option<BTreeSet<String>>, Error> {
        let mut line = BTreeSet::new();
        let mut next = vec![caller.to_owned()];
        while let Some(one) = next.pop() {
            if line.len() >= LONGEST_LINE {
                return Ok(None);
            }
            let token = self.token_of(&one).await?;
            if line.insert(one)
                && let Some(Token { created_by, parent, replaces, .. }) = token
            {
                next.push(created_by);
                next.extend([parent, replaces].into_iter().flatten().map(|id| id.to_string()));
            }
        }
        Ok(Some(line))
    }

    /// Whose second factor counts for a caller. A token's children and whatever took over from it are the same person as
    /// the first of them all.
    pub(super) async fn first_of(&self, caller: &str) -> Result<String, Error> {
        let mut first = caller.to_owned();
        for _ in 0..LONGEST_LINE {
            let above = self.token_of(&first).await?.and_then(|token| token.parent.or(token.replaces));
            let Some(above) = above else { return Ok(first) };
            first = above.to_string();
        }
        Err(Error::bug("a line of tokens has no end"))
    }
}
