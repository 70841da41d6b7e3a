//! Where codes come from: a secret that an authenticator app shares with us, sealed like any credential.
//!
//! Whoever has stolen a token must not be able to enrol a factor of their own, where policy demands one. So nobody enrols
//! their first alone, but for a token within ten minutes of its issue: afterwards an administrator does it for them and
//! hands the QR code over. Replacing or removing one's own takes a code of it. What this cannot hold up: a thief who may
//! manage factors, or issue tokens, makes himself a caller with one. Let policy demand step-up for `manageSecondFactors`
//! and `issueToken` too.

use std::time::Duration;

use data_encoding::BASE32_NOPAD;
use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::codes::{METHOD, check_not_locked};
use crate::crypto::totp::{self, Code};
use crate::crypto::{self, Identity, Seal, Secret};
use crate::store::{self, Change, Factor, FactorChange, FactorState, Token};
use crate::vault::guard::Permit;
use crate::vault::names::{EVERYTHING, PLATFORM, is_caller_id};
use crate::vault::policy::Resource;
use crate::vault::trail::Trail;
use crate::vault::{Action, Caller, Error, Proof, Vault};

/// For a token's own first factor: so many seconds from its issue.
const FRESH: i64 = 600;
const SKEW: i64 = 60;
/// A factor that nobody confirms is gone after this time.
pub const CONFIRM_WITHIN: Duration = Duration::from_secs(24 * 3600);

/// No caller's id is longer.
const LONGEST_CALLER: usize = 512;

/// Whose factor an operation is about.
struct Whose {
    caller: String,
    name: String,
    org: String,
    own: bool,
    /// When their token was issued.
    issued_at: Option<Timestamp>,
    /// There is no token with this id.
    absent: bool,
}

impl Vault {
    /// Makes a factor that waits for its first code, and answers what an authenticator app reads, once.
    pub async fn enrol_factor(&self, caller: &Caller, of: Option<&str>) -> Result<(Secret, Factor), Error> {
        let mut trail = Trail::begin(caller, Action::EnrolSecondFactor);
        let result = async {
            let whose = self.whose(caller, of).await?;
            let permit = self.permit_factor(caller, &whose, Action::EnrolSecondFactor, &mut trail)?;
            let active = self.store.factor(&whose.caller, FactorState::Active).await?;
            check_may_enrol(caller, &whose, active.as_ref(), trail.at())?;
            let (secret, factor) = self.make_factor(&whose, caller, trail.at()).await?;
            let beside = active.map(|active| active.id);
            let change = FactorChange::Enrol { factor: Box::new(factor.clone()), beside };
            self.guard.commit(&permit, Change::Factor(change), &trail).await.map_err(meanwhile)?;
            Ok((uri(&whose.name, &secret), factor))
        };
        let result = result.await;
        self.guard.finish(trail, result).await
    }

    /// The first good code: from now on this factor counts, and the one before it no more.
    pub async fn confirm_factor(&self, caller: &Caller, code: &Secret) -> Result<Factor, Error> {
        let mut trail = Trail::begin(caller, Action::ConfirmSecondFactor);
        let mut owner = String::new();
        let result = async {
            let whose = self.whose(caller, None).await?;
            let permit = self.permit_factor(caller, &whose, Action::ConfirmSecondFactor, &mut trail)?;
            let pending = self.store.factor(&whose.caller, FactorState::Pending).await?;
            let pending = pending.filter(|factor| trail.at() - CONFIRM_WITHIN < factor.created_at);
            let absent = || Error::NotFound { what: "no second factor waits for its first code".to_owned() };
            let pending = pending.ok_or_else(absent)?;
            check_not_locked(&pending, trail.at())?;
            let read = Code::read(code.expose());
            let code = read.ok_or_else(|| Error::invalid("code", "must be six digits and nothing else"))?;
            owner = whose.caller;
            self.judge_code(&permit, &pending, &code, &trail).await
        };
        let result = result.await;
        self.judged(trail, result).await?;
        let active = self.store.factor(&owner, FactorState::Active).await?;
        active.ok_or_else(|| Error::bug("a second factor was confirmed and is not there"))
    }

