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
use crate::vault::{Action, Caller, Circumstances, Error, Proof, Vault, not_registered};

const ADMIN: &str = "admin";
/// So many tokens may each be derived from the one before.
const DEEPEST: usize = 4;

/// A token and the one that it takes over from.
pub struct Rotated {
    pub secret: Secret,
    pub token: Token,
    pub replaced: Token,
}

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
            self.check_providers(&token)?;
            // What a child issues is its own child: by no detour does it outlive its parent.
            let token = match self.own_child(caller).await? {
                Some(own) => {
                    self.check_depth(&own).await?;
                    Token { parent: Some(own.id), ..token }
                }
                None => token,
            };
            check_not_wider(caller, &token)?;
            trail.named(&token.name);
            self.guard.commit(&permit, Change::IssueToken(token.clone()), &trail).await.map_err(changed)?;
            Ok((secret, token))
        };
        let result = result.await;
        self.guard.finish(trail, result).await
    }

    /// Keeps an administrator's token if nobody has one that is good; says whether it did. Of many at once, one does.
    /// That it did not is for the caller to record.
    pub async fn keep_first_admin(&self, caller: &Caller, token: Token) -> Result<bool, Error> {
        let mut trail = Trail::begin(caller, Action::IssueToken).about_org(&token.org);
        // That nobody else may come in is what the rules say, and others may let somebody.
        if caller.principal.proof == Proof::Bootstrap {
            trail.allowed_by(self.guard.rules());
        }
        let result = async {
            if !caller.standing.holds() {
                return Err(Error::Unauthenticated);
            }
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

    /// A token of the caller's own token: it may do no more, and ends with it.
    pub async fn derive_token(
        &self,
        caller: &Caller,
        make: impl FnOnce(Timestamp, &Token) -> Result<(Secret, Token), Error> + Send,
    ) -> Result<(Secret, Token), Error> {
        let mut trail = Trail::begin(caller, Action::DeriveToken).about_org(&caller.principal.org);
        let result = async {
            let permit = self.guard.permit(caller, Resource::Org(&caller.principal.org), &mut trail)?;
            let id = caller.principal.token.ok_or_else(not_a_token)?;
            let parent = self.store.token(id).await?.ok_or(Error::Unauthenticated)?;
            self.check_depth(&parent).await?;
            let (secret, token) = make(trail.at(), &parent)?;
            let token = Token { parent: Some(id), ..token };
            self.about_scope(&token.org, &mut trail)?;
            self.check_token(&token)?;
            check_not_wider(caller, &token)?;
            trail.named(&token.name);
            self.guard.commit(&permit, Change::IssueToken(token.clone()), &trail).await.map_err(changed)?;
            Ok((secret, token))
        };
        let result = result.await;
        self.guard.finish(trail, result).await
    }

    /// The caller's token, if it is another's child.
    async fn own_child(&self, caller: &Caller) -> Result<Option<Token>, Error> {
        let Some(id) = caller.principal.token else { return Ok(None) };
        Ok(self.store.token(id).await?.filter(|token| token.parent.is_some()))
    }

    async fn check_depth(&self, parent: &Token) -> Result<(), Error> {
        let (mut depth, mut above) = (1, parent.parent);
        while let Some(id) = above {
            depth += 1;
            above = self.store.token(id).await?.and_then(|token| token.parent);
        }
        match depth <= DEEPEST {
            true => Ok(()),
            false => Err(Error::invalid("authorization", format!("must not be a child of more than {DEEPEST} tokens"))),
        }
    }

    /// A token in another's place, with the same limits. `make` is told the old one, and whether the new one may live as
    /// long as that did: without the right to issue tokens, taking a new text makes nobody's time longer.
    pub async fn rotate_token(
        &self,
        caller: &Caller,
        id: Uuid,
        ends_at: impl FnOnce(Timestamp) -> Result<Timestamp, Error> + Send,
        make: impl FnOnce(Timestamp, &Token, bool) -> Result<(Secret, Token), Error> + Send,
    ) -> Result<Rotated, Error> {
        let mut trail = Trail::begin(caller, Action::RotateToken);
        let result = async {
            let old = self.store.token(id).await?;
            let org = old.as_ref().map_or(EVERYTHING, |token| &token.org);
            trail.org(org);
            old.iter().for_each(|token| trail.named(&token.name));
            let may_issue = self.guard.permit_also(caller, Action::IssueToken, Resource::Org(org), &mut trail).is_ok();
            let permit = self.guard.permit(caller, Resource::Org(org), &mut trail)?;
            let is_own = caller.principal.token == Some(id);
            // To rotate another's token is to have it: a child would have one that does not end with its parent.
            if !is_own && (!may_issue || self.own_child(caller).await?.is_some()) {
                return Err(Error::Denied);
            }
            let old = old.ok_or_else(absent)?;
            if !old.is_good(trail.at()) {
                return Err(conflict("this token has ended"));
            }
            let anew = may_issue && !is_limited(caller) && old.parent.is_none();
            let (secret, token) = make(trail.at(), &old, anew)?;
            let token = Token { parent: old.parent, replaces: Some(id), ..token };
            check_not_wider(caller, &token)?;
            let change = Change::RotateToken { id, ends_at: ends_at(trail.at())?, successor: token.clone() };
            self.guard.commit(&permit, change, &trail).await.map_err(changed)?;
            let replaced = self.store.token(id).await?.ok_or_else(absent)?;
            Ok(Rotated { secret, token, replaced })
        };
        let result = result.await;
        self.guard.finish(trail, result).await
    }

    pub async fn revoke_token(&self, caller: &Caller, id: Uuid) -> Result<Token, Error> {
        let mut trail = Trail::begin(caller, Action::RevokeToken);
        let result = async {
            let token = self.store.token(id).await?;
            let org = token.as_ref().map_or(EVERYTHING, |token| &token.org);
            trail.org(org);
            token.iter().for_each(|token| trail.named(&token.name));
            let permit = self.guard.permit(caller, Resource::Org(org), &mut trail)?;
            token.as_ref().ok_or_else(absent)?;
            if let Some(own) = caller.principal.token
                && self.store.token(own).await?.is_some_and(|own| own.replaces == Some(id))
            {
                return Err(conflict(
                    "your own token took over from this one, which ends by itself, and would end with it",
                ));
            }
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
        if token.actions.iter().any(|word| Action::named(word).is_none()) {
            let known: Vec<_> = Action::asked().map(Action::as_str).collect();
            return Err(Error::invalid("actions", format!("must be among {}", known.join(", "))));
        }
        token.projects.iter().try_for_each(|project| self.check_name("projects", project))?;
        let mut named = token.providers.iter().filter(|provider| *provider != EVERYTHING);
        named.try_for_each(|provider| self.check_name("providers", provider))
    }

    /// A slip would make a token that opens nothing, or be right one day, when there is such a provider. Children and
    /// successors keep what the registry has lost meanwhile.
    fn check_providers(&self, token: &Token) -> Result<(), Error> {
        let registry = self.registry.load();
        let mut named = token.providers.iter().filter(|provider| *provider != EVERYTHING);
        match named.find(|provider| registry.get(provider).is_none()) {
            Some(unknown) => Err(Error::invalid("providers", not_registered(&registry, unknown))),
            None => Ok(()),
        }
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

fn absent() -> Error {
    Error::NotFound { what: "there is no such token".to_owned() }
}

fn not_a_token() -> Error {
    Error::invalid("authorization", "must be an API token: only that can have children")
}

fn conflict(why: &str) -> Error {
    Error::Conflict { why: why.to_owned(), id: String::new(), version: 0 }
}

/// What the store says of credentials, said of tokens.
fn changed(error: store::Error) -> Error {
    match error {
        store::Error::Stale { .. } => conflict("the token has changed meanwhile; try again"),
        store::Error::Taken => conflict("this token was rotated already: what took over from it can be"),
        error => error.into(),
    }
}

/// Nobody hands out more than they have.
fn check_not_wider(caller: &Caller, token: &Token) -> Result<(), Error> {
    let own = &caller.principal;
    // Each of the other roles may do what another may not, and policies can move the line: none is narrower than the rest.
    if own.role != ADMIN && token.role != own.role {
        return Err(Error::invalid("role", "must be your own: only an admin gives another"));
    }
    if own.org != EVERYTHING && token.org != own.org {
        return Err(Error::invalid("org", "must be your own"));
    }
    for (field, own, new) in [
        ("projects", &own.projects, &token.projects),
        ("providers", &own.providers, &token.providers),
        ("actions", &own.actions, &token.actions),
    ] {
        if is_limit(own) && (new.is_empty() || new.iter().any(|one| !own.contains(one))) {
            return Err(Error::invalid(field, "must be among those that you are limited to yourself"));
        }
    }
    if (is_limited(caller) || token.parent.is_some()) && own.expires_at.is_some_and(|end| token.expires_at > end) {
        return Err(Error::invalid("ttl", "must not reach beyond your own end: you are limited, or a token's child"));
    }
    Ok(())
}

/// Whether a caller may do less than its role.
fn is_limited(caller: &Caller) -> bool {
    let own = &caller.principal;
    [&own.projects, &own.providers, &own.actions].into_iter().any(|list| is_limit(list))
}

fn is_limit(list: &[String]) -> bool {
    !list.is_empty() && !list.iter().any(|one| one == EVERYTHING)
}
