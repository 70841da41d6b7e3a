//! What a history must not show. The writer of a name asks one thing after the other, so the order of its calls is the order
//! of what they do; a call that was not answered did its work or did not.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::clients::GUARDED;
use super::history::{Answer, Asked, Call};

/// The faults of a history. `recorded` are the request ids of all answered decrypts in the audit log, `kept` the
/// fingerprints of all versions in the database.
pub fn check(calls: &[Call], recorded: &[String], kept: &[String]) -> Vec<String> {
    let mut faults = Vec::new();
    let records = counted(recorded);
    for call in calls {
        if let Answer::Refused(why) = &call.answer
            && (why == "Internal" || why == "DataLoss")
        {
            faults.push(format!("{call:?}"));
        }
        let Asked::Decrypt { name, token, id } = &call.asked else { continue };
        match &call.answer {
            Answer::Plaintext { key } => {
                faults.extend(revoked(calls, call, name, key));
                faults.extend(shut_out(calls, call, name, token));
                // Two: the rules were replaced while the first one was made, and asked again.
                match records.get(id.as_str()) {
                    None => faults.push(format!("an answer without its record: {call:?}")),
                    Some(1) => {}
                    Some(_) if replaced(calls, call) => {}
                    Some(count) => faults.push(format!("an answer with {count} records: {call:?}")),
                }
            }
            Answer::Absent => faults.extend(lost(calls, call, name)),
            _ => {}
        }
    }
    faults.extend(left(calls, kept));
    faults
}

/// Whether replicas were taking other rules meanwhile: the first had them when the call ended, the others at most so much
/// later.
fn replaced(calls: &[Call], answer: &Call) -> bool {
    const ALL_HAVE_THEM: u64 = 15_000_000;
    calls.iter().any(|call| {
        matches!(call.asked, Asked::Close | Asked::Open)
            && call.invoked < answer.answered
            && answer.invoked < call.answered.saturating_add(ALL_HAVE_THEM)
    })
}

/// Whether the version was revoked before it was asked for.
fn revoked(calls: &[Call], answer: &Call, name: &str, key: &str) -> Option<String> {
    let is_it =
        |call: &Call| matches!(&call.asked, Asked::Setup { name: of, key: stored } if of == name && stored == key);
    let Some(at) = calls.iter().position(is_it) else {
        return Some(format!("nobody stored this there: {answer:?}"));
    };
    if matches!(calls[at].answer, Answer::Refused(_) | Answer::Absent) || calls[at].invoked > answer.answered {
        return Some(format!("what was not stored is answered: {answer:?}\n    {:?}", calls[at]));
    }
    let later: Vec<_> = calls[at + 1..].iter().filter(|call| written(call) == Some(name)).collect();
    let ends = |(at, call): (usize, &&Call)| {
        let is_acknowledged = call.answer == Answer::Done && call.answered < answer.invoked;
        is_acknowledged
            && match call.asked {
                Asked::Setup { .. } | Asked::Delete { .. } => true,
                Asked::Disable { .. } => !later[at + 1..].iter().any(|call| {
                    matches!(call.asked, Asked::Enable { .. }) && may_be(call) && call.invoked < answer.answered
                }),
                _ => false,
            }
    };
    let end = later.iter().enumerate().find(|(at, call)| ends((*at, call)))?.1;
    Some(format!("answered after it was revoked: {answer:?}\n    {end:?}"))
}

/// Whether the token was revoked, or the rules were others, before it was asked.
fn shut_out(calls: &[Call], answer: &Call, name: &str, token: &str) -> Option<String> {
    let before = |call: &&Call| call.answer == Answer::Done && call.answered < answer.invoked;
    let is_token = |call: &&Call| matches!(&call.asked, Asked::RevokeToken { token: of } if of == token);
    if let Some(revocation) = calls.iter().filter(before).find(is_token) {
        return Some(format!("answered to a revoked token: {answer:?}\n    {revocation:?}"));
    }
    if token == "admin" || name != GUARDED {
        return None;
    }
    let closed = calls.iter().filter(before).rfind(|call| call.asked == Asked::Close)?;
    let opens =
        |call: &Call| call.asked == Asked::Open && call.invoked > closed.invoked && call.invoked < answer.answered;
    let told = format!("answered against the rules in force: {answer:?}\n    {closed:?}");
    (!calls.iter().any(opens)).then_some(told)
}

