//! From what a customer sent to the secret that is sealed.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::checks::Values;
use super::document::{self, Node};
use super::nearest::nearest;
use super::{Field, Invalid, Parsed, Provider, Upload};
use crate::crypto::Secret;

/// More fields than any provider has.
const MAX_FIELDS: usize = 32;

/// What was sent: names and values as they came.
type Given = Vec<(Zeroizing<String>, Zeroizing<String>)>;

impl Provider {
    /// Everything that can be said about an upload without asking the provider.
    ///
    /// The secret is the bare key where the entry has exactly one field, so that `printf %s "$KEY" | sha256sum` shows its
    /// fingerprint. Otherwise it is JSON: one object of texts, names sorted by their bytes, no spaces, UTF-8 as it is, and
    /// escaped no more than `"`, `\` and U+0000 to U+001F (`\b \f \n \r \t`, else `\u00xx`). In Python that is
    /// `json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)`.
    pub fn parse(&self, upload: &Upload) -> Result<Parsed, Invalid> {
        let given = match upload {
            Upload::Fields(fields) => self.given_fields(fields)?,
            Upload::Document(document) => self.given_document("document", document)?,
        };
        let values = self.values(given)?;
        let mut public_identity: BTreeMap<String, String> = self
            .public_identity
            .iter()
            .filter_map(|name| Some((name.clone(), values.get(name)?.to_string())))
            .collect();
        for check in &self.checks {
            public_identity.extend(check.run(&values)?);
        }
        Ok(Parsed { secret: self.canonical(&values)?, public_identity, warnings: Vec::new(), expires_at: None })
    }

    fn given_fields(&self, fields: &BTreeMap<String, Secret>) -> Result<Given, Invalid> {
        if let (Some(name), 1) = (&self.document.field, fields.len())
            && let Some(document) = fields.get(name)
        {
            return self.given_document(name, document);
        }
        if fields.len() > MAX_FIELDS {
            return Err(Invalid::new("fields", format!("has more than {MAX_FIELDS} entries")));
        }
        fields
            .iter()
            .map(|(name, value)| {
                let label = self.field(name).map_or("fields", |field| &field.name);
                Ok((Zeroizing::new(name.clone()), Zeroizing::new(text(label, value)?.to_owned())))
            })
            .collect()
    }

    fn given_document(&self, label: &str, document: &Secret) -> Result<Given, Invalid> {
        let refuse = |why: String| Invalid::new(label, why);
        let whole = text(label, document)?;
        let bare = whole.trim_matches(|c: char| c == '\u{feff}' || c.is_whitespace());
        if bare.is_empty() {
            return Err(refuse("is empty".into()));
        }
        if let ([only], None) = (self.fields.as_slice(), &self.other_fields)
            && !bare.starts_with('{')
        {
            return Ok(vec![(Zeroizing::new(only.name.clone()), Zeroizing::new(bare.to_owned()))]);
        }
        if self.other_fields.is_none() {
            self.lore.not_of_another(bare, &self.id).map_err(refuse)?;
        }
        let members = self.unpacked(document::read(bare).map_err(refuse)?);
        if members.len() > MAX_FIELDS {
            return Err(refuse(format!("has more than {MAX_FIELDS} fields")));
        }
        members
            .into_iter()
            .filter(|(name, _)| !self.document.ignore.iter().any(|ignored| ignored == name.as_str()))
            .map(|(name, node)| match node {
                Node::Text(value) => Ok((name, value)),
                Node::Object(_) | Node::Other => {
                    let label = self.field(&name).map_or(label, |field| &field.name);
                    Err(Invalid::new(label, "must be a text, in quotes"))
                }
            })
            .collect()
    }

    /// Takes the fields out of the object that a tool has wrapped around them.
    fn unpacked(&self, mut members: Vec<(Zeroizing<String>, Node)>) -> Vec<(Zeroizing<String>, Node)> {
        match members.pop() {
            Some((name, Node::Object(inner)))
                if members.is_empty() && self.document.inside.iter().any(|wrap| wrap == name.as_str()) =>
            {
                inner
            }
            Some(last) => {
                members.push(last);
                members
            }
            None => members,
        }
    }

