//! How messages look to people: tables for many, sheets for one, a line for each of a stream.

use std::collections::BTreeMap;

use comfy_table::{ColumnConstraint, Row, Table, Width, presets};
use jiff::Timestamp;
use serde_json::Value;

use super::output::escape;
use crate::pb::v1::{AuditRecord, Credential, Grant, PastTest, ProbeResult, Token, Version, WatchCredentialsResponse};

/// A table that may come a page at a time: one header, and columns that do not get narrower.
pub(super) struct Columns {
    header: Option<&'static [&'static str]>,
    widths: Vec<u16>,
}

pub(super) const CREDENTIALS: &[&str] =
    &["PROJECT", "PROVIDER", "NAME", "STATE", "HEALTH", "SERVED", "FINGERPRINT", "EXPIRES", "UPDATED"];
pub(super) const VERSIONS: &[&str] =
    &["VERSION", "STATE", "FINGERPRINT", "TEST", "SEAL", "KMS KEY", "BY", "CREATED", "ACTIVATED", "DESTROYED"];
pub(super) const TESTS: &[&str] = &["TESTED", "VERSION", "OUTCOME", "HINT"];
pub(super) const TOKENS: &[&str] = &[
    "ID",
    "NAME",
    "ROLE",
    "ORG",
    "PROJECTS",
    "PROVIDERS",
    "ACTIONS",
    "FROM",
    "BY",
    "CREATED",
    "USED",
    "EXPIRES",
    "REVOKED",
];
pub(super) const GRANTS: &[&str] =
    &["ID", "ORG", "RUN", "PHASE", "CREDENTIALS", "HOLDER", "USED", "BY", "CREATED", "EXPIRES", "REVOKED"];
pub(super) const ORGS: &[&str] = &["ORG", "STATE", "ASKED FOR BY", "ASKED FOR", "DESTROYED FROM", "ALL GONE"];
pub(super) const AUDIT: &[&str] =
    &["AT", "INSTANCE", "RECORD", "CALLER", "ACTION", "OUTCOME", "CREDENTIAL", "VERSION", "FINGERPRINT"];

impl Columns {
    pub const fn new(header: &'static [&'static str]) -> Self {
        Self { header: Some(header), widths: Vec::new() }
    }

    pub fn page(&mut self, rows: impl IntoIterator<Item = Vec<String>>) -> String {
        let mut table = bare();
        for row in rows {
            table.add_row(cells(row));
        }
        if table.is_empty() {
            return String::new();
        }
        if let Some(header) = self.header.take() {
            table.set_header(header.iter().copied());
        }
        for (index, width) in self.widths.iter().enumerate() {
            if let Some(column) = table.column_mut(index) {
                column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(*width)));
            }
        }
        let fitting = table.column_max_content_widths();
        pad(&mut table);
        self.widths = fitting
            .iter()
            .enumerate()
            .map(|(index, width)| (*width + GAP).max(self.widths.get(index).copied().unwrap_or(0)))
            .collect();
        table.trim_fmt() + "\n"
    }
}

/// One thing, a line for each of its properties; what is not known is left out.
pub(super) fn sheet<'a>(lines: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let known = lines.into_iter().filter(|(_, value)| !value.is_empty());
    aligned(known.map(|(key, value)| (key.to_owned(), value)))
}

/// Two columns.
pub(super) fn aligned(lines: impl IntoIterator<Item = (String, String)>) -> String {
    let mut table = bare();
    for (key, value) in lines {
        table.add_row(cells(vec![key, value]));
    }
    pad(&mut table);
    table.trim_fmt() + "\n"
}

/// `org/provider`, with project and name where they are not the default.
pub(super) fn path(org: &str, project: &str, provider: &str, name: &str) -> String {
    match (project, name) {
        ("" | "default", "" | "default") => format!("{org}/{provider}"),
        _ => format!("{org}/{project}/{provider}/{name}"),
    }
}

pub(super) fn credential_row(it: &Credential) -> Vec<String> {
    vec![
        it.project.clone(),
        it.provider.clone(),
        it.name.clone(),
        it.state.clone(),
        it.health.clone(),
        version_number(it.active_version),
        it.fingerprint.clone(),
        time(it.expires_at.as_ref()),
        time(it.updated_at.as_ref()),
    ]
}

/// How it is, and since when or until when.
fn health(it: &Credential) -> String {
    let (since, end) = (time(it.failing_since.as_ref()), time(it.expires_at.as_ref()));
    match it.health.as_str() {
        "failing" if !since.is_empty() => format!("failing since {since}"),
        "expiring" if !end.is_empty() => format!("expiring, ends {end}"),
        "expired" if !end.is_empty() => format!("expired since {end}"),
        other => other.to_owned(),
    }
}

/// One line for each sentence, the first behind the key.
fn sentences<'a>(key: &'a str, sentences: &[String]) -> Vec<(&'a str, String)> {
    let keys = std::iter::once(key).chain(std::iter::repeat(""));
    keys.zip(sentences.iter().cloned()).collect()
}

