//! What verified claims say: whether the token holds now, whose it is, and what else is known of them.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::issuer::{Issuer, Place, SUBJECT, StepUpRule};
use super::strict::Object;
use super::token::Verified;
use crate::authn::callers::Attributes;
use crate::vault::StepUp;

/// A token that holds now.
#[derive(Debug)]
pub struct Checked {
    pub subject: String,
    pub attributes: Attributes,
    pub step_up: Option<StepUp>,
    pub span: Span,
}

/// When it holds, in seconds since 1970, the clocks' difference granted.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    from: f64,
    until: f64,
}

const LONGEST_SUBJECT: usize = 255;
const LONGEST_ATTRIBUTE: usize = 1024;

impl Span {
    /// A time beyond all times is the last one.
    pub fn end(self) -> Timestamp {
        Timestamp::from_second(self.until as i64).unwrap_or(Timestamp::MAX)
    }

    pub fn holds(&self, now: Timestamp) -> bool {
        let now = seconds(now);
        self.from <= now && now < self.until
    }
}

/// The reason is the operator's, and holds no part of the token.
pub fn check(verified: &Verified, issuer: &Issuer, now: Timestamp) -> Result<Checked, &'static str> {
    let claims = verified.claims();
    let span = span(claims, issuer, now)?;
    let subject = match claims.get(SUBJECT) {
        Some(Value::String(subject)) => subject,
        Some(_) => return Err("its `sub` is no text"),
        None => return Err("it has no `sub`"),
    };
    let is_printable = subject.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if !(1..=LONGEST_SUBJECT).contains(&subject.len()) || !is_printable {
        return Err("its `sub` is not 1 to 255 printable ASCII characters");
    }
    let step_up = step_up(claims, &issuer.step_up, seconds(now) + issuer.leeway.as_secs_f64())?;
    Ok(Checked { subject: subject.clone(), attributes: attributes(claims, issuer, subject), step_up, span })
}

fn span(claims: &Object, issuer: &Issuer, now: Timestamp) -> Result<Span, &'static str> {
    let (now, leeway) = (seconds(now), issuer.leeway.as_secs_f64());
    let expires = date(claims, "exp", "its `exp` is no date")?.ok_or("it has no `exp`")?;
    let issued = date(claims, "iat", "its `iat` is no date")?;
    let begins = date(claims, "nbf", "its `nbf` is no date")?;
    if now >= expires + leeway {
        return Err("it has expired");
    }
    if issued.is_some_and(|issued| issued > now + leeway) {
        return Err("its `iat` lies in the future: one of the clocks is wrong");
    }
    if begins.is_some_and(|begins| begins > now + leeway) {
        return Err("its `nbf` lies in the future: it does not hold yet");
    }
    // Without its beginning, a token's life is at least what is left of it.
    if expires - issued.unwrap_or(now) > issuer.max_age.as_secs_f64() {
        return Err("it is good for longer than this issuer's `max_age`");
    }
    let from = issued.into_iter().chain(begins).fold(0.0, f64::max) - leeway;
    Ok(Span { from, until: expires + leeway })
}

/// RFC 7519 lets a date have a fraction.
fn date(claims: &Object, name: &str, wrong: &'static str) -> Result<Option<f64>, &'static str> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_f64().filter(|date| *date >= 0.0).map(Some).ok_or(wrong),
    }
}

fn seconds(time: Timestamp) -> f64 {
    time.as_millisecond() as f64 / 1_000.0
}

fn attributes(claims: &Object, issuer: &Issuer, subject: &str) -> Attributes {
    let vouched = |attribute: &str| {
        let rule = issuer.vouched.filter(|(of, _)| *of == attribute);
        rule.is_none_or(|(_, claim)| claims.get(claim) == Some(&Value::Bool(true)))
    };
    let found = issuer.claims.iter().filter(|(name, _)| vouched(name));
    let mut all: Attributes =
        found.filter_map(|(name, place)| Some((name.clone(), text(place.of(claims)?)?))).collect();
    all.insert(SUBJECT.to_owned(), subject.to_owned());
    all
}

/// What has one spelling. Everything else (fractions, lists, objects) is no attribute's value, so that no `when` fits it.
fn text(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) if number.is_u64() || number.is_i64() => number.to_string(),
        _ => return None,
    };
    (text.len() <= LONGEST_ATTRIBUTE && !text.chars().any(char::is_control)).then_some(text)
}

impl Place {
    fn of<'a>(&self, claims: &'a Object) -> Option<&'a Value> {
        match self {
            Self::Member(name) => claims.get(name),
            Self::Pointer(pointer) => {
                let (first, rest) = pointer.strip_prefix('/')?.split_once('/').unwrap_or((&pointer[1..], ""));
                let member = claims.get(&first.replace("~1", "/").replace("~0", "~"))?;
                if rest.is_empty() { Some(member) } else { member.pointer(&format!("/{rest}")) }
            }
        }
    }
}

/// A second factor, if the token tells of one that this issuer is believed about, and when.
fn step_up(claims: &Object, rule: &StepUpRule, latest: f64) -> Result<Option<StepUp>, &'static str> {
    let amr = claims.get("amr").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let by_amr = amr.into_iter().find(|method| rule.amr.iter().any(|known| known == method));
    let by_acr = claims.get("acr").and_then(Value::as_str).filter(|acr| rule.acr.iter().any(|known| known == acr));
    let Some(method) = by_amr.or(by_acr) else { return Ok(None) };
    let Some(at) = date(claims, "auth_time", "its `auth_time` is no date")? else { return Ok(None) };
    if at > latest {
        return Err("its `auth_time` lies in the future: one of the clocks is wrong");
    }
    let at =
        Timestamp::UNIX_EPOCH.checked_add(Duration::from_secs_f64(at)).map_err(|_| "its `auth_time` is no date")?;
    Ok(Some(StepUp { at, method: method.to_owned() }))
}
