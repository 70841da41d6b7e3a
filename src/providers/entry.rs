//! The registry file as it is written, and how it becomes providers. What each key means stands at the top of
//! `config/providers.yml`.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;

use regex::RegexSetBuilder;
use serde::Deserialize;
use serde_json::{Map, Value};
use serde_saphyr::Spanned;

use super::checks::Check;
use super::field::{FieldEntry, OtherFields, RemarkEntry};
use super::format::{KnownFile, KnownKey, Lore};
use super::layout::Layout;
use super::pattern::Pattern;
use super::probe::{Limits, plan};
use super::schema::{Schema, SchemaMap, checked};
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
    let common = checked(&file.common_metadata)?;
    file.providers.iter().map(|entry| entry.build(&common, &lore)).collect()
}

/// How a file is read beyond the JSON object that holds the fields.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Document {
    pub field: Option<String>,
    pub inside: Vec<String>,
    pub ignore: Vec<String>,
    pub shapes: Vec<Layout>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    placeholders: Vec<Spanned<String>>,
    known_keys: Vec<KnownKeyEntry>,
    #[serde(default)]
    known_files: Vec<KnownFileEntry>,
    common_metadata: SchemaMap,
    providers: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KnownKeyEntry {
    what: String,
    provider: Option<String>,
    #[serde(default)]
    also: Vec<String>,
    #[serde(default)]
    public: bool,
    pattern: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KnownFileEntry {
    pattern: Spanned<String>,
    why: String,
    #[serde(default)]
    except: Vec<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotation {
    days: NonZeroU32,
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
    either: Vec<Vec<Spanned<String>>>,
    #[serde(default)]
    public_identity: Vec<Spanned<String>>,
    #[serde(default)]
    checks: Vec<Spanned<Check>>,
    #[serde(default)]
    limits: Limits,
    test: Option<plan::Entry>,
    #[serde(default)]
    owner_test: bool,
    #[serde(default)]
    environment: BTreeMap<String, Spanned<String>>,
    rotation: Option<Rotation>,
    metadata: SchemaMap,
}

fn lore(file: &File, ids: &BTreeSet<&str>) -> Result<Lore, Flaw> {
    for placeholder in &file.placeholders {
        Pattern::new(placeholder)?;
    }
    let placeholders = RegexSetBuilder::new(file.placeholders.iter().map(|placeholder| &placeholder.value))
        .case_insensitive(true)
        .build()
        .map_err(|error| Flaw { line: None, rule: format!("placeholders: {error}") })?;
    let known_keys = file.known_keys.iter().map(|known| {
        Ok(KnownKey {
            what: known.what.clone(),
            provider: known.provider.clone(),
            also: known.also.clone(),
            registered: known.provider.as_deref().is_some_and(|provider| ids.contains(provider)),
            public: known.public,
            pattern: Pattern::new(&known.pattern)?,
        })
    });
    let known_files = file.known_files.iter().map(|known| {
        let remark = RemarkEntry { pattern: known.pattern.clone(), why: known.why.clone() }.build()?;
        Ok(KnownFile { remark, except: known.except.clone() })
    });
    Ok(Lore {
        placeholders,
        known_keys: known_keys.collect::<Result<_, _>>()?,
        known_files: known_files.collect::<Result<_, _>>()?,
    })
}

impl Entry {
    fn build(&self, common: &Map<String, Value>, lore: &Arc<Lore>) -> Result<Provider, Flaw> {
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
        self.combined(&fields)?;
        self.environment(&fields)?;
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
        let metadata = Schema::new(common, &self.metadata)?;
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
            environment: self
                .environment
                .iter()
                .map(|(name, template)| (name.clone(), template.value.clone()))
                .collect(),
            limits: self.limits,
            rotation_days: self.rotation.map(|rotation| rotation.days.get()),
            either: self.either.iter().map(|list| list.iter().map(|name| name.value.clone()).collect()).collect(),
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

    /// What `either` and `only_with` say must be possible.
    fn combined(&self, fields: &[Field]) -> Result<(), Flaw> {
        let mut names = BTreeSet::new();
        for name in self.either.iter().flatten() {
            let Some(field) = fields.iter().find(|field| field.name == name.value) else {
                return Err(at(name, format!("either: there is no field {}", name.value)));
            };
            if field.required {
                return Err(at(name, format!("either: {} must say required: false", name.value)));
            }
            if !names.insert(name.value.as_str()) {
                return Err(at(name, format!("either: {} is there twice", name.value)));
            }
        }
        if self.either.len() == 1 || self.either.iter().any(Vec::is_empty) {
            return Err(at(&self.id, "either: there must be two lists or more, and none of them empty"));
        }
        for entry in &self.fields {
            let Some(partner) = &entry.only_with else { continue };
            let known = fields.iter().any(|field| field.name == partner.value && field.name != entry.name.value);
            if !known || entry.required {
                let rule = "only_with names another field, and goes with required: false";
                return Err(at(partner, rule));
            }
        }
        Ok(())
    }

    /// A variable's name is one that a shell takes, and its template uses nothing that cannot be there.
    fn environment(&self, fields: &[Field]) -> Result<(), Flaw> {
        for (name, template) in &self.environment {
            let shell = name.starts_with(|c: char| c.is_ascii_uppercase())
                && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
                || name.starts_with("TF_VAR_");
            if !shell {
                return Err(at(template, format!("environment: {name} is not the name of a variable")));
            }
            for used in template.value.split('{').skip(1) {
                let Some((used, _)) = used.split_once('}') else {
                    return Err(at(template, format!("environment: {name} has a {{ without its }}")));
                };
                let (used, optional) = used.strip_suffix('?').map_or((used, false), |used| (used, true));
                match self.presence(used.strip_suffix(".path").unwrap_or(used), fields) {
                    None => return Err(at(template, format!("environment: {name} uses {used}, which is not there"))),
                    Some(false) if !optional => {
                        return Err(at(
                            template,
                            format!("environment: {name} uses {used}, which may be absent: add a ?"),
                        ));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Whether what a template names is always there; nothing where it never is.
    fn presence(&self, name: &str, fields: &[Field]) -> Option<bool> {
        let mut made = self.test.iter().flat_map(|test| &test.names);
        if let Some(made) = made.find(|made| made.name.value == name) {
            return Some(made.default.is_some());
        }
        match name.strip_prefix("metadata.") {
            Some(key) => self.metadata.contains_key(key).then_some(false),
            None if name == "secret" => Some(true),
            None => fields.iter().find(|field| field.name == name).map(|field| field.required),
        }
    }
}

pub fn id_shape(id: &str) -> bool {
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
