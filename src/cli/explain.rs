//! What became of a connection test, in words: what was found, what it means for serving, what to do next.

use std::time::Duration;

use super::error::{Exit, Failure};
use super::output::{escape, say};
use super::view;
use crate::pb::v1::{Credential, ProbeResult, SetupCredentialResponse, ValidateCredentialResponse};

/// A refused upload is stored, as a version that is never served: the command has failed all the same. One whose test
/// could not be made waits: it has not.
pub(super) fn stored(reply: &SetupCredentialResponse, credential: &Credential) -> Result<(), Failure> {
    let probe = reply.probe.clone().unwrap_or_default();
    let (version, state) =
        reply.version.as_ref().map(|it| (it.version, it.state.as_str())).unwrap_or((credential.latest_version, ""));
    let told = format!("{}; {}", found(&credential.provider, &probe), serving(credential, version, state));
    match state {
        "invalid" => Err(hinted(Failure::new(Exit::Refused, told), probe.hint.clone())),
        "pending" => {
            tell(&told, &waiting(credential, version, &probe));
            Ok(())
        }
        _ => {
            tell(&told, &[skipped(credential, &probe).unwrap_or(probe.hint)]);
            Ok(())
        }
    }
}

/// Fails when the provider does not accept what was tested, or could not be asked.
pub(super) fn tested(reply: &ValidateCredentialResponse, provider: &str) -> Result<(), Failure> {
    let Some(probe) = &reply.probe else { return Ok(()) };
    let meaning = match &reply.credential {
        None => "nothing was stored".to_owned(),
        Some(credential) => serving_now(credential),
    };
    let told = format!("{}; {meaning}", found(provider, probe));
    let again = || match (reply.credential.as_ref().and_then(by_itself), retry(probe)) {
        (Some(by_itself), _) => by_itself,
        (None, Some(wait)) => format!("try again in {wait}"),
        (None, None) => "try again later".into(),
    };
    match probe.outcome.as_str() {
        // There is nothing to do about a provider without a test.
        "untested" => {
            tell(&told, &[]);
            Ok(())
        }
        "ok" | "insufficient_permission" => {
            tell(&told, std::slice::from_ref(&probe.hint));
            Ok(())
        }
        "rate_limited" | "provider_unreachable" => {
            let hints = [probe.hint.clone(), again()].into_iter().filter(|hint| !hint.is_empty());
            Err(Failure::new(Exit::Unavailable, told).hint(hints.collect::<Vec<_>>().join("; ")))
        }
        _ => Err(hinted(Failure::new(Exit::Refused, told), probe.hint.clone())),
    }
}

/// What the provider said.
fn found(provider: &str, probe: &ProbeResult) -> String {
    let words = match (probe.outcome.as_str(), probe.reason.as_str()) {
        ("ok", _) => format!("{provider} accepts it"),
        ("untested", "skipped") => return "it was not tested".into(),
        ("untested", "no_test") => return format!("there is no connection test for {provider}"),
        ("untested", _) => format!("{provider} was not asked"),
        ("invalid_credential", _) => format!("{provider} does not accept it"),
        ("insufficient_permission", _) => format!("{provider} accepts it, but it may not do what the test does"),
        ("not_found", _) => format!("{provider} does not find what it is for"),
        ("rate_limited", _) => format!("{provider} was asked too often and has not answered yet"),
        ("provider_unreachable", _) => format!("{provider} could not be asked, which says nothing about it"),
        ("misconfigured", _) => format!("{provider} cannot be asked with what it was given"),
        (other, _) => format!("the connection test says {other}"),
    };
    if probe.reason.is_empty() { words } else { format!("{words} ({})", probe.reason) }
}

/// What it means for those who decrypt.
fn serving(credential: &Credential, version: u32, state: &str) -> String {
    let meanwhile = match credential.active_version {
        0 => "nothing is served".to_owned(),
        other => format!("version {other} is still served"),
    };
    match state {
        "active" => format!("version {version} is served from now on"),
        "pending" => format!("version {version} stays pending, and {meanwhile}"),
        "invalid" => format!("version {version} is never served, and {meanwhile}"),
        _ => format!("version {version} is stored"),
    }
}

