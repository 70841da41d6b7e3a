//! The one table from errors to what a client sees: gRPC code, HTTP status, reason. What only the operator may read goes
//! to the log, in [`report`].

use std::collections::HashMap;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::Value;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::vault::Error;

/// The domain in google.rpc.ErrorInfo.
const DOMAIN: &str = "strongroom";

const INVALID: &str = "INVALID";

/// Why a request was not answered: the vault's reasons, and those of the transport.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fault {
    #[error(transparent)]
    Vault(#[from] Error),
    /// The vault has not seen it, so has not recorded it either: `serve` sees to that.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    #[error("the deadline passed; whether it was done is unknown")]
    Deadline,
    #[error("there is no such path")]
    NoRoute,
    #[error("this path does not take this method")]
    NoMethod,
    #[error("the body must be application/json")]
    MediaType,
    #[error("the request may be {limit} bytes long")]
    TooLarge { limit: usize },
}

/// A request that cannot be understood. Names the field and the rule, never the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct Invalid {
    pub field: String,
    pub why: String,
}

impl Invalid {
    pub fn new(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self { field: field.into(), why: why.into() }
    }
}

impl From<Invalid> for Error {
    fn from(Invalid { field, why }: Invalid) -> Self {
        Self::Invalid { field, why }
    }
}

/// A line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    pub code: Code,
    pub status: StatusCode,
    pub reason: &'static str,
    pub title: &'static str,
}

impl Fault {
    pub const fn line(&self) -> Line {
        let (code, status, reason, title) = match self {
            Self::Vault(error) => return vault(error),
            Self::Invalid(_) => (Code::InvalidArgument, StatusCode::BAD_REQUEST, INVALID, "Invalid request"),
            Self::Deadline => (Code::DeadlineExceeded, StatusCode::GATEWAY_TIMEOUT, "DEADLINE", "Too slow"),
            Self::NoRoute => (Code::Unimplemented, StatusCode::NOT_FOUND, "NO_ROUTE", "No such path"),
            Self::NoMethod => (Code::Unimplemented, StatusCode::METHOD_NOT_ALLOWED, "NO_METHOD", "No such method"),
            Self::MediaType => {
                (Code::InvalidArgument, StatusCode::UNSUPPORTED_MEDIA_TYPE, "MEDIA_TYPE", "Not a JSON request")
            }
            Self::TooLarge { .. } => (Code::OutOfRange, StatusCode::PAYLOAD_TOO_LARGE, "TOO_LARGE", "Too long"),
        };
        Line { code, status, reason, title }
    }

    /// What a program may want to read, by name.
    fn details(&self) -> Vec<(&'static str, Value)> {
        let error = match self {
            Self::Vault(error) => error,
            Self::Invalid(Invalid { field, .. }) => return vec![("field", field.as_str().into())],
            _ => return Vec::new(),
        };
        match error {
            Error::Invalid { field, .. } => vec![("field", field.as_str().into())],
            Error::Conflict { id, version, .. } if !id.is_empty() => {
                vec![("id", id.as_str().into()), ("version", (*version).into())]
            }
            Error::Refused { provider, outcome, reason, hint } => vec![
                ("provider", provider.as_str().into()),
                ("outcome", outcome.as_str().into()),
                ("outcome_reason", reason.as_str().into()),
                ("hint", hint.as_str().into()),
            ],
            Error::NeedsApproval { id } => vec![("approval", id.as_str().into())],
            Error::Unavailable { retry_after, .. } | Error::Limited { retry_after } => {
                vec![("retry_after", seconds(*retry_after).into())]
            }
            _ => Vec::new(),
        }
    }

    /// What was wrong with the request, when that was found before the vault saw it.
    pub fn of_request(&self) -> Option<Invalid> {
        match self {
            Self::Invalid(invalid) => Some(invalid.clone()),
            Self::MediaType | Self::TooLarge { .. } => Some(Invalid::new("body", self.to_string())),
            _ => None,
        }
    }

    const fn violation(&self) -> Option<(&String, &String)> {
        match self {
            Self::Vault(Error::Invalid { field, why }) | Self::Invalid(Invalid { field, why }) => Some((field, why)),
            _ => None,
        }
    }

    const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Vault(Error::Unavailable { retry_after, .. } | Error::Limited { retry_after }) => Some(*retry_after),
            _ => None,
        }
    }
}

