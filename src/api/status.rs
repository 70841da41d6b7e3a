//! The one table from errors to what a client sees: gRPC code, HTTP status, reason. What only the operator may read goes
//! to the log, in [`report`].

use std::collections::HashMap;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::vault::Error;

/// The domain in google.rpc.ErrorInfo.
const DOMAIN: &str = "strongroom";

/// Why a request was not answered: the vault's reasons, and those of the transport.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fault {
    #[error(transparent)]
    Vault(#[from] Error),
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
    fn details(&self) -> Vec<(&'static str, String)> {
        let Self::Vault(error) = self else { return Vec::new() };
        match error {
            Error::Invalid { field, .. } => vec![("field", field.clone())],
            Error::Conflict { id, version, .. } if !id.is_empty() => {
                vec![("id", id.clone()), ("version", version.to_string())]
            }
            Error::Refused { provider, outcome, reason, hint } => vec![
                ("provider", provider.clone()),
                ("outcome", outcome.clone()),
                ("outcome_reason", reason.clone()),
                ("hint", hint.clone()),
            ],
            Error::Unavailable { retry_after, .. } => vec![("retry_after", seconds(*retry_after).to_string())],
            _ => Vec::new(),
        }
    }

    const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Vault(Error::Unavailable { retry_after, .. }) => Some(*retry_after),
            _ => None,
        }
    }
}

const fn vault(error: &Error) -> Line {
    let (code, status, title) = match error {
        Error::Invalid { .. } => (Code::InvalidArgument, StatusCode::BAD_REQUEST, "Invalid request"),
        Error::Unauthenticated => (Code::Unauthenticated, StatusCode::UNAUTHORIZED, "Not authenticated"),
        Error::Denied => (Code::PermissionDenied, StatusCode::FORBIDDEN, "Denied"),
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
        fault.details().into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    metadata.insert("request_id".into(), request_id.into());
    let mut details = ErrorDetails::new();
    details.set_error_info(line.reason, DOMAIN, metadata);
    if let Fault::Vault(Error::Invalid { field, why }) = fault {
        details.add_bad_request_violation(field, why);
    }
    if let Some(after) = fault.retry_after() {
        details.set_retry_info(Some(after));
    }
    Status::with_error_details(line.code, fault.to_string(), details)
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
    details: serde_json::Map<String, serde_json::Value>,
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
        details: fault.details().into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect(),
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

/// Whole seconds, rounded up: zero would mean a retry at once.
fn seconds(after: Duration) -> u64 {
    after.as_millis().div_ceil(1000).clamp(1, u128::from(u32::MAX)) as u64
}
