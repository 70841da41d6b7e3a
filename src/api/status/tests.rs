use http_body_util::BodyExt as _;

use super::*;
use crate::vault::Dependency;

const OPERATOR_ONLY: &str = "disk /dev/sda1 at 10.0.0.7";

/// One of each, with the line that it must have. The match makes a new variant fail to compile until it is here.
fn all() -> Vec<(Fault, Code, u16, &'static str)> {
    let unavailable =
        |what| Error::Unavailable { what, retry_after: Duration::from_millis(1500), cause: OPERATOR_ONLY.into() };
    let refused = Error::Refused {
        provider: "openai".into(),
        outcome: "invalid_credential".into(),
        reason: "expired".into(),
        hint: "make a new key".into(),
    };
    let conflict = Error::Conflict { why: "it has changed".into(), id: "c-1".into(), version: 3 };
    let all = vec![
        (Error::invalid("name", "must be short").into(), Code::InvalidArgument, 400, "INVALID"),
        (Invalid::new("name", "must be short").into(), Code::InvalidArgument, 400, "INVALID"),
        (Error::Unauthenticated.into(), Code::Unauthenticated, 401, "UNAUTHENTICATED"),
        (Error::Denied.into(), Code::PermissionDenied, 403, "DENIED"),
        (Error::NeedsStepUp { why: None }.into(), Code::PermissionDenied, 403, "STEP_UP_REQUIRED"),
        (Error::NeedsApproval { id: "a-1".into() }.into(), Code::PermissionDenied, 403, "APPROVAL_REQUIRED"),
        (Error::Limited { retry_after: Duration::from_millis(1500) }.into(), Code::ResourceExhausted, 429, "LIMITED"),
        (Error::NotFound { what: "no such credential".into() }.into(), Code::NotFound, 404, "NOT_FOUND"),
        (conflict.into(), Code::Aborted, 409, "CONFLICT"),
        (refused.into(), Code::FailedPrecondition, 400, "REFUSED"),
        (unavailable(Dependency::Audit).into(), Code::Unavailable, 503, "AUDIT_UNAVAILABLE"),
        (unavailable(Dependency::Kms).into(), Code::Unavailable, 503, "KMS_UNAVAILABLE"),
        (unavailable(Dependency::Store).into(), Code::Unavailable, 503, "STORE_UNAVAILABLE"),
        (unavailable(Dependency::Issuer).into(), Code::Unavailable, 503, "ISSUER_UNAVAILABLE"),
        (Error::Corrupt { what: OPERATOR_ONLY.into() }.into(), Code::DataLoss, 500, "CORRUPT"),
        (Error::bug(OPERATOR_ONLY).into(), Code::Internal, 500, "BUG"),
        (Fault::Deadline, Code::DeadlineExceeded, 504, "DEADLINE"),
        (Fault::NoRoute, Code::Unimplemented, 404, "NO_ROUTE"),
        (Fault::NoMethod, Code::Unimplemented, 405, "NO_METHOD"),
        (Fault::MediaType, Code::InvalidArgument, 415, "MEDIA_TYPE"),
        (Fault::TooLarge { limit: 9 }, Code::OutOfRange, 413, "TOO_LARGE"),
    ];
    for (fault, ..) in &all {
        match fault {
            Fault::Vault(
                Error::Invalid { .. }
                | Error::Unauthenticated
                | Error::Denied
                | Error::NeedsStepUp { .. }
                | Error::NeedsApproval { .. }
                | Error::Limited { .. }
                | Error::NotFound { .. }
                | Error::Conflict { .. }
                | Error::Refused { .. }
                | Error::Unavailable {
                    what: Dependency::Audit | Dependency::Kms | Dependency::Store | Dependency::Issuer,
                    ..
                }
                | Error::Corrupt { .. }
                | Error::Bug { .. },
            )
            | Fault::Invalid(_)
            | Fault::Deadline
            | Fault::NoRoute
            | Fault::NoMethod
            | Fault::MediaType
            | Fault::TooLarge { .. } => {}
        }
    }
    all
}

#[tokio::test]
async fn every_error_has_its_line_and_neither_voice_leaks_into_the_other() {
    for (fault, code, http, reason) in all() {
        let status = grpc(&fault, "r-1");
        assert_eq!(status.code(), code, "{reason}");
        let info = status.get_details_error_info().unwrap();
        assert_eq!((info.domain.as_str(), info.reason.as_str()), ("strongroom", reason));
        assert_eq!(info.metadata["request_id"], "r-1");
        assert!(!format!("{status:?}").contains("sda1"), "{reason}");
        assert!(!String::from_utf8_lossy(status.details()).contains("sda1"), "{reason}");

        let response = rest(&fault, "r-1");
        assert_eq!(response.status().as_u16(), http, "{reason}");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem["reason"], reason);
        assert_eq!(problem["status"], http);
        assert_eq!(problem["request_id"], "r-1");
        assert_eq!(problem["type"], format!("urn:strongroom:problem:{reason}"));
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{reason}");
        assert!(!problem.to_string().contains("sda1"), "{reason}");
    }
}

#[tokio::test]
async fn what_a_program_needs_is_in_the_details() {
    for (fault, _, _, reason) in all() {
        let status = grpc(&fault, "r-1");
        let response = rest(&fault, "r-1");
        let headers = response.headers().clone();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let info = status.get_details_error_info().unwrap();
        match reason {
            "INVALID" => {
                assert_eq!(problem["field"], "name");
                let violation = &status.get_details_bad_request().unwrap().field_violations[0];
                assert_eq!((violation.field.as_str(), violation.description.as_str()), ("name", "must be short"));
            }
            "UNAUTHENTICATED" => assert_eq!(headers["www-authenticate"], "Bearer"),
            "CONFLICT" => {
                assert_eq!((&problem["id"], &problem["version"]), (&"c-1".into(), &3.into()));
                assert_eq!((info.metadata["id"].as_str(), info.metadata["version"].as_str()), ("c-1", "3"));
            }
            "REFUSED" => {
                assert_eq!(
                    (&problem["hint"], &problem["outcome_reason"]),
                    (&"make a new key".into(), &"expired".into())
                );
                assert_eq!(info.metadata["outcome"], "invalid_credential");
            }
            "APPROVAL_REQUIRED" => {
                assert_eq!((&problem["approval"], info.metadata["approval"].as_str()), (&"a-1".into(), "a-1"))
            }
            "AUDIT_UNAVAILABLE" | "KMS_UNAVAILABLE" | "STORE_UNAVAILABLE" | "ISSUER_UNAVAILABLE" | "LIMITED" => {
                assert_eq!(headers["retry-after"], "2", "rounded up");
                assert_eq!(problem["retry_after"], 2);
                let retry = status.get_details_retry_info().unwrap().retry_delay;
                assert_eq!(retry, Some(Duration::from_millis(1500)));
            }
            _ => assert!(!headers.contains_key("retry-after"), "{reason}"),
        }
    }
}

#[test]
fn what_tonic_refuses_gets_its_details_too() {
    for (status, code, reason) in [
        (Status::internal("failed to decode Protobuf message"), Code::InvalidArgument, "INVALID"),
        (Status::out_of_range("too long"), Code::OutOfRange, "TOO_LARGE"),
        (Status::unimplemented(""), Code::Unimplemented, "NO_ROUTE"),
        (Status::cancelled("gone"), Code::Cancelled, "TRANSPORT"),
    ] {
        let status = explained(status);
        assert_eq!(status.code(), code);
        assert_eq!(status.get_details_error_info().unwrap().reason, reason);
        assert!(!status.message().is_empty());
    }
}
