//! A second person's agreement: to what, by whom, how often.

use std::sync::{Arc, Barrier};

use super::*;
use crate::daemon::runtime;

const APPROVAL: &str = "strongroom-approval";
const METADATA: &str = "PUT /integrations/acme/openai/metadata";

struct People {
    /// Two administrators, their tokens made by the first.
    ann: String,
    bob: String,
    /// Made by ann.
    cat: String,
    /// Of another tenant.
    eve: String,
}

impl People {
    fn of(daemon: &Daemon) -> Self {
        let issue = |by: &str, name, org| issue(daemon, by, name, "admin", org).0;
        let [ann, bob] = ["ann", "bob"].map(|name| issue(&daemon.token, name, "acme"));
        let cat = issue(&ann, "cat", "acme");
        let eve = issue(&daemon.token, "eve", "globex");
        Self { ann, bob, cat, eve }
    }
}

fn labelled(name: &str, team: &str) -> Value {
    json!({"name": name, "labels": {"labels": {"team": team}}})
}

/// The id under which a request waits.
#[track_caller]
fn waits(reply: Reply) -> String {
    let reply = reply.refused(403, "APPROVAL_REQUIRED");
    let id = reply.body["approval"].as_str().unwrap().to_owned();
    assert!(reply.detail().contains(&id), "{}", reply.detail());
    id
}

fn decide(daemon: &Daemon, token: &str, id: &str, how: &str) -> Reply {
    ask(daemon, token, &format!("POST /admin/approvals/{id}/{how}"), &[], Some(&json!({})))
}

fn listed(daemon: &Daemon, token: &str) -> Vec<Value> {
    let reply = ask(daemon, token, "GET /admin/approvals?org=acme", &[], None).ok();
    reply["approvals"].as_array().cloned().unwrap_or_default()
}

