//! A code: when it counts, and how often.

use std::sync::{Arc, Barrier};
use std::time::Instant;

use serde_json::json;

use super::*;
use crate::daemon::runtime;

const CODE: &str = "strongroom-code";

#[test]
fn a_code_opens_what_policy_keeps_for_it_once() {
    let home = tempfile::tempdir().unwrap();
    let daemon = start(home.path());
    let admin = &daemon.token;
    ["a", "b"].iter().for_each(|name| set_up(&daemon, name));
    let bare = delete(&daemon, admin, "a", &[]).refused(403, "STEP_UP_REQUIRED");
    assert_eq!(bare.detail(), "this needs a fresh second factor");
    let without = delete(&daemon, admin, "a", &[(CODE, "123456")]).refused(403, "STEP_UP_REQUIRED");
    assert!(without.detail().contains("has no second factor"), "{}", without.detail());

    let mine = Authenticator::of(&ask(&daemon, admin, "POST /admin/second-factors", &[], Some(&json!({}))).ok());
    assert!(mine.uri.starts_with("otpauth://totp/strongroom:first%2Dadmin?secret="), "{}", mine.uri);
    let pending = delete(&daemon, admin, "a", &[(CODE, &mine.code(0))]).refused(403, "STEP_UP_REQUIRED");
    assert!(pending.detail().contains("has no second factor"), "a pending one is good for nothing");
    let active = mine.confirm(&daemon, admin).ok();
    assert_eq!(active["info"]["state"], "active");

    let code = mine.code(0);
    delete(&daemon, admin, "a", &[(CODE, &code)]).ok();
    let used = delete(&daemon, admin, "b", &[(CODE, &code)]).refused(403, "STEP_UP_REQUIRED");
    assert!(used.detail().contains("was used"), "{}", used.detail());
    // The request after it has none: a code counts for what it came with.
    delete(&daemon, admin, "b", &[]).refused(403, "STEP_UP_REQUIRED");
    let wrong = delete(&daemon, admin, "b", &[(CODE, &mine.wrong_code())]).refused(403, "STEP_UP_REQUIRED");
    assert!(wrong.detail().contains("the code is wrong"), "{}", wrong.detail());

    // Over gRPC too, and one after a wrong one.
    let last = mine.code(1);
    runtime().block_on(async {
        let mut client = daemon.credentials(admin).await;
        let request = strongroom::pb::v1::DeleteCredentialRequest {
            org: "acme".into(),
            provider: "openai".into(),
            name: "b".into(),
            ..Default::default()
        };
        let mut request = tonic::Request::new(request);
        request.metadata_mut().insert(CODE, last.parse().unwrap());
        client.delete_credential(request).await.unwrap();
    });
    // Where nothing asks for one, a wrong one is refused all the same, and a used one.
    ask(&daemon, admin, "GET /integrations/acme", &[(CODE, &last)], None).refused(403, "STEP_UP_REQUIRED");
    ask(&daemon, admin, "GET /integrations/acme", &[], None).ok();
    assert_eq!(recorded(&daemon, "stepUp", "ok"), 2);
    assert_eq!(recorded(&daemon, "stepUp", "STEP_UP_REQUIRED"), 5);
    assert_eq!(recorded(&daemon, "delete", "ok"), 2);

    // Neither secret nor codes are anywhere but where they belong.
    let spent = [code, last, mine.wrong_code()];
    let (uri, secret) = (mine.uri.clone(), mine.secret.clone());
    daemon.stop();
    search(home.path(), &secret, &uri, &spent);
}

/// Every file that the daemon wrote.
fn search(directory: &Path, secret: &[u8], uri: &str, codes: &[String]) {
    let base32 = BASE32_NOPAD.encode(secret);
    let hex = data_encoding::HEXLOWER.encode(secret);
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            search(&path, secret, uri, codes);
            continue;
        }
        let bytes = std::fs::read(&path).unwrap();
        for needle in [secret, base32.as_bytes(), hex.as_bytes(), uri.as_bytes()] {
            assert!(!bytes.windows(needle.len()).any(|window| window == needle), "{}", path.display());
        }
        for code in codes {
            let needle = code.as_bytes();
            // Six digits alone; behind a point they are a time's.
            let alone = |at: usize| {
                let before = at.checked_sub(1).and_then(|before| bytes.get(before));
                let after = bytes.get(at + needle.len());
                !before.is_some_and(|byte| byte.is_ascii_hexdigit() || *byte == b'.')
                    && !after.is_some_and(u8::is_ascii_hexdigit)
            };
            let found = bytes.windows(needle.len()).enumerate().any(|(at, window)| window == needle && alone(at));
            assert!(!found, "a code is in {}", path.display());
        }
    }
}

