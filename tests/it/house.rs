//! The house's rules, read from the sources. Each rule is first shown to fail on a bad sample.

mod rust;

use std::path::{Path, PathBuf};

use rust::{Source, imports, without_tests};

/// What may import what. The longest matching prefix of a file's path decides; a module may always import itself.
const ARROWS: &[(&str, &[&str])] = &[
    ("config", &[]),
    ("crypto", &[]),
    ("memory", &["config"]),
    ("telemetry", &["config"]),
    ("pb", &["crypto"]),
    ("http", &["crypto"]),
    ("store", &["crypto"]),
    ("cloud", &["http", "crypto"]),
    ("kms", &["cloud", "http", "crypto"]),
    ("providers", &["cloud", "http", "crypto"]),
    ("vault", &["providers", "kms", "store", "crypto"]),
    // Copies of the audit log leave through sockets and files, which neither the store nor the vault knows.
    ("sinks", &["store", "http", "crypto"]),
    ("federation", &["vault", "kms", "cloud", "store", "crypto"]),
    ("authn", &["vault", "store", "http", "crypto"]),
    ("api", &["federation", "vault", "authn", "pb", "crypto"]),
    ("cli", &["pb", "crypto"]),
    ("cli/serve", &["app", "config", "pb", "crypto"]),
    ("cli/demo", &["app", "config", "pb", "crypto"]),
    ("cli/import", &["app", "config", "pb", "crypto"]),
    ("cli/migrate", &["app", "config", "pb", "crypto"]),
    ("cli/recover", &["app", "config", "pb", "crypto"]),
    ("cli/local_key", &["app", "config", "pb", "crypto"]),
    // Works on files of policies without a server.
    ("cli/policy", &["app", "pb", "crypto"]),
    ("app", EVERYTHING),
    ("main", EVERYTHING),
    ("lib", EVERYTHING),
];
const EVERYTHING: &[&str] = &["*"];
const LONGEST_FILE: usize = 500;

#[test]
fn the_arrows_hold() {
    let samples = [
        ("crypto/aead.rs", "fn f() {}\nuse crate::store::Row;", "src/crypto/aead.rs:2: crypto may not import store"),
        ("store/sqlite.rs", "use crate::{crypto, vault::Error};", "src/store/sqlite.rs:1: store may not import vault"),
        ("kms/mod.rs", "use super::providers::Probe;", "src/kms/mod.rs:1: kms may not import providers"),
        ("cli/show.rs", "let x = crate::app::run();", "src/cli/show.rs:1: cli may not import app"),
        ("api/rest.rs", "use crate::{\n authn,\n store\n};", "src/api/rest.rs:3: api may not import store"),
        ("attic.rs", "", "src/attic.rs: has no place in the arrow table"),
    ];
    for (file, text, broken) in samples {
        assert_eq!(broken_arrows(&Source::new(file, text)), [broken]);
    }
    let kept = [
        ("crypto/aead.rs", "// use crate::store;\n/* crate::vault */ let s = \"crate::kms\"; use crate::crypto::Dek;"),
        ("cli/serve.rs", "use crate::app::App;"),
        ("cli/serve/check.rs", "use crate::{app, config};"),
        ("kms/local.rs", "use super::{Error, Kms};\nmod tests { use super::super::Context; }"),
        ("main.rs", "use strongroom::app;"),
        ("store/row.rs", "pub(crate) struct X; pub(in crate::store) struct Y;"),
    ];
    for (file, text) in kept {
        assert_eq!(broken_arrows(&Source::new(file, text)), [""; 0]);
    }
    assert_none(sources().iter().flat_map(broken_arrows));
}

fn broken_arrows(source: &Source) -> Vec<String> {
    let path = source.path.trim_end_matches(".rs");
    let own = path.split('/').next().unwrap_or(path);
    let matches = |prefix: &str| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let Some((_, allowed)) = ARROWS.iter().filter(|(prefix, _)| matches(prefix)).max_by_key(|(prefix, _)| prefix.len())
    else {
        return vec![format!("src/{}: has no place in the arrow table", source.path)];
    };
    let fine = |module: &str| module == own || allowed.contains(&module) || allowed == &EVERYTHING;
    let wrong = imports(source).into_iter().filter(|(_, module)| !fine(module));
    wrong.map(|(line, module)| format!("src/{}:{line}: {own} may not import {module}", source.path)).collect()
}

