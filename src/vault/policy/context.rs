//! A request as Cedar's `context`: what is known of it beyond who and what.

use cedar_policy::{Context, RestrictedExpression as Expression};
use jiff::Timestamp;

use super::tree::Reads;
use crate::vault::{Caller, StepUp};

/// A clock may be this far behind the one that a second factor was given by. A factor from further ahead counts as
/// none: after a clock has jumped back, it would be fresh until the time it was given at comes again.
const AHEAD: i64 = 60;

type Broken = Box<dyn std::error::Error>;

/// What a caller is taken to have besides what they have: the questions of the guard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// A second factor, given just now.
    pub step_up: bool,
    /// A second person's approval.
    pub approval: bool,
}

/// What belongs to the moment is made only for policies that read it: Cedar parses a time and an address anew each time.
pub fn context(caller: &Caller, now: Timestamp, granted: Granted, reads: Reads) -> Result<Context, Broken> {
    let who = &caller.principal;
    let claims = who.claims.iter().map(|(name, value)| (name.clone(), text(value)));
    let mut pairs = vec![("proof", text(who.proof.as_str())), ("claims", Expression::new_record(claims)?)];
    let told = [("run", &who.run), ("phase", &who.phase)];
    pairs.extend(told.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name, text(value))));
    if reads.moment {
        pairs.extend(moment(caller, now, granted)?);
    }
    Ok(Context::from_pairs(pairs.into_iter().map(|(name, value)| (name.to_owned(), value)))?)
}

fn moment(caller: &Caller, now: Timestamp, granted: Granted) -> Result<Vec<(&'static str, Expression)>, Broken> {
    let with = &caller.circumstances;
    let mut pairs = vec![
        // Cedar's datetime literal knows milliseconds.
        ("now", Expression::new_datetime(format!("{now:.3}"))),
        ("approved", Expression::new_bool(granted.approval || with.approval.is_some())),
    ];
    // A v4 address that came over a v6 socket is the v4 address that policies name.
    pairs.extend(with.address.map(|address| ("source", Expression::new_ip(address.to_canonical().to_string()))));
    pairs.extend(with.certificate.as_ref().map(|certificate| ("certificate", text(certificate))));
    let given = with.step_up.as_ref().and_then(|step_up| Some((age(step_up, now)?, step_up.method.as_str())));
    let step_up = if granted.step_up { Some((0, given.map_or("totp", |(_, method)| method))) } else { given };
    if let Some((age, method)) = step_up {
        let fields = [("age".to_owned(), Expression::new_long(age)), ("method".to_owned(), text(method))];
        pairs.push(("step_up", Expression::new_record(fields)?));
    }
    Ok(pairs)
}

fn text(value: &str) -> Expression {
    Expression::new_string(value.to_owned())
}

/// How many seconds old a second factor is.
fn age(step_up: &StepUp, now: Timestamp) -> Option<i64> {
    let age = now.duration_since(step_up.at).as_secs();
    (age >= -AHEAD).then(|| age.max(0))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::vault::policy::tests::{caller, credential, policies};
    use crate::vault::policy::{Resource, Verdict};
    use crate::vault::{Action, Principal, Proof};

    const NOW: &str = "2026-03-01T12:00:00Z";

    fn somebody() -> Caller {
        let mut it = caller("pipeline", "acme", &[]);
        let principal = Principal {
            proof: Proof::Jwt,
            run: "17".into(),
            phase: "plan".into(),
            claims: [("repository_id".to_owned(), "4711".to_owned())].into(),
            ..Principal::clone(&it.principal)
        };
        it.principal = Arc::new(principal);
        it.circumstances.address = Some("::ffff:10.1.2.3".parse().unwrap());
        it.circumstances.certificate = Some("spiffe://acme/ci".into());
        it
    }

    fn verdict(caller: &Caller, condition: &str) -> Verdict {
        let set = policies(&format!("permit (principal, action, resource) when {{ {condition} }};")).unwrap();
        let it = credential("acme", "openai");
        set.decide(caller, Action::Decrypt, Resource::Credential(&it), NOW.parse().unwrap()).verdict
    }

    #[test]
    fn a_policy_sees_what_is_known_of_a_request() {
        let caller = somebody();
        let nobody = Caller::anonymous(String::new());
        for condition in [
            "context.now == datetime(\"2026-03-01T12:00:00Z\")",
            "context.proof == \"jwt\"",
            "context has source && context.source.isInRange(ip(\"10.0.0.0/8\"))",
            "context has certificate && context.certificate == \"spiffe://acme/ci\"",
            "context has run && context.run == \"17\"",
            "context has phase && context.phase == \"plan\"",
            "context.claims has repository_id && context.claims.repository_id == \"4711\"",
        ] {
            assert_eq!(verdict(&caller, condition), Verdict::Allowed, "{condition}");
        }
        for absent in ["source", "certificate", "run", "phase", "step_up"] {
            assert_eq!(verdict(&nobody, &format!("!(context has {absent})")), Verdict::Allowed, "{absent}");
        }
        assert_eq!(verdict(&nobody, "!context.approved && !(context.claims has repository_id)"), Verdict::Allowed);
    }

    #[test]
    fn the_age_of_a_second_factor_counts_from_when_it_was_given() {
        let fresh = "context has step_up && context.step_up.age <= 300";
        let given = |seconds_ago: i64| {
            let mut caller = somebody();
            let at = NOW.parse::<Timestamp>().unwrap() - jiff::SignedDuration::from_secs(seconds_ago);
            caller.circumstances.step_up = Some(StepUp { at, method: "totp".into() });
            caller
        };
        for (seconds, verdict_then) in [
            (0, Verdict::Allowed),
            (300, Verdict::Allowed),
            (301, Verdict::NeedsStepUp),
            (-60, Verdict::Allowed),
            // From the future: the clock has jumped.
            (-61, Verdict::NeedsStepUp),
            (-86_400, Verdict::NeedsStepUp),
        ] {
            assert_eq!(verdict(&given(seconds), fresh), verdict_then, "{seconds}");
        }
        let from_the_future = given(-3600);
        assert_eq!(verdict(&from_the_future, "!(context has step_up)"), Verdict::Allowed);
    }

    #[test]
    fn a_refusal_tells_what_would_turn_it() {
        let fresh = "context has step_up && context.step_up.age <= 300";
        for (condition, expected) in [
            (fresh.to_owned(), Verdict::NeedsStepUp),
            ("context.approved".to_owned(), Verdict::NeedsApproval),
            (format!("{fresh} && context.approved"), Verdict::NeedsStepUp),
            // Not for somebody who would be refused all the same.
            (format!("{fresh} && principal.org == \"globex\""), Verdict::Refused),
            (format!("{fresh} && resource.org == \"globex\""), Verdict::Refused),
            ("context.approved && context.proof == \"mtls\"".to_owned(), Verdict::Refused),
            ("principal.org == \"globex\"".to_owned(), Verdict::Refused),
        ] {
            assert_eq!(verdict(&somebody(), &condition), expected, "{condition}");
        }
        let mut approved = somebody();
        approved.circumstances.approval = Some(uuid::Uuid::now_v7());
        assert_eq!(verdict(&approved, &format!("{fresh} && context.approved")), Verdict::NeedsStepUp);
        assert_eq!(verdict(&approved, "context.approved"), Verdict::Allowed);
    }
}
