//! The changes. Each states what it was decided on; where that is no longer so, it is [`super::Error::Stale`].

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use super::org::OrgChange;
use super::row::{AuditKey, Draft, Grant, OrgKey, Path, ProbeRecord, Sealed, Token, VersionState};
use super::seal::Resealed;
use super::stepup::{ApprovalChange, FactorChange};
use super::wrap::{Holder, Moved, Wrap};
use crate::crypto::Seal;

/// What to do together with the record.
#[derive(Clone, Debug)]
pub enum Change {
    /// Nothing else: the record of a read, a refusal or a failure.
    Record,

    /// What somebody does by a token, a mere record too: confirms that it is still good.
    By {
        token: Uuid,
        change: Box<Change>,
    },

    /// A plaintext is about to be answered: confirms that the credential is live, not disabled, at this revision and
    /// serves this version, that the caller's token is still good, and that its grant is good for one more use. Counts that
    /// use ([`super::Error::Spent`] when there is none left) and writes nothing else.
    Serve {
        target: Target,
        version: u32,
        token: Option<Uuid>,
        grant: Option<Uuid>,
    },

    /// A plaintext is about to go to its provider: confirms that the credential is live, at this revision, that the
    /// version is still in the state `from`, and that the caller's token is still good. Writes nothing else.
    Test {
        target: Target,
        version: u32,
        from: VersionState,
        token: Option<Uuid>,
    },

    /// A new credential with its first version.
    Create {
        id: Uuid,
        path: Path,
        metadata: serde_json::Map<String, serde_json::Value>,
        labels: BTreeMap<String, String>,
        expires_at: Option<Timestamp>,
        version: Box<NewVersion>,
    },

    /// A new version of a credential. Metadata and labels stay when they are absent.
    Rotate {
        target: Target,
        metadata: Option<serde_json::Map<String, serde_json::Value>>,
        labels: Option<BTreeMap<String, String>>,
        expires_at: Option<Timestamp>,
        version: Box<NewVersion>,
    },

    /// A connection test's outcome for one version. Applies while the version is still in the state `from`.
    Settle {
        credential: Uuid,
        version: u32,
        from: VersionState,
        settlement: Settlement,
        probe: ProbeRecord,
        /// When it is tested next.
        probe_at: Option<Timestamp>,
        /// How many tests in a row have not found it well.
        failures: u32,
    },

    /// Puts a version's next test off. Nothing else of the credential changes, and nobody is told.
    Postpone {
        credential: Uuid,
        version: u32,
        probe_at: Timestamp,
        failures: u32,
    },

    /// Time has changed a credential's health: tells those who watch. Nothing else of the credential changes.
    Tell {
        target: Target,
    },

    /// Serves another version, pending or superseded; the one served before becomes superseded.
    Activate {
        target: Target,
        version: u32,
    },

    /// Replaces what is given.
    Update {
        target: Target,
        metadata: Option<serde_json::Map<String, serde_json::Value>>,
        labels: Option<BTreeMap<String, String>>,
        disabled: Option<bool>,
    },

    /// Stops serving. Without `destroy_at`, ciphertext and wrapped keys go in the same transaction.
    Delete {
        target: Target,
        destroy_at: Option<Timestamp>,
    },

    /// Takes back a delete whose ciphertext is still there. [`super::Error::Taken`] when the name is in use again.
    Undelete {
        target: Target,
    },

    /// Destroys the ciphertext and wrapped keys of a deleted credential.
    Destroy {
        target: Target,
    },

    /// With a parent, this must be good and not end before its child: else [`super::Error::Stale`].
    IssueToken(Token),
    /// The token of the first administrator. [`super::Error::Taken`] when somebody has an administrator's token for all
    /// tenants that is good and not limited: however many ask at once, one gets it.
    FirstAdmin(Token),
    /// With all that descend from it or took over from it by its own authority, and the grants of them all.
    RevokeToken {
        id: Uuid,
    },
    /// Issues a token that takes over from a good one. The old one ends at that time, or at once when that is now, with all
    /// that descend from it and their grants. [`super::Error::Taken`] when it was rotated before.
    RotateToken {
        id: Uuid,
        ends_at: Timestamp,
        successor: Token,
    },

