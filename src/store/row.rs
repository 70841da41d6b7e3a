//! The rows, as the vault sees them.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::org::OrgEnd;
use super::wrap::{KeyVersion, Wrap};
use crate::crypto::Seal;

/// A credential's name: data, not identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Path {
    pub org: String,
    pub project: String,
    pub provider: String,
    pub name: String,
}

/// A row of `credentials`.
#[derive(Clone, Debug, PartialEq)]
pub struct Credential {
    pub id: Uuid,
    pub path: Path,
    pub state: CredentialState,
    pub disabled: bool,
    /// Set while the newest test of the served version refuses it.
    pub failing_since: Option<Timestamp>,
    pub active_version: Option<u32>,
    pub latest_version: u32,
    /// Of the served version, or of the newest when none is served. So are the public identity, with what the provider
    /// told, the warnings and the last test.
    pub fingerprint: String,
    pub public_identity: BTreeMap<String, String>,
    /// When that version was set up.
    pub secret_created_at: Timestamp,
    pub warnings: Vec<String>,
    pub last_test: Option<ProbeRecord>,
    /// When one of its versions is tested next; never while it is disabled or deleted.
    pub next_test_at: Option<Timestamp>,
    pub metadata: serde_json::Map<String, serde_json::Value>,
    pub labels: BTreeMap<String, String>,
    /// Grows with every change; the etag.
    pub revision: u64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// The earliest end that is known: the owner's word, the upload's or the provider's.
    pub expires_at: Option<Timestamp>,
    /// The owner's word, beside that in the metadata.
    pub declared_expires_at: Option<Timestamp>,
    /// What those who watch were told last.
    pub told_health: Health,
    pub deleted_at: Option<Timestamp>,
    /// When a deleted credential's ciphertext is destroyed.
    pub destroy_at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CredentialState {
    Pending,
    Active,
    Invalid,
    Deleted,
}

/// Derived when it is read, never stored. In the order of what matters more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Health {
    Disabled,
    Expired,
    Failing,
    Expiring,
    Ok,
}

impl Health {
    /// A credential is expiring for this long before it is expired.
    pub const EXPIRING: jiff::SignedDuration = jiff::SignedDuration::from_hours(14 * 24);
}

impl Credential {
    /// One that was just made: nothing is known of it but its name.
    pub fn new(id: Uuid, path: Path, at: Timestamp) -> Self {
        Self {
            id,
            path,
            state: CredentialState::Pending,
            disabled: false,
            failing_since: None,
            active_version: None,
            latest_version: 1,
            fingerprint: String::new(),
            public_identity: BTreeMap::new(),
            secret_created_at: at,
            warnings: Vec::new(),
            last_test: None,
            next_test_at: None,
            metadata: serde_json::Map::new(),
            labels: BTreeMap::new(),
            revision: 1,
            created_at: at,
            updated_at: at,
            expires_at: None,
            declared_expires_at: None,
            told_health: Health::Ok,
            deleted_at: None,
            destroy_at: None,
        }
    }

    pub fn health(&self, now: Timestamp) -> Health {
        match self.expires_at {
            _ if self.disabled => Health::Disabled,
            Some(end) if end <= now => Health::Expired,
            _ if self.failing_since.is_some() => Health::Failing,
            Some(end) if end.duration_since(now) <= Health::EXPIRING => Health::Expiring,
            _ => Health::Ok,
        }
    }

    /// When time alone will change its health.
    pub fn health_changes_at(&self, now: Timestamp) -> Option<Timestamp> {
        let end = self.expires_at.filter(|_| self.deleted_at.is_none() && !self.disabled)?;
        let soon = end.saturating_sub(Health::EXPIRING).unwrap_or(Timestamp::MIN);
        [soon, end].into_iter().find(|at| *at > now && self.health(*at) != self.health(now))
    }

    /// What the owner said about its end.
    pub fn declared_end(&self) -> Option<Timestamp> {
        let in_metadata = self.metadata.get("expires_at").and_then(|end| end.as_str()?.parse().ok());
        [self.declared_expires_at, in_metadata].into_iter().flatten().min()
    }
}

