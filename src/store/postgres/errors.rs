//! What the driver's and the server's errors mean, and what to mend. Values never enter these texts: the server's own
//! words are told only where they cannot hold any, its details and contexts never.

use std::error::Error as _;
use std::io;

use rustls::CertificateError;
use tokio_postgres::error::{DbError, Severity, SqlState};

use super::super::Error;

/// Longer words of a server are not told whole.
const WORDS: usize = 300;

/// How a statement failed, for whoever decides what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Another's transaction was in its way: the same one, made again from its beginning, may succeed.
    Conflict,
    /// A row like this is there already, by a rule that the table has.
    Duplicate,
    /// The connection is gone. Whether the statement was carried out is not known.
    Lost,
    /// No answer in time; the connection was thrown away. Whether the statement was carried out is not known.
    Late,
    /// The server refused it, and would again.
    Refused,
}

impl Failure {
    pub fn of(error: &tokio_postgres::Error) -> Self {
        // Not the server's word: the two sides may no longer agree on what comes next.
        let Some(db) = error.as_db_error() else { return Self::Lost };
        if matches!(db.parsed_severity(), Some(Severity::Fatal | Severity::Panic)) {
            return Self::Lost;
        }
        match db.code().code() {
            "40001" | "40P01" => Self::Conflict,
            "23505" => Self::Duplicate,
            // A primary no more: the next one must be found.
            "25006" => Self::Lost,
            // Shut down, crashed or starting; or a pooler that has no connection to lend.
            "57P01" | "57P02" | "57P03" => Self::Lost,
            code if code.starts_with("08") => Self::Lost,
            _ => Self::Refused,
        }
    }
}

/// The error as the store's.
pub fn explain(error: &tokio_postgres::Error) -> Error {
    let Some(db) = error.as_db_error() else { return Error::Unavailable(outside(error)) };
    let code = db.code().code();
    match code.get(..2) {
        // Every rule was looked at before: rows that break one together cannot be what this program wrote.
        Some("22" | "23") => Error::Corrupt(format!("{} ({code})", rule(db))),
        _ if [SqlState::DATA_CORRUPTED, SqlState::INDEX_CORRUPTED].contains(db.code()) => Error::Corrupt(said(db)),
        _ => Error::Unavailable(match remedy(code) {
            Some(remedy) => format!("{}: {remedy}", said(db)),
            None => said(db),
        }),
    }
}

fn rule(db: &DbError) -> String {
    match (db.constraint(), db.table()) {
        (Some(constraint), Some(table)) => format!("the database refuses a row of {table} by its rule {constraint}"),
        (None, Some(table)) => format!("the database refuses a row of {table}"),
        _ => "the database refuses a value".into(),
    }
}

/// The server's words. Internal errors, and those of code inside the database, may have values in them.
fn said(db: &DbError) -> String {
    let code = db.code().code();
    let words = match code {
        "XX000" | "XXUUU" => "the database failed inside; its log says why",
        _ if code.starts_with("P0") => "code inside the database failed; its log says why",
        _ => db.message(),
    };
    let words: String = words.chars().map(|c| if c.is_control() { ' ' } else { c }).take(WORDS).collect();
    format!("{words} ({code})")
}

fn remedy(code: &str) -> Option<&'static str> {
    Some(match code {
        "28P01" => "mend the password, in store.url or in the file that its password_file names",
        "28000" => "make the user, and let it in from here with TLS and a password in the server's pg_hba.conf",
        "3D000" => "create the database, or mend its name in store.url",
        "42501" => "grant it to the user that store.url names",
        "42P01" | "42703" | "3F000" => "the database has not our schema, or not in the user's search_path",
        "53300" => "raise the server's max_connections, run fewer replicas, or put a pooler in front",
        "53100" => "make room on the server's disk",
        "53200" => "give the server more memory",
        "25006" => "the server only reads, being a standby or set so: name the primary, or all of them with commas",
        "57P01" | "57P02" | "57P03" => "wait until the server is up again",
        "57014" => "it took longer than a statement may: see what the server is busy with",
        "25P03" => "a transaction waited too long for this program",
        "55P03" => "a lock was not to be had in time: see who holds it",
        "40001" | "40P01" => "another's change was in the way; try again",
        _ => return None,
    })
}

/// What is not the server's word: the network, TLS, the protocol, the driver itself.
fn outside(error: &tokio_postgres::Error) -> String {
    let Some(source) = error.source() else {
        return match error.is_closed() {
            true => "the server closed the connection".into(),
            false => error.to_string(),
        };
    };
    if let Some(cause) = source.downcast_ref::<io::Error>() {
        return match cause.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(cause) => tls(cause),
            None => network(cause),
        };
    }
    match source.to_string().as_str() {
        "server does not support TLS" => {
            "the server has no TLS, and nothing was sent to it: set ssl = on there. sslmode=disable would send everything \
             in plain text"
                .into()
        }
        "password missing" => "the server asks for a password, and store.url has none: add password_file".into(),
        cause => format!("{error}: {cause}"),
    }
}

fn network(cause: &io::Error) -> String {
    use io::ErrorKind as Kind;
    match cause.kind() {
        Kind::ConnectionRefused => "nobody listens there: start the server, or mend host and port in store.url".into(),
        Kind::NotFound => "there is no such socket: start the server, or mend its folder in store.url".into(),
        Kind::PermissionDenied if cause.raw_os_error().is_none() => {
            "the server only reads, being a standby or set so: name the primary, or all of them with commas".into()
        }
        Kind::TimedOut => "no answer in time: see whether a firewall is in between".into(),
        Kind::UnexpectedEof | Kind::ConnectionReset | Kind::BrokenPipe => {
            "the connection was cut: see whether a PostgreSQL server is there, and its log".into()
        }
        _ => cause.to_string(),
    }
}

fn tls(cause: &rustls::Error) -> String {
    let rustls::Error::InvalidCertificate(certificate) = cause else { return format!("TLS failed: {cause}") };
    match certificate {
        // The second: of an authority by the same name, with another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate is not from an authority that is trusted: name the file of its authority as sslrootcert"
                .into()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its certificate is not for this host: the name in store.url must be among its subject alternative names"
                .into()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "its certificate has expired".into(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet: see whether both clocks are right".into()
        }
        cause => format!("its certificate is refused: {cause}"),
    }
}
