//! API tokens: issued, revoked, listed. Their text is shown once; the store keeps a hash.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{Authenticator, text};
use crate::crypto::{self, Secret};
use crate::store::Token;
use crate::vault::{Action, Caller, Error, Proof, Vault};

const DEFAULT_TTL: Duration = Duration::from_secs(90 * DAY);
const LONGEST_TTL: Duration = Duration::from_secs(366 * DAY);
const DAY: u64 = 24 * 3600;

const ADMIN: &str = "admin";
const ROLES: [&str; 4] = ["pipeline", "service", "operator", ADMIN];

/// All tenants, all providers.
const ALL: &str = "*";

pub struct Tokens {
    vault: Arc<Vault>,
    authenticator: Arc<Authenticator>,
}

/// What a new token may be used for.
#[derive(Clone, Debug)]
pub struct Issue {
    pub name: String,
    pub role: String,
    pub org: String,
    pub projects: Vec<String>,
    pub providers: Vec<String>,
    pub ttl: Option<Duration>,
}

impl Tokens {
    pub const fn new(vault: Arc<Vault>, authenticator: Arc<Authenticator>) -> Self {
        Self { vault, authenticator }
    }

    pub async fn issue(&self, caller: &Caller, request: Issue) -> Result<(Secret, Token), Error> {
        if caller.principal.proof == Proof::Bootstrap {
            return self.issue_by_bootstrap(caller, request).await;
        }
        let org = request.org.clone();
        let make = |now| make(caller, request, now);
        self.vault.issue_token(caller, &org, make).await
    }

    /// An administrator's token for a vault that has none: nobody is there yet who could ask for it.
    pub async fn first_admin(&self, name: &str, ttl: Duration) -> Result<Option<Secret>, Error> {
        let caller = Caller::system();
        let request = Issue {
            name: name.to_owned(),
            role: ADMIN.to_owned(),
            org: ALL.to_owned(),
            projects: Vec::new(),
            providers: Vec::new(),
            ttl: Some(ttl),
        };
        let (secret, token) = make(&caller, request, Timestamp::now())?;
        let is_first = self.vault.keep_first_admin(&caller, token).await?;
        Ok(is_first.then_some(secret))
    }

    /// The same for whoever has the bootstrap token, which ends with it.
    async fn issue_by_bootstrap(&self, caller: &Caller, request: Issue) -> Result<(Secret, Token), Error> {
        let narrowed = !request.projects.is_empty() || !request.providers.is_empty();
        let made = match request.role == ADMIN && request.org == ALL && !narrowed {
            true => make(caller, request, Timestamp::now()),
            false => Err(Error::invalid("role", "must be admin, for org `*` and without limits: the first token is")),
        };
        let refused = match made {
            Ok((secret, token)) => {
                if self.vault.keep_first_admin(caller, token.clone()).await? {
                    self.authenticator.end_bootstrap();
                    return Ok((secret, token));
                }
                // There is an admin, so it proves nothing any more.
                Error::Unauthenticated
            }
            Err(error) => error,
        };
        Err(self.vault.refused(caller, Action::IssueToken, refused).await)
    }

    pub async fn revoke(&self, caller: &Caller, id: &str) -> Result<Token, Error> {
        let Ok(id) = id.parse::<Uuid>() else {
            let error = Error::invalid("id", "must be a token's id, as `strongroom token list` shows it");
            return Err(self.vault.refused(caller, Action::RevokeToken, error).await);
        };
        let token = self.vault.revoke_token(caller, id).await?;
        // Before anybody is told that it is done.
        self.authenticator.forget(id);
        Ok(token)
    }

    pub async fn list(&self, caller: &Caller, org: Option<&str>) -> Result<Vec<Token>, Error> {
        self.vault.tokens(caller, org).await
    }
}

fn make(caller: &Caller, request: Issue, now: Timestamp) -> Result<(Secret, Token), Error> {
    let Issue { name, role, org, projects, providers, ttl } = request;
    check(&role, &org, &providers)?;
    let ttl = ttl.unwrap_or(DEFAULT_TTL);
    if ttl.is_zero() || ttl > LONGEST_TTL {
        return Err(Error::invalid("ttl", "must be more than nothing and at most a year"));
    }
    let id = Uuid::now_v7();
    let secret = Zeroizing::new(crypto::random().map_err(Error::bug)?);
    let token = Token {
        id,
        name,
        role,
        org,
        projects,
        providers,
        hash: text::hash(&secret),
        created_by: caller.principal.id.clone(),
        created_at: now,
        expires_at: now + ttl,
        revoked_at: None,
    };
    Ok((text::write(id, &secret), token))
}

/// What somebody may be, however they prove it.
pub(super) fn check(role: &str, org: &str, providers: &[String]) -> Result<(), Error> {
    if !ROLES.contains(&role) {
        return Err(Error::invalid("role", format!("must be one of {}", ROLES.join(", "))));
    }
    if org == ALL && !matches!(role, "operator" | ADMIN) {
        return Err(Error::invalid("org", "must be one tenant: only operators and admins may have `*`"));
    }
    if role == "pipeline" && providers.is_empty() {
        return Err(Error::invalid("providers", "must name what the pipeline decrypts, or say `*`"));
    }
    Ok(())
}
