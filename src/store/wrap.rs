//! Wrapped keys, and what they are the keys of.
//!
//! ```text
//!   a version      'v' ‖ credential's UUID (16) ‖ version, u32 big-endian
//!   an org's key   'o' ‖ org
//!   an audit key   'a' ‖ number, u32 big-endian ‖ instance
//!   a factor       'f' ‖ factor's UUID (16)
//! ```

use uuid::Uuid;

use super::Path;

/// A key under a key of a KMS. A holder may have several, each under another: any of them opens what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrap {
    /// The KMS key's URI, or an offline recipient.
    pub key: String,
    pub key_version: String,
    pub bytes: Vec<u8>,
}

/// What keys are wrapped under.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyVersion {
    pub key: String,
    pub version: String,
}

impl Wrap {
    pub fn under(&self) -> KeyVersion {
        KeyVersion { key: self.key.clone(), version: self.key_version.clone() }
    }
}

impl KeyVersion {
    /// Nobody's KMS: the private half is never on this machine.
    pub fn is_recovery(&self) -> bool {
        self.key.starts_with("age:")
    }
}

/// How many keys of one kind are wrapped under one key; of one org, where that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyUse {
    pub under: KeyVersion,
    pub kind: HolderKind,
    /// Of versions and orgs' keys; audit keys and factors are of no tenant.
    pub org: Option<String>,
    pub count: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HolderKind {
    Version,
    OrgKey,
    AuditKey,
    Factor,
}

/// A holder's wraps, and what their key is for.
#[derive(Clone, Debug)]
pub struct Held {
    pub wraps: Vec<Wrap>,
    pub what: HeldFor,
}

#[derive(Clone, Debug)]
pub enum HeldFor {
    Version { path: Path, blob: Vec<u8> },
    OrgKey,
    AuditKey { public: [u8; 32] },
    Factor { caller: String, blob: Vec<u8> },
}

/// What becomes of a holder's wraps: one is kept, the others go.
#[derive(Clone, Debug)]
pub struct Moved {
    pub holder: Holder,
    pub kept: KeyVersion,
    pub dropped: Vec<KeyVersion>,
}

/// What has a wrapped key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holder {
    Version { credential: Uuid, version: u32 },
    OrgKey(String),
    AuditKey { instance: String, number: u32 },
    Factor(Uuid),
}

impl Holder {
    pub const fn kind(&self) -> HolderKind {
        match self {
            Self::Version { .. } => HolderKind::Version,
            Self::OrgKey(_) => HolderKind::OrgKey,
            Self::AuditKey { .. } => HolderKind::AuditKey,
            Self::Factor(_) => HolderKind::Factor,
        }
    }

    /// Sorts a credential's versions together, in their order.
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Version { credential, version } => {
                [b"v", &credential.as_bytes()[..], &version.to_be_bytes()].concat()
            }
            Self::OrgKey(org) => [b"o", org.as_bytes()].concat(),
            Self::AuditKey { instance, number } => [b"a", &number.to_be_bytes()[..], instance.as_bytes()].concat(),
            Self::Factor(id) => [b"f", &id.as_bytes()[..]].concat(),
        }
    }

    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        match kind {
            b'v' => {
                let (credential, version) = rest.split_first_chunk::<16>()?;
                let version = u32::from_be_bytes(version.try_into().ok()?);
                Some(Self::Version { credential: Uuid::from_bytes(*credential), version })
            }
            b'o' => Some(Self::OrgKey(text(rest)?)),
            b'a' => {
                let (number, instance) = rest.split_first_chunk::<4>()?;
                Some(Self::AuditKey { instance: text(instance)?, number: u32::from_be_bytes(*number) })
            }
            b'f' => Some(Self::Factor(Uuid::from_slice(rest).ok()?)),
            _ => None,
        }
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Version { credential, version } => write!(f, "credential {credential} version {version}"),
            Self::OrgKey(org) => write!(f, "key of org {org}"),
            Self::AuditKey { instance, number } => write!(f, "audit key {number} of {instance}"),
            Self::Factor(id) => write!(f, "second factor {id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn holders() -> impl Strategy<Value = Holder> {
        prop_oneof![
            (any::<u128>(), any::<u32>())
                .prop_map(|(id, version)| Holder::Version { credential: Uuid::from_u128(id), version }),
            ".{0,5}".prop_map(Holder::OrgKey),
            (".{0,5}", any::<u32>()).prop_map(|(instance, number)| Holder::AuditKey { instance, number }),
            any::<u128>().prop_map(|id| Holder::Factor(Uuid::from_u128(id))),
        ]
    }

    proptest! {
        #[test]
        fn a_holder_reads_as_it_is_written(holder in holders()) {
            prop_assert_eq!(Holder::read(&holder.bytes()), Some(holder));
        }

        #[test]
        fn bytes_are_of_one_holder_or_of_none(bytes in prop::collection::vec(any::<u8>(), 0..24)) {
            if let Some(holder) = Holder::read(&bytes) {
                prop_assert_eq!(holder.bytes(), bytes);
            }
        }
    }
}
