//! A pattern of a connection test. Like a field's, it is compiled when it is read, to find what is wrong with it, and again
//! when it is first needed: a compiled one takes a hundred times its text, and most tests are never made.

use std::sync::OnceLock;

use regex::{Regex, RegexBuilder};

use crate::providers::pattern::bad_pattern;

#[derive(Debug)]
pub struct Pattern {
    text: String,
    /// What it may need, compiled.
    bytes: usize,
    pub has_group: bool,
    compiled: OnceLock<Option<Regex>>,
}

impl Pattern {
    pub fn new(text: &str, bytes: usize) -> Result<Self, String> {
        let compiled = compile(text, bytes).map_err(|error| bad_pattern(&error))?;
        let has_group = compiled.captures_len() > 1;
        Ok(Self { text: text.to_owned(), bytes, has_group, compiled: OnceLock::new() })
    }

    pub fn is_match(&self, text: &str) -> bool {
        self.compiled().is_some_and(|regex| regex.is_match(text))
    }

    /// What the first group holds.
    pub fn take<'t>(&self, text: &'t str) -> Option<&'t str> {
        Some(self.compiled()?.captures(text)?.get(1)?.as_str())
    }

    /// It has been compiled before, so it is there.
    fn compiled(&self) -> Option<&Regex> {
        self.compiled.get_or_init(|| compile(&self.text, self.bytes).ok()).as_ref()
    }
}

fn compile(text: &str, bytes: usize) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text).size_limit(bytes).dfa_size_limit(bytes).build()
}
