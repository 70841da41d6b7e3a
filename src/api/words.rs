//! Words that come from outside.

use super::status::Invalid;
use crate::vault::Word;

/// The state of a word; none for an empty one. A refusal lists the words that there are.
pub fn state<T: Word>(field: &str, word: &str) -> Result<Option<T>, Invalid> {
    if word.is_empty() {
        return Ok(None);
    }
    let known = || T::ALL.iter().map(|state| state.word()).collect::<Vec<_>>().join(", ");
    T::read(word).map(Some).ok_or_else(|| Invalid::new(field, format!("must be one of {}", known())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::{CredentialState, Health};

    #[test]
    fn words_go_there_and_back() {
        for known in CredentialState::ALL {
            assert_eq!(state("state", known.word()).unwrap(), Some(*known));
        }
        assert_eq!(state::<Health>("health", "").unwrap(), None);
    }

    #[test]
    fn an_unknown_word_is_refused_with_the_known_ones() {
        let error = state::<Health>("health", "sk-canary").unwrap_err().to_string();
        assert_eq!(error, "health: must be one of disabled, expired, failing, expiring, ok");
    }
}