/// A test is of the newest version.
fn serving_now(credential: &Credential) -> String {
    match (credential.latest_version, credential.active_version) {
        (newest, active) if newest == active => format!("version {newest} is served"),
        (newest, 0) => format!("version {newest} is not served"),
        (newest, active) => format!("version {newest} is not served, version {active} is"),
    }
}

/// What ends the wait.
fn waiting(credential: &Credential, version: u32, probe: &ProbeResult) -> Vec<String> {
    let activate = format!("`strongroom activate {}` serves it", arguments(credential, &format!(" {version}")));
    // The server's hint says the same without the arguments.
    if probe.outcome == "untested" {
        return vec![activate];
    }
    let validate = format!("`strongroom validate {}` tests it", arguments(credential, ""));
    let again = match by_itself(credential) {
        Some(by_itself) => format!("{by_itself}; {validate} now"),
        None => format!("{validate} again"),
    };
    vec![probe.hint.clone(), again, format!("{activate} untested")]
}

/// When nobody has to do anything.
fn by_itself(credential: &Credential) -> Option<String> {
    let next = view::time(credential.next_test_at.as_ref());
    (!next.is_empty()).then(|| format!("it is tested again by itself, next at {next}"))
}

fn skipped(credential: &Credential, probe: &ProbeResult) -> Option<String> {
    let skipped = probe.outcome == "untested" && probe.reason == "skipped";
    skipped.then(|| format!("`strongroom validate {}` tests it", arguments(credential, "")))
}

/// What names the credential on a command line, followed by `more`.
fn arguments(credential: &Credential, more: &str) -> String {
    let mut arguments = format!("{} {}{more}", credential.org, credential.provider);
    for (option, value) in [("project", &credential.project), ("name", &credential.name)] {
        if !matches!(value.as_str(), "" | "default") {
            arguments += &format!(" --{option} {value}");
        }
    }
    arguments
}

fn retry(probe: &ProbeResult) -> Option<String> {
    let wait = Duration::try_from(probe.retry_after?).ok()?;
    Some(match wait.as_secs() {
        seconds @ 0..=119 => format!("{} s", seconds.max(1)),
        seconds => format!("{} min", seconds.div_ceil(60)),
    })
}

fn hinted(failure: Failure, hint: String) -> Failure {
    if hint.is_empty() { failure } else { failure.hint(hint) }
}

