//! What the server answered instead of a result: which exit code it means, and the command that helps.

use std::error::Error as _;
use std::time::Duration;

use tonic::{Code, Status, TimeoutExpired};
use tonic_types::{ErrorInfo, StatusExt as _};

use super::error::{Exit, Failure};

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let info = status.get_details_error_info().filter(|info| info.domain == "strongroom");
        let exit = info.as_ref().and_then(|info| by_reason(&info.reason)).unwrap_or_else(|| by_code(&status));
        let wait = status.get_details_retry_info().and_then(|info| info.retry_delay);
        let hint =
            told(info.as_ref(), "hint").map(str::to_owned).or_else(|| advice(exit, &status, info.as_ref(), wait));
        Self::Said { exit, message: words(&status, info.as_ref(), exit), hint }
    }
}

/// The machine-readable reasons of `google.rpc.ErrorInfo`.
fn by_reason(reason: &str) -> Option<Exit> {
    Some(match reason {
        "INVALID" => Exit::Invalid,
        "UNAUTHENTICATED" => Exit::Unauthenticated,
        "DENIED" | "STEP_UP_REQUIRED" | "APPROVAL_REQUIRED" => Exit::Denied,
        "NOT_FOUND" => Exit::NotFound,
        "CONFLICT" => Exit::Conflict,
        "REFUSED" => Exit::Refused,
        "AUDIT_UNAVAILABLE" | "KMS_UNAVAILABLE" | "STORE_UNAVAILABLE" | "ISSUER_UNAVAILABLE" | "LIMITED" => {
            Exit::Unavailable
        }
        "CORRUPT" => Exit::Corrupt,
        "BUG" => Exit::Bug,
        _ => return None,
    })
}

/// For answers without a reason of ours: from a proxy, from the gRPC library, or from a newer server.
fn by_code(status: &Status) -> Exit {
    match status.code() {
        _ if broken(status).is_some() => Exit::NoConnection,
        Code::Cancelled | Code::DeadlineExceeded | Code::ResourceExhausted => Exit::Unavailable,
        Code::InvalidArgument | Code::OutOfRange => Exit::Invalid,
        Code::Unauthenticated => Exit::Unauthenticated,
        Code::PermissionDenied => Exit::Denied,
        Code::NotFound => Exit::NotFound,
        Code::Aborted | Code::AlreadyExists => Exit::Conflict,
        Code::FailedPrecondition => Exit::Refused,
        Code::Unavailable => Exit::Unavailable,
        Code::DataLoss => Exit::Corrupt,
        // Something is there, but it does not know this call: another port or program, or an older strongroom.
        Code::Unimplemented => Exit::NoConnection,
        _ => Exit::Bug,
    }
}

/// What broke between here and the server: the library keeps a source for nothing else, but for a time that is up. The
/// innermost cause says something; the outer ones say "transport error".
fn broken(status: &Status) -> Option<String> {
    let mut cause = status.source()?;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    (!cause.is::<TimeoutExpired>()).then(|| cause.to_string())
}

fn words(status: &Status, info: Option<&ErrorInfo>, exit: Exit) -> String {
    let mut words = match status.message() {
        _ if exit == Exit::NoConnection
            && let Some(cause) = broken(status) =>
        {
            format!("the connection broke: {cause}")
        }
        "" => format!("the server answered {:?} and no more", status.code()),
        message => message.to_owned(),
    };
    if let Some(field) = told(info, "field").filter(|field| !words.contains(field)) {
        words = format!("{field}: {words}");
    }
    // For these, somebody looks into the server's log, and needs to know where.
    if matches!(exit, Exit::Unauthenticated | Exit::Denied | Exit::Unavailable | Exit::Corrupt | Exit::Bug)
        && let Some(request) = told(info, "request_id")
    {
        words = format!("{words} (request {request})");
    }
    words
}

fn told<'a>(info: Option<&'a ErrorInfo>, key: &str) -> Option<&'a str> {
    info?.metadata.get(key).map(String::as_str).filter(|text| !text.is_empty())
}

