//! Puts a REST request together: path, query and body become the fields of one proto message. Every field is checked
//! against the descriptor before serde sees it, so that an error can name the field and the rule and never the value.

use std::borrow::Cow;
use std::collections::BTreeMap;

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde::de::DeserializeOwned;
use serde::de::value::MapDeserializer;
use serde_json::value::RawValue;

use super::json;
use super::rpc::SECRET;
use super::status::Invalid;

/// A request's fields by name. What came in the body still is the body's own text.
pub struct Assembled<'a>(BTreeMap<String, Cow<'a, RawValue>>);

/// Where a request's fields come from.
#[derive(Clone, Copy, Default)]
pub struct Parts<'a> {
    pub path: &'a [(String, String)],
    pub query: &'a [(String, String)],
    /// Empty for none.
    pub body: &'a [u8],
}

impl<'a> Assembled<'a> {
    pub fn new(message: &MessageDescriptor, parts: Parts<'a>) -> Result<Self, Invalid> {
        let mut fields = BTreeMap::new();
        if !parts.body.is_empty() {
            let body = json::document(parts.body)?;
            for (field, value) in members(message, body, "")? {
                fields.insert(field.name().to_owned(), Cow::Borrowed(value));
            }
        }
        let mut assembled = Self(fields);
        assembled.query(message, parts.query)?;
        assembled.path(message, parts.path)?;
        Ok(assembled)
    }

    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, Invalid> {
        let fields = self.0.iter().map(|(name, value)| (name.as_str(), value.as_ref()));
        // What could be refused is refused by now, with a better reason.
        T::deserialize(MapDeserializer::<_, serde_json::Error>::new(fields))
            .map_err(|_| Invalid::new("body", "does not fit the request"))
    }

    /// Proxies log addresses, so a secret in a query is refused even where it would be understood.
    fn query(&mut self, message: &MessageDescriptor, query: &[(String, String)]) -> Result<(), Invalid> {
        let mut lists: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for (key, text) in query {
            let field = field(message, key, "")?;
            if text.contains(char::REPLACEMENT_CHARACTER) {
                return Err(Invalid::new(field.name(), "must be UTF-8"));
            }
            if field.is_list() && matches!(field.kind(), Kind::String) {
                lists.entry(field.name().to_owned()).or_default().push(text);
            } else {
                let value = scalar(&field, text)?;
                if self.0.insert(field.name().to_owned(), Cow::Owned(value)).is_some() {
                    return Err(Invalid::new(field.name(), TWICE));
                }
            }
        }
        for (name, list) in lists {
            let list = serde_json::value::to_raw_value(&list).map_err(|_| Invalid::new(&name, BODY_ONLY))?;
            if self.0.insert(name.clone(), Cow::Owned(list)).is_some() {
                return Err(Invalid::new(name, TWICE));
            }
        }
        Ok(())
    }

    /// The path says what the request is about. The same said again is harmless, something else is not.
    fn path(&mut self, message: &MessageDescriptor, path: &[(String, String)]) -> Result<(), Invalid> {
        for (key, text) in path {
            let field = field(message, key, "")?;
            let value = scalar(&field, text)?;
            let said = |value: &RawValue| json::string(value).unwrap_or_else(|| value.get().to_owned());
            let conflicts = |other: &Cow<'_, RawValue>| !["", &said(&value)].contains(&said(other).as_str());
            if self.0.get(key).is_some_and(conflicts) {
                return Err(Invalid::new(key, "differs from the path"));
            }
            self.0.insert(key.clone(), Cow::Owned(value));
        }
        Ok(())
    }
}

const TWICE: &str = "is given twice";

/// The fields of a message that are given, each checked. `null` means absent.
fn members<'a>(
    message: &MessageDescriptor,
    value: &'a RawValue,
    within: &str,
) -> Result<Vec<(FieldDescriptor, &'a RawValue)>, Invalid> {
    let whole = if within.is_empty() { "body" } else { within };
    let given = json::members(value).ok_or_else(|| Invalid::new(whole, "must be an object"))?;
    let mut seen: Vec<u32> = Vec::with_capacity(given.len().min(message.fields().len()));
    let mut fields = Vec::with_capacity(seen.capacity());
    for (key, value) in given {
        let field = field(message, &key, within)?;
        let path = join(within, field.name());
        if seen.contains(&field.number()) {
            return Err(Invalid::new(path, TWICE));
        }
        seen.push(field.number());
        if value.get() != "null" {
            check(&field, value, &path)?;
            fields.push((field, value));
        }
    }
    Ok(fields)
}

/// A field by its proto name, or by its name in lowerCamelCase.
fn field(message: &MessageDescriptor, key: &str, within: &str) -> Result<FieldDescriptor, Invalid> {
    message.get_field_by_name(key).or_else(|| message.get_field_by_json_name(key)).ok_or_else(|| {
        let known: Vec<_> = message.fields().map(|field| field.name().to_owned()).collect();
        Invalid::new(join(within, showable(key)), format!("is unknown; known are: {}", known.join(", ")))
    })
}

