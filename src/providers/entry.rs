//! The registry file as it is written, and how it becomes providers. What each key means stands at the top of
//! `config/providers.yml`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use regex::{Regex, RegexBuilder, RegexSetBuilder};
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::checks::Check;
use super::format::{KnownKey, Lore, Refusal, Rules, Shape};
use super::probe::{Limits, plan};
use super::schema::{Schema, SchemaMap};
use super::{Category, Class, Field, FingerprintMode, Provider};
use crate::crypto::Seal;

/// What is wrong with the file, and where.
pub struct Flaw {
    pub line: Option<u64>,
    pub rule: String,
}

/// Reads a registry file.
pub fn read(text: &str) -> Result<Vec<Provider>, Flaw> {
    let file: File = serde_saphyr::from_str(text).map_err(|error| unreadable(&error))?;
    let mut ids = BTreeSet::new();
    for entry in &file.providers {
        if !id_shape(&entry.id.value) {
            return Err(at(&entry.id, "an id is 2 to 64 lower-case letters, digits and _, beginning with a letter"));
        }
        if !ids.insert(entry.id.value.as_str()) {
            return Err(at(&entry.id, format!("there are two entries with the id {}", entry.id.value)));
        }
    }
    let lore = Arc::new(lore(&file, &ids)?);
    file.providers.iter().map(|entry| entry.build(&file.common_metadata, &lore)).collect()
}

