//! Why somebody may or may not do something: the policies' own answer about a caller who is not here.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use crate::store::Path;
use crate::vault::names::EVERYTHING;
use crate::vault::policy::{Explanation, Resource};
use crate::vault::trail::Trail;
use crate::vault::{Action, Caller, Circumstances, Error, Principal, StepUp, Vault};

/// A question to the policies that are in force.
#[derive(Clone, Debug)]
pub struct Why {
    pub who: Who,
    pub action: Action,
    pub about: About,
    pub with: With,
}

#[derive(Clone, Debug)]
pub enum Who {
    /// The caller that bears this token.
    Token(Uuid),
    /// Somebody who need not be.
    Imagined(Box<Principal>),
}

#[derive(Clone, Debug)]
pub enum About {
    Org(String),
    Credential(Path),
}

/// What the imagined request comes with.
#[derive(Clone, Debug, Default)]
pub struct With {
    pub address: Option<IpAddr>,
    pub certificate: Option<String>,
    /// How old the second factor is.
    pub step_up: Option<Duration>,
    pub approved: bool,
}

impl With {
    pub fn circumstances(&self, now: Timestamp) -> Circumstances {
        let given = |age: Duration| now.checked_sub(age).unwrap_or(Timestamp::MIN);
        Circumstances {
            address: self.address,
            certificate: self.certificate.as_deref().map(Arc::from),
            step_up: self.step_up.map(|age| StepUp { at: given(age), method: "totp".to_owned() }),
            approval: self.approved.then(Uuid::nil),
            ..Circumstances::default()
        }
    }
}

impl Vault {
    /// Asked by those who look after the org that it is about, of callers of that org. Whoever looks after one org alone
    /// is told which policies, not their text: that may name others.
    pub async fn explain(&self, caller: &Caller, why: Why) -> Result<Explanation, Error> {
        let mut trail = Trail::begin(caller, Action::ExplainPolicy);
        let result = self.explain_permitted(caller, why, &mut trail).await;
        self.guard.finish(trail, result).await
    }

    async fn explain_permitted(&self, caller: &Caller, why: Why, trail: &mut Trail) -> Result<Explanation, Error> {
        match &why.about {
            About::Org(org) => self.about_scope(org, trail)?,
            About::Credential(path) => self.about(path, trail)?,
        }
        let org = match &why.about {
            About::Org(org) => org,
            About::Credential(path) => &path.org,
        };
        let permit = self.guard.permit(caller, Resource::Org(org), trail)?;
        let principal = match why.who {
            Who::Imagined(principal) => Arc::new(*principal),
            Who::Token(id) => {
                let token = self.store.token(id).await?;
                // A token of another tenant is none to whoever may not ask about that one.
                let theirs = token.as_ref().map_or(EVERYTHING, |token| &token.org);
                self.guard.permit(caller, Resource::Org(theirs), trail)?;
                let absent = || Error::NotFound { what: "there is no such token".to_owned() };
                let token = token.filter(|token| token.revoked_at.is_none()).ok_or_else(absent)?;
                Arc::new(token.into())
            }
        };
        let there = match &why.about {
            About::Org(_) => None,
            // What the asker may not see is absent to them.
            About::Credential(path) => self.store.credential(path).await?.filter(|it| self.guard.may_see(caller, it)),
        };
        let resource = match (&why.about, &there) {
            (About::Org(org), _) => Resource::Org(org),
            (About::Credential(_), Some(it)) => Resource::Credential(it),
            (About::Credential(path), None) => Resource::Absent(path),
        };
        let circumstances = why.with.circumstances(trail.at());
        let asked = Caller { circumstances, ..Caller::new(principal, caller.request_id.clone()) };
        let told = self.guard.explain(&asked, why.action, resource, trail.at());
        self.guard.admit(permit, trail).await?;
        Ok(if caller.principal.org == EVERYTHING { told } else { told.without_text() })
    }
}