#[test]
fn another_person_agrees_to_one_request_once() {
    let home = tempfile::tempdir().unwrap();
    let daemon = start(home.path());
    set_up(&daemon, "base");
    let people = People::of(&daemon);
    let change = |token: &str, team: &str, approval: Option<&str>| {
        let headers: Vec<_> = approval.map(|id| (APPROVAL, id)).into_iter().collect();
        ask(&daemon, token, METADATA, &headers, Some(&labelled("base", team)))
    };
    let id = waits(change(&people.ann, "red", None));
    assert_eq!(waits(change(&people.ann, "red", None)), id, "the same request is the same");
    let other = waits(change(&people.ann, "blue", None));
    let bobs = waits(change(&people.bob, "red", None));
    assert!(id != other && id != bobs && other != bobs);
    assert_eq!(waits(change(&people.ann, "red", Some(&id))), id, "nobody has agreed yet");

    let shown = listed(&daemon, &people.bob);
    let mine = shown.iter().find(|it| it["id"] == id.as_str()).unwrap();
    for (field, value) in [
        ("state", "pending"),
        ("requester_name", "ann"),
        ("action", "updateMetadata"),
        ("org", "acme"),
        ("project", "default"),
        ("provider", "openai"),
        ("name", "base"),
    ] {
        assert_eq!(mine[field], value, "{mine}");
    }

    // No second person: oneself, who made one's token, whose token one made; nor another tenant's, to whom it is not there.
    for (who, token) in [("ann", &people.ann), ("the first admin", &daemon.token), ("cat", &people.cat)] {
        let refused = decide(&daemon, token, &id, "approve").refused(409, "CONFLICT");
        assert!(refused.detail().contains("somebody else must approve"), "{who}: {}", refused.detail());
    }
    let strange = decide(&daemon, &people.eve, &id, "approve").refused(403, "DENIED");
    let absent = decide(&daemon, &people.eve, "019a0000-0000-7000-8000-000000000000", "approve").refused(403, "DENIED");
    assert_eq!(strange.detail(), absent.detail());
    decide(&daemon, &people.eve, &id, "reject").refused(403, "DENIED");
    ask(&daemon, &people.eve, "GET /admin/approvals?org=acme", &[], None).refused(403, "DENIED");
    assert_eq!(ask(&daemon, &people.eve, "GET /admin/approvals?org=globex", &[], None).ok()["approvals"], Value::Null);
    decide(&daemon, &people.bob, "not-an-id", "approve").refused(400, "INVALID");
    decide(&daemon, &daemon.token, "019a0000-0000-7000-8000-000000000000", "approve").refused(404, "NOT_FOUND");

    // What waits survives a restart.
    let first = daemon.token.clone();
    daemon.kill();
    let mut daemon = start(home.path());
    daemon.token = first;
    let change = |token: &str, team: &str, approval: Option<&str>| {
        let headers: Vec<_> = approval.map(|id| (APPROVAL, id)).into_iter().collect();
        ask(&daemon, token, METADATA, &headers, Some(&labelled("base", team)))
    };
    assert_eq!(waits(change(&people.ann, "red", None)), id);
    let approved = decide(&daemon, &people.bob, &id, "approve").ok();
    assert_eq!(approved["approval"]["state"], "approved");
    decide(&daemon, &people.bob, &id, "approve").refused(409, "CONFLICT");
    // Agreed to, but this request does not name it.
    assert_eq!(waits(change(&people.ann, "red", None)), id);
    for (token, team, named) in [
        (&people.ann, "green", id.as_str()),
        (&people.bob, "red", &id),
        (&people.ann, "red", &bobs),
        (&people.ann, "red", "019a0000-0000-7000-8000-000000000000"),
        (&people.ann, "red", "nonsense"),
        (&people.ann, "red", ""),
    ] {
        let refused = change(token, team, Some(named)).refused(400, "INVALID");
        assert!(refused.detail().contains("no approval of yours"), "{}", refused.detail());
    }
    let twice = [(APPROVAL, id.as_str()), (APPROVAL, id.as_str())];
    ask(&daemon, &people.ann, METADATA, &twice, Some(&labelled("base", "red"))).refused(400, "INVALID");
    // Another rpc with it is another request.
    ask(&daemon, &people.ann, "GET /integrations/acme", &[(APPROVAL, &id)], None).refused(400, "INVALID");

    // Over gRPC it is the same request.
    runtime().block_on(async {
        let labels = strongroom::pb::v1::Labels { labels: [("team".to_owned(), "red".to_owned())].into() };
        let request = strongroom::pb::v1::UpdateMetadataRequest {
            org: "acme".into(),
            provider: "openai".into(),
            name: "base".into(),
            labels: Some(labels),
            ..Default::default()
        };
        let mut request = tonic::Request::new(request);
        request.metadata_mut().insert(APPROVAL, id.parse().unwrap());
        daemon.credentials(&people.ann).await.update_metadata(request).await.unwrap();
    });
    change(&people.ann, "red", Some(&id)).refused(400, "INVALID");

    decide(&daemon, &people.bob, &other, "reject").ok();
    change(&people.ann, "blue", Some(&other)).refused(400, "INVALID");
    let again = waits(change(&people.ann, "blue", None));
    assert_ne!(again, other);
    for (action, outcome, times) in [
        ("requestApproval", "ok", 4),
        ("approveRequest", "ok", 1),
        ("approveRequest", "CONFLICT", 4),
        ("rejectRequest", "ok", 1),
        ("useApproval", "ok", 1),
        ("updateMetadata", "ok", 1),
    ] {
        assert_eq!(recorded(&daemon, action, outcome), times, "{action} {outcome}");
    }
    // Each step bears the approval's id.
    let log = ask(&daemon, &daemon.token, "GET /admin/audit?org=acme&page_size=1000", &[], None).ok();
    let joined = log["records"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| it["canonical"].as_str().unwrap().contains(&format!("\"approval\":\"{id}\"")));
    let joined: Vec<_> = joined.map(|it| it["action"].as_str().unwrap()).collect();
    for step in ["requestApproval", "approveRequest", "useApproval", "updateMetadata"] {
        assert!(joined.contains(&step), "{step}: {joined:?}");
    }
}

