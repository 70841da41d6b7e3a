//! The rows, as the vault sees them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

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
    /// Of the served version, or of the newest when none is served. So is the public identity.
    pub fingerprint: String,
    pub public_identity: BTreeMap<String, String>,
    pub metadata: serde_json::Map<String, serde_json::Value>,
    pub labels: BTreeMap<String, String>,
    /// Grows with every change; the etag.
    pub revision: u64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub expires_at: Option<Timestamp>,
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
    pub fn health(&self, now: Timestamp) -> Health {
        match self.expires_at {
            _ if self.disabled => Health::Disabled,
            Some(end) if end <= now => Health::Expired,
            _ if self.failing_since.is_some() => Health::Failing,
            Some(end) if end.duration_since(now) <= Health::EXPIRING => Health::Expiring,
            _ => Health::Ok,
        }
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
    pub kms_key: String,
    pub kms_key_version: String,
    pub probe: Option<ProbeRecord>,
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

/// The ciphertext of a version and the wrapped key that opens it.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    pub blob: Vec<u8>,
    pub wrapped_dek: Vec<u8>,
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub id: Uuid,
    pub name: String,
    pub role: String,
    /// A tenant, or `*`.
    pub org: String,
    pub projects: Vec<String>,
    pub providers: Vec<String>,
    /// SHA-256 of the token's secret part.
    pub hash: [u8; 32],
    pub created_by: String,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub revoked_at: Option<Timestamp>,
}

/// The key under which an org's digests and keyed fingerprints are made; wrapped by the KMS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrgKey {
    pub org: String,
    pub wrapped: Vec<u8>,
    pub kms_key: String,
    pub kms_key_version: String,
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
}