fn check(field: &FieldDescriptor, value: &RawValue, path: &str) -> Result<(), Invalid> {
    if let (true, Kind::Message(entry)) = (field.is_map(), field.kind()) {
        let members = json::members(value).ok_or_else(|| Invalid::new(path, "must be an object"))?;
        let mut seen = std::collections::HashSet::new();
        for (key, value) in &members {
            let path = join(path, showable(key));
            if !seen.insert(key) {
                return Err(Invalid::new(path, TWICE));
            }
            kind(&entry.map_entry_value_field().kind(), value, &path)?;
        }
        return Ok(());
    }
    if field.is_list() {
        let elements = json::elements(value).ok_or_else(|| Invalid::new(path, "must be an array"))?;
        return elements
            .iter()
            .enumerate()
            .try_for_each(|(index, value)| kind(&field.kind(), value, &format!("{path}[{index}]")));
    }
    kind(&field.kind(), value, path)
}

fn kind(kind: &Kind, value: &RawValue, path: &str) -> Result<(), Invalid> {
    let text = value.get();
    let rule = match kind {
        Kind::String => json::string(value).is_none().then_some("must be a string"),
        Kind::Bool => (!["true", "false"].contains(&text)).then_some("must be true or false"),
        Kind::Uint32 => number::<u32>(value).is_none().then_some(NUMBER),
        Kind::Uint64 => number::<u64>(value).is_none().then_some(NUMBER),
        Kind::Message(message) => return inner(message, value, path),
        _ => Some("cannot be given as JSON; use gRPC"),
    };
    rule.map_or(Ok(()), |why| Err(Invalid::new(path, why)))
}

const NUMBER: &str = "must be a whole number";

/// JSON has no 64-bit integers of its own: proto-JSON takes them as strings too.
fn number<T: std::str::FromStr>(value: &RawValue) -> Option<T> {
    let text = json::string(value).unwrap_or_else(|| value.get().to_owned());
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn inner(message: &MessageDescriptor, value: &RawValue, path: &str) -> Result<(), Invalid> {
    let why = match message.full_name() {
        // A document is kept as its text, but must mean one thing to every reader.
        SECRET => match value.get().as_bytes().first() {
            Some(b'"') => json::string(value).is_none().then_some("must be a string or a JSON document"),
            Some(b'{' | b'[') => (!json::sound(value)).then_some(UNSOUND),
            _ => Some("must be a string or a JSON document"),
        },
        "google.protobuf.Struct" => match value.get().starts_with('{') {
            true => (!json::sound(value)).then_some(UNSOUND),
            false => Some("must be an object"),
        },
        "google.protobuf.Timestamp" => serde_json::from_str::<pbjson_types::Timestamp>(value.get())
            .is_err()
            .then_some("must be a time, such as 2030-01-31T00:00:00Z"),
        "google.protobuf.Duration" => (!duration(value)).then_some("must be a duration in seconds, such as 3600s"),
        _ => return members(message, value, path).map(drop),
    };
    why.map_or(Ok(()), |why| Err(Invalid::new(path, why)))
}

const UNSOUND: &str = "gives a key twice, or holds a number or text that JSON cannot";

fn duration(value: &RawValue) -> bool {
    // Two signs would overflow inside pbjson's reader.
    let plain =
        |text: &str| text.len() <= 32 && text.bytes().all(|byte| byte.is_ascii_digit() || b".s".contains(&byte));
    json::string(value).is_some_and(|text| plain(text.strip_prefix('-').unwrap_or(&text)))
        && serde_json::from_str::<pbjson_types::Duration>(value.get()).is_ok()
}

/// A path or query parameter as JSON.
fn scalar(field: &FieldDescriptor, text: &str) -> Result<Box<RawValue>, Invalid> {
    let quoted = || serde_json::value::to_raw_value(text).map_err(|_| Invalid::new(field.name(), BODY_ONLY));
    let value = match field.kind() {
        _ if field.is_list() || field.is_map() => return Err(Invalid::new(field.name(), BODY_ONLY)),
        Kind::Bool => {
            RawValue::from_string(text.to_owned()).map_err(|_| Invalid::new(field.name(), "must be true or false"))?
        }
        Kind::Message(message)
            if !["google.protobuf.Timestamp", "google.protobuf.Duration"].contains(&message.full_name()) =>
        {
            return Err(Invalid::new(field.name(), BODY_ONLY));
        }
        _ => quoted()?,
    };
    check(field, &value, field.name())?;
    Ok(value)
}

const BODY_ONLY: &str = "may be in the body only";

fn join(within: &str, name: &str) -> String {
    if within.is_empty() { name.to_owned() } else { format!("{within}.{name}") }
}

/// A key is the caller's text too, and may be a secret in the wrong place. Only what looks like a field's name is
/// repeated: no digits, so that no key or token passes for one.
fn showable(key: &str) -> &str {
    let plain = key.len() <= 40 && key.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    if plain && !key.is_empty() { key } else { "?" }
}

#[cfg(test)]
mod tests;