fn reason(info: Option<&ErrorInfo>) -> Option<&str> {
    info.map(|info| info.reason.as_str())
}

/// What to do next, where the server gave no hint of its own.
fn advice(exit: Exit, status: &Status, info: Option<&ErrorInfo>, wait: Option<Duration>) -> Option<String> {
    Some(match exit {
        Exit::Invalid if told(info, "field") == Some("provider") => {
            "`strongroom providers` lists those that the registry has".into()
        }
        Exit::Unauthenticated => {
            "set STRONGROOM_TOKEN or STRONGROOM_TOKEN_FILE; an administrator makes a token with `strongroom token issue`; \
             where one was sent, or a grant or a certificate, the server's log says by the request's id why it does not count"
                .into()
        }
        Exit::Denied if reason(info) == Some("STEP_UP_REQUIRED") => {
            "give the code that your authenticator shows: set STRONGROOM_CODE, or run this in a terminal, where it asks; \
             `strongroom second-factor enrol` makes one; a JWT brings its own: sign in again where it comes from"
                .into()
        }
        Exit::Denied if reason(info) == Some("APPROVAL_REQUIRED") => match told(info, "approval") {
            Some(id) => format!(
                "somebody else runs `strongroom approval approve {id}`; then say the same again with --approval {id}"
            ),
            None => "decrypt it by itself, and somebody else can approve that".into(),
        },
        Exit::Denied => "an operator sees why with `strongroom audit list --outcome DENIED`".into(),
        Exit::NotFound => format!("`strongroom {}` shows what there is", listing(status.message())),
        // Only a credential's conflict tells which.
        Exit::Conflict if told(info, "id").is_some() => {
            "`strongroom show ORG PROVIDER` shows how it is now, and its etag".into()
        }
        Exit::Refused => "correct it at the provider, then run `strongroom setup` again".into(),
        Exit::Unavailable if matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded) => {
            "give it longer with --timeout".into()
        }
        Exit::Unavailable => match wait {
            Some(wait) => format!("try again in {} s", wait.as_secs().max(1)),
            None => "try again in a moment".into(),
        },
        Exit::Corrupt => "an operator should look now: `strongroom audit verify`, and the server's log".into(),
        Exit::Bug => "an operator finds the cause in the server's log".into(),
        Exit::NoConnection if status.code() == Code::Unimplemented => {
            "is that the gRPC port (7300, not 8000) of a strongroom that is as new as this program?".into()
        }
        // A certificate is refused after the handshake is over for us: often all that is seen is the end.
        Exit::NoConnection => "is the server running? If you come with a certificate, it may have refused that: its log \
             says so, and why"
            .into(),
        _ => return None,
    })
}

