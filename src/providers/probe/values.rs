//! What the templates of one run may use: the credential's fields, its metadata, and what steps kept.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use data_encoding::{HEXLOWER, HEXUPPER};
use serde_json::Value;
use zeroize::Zeroizing;

use super::Metadata;
use super::plan::Name;
use crate::crypto::Secret;
use crate::providers::Provider;

/// By the names that templates use. Never shown: most of it is secret.
#[derive(Clone, Default)]
pub struct Values {
    texts: BTreeMap<String, Zeroizing<String>>,
    /// The names of those that an answer must not bring back to light.
    hidden: BTreeSet<String>,
    /// The names that steps give.
    made: BTreeSet<String>,
    /// The names of those that the registry says itself.
    registered: BTreeSet<String>,
}

/// Shorter secrets would be found in every word: for them only the whole text counts.
const SHORTEST_PART: usize = 4;
/// The lines of a PEM are hidden one by one.
const LONG_LINE: usize = 16;
/// So much of a secret betrays it.
const TRACE: usize = 16;
/// Shorter secrets are not looked for in other notations: a few letters of base64 are in many a word.
const SHORTEST_CODED: usize = 8;

impl Values {
    /// From what is sealed: the bare key where the provider has one field, JSON where it has several.
    pub fn new(provider: &Provider, secret: &Secret, metadata: &Metadata) -> Option<Self> {
        let mut values = Self::default();
        for (key, value) in metadata {
            if let Some(text) = scalar(value) {
                values.texts.insert(format!("metadata.{key}"), Zeroizing::new(text));
            }
        }
        for (name, text) in opened(provider, secret)? {
            if provider.fields.iter().find(|field| field.name == name).is_none_or(|field| field.secret) {
                values.hidden.insert(name.clone());
            }
            values.texts.insert(name, text);
        }
        Some(values)
    }

    /// Takes the names of a test out of the values that they stand for.
    pub fn name(&mut self, names: &[Name]) {
        for name in names {
            let taken = self.get(&name.of).and_then(|value| name.take(value));
            if taken.is_none() || name.choose.is_some() {
                self.registered.insert(name.name.clone());
            }
            if let Some(found) = taken.or_else(|| name.default.clone()) {
                if self.hidden.contains(&name.of) {
                    self.hidden.insert(name.name.clone());
                }
                self.texts.insert(name.name.clone(), Zeroizing::new(found));
            }
        }
    }

    /// Nothing where it is absent or empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.texts.get(name).map(|text| text.as_str()).filter(|text| !text.is_empty())
    }

    /// What a step made or kept: as secret as the credential.
    pub fn keep(&mut self, name: &str, value: Zeroizing<String>) {
        self.hidden.insert(name.to_owned());
        self.texts.insert(name.to_owned(), value);
    }

    /// What steps are going to keep.
    pub fn expect_made<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        self.made.extend(names.map(str::to_owned));
    }

    /// Whether the customer gave it, or could.
    pub fn is_given(&self, name: &str) -> bool {
        !self.made.contains(name)
    }

    /// Whether the registry says it, whoever the customer is: a default, or one of a choice.
    pub fn is_registered(&self, name: &str) -> bool {
        self.registered.contains(name)
    }

    /// Whether a text that comes from outside holds a secret, or much of one: as it is, with characters strewn in that
    /// nobody sees, as an address writes it, in hex, or in base64 as in basic authorization.
    pub fn betrayed_by(&self, text: &str) -> bool {
        let seen: String = text.chars().filter(|c| c.is_ascii() && !c.is_ascii_control()).collect();
        let unescaped = percent_encoding::percent_decode_str(&seen).collect();
        let readings = [text.as_bytes().to_vec(), unescaped, seen.into_bytes()].map(Zeroizing::new);
        let traces: HashSet<&[u8]> = readings.iter().flat_map(|reading| reading.windows(TRACE)).collect();
        let holds = |form: &[u8]| match form.len() {
            TRACE.. => form.windows(TRACE).any(|trace| traces.contains(trace)),
            0 => false,
            length => readings.iter().any(|reading| reading.windows(length).any(|window| window == form)),
        };
        let hidden = self.hidden.iter().filter_map(|name| self.get(name));
        let mut parts = hidden
            .flat_map(|secret| std::iter::once(secret).chain(secret.lines().filter(|line| line.len() >= LONG_LINE)));
        parts.any(|part| {
            let bytes = part.as_bytes();
            if bytes.len() < SHORTEST_PART {
                return text == part;
            }
            holds(bytes) || (bytes.len() >= SHORTEST_CODED && coded(bytes).any(|form| holds(&form)))
        })
    }
}

/// In hex, and in base64 wherever in a text it begins. The last letters depend on what follows.
fn coded(part: &[u8]) -> impl Iterator<Item = Zeroizing<Vec<u8>>> {
    let hex = [HEXLOWER, HEXUPPER].into_iter().map(|hex| hex.encode(part));
    let base64 = (0..3).flat_map(|start| {
        let whole = &part[start..start + (part.len() - start) / 3 * 3];
        [BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD].map(|base64| base64.encode(whole))
    });
    hex.chain(base64).map(|form| Zeroizing::new(form.into_bytes()))
}