/// Whether there is nothing where something was acknowledged, and nobody asked to take it away.
fn lost(calls: &[Call], answer: &Call, name: &str) -> Option<String> {
    let own: Vec<_> = calls.iter().filter(|call| written(call) == Some(name)).collect();
    let is_stored = |call: &&Call| {
        matches!(call.asked, Asked::Setup { .. }) && call.answer == Answer::Done && call.answered < answer.invoked
    };
    let at = own.iter().rposition(is_stored)?;
    let may_be_gone = own.iter().any(|call| {
        let is_after = call.invoked > own[at].invoked && call.invoked < answer.answered;
        matches!(call.asked, Asked::Delete { .. }) && is_after && may_be(call)
    });
    (!may_be_gone).then(|| format!("lost: {answer:?}\n    {:?}", own[at]))
}

/// What is kept: everything acknowledged, nothing refused, nothing twice.
fn left(calls: &[Call], kept: &[String]) -> Vec<String> {
    let rows = counted(kept);
    let mut faults = Vec::new();
    let mut known = BTreeMap::new();
    for call in calls {
        let Asked::Setup { key, .. } = &call.asked else { continue };
        let fingerprint = fingerprint(key);
        match (rows.get(fingerprint.as_str()).copied().unwrap_or(0), &call.answer) {
            (1, Answer::Done) | (0 | 1, Answer::Unknown) | (0, Answer::Refused(_) | Answer::Absent) => {}
            (count, _) => faults.push(format!("{count} versions of it are kept: {call:?}")),
        }
        known.insert(fingerprint, ());
    }
    let unknown = rows.keys().filter(|fingerprint| !known.contains_key(**fingerprint));
    faults.extend(unknown.map(|fingerprint| format!("nobody stored what is kept: {fingerprint}")));
    faults
}

/// Which name it changes.
fn written(call: &Call) -> Option<&str> {
    match &call.asked {
        Asked::Setup { name, .. } | Asked::Delete { name } | Asked::Disable { name } | Asked::Enable { name } => {
            Some(name)
        }
        _ => None,
    }
}

fn may_be(call: &Call) -> bool {
    matches!(call.answer, Answer::Done | Answer::Unknown)
}

