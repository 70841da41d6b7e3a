//! The names that somebody may have meant.

/// The candidates that are near enough to `word` to be meant by it, nearest first, three at most.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    // Longer words than any name cost time and are near to nothing.
    let word = word.get(..word.len().min(64)).unwrap_or_default().to_ascii_lowercase().replace('-', "_");
    let mut near: Vec<(usize, &str)> =
        candidates.into_iter().filter_map(|candidate| Some((distance(&word, candidate)?, candidate))).collect();
    near.sort_unstable();
    near.into_iter().take(3).map(|(_, candidate)| candidate).collect()
}

/// For a name that is wrong, those that may have been meant.
pub fn meant<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(word, names).as_slice() {
        [] => String::new(),
        near => format!("; did you mean {}?", near.join(", ")),
    }
}

/// Part of a name (`gcp`, `aws`) is as near as one slip of the finger; more than a third of slips is another word.
fn distance(word: &str, candidate: &str) -> Option<usize> {
    let slips = slips(word.as_bytes(), candidate.as_bytes());
    if word.len() >= 3 && (candidate.contains(word) || word.contains(candidate)) {
        return Some(slips.min(1));
    }
    (slips <= word.len().max(candidate.len()).div_ceil(3).min(4)).then_some(slips)
}

/// Levenshtein's distance.
fn slips(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likely_name_comes_first() {
        let ids = ["gcp_service_account", "aws_keys", "openai", "cloudflare", "saas_generic"];
        for (word, meant) in [
            ("openia", "openai"),
            ("OpenAI", "openai"),
            ("gcp", "gcp_service_account"),
            ("service-account", "gcp_service_account"),
            ("aws", "aws_keys"),
            ("cloud-flare", "cloudflare"),
        ] {
            assert_eq!(nearest(word, ids).first(), Some(&meant), "{word}");
        }
        assert!(nearest("", ids).is_empty());
        assert!(nearest("zzzzzzzz", ids).is_empty());
        assert!(nearest(&"€".repeat(1000), ids).is_empty());
    }
}
