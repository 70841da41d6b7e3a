//! From a file's text to a checked configuration, with errors that name the file, the line and the key.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize as _;
use serde::de::IntoDeserializer as _;
use toml::de::{DeTable, DeValue};

use super::rules::{self, Broken};
use super::{Config, Level};

/// What is wrong with the configuration, and where.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}: cannot be read: {cause}", file.display())]
    Unreadable { file: PathBuf, cause: std::io::Error },
    #[error("{place}{}{why}", key.as_ref().map(|key| format!("{key} ")).unwrap_or_default())]
    Invalid { place: Place, key: Option<String>, why: String },
}

/// `strongroom.toml:12: `, or nothing when no file is to blame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub file: Option<PathBuf>,
    pub line: Option<usize>,
}

/// Where every setting stands in the file, for those who find out later that one is wrong.
#[derive(Clone, Debug, Default)]
pub(super) struct Written {
    file: Option<PathBuf>,
    lines: BTreeMap<String, usize>,
}

/// What is configured is the same, wherever it is written.
impl PartialEq for Written {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Written {
    fn read((file, text): (&Path, &str)) -> Self {
        let lines = every_key(text).into_iter().map(|(name, key, _)| (name, line_of(text, key.start)));
        Self { file: Some(file.into()), lines: lines.collect() }
    }

    pub fn wrong(&self, key: &str, why: String) -> Error {
        let place = Place { file: self.file.clone(), line: self.lines.get(key).copied() };
        Error::Invalid { place, key: Some(key.to_owned()), why }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, "{}:{line}: ", file.display()),
            (Some(file), None) => write!(f, "{}: ", file.display()),
            (None, _) => Ok(()),
        }
    }
}

impl Error {
    pub(super) fn from_rule(source: Option<(&Path, &str)>, Broken { key, why }: Broken) -> Self {
        let place = source.map_or_else(Place::default, |(file, text)| Place {
            file: Some(file.into()),
            line: spot(text, key).map(|span| line_of(text, span.start)),
        });
        Self::Invalid { place, key: Some(key.into()), why }
    }

    /// The parser's message only: its `Display` would quote the line, and the line's content stays unsaid.
    fn from_toml(file: &Path, text: &str, error: &toml::de::Error) -> Self {
        let span = error.span();
        let message = error.message().trim_end().replace('\n', "; ");
        let key = span.clone().and_then(|span| key_at(text, span));
        Self::Invalid {
            place: Place { file: Some(file.into()), line: span.map(|span| line_of(text, span.start)) },
            why: if key.is_some() { format!("is refused: {message}") } else { message },
            key,
        }
    }
}

pub(super) fn load(path: Option<&Path>, level: Option<&str>) -> Result<Config, Error> {
    let text = match path {
        Some(file) => std::fs::read_to_string(file).map_err(|cause| Error::Unreadable { file: file.into(), cause })?,
        None => String::new(),
    };
    let source = path.map(|file| (file, text.as_str()));
    let mut config: Config = match source {
        Some((file, text)) => toml::from_str(text).map_err(|error| Error::from_toml(file, text, &error))?,
        None => Config::default(),
    };
    if let Some(level) = level {
        config.log.level = named_level(level)?;
    }
    rules::check(&config).map_err(|broken| Error::from_rule(source, broken))?;
    config.written = source.map(Written::read).unwrap_or_default();
    Ok(config)
}

fn named_level(name: &str) -> Result<Level, Error> {
    Level::deserialize(name.into_deserializer()).map_err(|_: serde::de::value::Error| Error::Invalid {
        place: Place::default(),
        key: Some(super::LEVEL.into()),
        why: "must be error, warn, info, debug or trace".into(),
    })
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// Where a dotted key stands in the text.
fn spot(text: &str, key: &str) -> Option<Range<usize>> {
    every_key(text).into_iter().find(|(name, _, _)| name == key).map(|(_, span, _)| span)
}

/// The innermost key that a span belongs to; the word there when it is none of them, as a key given twice.
fn key_at(text: &str, span: Range<usize>) -> Option<String> {
    let inside = |outer: &Range<usize>| outer.contains(&span.start);
    let found = every_key(text).into_iter().filter(|(_, key, value)| inside(key) || inside(value));
    let innermost = found.max_by_key(|(name, _, _)| name.len()).map(|(name, _, _)| name);
    let word = |text: &&str| !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    innermost.or_else(|| text.get(span.clone()).filter(word).map(str::to_owned))
}

/// Dotted names with the spans of key and value.
type Found = (String, Range<usize>, Range<usize>);

fn every_key(text: &str) -> Vec<Found> {
    fn walk(prefix: &str, table: &DeTable<'_>, found: &mut Vec<Found>) {
        for (key, value) in table {
            let name =
                if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
            if let DeValue::Table(inner) = value.get_ref() {
                walk(&name, inner, found);
            }
            found.push((name, key.span(), value.span()));
        }
    }
    let mut found = Vec::new();
    let (table, _) = DeTable::parse_recoverable(text);
    walk("", table.get_ref(), &mut found);
    found
}

/// A path, or an empty text for none.
pub(super) mod maybe_path {
    use std::path::PathBuf;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
        path.clone().unwrap_or_default().serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
        PathBuf::deserialize(deserializer).map(|path| Some(path).filter(|path| !path.as_os_str().is_empty()))
    }
}