fn tell(words: &str, hints: &[String]) {
    say(escape(words));
    for hint in hints.iter().filter(|hint| !hint.is_empty()) {
        say(escape(&format!("hint: {hint}")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::v1::Version;

    fn probe(outcome: &str, reason: &str) -> ProbeResult {
        ProbeResult {
            outcome: outcome.into(),
            reason: reason.into(),
            hint: "make a new key".into(),
            ..ProbeResult::default()
        }
    }

    fn credential(active_version: u32) -> Credential {
        Credential {
            org: "acme".into(),
            project: "eu".into(),
            provider: "openai".into(),
            name: "default".into(),
            active_version,
            latest_version: 2,
            ..Credential::default()
        }
    }

    fn setup(state: &str, active_version: u32, probe: ProbeResult) -> SetupCredentialResponse {
        SetupCredentialResponse {
            credential: Some(credential(active_version)),
            version: Some(Version { version: 2, state: state.into(), ..Version::default() }),
            probe: Some(probe),
        }
    }

    #[test]
    fn a_refusal_fails_and_says_what_is_served() {
        for (active, served) in [(0, "nothing is served"), (1, "version 1 is still served")] {
            let reply = setup("invalid", active, probe("invalid_credential", "expired"));
            let failure = stored(&reply, &credential(active)).unwrap_err();
            assert_eq!(failure.exit(), Exit::Refused);
            assert_eq!(
                failure.to_string(),
                format!(
                    "error: openai does not accept it (expired); version 2 is never served, and {served}\n\
                     hint: make a new key"
                )
            );
        }
    }

    #[test]
    fn a_delay_and_a_success_do_not_fail() {
        for (state, outcome) in [
            ("pending", "provider_unreachable"),
            ("pending", "misconfigured"),
            ("pending", "untested"),
            ("active", "ok"),
            ("active", "insufficient_permission"),
            ("active", "untested"),
        ] {
            assert!(stored(&setup(state, 0, probe(outcome, "")), &credential(0)).is_ok(), "{state} {outcome}");
        }
    }

    #[test]
    fn who_waits_is_told_what_for() {
        let later = Credential {
            next_test_at: Some(pbjson_types::Timestamp { seconds: 1_800_000_000, nanos: 0 }),
            ..credential(0)
        };
        let activate = "`strongroom activate acme openai 2 --project eu` serves it";
        let validate = "`strongroom validate acme openai --project eu` tests it";
        for outcome in ["provider_unreachable", "rate_limited", "not_found", "misconfigured"] {
            let told = |credential: &Credential| waiting(credential, 2, &probe(outcome, ""));
            let by_itself = "it is tested again by itself, next at 2027-01-15T08:00:00Z";
            assert_eq!(
                told(&later),
                ["make a new key", &format!("{by_itself}; {validate} now"), &format!("{activate} untested")]
            );
            assert_eq!(told(&credential(0))[1], format!("{validate} again"), "nothing happens by itself");
        }
        assert_eq!(waiting(&later, 2, &probe("untested", "no_test")), [activate]);
    }

    #[test]
    fn every_outcome_has_words_of_its_own() {
        let outcomes = [
            "ok",
            "untested",
            "invalid_credential",
            "insufficient_permission",
            "not_found",
            "rate_limited",
            "provider_unreachable",
            "misconfigured",
        ];
        let words: std::collections::BTreeSet<_> =
            outcomes.iter().map(|outcome| found("openai", &probe(outcome, ""))).collect();
        assert_eq!(words.len(), outcomes.len());
        assert!(words.iter().all(|words| words.contains("openai") && !words.contains('_')), "{words:?}");
        assert_eq!(found("x", &probe("brand_new", "why")), "the connection test says brand_new (why)");
        assert_eq!(found("x", &probe("ok", "limited")), "x accepts it (limited)");
        assert_eq!(found("x", &probe("untested", "no_test")), "there is no connection test for x");
    }

    #[test]
    fn the_exit_code_of_a_test_says_who_must_act() {
        let exit = |outcome: &str| {
            let reply = ValidateCredentialResponse { probe: Some(probe(outcome, "")), ..Default::default() };
            tested(&reply, "openai").err().map(|failure| (failure.exit(), failure.to_string()))
        };
        for live in ["ok", "untested", "insufficient_permission"] {
            assert_eq!(exit(live), None, "{live}");
        }
        for refused in ["invalid_credential", "not_found", "misconfigured"] {
            assert_eq!(exit(refused).unwrap().0, Exit::Refused, "{refused}");
        }
        let (unreachable, words) = exit("provider_unreachable").unwrap();
        assert_eq!(unreachable, Exit::Unavailable);
        assert!(words.contains("nothing was stored") && words.ends_with("make a new key; try again later"), "{words}");
    }

    #[test]
    fn a_stored_one_is_told_by_what_is_served() {
        assert_eq!(serving_now(&credential(2)), "version 2 is served");
        assert_eq!(serving_now(&credential(1)), "version 2 is not served, version 1 is");
        assert_eq!(serving_now(&credential(0)), "version 2 is not served");
    }

    #[test]
    fn a_hostile_hint_is_one_line() {
        let evil = ProbeResult { hint: "\u{1b}[2J\nerror: forged".into(), ..probe("invalid_credential", "\u{9b}x") };
        let said = stored(&setup("invalid", 0, evil), &credential(0)).unwrap_err().to_string();
        assert!(said.lines().count() == 2 && !said.contains(['\u{1b}', '\u{9b}']), "{said:?}");
    }
}
