//! States are enums inside and words outside. The words are serde's, stated once where the enum is.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::{Deserialize, Serialize};

use super::status::Invalid;

/// The word of a state.
pub fn word(state: impl Serialize) -> String {
    match serde_json::to_value(state) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

/// The state of a word; none for an empty one. A refusal lists the words that there are.
pub fn state<'de, T: Deserialize<'de>>(field: &str, word: &'de str) -> Result<Option<T>, Invalid> {
    if word.is_empty() {
        return Ok(None);
    }
    T::deserialize(StrDeserializer::<Unknown>::new(word))
        .map(Some)
        .map_err(|Unknown(words)| Invalid::new(field, format!("must be one of {}", words.join(", "))))
}

/// Keeps what was expected, and forgets what was given.
#[derive(Debug)]
struct Unknown(&'static [&'static str]);

impl serde::de::Error for Unknown {
    fn custom<M: fmt::Display>(_: M) -> Self {
        Self(&[])
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self(expected)
    }
}

impl std::error::Error for Unknown {}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not one of the words")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::{CredentialState, Health};

    #[test]
    fn words_go_there_and_back() {
        for known in [CredentialState::Pending, CredentialState::Active, CredentialState::Invalid] {
            assert_eq!(state("state", &word(known)).unwrap(), Some(known));
        }
        assert_eq!(state::<Health>("health", "").unwrap(), None);
    }

    #[test]
    fn an_unknown_word_is_refused_with_the_known_ones() {
        let error = state::<Health>("health", "sk-canary").unwrap_err().to_string();
        assert_eq!(error, "health: must be one of disabled, expired, failing, expiring, ok");
    }
}