fn opened(provider: &Provider, secret: &Secret) -> Option<BTreeMap<String, Zeroizing<String>>> {
    let text = secret.expose_text()?;
    if let ([only], None) = (provider.fields.as_slice(), &provider.other_fields) {
        return Some(BTreeMap::from([(only.name.clone(), Zeroizing::new(text.to_owned()))]));
    }
    let fields: BTreeMap<String, String> = serde_json::from_str(text).ok()?;
    Some(fields.into_iter().map(|(name, text)| (name, Zeroizing::new(text))).collect())
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

#[cfg(test)]
impl Values {
    pub fn of(shown: &[(&str, &str)], hidden: &[(&str, &str)]) -> Self {
        let mut values = Self::default();
        for (name, text) in shown.iter().chain(hidden) {
            values.texts.insert((*name).to_owned(), Zeroizing::new((*text).to_owned()));
        }
        values.hidden.extend(hidden.iter().map(|(name, _)| (*name).to_owned()));
        values
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::providers::Registry;

    fn values(provider: &str, secret: &str, metadata: Value) -> Option<Values> {
        let registry = Registry::embedded().unwrap();
        Values::new(registry.get(provider).unwrap(), &Secret::from(secret.to_owned()), metadata.as_object().unwrap())
    }

    #[test]
    fn a_bare_key_and_a_structured_one_are_read_as_they_were_sealed() {
        let bare = values("openai", "sk-1", json!({ "project": "proj_1", "rotation_days": 30, "tags": {} })).unwrap();
        assert_eq!(bare.get("api_key"), Some("sk-1"));
        assert_eq!((bare.get("metadata.project"), bare.get("metadata.rotation_days")), (Some("proj_1"), Some("30")));
        assert_eq!((bare.get("metadata.tags"), bare.get("project"), bare.get("")), (None, None, None));
        let keys = values("aws_keys", r#"{"access_key_id":"AKIA","secret_access_key":"s\"x"}"#, json!({})).unwrap();
        assert_eq!((keys.get("access_key_id"), keys.get("secret_access_key")), (Some("AKIA"), Some("s\"x")));
        assert!(values("aws_keys", "no json", json!({})).is_none());
        assert!(values("aws_keys", "{\"access_key_id\":1}", json!({})).is_none());
    }

    #[test]
    fn a_default_and_a_choice_are_the_registrys_words() {
        let registry = Registry::embedded().unwrap();
        let names = |provider: &str| &registry.get(provider).unwrap().test.as_ref().unwrap().names;
        let mut none = Values::default();
        none.name(names("aws_keys"));
        assert!(none.is_registered("home") && none.is_registered("domain") && !none.is_registered("metadata.region"));
        let mut chosen = Values::of(&[("cloud", "china")], &[]);
        chosen.name(names("azure_service_principal"));
        assert!(chosen.is_registered("login"));
        let mut taken = Values::of(&[("endpoint", "https://acme.openai.azure.com")], &[]);
        taken.name(names("azure_openai"));
        assert!(taken.is_registered("login") && !taken.is_registered("resource"));
    }

    #[test]
    fn what_is_secret_is_recognised_when_it_comes_back() {
        let mut values =
            values("aws_keys", r#"{"access_key_id":"AKIA","secret_access_key":"tops"}"#, json!({})).unwrap();
        values.keep("token", Zeroizing::new("ya29.abc".to_owned()));
        for betrayal in ["tops", "is tops!", "Bearer ya29.abc"] {
            assert!(values.betrayed_by(betrayal), "{betrayal}");
        }
        assert!(!values.betrayed_by("AKIA and top"));
        let pem = Values::of(&[], &[("key", "BEGIN\nMIIEvQIBADANBgkqhkiG\nEND"), ("pin", "12"), ("none", "")]);
        assert!(pem.betrayed_by("x MIIEvQIBADANBgkqhkiG"));
        assert!(pem.betrayed_by("12"));
        assert!(!pem.betrayed_by("%") && !pem.betrayed_by("%4"));
        assert!(!pem.betrayed_by("account 1234 of BEGIN and END"));
    }
    #[test]
    fn a_secret_in_another_notation_is_recognised_too() {
        let secret = "Zq~8Q~Rk2Vn5Wm1Tx7Ly4/c9Dh3Fj6Gs0Pa_Ue9";
        let values = Values::of(&[], &[("client_secret", secret)]);
        let basic = |user: &str| BASE64_STANDARD_NO_PAD.encode(format!("{user}:{secret}"));
        let strewn = |c: &str| secret.split("").collect::<Vec<_>>().join(c);
        for betrayal in [
            format!("client_secret={}", form_urlencoded::byte_serialize(secret.as_bytes()).collect::<String>()),
            secret.bytes().map(|byte| format!("%{byte:02x}")).collect(),
            format!("Basic {}", basic("")),
            basic("a"),
            basic("ab"),
            BASE64_URL_SAFE_NO_PAD.encode(format!("{secret}??")),
            HEXLOWER.encode(secret.as_bytes()),
            HEXUPPER.encode(secret.as_bytes()),
            strewn("\u{200b}"),
            strewn("\u{ad}"),
            strewn("\0"),
            format!("begins with {}", &secret[..TRACE]),
            format!("ends with {}", &secret[secret.len() - TRACE..]),
        ] {
            assert!(values.betrayed_by(&betrayal), "{betrayal}");
        }
        for harmless in
            ["Zq~8", "ends in Pa_Ue9", "etl-bot@example.com", &BASE64_STANDARD_NO_PAD.encode("another secret")]
        {
            assert!(!values.betrayed_by(harmless), "{harmless}");
        }
    }
}
