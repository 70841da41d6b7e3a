//! A file that a customer hands in: one JSON object of texts, read with limits and without quoting it in errors.

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use zeroize::Zeroizing;

pub const MAX_BYTES: usize = 64 * 1024;
pub const MAX_DEPTH: usize = 8;

/// A member's value. Lists, fractions and null are of no interest.
pub enum Node {
    Text(Zeroizing<String>),
    /// A whole number or a truth value, as it is written.
    Bare(String),
    Object(Vec<(Zeroizing<String>, Self)>),
    Other,
}

/// Reads an object, its members in the order in which they stand. The error is the rule that was broken.
pub fn read(text: &str) -> Result<Vec<(Zeroizing<String>, Node)>, String> {
    if text.len() > MAX_BYTES {
        return Err(format!("is longer than {MAX_BYTES} bytes"));
    }
    // Before parsing: depth is what makes parsers and whoever walks the result run out of stack.
    if depth(text) > MAX_DEPTH {
        return Err(format!("is nested more than {MAX_DEPTH} deep"));
    }
    match serde_json::from_str(text) {
        Ok(Node::Object(members)) if repeats(&members) => Err("has a key twice in one object".into()),
        Ok(Node::Object(members)) => Ok(members),
        Ok(_) => Err("is not a JSON object".into()),
        // serde_json's own words may quote the input.
        Err(error) => Err(format!("is not valid JSON (line {}, column {})", error.line(), error.column())),
    }
}

fn repeats(members: &[(Zeroizing<String>, Node)]) -> bool {
    let mut names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.windows(2).any(|pair| pair[0] == pair[1])
        || members.iter().any(|(_, node)| matches!(node, Node::Object(inner) if repeats(inner)))
}

/// How deep brackets nest, those inside of texts left out.
fn depth(text: &str) -> usize {
    let (mut now, mut deepest) = (0_usize, 0);
    let (mut in_text, mut escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => {
                now += 1;
                deepest = deepest.max(now);
            }
            b'}' | b']' if !in_text => now = now.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(Zeroizing::new(text.to_owned())))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut members = Vec::new();
        while let Some((name, node)) = map.next_entry::<String, Node>()? {
            members.push((Zeroizing::new(name), node));
        }
        Ok(Node::Object(members))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Node::Other)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Node, E> {
        Ok(Node::Bare(truth.to_string()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Node, E> {
        Ok(Node::Bare(number.to_string()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Node, E> {
        Ok(Node::Bare(number.to_string()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        read(text).err().unwrap_or_default()
    }

    #[test]
    fn only_a_flat_enough_object_with_single_keys_is_read() {
        assert_eq!(read(r#"{"a": "x", "b": 1, "c": {"d": [true, null, 1.5]}}"#).unwrap().len(), 3);
        assert_eq!(refusal(r#"["a"]"#), "is not a JSON object");
        assert_eq!(refusal(r#"{"a": "x", "a": "y"}"#), "has a key twice in one object");
        assert_eq!(refusal(r#"{"a": "x", "\u0061": "y"}"#), "has a key twice in one object");
        assert_eq!(refusal(r#"{"o": {"a": "x", "a": "y"}}"#), "has a key twice in one object");
        assert_eq!(refusal("{\"a\": \"x\",\n \"b\": sk-canary}"), "is not valid JSON (line 2, column 7)");
        assert_eq!(refusal(r#"{"a": "x"} canary"#), "is not valid JSON (line 1, column 12)");
    }

    #[test]
    fn depth_counts_brackets_outside_of_texts() {
        assert!(read(&format!(r#"{{"a": {}{}}}"#, "[".repeat(7), "]".repeat(7))).is_ok());
        assert_eq!(refusal(&format!(r#"{{"a": {}{}}}"#, "[".repeat(8), "]".repeat(8))), "is nested more than 8 deep");
        assert_eq!(refusal(&"[".repeat(60_000)), "is nested more than 8 deep");
        assert!(read(r#"{"a": "[[[[[[[[[[\"{{{{{{{{{{"}"#).is_ok());
    }

    #[test]
    fn size_is_capped() {
        assert_eq!(refusal(&" ".repeat(MAX_BYTES + 1)), "is longer than 65536 bytes");
    }
}
