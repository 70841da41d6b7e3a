//! Between the wire's messages and the vault's words.

use std::time::Duration;

use jiff::Timestamp;
use pbjson_types::value::Kind;
use pbjson_types::{ListValue, Struct, Value};
use uuid::Uuid;

use super::status::Invalid;
use crate::pb::v1 as pb;
use crate::vault::{self, Metadata, Path, Word as _};

/// What an empty project or name means.
const DEFAULT: &str = "default";

pub fn path(org: String, project: String, provider: String, name: String) -> Path {
    let or_default = |text: String| if text.is_empty() { DEFAULT.to_owned() } else { text };
    Path { org, project: or_default(project), provider, name: or_default(name) }
}

/// An empty string means that the field was not given.
pub fn given(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

pub fn uuid(field: &str, text: &str) -> Result<Option<Uuid>, Invalid> {
    if text.is_empty() {
        return Ok(None);
    }
    Uuid::parse_str(text).map(Some).map_err(|_| Invalid::new(field, "must be an id, as a list shows it"))
}

// ── Time ──────────────────────────────────────────────────────────────────────

pub fn time(field: &str, time: pbjson_types::Timestamp) -> Result<Timestamp, Invalid> {
    let whole = (0..1_000_000_000).contains(&time.nanos);
    whole
        .then(|| Timestamp::new(time.seconds, time.nanos).ok())
        .flatten()
        .ok_or_else(|| Invalid::new(field, "must be a time between the years 1 and 9999"))
}

pub fn duration(field: &str, duration: pbjson_types::Duration) -> Result<Duration, Invalid> {
    let seconds = u64::try_from(duration.seconds).ok();
    let nanos = u32::try_from(duration.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    seconds
        .zip(nanos)
        .map(|(seconds, nanos)| Duration::new(seconds, nanos))
        .ok_or_else(|| Invalid::new(field, "must not be negative"))
}

pub fn wire_time(time: Timestamp) -> pbjson_types::Timestamp {
    let nanos = time.as_nanosecond();
    // Timestamps span the years ±9999: the quotient fits, and the remainder is below one second.
    pbjson_types::Timestamp {
        seconds: nanos.div_euclid(1_000_000_000) as i64,
        nanos: nanos.rem_euclid(1_000_000_000) as i32,
    }
}

fn wire_duration(duration: Duration) -> pbjson_types::Duration {
    pbjson_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: duration.subsec_nanos() as i32,
    }
}

// ── Metadata ──────────────────────────────────────────────────────────────────

/// Recursion is bounded where messages are decoded: by prost for gRPC, by `json::DEPTH` for REST.
pub fn metadata(fields: Struct) -> Result<Metadata, Invalid> {
    fields.fields.into_iter().map(|(key, value)| Ok((key, json(value)?))).collect()
}

fn json(value: Value) -> Result<serde_json::Value, Invalid> {
    Ok(match value.kind {
        None | Some(Kind::NullValue(_)) => serde_json::Value::Null,
        Some(Kind::BoolValue(value)) => value.into(),
        Some(Kind::NumberValue(value)) => number(value)?.into(),
        Some(Kind::StringValue(value)) => value.into(),
        Some(Kind::ListValue(list)) => list.values.into_iter().map(json).collect::<Result<Vec<_>, _>>()?.into(),
        Some(Kind::StructValue(fields)) => metadata(fields)?.into(),
    })
}

/// The wire knows doubles only. A whole one is an integer again, so that a schema's `integer` means what it says.
fn number(value: f64) -> Result<serde_json::Number, Invalid> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() < EXACT {
        return Ok((value as i64).into());
    }
    serde_json::Number::from_f64(value).ok_or_else(|| Invalid::new("metadata", "numbers must be finite"))
}

pub fn wire_metadata(metadata: Metadata) -> Struct {
    metadata.into_iter().map(|(key, value)| (key, wire_value(value))).collect()
}

fn wire_value(value: serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Kind::NullValue(0).into(),
        serde_json::Value::Bool(value) => value.into(),
        serde_json::Value::Number(value) => value.as_f64().unwrap_or_default().into(),
        serde_json::Value::String(value) => value.into(),
        serde_json::Value::Array(values) => {
            Kind::ListValue(ListValue { values: values.into_iter().map(wire_value).collect() }).into()
        }
        serde_json::Value::Object(fields) => Kind::StructValue(wire_metadata(fields)).into(),
    }
}

// ── Rows ──────────────────────────────────────────────────────────────────────

/// Health depends on the time, so it is told; the outlook depends on the registry too.
pub fn credential(row: vault::Credential, outlook: vault::Outlook, now: Timestamp) -> pb::Credential {
    let health = row.health(now).word().to_owned();
    let Path { org, project, provider, name } = row.path;
    pb::Credential {
        id: row.id.to_string(),
        org,
        project,
        provider,
        name,
        state: row.state.word().to_owned(),
        health,
        active_version: row.active_version.unwrap_or_default(),
        latest_version: row.latest_version,
        fingerprint: row.fingerprint,
        public_identity: row.public_identity,
        metadata: (!row.metadata.is_empty()).then(|| wire_metadata(row.metadata)),
        labels: row.labels,
        etag: row.revision.to_string(),
        created_at: Some(wire_time(row.created_at)),
        updated_at: Some(wire_time(row.updated_at)),
        expires_at: row.expires_at.map(wire_time),
        deleted_at: row.deleted_at.map(wire_time),
        destroy_at: row.destroy_at.map(wire_time),
        failing_since: row.failing_since.map(wire_time),
        rotate_by: outlook.rotate_by.map(wire_time),
        warnings: outlook.warnings,
        last_test: row.last_test.map(Into::into),
        next_test_at: outlook.next_test_at.map(wire_time),
    }
}