#[test]
fn every_module_of_the_table_that_exists_is_in_the_library() {
    let lib = std::fs::read_to_string(root().join("src/lib.rs")).expect("readable");
    for source in sources() {
        let top = source.path.trim_end_matches(".rs").split('/').next().unwrap_or_default().to_owned();
        assert!(
            ["main", "lib"].contains(&top.as_str()) || lib.contains(&format!("mod {top};")),
            "src/{top} is not in lib.rs"
        );
    }
}

#[test]
fn no_file_is_longer_than_a_person_can_hold() {
    assert_eq!(too_long("x.rs", &"\n".repeat(501)), Some("x.rs: 501 lines, 500 allowed".into()));
    assert_eq!(too_long("x.rs", &"\n".repeat(500)), None);

    let all = ["src", "tests", "benches"].iter().flat_map(|folder| files(&root().join(folder), "rs"));
    let all = all.chain([root().join("build.rs")]);
    assert_none(all.filter_map(|path| too_long(&relative(&path), &read(&path))));
}

fn too_long(file: &str, text: &str) -> Option<String> {
    let lines = text.lines().count();
    (lines > LONGEST_FILE).then(|| format!("{file}: {lines} lines, {LONGEST_FILE} allowed"))
}

#[test]
fn the_environment_is_read_in_config_alone() {
    let reads = |file, text| words(&Source::new(file, text), "config.rs", ENVIRONMENT);
    assert_eq!(reads("a.rs", "\nlet x = std::env::var(\"X\");"), ["src/a.rs:2: env::var"]);
    assert_eq!(reads("a.rs", "use std::env; env::var_os(\"X\");"), ["src/a.rs:1: env::var"]);
    assert_eq!(reads("a.rs", "use std::env::{self, vars};"), ["src/a.rs:1: env::{"]);
    assert_eq!(reads("config.rs", "std::env::var(\"X\");"), [""; 0]);
    assert_eq!(reads("a.rs", "#[arg(env = \"STRONGROOM_ADDR\")] let v = env!(\"CARGO_PKG_VERSION\");"), [""; 0]);
    assert_none(sources().iter().flat_map(|source| words(source, "config.rs", ENVIRONMENT)));
}

/// `env!` is read when compiling, and clap's `env =` is declared with its argument: both may be anywhere.
const ENVIRONMENT: &[&str] = &["env::var", "env::{", "env::*", "env::remove_var", "env::set_var", "dotenv"];

#[test]
fn unsafe_is_in_memory_alone() {
    let found = |file, text| words(&Source::new(file, text), "memory.rs", &["unsafe"]);
    assert_eq!(found("a.rs", "unsafe { x() }"), ["src/a.rs:1: unsafe"]);
    assert_eq!(found("memory.rs", "unsafe { x() }"), [""; 0]);
    assert_eq!(found("a.rs", "// unsafe\nlet unsafe_code = 1;"), [""; 0]);
    assert_none(sources().iter().flat_map(|source| words(source, "memory.rs", &["unsafe"])));
}

/// What is asked there is asked for credentials of the daemon's own, and for nothing that anybody uploaded.
#[test]
fn the_addresses_of_metadata_are_called_for_credentials_alone() {
    let found = |file, text| words(&Source::new(file, text), "app/services.rs", &["http::platform"]);
    assert_eq!(found("kms/aws.rs", "use crate::http::platform::Platform;"), ["src/kms/aws.rs:1: http::platform"]);
    assert_eq!(found("app/services.rs", "use crate::http::platform::Platform;"), [""; 0]);
    let others = sources().into_iter().filter(|source| !source.path.starts_with("cloud/platform/"));
    assert_none(others.flat_map(|source| words(&source, "app/services.rs", &["http::platform"])));
}