/// How a file is read beyond the JSON object that holds the fields.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Document {
    pub field: Option<String>,
    pub inside: Vec<String>,
    pub ignore: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    placeholders: Vec<Spanned<String>>,
    known_keys: Vec<KnownKeyEntry>,
    common_metadata: SchemaMap,
    providers: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KnownKeyEntry {
    what: String,
    provider: Option<String>,
    #[serde(default)]
    public: bool,
    pattern: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: Spanned<String>,
    title: String,
    category: Category,
    class: Class,
    docs: Option<Spanned<String>>,
    #[serde(default)]
    fingerprint: FingerprintMode,
    seal: Option<Seal>,
    fields: Vec<FieldEntry>,
    other_fields: Option<OtherFields>,
    #[serde(default)]
    refused_fields: BTreeMap<String, String>,
    #[serde(default)]
    document: Document,
    #[serde(default)]
    public_identity: Vec<Spanned<String>>,
    #[serde(default)]
    checks: Vec<Spanned<Check>>,
    #[serde(default)]
    limits: Limits,
    test: Option<plan::Entry>,
    #[serde(default)]
    owner_test: bool,
    metadata: SchemaMap,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FieldEntry {
    name: Spanned<String>,
    example: Spanned<String>,
    #[serde(default)]
    aliases: Vec<Spanned<String>>,
    #[serde(default = "yes")]
    secret: bool,
    #[serde(default = "yes")]
    required: bool,
    #[serde(default)]
    shape: Shape,
    #[serde(default = "max_bytes")]
    max_bytes: usize,
    must_be: Option<String>,
    #[serde(default)]
    patterns: Vec<Spanned<String>>,
    #[serde(default)]
    refuse: Vec<RefusalEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OtherFields {
    shape: Shape,
    max_bytes: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RefusalEntry {
    pattern: Spanned<String>,
    why: String,
}

const fn yes() -> bool {
    true
}

const fn max_bytes() -> usize {
    4096
}

fn lore(file: &File, ids: &BTreeSet<&str>) -> Result<Lore, Flaw> {
    for placeholder in &file.placeholders {
        pattern(placeholder)?;
    }
    let placeholders = RegexSetBuilder::new(file.placeholders.iter().map(|placeholder| &placeholder.value))
        .case_insensitive(true)
        .build()
        .map_err(|error| Flaw { line: None, rule: format!("placeholders: {error}") })?;
    let known_keys = file.known_keys.iter().map(|known| {
        Ok(KnownKey {
            what: known.what.clone(),
            provider: known.provider.clone(),
            registered: known.provider.as_deref().is_some_and(|provider| ids.contains(provider)),
            public: known.public,
            pattern: pattern(&known.pattern)?,
        })
    });
    Ok(Lore { placeholders, known_keys: known_keys.collect::<Result<_, _>>()? })
}

impl Entry {
    fn build(&self, common: &SchemaMap, lore: &Arc<Lore>) -> Result<Provider, Flaw> {
        if let Some(docs) = &self.docs
            && !docs.value.starts_with("https://")
        {
            return Err(at(docs, "docs must begin with https://"));
        }
        if self.fields.is_empty() && self.other_fields.is_none() {
            return Err(at(&self.id, format!("{} has no fields", self.id.value)));
        }
        self.names_once()?;
        let fields = self.fields.iter().map(FieldEntry::build).collect::<Result<Vec<_>, _>>()?;
        for shown in &self.public_identity {
            if !fields.iter().any(|field| field.name == shown.value && !field.secret) {
                return Err(at(shown, format!("public_identity: {} is not a field with secret: false", shown.value)));
            }
        }
        for check in &self.checks {
            let lacks = |read: &&&str| !fields.iter().any(|field| field.name == **read);
            if let Some(lacking) = check.value.reads().iter().find(lacks) {
                return Err(at(check, format!("checks: this check reads the field {lacking}, which is not there")));
            }
        }
        let metadata = Schema::compile(common, &self.metadata)?;
        let test = self.test.as_ref();
        let test = test.map(|test| plan::compile(test, &fields, self.other_fields.is_some(), metadata.keys()));
        Ok(Provider {
            id: self.id.value.clone(),
            title: self.title.clone(),
            category: self.category,
            class: self.class,
            fields,
            fingerprint: self.fingerprint,
            seal: self.seal.unwrap_or(Seal::Aes256Gcm),
            docs: self.docs.as_ref().map_or_else(String::new, |docs| docs.value.clone()),
            limits: self.limits,
            other_fields: self.other_fields.as_ref().map(OtherFields::build),
            refused_fields: self.refused_fields.clone(),
            document: self.document.clone(),
            public_identity: self.public_identity.iter().map(|shown| shown.value.clone()).collect(),
            checks: self.checks.iter().map(|check| check.value).collect(),
            metadata,
            test: test.transpose()?,
            owner_test: self.owner_test,
            lore: Arc::clone(lore),
        })
    }

    fn names_once(&self) -> Result<(), Flaw> {
        let mut names = BTreeSet::new();
        for field in &self.fields {
            for name in std::iter::once(&field.name).chain(&field.aliases) {
                if !names.insert(name.value.as_str()) || self.refused_fields.contains_key(&name.value) {
                    return Err(at(name, format!("the field name {} is there twice", name.value)));
                }
            }
        }
        Ok(())
    }
}

impl FieldEntry {
    fn build(&self) -> Result<Field, Flaw> {
        if !id_shape(&self.name.value) {
            let rule = "a field's name is 2 to 64 lower-case letters, digits and _, beginning with a letter";
            return Err(at(&self.name, rule));
        }
        if !self.patterns.is_empty() && self.must_be.is_none() {
            return Err(at(&self.name, format!("{} has patterns but does not say what it must_be", self.name.value)));
        }
        let refuse = self.refuse.iter();
        let rules = Rules {
            shape: self.shape,
            max_bytes: self.max_bytes,
            must_be: self.must_be.clone(),
            patterns: self.patterns.iter().map(whole).collect::<Result<_, _>>()?,
            refuse: refuse
                .map(|refusal| Ok(Refusal { pattern: pattern(&refusal.pattern)?, why: refusal.why.clone() }))
                .collect::<Result<_, _>>()?,
        };
        rules.accept_example(&self.example.value).map_err(|why| {
            at(&self.example, format!("the example of {} does not pass its own rules: {why}", self.name.value))
        })?;
        Ok(Field {
            name: self.name.value.clone(),
            secret: self.secret,
            required: self.required,
            example: self.example.value.clone(),
            must_be: self.must_be.clone(),
            aliases: self.aliases.iter().map(|alias| alias.value.clone()).collect(),
            rules,
        })
    }
}

impl OtherFields {
    fn build(&self) -> Rules {
        Rules { shape: self.shape, max_bytes: self.max_bytes, ..Rules::default() }
    }
}

/// A pattern for a whole value. An alternative without its own anchors must not let half a value through.
fn whole(text: &Spanned<String>) -> Result<Regex, Flaw> {
    if !text.value.starts_with('^') || !text.value.ends_with('$') {
        return Err(at(text, "a pattern of a field must begin with ^ and end with $"));
    }
    pattern(text)?;
    compile(&format!(r"\A(?:{})\z", text.value)).map_err(|error| at(text, bad_pattern(&error)))
}

fn pattern(text: &Spanned<String>) -> Result<Regex, Flaw> {
    compile(&text.value).map_err(|error| at(text, bad_pattern(&error)))
}

/// A range such as `{100,4096}` alone would hold a megabyte for as long as the daemon runs.
fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern).size_limit(128 * 1024).build()
}

/// The last line of the library's several says what is wrong; the others draw it.
pub fn bad_pattern(error: &regex::Error) -> String {
    let words = error.to_string();
    format!("bad pattern: {}", words.lines().last().unwrap_or_default().trim_start_matches("error: "))
}

fn id_shape(id: &str) -> bool {
    (2..=64).contains(&id.len())
        && id.starts_with(|c: char| c.is_ascii_lowercase())
        && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

pub fn at<T>(place: &Spanned<T>, rule: impl Into<String>) -> Flaw {
    Flaw { line: Some(place.referenced.line()).filter(|line| *line > 0), rule: rule.into() }
}

fn unreadable(error: &serde_saphyr::Error) -> Flaw {
    let error = error.without_snippet();
    let line = error.location().map(|place| place.line()).filter(|line| *line > 0);
    let rule = error.to_string();
    Flaw { line, rule: rule.lines().next().unwrap_or_default().to_owned() }
}
