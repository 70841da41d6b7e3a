//! Decisions that are known already. A change of what they were made on changes the key; a new policy set has a new memo.
//!
//! A caller is known by one value for all that its proof says, so what a proof says may be remembered with it. What belongs
//! to one request (the time, the address, a second factor, an approval) is in no key: `tree::reads` tells which policies
//! ask for it, and what they decide is not kept.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{Decision, Resource};
use crate::crypto::put_text;
use crate::store::Health;
use crate::vault::{Action, Caller};

/// A full memo is emptied: at 100 bytes an entry this is 10 MB.
const MOST: usize = 100_000;
/// Names come from requests, and anybody can think of many: they push out one another, never a credential.
const MOST_NAMES: usize = 10_000;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    caller: Uuid,
    action: Action,
    about: About,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum About {
    /// One that is there, as it was decided on.
    Credential { id: Uuid, revision: u64, health: Health },
    /// An org, or what nobody bears: all that is known of it is its name, here as a digest. Remembered, because a refusal
    /// that takes longer where nothing is would tell that nothing is there.
    Name([u8; 32]),
}

#[derive(Default)]
pub struct Memo {
    credentials: RwLock<HashMap<Key, Decision>>,
    names: RwLock<HashMap<Key, Decision>>,
}

/// Only a known caller is remembered.
pub fn key(caller: &Caller, action: Action, resource: Resource<'_>, now: Timestamp) -> Option<Key> {
    let about = match resource {
        Resource::Credential(it) => About::Credential { id: it.id, revision: it.revision, health: it.health(now) },
        Resource::Org(org) => About::name(&[org]),
        Resource::Absent(path) => About::name(&[&path.org, &path.project, &path.provider, &path.name]),
    };
    caller.principal.known_as.map(|caller| Key { caller, action, about })
}

impl About {
    fn name(parts: &[&str]) -> Self {
        let mut name = Vec::new();
        parts.iter().for_each(|part| put_text(&mut name, part));
        Self::Name(Sha256::digest(name).into())
    }
}