/// What a test found: the verdict, and what the provider told.
pub(super) fn test_lines(it: &ProbeResult) -> Vec<(&'static str, String)> {
    let mut lines = vec![("connection test", outcome(it))];
    lines.push(("provider says", pairs(&it.identity)));
    lines.push(("ends", time(it.expires_at.as_ref())));
    lines.extend(sentences("warning", &it.warnings));
    lines
}

/// A credential with the history of its tests.
pub(super) fn shown(it: &Credential, tests: &[PastTest]) -> String {
    let tests = Columns::new(TESTS).page(tests.iter().map(test_row));
    if tests.is_empty() { credential_sheet(it) } else { format!("{}\n{tests}", credential_sheet(it)) }
}

fn test_row(it: &PastTest) -> Vec<String> {
    let result = it.result.clone().unwrap_or_default();
    vec![time(result.at.as_ref()), version_number(it.version), outcome(&result), result.hint]
}

pub(super) fn credential_sheet(it: &Credential) -> String {
    let about = [
        ("credential", path(&it.org, &it.project, &it.provider, &it.name)),
        ("id", it.id.clone()),
        ("state", it.state.clone()),
        ("health", health(it)),
        ("served version", version_number(it.active_version)),
        ("latest version", version_number(it.latest_version)),
        ("fingerprint", it.fingerprint.clone()),
        ("identity", pairs(&it.public_identity)),
        (
            "metadata",
            it.metadata
                .as_ref()
                .map(|metadata| as_written(serde_json::json!(metadata)).to_string())
                .unwrap_or_default(),
        ),
        ("labels", pairs(&it.labels)),
        ("created", time(it.created_at.as_ref())),
        ("updated", time(it.updated_at.as_ref())),
        ("expires", time(it.expires_at.as_ref())),
        ("rotate by", time(it.rotate_by.as_ref())),
        ("last test", it.last_test.as_ref().map(last_test).unwrap_or_default()),
        ("next test", time(it.next_test_at.as_ref())),
        ("deleted", time(it.deleted_at.as_ref())),
        ("destroyed at", time(it.destroy_at.as_ref())),
        ("etag", it.etag.clone()),
    ];
    sheet(about.into_iter().chain(sentences("warning", &it.warnings)))
}

/// On the wire every number has a fraction and keys have no order; people wrote `90`, not `90.0`.
fn as_written(value: Value) -> Value {
    match value {
        Value::Number(number) => {
            let whole =
                number.as_f64().filter(|it| it.fract() == 0.0).and_then(|it| format!("{it}").parse::<i64>().ok());
            whole.map_or(Value::Number(number), Value::from)
        }
        Value::Array(list) => list.into_iter().map(as_written).collect(),
        Value::Object(map) => {
            let sorted: BTreeMap<_, _> = map.into_iter().map(|(key, value)| (key, as_written(value))).collect();
            sorted.into_iter().collect()
        }
        other => other,
    }
}

fn last_test(it: &ProbeResult) -> String {
    format!("{} at {}", outcome(it), time(it.at.as_ref()))
}

pub(super) fn version_row(it: &Version) -> Vec<String> {
    vec![
        it.version.to_string(),
        it.state.clone(),
        it.fingerprint.clone(),
        it.probe.as_ref().map(outcome).unwrap_or_default(),
        it.seal.clone(),
        format!("{} {}", it.kms_key, it.kms_key_version).trim_end().to_owned(),
        it.created_by.clone(),
        time(it.created_at.as_ref()),
        time(it.activated_at.as_ref()),
        time(it.destroyed_at.as_ref()),
    ]
}

pub(super) fn outcome(it: &ProbeResult) -> String {
    match it.reason.as_str() {
        "" => it.outcome.clone(),
        reason => format!("{} ({reason})", it.outcome),
    }
}

pub(super) fn token_row(it: &Token) -> Vec<String> {
    vec![
        it.id.clone(),
        it.name.clone(),
        it.role.clone(),
        it.org.clone(),
        all_or(&it.projects),
        all_or(&it.providers),
        all_or(&it.actions),
        origin(it),
        it.created_by.clone(),
        time(it.created_at.as_ref()),
        time(it.last_used_at.as_ref()),
        time(it.expires_at.as_ref()),
        time(it.revoked_at.as_ref()),
    ]
}

pub(super) fn grant_row(it: &Grant) -> Vec<String> {
    vec![
        it.id.clone(),
        it.org.clone(),
        it.run.clone(),
        if it.phase.is_empty() { "any".into() } else { it.phase.clone() },
        it.credential_ids.join(" "),
        if it.holder.is_empty() { "anybody".into() } else { it.holder.clone() },
        format!("{} of {}", it.used, it.uses),
        it.minted_by.clone(),
        time(it.created_at.as_ref()),
        time(it.expires_at.as_ref()),
        time(it.revoked_at.as_ref()),
    ]
}

/// The token that a token comes from, and how.
fn origin(it: &Token) -> String {
    match (it.replaces.as_str(), it.parent.as_str()) {
        ("", "") => String::new(),
        ("", parent) => format!("child of {parent}"),
        (replaced, _) => format!("instead of {replaced}"),
    }
}

