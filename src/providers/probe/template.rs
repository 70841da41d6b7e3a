//! Texts with values in them, and how a value is kept from becoming more than a value.

use std::fmt;

use http::Uri;
use http::uri::PathAndQuery;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use zeroize::Zeroizing;

use super::values::Values;

/// A text with `{name}`, or `{name?}` where the value may be absent.
#[derive(Clone, Debug, Default)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Value { name: String, optional: bool },
}

/// Where a request goes: `https://`, a host, a path. Values cannot change which part is which.
#[derive(Clone, Debug)]
pub struct Address(Template);

/// A JSON pointer (RFC 6901).
#[derive(Clone, Debug)]
pub struct Pointer(Template);

/// Why a template cannot be filled in. Names the value, never quotes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    Missing(String),
    /// It does not belong where the template puts it.
    Value(String),
}

/// All that a path or a query may hold without a meaning of its own.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const SCHEME: &str = "https://";

impl Template {
    /// The error is the rule that is broken.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            let (before, after) = rest.split_at(open);
            let inside = after.strip_prefix('{').and_then(|after| after.split_once('}'));
            let Some((name, behind)) = inside else { return Err("has a bracket { or } without its other".into()) };
            let (name, optional) = name.strip_suffix('?').map_or((name, false), |name| (name, true));
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte)) {
                return Err("has brackets around what is no name".into());
            }
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(Part::Value { name: name.to_owned(), optional });
            rest = behind;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self { parts })
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Value { name, .. } => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// What it says whatever the values are.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(text) => Some(text.as_str()),
            Part::Value { .. } => None,
        })
    }

    /// Nothing where an optional value is absent.
    pub fn fill(&self, values: &Values) -> Result<Option<Zeroizing<String>>, Unfit> {
        let mut filled = Zeroizing::new(String::new());
        for part in &self.parts {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Value { name, optional } => match (values.get(name), optional) {
                    (Some(value), _) => filled.push_str(value),
                    (None, true) => return Ok(None),
                    (None, false) => return Err(Unfit::Missing(name.clone())),
                },
            }
        }
        Ok(Some(filled))
    }

    /// An absent optional value leaves nothing behind.
    fn escaped(&self, values: &Values, escape: impl Fn(&str) -> String) -> Result<String, Unfit> {
        let mut filled = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Value { name, optional } => match (values.get(name), optional) {
                    (Some(value), _) => filled.push_str(&escape(value)),
                    (None, true) => {}
                    (None, false) => return Err(Unfit::Missing(name.clone())),
                },
            }
        }
        Ok(filled)
    }
}

/// As the registry writes it.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.parts.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Value { name, optional: false } => write!(f, "{{{name}}}"),
            Part::Value { name, optional: true } => write!(f, "{{{name}?}}"),
        })
    }
}

impl Address {
    pub fn parse(text: &str) -> Result<Self, String> {
        let template = Template::parse(text)?;
        if !text.starts_with(SCHEME) {
            return Err("must begin with https://".into());
        }
        let host = Self(template.clone()).host();
        if host.texts().any(|text| !text.bytes().all(is_of_a_host)) {
            return Err("must name a host alone, without a user or a port".into());
        }
        if host.parts.is_empty() {
            return Err("must name a host".into());
        }
        if text.contains('#') {
            return Err("must not have a fragment".into());
        }
        // Any value will do to see whether the rest is an address.
        let sample = template.parts.iter().map(|part| match part {
            Part::Text(text) => text.as_str(),
            Part::Value { .. } => "x",
        });
        let sample: String = sample.collect();
        sample.parse::<Uri>().map_err(|_| "is not an address")?;
        if dotted(&sample) {
            return Err("must not have . or .. as a part of its path".into());
        }
        Ok(Self(template))
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.names()
    }

    /// The host, where it is the same for everybody.
    pub fn constant_host(&self) -> Option<String> {
        let host = self.host();
        (host.names().next().is_none()).then(|| host.texts().collect())
    }

    /// The names that its host uses.
    pub fn host_names(&self) -> Vec<String> {
        self.host().names().map(str::to_owned).collect()
    }

    fn host(&self) -> Template {
        let mut parts = Vec::new();
        let mut scheme = SCHEME;
        for part in &self.0.parts {
            match part {
                Part::Text(text) => {
                    let text = text.strip_prefix(std::mem::take(&mut scheme)).unwrap_or(text);
                    let end = text.find(['/', '?', '#']);
                    let host = end.map_or(text, |end| &text[..end]);
                    if !host.is_empty() {
                        parts.push(Part::Text(host.to_owned()));
                    }
                    if end.is_some() {
                        break;
                    }
                }
                part @ Part::Value { .. } => parts.push(part.clone()),
            }
        }
        Template { parts }
    }

    /// A value in the host must look like a part of one, whose letters are small; elsewhere it is escaped.
    pub fn fill(&self, values: &Values) -> Result<Uri, Unfit> {
        let host = self.host();
        for name in host.names() {
            let value = values.get(name).ok_or_else(|| Unfit::Missing(name.to_owned()))?;
            if !value.bytes().all(is_of_a_host) {
                return Err(Unfit::Value(name.to_owned()));
            }
        }
        // What may stand in a host is not changed by escaping, but for large letters, which no host knows.
        let mut text = self.0.escaped(values, |value| utf8_percent_encode(value, UNRESERVED).to_string())?;
        let end = SCHEME.len() + host.escaped(values, str::to_owned)?.len();
        if let Some(host) = text.get_mut(SCHEME.len()..end) {
            host.make_ascii_lowercase();
        }
        let culprit = || Unfit::Value(self.0.names().next().unwrap_or_default().to_owned());
        if dotted(&text) {
            return Err(culprit());
        }
        text.parse().map_err(|_| culprit())
    }
}

impl Pointer {
    pub fn parse(text: &str) -> Result<Self, String> {
        if !text.is_empty() && !text.starts_with('/') {
            return Err("is not a JSON pointer: it must begin with /".into());
        }
        Template::parse(text).map(Self)
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.names()
    }

    pub fn fill(&self, values: &Values) -> Result<String, Unfit> {
        self.0.escaped(values, |value| value.replace('~', "~0").replace('/', "~1"))
    }
}

const fn is_of_a_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.'
}

/// A server would read `.` and `..` as steps to elsewhere.
fn dotted(address: &str) -> bool {
    let path =
        address.parse::<Uri>().ok().and_then(|uri| uri.path_and_query().map(PathAndQuery::path).map(str::to_owned));
    path.is_some_and(|path| path.split('/').any(|segment| segment == "." || segment == ".."))
}

#[cfg(test)]
mod tests;
