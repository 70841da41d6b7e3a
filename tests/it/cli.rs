//! The command line against the real daemon: the registry for people and for programs, and questions in a terminal.

pub mod terminal;

use serde_json::Value;
use strongroom::providers::Registry;

use self::terminal::Terminal;
use crate::daemon::{Daemon, openai_key, runtime};

/// What a command printed, after it left with this code.
#[track_caller]
fn run(daemon: &Daemon, token: &str, line: &str, code: i32) -> (String, String) {
    let done = daemon.cli(token, &line.split(' ').collect::<Vec<_>>(), None);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(done.stdout), text(done.stderr));
    assert_eq!(done.status.code(), Some(code), "{line}: {out}{err}");
    (out, err)
}

#[test]
fn the_registry_is_listed_for_people_and_for_programs() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    let registry = Registry::embedded().unwrap();
    let ids: Vec<_> = registry.all().map(|provider| provider.id.as_str()).collect();

    let (table, _) = run(&daemon, &daemon.token, "providers", 0);
    assert!(table.starts_with("PROVIDER "), "{table}");
    let listed: Vec<_> = table.lines().skip(1).map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(listed, ids);

    let (json, _) = run(&daemon, &daemon.token, "providers --output json", 0);
    let json: Value = serde_json::from_str(&json).unwrap();
    let listed: Vec<_> = json.as_array().unwrap().iter().map(|entry| entry["id"].as_str().unwrap()).collect();
    assert_eq!(listed, ids);
    for (entry, provider) in json.as_array().unwrap().iter().zip(registry.all()) {
        assert_eq!(entry["class"], provider.class.as_str());
        let fields = entry["fields"].as_array().map(Vec::as_slice).unwrap_or_default();
        let names: Vec<_> = fields.iter().map(|field| field["name"].as_str().unwrap()).collect();
        assert_eq!(names, provider.fields.iter().map(|field| field.name.as_str()).collect::<Vec<_>>());
        assert_eq!(entry["test"].as_array().map_or(0, Vec::len), provider.test_summary().len());
    }
}

#[test]
fn a_provider_is_shown_with_its_rules() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    let (page, _) = run(&daemon, &daemon.token, "providers show aws_keys", 0);
    for told in [
        "20 characters that begin with AKIA",
        "such as AKIAIOSFODNN7EXAMPLE",
        "also read as AccessKeyId, aws_access_key_id",
        "  session_token      secret, optional: the base64 text",
        "\nconnection test\n",
        "\nmetadata\n",
        "made at      https://docs.aws.amazon.com/",
        "  account_id     text like ^[0-9]{12}$",
        "  rotation_days  a whole number from 1 to 730",
    ] {
        assert!(page.contains(told), "{told:?} is not in\n{page}");
    }

    let (json, _) = run(&daemon, &daemon.token, "providers show aws_keys --output json", 0);
    let json: Value = serde_json::from_str(&json).unwrap();
    let secret = json["fields"].as_array().unwrap().iter().find(|field| field["name"] == "secret_access_key").unwrap();
    assert_eq!((&secret["secret"], &secret["shape"]), (&true.into(), &"token".into()));
    assert_eq!(secret["must_be"], "40 characters, letters, digits, / and +");
    assert_eq!(json["public_identity"][0], "access_key_id");
    // As it is applied: with the limit that the file leaves out.
    assert_eq!(json["metadata"]["account_id"]["pattern"], "^[0-9]{12}$");
    assert_eq!(json["metadata"]["account_id"]["maxLength"], 256.0);
}

#[test]
fn an_unknown_provider_is_answered_with_the_nearest() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    let (out, err) = run(&daemon, &daemon.token, "providers show openia", 6);
    assert!(out.is_empty() && err.contains("did you mean openai?") && err.contains("hint: `strongroom providers`"));
    let (status, reply) = daemon.http("GET", "/admin/providers?provider=openia", &daemon.token, None);
    assert!(status == 400 && reply.contains("did you mean openai?"), "{reply}");
    let (status, reply) = daemon.http("GET", "/admin/providers?provider=openai", &daemon.token, None);
    let reply: Value = serde_json::from_str(&reply).unwrap();
    assert_eq!((status, reply["providers"].as_array().map(Vec::len)), (200, Some(1)));
}

