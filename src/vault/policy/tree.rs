//! What a policy's conditions read and name, found in Cedar's own JSON form of them.

use cedar_policy::Policy;
use serde_json::Value;

/// What of the context a policy reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// What belongs to one request, not to its caller: such a decision is not remembered.
    pub moment: bool,
    /// What the caller can still bring: a second factor, an approval.
    pub more: bool,
}

impl Reads {
    pub const ALL: Self = Self { moment: true, more: true };
}

impl std::ops::BitOrAssign for Reads {
    fn bitor_assign(&mut self, other: Self) {
        self.moment |= other.moment;
        self.more |= other.more;
    }
}

/// A text that a condition compares something with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// As a policy writes it: `resource.state`, `context.claims.ref`.
    pub what: String,
    pub text: String,
}

/// Fixed for whoever a decision is remembered for: they are known as somebody else when one of these changes.
const FIXED: [&str; 4] = ["proof", "claims", "run", "phase"];

pub fn reads(policy: &Policy) -> Result<Reads, String> {
    let mut reads = Reads::default();
    walk_context(&json(policy)?, &mut reads);
    Ok(reads)
}

/// Every text that something is compared with, or looked for among, in the order in which it is written.
pub fn named(policy: &Policy) -> Result<Vec<Named>, String> {
    let mut found = Vec::new();
    walk_named(&json(policy)?, &mut found);
    Ok(found)
}

/// Every attribute that is asked for with `has`, with what it is asked of: `(context.claims, ref)`. Cedar takes one that
/// there cannot be for a question like any other, and answers no.
pub fn asked(policy: &Policy) -> Result<Vec<(String, String)>, String> {
    let mut found = Vec::new();
    walk_asked(&json(policy)?, &mut found);
    Ok(found)
}

fn json(policy: &Policy) -> Result<Value, String> {
    policy.to_json().map_err(|e| e.to_string())
}

fn walk_context(value: &Value, reads: &mut Reads) {
    match value {
        Value::Object(map) => {
            let access = map.get(".").or_else(|| map.get("has"));
            if let Some(attribute) = access.and_then(of_context) {
                reads.moment |= !FIXED.contains(&attribute);
                reads.more |= ["step_up", "approved"].contains(&attribute);
            } else if is_context(value) {
                // Used in a way that tells nothing about what of it matters.
                *reads = Reads::ALL;
            } else {
                map.values().for_each(|inner| walk_context(inner, reads));
            }
        }
        Value::Array(items) => items.iter().for_each(|inner| walk_context(inner, reads)),
        _ => {}
    }
}

/// The attribute, where this takes a plain one of `context` itself.
fn of_context(access: &Value) -> Option<&str> {
    is_context(access.get("left")?).then_some(())?;
    match access.get("attr")? {
        Value::String(attribute) => Some(attribute),
        // `context has step_up.age`
        Value::Array(path) => path.first()?.as_str(),
        _ => None,
    }
}

fn is_context(value: &Value) -> bool {
    value.get("Var").is_some_and(|var| var == "context")
}

fn walk_named(value: &Value, found: &mut Vec<Named>) {
    match value {
        Value::Object(map) => {
            for operator in ["==", "!=", "contains", "containsAny", "containsAll"] {
                if let Some((left, right)) = map.get(operator).and_then(|it| Some((it.get("left")?, it.get("right")?)))
                {
                    compared(left, right, found);
                    compared(right, left, found);
                }
            }
            map.values().for_each(|inner| walk_named(inner, found));
        }
        Value::Array(items) => items.iter().for_each(|inner| walk_named(inner, found)),
        _ => {}
    }
}

fn walk_asked(value: &Value, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(map) => {
            if let Some((left, attr)) = map.get("has").and_then(|it| Some((it.get("left")?, it.get("attr")?))) {
                let steps = attr.as_array().map_or_else(|| vec![attr], |steps| steps.iter().collect());
                let mut of = path(left);
                for step in steps.into_iter().filter_map(Value::as_str) {
                    found.extend(of.iter().map(|of| (of.clone(), step.to_owned())));
                    of = of.map(|of| format!("{of}.{step}"));
                }
            }
            map.values().for_each(|inner| walk_asked(inner, found));
        }
        Value::Array(items) => items.iter().for_each(|inner| walk_asked(inner, found)),
        _ => {}
    }
}

fn compared(what: &Value, with: &Value, found: &mut Vec<Named>) {
    let Some(what) = path(what) else { return };
    let several = with.get("Set").and_then(Value::as_array);
    let texts = several.map_or_else(|| vec![with], |several| several.iter().collect());
    let texts = texts.into_iter().filter_map(|text| text.get("Value")?.as_str());
    found.extend(texts.map(|text| Named { what: what.clone(), text: text.to_owned() }));
}

/// `resource.state`, where it is no more than that; a tag is `resource.labels.KEY`.
fn path(value: &Value) -> Option<String> {
    if let Some(var) = value.get("Var") {
        return var.as_str().map(ToOwned::to_owned);
    }
    if let Some(access) = value.get(".") {
        return Some(format!("{}.{}", path(access.get("left")?)?, access.get("attr")?.as_str()?));
    }
    let tag = value.get("getTag")?;
    Some(format!("{}.labels.{}", path(tag.get("left")?)?, tag.get("right")?.get("Value")?.as_str()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(condition: &str) -> Policy {
        Policy::parse(None, format!("permit (principal, action, resource) when {{ {condition} }};")).unwrap()
    }

    #[test]
    fn what_is_fixed_for_a_caller_is_told_from_what_is_not() {
        let fixed = [
            "principal.org == resource.org",
            "context.proof == \"jwt\"",
            "context has run && context.run == \"1\"",
            "context[\"phase\"] == \"plan\"",
            "context.claims has ref && context.claims.ref like \"refs/tags/*\"",
            "context has claims.ref",
            "\"context\" == resource.name",
        ];
        for condition in fixed {
            assert_eq!(reads(&policy(condition)).unwrap(), Reads::default(), "{condition}");
        }
        let moment = ["context.now < datetime(\"2030-01-01\")", "context has source", "context has certificate"];
        for condition in moment {
            assert_eq!(reads(&policy(condition)).unwrap(), Reads { moment: true, more: false }, "{condition}");
        }
        let more = [
            "context.approved",
            "context has step_up && context.step_up.age < 300",
            "context has step_up.age",
            "context == {}",
            "{ it: context }.it has run",
            "(if true then context else context).proof == \"jwt\"",
            "[context].contains({})",
            "context.phase == \"plan\" || (context.claims has ref && !context.approved)",
        ];
        for condition in more {
            assert_eq!(reads(&policy(condition)).unwrap(), Reads { moment: true, more: true }, "{condition}");
        }
    }

    #[test]
    fn what_is_compared_is_found_on_either_side() {
        let text = r#"resource.state == "active" || "jwt" != context.proof
            || ["a", "b"].contains(context.claims.ref) || principal.providers.containsAny(["c", "d"])
            || principal.projects.contains("e") || resource.getTag("team") == "search""#;
        let found = named(&policy(text)).unwrap();
        let shown: Vec<String> = found.iter().map(|it| format!("{}={}", it.what, it.text)).collect();
        assert_eq!(
            shown,
            [
                "resource.state=active",
                "context.proof=jwt",
                "context.claims.ref=a",
                "context.claims.ref=b",
                "principal.providers=c",
                "principal.providers=d",
                "principal.projects=e",
                "resource.labels.team=search",
            ]
        );
    }
}
