//! `strongroom policy`: what it prints, and the codes that it leaves with.

use serde_json::Value;
use strongroom::pb::v1::{ExplainPolicyRequest, IssueTokenRequest};
use tonic::Code;

use crate::daemon::{Daemon, openai_key, program, runtime, setup};

struct Place(tempfile::TempDir);

impl Place {
    fn new(files: &[(&str, &str)]) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            std::fs::write(place.0.path().join(name), text).unwrap();
        }
        place
    }

    #[track_caller]
    fn run(&self, args: &[&str], code: i32) -> (String, String) {
        let done = std::process::Command::new(program()).args(args).current_dir(self.0.path()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let (out, err) = (text(done.stdout), text(done.stderr));
        assert_eq!(done.status.code(), Some(code), "{args:?}: {out}{err}");
        (out, err)
    }
}

const DEFAULT: &str = include_str!("../../config/policy/default.cedar");
const STEP_UP: &str = include_str!("../../config/policy/examples/step-up.cedar");
const EXPECT: &str = include_str!("../../config/policy/examples/step-up.expect.toml");

#[test]
fn check_tells_everything_that_is_wrong_and_where() {
    let place = Place::new(&[("a.cedar", DEFAULT), ("b.cedar", STEP_UP)]);
    let all = DEFAULT.matches("@id(").count() + STEP_UP.matches("@id(").count();
    assert_eq!(place.run(&["policy", "check", "."], 0).0, format!("{all} policies, nothing wrong with them\n"));

    let wrong = "permit (\n  principal in Strongroom::Role::\"pipelin\",\n  action, resource\n) when { resource.orgg == \"x\" };\n\
                 permit (principal, action, resource) unless { context has stepup };\n";
    let place = Place::new(&[("a.cedar", wrong), ("b.cedar", "forbid (principal")]);
    let (out, err) = place.run(&["policy", "check", "."], 1);
    for told in [
        "a.cedar:2: error: there is no role `pipelin`; did you mean pipeline?",
        "a.cedar:4: error: attribute `orgg`",
        "a.cedar:5: error: there is no attribute of context, `stepup`; did you mean step_up?",
        "b.cedar:1: error: ",
    ] {
        assert!(out.contains(told), "{told}\n{out}");
    }
    assert!(err.contains("errors"), "{err}");
    let (json, _) = place.run(&["policy", "check", ".", "--output", "json"], 1);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert!(json["errors"].as_array().unwrap().len() >= 4 && json["errors"][0]["line"].is_u64(), "{json}");

    let place = Place::new(&[(
        "a.cedar",
        "@id(\"all\")\npermit (principal in Strongroom::Role::\"pipeline\", action, resource);",
    )]);
    let (out, _) = place.run(&["policy", "check", "."], 0);
    assert!(out.contains("a.cedar:1: warning: `all` lets a pipeline of the org `tenant-a` "), "{out}");
    place.run(&["policy", "check", ".", "--strict"], 1);
    place.run(&["policy", "check", "nowhere"], 64);
}

#[test]
fn a_table_of_expectations_is_tested() {
    let place = Place::new(&[("default.cedar", DEFAULT), ("step-up.cedar", STEP_UP), ("expect.toml", EXPECT)]);
    let (out, err) = place.run(&["policy", "test", "--policies", ".", "expect.toml"], 0);
    assert!(out.is_empty() && err.contains("expectations, all met"), "{out}{err}");
    // The same table, without the file that it is about.
    std::fs::remove_file(place.0.path().join("step-up.cedar")).unwrap();
    let (out, err) = place.run(&["policy", "test", "--policies", ".", "expect.toml"], 1);
    let line = 1 + EXPECT.lines().position(|line| line.contains("[\"setup\", \"skipProbe\"")).unwrap() - 2;
    let told = format!("expect.toml:{line}: setup on acme/openai should be refused and is allowed (admin-everything)");
    assert!(out.contains(&told) && err.contains("are not met"), "{told}\n{out}{err}");
    let (json, _) = place.run(&["policy", "test", "--policies", ".", "expect.toml", "--output", "json"], 1);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["failed"][0]["line"], line);
    std::fs::write(place.0.path().join("typo.toml"), "[[expect]]\nalow = true\n").unwrap();
    let (_, err) = place.run(&["policy", "test", "typo.toml"], 64);
    assert!(err.contains("typo.toml:2: unknown field `alow`"), "{err}");
}

#[test]
fn an_explanation_says_what_is_missing() {
    let place = Place::new(&[("default.cedar", DEFAULT), ("step-up.cedar", STEP_UP)]);
    let admin = ["policy", "explain", "--policies", ".", "--role", "admin", "--org", "acme"];
    let ask = |more: &[&str]| place.run(&[&admin[..], more].concat(), 0).0;
    let out = ask(&["--action", "decrypt", "--on", "acme/openai"]);
    assert!(out.starts_with("needs-step-up\n\ndecided by people-step-up (forbid, ./step-up.cedar:5)\n"), "{out}");
    assert!(out.contains("it would be allowed with any of\n  a fresh second factor\n"), "{out}");
    let out = ask(&["--action", "decrypt", "--on", "acme/openai", "--step-up-age", "30s"]);
    assert!(out.starts_with("allowed\n\ndecided by admin-everything (permit, ./default.cedar:"), "{out}");
    let out = ask(&["--action", "list", "--on", "globex"]);
    assert!(out.contains("refused\n\ndecided by own-tenant-only") && out.contains("  the org `globex`\n"), "{out}");
    let (_, err) = place.run(&[&admin[..], &["--action", "decript", "--on", "acme/openai"]].concat(), 2);
    assert!(err.contains("there is no action `decript`"), "{err}");
    let (_, err) = place.run(&[&admin[..], &["--action", "list", "--on", "acme/openai"]].concat(), 2);
    assert!(err.contains("asked on an ORG alone"), "{err}");
    let claim = ["--action", "decrypt", "--on", "acme/openai", "--proof", "jwt", "--claim", "repositry_id=4711"];
    let (_, err) = place.run(&[&admin[..], &claim].concat(), 2);
    assert!(err.contains("no proof says a claim `repositry_id`; did you mean repository_id"), "{err}");
}

