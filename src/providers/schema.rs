//! Metadata: what may be said about a credential in clear, by a JSON Schema per provider.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{Draft, PatternOptions, ValidationError, Validator};
use serde_json::{Map, Value, json};
use serde_saphyr::Spanned;

use super::entry::{Flaw, at};
use super::nearest::nearest;
use super::probe::plan::owner::OWNER_TEST;
use super::{Invalid, Provider, format};

/// The schema of each key.
pub type SchemaMap = BTreeMap<String, Spanned<Value>>;

const MAX_BYTES: usize = 16 * 1024;
const MAX_DEPTH: usize = 8;

/// The keys that one provider's metadata may have.
#[derive(Debug)]
pub struct Schema {
    keys: Vec<String>,
    whole: Value,
    /// Made when it is first needed: it takes a hundred times the room of what it is made from.
    validator: OnceLock<Option<Validator>>,
}

impl Provider {
    /// Whether this may be kept about a credential of this provider. The error's field is the path into the metadata.
    pub fn check_metadata(&self, metadata: &Map<String, Value>) -> Result<(), Invalid> {
        if depth(metadata.values(), 1) > MAX_DEPTH {
            return Err(Invalid::new("metadata", format!("is nested more than {MAX_DEPTH} deep")));
        }
        if serde_json::to_vec(metadata).map_or(usize::MAX, |json| json.len()) > MAX_BYTES {
            return Err(Invalid::new("metadata", format!("is longer than {MAX_BYTES} bytes")));
        }
        let mut metadata = metadata.clone();
        if self.owner_test
            && let Some(test) = metadata.remove(OWNER_TEST)
        {
            self.owner_test(&test)?;
        }
        if let Some(unknown) = metadata.keys().find(|key| !self.metadata.keys.contains(key)) {
            return Err(self.unknown_key(unknown));
        }
        for (key, value) in &metadata {
            if let Some(kind) = secret_inside(value, &self.lore) {
                let why = format!("looks like {kind}; metadata is stored in clear and must not hold a secret");
                return Err(Invalid::new(format!("metadata.{key}"), why));
            }
        }
        let metadata = Value::Object(metadata);
        // Each of its keys was compiled when the registry was read, so it is there.
        let validator = self.metadata.validator.get_or_init(|| validator(&self.metadata.whole).ok());
        let validator = validator.as_ref().ok_or_else(|| Invalid::new("metadata", "cannot be checked"))?;
        validator.validate(&metadata).map_err(|error| self.metadata.refusal(&error))
    }

    /// Does not say the key: people paste secrets into the strangest places.
    fn unknown_key(&self, key: &str) -> Invalid {
        let keys = || self.metadata.keys.iter().map(String::as_str);
        let hint = match nearest(key, keys()).first() {
            Some(meant) => format!("perhaps {meant} was meant"),
            None => format!("its keys are {}", keys().collect::<Vec<_>>().join(", ")),
        };
        Invalid::new("metadata", format!("has a key that {} does not know; {hint}", self.id))
    }
}

impl Schema {
    /// One schema of what every provider has and what this one adds.
    pub fn new(common: &Map<String, Value>, own: &SchemaMap) -> Result<Self, Flaw> {
        let mut properties = common.clone();
        for (key, schema) in checked(own)? {
            if properties.insert(key.clone(), schema).is_some() {
                let place = own.get(&key);
                let rule = format!("metadata key {key}: every provider has it already");
                return Err(
                    place.map_or_else(|| Flaw { line: None, rule: rule.clone() }, |place| at(place, rule.clone()))
                );
            }
        }
        let keys = own.keys().chain(common.keys()).cloned().collect();
        let whole = json!({ "type": "object", "properties": properties, "additionalProperties": false });
        Ok(Self { keys, whole, validator: OnceLock::new() })
    }

    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// The schema of each key, as it is applied.
    pub fn properties(&self) -> Option<&Map<String, Value>> {
        self.whole.get("properties")?.as_object()
    }

    fn refusal(&self, error: &ValidationError<'_>) -> Invalid {
        Invalid::new(self.path(error.instance_path().as_str()), words(error.kind()))
    }

    /// `/scopes/2` becomes `metadata.scopes.2`. Names that the sender chose are left out.
    fn path(&self, pointer: &str) -> String {
        let mut path = "metadata".to_owned();
        for (level, part) in pointer.split('/').skip(1).enumerate() {
            let ours = if level == 0 { self.keys.iter().any(|key| key == part) } else { part.parse::<u32>().is_ok() };
            path.push('.');
            path.push_str(if ours { part } else { "*" });
        }
        path
    }
}

