//! Tokens as the vault sees them: rows that come and go under a permit, with a record. What their text is, `authn` knows.

use std::convert::Infallible;

use jiff::Timestamp;
use uuid::Uuid;

use crate::crypto::Secret;
use crate::store::{self, Change, Token};
use crate::vault::guard::Guard;
use crate::vault::names::EVERYTHING;
use crate::vault::policy::Resource;
use crate::vault::trail::Trail;
use crate::vault::{Action, Caller, Circumstances, Error, Vault};

impl Vault {
    pub async fn issue_token(
        &self,
        caller: &Caller,
        org: &str,
        make: impl FnOnce(Timestamp) -> Result<(Secret, Token), Error> + Send,
    ) -> Result<(Secret, Token), Error> {
        let mut trail = Trail::begin(caller, Action::IssueToken);
        let result = async {
            self.about_scope(org, &mut trail)?;
            let permit = self.guard.permit(caller, Resource::Org(org), &mut trail)?;
            let (secret, token) = make(trail.at())?;
            self.check_token(&token)?;
            check_not_wider(caller, &token)?;
            trail.named(&token.name);
            self.guard.commit(&permit, Change::IssueToken(token.clone()), &trail).await?;
            Ok((secret, token))
        };
        let result = result.await;
        self.guard.finish(trail, result).await
    }

    /// Keeps an administrator's token if nobody has one that is good; says whether it did. Of many at once, one does.
    /// That it did not is for the caller to record.
    pub async fn keep_first_admin(&self, caller: &Caller, token: Token) -> Result<bool, Error> {
        let mut trail = Trail::begin(caller, Action::IssueToken).about_org(&token.org);
        let result = async {
            self.check_token(&token)?;
            trail.named(&token.name);
            match self.guard.commit(&Guard::own_work(), Change::FirstAdmin(token), &trail).await {
                Ok(_) => Ok(true),
                Err(store::Error::Taken) => Ok(false),
                Err(error) => Err(error.into()),
            }
        };
        match result.await {
            Ok(false) => Ok(false),
            result => self.guard.finish(trail, result).await,
        }
    }

    /// Whether no token was ever issued.
    pub async fn has_no_token(&self) -> Result<bool, Error> {
        Ok(self.store.tokens(None).await?.is_empty())
    }

    pub async fn revoke_token(&self, caller: &Caller, id: Uuid) -> Result<Token, Error> {
        let mut trail = Trail::begin(caller, Action::RevokeToken);
        let result = async {
            let token = self.store.token(id).await?;
            let org = token.as_ref().map_or(EVERYTHING, |token| &token.org);
            trail.org(org);
            token.iter().for_each(|token| trail.named(&token.name));
            let permit = self.guard.permit(caller, Resource::Org(org), &mut trail)?;
            let absent = || Error::NotFound { what: "there is no such token".to_owned() };
            token.as_ref().ok_or_else(absent)?;
            self.guard.commit(&permit, Change::RevokeToken { id }, &trail).await?;
            self.store.token(id).await?.ok_or_else(absent)
        };
        let result = result.await;
        self.guard.finish(trail, result).await
    }

    pub async fn tokens(&self, caller: &Caller, org: Option<&str>) -> Result<Vec<Token>, Error> {
        let mut trail = Trail::begin(caller, Action::ListTokens);
        let result = async {
            self.about_scope(org.unwrap_or(EVERYTHING), &mut trail)?;
            let permit = self.guard.permit(caller, Resource::Org(org.unwrap_or(EVERYTHING)), &mut trail)?;
            let tokens = self.store.tokens(org).await?;
            self.guard.admit(permit, &trail).await?;
            Ok(tokens)
        };
        let result = result.await;
        self.guard.finish(trail, result).await
    }

    fn check_token(&self, token: &Token) -> Result<(), Error> {
        self.check_name("name", &token.name)?;
        token.projects.iter().try_for_each(|project| self.check_name("projects", project))?;
        let mut named = token.providers.iter().filter(|provider| *provider != EVERYTHING);
        named.try_for_each(|provider| self.check_name("providers", provider))
    }

    /// Records that somebody came without a valid proof. Why is for the operator alone.
    pub async fn unauthenticated(&self, request_id: String, circumstances: Circumstances, why: &str) -> Error {
        let caller = Caller { circumstances, ..Caller::anonymous(request_id) };
        let trail = Trail::begin(&caller, Action::Authenticate).because(why);
        self.refused_on(trail, Error::Unauthenticated).await
    }

    /// Records what was refused before an operation could begin: who tried what. Answers the refusal, or that it could
    /// not be recorded.
    pub async fn refused(&self, caller: &Caller, action: Action, error: Error) -> Error {
        self.refused_on(Trail::begin(caller, action), error).await
    }

    async fn refused_on(&self, trail: Trail, error: Error) -> Error {
        match self.guard.finish(trail, Err::<Infallible, _>(error)).await {
            Err(error) => error,
            Ok(never) => match never {},
        }
    }
}

/// Nobody hands out more than they have: a caller that is limited to some projects or providers issues tokens for those.
fn check_not_wider(caller: &Caller, token: &Token) -> Result<(), Error> {
    let wider = |own: &[String], new: &[String]| {
        let is_limited = !own.is_empty() && !own.iter().any(|one| one == EVERYTHING);
        is_limited && (new.is_empty() || new.iter().any(|one| !own.contains(one)))
    };
    let own = &caller.principal;
    if token.role == "admin" && own.role != "admin" {
        return Err(Error::invalid("role", "must not be admin: only an admin makes another"));
    }
    for (field, own, new) in
        [("projects", &own.projects, &token.projects), ("providers", &own.providers, &token.providers)]
    {
        if wider(own, new) {
            return Err(Error::invalid(field, "must be among those that your own token is limited to"));
        }
    }
    Ok(())
}
