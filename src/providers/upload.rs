//! From what a customer sent to the secret that is sealed.

use std::collections::BTreeMap;

use jiff::Timestamp;
use zeroize::Zeroizing;

use super::checks::Values;
use super::document::{self, Node};
use super::layout;
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
            Upload::Together(document, fields) => {
                let mut given = self.given_document("document", document)?;
                given.extend(self.given_fields(fields)?);
                given
            }
        };
        let values = self.values(given)?;
        let mut public_identity: BTreeMap<String, String> = self
            .public_identity
            .iter()
            .filter_map(|name| Some((name.clone(), values.get(name)?.to_string())))
            .collect();
        let (mut expires_at, mut warnings) = (None, Vec::new());
        for check in &self.checks {
            let told = check.run(&values, Timestamp::now())?;
            public_identity.extend(told.identity);
            expires_at = [expires_at, told.expires_at].into_iter().flatten().min();
            warnings.extend(told.warnings);
        }
        warnings.extend(self.warnings(&values));
        Ok(Parsed { secret: self.canonical(&values)?, public_identity, expires_at, warnings })
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
        if self.other_fields.is_none() {
            self.lore.not_a_mistake(bare, &self.id).map_err(refuse)?;
        }
        if let Some(pairs) = self.written_otherwise(bare) {
            let mut pairs = pairs.map_err(refuse)?;
            pairs.retain(|(name, _)| !self.ignores(name));
            return Ok(pairs);
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
            .map(|(name, node)| match (node, self.field(&name)) {
                (Node::Text(value), _) => Ok((name, value)),
                // A number that is meant as one, such as a duration. Of a secret it would be a cut off one.
                (Node::Bare(value), Some(field)) if !field.secret => Ok((name, Zeroizing::new(value))),
                (_, field) => Err(Invalid::new(field.map_or(label, |field| &field.name), "must be a text, in quotes")),
            })
            .collect()
    }

    /// The fields of a file in one of the entry's other layouts. A bare key may hold what looks like an assignment, so that
    /// where one may come, only one of its names makes it a file.
    fn written_otherwise(&self, text: &str) -> Option<Result<layout::Pairs, String>> {
        let pairs = layout::read(text, &self.document.shapes)?;
        match (self.fields.as_slice(), &pairs) {
            ([_], Ok(pairs)) if !pairs.iter().any(|(name, _)| self.field(name).is_some()) => None,
            ([_], Err(_)) => None,
            _ => Some(pairs),
        }
    }

    /// Whether a tool prints this beside the fields, and nobody needs it.
    fn ignores(&self, name: &str) -> bool {
        let fits = |ignored: &String| match (ignored.strip_prefix('*'), ignored.strip_suffix('*')) {
            (Some(suffix), _) => name.ends_with(suffix),
            (_, Some(prefix)) => name.starts_with(prefix),
            _ => name == ignored,
        };
        self.field(name).is_none() && self.document.ignore.iter().any(fits)
    }

    /// Takes the fields out of the object that a tool has wrapped around them.
    fn unpacked(&self, mut members: Vec<(Zeroizing<String>, Node)>) -> Vec<(Zeroizing<String>, Node)> {
        members.retain(|(name, _)| !self.ignores(name));
        match members.pop() {
            Some((name, Node::Object(mut inner)))
                if members.is_empty() && self.document.inside.iter().any(|wrap| wrap == name.as_str()) =>
            {
                inner.retain(|(name, _)| !self.ignores(name));
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
                return Err(Invalid::new(name, "is given twice"));
            }
        }
        if let Some(missing) = self.fields.iter().find(|field| field.required && !values.contains_key(&field.name)) {
            let why =
                missing.if_missing.as_ref().map_or_else(|| "is missing".into(), |why| format!("is missing: {why}"));
            return Err(Invalid::new(&missing.name, why));
        }
        if values.is_empty() {
            return Err(Invalid::new("fields", "must hold at least one"));
        }
        self.one_of(&values)?;
        Ok(values)
    }

    /// One of the lists of `either` must be there whole, and nothing of the others.
    fn one_of(&self, values: &Values) -> Result<(), Invalid> {
        let given = |name: &&String| values.contains_key(name.as_str());
        let mut begun = self.either.iter().filter(|list| list.iter().any(|name| given(&name)));
        let lists = || self.either.iter().map(|list| list.join(" and ")).collect::<Vec<_>>().join(", or ");
        match (begun.next(), begun.next()) {
            (None, _) => {
                if let Some(first) = self.either.first().and_then(|list| list.first()) {
                    return Err(Invalid::new(first, format!("is missing: give {}", lists())));
                }
            }
            (Some(_), Some(other)) => {
                let extra = other.iter().find(given).map_or("fields", String::as_str);
                return Err(Invalid::new(extra, format!("is one too many: give {}", lists())));
            }
            (Some(list), None) => {
                if let Some(missing) = list.iter().find(|name| !given(name)) {
                    return Err(Invalid::new(missing, format!("is missing: give {}", lists())));
                }
            }
        }
        for field in self.fields.iter().filter(|field| values.contains_key(&field.name)) {
            if let Some(partner) = field.only_with.as_ref().filter(|partner| !given(partner)) {
                return Err(Invalid::new(&field.name, format!("does not belong here: it comes only with {partner}")));
            }
        }
        Ok(())
    }

    fn warnings(&self, values: &Values) -> Vec<String> {
        let mut warnings = Vec::new();
        for field in &self.fields {
            if let Some(value) = values.get(&field.name) {
                warnings.extend(field.rules.warnings(value).map(str::to_owned));
            }
        }
        warnings
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