/// The command that lists what the server says is not there.
fn listing(message: &str) -> &'static str {
    let lists = [
        ("token", "token list"),
        ("grant", "grant list"),
        ("approval", "approval list"),
        ("second factor", "second-factor list"),
    ];
    lists.iter().find(|(thing, _)| message.contains(thing)).map_or("list ORG", |(_, command)| command)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic_types::ErrorDetails;

    use super::*;

    fn status(code: Code, message: &str, reason: &str, metadata: &[(&str, &str)]) -> Status {
        let metadata: HashMap<_, _> = metadata.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        Status::with_error_details(code, message, ErrorDetails::with_error_info(reason, "strongroom", metadata))
    }

    /// Every reason that the vault can give leads to an exit code of its own kind.
    #[test]
    fn reasons_decide_the_exit_code() {
        for (reason, code) in [
            ("INVALID", 3),
            ("UNAUTHENTICATED", 4),
            ("DENIED", 5),
            ("STEP_UP_REQUIRED", 5),
            ("APPROVAL_REQUIRED", 5),
            ("NOT_FOUND", 6),
            ("CONFLICT", 7),
            ("REFUSED", 8),
            ("AUDIT_UNAVAILABLE", 9),
            ("KMS_UNAVAILABLE", 9),
            ("STORE_UNAVAILABLE", 9),
            ("CORRUPT", 10),
            ("BUG", 10),
        ] {
            let failure = Failure::from(status(Code::Unknown, "x", reason, &[]));
            assert_eq!(failure.exit().code(), code, "{reason}");
            // A conflict over a credential, and nothing else, is looked at by what it is about. What is invalid names
            // its rule.
            let named = !matches!(reason, "INVALID" | "CONFLICT");
            assert_eq!(failure.to_string().contains("\nhint: "), named, "{reason} says what to do next");
        }
    }

    #[test]
    fn without_a_reason_of_ours_the_code_decides() {
        for (code, exit) in [
            (Code::InvalidArgument, Exit::Invalid),
            (Code::Unauthenticated, Exit::Unauthenticated),
            (Code::PermissionDenied, Exit::Denied),
            (Code::NotFound, Exit::NotFound),
            (Code::Aborted, Exit::Conflict),
            (Code::FailedPrecondition, Exit::Refused),
            (Code::Unavailable, Exit::Unavailable),
            (Code::DeadlineExceeded, Exit::Unavailable),
            (Code::DataLoss, Exit::Corrupt),
            (Code::Internal, Exit::Bug),
            (Code::Unimplemented, Exit::NoConnection),
        ] {
            assert_eq!(Failure::from(Status::new(code, "x")).exit(), exit, "{code:?}");
        }
        let foreign = ErrorDetails::with_error_info("DENIED", "a-proxy", HashMap::new());
        assert_eq!(
            Failure::from(Status::with_error_details(Code::Unavailable, "x", foreign)).exit(),
            Exit::Unavailable
        );
    }

    /// A hint that is about something else is worse than none.
    #[test]
    fn hints_are_about_what_was_asked() {
        let said =
            |code, words: &str, reason: &str, more: &[_]| Failure::from(status(code, words, reason, more)).to_string();
        for (missing, command) in [
            ("there is no such token", "token list"),
            ("there is no such grant", "grant list"),
            ("there is no such approval", "approval list"),
            ("this caller has no second factor", "second-factor list"),
            ("there is no such credential", "list ORG"),
        ] {
            let said = said(Code::NotFound, missing, "NOT_FOUND", &[]);
            assert!(said.ends_with(&format!("hint: `strongroom {command}` shows what there is")), "{said}");
        }
        assert!(!said(Code::Aborted, "this token was rotated already", "CONFLICT", &[]).contains("hint"));
        assert!(said(Code::Aborted, "it has changed", "CONFLICT", &[("id", "c-1")]).contains("its etag"));

        let wrong = || Failure::from(status(Code::InvalidArgument, "at most a day", "INVALID", &[("field", "ttl")]));
        assert_eq!(wrong().to_string(), "error: ttl: at most a day");
        assert!(wrong().about("acme", "openai").to_string().contains("`strongroom providers show openai`"));

        let nobody = said(Code::Unauthenticated, "no valid token", "UNAUTHENTICATED", &[("request_id", "r-17")]);
        assert!(nobody.contains("no valid token (request r-17)"), "the operator finds why: {nobody}");
    }

    #[test]
    fn the_servers_hint_and_field_and_request_are_told() {
        let refused = status(Code::FailedPrecondition, "openai refused it", "REFUSED", &[("hint", "make a new key")]);
        assert_eq!(Failure::from(refused).to_string(), "error: openai refused it\nhint: make a new key");

        let invalid = status(Code::InvalidArgument, "is too short", "INVALID", &[("field", "fields.api_key")]);
        assert_eq!(Failure::from(invalid).to_string(), "error: fields.api_key: is too short");

        let corrupt = status(Code::DataLoss, "stored data is damaged", "CORRUPT", &[("request_id", "r-17")]);
        assert!(Failure::from(corrupt).to_string().contains("damaged (request r-17)"));
    }
}