fn fingerprint(key: &str) -> String {
    Sha256::digest(key).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

fn counted(all: &[String]) -> BTreeMap<&str, usize> {
    all.iter().fold(BTreeMap::new(), |mut counts, one| {
        *counts.entry(one.as_str()).or_default() += 1;
        counts
    })
}

/// Calls one after the other, each of them one tick long.
fn one_by_one(calls: &[(Asked, Answer)]) -> Vec<Call> {
    let timed = |(at, (asked, answer)): (usize, &(Asked, Answer))| {
        let (asked, answer, at) = (asked.clone(), answer.clone(), at as u64 * 10);
        Call { asked, answer, invoked: at, answered: at + 5 }
    };
    calls.iter().enumerate().map(timed).collect()
}

fn stored(key: &str) -> Asked {
    Asked::Setup { name: GUARDED.into(), key: key.into() }
}

fn decrypted(token: &str, key: &str) -> (Asked, Answer) {
    (
        Asked::Decrypt { name: GUARDED.into(), token: token.into(), id: "id".into() },
        Answer::Plaintext { key: key.into() },
    )
}

/// The faults where all that is answered is recorded, and these are kept.
fn faults(calls: &[(Asked, Answer)], kept: &[&str]) -> String {
    let kept: Vec<_> = kept.iter().map(|key| fingerprint(key)).collect();
    check(&one_by_one(calls), &["id".to_owned()], &kept).join("\n")
}

#[test]
fn a_good_history_has_no_faults() {
    let name = GUARDED.to_owned();
    let good = [
        (stored("one"), Answer::Done),
        (Asked::Disable { name: name.clone() }, Answer::Done),
        (Asked::Enable { name: name.clone() }, Answer::Unknown),
        (Asked::Close, Answer::Done),
        (Asked::Open, Answer::Unknown),
        (Asked::Delete { name: name.clone() }, Answer::Unknown),
        (stored("refused"), Answer::Refused("Aborted".into())),
        (stored("maybe"), Answer::Unknown),
        (Asked::RevokeToken { token: "other".into() }, Answer::Done),
        decrypted("t", "one"),
    ];
    assert_eq!(faults(&good, &["one"]), "");
    assert_eq!(faults(&good, &["one", "maybe"]), "");
    // What is revoked while it is being answered may still be answered.
    let mut calls =
        one_by_one(&[(stored("one"), Answer::Done), (Asked::Delete { name }, Answer::Done), decrypted("t", "one")]);
    calls[2].invoked = calls[1].answered - 1;
    assert_eq!(check(&calls, &["id".to_owned()], &[fingerprint("one")]), Vec::<String>::new());
}

#[test]
fn every_kind_of_bad_history_is_found() {
    let name = GUARDED.to_owned();
    let one = (stored("one"), Answer::Done);
    let absent = (Asked::Decrypt { name: name.clone(), token: "admin".into(), id: "id".into() }, Answer::Absent);
    let between = |asked: Asked| [one.clone(), (asked, Answer::Done), decrypted("t", "one")];
    for revocation in [Asked::Delete { name: name.clone() }, Asked::Disable { name: name.clone() }, stored("two")] {
        let found = faults(&between(revocation), &["one", "two"]);
        assert!(found.contains("answered after it was revoked"), "{found}");
    }
    let found = faults(&between(Asked::RevokeToken { token: "t".into() }), &["one"]);
    assert!(found.contains("answered to a revoked token"), "{found}");
    let found = faults(&between(Asked::Close), &["one"]);
    assert!(found.contains("answered against the rules in force"), "{found}");
    let enabled_before = [
        one.clone(),
        (Asked::Enable { name: name.clone() }, Answer::Done),
        (Asked::Disable { name: name.clone() }, Answer::Done),
        decrypted("t", "one"),
    ];
    assert!(faults(&enabled_before, &["one"]).contains("answered after it was revoked"));

    let found = faults(&[one.clone(), absent.clone()], &["one"]);
    assert!(found.contains("lost"), "{found}");
    let deleted_before = [(Asked::Delete { name }, Answer::Done), one.clone(), absent];
    assert!(faults(&deleted_before, &["one"]).contains("lost"));
    assert!(faults(std::slice::from_ref(&one), &[]).contains("0 versions of it are kept"));
    assert!(faults(std::slice::from_ref(&one), &["one", "one"]).contains("2 versions of it are kept"));
    assert!(faults(std::slice::from_ref(&one), &["one", "two"]).contains("nobody stored what is kept"));
    let refused = (stored("one"), Answer::Refused("Aborted".into()));
    assert!(faults(std::slice::from_ref(&refused), &["one"]).contains("1 versions of it are kept"));
    assert!(faults(&[refused, decrypted("t", "one")], &[]).contains("what was not stored is answered"));
    assert!(faults(&[decrypted("t", "one")], &[]).contains("nobody stored this there"));
    let wrong = (stored("one"), Answer::Refused("Internal".into()));
    assert!(faults(&[wrong], &[]).contains("Internal"));

    let calls = one_by_one(&[one, decrypted("t", "one")]);
    let kept = [fingerprint("one")];
    assert!(check(&calls, &[], &kept).join("").contains("an answer without its record"));
    assert!(check(&calls, &["id".into(), "id".into()], &kept).join("").contains("an answer with 2 records"));
}