#[test]
fn sixty_four_uses_of_one_approval_are_one() {
    let home = tempfile::tempdir().unwrap();
    let daemon = start(home.path());
    set_up(&daemon, "base");
    let people = People::of(&daemon);
    let id = waits(ask(&daemon, &people.ann, METADATA, &[], Some(&labelled("base", "red"))));
    decide(&daemon, &people.bob, &id, "approve").ok();
    let barrier = Arc::new(Barrier::new(64));
    let askers: Vec<_> = (0..64)
        .map(|_| {
            let (address, token, id) = (daemon.rest.clone(), people.ann.clone(), id.clone());
            let barrier = Arc::clone(&barrier);
            std::thread::spawn(move || {
                let headers = [(APPROVAL, id.as_bytes())];
                barrier.wait();
                ask_raw(&address, &token, METADATA, &headers, Some(&labelled("base", "red")))
            })
        })
        .collect();
    let mut won = 0;
    for asker in askers {
        let reply = asker.join().unwrap();
        match reply.status {
            200 => won += 1,
            _ => _ = reply.refused(400, "INVALID"),
        }
    }
    assert_eq!(won, 1);
    assert_eq!(recorded(&daemon, "updateMetadata", "ok"), 1);
}

/// A secret is part of what is agreed to, and is not kept for it.
#[test]
fn an_approval_of_one_secret_is_none_of_another() {
    let home = tempfile::tempdir().unwrap();
    let daemon = start(home.path());
    let people = People::of(&daemon);
    let setup = |key: &str, headers: &[(&str, &str)]| {
        let tags: serde_json::Map<_, _> = (0..9).map(|n| (format!("k{n}"), json!(n.to_string()))).collect();
        let metadata = json!({ "tags": tags, "environment": "prod" });
        let body =
            json!({"name": "guarded", "fields": {"api_key": openai_key(key)}, "no_probe": true, "metadata": metadata});
        ask(&daemon, &people.ann, "POST /integrations/acme/openai/setup", headers, Some(&body))
    };
    let id = waits(setup("agreed", &[]));
    assert_eq!(waits(setup("agreed", &[])), id);
    decide(&daemon, &people.bob, &id, "approve").ok();
    setup("other", &[(APPROVAL, &id)]).refused(400, "INVALID");
    setup("agreed", &[(APPROVAL, &id)]).ok();

    // A batch is agreed to by nobody: each by itself.
    let items = json!({"credentials": [{"provider": "openai", "name": "guarded"}]});
    let batch = ask(&daemon, &people.ann, "POST /integrations/acme/decrypt", &[], Some(&items)).ok();
    assert_eq!(batch["results"][0]["failure"]["reason"], "APPROVAL_REQUIRED", "{batch}");
    assert_eq!(listed(&daemon, &people.bob), [] as [Value; 0]);
    let decrypt = |headers: &[(&str, &str)]| {
        let body = json!({"name": "guarded"});
        ask(&daemon, &people.ann, "POST /integrations/acme/openai/decrypt", headers, Some(&body))
    };
    let id = waits(decrypt(&[]));
    decide(&daemon, &people.bob, &id, "approve").ok();
    ask(&daemon, &people.ann, "POST /integrations/acme/decrypt", &[(APPROVAL, &id)], Some(&items))
        .refused(400, "INVALID");
    assert_eq!(decrypt(&[(APPROVAL, &id)]).ok()["secret"], openai_key("agreed"));
    waits(decrypt(&[]));
}

