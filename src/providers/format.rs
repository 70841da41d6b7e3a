//! One value of an upload: what pasting broke is put right, then the field's rules are applied.

use regex::RegexSet;
use zeroize::Zeroizing;

use super::pattern::Pattern;

/// How a value may be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// Printable ASCII without spaces.
    #[default]
    Token,
    /// Anything readable, on one line or several.
    Text,
    /// A PEM block.
    Pem,
}

/// The rules for one value. Reasons never contain a part of it.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    pub shape: Shape,
    pub max_bytes: usize,
    /// Completes the sentence "must be …".
    pub must_be: Option<String>,
    pub patterns: Vec<Pattern>,
    pub refuse: Vec<Remark>,
    /// What is taken all the same, with a sentence to keep.
    pub warn: Vec<Remark>,
}

/// What people send, and the sentence that is said about it.
#[derive(Clone, Debug)]
pub struct Remark {
    pub pattern: Pattern,
    pub why: String,
}

/// What is known about values in general.
#[derive(Clone, Debug, Default)]
pub struct Lore {
    pub placeholders: RegexSet,
    pub known_keys: Vec<KnownKey>,
    pub known_files: Vec<KnownFile>,
}

/// What keys of one kind look like.
#[derive(Clone, Debug)]
pub struct KnownKey {
    pub what: String,
    pub provider: Option<String>,
    /// Who takes it beside that provider.
    pub also: Vec<String>,
    /// Whether the registry has that provider, so that it can be recommended.
    pub registered: bool,
    pub public: bool,
    pub pattern: Pattern,
}

/// A file that people send by mistake.
#[derive(Clone, Debug)]
pub struct KnownFile {
    pub remark: Remark,
    /// The providers that say it better.
    pub except: Vec<String>,
}

impl Shape {
    /// As the registry writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Text => "text",
            Self::Pem => "pem",
        }
    }
}

impl Rules {
    /// The value as it is stored, or why it cannot be.
    pub fn apply(&self, raw: &str, provider: &str, lore: &Lore) -> Result<Zeroizing<String>, String> {
        let value = self.shape.clean(raw);
        if value.is_empty() {
            return Err("is empty".into());
        }
        if value.len() > self.max_bytes {
            return Err(format!("is longer than {} bytes", self.max_bytes));
        }
        if lore.placeholders.is_match(&value) {
            return Err("is a placeholder, not a value".into());
        }
        self.not_refused(&value)?;
        // A field that takes anything takes the keys of other providers too, and PEM does not say whose it is.
        if !self.patterns.is_empty() && self.shape != Shape::Pem {
            lore.not_of_another(&value, provider)?;
        }
        self.fits(&value)?;
        Ok(value)
    }

    /// What the owner of an accepted value should know.
    pub fn warnings(&self, value: &str) -> impl Iterator<Item = &str> {
        self.warn.iter().filter(|warning| warning.pattern.is_match(value)).map(|warning| warning.why.as_str())
    }

    /// What the registry's own examples must pass.
    pub fn accept_example(&self, example: &str) -> Result<(), String> {
        let value = self.shape.clean(example);
        self.not_refused(&value)?;
        self.fits(&value)
    }

    fn not_refused(&self, value: &str) -> Result<(), String> {
        match self.refuse.iter().find(|refusal| refusal.pattern.is_match(value)) {
            Some(refusal) => Err(refusal.why.clone()),
            None => Ok(()),
        }
    }

    fn fits(&self, value: &str) -> Result<(), String> {
        if let Some(flaw) = self.shape.flaw(value) {
            return Err(flaw.into());
        }
        if self.patterns.is_empty() || self.patterns.iter().any(|pattern| pattern.is_match(value)) {
            return Ok(());
        }
        Err(format!("must be {}", self.must_be.as_deref().unwrap_or("in the provider's format")))
    }
}

impl Lore {
    /// Refuses what is recognisably a key of another provider than this.
    pub fn not_of_another(&self, value: &str, provider: &str) -> Result<(), String> {
        let known = self.known_keys.iter().find(|known| known.pattern.is_match(value));
        match known {
            Some(known) if !known.is_of(provider) => Err(known.advice()),
            _ => Ok(()),
        }
    }

    /// Refuses what is recognisably no credential at all.
    pub fn not_a_mistake(&self, file: &str, provider: &str) -> Result<(), String> {
        let mistaken = |known: &&KnownFile| known.remark.pattern.is_match(file);
        match self.known_files.iter().find(mistaken) {
            Some(known) if known.except.iter().all(|except| except != provider) => Err(known.remark.why.clone()),
            _ => Ok(()),
        }
    }

    /// What kind of secret this is, where that can be seen.
    pub fn secret_kind(&self, value: &str) -> Option<&str> {
        let known = self.known_keys.iter().find(|known| !known.public && known.pattern.is_match(value))?;
        Some(&known.what)
    }
}

impl KnownKey {
    fn is_of(&self, provider: &str) -> bool {
        self.provider.iter().chain(&self.also).any(|owner| owner == provider)
    }

