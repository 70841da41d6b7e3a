//! Run-scoped grants as the vault sees them: rows that come and go under a permit on each credential that they are for,
//! with a record for each. What their text is, `authn` knows.

use jiff::Timestamp;
use uuid::Uuid;

use crate::crypto::Secret;
use crate::store::{self, Change, Grant, GrantFilter};
use crate::vault::guard::Permit;
use crate::vault::inspect::page_size;
use crate::vault::names::{EVERYTHING, is_caller_id};
use crate::vault::policy::Resource;
use crate::vault::request::{ListGrants, Mint, Page};
use crate::vault::trail::Trail;
use crate::vault::{Action, Caller, Error, Vault};

const MOST_CREDENTIALS: usize = 32;
const LONGEST_RUN: usize = 128;
const LONGEST_HOLDER: usize = 512;
const DEFAULT_PAGE: u32 = 50;
const LARGEST_PAGE: u32 = 500;

impl Vault {
    /// `make` is told the time and the ids of the credentials.
    pub async fn mint_grant(
        &self,
        caller: &Caller,
        request: &Mint,
        make: impl FnOnce(Timestamp, Vec<Uuid>) -> Result<(Secret, Grant), Error> + Send,
    ) -> Result<(Secret, Grant), Error> {
        let mut trail = Trail::begin(caller, Action::MintGrant);
        let result = async {
            self.about_org(&request.org, &mut trail)?;
            self.check_mint(request)?;
            let (mut ids, mut permitted) = (Vec::new(), Vec::new());
            for path in &request.credentials {
                let (credential, permit) = self.find(caller, path, &mut trail).await?;
                if ids.contains(&credential.id) {
                    return Err(Error::invalid("credentials", "must not name one twice"));
                }
                ids.push(credential.id);
                permitted.push((permit, trail.clone()));
            }
            let (secret, grant) = make(trail.at(), ids)?;
            let (permit, trail, also) = joined(permitted, &grant)?;
            let change = Change::MintGrant { grant: grant.clone(), also };
            self.guard.commit(&permit, change, &trail).await.map_err(changed)?;
            Ok((secret, grant))
        };
        let result = result.await;
        self.guard.finish(trail, result).await
    }

    /// For whoever may revoke grants on each of its credentials.
    pub async fn revoke_grant(&self, caller: &Caller, id: Uuid) -> Result<Grant, Error> {
        let mut trail = Trail::begin(caller, Action::RevokeGrant);
        let result = async {
            let absent = || Error::NotFound { what: "there is no such grant".to_owned() };
            let Some(grant) = self.store.grant(id).await? else {
                // Whoever may list them all learns that it is absent; for everybody else it is what a forbidden one is.
                trail.org(EVERYTHING);
                self.guard.permit_also(caller, Action::ListGrants, Resource::Org(EVERYTHING), &mut trail)?;
                return Err(absent());
            };
            let mut permitted = Vec::new();
            for id in &grant.credentials {
                let credential = self.store.credential_by_id(*id).await?.ok_or_else(absent)?;
                trail.path(&credential.path);
                trail.found(&credential);
                let permit = self.guard.permit(caller, Resource::Credential(&credential), &mut trail)?;
                permitted.push((permit, trail.clone()));
            }
            let (permit, trail, also) = joined(permitted, &grant)?;
            self.guard.commit(&permit, Change::RevokeGrant { id, also }, &trail).await.map_err(changed)?;
            self.store.grant(id).await?.ok_or_else(absent)
        };
        let result = result.await;
        self.guard.finish(trail, result).await
    }

    pub async fn grants(&self, caller: &Caller, request: ListGrants) -> Result<Page<Grant>, Error> {
        let mut trail = Trail::begin(caller, Action::ListGrants);
        let result = async {
            let scope = request.org.as_deref().unwrap_or(EVERYTHING);
            self.about_scope(scope, &mut trail)?;
            let permit = self.guard.permit(caller, Resource::Org(scope), &mut trail)?;
            let before = match request.page_token.as_str() {
                "" => None,
                token => Some(
                    token
                        .parse()
                        .map_err(|_| Error::invalid("page_token", "must be the next_page_token of the page before"))?,
                ),
            };
            let size = page_size(request.page_size, DEFAULT_PAGE, LARGEST_PAGE);
            let filter = GrantFilter { org: request.org.clone(), run: request.run.clone() };
            let items = self.store.grants(&filter, before, size).await?;
            self.guard.admit(permit, &trail).await?;
            let last = items.last().filter(|_| items.len() == size as usize);
            let next = last.map(|grant| grant.id.to_string()).unwrap_or_default();
            Ok(Page { items, next })
        };
        let result = result.await;
        self.guard.finish(trail, result).await
    }

    fn check_mint(&self, request: &Mint) -> Result<(), Error> {
        if request.credentials.is_empty() || request.credentials.len() > MOST_CREDENTIALS {
            return Err(Error::invalid("credentials", format!("must be 1 to {MOST_CREDENTIALS}")));
        }
        self.check_said("run", &request.run, LONGEST_RUN)?;
        if !request.phase.is_empty() {
            self.check_said("phase", &request.phase, LONGEST_RUN)?;
        }
        request.holder.as_ref().map_or(Ok(()), |holder| self.check_holder(holder))
    }

    fn check_holder(&self, holder: &str) -> Result<(), Error> {
        if !is_caller_id(holder) {
            return Err(Error::invalid(
                "holder",
                "must be a caller's id: a token's, or ISSUER:SUBJECT, mtls:NAME, unix:UID",
            ));
        }
        self.check_said("holder", holder, LONGEST_HOLDER)
    }

    /// What others call things, such as a run: any characters that are seen. It is kept in clear and compared to the letter.
    fn check_said(&self, field: &str, text: &str, longest: usize) -> Result<(), Error> {
        if text.is_empty() || text.len() > longest || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            let why = format!("must be 1 to {longest} ASCII characters without spaces");
            return Err(Error::invalid(field, why));
        }
        self.check_no_secret(field, text)
    }
}

/// One record for each credential: the last goes with the change, the others beside it.
fn joined(
    mut permitted: Vec<(Permit, Trail)>,
    grant: &Grant,
) -> Result<(Permit, Trail, Vec<std::sync::Arc<store::Draft>>), Error> {
    permitted.iter_mut().for_each(|(_, trail)| trail.grant(grant));
    let (permit, trail) = permitted.pop().ok_or_else(|| Error::bug("a grant is for no credential"))?;
    Ok((permit, trail, permitted.iter().map(|(_, trail)| trail.record()).collect()))
}

/// What the store says of credentials, said of tokens.
fn changed(error: store::Error) -> Error {
    match error {
        store::Error::Stale { .. } => Error::Conflict {
            why: "your token has changed meanwhile; try again".to_owned(),
            id: String::new(),
            version: 0,
        },
        error => error.into(),
    }
}
