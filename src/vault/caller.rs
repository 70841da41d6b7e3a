//! Who asks. The first argument of every operation.

use std::sync::Arc;

use uuid::Uuid;

/// A proven identity with the request that it came in with.
#[derive(Clone, Debug)]
pub struct Caller {
    pub principal: Arc<Principal>,
    /// Told to the client, logged, and written into the audit log.
    pub request_id: String,
}

/// Who somebody is and what their proof limits them to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// A token's id, or `system`, or `anonymous`.
    pub id: String,
    /// For people.
    pub name: String,
    /// pipeline, service, operator or admin; empty for nobody.
    pub role: String,
    /// A tenant, or `*`.
    pub org: String,
    /// Only these; empty means all.
    pub projects: Vec<String>,
    /// Only these; empty means all, `*` means all said aloud.
    pub providers: Vec<String>,
    /// The token that proves it: an answer is refused when it was revoked meanwhile.
    pub token: Option<Uuid>,
}

impl Caller {
    /// The daemon itself, for work that nobody asked for.
    pub fn system() -> Self {
        Self::unproven("system", Uuid::now_v7().to_string())
    }

    /// Somebody without a valid proof.
    pub fn anonymous(request_id: String) -> Self {
        Self::unproven("anonymous", request_id)
    }

    fn unproven(id: &str, request_id: String) -> Self {
        let principal = Principal {
            id: id.into(),
            name: id.into(),
            role: String::new(),
            org: String::new(),
            projects: Vec::new(),
            providers: Vec::new(),
            token: None,
        };
        Self { principal: Arc::new(principal), request_id }
    }
}