/// A row of `org_integration_credentials`, without its ciphertext.
#[derive(Clone, Debug, PartialEq)]
pub struct Version {
    pub credential: Uuid,
    pub version: u32,
    pub state: VersionState,
    pub fingerprint: String,
    /// HMAC-SHA-256 of the canonical secret under the org's key: finds reuse, tells nothing without the key.
    pub digest: [u8; 32],
    pub public_identity: BTreeMap<String, String>,
    pub seal: Seal,
    /// What its data key is wrapped under, in order; nothing once it is destroyed.
    pub keys: Vec<KeyVersion>,
    /// What the upload itself told.
    pub expires_at: Option<Timestamp>,
    pub warnings: Vec<String>,
    pub probe: Option<ProbeRecord>,
    /// The newest test that found it well.
    pub learned: Option<ProbeRecord>,
    /// When it is tested next, if it is served or the newest and pending.
    pub probe_at: Option<Timestamp>,
    /// How many tests in a row have not found it well.
    pub failures: u32,
    pub created_by: String,
    pub created_at: Timestamp,
    pub activated_at: Option<Timestamp>,
    pub destroyed_at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VersionState {
    Pending,
    Active,
    Superseded,
    Destroyed,
    Invalid,
}

/// A ciphertext and the wraps of the key that opens it.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    pub blob: Vec<u8>,
    pub wraps: Vec<Wrap>,
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealed({} bytes)", self.blob.len())
    }
}

/// The newest connection test of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeRecord {
    pub outcome: String,
    pub reason: String,
    pub hint: String,
    pub at: Timestamp,
    pub retry_after_seconds: Option<u64>,
    /// What the provider told, where it did. Nothing of it is secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub identity: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl ProbeRecord {
    /// How a test says that all is well.
    pub const OK: &str = "ok";
}

/// One of the tests that a credential's history keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tested {
    pub version: u32,
    pub at: Timestamp,
    pub outcome: String,
    pub reason: String,
    pub hint: String,
}

/// A credential that is to be tested now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToTest {
    pub credential: Uuid,
    pub provider: String,
    pub org: String,
}

/// What to list. Empty parts match everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub org: String,
    pub project: Option<String>,
    pub provider: Option<String>,
    /// Tombstones are listed only when asked for.
    pub state: Option<CredentialState>,
    pub health: Option<(Health, Timestamp)>,
    /// Each is a key, and a value where it matters.
    pub labels: Vec<(String, Option<String>)>,
}

/// A place in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    pub project: String,
    pub provider: String,
    pub name: String,
    pub id: Uuid,
}

/// A committed change, for those who watch.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangeEvent {
    pub sequence: u64,
    pub at: Timestamp,
    pub change: String,
    pub version: Option<u32>,
    /// As it is now, not as it was.
    pub credential: Credential,
}

/// An API token. Its text is not here; its hash is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Token {
    pub id: Uuid,
    pub name: String,
    pub role: String,
    /// A tenant, or `*`.
    pub org: String,
    pub projects: Vec<String>,
    pub providers: Vec<String>,
    /// Only these, by their words; empty means all that the role may.
    pub actions: Vec<String>,
    /// The token that it was derived from, and ends with.
    pub parent: Option<Uuid>,
    /// The token that it takes over from.
    pub replaces: Option<Uuid>,
    /// SHA-256 of the token's secret part.
    pub hash: [u8; 32],
    pub created_by: String,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub revoked_at: Option<Timestamp>,
    /// To about a minute; the store keeps it by itself.
    pub last_used_at: Option<Timestamp>,
}

impl Token {
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at > now
    }
}

/// A right to decrypt some credentials a few times, for one run of a pipeline. Its text is not here; its hash is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    pub id: Uuid,
    pub org: String,
    pub run: String,
    /// Empty is any.
    pub phase: String,
    /// By their ids: another credential under an old one's name is not meant.
    pub credentials: Vec<Uuid>,
    /// The caller that alone may use it, by its id.
    pub holder: Option<String>,
    pub uses: u32,
    pub used: u32,
    /// SHA-256 of the grant's secret part.
    pub hash: [u8; 32],
    pub minted_by: String,
    /// The token that it was minted by, and ends with.
    pub minted_with: Option<Uuid>,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub revoked_at: Option<Timestamp>,
}

