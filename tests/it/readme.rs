//! The README is true: its commands are typed into a shell and answer what it shows, its configuration starts a daemon,
//! its tables are what the sources say, and whatever it names is there.

mod session;

use std::path::Path;
use std::process::Command;

use regex::Regex;
use strongroom::config::Config;
use strongroom::providers::probe::Metadata;
use strongroom::providers::{FingerprintMode, Provider, Registry};

use self::session::Session;
use crate::daemon::program;

/// Without the rows of tables: a provider is a row, and whoever adds one must not shorten the rest.
const LONGEST: usize = 150;
const WIDEST: usize = 120;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).unwrap()
}

/// What stands between fences, with the word after the opening one.
struct Block {
    line: usize,
    kind: String,
    text: String,
}

fn blocks() -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (number, line) in readme().lines().enumerate() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(kind), None) => open = Some(Block { line: number + 1, kind: kind.to_owned(), text: String::new() }),
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => block.text += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}

/// In their order, in one directory and one shell, as a reader would.
#[test]
fn every_block_does_what_it_says() {
    let mut session = Session::new();
    let mut typed = 0;
    for Block { line, kind, text } in blocks() {
        match kind.as_str() {
            "sh" => text.lines().for_each(|command| {
                let (_, status) = session.type_in(command);
                assert_eq!(status, 0, "README.md:{line}: {command}");
                typed += 1;
            }),
            "console" => typed += session.replay(line, &text),
            "toml" => session.configure(&text),
            // The picture: nothing runs it.
            "text" => {}
            other => panic!("README.md:{line}: nothing checks a block of kind {other:?}"),
        }
    }
    assert!(typed > 12, "{typed} commands");
}

/// The first command of all works for whoever has another vault already.
#[test]
fn the_demo_minds_nobody_elses_settings() {
    let elsewhere = [
        "STRONGROOM_LOG",
        "STRONGROOM_CA",
        "STRONGROOM_TOKEN_FILE",
        "STRONGROOM_ADDR",
        "STRONGROOM_TOKEN",
        "STRONGROOM_CLIENT_CERT",
        "STRONGROOM_CLIENT_KEY",
    ];
    let mut demo = Command::new(program());
    elsewhere.iter().zip(["error", "ca.pem", "token", "https://[::1]:1", "srt_x", "a.pem", "a.key"]).for_each(
        |(name, value)| {
            demo.env(name, value);
        },
    );
    let done = demo.arg("demo").output().unwrap();
    assert!(
        done.status.success(),
        "{}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
}

#[test]
fn it_is_short() {
    let text = readme();
    let lines = text.lines().filter(|line| !line.starts_with('|')).count();
    assert!(lines <= LONGEST, "{lines} lines");
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with('|')) {
        assert!(line.chars().count() <= WIDEST, "README.md:{}: {} wide", number + 1, line.chars().count());
    }
}

#[test]
fn the_table_of_providers_is_the_registry() {
    let mut table = String::from(
        "| provider | what it is | upload ([optional]) | connection test | fingerprint | seal | replace after |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for provider in Registry::embedded().unwrap().all() {
        let fingerprint = match provider.fingerprint {
            FingerprintMode::Plain => "plain",
            FingerprintMode::Keyed => "keyed",
        };
        let seal = strongroom::vault::Word::word(provider.seal);
        let days = provider.rotation_days.map_or_else(String::new, |days| format!("{days} days"));
        table += &format!(
            "| `{}` | {} | {} | {} | {fingerprint} | {seal} | {days} |\n",
            provider.id,
            provider.title,
            upload(provider),
            test(provider)
        );
    }
    holds(&table);
}

fn test(provider: &Provider) -> &'static str {
    match (provider.test_summary().is_empty(), provider.is_tested(&Metadata::new())) {
        (true, _) => "no",
        (false, true) => "yes",
        (false, false) => "its owner's own",
    }
}

