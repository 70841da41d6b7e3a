//! Option values that are no secrets: labels, durations, instants, JSON objects.

use std::time::Duration;

use jiff::{SpanRelativeTo, Timestamp};

use super::error::Failure;

/// Optimistic concurrency: the state that a change was decided on.
#[derive(clap::Args)]
pub(super) struct Expected {
    /// Do it only if this is still the credential's etag.
    #[arg(long)]
    etag: Option<String>,
}

impl Expected {
    pub fn etag(&self) -> String {
        self.etag.clone().unwrap_or_default()
    }
}

/// `key=value`.
pub(super) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err("a label looks like key=value".into()),
    }
}

/// `30s`, `12h`, `90d`. A day has 24 hours; months and years have no fixed length and are refused.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::Span = text.parse().map_err(|_| "a duration looks like 30s, 12h or 90d")?;
    let exact = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(|_| "months and years have no fixed length: say it in days")?;
    match Duration::try_from(exact) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("a duration is longer than nothing".into()),
    }
}

/// RFC 3339, with its offset.
pub(super) fn instant(text: &str) -> Result<pbjson_types::Timestamp, String> {
    let at: Timestamp = text.parse().map_err(|_| "an instant looks like 2027-06-30T12:00:00Z")?;
    Ok(pbjson_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() })
}

/// An instant, or how long ago it was.
pub(super) fn moment(text: &str) -> Result<pbjson_types::Timestamp, String> {
    if let Ok(ago) = duration(text) {
        let at = Timestamp::now() - jiff::SignedDuration::try_from(ago).map_err(|_| "too long ago")?;
        return Ok(pbjson_types::Timestamp { seconds: at.as_second(), nanos: at.subsec_nanosecond() });
    }
    instant(text).map_err(|_| "a moment looks like 2027-06-30T12:00:00Z, or like 12h: so long ago".to_owned())
}

/// A JSON object, given as it is or as `@FILE`. An error never repeats the text: it may be a secret in the wrong place.
pub(super) fn json_object(option: &str, text: &str) -> Result<pbjson_types::Struct, Failure> {
    let file = match text.strip_prefix('@') {
        Some(path) => Some(
            std::fs::read_to_string(path)
                .map_err(|cause| Failure::usage(format!("{option}: cannot read its file: {cause}")))?,
        ),
        None => None,
    };
    let value: serde_json::Value = serde_json::from_str(file.as_deref().unwrap_or(text)).map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        Failure::usage(format!("{option}: not JSON ({place})"))
            .hint(format!("{option} '{{\"region\": \"eu\"}}', or {option} @FILE"))
    })?;
    if !value.is_object() {
        return Err(Failure::usage(format!("{option}: JSON, but not an object")));
    }
    serde_json::from_value(value).map_err(|_| Failure::usage(format!("{option}: a number is out of range")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        assert_eq!(label("team=data=eu"), Ok(("team".into(), "data=eu".into())));
        assert_eq!(label("team="), Ok(("team".into(), String::new())));
        assert!(label("team").is_err() && label("=x").is_err());
    }

    #[test]
    fn durations() {
        assert_eq!(duration("90d"), Ok(Duration::from_secs(90 * 86_400)));
        assert_eq!(duration("1h 30m"), Ok(Duration::from_secs(5_400)));
        assert_eq!(duration("2w"), Ok(Duration::from_secs(14 * 86_400)));
        for wrong in ["", "7", "soon", "0s", "-1d", "1mo", "1y", "999999999999w"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn instants() {
        let at = instant("2027-06-30T14:00:00.5+02:00").unwrap();
        assert_eq!((at.seconds, at.nanos), (1_814_356_800, 500_000_000));
        assert!(instant("2027-06-30").is_err() && instant("tomorrow").is_err());
    }

    #[test]
    fn objects_and_never_an_echo() {
        assert_eq!(json_object("--metadata", r#"{"region":"eu","n":1}"#).unwrap().fields.len(), 2);
        for wrong in ["sk-canary", "\"sk-canary\"", "{\"a\": sk-canary}", "[1]", "@/nowhere/canary"] {
            let failure = json_object("--metadata", wrong).unwrap_err().to_string();
            assert!(failure.starts_with("error: --metadata: ") && !failure.contains("canary"), "{failure}");
        }
    }
}
