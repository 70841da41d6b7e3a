//! A pattern of the registry. It is compiled when the registry is read, to find what is wrong with it, and again when it
//! is first needed: a compiled one takes a hundred times its text, and most providers are not used most of the time.

use std::sync::OnceLock;

use regex::bytes::{Regex, RegexBuilder};
use serde_saphyr::Spanned;

use super::entry::{Flaw, at};

#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    compiled: OnceLock<Option<Regex>>,
}

impl Pattern {
    /// One that may stand anywhere in a value.
    pub fn new(text: &Spanned<String>) -> Result<Self, Flaw> {
        Self::checked(text, text.value.clone())
    }

    /// One for a whole value. An alternative without its own anchors must not let half a value through.
    pub fn whole(text: &Spanned<String>) -> Result<Self, Flaw> {
        if !text.value.starts_with('^') || !text.value.ends_with('$') {
            return Err(at(text, "a pattern of a field must begin with ^ and end with $"));
        }
        Self::new(text)?;
        Self::checked(text, format!(r"\A(?:{})\z", text.value))
    }

    pub fn is_match(&self, value: &str) -> bool {
        // It has been compiled before, so it is there.
        self.compiled
            .get_or_init(|| compile(&self.text).ok())
            .as_ref()
            .is_some_and(|regex| regex.is_match(value.as_bytes()))
    }

    fn checked(place: &Spanned<String>, text: String) -> Result<Self, Flaw> {
        compile(&text).map_err(|error| at(place, bad_pattern(&error)))?;
        Ok(Self { text, compiled: OnceLock::new() })
    }
}

/// A range such as `{100,4096}` alone would hold a megabyte for as long as the daemon runs. Classes such as `\s` and `(?i)`
/// mean ASCII: with all of Unicode in them they take fifty times as much.
fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern).unicode(false).size_limit(128 * 1024).dfa_size_limit(64 * 1024).build()
}

/// The last line of the library's several says what is wrong; the others draw it.
pub fn bad_pattern(error: &regex::Error) -> String {
    let words = error.to_string();
    format!("bad pattern: {}", words.lines().last().unwrap_or_default().trim_start_matches("error: "))
}
