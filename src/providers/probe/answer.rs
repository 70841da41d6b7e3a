//! What an answer means.

use std::time::{Duration, SystemTime};

use http::header::{DATE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, StatusCode};
use serde_json::Value;
use zeroize::Zeroizing;

use super::plan::{Answer, Ends, Go, Step, Where};
use super::values::Values;
use super::{Learned, Outcome, Verdict, read};
use crate::http::Response;

/// In bytes. Nobody's name is longer.
const LONGEST_TOLD: usize = 4096;

/// One step's result.
pub struct Judged {
    pub outcome: Outcome,
    /// Whether the next step is to be asked.
    pub go_on: bool,
    pub kept: Vec<(String, Zeroizing<String>)>,
}

/// Reads an answer as its step says. `now` is when it came.
pub fn judge(step: &Step, response: &Response, values: &Values, now: SystemTime) -> Judged {
    let heard = Heard { response, body: read::body(&response.body), values };
    let answer = step.answers.iter().find(|answer| heard.fits(answer));
    let mut outcome = match answer {
        Some(answer) => said(answer),
        None => by_status(response.status),
    };
    if outcome.verdict == Verdict::RateLimited || outcome.verdict == Verdict::ProviderUnreachable {
        outcome.retry_after = retry_after(&response.headers, now);
    }
    let mut kept = Vec::new();
    if outcome.verdict == Verdict::Ok {
        outcome.learned.identity = heard.identity(step);
        outcome.learned.expires_at = step.expires.as_ref().and_then(|ends| heard.ends(ends));
        kept = heard.kept(step);
    } else {
        mind_the_clock(step, &mut outcome, &response.headers, now);
    }
    if let Some(warning) = answer.and_then(|answer| answer.warn.clone()) {
        outcome.learned.warnings.push(warning);
    }
    let go_on = match answer.and_then(|answer| answer.go) {
        Some(go) => go == Go::On,
        None => outcome.verdict == Verdict::Ok,
    };
    Judged { outcome, go_on, kept }
}

struct Heard<'a> {
    response: &'a Response,
    body: Value,
    values: &'a Values,
}

impl Heard<'_> {
    fn fits(&self, answer: &Answer) -> bool {
        (answer.status.is_empty() || answer.status.contains(&self.response.status.as_u16()))
            && answer.at.iter().all(|(pointer, pattern)| self.at(pointer).is_some_and(|text| pattern.is_match(&text)))
            && answer.lacks.iter().all(|pointer| self.at(pointer).is_none())
            && answer.headers.iter().all(|(name, pattern)| self.header(name).is_some_and(|text| pattern.is_match(text)))
    }

    fn at(&self, pointer: &super::template::Pointer) -> Option<String> {
        read::text(&self.body, &pointer.fill(self.values).ok()?)
    }

    fn header(&self, name: &HeaderName) -> Option<&str> {
        self.response.headers.get(name)?.to_str().ok()
    }

    /// A provider that echoes a secret, in good faith or bad, does not get it shown.
    fn identity(&self, step: &Step) -> std::collections::BTreeMap<String, String> {
        let told = step.identity.iter().filter_map(|(name, place)| {
            let text = match place {
                Where::At(pointer) => self.at(pointer)?,
                Where::Header(name) => self.header(name)?.to_owned(),
                Where::Said(template) => template.fill(self.values).ok()??.to_string(),
            };
            // Before it is cut: what is left of a secret would not be known again.
            if text.len() > LONGEST_TOLD || self.values.betrayed_by(&text) {
                return None;
            }
            let text = read::shown(&text);
            (!text.is_empty()).then(|| (name.clone(), text))
        });
        told.collect()
    }

    fn ends(&self, ends: &Ends) -> Option<jiff::Timestamp> {
        match ends {
            Ends::At(pointer) => read::moment(&self.at(pointer)?),
            Ends::Header(name) => read::moment(self.header(name)?),
            Ends::Certificate(pointer) => read::certificate(&self.at(pointer)?),
        }
    }

    fn kept(&self, step: &Step) -> Vec<(String, Zeroizing<String>)> {
        let kept = step.keep.iter();
        kept.filter_map(|(name, pointer)| Some((name.clone(), Zeroizing::new(self.at(pointer)?)))).collect()
    }
}

