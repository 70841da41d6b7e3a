//! The part of the configuration about the keys that wrap data keys.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{duration, source};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Kms {
    /// The URI of the key that new versions are wrapped with.
    pub default: String,
    /// What was wrapped under these still opens.
    pub others: Vec<String>,
    /// The longest that a call waits for a key, all its attempts included.
    #[serde(with = "duration")]
    pub deadline: Duration,
    /// The keys of orgs that bring their own, by org.
    pub orgs: BTreeMap<String, String>,
    pub gcp: GcpKms,
    pub local: LocalKms,
    pub recovery: Recovery,
}

impl Default for Kms {
    fn default() -> Self {
        Self {
            default: "local://default".into(),
            others: Vec::new(),
            deadline: Duration::from_secs(5),
            orgs: BTreeMap::new(),
            gcp: GcpKms::default(),
            local: LocalKms::default(),
            recovery: Recovery::default(),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recovery {
    /// Whose private halves are somewhere else: `age1…`. They open what is stored when all keys are lost.
    pub recipients: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GcpKms {
    /// Where Google's KMS is asked instead of its public address: a private endpoint.
    pub endpoint: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LocalKms {
    pub directory: PathBuf,
    #[serde(with = "source::maybe_path")]
    pub passphrase_file: Option<PathBuf>,
    /// Off by default: with an unmounted or mistyped directory, a daemon that makes keys would start with a fresh key,
    /// open nothing that was stored before, and seal new credentials under a key that nobody has a copy of.
    pub create: bool,
}

impl Default for LocalKms {
    fn default() -> Self {
        Self { directory: "strongroom-data/keys".into(), passphrase_file: None, create: false }
    }
}
