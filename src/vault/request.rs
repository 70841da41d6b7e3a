//! What can be asked of the vault, and what it answers. No transport's types.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::crypto::Secret;
use crate::providers::{Outcome, Upload};
use crate::store::{
    Credential, CredentialState, Health, Holder, KeyVersion, Path, ProbeRecord, Record, Tested, Version,
};

pub type Metadata = serde_json::Map<String, serde_json::Value>;
pub type Labels = BTreeMap<String, String>;

/// A new credential, or a new version of one.
#[derive(Clone, Debug)]
pub struct Setup {
    pub path: Path,
    pub upload: Upload,
    /// Absent on a rotation means unchanged.
    pub metadata: Option<Metadata>,
    pub labels: Option<Labels>,
    pub expires_at: Option<Timestamp>,
    /// Activate untested; needs its own permission.
    pub no_probe: bool,
    pub etag: Option<String>,
}

#[derive(Clone, Debug)]
pub struct SetupDone {
    pub credential: Credential,
    pub version: Version,
    pub probe: ProbeRecord,
}

#[derive(Clone, Debug)]
pub struct Validate {
    pub path: Path,
    /// Tests this without storing it; absent, the stored credential's newest version is tested.
    pub upload: Option<Upload>,
    /// What is said about the upload. What is stored has its own.
    pub metadata: Option<Metadata>,
}

#[derive(Clone, Debug)]
pub struct Validated {
    pub probe: Outcome,
    pub at: Timestamp,
    pub fingerprint: String,
    pub public_identity: BTreeMap<String, String>,
    pub credential: Option<Credential>,
}

/// A credential with the history of its tests, newest first.
#[derive(Clone, Debug)]
pub struct Seen {
    pub credential: Credential,
    pub tests: Vec<Tested>,
}

#[derive(Clone, Debug, Default)]
pub struct List {
    pub org: String,
    pub project: Option<String>,
    pub provider: Option<String>,
    pub state: Option<CredentialState>,
    pub health: Option<Health>,
    /// Each `key=value` or `key`.
    pub labels: Vec<String>,
    /// 0 means the default.
    pub page_size: u32,
    pub page_token: String,
}

#[derive(Clone, Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// Empty on the last page.
    pub next: String,
}

#[derive(Clone, Debug)]
pub struct Delete {
    pub path: Path,
    pub etag: Option<String>,
    /// How long the ciphertext is kept for an undelete.
    pub destroy_after: Option<Duration>,
}

#[derive(Clone, Debug)]
pub struct Update {
    pub path: Path,
    pub metadata: Option<Metadata>,
    pub labels: Option<Labels>,
    pub disabled: Option<bool>,
    pub etag: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Decrypt {
    pub path: Path,
    /// Pass the cache by.
    pub fresh: bool,
}

#[derive(Clone, Debug)]
pub struct Decrypted {
    pub credential_id: uuid::Uuid,
    pub version: u32,
    pub secret: Secret,
    pub fingerprint: String,
    pub cached: bool,
}

#[derive(Clone, Debug)]
pub struct Activate {
    pub path: Path,
    pub version: u32,
    pub etag: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Watch {
    pub org: String,
    pub project: Option<String>,
    pub provider: Option<String>,
    /// Absent: only changes from now on.
    pub after: Option<u64>,
}

/// What a grant is to be good for.
#[derive(Clone, Debug)]
pub struct Mint {
    pub org: String,
    pub run: String,
    /// Empty is any.
    pub phase: String,
    pub credentials: Vec<Path>,
    /// The caller that alone may use it, by its id.
    pub holder: Option<String>,
    /// 0 means one.
    pub uses: u32,
    pub ttl: Option<Duration>,
}

#[derive(Clone, Debug, Default)]
pub struct ListGrants {
    pub org: Option<String>,
    pub run: Option<String>,
    /// 0 means the default.
    pub page_size: u32,
    pub page_token: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditQuery {
    pub org: Option<String>,
    pub credential_id: Option<uuid::Uuid>,
    pub action: Option<String>,
    pub outcome: Option<String>,
    pub caller: Option<String>,
    pub run: Option<String>,
    pub grant: Option<uuid::Uuid>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub page_size: u32,
    pub page_token: String,
    pub descending: bool,
}

/// A page of the audit log.
#[derive(Clone, Debug)]
pub struct AuditFound {
    pub records: Vec<Record>,
    pub next: String,
    /// There may be more of them now.
    pub more: bool,
    /// How many were pruned before the first that is left.
    pub pruned: u64,
}

/// What a verification of the audit log found, one per instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainReport {
    pub instance: String,
    pub records: u64,
    pub head: [u8; 32],
    pub pruned: u64,
    /// How many checkpoints were compared, and how many records the last of them stands for.
    pub checkpoints: u64,
    pub covered: u64,
    /// The first broken record and what is wrong with it.
    pub broken: Option<(u64, &'static str)>,
}

/// A key that signs checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditKeyInfo {
    /// As other verifiers of signed notes take it.
    pub verifier: String,
    pub created_at: Timestamp,
}

/// Which wrapped keys to move, and where to.
#[derive(Clone, Debug, Default)]
pub struct Rewrap {
    /// The key to move them to; without one, each goes to the newest version of the key that is meant for it.
    pub to: Option<String>,
    /// Only those under this key.
    pub from: Option<String>,
    /// Only those of this org.
    pub org: Option<String>,
    /// At most so many a second; 0 is as many as can be.
    pub rate: u32,
    /// Only count.
    pub dry_run: bool,
}

/// Which versions to seal anew, as their providers' entries say now.
#[derive(Clone, Debug, Default)]
pub struct Reseal {
    /// Only those of this org.
    pub org: Option<String>,
    /// Only those of this provider.
    pub provider: Option<String>,
    /// At most so many a second; 0 is as many as can be.
    pub rate: u32,
    /// Only count.
    pub dry_run: bool,
}

/// How far a rewrap or a reseal has come.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// How many there were to move when it began.
    pub total: u64,
    pub moved: u64,
    /// Destroyed before their turn came.
    pub gone: u64,
    /// Left as they were.
    pub failed: u64,
    /// Since the news before. Of very many, not each is told.
    pub failures: Vec<Left>,
    pub done: bool,
}

/// What was left as it is.
#[derive(Clone, Debug)]
pub struct Left {
    pub holder: Holder,
    /// What its key is wrapped under, where that was to change.
    pub under: Option<KeyVersion>,
    pub why: String,
}

/// What keys are wrapped under, and how many.
#[derive(Clone, Debug)]
pub struct KeyInUse {
    pub key: String,
    /// Empty for a configured key that nothing is wrapped under.
    pub version: String,
    pub configured: bool,
    pub default: bool,
    /// An offline recipient, and no key of a KMS.
    pub recovery: bool,
    /// Whose own key it is.
    pub owners: Vec<String>,
    pub held: Holders,
    /// The same, by org; where that was asked for.
    pub by_org: BTreeMap<String, Holders>,
}

/// How many keys of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holders {
    pub versions: u64,
    pub org_keys: u64,
    pub audit_keys: u64,
    pub factors: u64,
}