#[test]
fn a_template_is_a_policy_that_passes_the_check() {
    let place = Place::new(&[]);
    let (list, _) = place.run(&["policy", "template", "list"], 0);
    assert!(list.contains("pipeline-decrypts"), "{list}");
    let line = "policy template pipeline-decrypts --org acme --provider openai --claim repository_id=4711 --phase plan";
    let (text, _) = place.run(&line.split(' ').collect::<Vec<_>>(), 0);
    std::fs::write(place.0.path().join("own.cedar"), &text).unwrap();
    place.run(&["policy", "check", ".", "--strict"], 0);
    let ask =
        "policy explain --policies . --role pipeline --org acme --action decrypt --on acme/openai --proof jwt --claim";
    let (out, _) = place.run(&[&ask.split(' ').collect::<Vec<_>>()[..], &["repository_id=4711"]].concat(), 0);
    assert!(
        out.starts_with("refused\n\nno policy permits it\n\nalmost permitted by pipeline-decrypts-acme-openai"),
        "{out}"
    );
    assert!(out.contains("does not hold: context has phase") && out.contains("  phase `plan`\n"), "{out}");
    let (_, err) = place.run(&["policy", "template", "pipeline-decrypts", "--org", "a\"b", "--provider", "openai"], 2);
    assert!(err.contains("org: must be letters"), "{err}");
}

#[test]
fn the_server_explains_what_it_has_in_force_to_whom_it_may() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    runtime().block_on(async {
        let mut admin = daemon.admin(&daemon.token).await;
        daemon.credentials(&daemon.token).await.setup_credential(setup("acme", "", &openai_key("a"))).await.unwrap();
        let mut issue = async |role: &str, org: &str, provider: &str| {
            let providers = vec![provider.to_owned()];
            let request = IssueTokenRequest {
                name: "it".into(),
                role: role.into(),
                org: org.into(),
                providers,
                ..IssueTokenRequest::default()
            };
            let reply = admin.issue_token(request).await.unwrap().into_inner();
            (reply.info.unwrap().id, reply.token.unwrap().expose_text().unwrap().to_owned())
        };
        let (wrong, _) = issue("pipeline", "acme", "aws_keys").await;
        let (right, _) = issue("pipeline", "acme", "openai").await;
        let (theirs, _) = issue("pipeline", "globex", "openai").await;
        let (_, operator) = issue("operator", "acme", "*").await;
        let (_, pipeline) = issue("pipeline", "acme", "*").await;
        let ask = |token_id: &str, org: &str| ExplainPolicyRequest {
            token_id: token_id.into(),
            action: "decrypt".into(),
            org: org.into(),
            provider: "openai".into(),
            ..ExplainPolicyRequest::default()
        };
        let mut admin = daemon.admin(&daemon.token).await;
        let told = admin.explain_policy(ask(&right, "acme")).await.unwrap().into_inner();
        assert_eq!((told.verdict.as_str(), told.decisive[0].id.as_str()), ("allowed", "pipeline-decrypts"));
        assert!(told.decisive[0].text.contains("permit") && told.decisive[0].line > 0);
        let told = admin.explain_policy(ask(&wrong, "acme")).await.unwrap().into_inner();
        assert_eq!((told.verdict.as_str(), told.decisive[0].id.as_str()), ("refused", "own-providers-only"));
        assert_eq!(told.remedies, ["the provider `openai` among the caller's own"]);

        // Whoever looks after one tenant is told which policies, and nothing of the others.
        let mut operator = daemon.admin(&operator).await;
        let told = operator.explain_policy(ask(&wrong, "acme")).await.unwrap().into_inner();
        assert_eq!((told.verdict.as_str(), told.decisive[0].id.as_str()), ("refused", "own-providers-only"));
        assert!(told.decisive.iter().chain(&told.almost).all(|it| it.text.is_empty() && it.unmet.is_empty()));
        let unknown = "019a0000-0000-7000-8000-000000000000";
        for request in [ask(&theirs, "acme"), ask(unknown, "acme"), ask(&right, "globex")] {
            assert_eq!(operator.explain_policy(request).await.unwrap_err().code(), Code::PermissionDenied);
        }
        let mut pipeline = daemon.admin(&pipeline).await;
        assert_eq!(pipeline.explain_policy(ask(&right, "acme")).await.unwrap_err().code(), Code::PermissionDenied);
        for wrong in [
            ExplainPolicyRequest { action: "decript".into(), ..ask(&right, "acme") },
            ExplainPolicyRequest { source: "here".into(), ..ask(&right, "acme") },
            ExplainPolicyRequest { token_id: String::new(), ..ask("", "acme") },
        ] {
            assert_eq!(admin.explain_policy(wrong).await.unwrap_err().code(), Code::InvalidArgument);
        }
        let line = format!("policy explain --online --token-id {right} --action decrypt --on acme/openai");
        let done = daemon.cli(&daemon.token, &line.split(' ').collect::<Vec<_>>(), None);
        let out = String::from_utf8(done.stdout).unwrap();
        assert!(out.starts_with("allowed\n\ndecided by pipeline-decrypts (permit, default.cedar:"), "{out}");
    });
}