/// None of these is another spelling of the good code that is in it; and none costs it.
#[test]
fn what_is_not_six_digits_is_no_code() {
    let home = tempfile::tempdir().unwrap();
    let daemon = start(home.path());
    let admin = &daemon.token;
    let mine = Authenticator::enrol(&daemon, admin);
    let code = mine.code(1);
    let (front, back) = code.split_at(3);
    let fullwidth: String = code.chars().map(|c| char::from_u32(0xff10 + c.to_digit(10).unwrap()).unwrap()).collect();
    let arabic: String = code.chars().map(|c| char::from_u32(0x660 + c.to_digit(10).unwrap()).unwrap()).collect();
    let malformed = [
        String::new(),
        format!("{front} {back}"),
        format!("{front}\t{back}"),
        format!("{front}-{back}"),
        format!("{code}0"),
        format!("0{code}"),
        code[..5].to_owned(),
        format!("+{}", &code[1..]),
        format!("{code},{code}"),
        format!("\"{code}\""),
        fullwidth,
        arabic,
        format!("{front}\u{200b}{back}"),
    ];
    let list = "GET /integrations/acme";
    for wrong in &malformed {
        let refused = ask(&daemon, admin, list, &[(CODE, wrong)], None).refused(403, "STEP_UP_REQUIRED");
        assert!(refused.detail().contains("six digits"), "{wrong:?}: {}", refused.detail());
    }
    ask(&daemon, admin, list, &[(CODE, &code), (CODE, &code)], None).refused(403, "STEP_UP_REQUIRED");
    ask(&daemon, admin, list, &[(CODE, &code), (CODE, "000000")], None).refused(403, "STEP_UP_REQUIRED");
    // HTTP itself takes the space around a header's value away: it is the same code, and no second one.
    ask(&daemon, admin, list, &[(CODE, &format!(" {code}  "))], None).ok();
    for again in [code.clone(), format!(" {code}"), format!("{code} ")] {
        let used = ask(&daemon, admin, list, &[(CODE, &again)], None).refused(403, "STEP_UP_REQUIRED");
        assert!(used.detail().contains("was used"), "{again:?}: {}", used.detail());
    }
}

#[test]
fn sixty_four_uses_of_one_code_are_one() {
    let home = tempfile::tempdir().unwrap();
    let daemon = start(home.path());
    let mine = Authenticator::enrol(&daemon, &daemon.token);
    let (code, barrier) = (mine.code(1), Arc::new(Barrier::new(64)));
    let askers: Vec<_> = (0..64)
        .map(|_| {
            let (address, token) = (daemon.rest.clone(), daemon.token.clone());
            let (code, barrier) = (code.clone(), Arc::clone(&barrier));
            std::thread::spawn(move || {
                barrier.wait();
                ask_raw(&address, &token, "GET /integrations/acme", &[(CODE, code.as_bytes())], None)
            })
        })
        .collect();
    let mut won = 0;
    for asker in askers {
        let reply = asker.join().unwrap();
        match reply.status {
            200 => won += 1,
            _ => assert!(reply.refused(403, "STEP_UP_REQUIRED").detail().contains("was used")),
        }
    }
    assert_eq!(won, 1);
    assert_eq!((recorded(&daemon, "stepUp", "ok"), recorded(&daemon, "stepUp", "STEP_UP_REQUIRED")), (1, 63));
}

#[test]
fn wrong_codes_lock_and_a_restart_opens_nothing() {
    let home = tempfile::tempdir().unwrap();
    let daemon = start(home.path());
    let first = daemon.token.clone();
    let (token, id) = issue(&daemon, &first, "op", "operator", "acme");
    let mine = Authenticator::enrol(&daemon, &token);
    let list = "GET /integrations/acme";
    let started = Instant::now();
    for _ in 0..5 {
        ask(&daemon, &token, list, &[(CODE, &mine.wrong_code())], None).refused(403, "STEP_UP_REQUIRED");
    }
    let locked = |daemon: &Daemon| {
        let reply = ask(daemon, &token, list, &[(CODE, &mine.code(1))], None);
        // A slow machine may be slower than the lock.
        if started.elapsed().as_secs() < 25 {
            let reply = reply.refused(429, "LIMITED");
            let wait = reply.head.split("retry-after: ").nth(1).unwrap().split('\r').next().unwrap();
            assert!((1..=30).contains(&wait.parse::<u32>().unwrap()), "{wait}");
        }
    };
    locked(&daemon);
    // Without a code, nothing is locked.
    ask(&daemon, &token, list, &[], None).ok();
    daemon.kill();
    let daemon = start(home.path());
    locked(&daemon);
    // An administrator helps.
    let factors = ask(&daemon, &first, "GET /admin/second-factors?org=acme", &[], None).ok();
    assert_eq!(factors["second_factors"][0]["caller"], id);
    let body = json!({"caller": id});
    ask(&daemon, &first, "POST /admin/second-factors/remove", &[], Some(&body)).ok();
    let gone = ask(&daemon, &token, list, &[(CODE, &mine.code(1))], None).refused(403, "STEP_UP_REQUIRED");
    assert!(gone.detail().contains("has no second factor"));
}

/// A row that was moved to another caller does not open.
#[test]
fn nobody_has_anothers_factor() {
    let home = tempfile::tempdir().unwrap();
    let daemon = start(home.path());
    let admin = daemon.token.clone();
    let people: Vec<_> = ["ann", "bob"]
        .map(|name| {
            let (token, id) = issue(&daemon, &admin, name, "operator", "acme");
            let factor = Authenticator::enrol(&daemon, &token);
            (token, id, factor)
        })
        .into();
    let list = "GET /integrations/acme";
    let [(ann, ann_id, anns), (bob, bob_id, bobs)] = &people[..] else { unreachable!() };
    ask(&daemon, ann, list, &[(CODE, &bobs.code(0))], None).refused(403, "STEP_UP_REQUIRED");
    let database = daemon.database();
    daemon.stop();
    let raw = rusqlite::Connection::open(&database).unwrap();
    raw.execute_batch(&format!(
        "UPDATE second_factors SET caller = 'x' WHERE caller = '{ann_id}';
         UPDATE second_factors SET caller = '{ann_id}' WHERE caller = '{bob_id}';
         UPDATE second_factors SET caller = '{bob_id}' WHERE caller = 'x';"
    ))
    .unwrap();
    drop(raw);
    let daemon = start(home.path());
    for (token, code) in [(ann, bobs.code(1)), (bob, anns.code(1)), (ann, anns.code(1))] {
        ask(&daemon, token, list, &[(CODE, &code)], None).refused(500, "CORRUPT");
    }
    daemon.logged(|line| line.contains("second factor") && line.contains("did not wrap this data key"));
}