pub(super) fn audit_row(it: &AuditRecord) -> Vec<String> {
    vec![
        exact_time(it.at.as_ref()),
        it.instance.clone(),
        it.sequence.to_string(),
        if it.caller_name.is_empty() { it.caller.clone() } else { it.caller_name.clone() },
        it.action.clone(),
        it.outcome.clone(),
        if it.provider.is_empty() { it.org.clone() } else { path(&it.org, &it.project, &it.provider, &it.name) },
        version_number(it.version),
        it.fingerprint.clone(),
    ]
}

pub(super) fn audit_line(it: &AuditRecord) -> String {
    line(audit_row(it))
}

pub(super) fn change_line(it: &WatchCredentialsResponse) -> String {
    let mut words = vec![it.sequence.to_string(), exact_time(it.at.as_ref()), it.change.clone()];
    if let Some(now) = &it.credential {
        words.push(path(&now.org, &now.project, &now.provider, &now.name));
        words.push(version_number(it.version));
        words.push(format!("{}/{}", now.state, now.health));
        words.push(now.fingerprint.clone());
    }
    line(words)
}

pub(super) fn version_number(version: u32) -> String {
    if version == 0 { String::new() } else { version.to_string() }
}

/// To the second.
pub(super) fn time(at: Option<&pbjson_types::Timestamp>) -> String {
    instant(at).map(|at| format!("{at:.0}")).unwrap_or_default()
}

fn exact_time(at: Option<&pbjson_types::Timestamp>) -> String {
    instant(at).map(|at| format!("{at:.3}")).unwrap_or_default()
}

fn instant(at: Option<&pbjson_types::Timestamp>) -> Option<Timestamp> {
    Timestamp::new(at?.seconds, at?.nanos).ok()
}

fn line(words: Vec<String>) -> String {
    words.into_iter().map(|word| if word.is_empty() { "-".into() } else { word }).collect::<Vec<_>>().join("  ")
}

pub(super) fn pairs(map: &BTreeMap<String, String>) -> String {
    map.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(", ")
}

fn all_or(names: &[String]) -> String {
    if names.is_empty() { "all".into() } else { names.join(" ") }
}

const GAP: u16 = 2;

fn bare() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

fn pad(table: &mut Table) {
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP));
    }
}

/// The one door into a table: server data is escaped here.
fn cells(row: Vec<String>) -> Row {
    row.iter().map(|cell| escape(cell)).collect::<Vec<_>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(provider: &str) -> Credential {
        Credential {
            org: "acme".into(),
            project: "default".into(),
            provider: provider.into(),
            name: "default".into(),
            state: "active".into(),
            health: "ok".into(),
            active_version: 2,
            latest_version: 3,
            fingerprint: "1a2b3c4d".into(),
            updated_at: Some(pbjson_types::Timestamp { seconds: 1_800_000_000, nanos: 999_000_000 }),
            ..Credential::default()
        }
    }

    #[test]
    fn pages_share_a_header_and_columns() {
        let mut columns = Columns::new(CREDENTIALS);
        let first = columns.page([credential_row(&credential("gcp_service_account"))]);
        let second = columns.page([credential_row(&credential("openai"))]);
        assert_eq!(first.lines().count(), 2, "{first}");
        assert_eq!(second.lines().count(), 1, "{second}");
        assert_eq!(first.lines().last().unwrap().find("active"), second.find("active"), "{first}{second}");
        assert_eq!(columns.page([]), "");
    }

    #[test]
    fn server_data_cannot_break_a_table() {
        let evil = credential("open\u{1b}[2Jai\nforged  row");
        for text in [credential_sheet(&evil), Columns::new(CREDENTIALS).page([credential_row(&evil)])] {
            assert!(!text.contains('\u{1b}'));
            assert!(!text.lines().any(|line| line.starts_with("forged")), "{text}");
        }
    }

    #[test]
    fn a_sheet_leaves_out_what_is_not_known() {
        let sheet = credential_sheet(&credential("openai"));
        assert!(sheet.starts_with("credential      acme/openai\n"), "{sheet}");
        assert!(sheet.contains("2027-01-15T08:00:00Z") && !sheet.contains("expires"), "{sheet}");
        assert!(sheet.lines().all(|line| line == line.trim_end()));
    }

    #[test]
    fn metadata_reads_as_it_was_written() {
        let metadata = serde_json::json!({ "rotation_days": 90, "share": 0.5, "list": [1, "2"] });
        let shown = credential_sheet(&Credential {
            metadata: serde_json::from_value(metadata).unwrap(),
            ..credential("openai")
        });
        assert!(shown.contains(r#"{"list":[1,"2"],"rotation_days":90,"share":0.5}"#), "{shown}");
    }

    #[test]
    fn a_change_is_one_line() {
        let change = WatchCredentialsResponse {
            sequence: 17,
            change: "deleted".into(),
            credential: Some(Credential { name: "eu".into(), ..credential("openai") }),
            ..Default::default()
        };
        assert_eq!(change_line(&change), "17  -  deleted  acme/default/openai/eu  -  active/ok  1a2b3c4d");
    }
}