    /// Minted by a token, that must be good and not end before the grant: else [`super::Error::Stale`]. It ends with the
    /// token. `also` are records of it for each further credential that it is for.
    MintGrant {
        grant: Grant,
        also: Vec<Arc<Draft>>,
    },
    RevokeGrant {
        id: Uuid,
        also: Vec<Arc<Draft>>,
    },

    /// What happens to somebody's second factor.
    Factor(FactorChange),

    /// What happens to a request that needs a second person.
    Approval(ApprovalChange),

    /// Nothing that waits to be destroyed is, before this time: not orgs either, unless that has begun.
    PutOffDestruction {
        until: Timestamp,
    },

    /// What happens to an org as a whole.
    Org(OrgChange),

    /// Keeps an org's key unless there is one already.
    KeepOrgKey(OrgKey),

    /// Adds wraps of the same keys beside those that are there. Whoever has none any more gets none.
    AddWraps(Vec<(Holder, Wrap)>),
    /// Drops wraps of those whose kept one is there.
    DropWraps(Vec<Moved>),
    /// Adds blobs beside those that are read, at most one for a version. What is destroyed gets none.
    AddResealed(Vec<Resealed>),
    /// From now on these are read, and those before them go. Only what is there as it was added.
    SettleResealed(Vec<Resealed>),
    /// Drops what was added and never came to be read. What was dropped before goes from the disk.
    DropResealed,
    /// That a recovery identity opens what is kept was proven now.
    ProveRecovery,
    /// A mere record too: what was destroyed before goes from the disk.
    Scrub,

    /// Keeps an audit key; [`super::Error::Taken`] when there is one of this number.
    KeepAuditKey(AuditKey),

    /// Lets the audit log begin after the checkpoint of this size. [`Keep::Sweep`](super::Keep::Sweep) takes the records
    /// away afterwards, a few at a time: no answer waits for it.
    PruneAudit {
        size: u64,
    },

    /// Other rules are in force: keeps what they are known by.
    KeepRules {
        digests: String,
    },
}

impl Change {
    /// The records that it brings along besides its own.
    pub fn also(&self) -> &[Arc<Draft>] {
        match self {
            Self::MintGrant { also, .. } | Self::RevokeGrant { also, .. } => also,
            Self::By { change, .. } => change.also(),
            _ => &[],
        }
    }

    /// Whether it may take from a caller what they had when a stream was opened. Those are seldom; what is not known to
    /// leave all rights alone counts as one.
    pub fn may_end_rights(&self) -> bool {
        if let Self::By { change, .. } = self {
            return change.may_end_rights();
        }
        !matches!(
            self,
            Self::Record
                | Self::Serve { .. }
                | Self::Test { .. }
                | Self::Create { .. }
                | Self::Rotate { .. }
                | Self::Settle { .. }
                | Self::Postpone { .. }
                | Self::Tell { .. }
                | Self::Activate { .. }
                | Self::Update { .. }
                | Self::Delete { .. }
                | Self::Undelete { .. }
                | Self::Destroy { .. }
                | Self::KeepOrgKey(_)
                | Self::KeepAuditKey(_)
                | Self::AddWraps(_)
                | Self::DropWraps(_)
                | Self::AddResealed(_)
                | Self::SettleResealed(_)
                | Self::DropResealed
                | Self::ProveRecovery
                | Self::Scrub
                | Self::PruneAudit { .. }
        )
    }
}

/// The credential that a change is about, and the revision that it was decided on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    pub credential: Uuid,
    pub revision: u64,
}

/// A version on its way in. Its number is the credential's latest plus one, and is bound into the ciphertext.
#[derive(Clone, Debug)]
pub struct NewVersion {
    pub version: u32,
    pub fingerprint: String,
    pub digest: [u8; 32],
    pub public_identity: BTreeMap<String, String>,
    pub seal: Seal,
    pub sealed: Sealed,
    pub created_by: String,
    /// Serve it at once, untested.
    pub activate: bool,
    pub probe: Option<ProbeRecord>,
    /// When it is tested by itself, should nothing else settle it before.
    pub probe_at: Option<Timestamp>,
    /// What the upload itself told.
    pub expires_at: Option<Timestamp>,
    pub warnings: Vec<String>,
}

/// What a test decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// Serve it: the version becomes active, the one before superseded. For an active version: it is not failing.
    Accept,
    /// The provider refused it: a pending version becomes invalid. For an active version: it is failing.
    Refuse,
    /// Nobody knows: the state stays, the reason is kept.
    Wait,
}
