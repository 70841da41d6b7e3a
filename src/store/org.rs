//! The end of an org, as the vault sees its row.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// An org that is to be destroyed, or was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destruction {
    pub id: Uuid,
    pub org: String,
    pub requested_by: String,
    pub requested_by_name: String,
    pub requested_at: Timestamp,
    /// Until then it can be taken back.
    pub destroy_at: Timestamp,
    pub began_at: Option<Timestamp>,
    /// When nothing was left.
    pub ended_at: Option<Timestamp>,
    /// What was destroyed so far.
    pub toll: Toll,
    /// There is one at the end.
    pub proof: Option<Proof>,
}

/// What was destroyed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Toll {
    pub credentials: u64,
    pub versions: u64,
    pub org_keys: u64,
    pub second_factors: u64,
    /// How many wrapped keys of all these, by the URI of what they were wrapped under.
    pub wraps: BTreeMap<String, u64>,
    /// Good ones that were revoked.
    pub tokens: u64,
    pub grants: u64,
}

/// What was found when everything that an org ever had was read again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remains {
    /// How many rows of versions were read.
    pub looked_at: u64,
    pub ciphertexts: u64,
    /// Of versions and of the org's key.
    pub wraps: u64,
    pub second_factors: u64,
    pub tokens: u64,
    pub grants: u64,
}

impl Remains {
    /// Whether nothing is left that opens anything or lets anybody in.
    pub const fn is_nothing(&self) -> bool {
        let Self { looked_at: _, ciphertexts, wraps, second_factors, tokens, grants } = self;
        *ciphertexts + *wraps + *second_factors + *tokens + *grants == 0
    }
}

/// What stays of an org, with what was destroyed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    pub left: Remains,
    /// KMS keys that were this org's alone: destroying them destroys what backups hold.
    pub own_keys: Vec<String>,
}

/// What an audit record says of an org's end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrgEnd {
    pub id: Uuid,
    pub destroy_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destroyed: Option<Toll>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}

/// What happens to an org. [`super::Error::Stale`] where it is not as the change takes it to be.
#[derive(Clone, Debug)]
pub enum OrgChange {
    /// Deletes all its credentials, until then. [`super::Error::Doomed`] when it is to be destroyed already.
    Destroy { id: Uuid, org: String, by: String, by_name: String, destroy_at: Timestamp },
    /// Takes back what [`OrgChange::Destroy`] deleted, and nothing that was deleted before.
    Restore { id: Uuid },
    /// Its time has come: destroys the org's key and its callers' second factors, and revokes its tokens and grants. Its
    /// credentials follow, each by a [`super::Change::Destroy`].
    Begin { id: Uuid },
    /// Stale unless everything is gone, from the rows and from the write-ahead log.
    End { id: Uuid, proof: Proof },
}
