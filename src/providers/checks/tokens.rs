//! What short keys say about themselves.

use super::{Told, Values, value};
use crate::cloud::aws;
use crate::providers::Invalid;

pub(super) fn aws_access_key(values: &Values) -> Result<Told, Invalid> {
    let id = value(values, "access_key_id").unwrap_or_default();
    match (id.starts_with("ASIA"), values.contains_key("session_token")) {
        (true, false) => {
            Err(Invalid::new("session_token", "is missing: keys that begin with ASIA are temporary and come with one"))
        }
        (false, true) if !id.is_empty() => {
            Err(Invalid::new("session_token", "does not belong here: keys that begin with AKIA come without one"))
        }
        _ => Ok(aws::account_id(id).map_or_else(Told::default, |account| Told::identity("account_id", account))),
    }
}

/// Tokens of these kinds end in a checksum. Fine-grained ones do not, nor do installations' new ones, which are longer.
pub(super) fn github_token(values: &Values) -> Result<Told, Invalid> {
    let token = value(values, "token").unwrap_or_default();
    let body = ["ghp_", "gho_", "ghu_", "ghs_"].iter().find_map(|prefix| token.strip_prefix(prefix));
    match body.filter(|body| body.len() == 36).and_then(|body| body.split_at_checked(30)) {
        Some((random, sum)) if github_checksum(random) != sum => Err(Invalid::new(
            "token",
            "has a typing error or is cut off: its last six characters do not fit the others",
        )),
        _ => Ok(Told::default()),
    }
}

/// CRC-32 in base 62, digits before capitals before small letters, as six characters.
fn github_checksum(random: &str) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut left = crc32fast::hash(random.as_bytes());
    let mut digits = [b'0'; 6];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(left % 62) as usize];
        left /= 62;
    }
    digits.iter().map(|digit| char::from(*digit)).collect()
}

pub(super) fn stripe_key(values: &Values) -> Told {
    match value(values, "api_key").and_then(|key| key.split('_').nth(1)) {
        Some(mode @ ("live" | "test")) => Told::identity("mode", mode),
        _ => Told::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::values;
    use super::*;

    #[test]
    fn a_token_that_was_mistyped_is_told_from_its_checksum() {
        let check = |token: &str| github_token(&values([("token", token)]));
        let good = "zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ0mLq17";
        for prefix in ["ghp_", "gho_", "ghu_", "ghs_"] {
            assert_eq!(check(&format!("{prefix}{good}")), Ok(Told::default()));
            for at in 0..good.len() {
                let mut wrong = good.as_bytes().to_vec();
                wrong[at] = if wrong[at] == b'x' { b'y' } else { b'x' };
                let wrong = format!("{prefix}{}", String::from_utf8(wrong).unwrap());
                let refusal = check(&wrong).unwrap_err();
                assert!(refusal.why.contains("typing error"), "{refusal}");
            }
        }
    }

    #[test]
    fn a_small_checksum_is_filled_with_zeros() {
        assert_eq!(github_checksum(""), "000000");
        assert_eq!(github_checksum("zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ"), "0mLq17");
    }

    #[test]
    fn tokens_without_a_checksum_are_left_alone() {
        for token in [
            format!("github_pat_{}_{}", "A".repeat(22), "b".repeat(59)),
            format!("ghs_123456_{}", "A".repeat(300)),
            format!("ghp_{}", "é".repeat(18)),
        ] {
            assert_eq!(github_token(&values([("token", &token)])).is_ok(), !token.contains('é'), "{token}");
        }
    }

    #[test]
    fn stripe_tells_the_mode() {
        let mode = |key: &str| stripe_key(&values([("api_key", key)])).identity.remove("mode");
        assert_eq!(mode("sk_live_0123456789").as_deref(), Some("live"));
        assert_eq!(mode("rk_test_0123456789").as_deref(), Some("test"));
        assert_eq!(mode("sk_other_012345678"), None);
    }
}
