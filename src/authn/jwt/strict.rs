//! JSON of which nobody can read two things: a member that stands twice in an object is refused, at any depth. Readers
//! differ in which of the two they take, and whoever signs may have looked at the other one.

use std::fmt;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

pub type Object = Map<String, Value>;

/// One object and nothing after it. The error names a rule and a place, never a value.
pub fn object(bytes: &[u8]) -> Result<Object, String> {
    match serde_json::from_slice::<Strict>(bytes) {
        Ok(Strict(Value::Object(object))) => Ok(object),
        Ok(_) => Err("is no JSON object".to_owned()),
        Err(error) if error.to_string().starts_with(TWICE) => Err(TWICE.to_owned()),
        Err(error) => Err(format!("is no JSON (column {})", error.column())),
    }
}

const TWICE: &str = "has a member twice";

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Reader.deserialize(deserializer).map(Self)
    }
}

struct Reader;

impl<'de> DeserializeSeed<'de> for Reader {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("no number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element_seed(Self)? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(Self)?;
            if all.insert(name, value).is_some() {
                return Err(de::Error::custom(TWICE));
            }
        }
        Ok(Value::Object(all))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_reading_or_none() {
        let good = br#" {"a": 1, "b": {"a": [true, null, -2, 1.5, "x\u00e9"]}, "": ""} "#;
        let expected = json!({"a": 1, "b": {"a": [true, null, -2, 1.5, "xé"]}, "": ""});
        assert_eq!(Value::Object(object(good).unwrap()), expected);

        let twice: [&[u8]; 5] = [
            br#"{"exp": 1, "exp": 1}"#,
            br#"{"exp": 1, "\u0065xp": 2}"#,
            br#"{"a": {"b": 1, "b": 2}}"#,
            br#"{"a": [1, {"b": {"c": 1, "c": 2}}]}"#,
            br#"{"a": 1, "b": 2, "a": null}"#,
        ];
        for bytes in twice {
            assert_eq!(object(bytes), Err(TWICE.to_owned()), "{}", String::from_utf8_lossy(bytes));
        }
        let deep = [b"[".repeat(5_000), b"]".repeat(5_000)].concat();
        let broken: [&[u8]; 9] =
            [b"", b"{", b"{}{}", b"{} x", b"{\"a\": NaN}", b"{\"a\": 1e999}", b"{'a': 1}", b"{\"a\": \"\xff\"}", &deep];
        for bytes in broken {
            assert!(object(bytes).unwrap_err().starts_with("is no JSON ("), "{}", String::from_utf8_lossy(bytes));
        }
        for bytes in [&b"[]"[..], b"null", b"\"{}\"", b"1"] {
            assert_eq!(object(bytes).unwrap_err(), "is no JSON object");
        }
    }
}