    /// Removes a factor, the pending one too.
    pub async fn remove_factor(&self, caller: &Caller, of: Option<&str>) -> Result<(), Error> {
        let mut trail = Trail::begin(caller, Action::RemoveSecondFactor);
        let result = async {
            let whose = self.whose(caller, of).await?;
            let permit = self.permit_factor(caller, &whose, Action::RemoveSecondFactor, &mut trail)?;
            if whose.own && self.store.factor(&whose.caller, FactorState::Active).await?.is_some() {
                check_has_code(caller)?;
            }
            let change = Change::Factor(FactorChange::Remove { caller: whose.caller });
            match self.guard.commit(&permit, change, &trail).await {
                Err(store::Error::Stale { .. }) => {
                    Err(Error::NotFound { what: "this caller has no second factor".to_owned() })
                }
                other => Ok(other.map(drop)?),
            }
        };
        let result = result.await;
        self.guard.finish(trail, result).await
    }

    /// Who has one, and how it is; of one org's callers or of all.
    pub async fn factors(&self, caller: &Caller, org: Option<&str>) -> Result<Vec<Factor>, Error> {
        let mut trail = Trail::begin(caller, Action::ListSecondFactors);
        let result = async {
            self.about_scope(org.unwrap_or(EVERYTHING), &mut trail)?;
            let permit = self.guard.permit(caller, Resource::Org(org.unwrap_or(EVERYTHING)), &mut trail)?;
            let factors = self.store.factors(org).await?;
            self.guard.admit(permit, &trail).await?;
            Ok(factors)
        };
        let result = result.await;
        self.guard.finish(trail, result).await
    }

    /// Puts whose factor it is on record, and asks the policies: about one's own, or about somebody else's.
    fn permit_factor(&self, caller: &Caller, whose: &Whose, own: Action, trail: &mut Trail) -> Result<Permit, Error> {
        trail.org(&whose.org);
        let action = if whose.own { own } else { Action::ManageSecondFactors };
        let permit = self.guard.permit_also(caller, action, Resource::Org(&whose.org), trail)?;
        trail.named(&whose.caller);
        match whose.absent {
            true => Err(Error::NotFound { what: "there is no such token".to_owned() }),
            false => Ok(permit),
        }
    }

    /// One's own, unless it is said whose. A caller without a token of ours is known to no org, so only who may manage all
    /// orgs' manages theirs.
    async fn whose(&self, caller: &Caller, of: Option<&str>) -> Result<Whose, Error> {
        let own = self.first_of(&caller.principal.id).await?;
        // One spelling for one caller.
        let caller_id = match of.map(|id| Uuid::parse_str(id).map_or_else(|_| id.to_owned(), |id| id.to_string())) {
            Some(id) => self.first_of(&id).await?,
            None => own.clone(),
        };
        if caller_id == own {
            if matches!(caller.principal.proof, Proof::Grant | Proof::None | Proof::System) {
                return Err(Error::invalid("caller", "must be somebody who comes back: a grant has no second factor"));
            }
            let token = self.token_of(&own).await?;
            let issued_at = token.as_ref().map(|token| token.created_at);
            let (name, org) = (caller.principal.name.clone(), caller.principal.org.clone());
            return Ok(Whose { caller: own, name, org, own: true, issued_at, absent: false });
        }
        self.check_caller_id(&caller_id)?;
        let caller = caller_id;
        Ok(match self.token_of(&caller).await? {
            Some(Token { name, org, .. }) => Whose { caller, name, org, own: false, issued_at: None, absent: false },
            None => {
                let (name, org) = (caller.clone(), EVERYTHING.to_owned());
                let absent = Uuid::parse_str(&caller).is_ok();
                Whose { caller, name, org, own: false, issued_at: None, absent }
            }
        })
    }