/// The schema of each key with its limits, when each is one.
pub fn checked(keys: &SchemaMap) -> Result<Map<String, Value>, Flaw> {
    let mut properties = Map::new();
    for (key, place) in keys {
        let mut schema = place.value.clone();
        bound(&mut schema).map_err(|rule| at(place, format!("metadata key {key}: {rule}")))?;
        validator(&schema).map_err(|error| at(place, format!("metadata key {key}: {error}")))?;
        properties.insert(key.clone(), schema);
    }
    Ok(properties)
}

fn validator(schema: &Value) -> Result<Validator, ValidationError<'static>> {
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .should_validate_formats(true)
        .should_ignore_unknown_formats(false)
        // Linear time, whatever the input.
        .with_pattern_options(PatternOptions::regex())
        .offline()
        .build(schema)
}

/// Gives every text and list an end, and refuses what a typing error would turn into no rule at all.
fn bound(schema: &mut Value) -> Result<(), String> {
    let Some(schema) = schema.as_object_mut() else { return Err("a schema is a map".into()) };
    if let Some(unknown) = schema.keys().find(|keyword| !KEYWORDS.contains(&keyword.as_str())) {
        return Err(format!("{unknown} is not a rule that metadata schemas use"));
    }
    let kind = schema.get("type").and_then(Value::as_str).unwrap_or_default();
    let (cap, limit) = match kind {
        "string" => ("maxLength", 256),
        "array" => ("maxItems", 50),
        "object" if !schema.contains_key("additionalProperties") => {
            return Err("an object must say its additionalProperties".into());
        }
        "object" => ("maxProperties", 50),
        "integer" | "number" | "boolean" => ("type", 0),
        _ if schema.contains_key("enum") => ("enum", 0),
        _ => return Err("it must say its type or an enum".into()),
    };
    if limit > 0 && !schema.contains_key(cap) {
        schema.insert(cap.to_owned(), limit.into());
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get_mut(inner) {
            bound(inner)?;
        }
    }
    Ok(())
}

const KEYWORDS: [&str; 16] = [
    "type",
    "enum",
    "pattern",
    "format",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "items",
    "minItems",
    "maxItems",
    "uniqueItems",
    "additionalProperties",
    "maxProperties",
    "propertyNames",
    "description",
];

/// The rule in words. The library's own would quote the value.
fn words(kind: &ValidationErrorKind) -> String {
    use ValidationErrorKind as Kind;
    match kind {
        Kind::Type { kind: TypeKind::Single(one) } => format!("must be of type {one}"),
        Kind::Enum { options } => format!("must be one of {}", listed(options)),
        Kind::Pattern { pattern } => format!("must match {pattern}"),
        Kind::Format { format } => format!("must be in the format {format}"),
        Kind::MinLength { limit } => format!("must have at least {limit} characters"),
        Kind::MaxLength { limit } => format!("must have at most {limit} characters"),
        Kind::Minimum { limit } => format!("must be at least {limit}"),
        Kind::Maximum { limit } => format!("must be at most {limit}"),
        Kind::MinItems { limit } => format!("must have at least {limit} entries"),
        Kind::MaxItems { limit } | Kind::MaxProperties { limit } => format!("must have at most {limit} entries"),
        Kind::UniqueItems => "must not have an entry twice".into(),
        Kind::PropertyNames { error } => format!("has a key whose name {}", words(error.kind())),
        other => format!("breaks the rule {}", other.keyword()),
    }
}

fn listed(options: &Value) -> String {
    let options = options.as_array().into_iter().flatten();
    options
        .map(|option| option.as_str().map_or_else(|| option.to_string(), str::to_owned))
        .collect::<Vec<_>>()
        .join(", ")
}

fn secret_inside<'a>(value: &Value, lore: &'a format::Lore) -> Option<&'a str> {
    match value {
        Value::String(text) => lore.secret_kind(text.trim()),
        Value::Array(list) => list.iter().find_map(|value| secret_inside(value, lore)),
        Value::Object(map) => {
            map.iter().find_map(|(key, value)| lore.secret_kind(key).or_else(|| secret_inside(value, lore)))
        }
        _ => None,
    }
}

/// Looks no deeper than it must, so that a deep value cannot exhaust the stack.
fn depth<'a>(values: impl Iterator<Item = &'a Value>, level: usize) -> usize {
    if level > MAX_DEPTH {
        return level;
    }
    let below = values.map(|value| match value {
        Value::Array(list) => depth(&mut list.iter() as &mut dyn Iterator<Item = _>, level + 1),
        Value::Object(map) => depth(&mut map.values() as &mut dyn Iterator<Item = _>, level + 1),
        _ => level,
    });
    below.max().unwrap_or(level)
}