const fn vault(error: &Error) -> Line {
    let (code, status, title) = match error {
        Error::Invalid { .. } => (Code::InvalidArgument, StatusCode::BAD_REQUEST, "Invalid request"),
        Error::Unauthenticated => (Code::Unauthenticated, StatusCode::UNAUTHORIZED, "Not authenticated"),
        Error::Denied => (Code::PermissionDenied, StatusCode::FORBIDDEN, "Denied"),
        Error::NeedsStepUp { .. } => (Code::PermissionDenied, StatusCode::FORBIDDEN, "A second factor is needed"),
        Error::NeedsApproval { .. } => (Code::PermissionDenied, StatusCode::FORBIDDEN, "An approval is needed"),
        Error::Limited { .. } => (Code::ResourceExhausted, StatusCode::TOO_MANY_REQUESTS, "Too much at a time"),
        Error::NotFound { .. } => (Code::NotFound, StatusCode::NOT_FOUND, "Not found"),
        Error::Conflict { .. } => (Code::Aborted, StatusCode::CONFLICT, "Conflict"),
        Error::Refused { .. } => (Code::FailedPrecondition, StatusCode::BAD_REQUEST, "Refused by the provider"),
        Error::Unavailable { .. } => (Code::Unavailable, StatusCode::SERVICE_UNAVAILABLE, "Unavailable"),
        Error::Corrupt { .. } => (Code::DataLoss, StatusCode::INTERNAL_SERVER_ERROR, "Stored data is damaged"),
        Error::Bug { .. } => (Code::Internal, StatusCode::INTERNAL_SERVER_ERROR, "Internal error"),
    };
    Line { code, status, reason: error.reason(), title }
}

/// Tells the operator what the client is not told.
pub fn report(rpc: &str, request_id: &str, error: &Error) {
    if let Some(cause) = error.cause() {
        tracing::error!(rpc, request_id, reason = error.reason(), cause, "request failed");
    }
}

/// The error over gRPC: google.rpc.ErrorInfo, and BadRequest or RetryInfo where they fit.
pub fn grpc(fault: &Fault, request_id: &str) -> Status {
    let line = fault.line();
    let mut metadata: HashMap<String, String> =
        fault.details().into_iter().map(|(key, value)| (key.to_owned(), plain(value))).collect();
    metadata.insert("request_id".into(), request_id.into());
    let mut details = ErrorDetails::new();
    details.set_error_info(line.reason, DOMAIN, metadata);
    if let Some((field, why)) = fault.violation() {
        details.add_bad_request_violation(field, why);
    }
    if let Some(after) = fault.retry_after() {
        details.set_retry_info(Some(after));
    }
    Status::with_error_details(line.code, fault.to_string(), details)
}

/// The form of ours for an error that tonic made. Its messages name fields and lengths, no values. A message that it
/// cannot read is the caller's doing, whatever tonic calls it.
pub fn explained(status: Status) -> Status {
    let (code, reason) = match status.code() {
        Code::OutOfRange => (Code::OutOfRange, "TOO_LARGE"),
        Code::Unimplemented => (Code::Unimplemented, "NO_ROUTE"),
        Code::Internal => (Code::InvalidArgument, INVALID),
        other => (other, "TRANSPORT"),
    };
    let details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::<String, String>::new());
    let message = if status.message().is_empty() { "there is no such rpc" } else { status.message() };
    Status::with_error_details(code, message, details)
}

/// RFC 9457.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: String,
    reason: &'static str,
    request_id: &'a str,
    #[serde(flatten)]
    details: serde_json::Map<String, Value>,
}

/// The error over REST: `application/problem+json`.
pub fn rest(fault: &Fault, request_id: &str) -> Response {
    let line = fault.line();
    let problem = Problem {
        r#type: format!("urn:strongroom:problem:{}", line.reason),
        title: line.title,
        status: line.status.as_u16(),
        detail: fault.to_string(),
        reason: line.reason,
        request_id,
        details: fault.details().into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
    };
    // A map of strings always serialises.
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let mut response = (line.status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
    let headers = response.headers_mut();
    if let Some(after) = fault.retry_after() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds(after)));
    }
    if line.status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// ErrorInfo holds texts only.
fn plain(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// Whole seconds, rounded up: zero would mean a retry at once.
fn seconds(after: Duration) -> u64 {
    after.as_millis().div_ceil(1000).clamp(1, u128::from(u32::MAX)) as u64
}

#[cfg(test)]
mod tests;
