//! The words of every command's help, kept as files: a change of words is a change that somebody reads.
//! `BLESS=1 cargo test --test it cli_help` writes them anew.

use std::path::Path;

/// The help of the program and of every command below it is what `snapshots/` holds, and nothing else is there.
#[test]
fn every_help_text_is_the_one_on_file() {
    let mut helps = Vec::new();
    collect(strongroom::cli::command(), "help", &mut helps);
    for (name, text) in &helps {
        assert_snapshot(name, text);
    }

    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/snapshots");
    for entry in std::fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let known = helps.iter().any(|(name, _)| format!("{name}.txt") == file);
        assert!(known || !file.starts_with("help"), "{file} is of no command");
    }
}

/// A reader learns most from an example, so each command has one, and it is a command that parses.
#[test]
fn every_example_is_a_command_that_parses() {
    let mut helps = Vec::new();
    collect(strongroom::cli::command(), "help", &mut helps);
    for (name, text) in helps.iter().filter(|(name, _)| name != "help") {
        let examples = text.rsplit_once("Example").unwrap_or_else(|| panic!("{name} shows no example")).1;
        let lines: Vec<_> = examples.lines().filter(|line| line.contains("strongroom ")).collect();
        assert!(!lines.is_empty(), "{name} shows no example");
        for line in lines {
            let words = &line[line.rfind("strongroom ").unwrap()..];
            let words = words.split([')', '>']).next().unwrap_or_default().split_whitespace();
            strongroom::cli::command().try_get_matches_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }
}

fn collect(command: clap::Command, name: &str, into: &mut Vec<(String, String)>) {
    let mut command = command.term_width(100);
    command.build();
    into.push((name.to_owned(), command.render_long_help().to_string()));
    let inner: Vec<_> = command.get_subcommands().cloned().collect();
    for inner in inner {
        let name = format!("{name}-{}", inner.get_name());
        collect(inner, &name, into);
    }
}

#[allow(clippy::disallowed_methods, reason = "a developer's switch, not the daemon's configuration")]
fn assert_snapshot(name: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/it/snapshots/{name}.txt"));
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&file, text).unwrap();
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(kept == text, "{name}.txt is out of date (BLESS=1 writes it anew); the help is now:\n{text}");
}
