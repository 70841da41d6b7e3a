//! JSON from strangers. A value is kept as its own text until something typed reads it: an uploaded document must stay
//! byte for byte what the customer has, and every tree in between would be one more copy of a secret. Errors never carry
//! serde's messages, because those quote what they refuse.

use std::collections::HashSet;
use std::fmt;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::status::Invalid;

/// Deeper than any upload; shallow enough that recursion over it is no attack.
pub const DEPTH: usize = 32;

/// The text of one JSON value: UTF-8, not too deep, well formed.
pub fn document(bytes: &[u8]) -> Result<&RawValue, Invalid> {
    let refuse = |why: String| Err(Invalid::new("body", why));
    if depth(bytes) > DEPTH {
        return refuse(format!("may be nested {DEPTH} deep"));
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return refuse("must be UTF-8".into()) };
    match serde_json::from_str(text) {
        Ok(value) => Ok(value),
        Err(error) => refuse(format!("must be JSON; it is not at line {}, column {}", error.line(), error.column())),
    }
}

/// The members of an object in their order, duplicates too; none when it is no object.
pub fn members(value: &RawValue) -> Option<Vec<(String, &RawValue)>> {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = Vec<(String, &'de RawValue)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some(member) = map.next_entry()? {
                members.push(member);
            }
            Ok(members)
        }
    }
    value.deserialize_map(Members).ok()
}

/// The elements of an array; none when it is no array.
pub fn elements(value: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(value.get()).ok()
}

/// The text of a JSON string; none when it is no string.
pub fn string(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

/// True when no object inside gives a key twice, and everything inside is what JSON allows. Of two equal keys readers
/// choose differently: what was checked would not be what is used.
pub fn sound(value: &RawValue) -> bool {
    serde_json::from_str::<Sound>(value.get()).is_ok()
}

/// How deep brackets nest outside strings. Reads bytes, so that nothing recursive sees what is too deep.
fn depth(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut inside, mut escaped) = (false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if inside => escaped = true,
            b'"' => inside = !inside,
            _ if inside => {}
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// Any value without a duplicate key.
struct Sound;

impl<'de> Deserialize<'de> for Sound {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Sound {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if !seen.insert(key) {
                return Err(serde::de::Error::custom("a key is given twice"));
            }
            map.next_value::<Self>()?;
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> &RawValue {
        document(text.as_bytes()).unwrap()
    }

    #[test]
    fn depth_counts_brackets_outside_strings() {
        assert_eq!(depth(br#"{"a":["[[[\"[[", {}]}"#), 3);
        assert_eq!(depth(b"]]]["), 1);
        let deep = "[".repeat(1_000_000);
        assert_eq!(document(deep.as_bytes()).unwrap_err().to_string(), "body: may be nested 32 deep");
        let allowed = format!("{}{}", "[".repeat(DEPTH), "]".repeat(DEPTH));
        assert!(document(allowed.as_bytes()).is_ok());
    }

    #[test]
    fn what_is_not_json_is_refused_by_place_alone() {
        for (bytes, why) in [
            (&b"\xff\"sk-canary\""[..], "must be UTF-8"),
            (b"{\"a\": \"sk-canary\",}", "line 1, column 19"),
            (b"sk-canary", "line 1, column 1"),
            (b"", "line 1, column 0"),
            (b"{} {}", "line 1, column 4"),
        ] {
            let error = document(bytes).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
            assert!(!error.contains("canary"), "{error}");
        }
    }

    #[test]
    fn duplicates_are_found_at_any_depth_and_however_they_are_spelt() {
        assert!(sound(raw(r#"{"a": [{"b": 1}, {"b": 2}], "c": null}"#)));
        assert!(!sound(raw(r#"{"a": [{"b": 1, "b": 2}]}"#)));
        assert!(!sound(raw(r#"{"a": 1, "\u0061": 2}"#)));
        assert!(!sound(raw(r#"{"a": 1e999}"#)));
        assert!(!sound(raw(r#"{"a": "\ud800"}"#)));
    }

    #[test]
    fn members_keep_their_text() {
        let members = members(raw(r#"{"a":  { "z" : 1,"y":2 } , "a":3}"#)).unwrap();
        assert_eq!(members.len(), 2);
        assert_eq!(members[0].1.get(), r#"{ "z" : 1,"y":2 }"#);
        assert!(super::members(raw("[]")).is_none());
        assert!(elements(raw("{}")).is_none());
    }
}
