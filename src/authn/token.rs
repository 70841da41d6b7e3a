//! API tokens: issued, derived, rotated, revoked, listed. Their text is shown once; the store keeps a hash.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{Authenticator, text};
use crate::crypto::{self, Secret};
use crate::store::Token;
use crate::vault::{Action, Caller, Error, Proof, Rotated, Vault};

const DEFAULT_TTL: Duration = Duration::from_secs(90 * DAY);
const LONGEST_TTL: Duration = Duration::from_secs(366 * DAY);
/// A child lives as long as the job that it is for.
const DEFAULT_CHILD_TTL: Duration = Duration::from_secs(15 * 60);
const LONGEST_CHILD_TTL: Duration = Duration::from_secs(DAY);
/// How long a rotated token goes on beside its successor.
const DEFAULT_OVERLAP: Duration = Duration::from_secs(3600);
const LONGEST_OVERLAP: Duration = Duration::from_secs(7 * DAY);
const DAY: u64 = 24 * 3600;

const ADMIN: &str = "admin";
const ROLES: [&str; 4] = ["pipeline", "service", "operator", ADMIN];

/// All tenants, all providers.
const ALL: &str = "*";
/// A token's id, said by itself.
const OWN: &str = "self";

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
    pub actions: Vec<String>,
    pub ttl: Option<Duration>,
}

/// What a child is narrowed to; what is empty is as its parent's.
#[derive(Clone, Debug)]
pub struct Derive {
    pub name: String,
    pub org: String,
    pub projects: Vec<String>,
    pub providers: Vec<String>,
    pub actions: Vec<String>,
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
            actions: Vec::new(),
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

    pub async fn derive(&self, caller: &Caller, request: Derive) -> Result<(Secret, Token), Error> {
        self.vault.derive_token(caller, |now, parent| derive(caller, request, now, parent)).await
    }

    /// Takes a token's id, or `self`. Without an overlap it is an hour.
    pub async fn rotate(&self, caller: &Caller, id: &str, overlap: Option<Duration>) -> Result<Rotated, Error> {
        let own = caller.principal.token.filter(|_| id == OWN);
        let Some(id) = own.or_else(|| id.parse::<Uuid>().ok()) else {
            return Err(self
                .no_id(caller, Action::RotateToken, "must be a token's id, or `self` for a token's own")
                .await);
        };
        let overlap = overlap.unwrap_or(DEFAULT_OVERLAP);
        let ends_at = |now: Timestamp| match overlap <= LONGEST_OVERLAP {
            true => Ok(now + overlap),
            false => Err(Error::invalid("overlap", "must be at most 7 days")),
        };
        let make = |now, old: &Token, anew| {
            let end = if anew { now + old.expires_at.duration_since(old.created_at) } else { old.expires_at };
            generate(caller, old.clone(), now, end)
        };
        let rotated = self.vault.rotate_token(caller, id, ends_at, make).await?;
        self.authenticator.forget_tokens();
        Ok(rotated)
    }

    pub async fn revoke(&self, caller: &Caller, id: &str) -> Result<Token, Error> {
        let Ok(id) = id.parse::<Uuid>() else {
            let why = "must be a token's id, as `strongroom token list` shows it";
            return Err(self.no_id(caller, Action::RevokeToken, why).await);
        };
        let token = self.vault.revoke_token(caller, id).await?;
        self.authenticator.forget_tokens();
        Ok(token)
    }

    pub async fn list(&self, caller: &Caller, org: Option<&str>) -> Result<Vec<Token>, Error> {
        self.vault.tokens(caller, org).await
    }

    async fn no_id(&self, caller: &Caller, action: Action, why: &str) -> Error {
        self.vault.refused(caller, action, Error::invalid("id", why)).await
    }
}

fn make(caller: &Caller, request: Issue, now: Timestamp) -> Result<(Secret, Token), Error> {
    let Issue { name, role, org, projects, providers, actions, ttl } = request;
    check(&role, &org, &providers)?;
    let ttl = ttl.unwrap_or(DEFAULT_TTL);
    if ttl.is_zero() || ttl > LONGEST_TTL {
        return Err(Error::invalid("ttl", "must be more than nothing and at most a year"));
    }
    let limits = Token { name, role, org, projects, providers, actions, ..Token::default() };
    generate(caller, limits, now, now + ttl)
}

fn derive(caller: &Caller, request: Derive, now: Timestamp, parent: &Token) -> Result<(Secret, Token), Error> {
    let ttl = request.ttl.unwrap_or(DEFAULT_CHILD_TTL);
    if ttl.is_zero() || ttl > LONGEST_CHILD_TTL {
        return Err(Error::invalid("ttl", "must be more than nothing and at most a day"));
    }
    let or_all = |some: Vec<String>, all: &Vec<String>| if some.is_empty() { all.clone() } else { some };
    let limits = Token {
        name: request.name,
        role: parent.role.clone(),
        org: if request.org.is_empty() { parent.org.clone() } else { request.org },
        projects: or_all(request.projects, &parent.projects),
        providers: or_all(request.providers, &parent.providers),
        actions: or_all(request.actions, &parent.actions),
        ..Token::default()
    };
    generate(caller, limits, now, parent.expires_at.min(now + ttl))
}

/// A token with these limits that nobody has had before.
fn generate(caller: &Caller, limits: Token, now: Timestamp, expires_at: Timestamp) -> Result<(Secret, Token), Error> {
    let id = Uuid::now_v7();
    let secret = Zeroizing::new(crypto::random().map_err(Error::bug)?);
    let token = Token {
        id,
        hash: text::hash(&secret),
        created_by: caller.principal.id.clone(),
        created_at: now,
        expires_at,
        revoked_at: None,
        last_used_at: None,
        ..limits
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