impl From<vault::Version> for pb::Version {
    fn from(row: vault::Version) -> Self {
        let under = row.keys.into_iter().find(|under| !under.is_recovery());
        let (kms_key, kms_key_version) = under.map(|under| (under.key, under.version)).unwrap_or_default();
        Self {
            version: row.version,
            state: row.state.word().to_owned(),
            fingerprint: row.fingerprint,
            public_identity: row.public_identity,
            seal: row.seal.as_str().into(),
            kms_key,
            kms_key_version,
            probe: row.probe.map(Into::into),
            created_by: row.created_by,
            created_at: Some(wire_time(row.created_at)),
            activated_at: row.activated_at.map(wire_time),
            destroyed_at: row.destroyed_at.map(wire_time),
        }
    }
}

impl From<vault::ProbeRecord> for pb::ProbeResult {
    fn from(record: vault::ProbeRecord) -> Self {
        Self {
            outcome: record.outcome,
            reason: record.reason,
            hint: record.hint,
            at: Some(wire_time(record.at)),
            retry_after: record.retry_after_seconds.map(|seconds| wire_duration(Duration::from_secs(seconds))),
            identity: record.identity,
            expires_at: record.expires_at.map(wire_time),
            warnings: record.warnings,
        }
    }
}

impl From<vault::Tested> for pb::PastTest {
    fn from(row: vault::Tested) -> Self {
        let vault::Tested { version, at, outcome, reason, hint } = row;
        let result = pb::ProbeResult { outcome, reason, hint, at: Some(wire_time(at)), ..pb::ProbeResult::default() };
        Self { version, result: Some(result) }
    }
}

pub fn outcome(outcome: vault::Outcome, at: Timestamp) -> pb::ProbeResult {
    pb::ProbeResult {
        outcome: outcome.verdict.as_str().into(),
        reason: outcome.reason.into_owned(),
        hint: outcome.hint,
        at: Some(wire_time(at)),
        retry_after: outcome.retry_after.map(wire_duration),
        identity: outcome.learned.identity,
        expires_at: outcome.learned.expires_at.map(wire_time),
        warnings: outcome.learned.warnings,
    }
}

impl From<vault::Decrypted> for pb::DecryptCredentialResponse {
    fn from(opened: vault::Decrypted) -> Self {
        Self {
            credential_id: opened.credential_id.to_string(),
            version: opened.version,
            secret: Some(opened.secret),
            fingerprint: opened.fingerprint,
            cached: opened.cached,
        }
    }
}

impl From<vault::Token> for pb::Token {
    fn from(row: vault::Token) -> Self {
        Self {
            id: row.id.to_string(),
            name: row.name,
            role: row.role,
            org: row.org,
            projects: row.projects,
            providers: row.providers,
            created_by: row.created_by,
            created_at: Some(wire_time(row.created_at)),
            expires_at: Some(wire_time(row.expires_at)),
            revoked_at: row.revoked_at.map(wire_time),
            actions: row.actions,
            parent: row.parent.map(|id| id.to_string()).unwrap_or_default(),
            replaces: row.replaces.map(|id| id.to_string()).unwrap_or_default(),
            last_used_at: row.last_used_at.map(wire_time),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_project_and_name_are_the_default() {
        let path = path("__platform__".into(), String::new(), "openai".into(), String::new());
        assert_eq!((path.project.as_str(), path.name.as_str()), ("default", "default"));
        assert_eq!(path.org, "__platform__");
    }

    #[test]
    fn times_go_there_and_back_and_hostile_ones_are_refused() {
        for text in ["1969-12-31T23:59:59.5Z", "2030-01-31T00:00:00.000000001Z", "0001-01-01T00:00:00Z"] {
            let known: Timestamp = text.parse().unwrap();
            assert_eq!(time("t", wire_time(known)).unwrap(), known);
        }
        for (seconds, nanos) in [(i64::MAX, 0), (i64::MIN, 0), (0, -1), (0, 1_000_000_000), (0, i32::MIN)] {
            let error = time("expires_at", pbjson_types::Timestamp { seconds, nanos }).unwrap_err();
            assert!(error.to_string().starts_with("expires_at: "));
        }
    }

    #[test]
    fn hostile_durations_are_refused() {
        let wire = |seconds, nanos| duration("ttl", pbjson_types::Duration { seconds, nanos });
        assert_eq!(wire(90, 5).unwrap(), Duration::new(90, 5));
        assert!(wire(i64::MAX, 999_999_999).is_ok());
        for (seconds, nanos) in [(-1, 0), (0, -1), (i64::MIN, 0), (0, 1_000_000_000)] {
            assert_eq!(wire(seconds, nanos).unwrap_err().to_string(), "ttl: must not be negative");
        }
    }

    #[test]
    fn metadata_goes_there_and_back() {
        let known = serde_json::json!({"a": [1, -2.5, null, true], "b": {"c": "d"}, "n": 123_456_789_012_i64});
        let serde_json::Value::Object(known) = known else { unreachable!() };
        assert_eq!(metadata(wire_metadata(known.clone())).unwrap(), known);
    }

    #[test]
    fn numbers_that_json_cannot_hold_are_refused() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let fields = Struct { fields: [("a".to_owned(), value.into())].into() };
            assert_eq!(metadata(fields).unwrap_err().to_string(), "metadata: numbers must be finite");
        }
        assert_eq!(number(-0.0).unwrap(), 0.into());
        assert!(number(9_007_199_254_740_993.0).unwrap().is_f64());
    }
}