impl Memo {
    pub fn get(&self, key: &Key) -> Option<Decision> {
        self.of(key).0.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    pub fn put(&self, key: Key, decision: Decision) {
        let (known, most) = self.of(&key);
        let mut known = known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= most {
            known.clear();
        }
        known.insert(key, decision);
    }

    const fn of(&self, key: &Key) -> (&RwLock<HashMap<Key, Decision>>, usize) {
        match key.about {
            About::Credential { .. } => (&self.credentials, MOST),
            About::Name(_) => (&self.names, MOST_NAMES),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::store::Credential;
    use crate::vault::policy::Policies;
    use crate::vault::policy::tests::{caller, credential, policies};
    use crate::vault::{Principal, Proof, StepUp};

    /// Conditions on everything that there is, alone and mixed.
    const CONDITIONS: &[&str] = &[
        "principal.org == resource.org",
        "context.proof == \"jwt\"",
        "context has run && context.run == \"1\"",
        "context has phase && context.phase == \"plan\"",
        "context.claims has ref && context.claims.ref == \"main\"",
        "context.now < datetime(\"2026-01-01\")",
        "context has source && context.source.isLoopback()",
        "context has certificate",
        "context has step_up && context.step_up.age <= 300",
        "context.approved",
        "context has step_up.age || (context has run && context.approved)",
        "{ all: context }.all.proof == \"token\"",
        "resource.state == \"active\"",
    ];

    fn known(n: u8) -> Arc<Principal> {
        let like = caller("pipeline", "acme", &[]);
        Arc::new(Principal {
            proof: if n & 1 == 0 { Proof::Jwt } else { Proof::Token },
            run: if n & 2 == 0 { "1".into() } else { String::new() },
            phase: if n & 4 == 0 { "plan".into() } else { "apply".into() },
            claims: if n & 8 == 0 { [("ref".to_owned(), "main".to_owned())].into() } else { Default::default() },
            ..Principal::clone(&like.principal)
        })
    }

    fn at_a_moment(principal: &Arc<Principal>, n: u8) -> (Caller, Timestamp) {
        let mut caller = Caller::new(Arc::clone(principal), String::new());
        let now: Timestamp = if n & 1 == 0 { "2025-06-01T00:00:00Z" } else { "2026-06-01T00:00:00Z" }.parse().unwrap();
        let with = &mut caller.circumstances;
        with.address = (n & 2 == 0).then(|| "127.0.0.1".parse().unwrap());
        with.certificate = (n & 4 == 0).then(|| "a.test".into());
        with.step_up = (n & 8 == 0).then(|| StepUp { at: now, method: "totp".into() });
        with.approval = (n & 16 == 0).then(Uuid::now_v7);
        (caller, now)
    }

    fn same_as_in_full(set: &Policies, principals: &[Arc<Principal>], it: &Credential, requests: &[(usize, u8)]) {
        for &(who, moment) in requests {
            let (caller, now) = at_a_moment(&principals[who % principals.len()], moment);
            let elsewhere = crate::store::Path { org: "globex".into(), ..it.path.clone() };
            let about = [Resource::Credential(it), Resource::Absent(&it.path), Resource::Absent(&elsewhere)];
            for resource in about.into_iter().chain(["acme", "globex"].map(Resource::Org)) {
                let full = set.evaluate(&caller, Action::Decrypt, resource, now).0;
                assert_eq!(set.decide(&caller, Action::Decrypt, resource, now), full, "{who} {moment} {resource:?}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_remembered_is_what_would_be_decided(
            chosen in proptest::collection::vec((0..CONDITIONS.len(), 0..CONDITIONS.len(), any::<bool>(), 0..3u8), 1..4),
            who in proptest::collection::vec(0..16u8, 1..4),
            requests in proptest::collection::vec((0..4usize, 0..32u8), 1..24),
        ) {
            let text: String = chosen.iter().map(|(one, other, forbids, how)| {
                let effect = if *forbids { "forbid" } else { "permit" };
                let (one, other) = (CONDITIONS[*one], CONDITIONS[*other]);
                let body = match how {
                    0 => format!("when {{ {one} }}"),
                    1 => format!("when {{ ({one}) || ({other}) }}"),
                    _ => format!("when {{ {one} }} unless {{ {other} }}"),
                };
                format!("{effect} (principal, action, resource is Strongroom::Credential) {body};\n")
            }).collect();
            let set = policies(&text).unwrap();
            let principals: Vec<_> = who.into_iter().map(known).collect();
            same_as_in_full(&set, &principals, &credential("acme", "openai"), &requests);
        }
    }

    #[test]
    fn a_caller_without_one_value_for_all_it_says_is_never_remembered() {
        let it = credential("acme", "openai");
        let mut caller = caller("pipeline", "acme", &[]);
        assert!(key(&caller, Action::Decrypt, Resource::Credential(&it), Timestamp::UNIX_EPOCH).is_some());
        Arc::make_mut(&mut caller.principal).known_as = None;
        assert!(key(&caller, Action::Decrypt, Resource::Credential(&it), Timestamp::UNIX_EPOCH).is_none());
    }

    #[test]
    fn what_is_not_there_is_remembered_as_what_is() {
        let set = policies("permit (principal, action, resource) when { principal.org == resource.org };").unwrap();
        let (caller, now, it) =
            (caller("pipeline", "acme", &[]), Timestamp::UNIX_EPOCH, credential("globex", "openai"));
        for resource in [Resource::Credential(&it), Resource::Absent(&it.path), Resource::Org("globex")] {
            assert!(set.memo.get(&key(&caller, Action::Get, resource, now).unwrap()).is_none(), "{resource:?}");
            set.decide(&caller, Action::Get, resource, now);
            assert!(set.memo.get(&key(&caller, Action::Get, resource, now).unwrap()).is_some(), "{resource:?}");
        }
    }

    #[test]
    fn names_do_not_push_out_credentials() {
        let set = policies("permit (principal, action, resource);").unwrap();
        let (caller, now, it) = (caller("pipeline", "acme", &[]), Timestamp::UNIX_EPOCH, credential("acme", "openai"));
        let known = key(&caller, Action::Get, Resource::Credential(&it), now).unwrap();
        set.decide(&caller, Action::Get, Resource::Credential(&it), now);
        for n in 0..=MOST_NAMES {
            let name = key(&caller, Action::Get, Resource::Org(&n.to_string()), now).unwrap();
            set.memo.put(name, Decision::refused(Vec::new()));
        }
        assert!(set.memo.get(&known).is_some());
        assert_eq!(set.memo.names.read().unwrap().len(), 1);
    }

    #[test]
    fn only_what_belongs_to_the_moment_is_decided_again() {
        let it = credential("acme", "openai");
        for (condition, remembered) in [
            ("context.proof == \"token\"", true),
            ("context has run && context.run == \"1\"", true),
            ("context.claims has ref", true),
            ("context.approved", false),
            ("context has source", false),
            ("{ all: context }.all.proof == \"token\"", false),
        ] {
            let set = policies(&format!("permit (principal, action, resource) when {{ {condition} }};")).unwrap();
            let caller = caller("pipeline", "acme", &[]);
            let now = Timestamp::UNIX_EPOCH;
            set.decide(&caller, Action::Decrypt, Resource::Credential(&it), now);
            let key = key(&caller, Action::Decrypt, Resource::Credential(&it), now).unwrap();
            assert_eq!(set.memo.get(&key).is_some(), remembered, "{condition}");
        }
    }
}