impl Grant {
    pub fn is_good(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at > now && self.used < self.uses
    }
}

/// Which grants to list. What is absent matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrantFilter {
    pub org: Option<String>,
    pub run: Option<String>,
}

/// The key under which an org's digests and keyed fingerprints are made; wrapped by the KMS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrgKey {
    pub org: String,
    pub wraps: Vec<Wrap>,
}

/// What an audit record says, before it has its place in a chain. Never holds a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draft {
    pub at: Timestamp,
    pub caller: String,
    pub caller_name: String,
    pub action: String,
    pub outcome: String,
    pub org: String,
    pub project: String,
    pub provider: String,
    pub name: String,
    pub credential_id: Option<Uuid>,
    pub version: Option<u32>,
    pub fingerprint: String,
    pub request_id: String,
    pub policies: Vec<String>,
    /// How the caller proved who they are: token, jwt, mtls, unix, grant; system; none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub proof: String,
    /// Where the request came from; empty over a Unix socket.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// The pipeline run and its phase, where the proof or the grant tells them.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub run: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub phase: String,
    /// The grant that was used, made or revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<Uuid>,
    /// The approval that was asked for, decided, or acted under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Uuid>,
    /// Of what has no version: how it was before and how it is now, as digests.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub before: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub after: String,
    /// The end of an org, or how far it has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org_end: Option<Box<OrgEnd>>,
    /// How many more alike this record stands for: failures of strangers are recorded together when they come often.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub alike: u64,
    /// What the rules are known by that allowed it. No record tells it: a store that several processes share refuses what
    /// was decided under others than those in force.
    #[serde(skip)]
    pub rules: Option<Arc<str>>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// An audit record in its chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub instance: String,
    pub sequence: u64,
    pub draft: Draft,
    /// The text that the hash covers.
    pub canonical: String,
    pub hash: [u8; 32],
}

/// Which audit records to read. Empty parts match everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    pub instance: Option<String>,
    pub org: Option<String>,
    pub credential_id: Option<Uuid>,
    pub action: Option<String>,
    pub outcome: Option<String>,
    pub caller: Option<String>,
    pub run: Option<String>,
    pub grant: Option<Uuid>,
    /// From this time on.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
}

/// Some of the records that a filter matches, each with its position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditPage {
    pub records: Vec<(u64, Record)>,
    /// Where to look on: a page is as long as was asked for, or has looked at as many records as one page may. None at
    /// the log's end.
    pub next: Option<u64>,
    /// How many records were pruned before the first that is left.
    pub pruned: u64,
}

/// A record as its chain and its tree see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chained {
    pub position: u64,
    pub sequence: u64,
    pub at: Timestamp,
    pub canonical: String,
    pub hash: [u8; 32],
}

/// A signed checkpoint of this instance's log, and what it takes to go on from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// How many records it stands for.
    pub size: u64,
    pub note: String,
    /// The hash of the last of them.
    pub head: [u8; 32],
    pub frontier: Vec<u8>,
    /// The positions before the first record and of the last one since the checkpoint before.
    pub after: u64,
    pub position: u64,
    /// Of those, the earliest and the latest time.
    pub oldest_at: Timestamp,
    pub newest_at: Timestamp,
}

/// A key that signs checkpoints; its seed is wrapped by the KMS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditKey {
    /// From 1. The newest signs.
    pub number: u32,
    pub public: [u8; 32],
    pub wraps: Vec<Wrap>,
    pub created_at: Timestamp,
}

/// Where a log begins whose first records were pruned: how many those were, and the position of the last of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Boundary {
    pub size: u64,
    pub position: u64,
}

/// Copies of the log, by the names that their cursors have without the chain: those that take its records, and those that
/// take its checkpoints.
#[derive(Clone, Debug, Default)]
pub struct Takers {
    pub records: Vec<&'static str>,
    pub checkpoints: Vec<&'static str>,
}

/// What is kept about the log itself. No record tells of it: there would be no end of them.
#[derive(Clone, Debug)]
pub enum Keep {
    Checkpoint(Box<Checkpoint>),
    /// How far a copy of the log has come.
    Cursor {
        copy: String,
        reached: u64,
    },
    /// Takes away some of what was pruned.
    Sweep,
}