fn upload(provider: &Provider) -> String {
    let chosen = |name: &String| provider.either.iter().flatten().any(|other| other == name);
    let needed: Vec<&str> =
        provider.fields.iter().filter(|field| field.required).map(|field| field.name.as_str()).collect();
    if needed.len() > 5 {
        return "the file that the provider hands out".into();
    }
    let either: Vec<String> = provider.either.iter().map(|list| list.join(" + ")).collect();
    let more = provider.fields.iter().filter(|field| field.secret && !field.required && !chosen(&field.name));
    let parts = needed.iter().map(|name| (*name).to_owned()).chain((!either.is_empty()).then(|| either.join(" or ")));
    let parts: Vec<String> = parts.chain(more.map(|field| format!("[{}]", field.name))).collect();
    if parts.is_empty() { "any fields".into() } else { parts.join(", ") }
}

#[test]
fn the_table_of_roles_is_the_policy() {
    let policy = std::fs::read_to_string(root().join("config/policy/default.cedar")).unwrap();
    let action = Regex::new(r#"Action::"(\w+)""#).unwrap();
    let role = Regex::new(r#"Role::"(\w+)""#).unwrap();
    let mut table = String::from("| role | may |\n|---|---|\n");
    for permit in policy.split("@id(").filter(|part| part.contains("\npermit")) {
        let names: Vec<_> = action.captures_iter(permit).map(|found| found[1].to_owned()).collect();
        let may = if names.is_empty() { "everything".to_owned() } else { names.join(", ") };
        let who = role.captures(permit).map_or_else(|| "every role".to_owned(), |found| format!("`{}`", &found[1]));
        table += &format!("| {who} | {may} |\n");
    }
    assert_eq!(table.lines().count(), 8, "five roles, and what all may: {table}");
    holds(&table);
}

#[test]
fn the_exit_codes_are_those_of_the_help() {
    let help = strongroom::cli::command().render_long_help().to_string();
    let codes = help.rsplit_once("Exit codes:\n").unwrap().1;
    let codes = codes.lines().map(|line| line.trim().split_once("  ").unwrap());
    let list: Vec<_> = codes.map(|(code, meaning)| format!("**{code}** {meaning}")).collect();
    let list = format!("{}.", list.join(" · "));
    assert!(list.len() > 500);
    let text = readme().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains(&list), "README.md should say:\n{list}");
}

/// Files, commands and keys of the configuration that the text names between backticks.
#[test]
fn whatever_it_names_is_there() {
    let text = readme();
    let prose: Vec<&str> = text.split("\n```").step_by(2).collect();
    let named = Regex::new("`([^`]+)`").unwrap();
    let (file, key) = (Regex::new(r"^[\w.-]*[/.][\w./-]*$").unwrap(), Regex::new(r"^[a-z]+(\.[a-z_]+)+$").unwrap());
    let config = toml::Table::try_from(Config::default()).unwrap();
    let mut seen = [0; 3];
    for name in prose.iter().flat_map(|prose| named.captures_iter(prose)).map(|found| found[1].to_owned()) {
        if name.starts_with("strongroom ") {
            strongroom::cli::command().try_get_matches_from(name.split(' ')).unwrap_or_else(|error| panic!("{error}"));
            seen[0] += 1;
        } else if key.is_match(&name) && !name.ends_with(".v1") {
            let section = |table: &toml::Table, part: &str| table.get(part).cloned();
            let mut at = Some(toml::Value::Table(config.clone()));
            for part in name.split('.') {
                at = at.and_then(|value| value.as_table().and_then(|table| section(table, part)));
            }
            // An empty path is not serialised; the reference file has every key.
            assert!(at.is_some() || in_reference(&name) || root().join(&name).exists(), "{name}");
            seen[1] += 1;
        } else if file.is_match(&name) && name.contains('/') {
            assert!(root().join(&name).exists(), "{name}");
            seen[2] += 1;
        }
    }
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
}

fn in_reference(key: &str) -> bool {
    let file = std::fs::read_to_string(root().join("config/strongroom.toml")).unwrap();
    let table: toml::Table = file.parse().unwrap();
    let (section, name) = key.rsplit_once('.').unwrap();
    table.get(section).and_then(toml::Value::as_table).is_some_and(|section| section.contains_key(name))
}

fn holds(table: &str) {
    assert!(readme().contains(table), "README.md should hold:\n{table}");
}