/// None is written as nothing.
pub(super) mod maybe_duration {
    use std::time::Duration;

    use jiff::fmt::friendly::{SpanParser, SpanPrinter};
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        let text = duration.map(|duration| SpanPrinter::new().unsigned_duration_to_string(&duration));
        serializer.serialize_str(&text.unwrap_or_default())
    }

    /// A day is 24 hours here.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(None);
        }
        let hours = text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok()?.checked_mul(24));
        let parsed = match hours {
            Some(hours) => SpanParser::new().parse_unsigned_duration(format!("{hours}h")),
            None => SpanParser::new().parse_unsigned_duration(&text),
        };
        parsed.map(Some).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "some/strongroom.toml";

    fn message(text: &str) -> String {
        let parsed = toml::from_str::<Config>(text).map_err(|error| Error::from_toml(FILE.as_ref(), text, &error));
        let checked = parsed.and_then(|config| {
            rules::check(&config).map_err(|broken| Error::from_rule(Some((FILE.as_ref(), text)), broken))
        });
        checked.expect_err("taken").to_string()
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let message = message("[listen]\ngrpc = \"127.0.0.1:1\"\n\ngprc = \"127.0.0.1:2\"\n");
        assert!(message.starts_with("some/strongroom.toml:4: listen.gprc is refused: unknown field"), "{message}");
    }

    #[test]
    fn an_unknown_section_is_named_with_its_line() {
        let message = message("\n[cash]\nttl = \"1s\"\n");
        assert!(message.starts_with("some/strongroom.toml:2: cash"), "{message}");
    }

    #[test]
    fn a_wrong_value_is_named_with_its_line() {
        for (text, start) in [
            ("[cache]\nttl = 300", "some/strongroom.toml:2: cache.ttl is refused: "),
            ("[cache]\nttl = \"soon\"", "some/strongroom.toml:2: cache.ttl is refused: "),
            ("[cache]\nttl = \"-1s\"", "some/strongroom.toml:2: cache.ttl is refused: "),
            ("[cache]\n\nmax_bytes = \"64MB\"", "some/strongroom.toml:3: cache.max_bytes is refused: expected a size"),
            ("[listen]\ngrpc = \"localhost\"", "some/strongroom.toml:2: listen.grpc is refused: "),
            ("[kms.local]\ncreate = \"yes\"", "some/strongroom.toml:2: kms.local.create is refused: "),
            ("[memory]\nlock = \"maybe\"", "some/strongroom.toml:2: memory.lock is refused: "),
            ("[cache]\nttl = \"1s\"\nttl = \"2s\"", "some/strongroom.toml:3: ttl is refused: duplicate key"),
        ] {
            let message = message(text);
            assert!(message.starts_with(start), "{text:?} gives {message}");
        }
    }

    #[test]
    fn a_broken_rule_is_named_with_its_line() {
        let message = message("[log]\nlevel = \"warn\"\n[cache]\n\nttl = \"301s\"");
        assert!(message.starts_with("some/strongroom.toml:5: cache.ttl is longer than 300s"), "{message}");
    }

    #[test]
    fn what_is_found_wrong_later_is_named_with_its_line() {
        let written = Written::read((FILE.as_ref(), "[kms]\n\nothers = [\n]\n[kms.orgs]\n\"a/b\" = \"local://x\"\n"));
        for (key, message) in [
            ("kms.others", "some/strongroom.toml:3: kms.others is no good"),
            ("kms.orgs.a/b", "some/strongroom.toml:6: kms.orgs.a/b is no good"),
            ("kms.default", "some/strongroom.toml: kms.default is no good"),
        ] {
            assert_eq!(written.wrong(key, "is no good".into()).to_string(), message);
        }
        assert_eq!(Written::default().wrong("kms.default", "is it".into()).to_string(), "kms.default is it");
    }

    #[test]
    fn text_that_is_no_toml_is_named_with_its_line() {
        let message = message("[log]\nlevel = \"warn\n");
        assert!(message.starts_with("some/strongroom.toml:2: "), "{message}");
    }

    #[test]
    fn messages_are_one_line() {
        for text in ["[cache]\nttl = [\n1,\n2]", "[log]\nlevel = \"loud\"", "= 1"] {
            assert_eq!(message(text).lines().count(), 1, "{}", message(text));
        }
    }

    #[test]
    fn the_level_from_outside_stands_above_the_files() {
        assert_eq!(load(None, Some("trace")).expect("loads").log.level, Level::Trace);
        assert_eq!(load(None, None).expect("loads").log.level, Level::Info);
        let error = load(None, Some("h2=trace")).expect_err("a filter is no level");
        assert_eq!(error.to_string(), "STRONGROOM_LOG must be error, warn, info, debug or trace");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = load(Some("/nowhere/strongroom.toml".as_ref()), None).expect_err("not there");
        assert!(error.to_string().starts_with("/nowhere/strongroom.toml: cannot be read: "), "{error}");
    }
}
