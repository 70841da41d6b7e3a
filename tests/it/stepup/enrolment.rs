//! Who may enrol a second factor, and when.

use super::*;

const ENROL: &str = "POST /admin/second-factors";
const REMOVE: &str = "POST /admin/second-factors/remove";
const CODE: &str = "strongroom-code";

#[test]
fn a_second_one_takes_a_code_of_the_first() {
    let home = tempfile::tempdir().unwrap();
    let daemon = start(home.path());
    let admin = &daemon.token;
    let first = Authenticator::enrol(&daemon, admin);
    ask(&daemon, admin, ENROL, &[], Some(&json!({}))).refused(403, "STEP_UP_REQUIRED");
    ask(&daemon, admin, REMOVE, &[], Some(&json!({}))).refused(403, "STEP_UP_REQUIRED");
    let second = ask(&daemon, admin, ENROL, &[(CODE, &first.code(0))], Some(&json!({}))).ok();
    let second = Authenticator::of(&second);
    // Until it is confirmed, the first counts.
    ask(&daemon, admin, "GET /integrations/acme", &[(CODE, &first.code(1))], None).ok();
    second.confirm(&daemon, admin).ok();
    let gone = ask(&daemon, admin, "GET /integrations/acme", &[(CODE, &first.code(1))], None);
    gone.refused(403, "STEP_UP_REQUIRED");
    ask(&daemon, admin, REMOVE, &[(CODE, &second.code(0))], Some(&json!({}))).ok();
    assert_eq!(ask(&daemon, admin, "GET /admin/second-factors", &[], None).ok()["second_factors"], Value::Null);
    ask(&daemon, admin, "POST /admin/second-factors/confirm", &[], Some(&json!({"code": second.code(1)})))
        .refused(404, "NOT_FOUND");
}

#[test]
fn a_wrong_first_code_confirms_nothing_and_locks() {
    let home = tempfile::tempdir().unwrap();
    let daemon = start(home.path());
    let admin = &daemon.token;
    let mine = Authenticator::of(&ask(&daemon, admin, ENROL, &[], Some(&json!({}))).ok());
    let confirm =
        |code: &str| ask(&daemon, admin, "POST /admin/second-factors/confirm", &[], Some(&json!({ "code": code })));
    for wrong in ["", "12345", "123 456", "1234567", "١٢٣٤٥٦"] {
        confirm(wrong).refused(400, "INVALID");
    }
    for _ in 0..5 {
        confirm(&mine.wrong_code()).refused(403, "STEP_UP_REQUIRED");
    }
    confirm(&mine.code(0)).refused(429, "LIMITED");
    assert_eq!(recorded(&daemon, "confirmSecondFactor", "STEP_UP_REQUIRED"), 5);
    // It was never more than pending: anew.
    Authenticator::enrol(&daemon, admin);
}

/// A thief with a token must not become somebody with a second factor.
#[test]
fn a_first_one_is_for_fresh_tokens_and_by_administrators() {
    let home = tempfile::tempdir().unwrap();
    let daemon = start(home.path());
    let first = daemon.token.clone();
    let (old, old_id) = issue(&daemon, &first, "old", "operator", "acme");
    let (service, _) = issue(&daemon, &first, "ci", "service", "acme");
    let (acme, _) = issue(&daemon, &first, "acme-admin", "admin", "acme");
    let (_, globex_id) = issue(&daemon, &first, "theirs", "operator", "globex");
    let database = daemon.database();
    daemon.stop();
    let raw = rusqlite::Connection::open(&database).unwrap();
    raw.execute("UPDATE tokens SET created_at = created_at - 601000000 WHERE name IN ('old', 'ci')", []).unwrap();
    drop(raw);
    let daemon = start(home.path());
    let enrol = |token: &str, caller: &str| ask(&daemon, token, ENROL, &[], Some(&json!({ "caller": caller })));
    let late = enrol(&old, "").refused(409, "CONFLICT");
    assert!(late.detail().contains("within 10 minutes"), "{}", late.detail());
    // One's own id says nothing else.
    for spelling in [old_id.clone(), old_id.to_uppercase(), old_id.replace('-', ""), format!("{{{old_id}}}")] {
        enrol(&old, &spelling).refused(409, "CONFLICT");
    }
    enrol(&service, "").refused(403, "DENIED");
    enrol(&service, &old_id).refused(403, "DENIED");

    // Somebody else's takes the permission to manage them, in their org; absent is as forbidden.
    let strange = enrol(&acme, &globex_id).refused(403, "DENIED");
    let absent = enrol(&acme, "019a0000-0000-7000-8000-000000000000").refused(403, "DENIED");
    assert_eq!(strange.detail(), absent.detail());
    enrol(&acme, "sso:ann").refused(403, "DENIED");
    enrol(&first, "019a0000-0000-7000-8000-000000000000").refused(404, "NOT_FOUND");
    for wrong in
        ["x", "ghp_0123456789012345678901234567890123", "https://issuer.example:ann", "sso:", "sso:a b", "unix:1\u{7}"]
    {
        enrol(&first, wrong).refused(400, "INVALID");
    }
    // Who comes by a JWT is known by its issuer's name in callers.toml.
    enrol(&first, "sso:auth0|ann").ok();

    let theirs = Authenticator::of(&enrol(&acme, &old_id).ok());
    theirs.confirm(&daemon, &old).ok();
    ask(&daemon, &old, "GET /integrations/acme", &[(CODE, &theirs.code(0))], None).ok();
    // Who has one gets no other from above: it would be one that somebody else has seen.
    enrol(&acme, &old_id).refused(409, "CONFLICT");
    ask(&daemon, &acme, REMOVE, &[], Some(&json!({ "caller": old_id }))).ok();
    enrol(&acme, &old_id).ok();
    let listed = ask(&daemon, &acme, "GET /admin/second-factors?org=acme", &[], None).ok();
    assert_eq!(listed["second_factors"].as_array().unwrap().len(), 1, "{listed}");
    ask(&daemon, &acme, "GET /admin/second-factors", &[], None).refused(403, "DENIED");
    ask(&daemon, &old, "GET /admin/second-factors?org=acme", &[], None).refused(403, "DENIED");
}
