//! What a wrapped key is for. Pairs, in this order; where a KMS binds bytes, as [`Context::canonical`] writes them.
//!
//! ```text
//!   a credential's data key   purpose = credential, org, project, provider, name,
//!                             credential = its UUID with hyphens, version = in decimal
//!   an org's key              purpose = org_key, org
//!   an audit key's seed       purpose = audit_key, instance, number = in decimal
//!   a key of `org+URI`        purpose = wrapping_key, org
//!
//!   canonical = text(key) ‖ text(value) for each pair        text(s) = u32 big-endian length in bytes ‖ UTF-8
//! ```

use crate::crypto::{Identity, put_text};

/// What a wrap is bound to: every part must be the same when it is unwrapped. Keys are fixed words, in a fixed order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context(Vec<(&'static str, String)>);

impl Context {
    pub const fn new(parts: Vec<(&'static str, String)>) -> Self {
        Self(parts)
    }

    /// For a credential's data key.
    pub fn of(identity: &Identity) -> Self {
        Self(vec![
            ("purpose", "credential".to_owned()),
            ("org", identity.org.clone()),
            ("project", identity.project.clone()),
            ("provider", identity.provider.clone()),
            ("name", identity.name.clone()),
            ("credential", identity.credential.hyphenated().to_string()),
            ("version", identity.version.to_string()),
        ])
    }

    /// For the key under which an org's digests and keyed fingerprints are made.
    pub fn for_org_key(org: &str) -> Self {
        Self(vec![("purpose", "org_key".to_owned()), ("org", org.to_owned())])
    }

    /// For the seed of a key that signs the audit log's checkpoints.
    pub fn for_audit_key(instance: &str, number: u32) -> Self {
        Self(vec![
            ("purpose", "audit_key".to_owned()),
            ("instance", instance.to_owned()),
            ("number", number.to_string()),
        ])
    }

    /// For a key that wraps data keys of an org.
    pub fn for_wrapping_key(org: &str) -> Self {
        Self(vec![("purpose", "wrapping_key".to_owned()), ("org", org.to_owned())])
    }

    /// Empty where it belongs to none.
    pub fn org(&self) -> &str {
        self.parts().find(|(part, _)| *part == "org").map_or("", |(_, org)| org)
    }

    pub fn parts(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().map(|(key, value)| (*key, value.as_str()))
    }

    /// For a KMS that binds bytes rather than pairs. Injective: each key and each value has its length before it.
    pub fn canonical(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (key, value) in self.parts() {
            put_text(&mut bytes, key);
            put_text(&mut bytes, value);
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn canonical_is_pairs_with_lengths() {
        let context = Context::for_org_key("acme");
        assert_eq!(context.canonical(), b"\0\0\0\x07purpose\0\0\0\x07org_key\0\0\0\x03org\0\0\0\x04acme");
    }

    fn pairs() -> impl Strategy<Value = Context> {
        let key = prop::sample::select(vec!["a", "ab", "b"]);
        prop::collection::vec((key, "[ab\0]{0,3}"), 0..4).prop_map(Context::new)
    }

    proptest! {
        #[test]
        fn canonical_is_injective(a in pairs(), b in pairs()) {
            prop_assert_eq!(a.canonical() == b.canonical(), a == b);
        }
    }
}
