//! Who asks. The first argument of every operation.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use crate::store::{Grant, Token};
use crate::vault::Turn;

/// A proven identity with the request that it came in with.
#[derive(Clone, Debug)]
pub struct Caller {
    pub principal: Arc<Principal>,
    /// Told to the client, logged, and written into the audit log.
    pub request_id: String,
    pub circumstances: Circumstances,
    /// Its place among the calls that may be made at the same time: taken while anything is done for it.
    pub turn: Turn,
    pub standing: Standing,
}

/// Asks again whether the proof holds: a request's body may come long after its headers, and a stream outlives it. About a
/// token the store is asked instead.
#[derive(Clone, Default)]
pub struct Standing(Option<Arc<dyn Fn() -> bool + Send + Sync>>);

impl Standing {
    pub fn of(ask: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(ask)))
    }

    /// Of what needs no proof.
    pub const fn own() -> Self {
        Self(None)
    }

    pub fn holds(&self) -> bool {
        self.0.as_ref().is_none_or(|ask| ask())
    }
}

impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Standing")
    }
}

/// Who somebody is and what their proof limits them to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Principal {
    /// Never two alike: a token's id, `grant:ID`, `ISSUER:SUBJECT` for a JWT, `mtls:IDENTITY`, `unix:UID`; `system`;
    /// `anonymous`; `bootstrap`.
    pub id: String,
    /// For people.
    pub name: String,
    /// pipeline, service, operator or admin; `grant` for a grant alone; empty for nobody.
    pub role: String,
    /// A tenant, or `*`.
    pub org: String,
    /// Only these; empty means all.
    pub projects: Vec<String>,
    /// Only these; empty means all, `*` means all said aloud.
    pub providers: Vec<String>,
    /// Only these actions, by their words; empty means all that the role may.
    pub actions: Vec<String>,
    /// The token that proves it: an answer is refused when it was revoked meanwhile.
    pub token: Option<Uuid>,
    pub proof: Proof,
    /// What the proof says beside that, by the names that the configuration gives it.
    pub claims: BTreeMap<String, String>,
    /// The pipeline run and its phase, where the proof tells them.
    pub run: String,
    pub phase: String,
    /// When the proof ends, where that is known: whoever is limited gives nobody a longer one.
    pub expires_at: Option<Timestamp>,
    /// One value for everything above: decisions are remembered under it. Nothing is remembered without.
    pub known_as: Option<Uuid>,
}

/// Whoever bears this token.
impl From<Token> for Principal {
    fn from(token: Token) -> Self {
        Self {
            id: token.id.to_string(),
            name: token.name,
            role: token.role,
            org: token.org,
            projects: token.projects,
            providers: token.providers,
            actions: token.actions,
            token: Some(token.id),
            proof: Proof::Token,
            expires_at: Some(token.expires_at),
            known_as: Some(token.id),
            ..Self::default()
        }
    }
}

/// How somebody proved who they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Proof {
    /// Nobody has.
    #[default]
    None,
    /// The daemon itself.
    System,
    /// The bootstrap token, whose one use is to issue the first admin's.
    Bootstrap,
    Token,
    Grant,
    Jwt,
    Mtls,
    Unix,
}

impl Proof {
    /// The proof that a word names, of those that somebody can come with.
    pub fn read(word: &str) -> Option<Self> {
        [Self::Token, Self::Grant, Self::Jwt, Self::Mtls, Self::Unix].into_iter().find(|proof| proof.as_str() == word)
    }

    /// As policies and records say it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::System => "system",
            Self::Bootstrap => "bootstrap",
            Self::Token => "token",
            Self::Grant => "grant",
            Self::Jwt => "jwt",
            Self::Mtls => "mtls",
            Self::Unix => "unix",
        }
    }
}

/// What is known of one request beyond who sent it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Circumstances {
    /// Where it came from; none over a Unix socket.
    pub address: Option<IpAddr>,
    /// Whose certificate the connection bears: a SPIFFE id, or else `dns:NAME`, or `email:ADDRESS`.
    pub certificate: Option<Arc<str>>,
    /// The newest second factor, and what it was: `totp`, or a JWT's `amr`.
    pub step_up: Option<StepUp>,
    /// A grant that is good, is this caller's to use, and counts when it decrypts.
    pub grant: Option<Arc<Grant>>,
    /// The approval under which this very request was agreed to.
    pub approval: Option<Uuid>,
    /// The approval that the request names. It means nothing until it was spent: then it is in `approval`.
    pub named_approval: Option<Uuid>,
    /// What the request says. Known where an approval is named, or the rules in force weigh approvals.
    pub request: Option<RequestDigest>,
}

/// SHA-256 over all that a request says, its secrets too: never shown, and kept under a key only.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RequestDigest(pub [u8; 32]);

impl std::fmt::Debug for RequestDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RequestDigest(32 bytes)")
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepUp {
    pub at: Timestamp,
    pub method: String,
}

/// What of an address strangers cannot change at will: an IPv4 address, the first half of an IPv6 one.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address => address,
    }
}

impl Caller {
    pub fn new(principal: Arc<Principal>, request_id: String) -> Self {
        Self {
            principal,
            request_id,
            circumstances: Circumstances::default(),
            turn: Turn::default(),
            standing: Standing::default(),
        }
    }

    /// The daemon itself, for work that nobody asked for.
    pub fn system() -> Self {
        Self::unproven("system", Proof::System, Uuid::now_v7().to_string())
    }

    /// Somebody without a valid proof.
    pub fn anonymous(request_id: String) -> Self {
        Self::unproven("anonymous", Proof::None, request_id)
    }

    fn unproven(id: &str, proof: Proof, request_id: String) -> Self {
        let principal = Principal { id: id.into(), name: id.into(), proof, ..Principal::default() };
        Self::new(Arc::new(principal), request_id)
    }
}