#[test]
fn nothing_unwraps_in_production() {
    const HOPES: &[&str] = &[".unwrap()", ".expect(", ".unwrap_err()", ".expect_err("];
    let found = |text| words(&without_tests(Source::new("a.rs", text)), "", HOPES);
    assert_eq!(found("fn f() {\n x.unwrap();\n}"), ["src/a.rs:2: .unwrap()"]);
    assert_eq!(
        found("#[cfg(test)]\nmod tests { fn f() { x.unwrap() } }\nfn g() { y.expect(\"\") }"),
        ["src/a.rs:3: .expect("]
    );
    assert_eq!(found("#[cfg(test)] fn f() { x.unwrap() }\n// .unwrap()\nlet y = x.unwrap_or(1);"), [""; 0]);

    let all = sources();
    let only_tests: Vec<String> = all.iter().flat_map(rust::test_files).collect();
    let production = all.into_iter().filter(|source| !only_tests.contains(&source.path)).map(without_tests);
    assert_none(production.flat_map(|source| words(&source, "", HOPES)));
}

/// Where one of the words stands as code, outside the one file that may use it.
fn words(source: &Source, except: &str, words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in source.code.lines().enumerate() {
        for word in words.iter().filter(|_| source.path != except) {
            if line.match_indices(word).any(|(at, _)| stands_alone(line, at, word)) {
                found.push(format!("src/{}:{}: {word}", source.path, number + 1));
            }
        }
    }
    found
}

/// Not a part of a longer word: matters only where the searched one begins or ends with a letter.
fn stands_alone(line: &str, at: usize, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let before = word.starts_with(part) && line[..at].ends_with(part);
    let after = word == "unsafe" && line[at + word.len()..].starts_with(part);
    !before && !after
}

#[test]
fn every_rpc_and_field_is_documented() {
    let sample = "service S {\n  // Said.\n  rpc A(B) returns (C);\n  rpc D(E) returns (F) {\n  }\n}\n\
                  message M {\n  string a = 1; // Said.\n  repeated string b = 2;\n  map<string, Secret> c = 3 [x = 1];\n\
                  // Said,\n  // at length.\n  optional int32 d = 4;\n}\nenum E {\n  E_NONE = 0;\n}\n";
    assert_eq!(
        undocumented("m.proto", sample),
        [
            "m.proto:4: rpc D(E) returns (F) {",
            "m.proto:9: repeated string b = 2;",
            "m.proto:10: map<string, Secret> c = 3 [x = 1];",
            "m.proto:16: E_NONE = 0;"
        ]
    );
    let protos = files(&root().join("proto/strongroom"), "proto");
    assert!(!protos.is_empty());
    assert_none(protos.iter().flat_map(|path| undocumented(&relative(path), &read(path))));
}

/// An rpc, a field or an enum's value without a comment above it or behind it.
fn undocumented(file: &str, text: &str) -> Vec<String> {
    let rule =
        regex::Regex::new(r"^(rpc \w|((repeated |optional )?[\w.]+ |map<[^>]+> )?\w+ = \d+\s*[;\[])").expect("valid");
    let mut found = Vec::new();
    let mut above = "";
    for (number, line) in text.lines().map(str::trim).enumerate() {
        if rule.is_match(line) && !line.starts_with("option ") && !above.starts_with("//") && !line.contains("; //") {
            found.push(format!("{file}:{}: {line}", number + 1));
        }
        above = line;
    }
    found
}

fn assert_none(broken: impl Iterator<Item = String>) {
    let broken: Vec<_> = broken.collect();
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

fn sources() -> Vec<Source> {
    let src = root().join("src");
    let all: Vec<_> = files(&src, "rs")
        .iter()
        .map(|path| Source::new(&path.strip_prefix(&src).expect("inside").to_string_lossy(), &read(path)))
        .collect();
    assert!(all.len() > 10, "the sources are found");
    all
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return found };
    for path in entries.map(|entry| entry.expect("readable").path()) {
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).expect("inside").to_string_lossy().into_owned()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("readable")
}