    /// Each field under its own name, held against its rules.
    fn values(&self, given: Given) -> Result<Values, Invalid> {
        let mut values = Values::new();
        for (name, raw) in given {
            let (name, rules) = match (self.field(&name), &self.other_fields) {
                (Some(field), _) => (field.name.as_str(), &field.rules),
                (None, Some(_)) if self.lore.secret_kind(&name).is_some() => {
                    return Err(Invalid::new(
                        "fields",
                        "has a name that looks like a key; are name and value swapped?",
                    ));
                }
                (None, Some(rules)) if free_name(&name) => (name.as_str(), rules),
                (None, Some(_)) => {
                    let why = "has a name that is not 1 to 40 letters, digits, _, - or . beginning with a letter";
                    return Err(Invalid::new("fields", why));
                }
                (None, None) => return Err(self.unknown_field(&name)),
            };
            let value = rules.apply(&raw, &self.id, &self.lore).map_err(|why| Invalid::new(name, why))?;
            if self.field(name).is_some_and(|field| field.secret && field.is_example(&value)) {
                return Err(Invalid::new(name, "is the example of the documentation"));
            }
            if values.insert(name.to_owned(), value).is_some() {
                return Err(Invalid::new(name, "is given twice, under two names"));
            }
        }
        if let Some(missing) = self.fields.iter().find(|field| field.required && !values.contains_key(&field.name)) {
            return Err(Invalid::new(&missing.name, "is missing"));
        }
        if values.is_empty() {
            return Err(Invalid::new("fields", "must hold at least one"));
        }
        Ok(values)
    }

    /// Never says the name: people mix up names and values.
    fn unknown_field(&self, name: &str) -> Invalid {
        if let Some((name, why)) = self.refused_fields.get_key_value(name) {
            return Invalid::new(name, why);
        }
        let names: Vec<&str> = self.fields.iter().map(|field| field.name.as_str()).collect();
        let hint = match nearest(name, names.iter().copied()).first() {
            Some(meant) => format!("perhaps {meant} was meant"),
            None => format!("its fields are {}", names.join(", ")),
        };
        Invalid::new("fields", format!("holds one that {} does not have; {hint}", self.id))
    }

    fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name || field.aliases.iter().any(|alias| alias == name))
    }

    fn canonical(&self, values: &Values) -> Result<Secret, Invalid> {
        if let ([only], None) = (self.fields.as_slice(), &self.other_fields)
            && let Some(value) = values.get(&only.name)
        {
            return Ok(Secret::new(value.as_bytes()));
        }
        let texts: BTreeMap<&str, &str> = values.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        // Room for every character escaped, so that the buffer never moves and leaves a copy behind.
        let room = texts.iter().map(|(name, value)| name.len() + 6 * value.len() + 6).sum::<usize>() + 2;
        let mut json = Zeroizing::new(Vec::with_capacity(room));
        serde_json::to_writer(&mut *json, &texts).map_err(|_| Invalid::new("fields", "cannot be written as JSON"))?;
        if json.len() > document::MAX_BYTES {
            return Err(Invalid::new("fields", format!("are longer than {} bytes together", document::MAX_BYTES)));
        }
        Ok(Secret::new(json.as_slice()))
    }
}

impl Field {
    fn is_example(&self, value: &str) -> bool {
        *self.rules.shape.clean(&self.example) == value
    }
}

impl Parsed {
    /// Metadata must not contradict what the upload says about itself.
    pub fn agrees_with(&self, metadata: &serde_json::Map<String, serde_json::Value>) -> Result<(), Invalid> {
        let differs = |(name, shown): &(&String, &String)| {
            metadata.get(*name).and_then(|declared| declared.as_str()).is_some_and(|declared| declared != *shown)
        };
        match self.public_identity.iter().find(differs) {
            Some((name, _)) => Err(Invalid::new(format!("metadata.{name}"), "is not what the credential itself says")),
            None => Ok(()),
        }
    }
}

fn text<'a>(label: &str, value: &'a Secret) -> Result<&'a str, Invalid> {
    if value.len() > document::MAX_BYTES {
        return Err(Invalid::new(label, format!("is longer than {} bytes", document::MAX_BYTES)));
    }
    value.expose_text().ok_or_else(|| Invalid::new(label, "is not UTF-8 text"))
}

fn free_name(name: &str) -> bool {
    name.len() <= 40
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
}