fn said(answer: &Answer) -> Outcome {
    let (reason, hint) = usual(answer.verdict);
    let hint = answer.hint.clone().unwrap_or_else(|| hint.to_owned());
    Outcome::new(answer.verdict, answer.reason.unwrap_or(reason), hint)
}

/// What no answer of the registry fits.
fn by_status(status: StatusCode) -> Outcome {
    let (verdict, reason) = match status.as_u16() {
        200..=299 => (Verdict::Ok, None),
        300..=399 => (Verdict::Misconfigured, Some("redirect")),
        401 => (Verdict::InvalidCredential, None),
        403 => (Verdict::InsufficientPermission, None),
        404 => (Verdict::NotFound, None),
        408 => (Verdict::ProviderUnreachable, Some("timeout")),
        429 => (Verdict::RateLimited, None),
        503 | 529 => (Verdict::ProviderUnreachable, Some("overloaded")),
        400..=499 => (Verdict::Misconfigured, None),
        500..=599 => (Verdict::ProviderUnreachable, None),
        _ => (Verdict::ProviderUnreachable, Some("broken")),
    };
    let (usual, hint) = usual(verdict);
    let hint = match reason {
        Some("redirect") => {
            "the provider sent the test to another address, which is not followed: is the address right?"
        }
        Some("overloaded") => "the provider is overloaded: try again later with `strongroom validate`",
        _ => hint,
    };
    Outcome::new(verdict, reason.unwrap_or(usual), hint)
}

/// The reason and the hint where nothing more is known.
const fn usual(verdict: Verdict) -> (&'static str, &'static str) {
    match verdict {
        Verdict::Ok | Verdict::Untested => ("", ""),
        Verdict::InvalidCredential => {
            ("rejected", "the provider does not know this credential: was it copied whole, and is it still there?")
        }
        Verdict::InsufficientPermission => {
            ("missing_scope", "the provider knows this credential, but does not allow it what the test asks for")
        }
        Verdict::NotFound => ("resource", "the provider knows nothing under this name: are account and address right?"),
        Verdict::RateLimited => ("throttled", "the provider asks to be asked less often: try again later"),
        Verdict::ProviderUnreachable => {
            ("5xx", "the provider has trouble of its own: try again later with `strongroom validate`")
        }
        Verdict::Misconfigured => {
            ("format", "the provider did not understand the request: are the fields and the metadata right?")
        }
    }
}

/// Longer is a mistake, or malice.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// When to come back: seconds, or a date. X-Retry-After is Docker Hub's, in seconds since 1970.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let header = headers.get(RETRY_AFTER).or_else(|| headers.get("x-retry-after"))?.to_str().ok()?.trim();
    let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let wait = match header.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() && seconds >= 0.0 => {
            let seconds = Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST_WAIT);
            if seconds > Duration::from_secs(1_000_000_000) { seconds.saturating_sub(since_epoch) } else { seconds }
        }
        Ok(_) => return None,
        Err(_) => httpdate::parse_http_date(header).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(wait.min(LONGEST_WAIT))
}

/// Signatures are good for minutes. More than two apart, and the clock may be all that is wrong.
const MOST_SKEW: Duration = Duration::from_secs(120);

fn mind_the_clock(step: &Step, outcome: &mut Outcome, headers: &HeaderMap, now: SystemTime) {
    let Some(theirs) = headers.get(DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok()) else {
        return;
    };
    let (apart, side) = match now.duration_since(theirs) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    if apart <= MOST_SKEW {
        return;
    }
    let seconds = apart.as_secs();
    if step.is_signed() && outcome.verdict == Verdict::InvalidCredential {
        outcome.verdict = Verdict::Misconfigured;
        outcome.reason = "clock_skew".into();
        outcome.hint = format!(
            "the clock of the strongroom daemon is {seconds} s {side} the provider's, so its signatures count as \
             outdated: set the clock and try again"
        );
    } else {
        let space = if outcome.hint.is_empty() { "" } else { ". " };
        outcome
            .hint
            .push_str(&format!("{space}The clock of the strongroom daemon is {seconds} s {side} the provider's"));
    }
}

impl Learned {
    /// What a later step told stands above what an earlier one did.
    pub fn add(&mut self, later: Self) {
        self.identity.extend(later.identity);
        self.expires_at = later.expires_at.or(self.expires_at);
        self.warnings.extend(later.warnings);
    }
}

#[cfg(test)]
mod tests;