#[test]
fn thirty_two_wait_and_no_more() {
    let home = tempfile::tempdir().unwrap();
    let daemon = start(home.path());
    set_up(&daemon, "base");
    let people = People::of(&daemon);
    let change = |token: &str, n: usize| ask(&daemon, token, METADATA, &[], Some(&labelled("base", &n.to_string())));
    let first = waits(change(&people.ann, 0));
    for n in 1..32 {
        waits(change(&people.ann, n));
    }
    let full = change(&people.ann, 32).refused(409, "CONFLICT");
    assert!(full.detail().contains("wait already"), "{}", full.detail());
    assert_eq!(waits(change(&people.ann, 0)), first);
    waits(change(&people.bob, 32));
    decide(&daemon, &people.bob, &first, "reject").ok();
    waits(change(&people.ann, 32));
}

/// Where both are needed, the code comes first, and an approval is not spent on a request that lacks one.
#[test]
fn a_code_and_a_second_person() {
    let home = tempfile::tempdir().unwrap();
    let daemon = start(home.path());
    set_up(&daemon, "base");
    let people = People::of(&daemon);
    let mine = Authenticator::enrol(&daemon, &people.ann);
    let versions = |headers: &[(&str, &str)]| {
        ask(&daemon, &people.ann, "GET /integrations/acme/openai/versions?name=base", headers, None)
    };
    versions(&[]).refused(403, "STEP_UP_REQUIRED");
    assert_eq!(listed(&daemon, &people.bob), [] as [Value; 0]);
    let id = waits(versions(&[("strongroom-code", &mine.code(0))]));
    decide(&daemon, &people.bob, &id, "approve").ok();
    versions(&[]).refused(403, "STEP_UP_REQUIRED");
    versions(&[("strongroom-code", &mine.code(1)), (APPROVAL, &id)]).ok();
}

/// A child is its parent, and what took over from a token is that token: one second factor, and no second person.
#[test]
fn a_tokens_family_is_one_person() {
    let home = tempfile::tempdir().unwrap();
    let daemon = start(home.path());
    set_up(&daemon, "base");
    let (ann, _) = issue(&daemon, &daemon.token, "ann", "admin", "acme");
    let mine = Authenticator::enrol(&daemon, &ann);
    let made = |by: &str, line: &str, body: Value| {
        let headers: Vec<_> = [].into();
        let reply = ask(&daemon, by, line, &headers, Some(&body)).ok();
        reply["token"].as_str().unwrap().to_owned()
    };
    let [one, two] = ["one", "two"].map(|name| made(&ann, "POST /admin/tokens/derive", json!({ "name": name })));
    let next = made(&ann, "POST /admin/tokens/self/rotate", json!({}));
    let list = "GET /integrations/acme";
    ask(&daemon, &one, list, &[("strongroom-code", &mine.code(0))], None).ok();
    // Spent for all of them, and good for each.
    ask(&daemon, &two, list, &[("strongroom-code", &mine.code(0))], None).refused(403, "STEP_UP_REQUIRED");
    ask(&daemon, &next, list, &[("strongroom-code", &mine.code(1))], None).ok();
    // Nobody gets a fresh one by being new.
    let old = (0..70).fold(next.clone(), |newest, _| made(&newest, "POST /admin/tokens/self/rotate", json!({})));
    ask(&daemon, &old, "POST /admin/second-factors", &[], Some(&json!({}))).refused(403, "STEP_UP_REQUIRED");
    ask(&daemon, &next, "POST /admin/second-factors", &[], Some(&json!({}))).refused(403, "STEP_UP_REQUIRED");
    ask(&daemon, &one, "POST /admin/second-factors", &[], Some(&json!({}))).refused(403, "STEP_UP_REQUIRED");

    let id = waits(ask(&daemon, &one, METADATA, &[], Some(&labelled("base", "red"))));
    for other in [&one, &two, &ann, &next] {
        decide(&daemon, other, &id, "approve").refused(409, "CONFLICT");
    }
    let (bob, _) = issue(&daemon, &daemon.token, "bob", "admin", "acme");
    decide(&daemon, &bob, &id, "approve").ok();
    ask(&daemon, &one, METADATA, &[(APPROVAL, &id)], Some(&labelled("base", "red"))).ok();
}