    pub(super) async fn token_of(&self, caller: &str) -> Result<Option<Token>, Error> {
        match caller.parse::<Uuid>() {
            Ok(id) => Ok(self.store.token(id).await?),
            Err(_) => Ok(None),
        }
    }

    fn check_caller_id(&self, id: &str) -> Result<(), Error> {
        if !is_caller_id(id) || id.len() > LONGEST_CALLER || id.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(Error::invalid("caller", "must be a caller's id, as the audit log shows it"));
        }
        self.check_no_secret("caller", id)
    }

    async fn make_factor(&self, whose: &Whose, by: &Caller, at: Timestamp) -> Result<(Secret, Factor), Error> {
        let mut bytes = Zeroizing::new([0; totp::SECRET_LENGTH]);
        *bytes = crypto::random().map_err(Error::bug)?;
        let secret = Secret::new(bytes.as_slice());
        let id = Uuid::now_v7();
        let sealed = self.keeper.seal(&identity(&whose.caller, id), Seal::Aes256Gcm, &secret).await?;
        let factor = Factor {
            id,
            caller: whose.caller.clone(),
            caller_name: whose.name.clone(),
            org: whose.org.clone(),
            state: FactorState::Pending,
            sealed,
            created_by: by.principal.id.clone(),
            created_at: at,
            confirmed_at: None,
            last_step: 0,
            failures: 0,
            locked_until: None,
        };
        Ok((secret, factor))
    }

    pub(super) async fn open_factor(&self, factor: &Factor) -> Result<Secret, Error> {
        let what = format!("second factor {}", factor.id);
        self.keeper.open_sealed(&identity(&factor.caller, factor.id), &factor.sealed, &what).await
    }
}

/// A row that was moved to another caller does not open.
pub fn identity(caller: &str, id: Uuid) -> Identity {
    Identity {
        org: PLATFORM.to_owned(),
        project: String::new(),
        provider: METHOD.to_owned(),
        name: caller.to_owned(),
        credential: id,
        version: 1,
    }
}

fn check_may_enrol(caller: &Caller, whose: &Whose, active: Option<&Factor>, now: Timestamp) -> Result<(), Error> {
    // A token from the future is not fresh: the clock was set back.
    let is_fresh = |issued: Timestamp| (-SKEW..=FRESH).contains(&now.duration_since(issued).as_secs());
    match (whose.own, active) {
        (true, Some(_)) => check_has_code(caller),
        (true, None) if whose.issued_at.is_some_and(is_fresh) => Ok(()),
        (true, None) => Err(Error::conflict(
            "a first second factor is enrolled within 10 minutes of the token's issue, or by an administrator",
        )),
        (false, None) => Ok(()),
        (false, Some(_)) => Err(Error::conflict("this caller has a second factor; remove it first")),
    }
}

/// A code of one's own factor came along.
fn check_has_code(caller: &Caller) -> Result<(), Error> {
    match &caller.circumstances.step_up {
        Some(step_up) if step_up.method == METHOD => Ok(()),
        _ => Err(Error::NeedsStepUp { why: None }),
    }
}

fn meanwhile(error: store::Error) -> Error {
    match error {
        store::Error::Stale { .. } => Error::conflict("the second factor was changed meanwhile"),
        error => error.into(),
    }
}

/// What authenticator apps read. Others than the usual six digits and thirty seconds some of them ignore.
fn uri(name: &str, secret: &Secret) -> Secret {
    let mut text = Zeroizing::new(String::with_capacity(256 + 3 * name.len()));
    text.push_str("otpauth://totp/strongroom:");
    text.extend(utf8_percent_encode(name, NON_ALPHANUMERIC));
    text.push_str("?secret=");
    BASE32_NOPAD.encode_append(secret.expose(), &mut text);
    text.push_str("&issuer=strongroom&algorithm=SHA1&digits=6&period=30");
    Secret::new(text.as_bytes())
}
