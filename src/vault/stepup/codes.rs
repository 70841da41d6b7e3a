//! One-time codes.
//!
//! A code is looked at by the vault, and judged by the store's writer: one transaction records the use, checks that the
//! factor is not locked, and moves its last step on (or counts a miss). So of a code that comes sixty-four times at once
//! one counts, and of a thousand guesses at once five are answered: the rest find the factor locked, the good one too.

use jiff::Timestamp;

use crate::crypto::totp::{self, Code};
use crate::store::{self, Change, Factor, FactorChange, FactorState};
use crate::vault::guard::{Guard, Permit};
use crate::vault::trail::{OK, Trail};
use crate::vault::{Action, Caller, Error, StepUp, Vault};

/// How policies and records call these codes.
pub const METHOD: &str = "totp";

/// What became of a code that could be judged.
pub enum Judged {
    Good,
    /// On record already.
    Wrong,
}

impl Vault {
    /// Spends the code that came with a request.
    pub async fn step_up(&self, caller: &Caller, code: &str) -> Result<StepUp, Error> {
        let mut trail = Trail::begin(caller, Action::StepUp).about_org(&caller.principal.org);
        // Under others nothing is spent: what it is spent for would be refused.
        trail.allowed_by(self.guard.rules());
        let at = trail.at();
        let result = self.spend_code(caller, code, &mut trail).await;
        self.judged(trail, result).await.map(|()| StepUp { at, method: METHOD.to_owned() })
    }

    async fn spend_code(&self, caller: &Caller, code: &str, trail: &mut Trail) -> Result<Judged, Error> {
        let owner = self.first_of(&caller.principal.id).await?;
        let factor = self.store.factor(&owner, FactorState::Active).await?;
        let factor = factor.ok_or_else(|| needed("this caller has no second factor; enrol one first"))?;
        check_not_locked(&factor, trail.at())?;
        let code = Code::read(code.as_bytes()).ok_or_else(|| needed("a code is six digits and nothing else"))?;
        self.judge_code(&Guard::own_work(), &factor, &code, trail).await
    }

    /// Compares a code, and has the use or the miss recorded.
    pub(super) async fn judge_code(
        &self,
        permit: &Permit,
        factor: &Factor,
        code: &Code,
        trail: &Trail,
    ) -> Result<Judged, Error> {
        let secret = self.open_factor(factor).await?;
        let now = totp::step(trail.at().as_second());
        let step = now.and_then(|now| totp::matching(&secret, code, now));
        let (caller, id) = (factor.caller.clone(), factor.id);
        let (change, outcome, judged) = match (step, factor.state) {
            (Some(step), FactorState::Active) => (FactorChange::Spend { caller, id, step }, OK, Judged::Good),
            (Some(step), FactorState::Pending) => (FactorChange::Confirm { caller, id, step }, OK, Judged::Good),
            (None, _) => (FactorChange::Miss { caller, id }, WRONG.reason(), Judged::Wrong),
        };
        match self.guard.commit_as(permit, Change::Factor(change), trail, outcome).await {
            Ok(_) => Ok(judged),
            Err(store::Error::Stale { .. }) => Err(self.overtaken(factor, trail.at()).await?),
            Err(error) => Err(error.into()),
        }
    }

    /// Why the store did not take what was found: somebody was faster.
    async fn overtaken(&self, factor: &Factor, now: Timestamp) -> Result<Error, Error> {
        let now_kept = self.store.factor(&factor.caller, factor.state).await?.filter(|kept| kept.id == factor.id);
        let Some(kept) = now_kept else { return Ok(needed("the second factor was changed meanwhile")) };
        Ok(check_not_locked(&kept, now).err().unwrap_or_else(|| needed("this code was used; wait for the next one")))
    }

    /// Ends an operation that judged a code.
    pub(super) async fn judged(&self, trail: Trail, result: Result<Judged, Error>) -> Result<(), Error> {
        let recorded_as = if matches!(result, Ok(Judged::Wrong)) { WRONG.reason() } else { OK };
        match self.guard.finish_as(trail, result, recorded_as).await? {
            Judged::Good => Ok(()),
            Judged::Wrong => Err(needed("the code is wrong")),
        }
    }
}

/// What a miss is recorded as.
const WRONG: Error = Error::NeedsStepUp { why: None };

pub fn needed(why: &str) -> Error {
    Error::NeedsStepUp { why: Some(why.to_owned()) }
}

/// Before a code is looked at. A clock that was set back locks for longer; an administrator removes the factor then.
pub fn check_not_locked(factor: &Factor, now: Timestamp) -> Result<(), Error> {
    match factor.locked_until {
        Some(until) if until > now => {
            let retry_after = until.duration_since(now).unsigned_abs();
            Err(Error::Limited { retry_after })
        }
        _ => Ok(()),
    }
}
