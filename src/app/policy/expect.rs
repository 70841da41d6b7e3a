//! What people expect of their policies, kept beside them and tested.
//!
//! ```toml
//! [[expect]]
//! caller = { role = "pipeline", org = "acme", providers = ["openai"], phase = "plan" }
//! action = "decrypt"                  # or several: ["get", "list"]
//! on = "acme/openai"                  # ORG, ORG/PROVIDER, ORG/PROJECT/PROVIDER or ORG/PROJECT/PROVIDER/NAME
//! allow = true
//! because = "pipeline-decrypts"       # may be left out: a policy that must be among those that decide
//! ```

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::ask::{Asked, Imagined, explain};
use crate::app::{Error, read};
use crate::vault::Policies;

/// A file of expectations.
pub struct Table {
    file: String,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    expect: Vec<Spanned<Expectation>>,
}

struct Row {
    line: usize,
    expectation: Expectation,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expectation {
    caller: Imagined,
    action: Actions,
    on: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    state: Option<String>,
    health: Option<String>,
    /// When it would be; now, if it does not say.
    at: Option<Timestamp>,
    allow: bool,
    because: Option<String>,
    /// What a refusal asks for: `step-up` or `approval`.
    needs: Option<Needs>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Actions {
    One(String),
    Several(Vec<String>),
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum Needs {
    StepUp,
    Approval,
}

/// An expectation that is not met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failed {
    pub file: String,
    pub line: usize,
    pub why: String,
}

impl Table {
    pub fn read(file: &Path) -> Result<Self, Error> {
        let name = file.display().to_string();
        Self::parse(&name, &read(file)?).map_err(|(line, why)| {
            Error::Expectations(format!("{name}{}: {why}", line.map(|it| format!(":{it}")).unwrap_or_default()))
        })
    }

    pub fn parse(file: &str, text: &str) -> Result<Self, (Option<usize>, String)> {
        let line = |at: usize| text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
        let written: Written = toml::from_str(text).map_err(|error| {
            (error.span().map(|span| line(span.start)), error.message().trim_end().replace('\n', "; "))
        })?;
        if written.expect.is_empty() {
            return Err((None, "there is no [[expect]] in it, so it tests nothing".to_owned()));
        }
        let row = |it: Spanned<Expectation>| Row { line: line(it.span().start), expectation: it.into_inner() };
        Ok(Self { file: file.to_owned(), rows: written.expect.into_iter().map(row).collect() })
    }

    /// How many decisions were expected.
    pub fn len(&self) -> usize {
        self.rows.iter().map(|row| row.expectation.actions().len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn test(&self, policies: &Policies, now: Timestamp) -> Vec<Failed> {
        let mut failed = Vec::new();
        for Row { line, expectation } in &self.rows {
            for action in expectation.actions() {
                if let Err(why) = expectation.hold(policies, action, now) {
                    failed.push(Failed { file: self.file.clone(), line: *line, why });
                }
            }
        }
        failed
    }
}

impl Expectation {
    fn actions(&self) -> &[String] {
        match &self.action {
            Actions::One(one) => std::slice::from_ref(one),
            Actions::Several(several) => several,
        }
    }

    fn hold(&self, policies: &Policies, action: &str, now: Timestamp) -> Result<(), String> {
        let asked = Asked {
            caller: self.caller.clone(),
            action: action.to_owned(),
            on: self.on.clone(),
            labels: self.labels.clone(),
            state: self.state.clone(),
            health: self.health.clone(),
            at: self.at,
        };
        let told = explain(policies, &asked, now).map_err(|unasked| unasked.to_string())?;
        let decisive: Vec<&str> = told.decisive.iter().map(|cited| cited.id.as_str()).collect();
        let by = if decisive.is_empty() { "no policy permits it".to_owned() } else { decisive.join(", ") };
        let what = format!("{action} on {}", self.on);
        if (told.verdict == "allowed") != self.allow {
            let expected = if self.allow { "allowed" } else { "refused" };
            let almost: Vec<_> =
                told.almost.iter().map(|it| format!("; {} wants {}", it.id, it.unmet.join(" and "))).collect();
            return Err(format!("{what} should be {expected} and is {} ({by}){}", told.verdict, almost.concat()));
        }
        let needs = match told.verdict.as_str() {
            "needs-step-up" => Some(Needs::StepUp),
            "needs-approval" => Some(Needs::Approval),
            _ => None,
        };
        if self.needs.is_some() && self.needs != needs {
            return Err(format!("{what} is {} and should need something else ({by})", told.verdict));
        }
        match &self.because {
            Some(because) if !decisive.contains(&because.as_str()) => {
                Err(format!("{what} is {} as expected, but because of {by}, not of {because}", told.verdict))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = r#"
[[expect]]
caller = { role = "pipeline", org = "acme", providers = ["openai"] }
action = "decrypt"
on = "acme/openai"
allow = true
because = "pipeline-decrypts"

[[expect]]
caller = { role = "pipeline", org = "acme", providers = ["openai"] }
action = ["decrypt", "get"]
on = "globex/openai"
allow = true

[[expect]]
caller = { role = "operator", org = "*" }
action = "list"
on = "acme"
allow = true
because = "admin-everything"
"#;

    #[test]
    fn what_is_not_met_is_told_with_its_line() {
        let table = Table::parse("t.toml", TABLE).unwrap();
        assert_eq!(table.len(), 4);
        let failed = table.test(&Policies::embedded().unwrap(), Timestamp::UNIX_EPOCH);
        let told: Vec<_> = failed.iter().map(|it| (it.line, it.why.as_str())).collect();
        assert_eq!(
            told,
            [
                (9, "decrypt on globex/openai should be allowed and is refused (own-tenant-only)"),
                (9, "get on globex/openai should be allowed and is refused (own-tenant-only)"),
                (15, "list on acme is allowed as expected, but because of operator-inspects, not of admin-everything"),
            ]
        );
    }

    #[test]
    fn a_table_with_a_slip_in_it_is_refused() {
        for (text, names) in [
            ("", "tests nothing"),
            ("[[expect]]\ncaller = { rol = \"x\" }\n", "rol"),
            ("[[expect]]\nalow = true\n", "alow"),
        ] {
            let Err((_, why)) = Table::parse("t.toml", text) else { panic!("{text}") };
            assert!(why.contains(names), "{why}");
        }
    }
}