    fn advice(&self) -> String {
        match &self.provider {
            Some(provider) if self.registered => format!("this looks like {}; set it up as {provider}", self.what),
            _ => format!("this looks like {}", self.what),
        }
    }
}

impl Shape {
    /// Puts right what pasting breaks. Cleaning twice changes nothing more.
    pub fn clean(self, raw: &str) -> Zeroizing<String> {
        match self {
            Self::Token => Zeroizing::new(bare(raw).to_owned()),
            Self::Text => Zeroizing::new(text(raw).to_owned()),
            Self::Pem => pem(raw),
        }
    }

    fn flaw(self, value: &str) -> Option<&'static str> {
        match self {
            Self::Token if value.contains(['\n', '\r']) => Some("has a line break inside"),
            Self::Token if value.contains(char::is_whitespace) => Some("has a space inside"),
            Self::Token if !value.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Some("has a character that is not printable ASCII")
            }
            Self::Text | Self::Pem if value.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) => {
                Some("has a control character inside")
            }
            _ => None,
        }
    }
}

/// Without a byte order mark, and without the space and quotes around it.
fn bare(raw: &str) -> &str {
    let mut value = raw;
    loop {
        let trimmed = value.trim_matches(|c: char| c == BOM || c.is_whitespace());
        let unquoted = unquote(trimmed).unwrap_or(trimmed);
        if unquoted.len() == value.len() {
            return value;
        }
        value = unquoted;
    }
}

fn unquote(value: &str) -> Option<&str> {
    QUOTES.iter().find_map(|(open, close)| value.strip_prefix(*open)?.strip_suffix(*close))
}

/// A single line loses the space around it; several lines are a file and stay as they are.
fn text(raw: &str) -> &str {
    let trimmed = raw.trim_matches(|c: char| c == BOM || c.is_whitespace());
    if trimmed.contains('\n') { raw.trim_start_matches(BOM) } else { trimmed }
}

/// With `\n` for every line end and one at the end. Where a tool has escaped the line ends, they are un-escaped once.
fn pem(raw: &str) -> Zeroizing<String> {
    let mut lines = Zeroizing::new(raw.replace('\r', ""));
    *lines = bare(&lines).to_owned();
    if !lines.contains('\n') {
        *lines = lines.replace("\\r\\n", "\n");
        *lines = lines.replace("\\n", "\n");
    }
    *lines = bare(&lines).to_owned();
    if !lines.is_empty() {
        lines.push('\n');
    }
    lines
}

const BOM: char = '\u{feff}';
const QUOTES: [(char, char); 4] = [('"', '"'), ('\'', '\''), ('`', '`'), ('\u{201c}', '\u{201d}')];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pasted_decoration_goes() {
        for raw in
            ["key", " key\r\n", "\u{feff}key", "\"key\"", "'key'\n", "\u{feff} \" key \" ", "\u{201c}key\u{201d}"]
        {
            assert_eq!(*Shape::Token.clean(raw), "key", "{raw:?}");
        }
        assert_eq!(*Shape::Token.clean("\"key"), "\"key", "a lone quote is not decoration");
    }

    #[test]
    fn text_keeps_its_quotes_and_its_lines() {
        assert_eq!(*Shape::Text.clean(" \"pass word\"\n"), "\"pass word\"");
        assert_eq!(*Shape::Text.clean("\u{feff}a\nb\n"), "a\nb\n");
    }

    #[test]
    fn pem_gets_its_line_ends_back() {
        for raw in ["-B-\nAA\n-E-\n", "-B-\r\nAA\r\n-E-\r\n", "\"-B-\\nAA\\n-E-\\n\"", "-B-\\r\\nAA\\r\\n-E-"] {
            assert_eq!(*Shape::Pem.clean(raw), "-B-\nAA\n-E-\n", "{raw:?}");
        }
    }

    #[test]
    fn what_cannot_be_pasted_decoration_is_refused() {
        let flaw = |shape: Shape, value| shape.flaw(value);
        assert_eq!(flaw(Shape::Token, "a b"), Some("has a space inside"));
        assert_eq!(flaw(Shape::Token, "a\nb"), Some("has a line break inside"));
        assert_eq!(flaw(Shape::Token, "a\u{200b}b"), Some("has a character that is not printable ASCII"));
        assert_eq!(flaw(Shape::Token, "a\0b"), Some("has a character that is not printable ASCII"));
        assert_eq!(flaw(Shape::Text, "a\0b"), Some("has a control character inside"));
        assert_eq!(flaw(Shape::Text, "pass wörd\nline"), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

        #[test]
        fn cleaning_twice_changes_nothing_more(raw in "[ab \"'`\n\r\t\\\\n\u{feff}\u{201c}\u{201d}-]{0,24}") {
            for shape in [Shape::Token, Shape::Text, Shape::Pem] {
                let once = shape.clean(&raw);
                prop_assert_eq!(&*shape.clean(&once), &*once);
            }
        }
    }
}
