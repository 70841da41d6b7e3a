//! One field of an entry as it is written, and how it becomes the rules for a value.

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::Field;
use super::entry::{Flaw, at, id_shape};
use super::format::{Remark, Rules, Shape};
use super::pattern::Pattern;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldEntry {
    pub name: Spanned<String>,
    example: Spanned<String>,
    #[serde(default)]
    pub aliases: Vec<Spanned<String>>,
    #[serde(default = "yes")]
    secret: bool,
    #[serde(default = "yes")]
    pub required: bool,
    pub only_with: Option<Spanned<String>>,
    if_missing: Option<String>,
    #[serde(default)]
    shape: Shape,
    #[serde(default = "max_bytes")]
    max_bytes: usize,
    must_be: Option<String>,
    #[serde(default)]
    patterns: Vec<Spanned<String>>,
    #[serde(default)]
    refuse: Vec<RemarkEntry>,
    #[serde(default)]
    warn: Vec<RemarkEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OtherFields {
    shape: Shape,
    max_bytes: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemarkEntry {
    pub pattern: Spanned<String>,
    pub why: String,
}

const fn yes() -> bool {
    true
}

const fn max_bytes() -> usize {
    4096
}

impl FieldEntry {
    pub fn build(&self) -> Result<Field, Flaw> {
        if !id_shape(&self.name.value) {
            let rule = "a field's name is 2 to 64 lower-case letters, digits and _, beginning with a letter";
            return Err(at(&self.name, rule));
        }
        if !self.patterns.is_empty() && self.must_be.is_none() {
            return Err(at(&self.name, format!("{} has patterns but does not say what it must_be", self.name.value)));
        }
        let rules = Rules {
            shape: self.shape,
            max_bytes: self.max_bytes,
            must_be: self.must_be.clone(),
            patterns: self.patterns.iter().map(Pattern::whole).collect::<Result<_, _>>()?,
            refuse: self.refuse.iter().map(RemarkEntry::build).collect::<Result<_, _>>()?,
            warn: self.warn.iter().map(RemarkEntry::build).collect::<Result<_, _>>()?,
        };
        // On a copy, which takes its compiled patterns with it.
        rules.clone().accept_example(&self.example.value).map_err(|why| {
            at(&self.example, format!("the example of {} does not pass its own rules: {why}", self.name.value))
        })?;
        Ok(Field {
            name: self.name.value.clone(),
            secret: self.secret,
            required: self.required,
            example: self.example.value.clone(),
            must_be: self.must_be.clone(),
            aliases: self.aliases.iter().map(|alias| alias.value.clone()).collect(),
            only_with: self.only_with.as_ref().map(|partner| partner.value.clone()),
            if_missing: self.if_missing.clone(),
            rules,
        })
    }
}

impl OtherFields {
    pub fn build(&self) -> Rules {
        Rules { shape: self.shape, max_bytes: self.max_bytes, ..Rules::default() }
    }
}

impl RemarkEntry {
    pub fn build(&self) -> Result<Remark, Flaw> {
        Ok(Remark { pattern: Pattern::new(&self.pattern)?, why: self.why.clone() })
    }
}
