//! Policies by scope: which of them can match a request at all.

use std::collections::HashMap;

use cedar_policy::{ActionConstraint, EntityUid, Policy, PolicySet, PrincipalConstraint, ResourceConstraint};

use super::entities::Scene;
use super::tree::{self, Reads};

/// Which entities a scope names: any, or one that must be equal to or above the request's.
type Anchor = Option<EntityUid>;

/// The index. A policy stands under its principal's and its resource's anchor, once for each action that it names.
pub struct Slices {
    by_scope: HashMap<(Anchor, Anchor, Anchor), Vec<Indexed>>,
}

struct Indexed {
    policy: Policy,
    reads: Reads,
}

/// The policies that can match one request.
pub struct Slice {
    pub policies: PolicySet,
    pub reads: Reads,
}

impl Slices {
    pub fn new<'a>(all: impl IntoIterator<Item = &'a Policy>) -> Result<Self, String> {
        let mut by_scope: HashMap<_, Vec<Indexed>> = HashMap::new();
        for policy in all {
            let principal = match policy.principal_constraint() {
                PrincipalConstraint::Any | PrincipalConstraint::Is(_) => None,
                PrincipalConstraint::In(uid) | PrincipalConstraint::Eq(uid) | PrincipalConstraint::IsIn(_, uid) => {
                    Some(uid)
                }
            };
            let resource = match policy.resource_constraint() {
                ResourceConstraint::Any | ResourceConstraint::Is(_) => None,
                ResourceConstraint::In(uid) | ResourceConstraint::Eq(uid) | ResourceConstraint::IsIn(_, uid) => {
                    Some(uid)
                }
            };
            let actions: Vec<Anchor> = match policy.action_constraint() {
                ActionConstraint::Any => vec![None],
                ActionConstraint::Eq(uid) => vec![Some(uid)],
                ActionConstraint::In(uids) => uids.into_iter().map(Some).collect(),
            };
            let reads = tree::reads(policy)?;
            for action in actions {
                by_scope
                    .entry((principal.clone(), action, resource.clone()))
                    .or_default()
                    .push(Indexed { policy: policy.clone(), reads });
            }
        }
        Ok(Self { by_scope })
    }

    pub fn matching(&self, scene: &Scene) -> Slice {
        let mut policies = PolicySet::new();
        let mut reads = Reads::default();
        for principal in anchors(&scene.principal, &scene.roles) {
            for action in anchors(&scene.action, &[]) {
                for resource in anchors(&scene.resource, &scene.ancestors) {
                    let scope = (principal.clone(), action.clone(), resource);
                    for indexed in self.by_scope.get(&scope).into_iter().flatten() {
                        // A policy that names an action twice is in the slice once; the second add is refused.
                        if policies.policy(indexed.policy.id()).is_none()
                            && policies.add(indexed.policy.clone()).is_ok()
                        {
                            reads |= indexed.reads;
                        }
                    }
                }
            }
        }
        Slice { policies, reads }
    }
}

fn anchors(itself: &EntityUid, above: &[EntityUid]) -> Vec<Anchor> {
    let named = std::iter::once(itself).chain(above).cloned().map(Some);
    std::iter::once(None).chain(named).collect()
}
