//! The schema that policies must fit: the file, and the names that the configuration gives to claims.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use cedar_policy::{Schema, SchemaFragment};
use serde_json::json;

use crate::vault::Action;

pub const TEXT: &str = include_str!("../../../config/policy/schema.cedarschema");

/// The actions that policies are asked about, and whether each is about an org rather than about one credential.
static ACTIONS: LazyLock<BTreeMap<String, bool>> = LazyLock::new(|| {
    let fragment = SchemaFragment::from_cedarschema_str(TEXT).ok();
    let whole = fragment.and_then(|(fragment, _)| fragment.to_json_value().ok()).unwrap_or_default();
    let actions = whole.pointer("/Strongroom/actions").and_then(serde_json::Value::as_object);
    let about_org = |action: &serde_json::Value| {
        let types = action.pointer("/appliesTo/resourceTypes").and_then(serde_json::Value::as_array);
        types.is_some_and(|types| types.iter().any(|one| one.as_str().is_some_and(|one| one.ends_with("Org"))))
    };
    actions.into_iter().flatten().map(|(name, action)| (name.clone(), about_org(action))).collect()
});

impl Action {
    /// Whether policies are asked about it; the rest is the daemon's own doing.
    pub fn is_asked(self) -> bool {
        ACTIONS.contains_key(self.as_str())
    }

    pub fn is_about_an_org(self) -> bool {
        ACTIONS.get(self.as_str()).copied().unwrap_or_default()
    }
}

/// The schema in Cedar's JSON form, and what it says of attributes.
pub struct Known {
    pub schema: Schema,
    attributes: BTreeMap<&'static str, BTreeSet<String>>,
}

/// Where the attributes stand of what a condition may speak of, as it writes it.
const SHAPES: [(&str, &[&str]); 5] = [
    ("principal", &["/Strongroom/entityTypes/Caller/shape/attributes"]),
    (
        "resource",
        &["/Strongroom/entityTypes/Org/shape/attributes", "/Strongroom/entityTypes/Credential/shape/attributes"],
    ),
    ("context", &["/Strongroom/commonTypes/Context/attributes"]),
    ("context.step_up", &["/Strongroom/commonTypes/Context/attributes/step_up/attributes"]),
    ("context.claims", &[CLAIMS]),
];
const CLAIMS: &str = "/Strongroom/commonTypes/Claims/attributes";

impl Known {
    pub fn with_claims(names: &BTreeSet<String>) -> Result<Self, String> {
        let said = |error: &dyn std::fmt::Display| error.to_string();
        let (fragment, _) = SchemaFragment::from_cedarschema_str(TEXT).map_err(|e| said(&e))?;
        let mut whole = fragment.to_json_value().map_err(|e| said(&e))?;
        let claims = whole.pointer_mut(CLAIMS).and_then(serde_json::Value::as_object_mut);
        let claims = claims.ok_or("the schema has no claims")?;
        for name in names {
            claims.insert(name.clone(), json!({ "type": "String", "required": false }));
        }
        let mut attributes: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
        for (what, places) in SHAPES {
            for place in places {
                let found = whole.pointer(place).and_then(serde_json::Value::as_object);
                let found = found.ok_or_else(|| format!("the schema has no {what}"))?;
                attributes.entry(what).or_default().extend(found.keys().cloned());
            }
        }
        Ok(Self { schema: Schema::from_json_value(whole).map_err(|e| said(&e))?, attributes })
    }

    /// The attributes of `context.claims` and its like; none when it is nothing that the schema knows.
    pub fn attributes(&self, what: &str) -> Option<&BTreeSet<String>> {
        self.attributes.get(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_action_is_about_is_read_from_the_schema() {
        for (action, asked, about_org) in [
            (Action::Decrypt, true, false),
            (Action::List, true, true),
            (Action::IssueToken, true, true),
            (Action::Destroy, false, false),
        ] {
            assert_eq!((action.is_asked(), action.is_about_an_org()), (asked, about_org), "{action:?}");
        }
    }

    #[test]
    fn a_name_of_any_kind_can_join_and_none_breaks_out() {
        for name in ["team", "repository", "https://acme.test/team", "a\"?: String, b", "", "\u{1F511}"] {
            let with_it = Known::with_claims(&[name.to_owned()].into()).unwrap();
            assert!(with_it.attributes("context.claims").unwrap().contains(name));
            let known = with_it.schema.actions().count();
            assert!(known > 10 && known < Action::ALL.len(), "{name}");
        }
    }
}