#[test]
fn a_service_reads_the_registry_and_a_pipeline_does_not() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    let (service, pipeline) = runtime().block_on(async {
        (daemon.issue("service", "acme", &[]).await, daemon.issue("pipeline", "acme", &["openai"]).await)
    });
    run(&daemon, &service, "providers show openai", 0);
    // Whether it exists or not makes no difference to who may not look.
    for id in ["openai", "openia"] {
        let (_, err) = run(&daemon, &pipeline, &format!("providers show {id}"), 5);
        assert!(!err.contains("registry"), "{err}");
    }
}

#[test]
fn in_a_terminal_each_field_is_asked_for_and_no_secret_shows() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    let key = openai_key("typed");
    let mut terminal = Terminal::start(&daemon, &daemon.token, "setup acme openai --no-probe");
    terminal.type_unseen("api_key (does not show)", "sk-of-nobody");
    terminal.wait_for("api_key: must be a project, service account or user key");
    terminal.type_unseen("api_key (does not show)", &key);
    let (screen, code) = terminal.end();
    assert_eq!(code, Some(0), "{screen}");
    assert!(screen.contains("https://platform.openai.com/api-keys"), "where to make one: {screen}");
    assert!(screen.contains("version 1 is served from now on"), "{screen}");
    assert!(!screen.contains("T3BlbkFJq"), "{screen}");
    assert_eq!(run(&daemon, &daemon.token, "decrypt acme openai", 0).0, key);

    let mut terminal = Terminal::start(&daemon, &daemon.token, "setup acme aws_keys --no-probe");
    terminal.type_in("or Enter to give its fields:", "");
    terminal.type_in("access_key_id: ", "AKIAY34FZKBOKMUTVV7A");
    terminal.type_unseen("secret_access_key (does not show)", "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");
    terminal.type_unseen("session_token (does not show, Enter to leave it out)", "");
    let (screen, code) = terminal.end();
    assert_eq!(code, Some(0), "{screen}");
    assert!(screen.contains("AKIAY34FZKBOKMUTVV7A") && !screen.contains("Zq8Rk2Vn5"), "{screen}");
}

#[test]
fn in_a_terminal_the_file_of_the_clouds_own_tool_is_enough() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    let file = home.path().join("keys.json");
    let created = r#"{"AccessKey": {"UserName": "etl", "AccessKeyId": "AKIAY34FZKBOKMUTVV7A", "Status": "Active",
        "SecretAccessKey": "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", "CreateDate": "2026-01-31T00:00:00Z"}}"#;
    std::fs::write(&file, created).unwrap();
    let mut terminal = Terminal::start(&daemon, &daemon.token, "setup acme aws_keys --no-probe");
    terminal.type_in("or Enter to give its fields:", "/nowhere/keys.json");
    terminal.type_in("cannot open its file", &file.display().to_string());
    let (screen, code) = terminal.end();
    assert_eq!(code, Some(0), "{screen}");
}

#[test]
fn an_outcome_says_what_comes_next() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    let setup = ["setup", "acme", "saas_generic", "--name", "crm"];
    let done = daemon.cli(&daemon.token, &setup, Some(r#"{"password": "hunter2222"}"#));
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(0), "{said}");
    assert!(said.contains("; version 1 stays pending, and nothing is served"), "{said}");
    let next = said.split("hint: `strongroom ").nth(1).unwrap().split('`').next().unwrap();
    assert_eq!(next, "activate acme saas_generic 1 --name crm");
    run(&daemon, &daemon.token, next, 0);
    let (_, said) = run(&daemon, &daemon.token, "validate acme saas_generic --name crm", 0);
    assert!(said.contains("version 1 is served") && !said.contains("hint"), "{said}");
    let (_, said) = run(&daemon, &daemon.token, "validate acme saas_generic --name crm --metadata {}", 2);
    assert!(said.contains("a stored credential has its own"), "{said}");
}

/// It learns nothing of the registry, and the server has the last word.
#[test]
fn who_may_not_read_the_registry_is_asked_for_the_whole() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    let pipeline = runtime().block_on(daemon.issue("pipeline", "acme", &["openai"]));
    let mut terminal = Terminal::start(&daemon, &pipeline, "setup acme openai");
    terminal.type_in("this token may not read the registry", "");
    terminal.type_unseen("the key (it does not show)", &openai_key("whole"));
    let (screen, code) = terminal.end();
    assert_eq!(code, Some(5), "{screen}");
    assert!(!screen.contains("T3BlbkFJq"), "{screen}");
}
