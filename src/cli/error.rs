//! What went wrong, and who must act: the words and the exit codes.

use std::fmt;
use std::io;
use std::process::ExitCode;

use super::output::{escape, say};

/// Exit codes, by who must act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Usage = 2,
    Invalid = 3,
    Unauthenticated = 4,
    Denied = 5,
    NotFound = 6,
    Conflict = 7,
    Refused = 8,
    Unavailable = 9,
    Bug = 10,
    NoConnection = 11,
    Configuration = 64,
}

/// The one table of exit codes; the help shows it.
const EXITS: [(Exit, &str); 11] = [
    (Exit::Usage, "the command line is wrong"),
    (Exit::Invalid, "the server found the request wrong; it names the field and the rule"),
    (Exit::Unauthenticated, "there is no valid token"),
    (Exit::Denied, "the token does not allow it, or there is no such thing"),
    (Exit::NotFound, "there is no such thing"),
    (Exit::Conflict, "it changed meanwhile, or something is in the way"),
    (Exit::Refused, "the provider does not accept the credential"),
    (Exit::Unavailable, "nobody's fault; try again later"),
    (Exit::Bug, "stored data is damaged, or strongroom has a fault: call the operator"),
    (Exit::NoConnection, "the server cannot be reached"),
    (Exit::Configuration, "the daemon's configuration is wrong (serve)"),
];

/// Why a command ends without having done what was asked.
#[derive(Debug)]
pub enum Failure {
    Said {
        exit: Exit,
        message: String,
        hint: Option<String>,
    },
    /// Whoever read our stdout has seen enough (`strongroom list acme | head -1`): no failure to talk about.
    ReaderGone,
}

/// The exit codes as the help's last paragraph.
pub(super) fn table() -> String {
    let rows = EXITS.iter().map(|(exit, meaning)| format!("  {:>2}  {meaning}\n", *exit as u8));
    format!("Exit codes:\n   0  done\n{}", rows.collect::<String>())
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self::Said { exit, message: message.into(), hint: None }
    }

    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Sets what to do next.
    #[must_use]
    pub fn hint(mut self, next: impl Into<String>) -> Self {
        if let Self::Said { hint, .. } = &mut self {
            *hint = Some(next.into());
        }
        self
    }

    pub fn exit(&self) -> Exit {
        match self {
            Self::Said { exit, .. } => *exit,
            Self::ReaderGone => Exit::Unavailable,
        }
    }

    pub(super) fn message(&self) -> &str {
        match self {
            Self::Said { message, .. } => message,
            Self::ReaderGone => "stdout was closed",
        }
    }

    /// Worth trying again without changing anything.
    pub(super) fn passes(&self) -> bool {
        matches!(self, Self::Said { exit: Exit::Unavailable | Exit::NoConnection, .. })
    }

    /// Tells stderr, and gives the code to leave with.
    pub fn report(&self) -> ExitCode {
        match self {
            Self::ReaderGone => ExitCode::SUCCESS,
            Self::Said { exit, .. } => {
                say(self);
                ExitCode::from(*exit as u8)
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", escape(self.message()))?;
        match self {
            Self::Said { hint: Some(hint), .. } => write!(f, "\nhint: {}", escape(hint)),
            _ => Ok(()),
        }
    }
}

/// Only writing results to stdout comes this way.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::ReaderGone;
        }
        Self::new(Exit::Unavailable, format!("cannot write to stdout: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_every_code_once() {
        let codes: std::collections::BTreeSet<u8> = EXITS.iter().map(|(exit, _)| *exit as u8).collect();
        assert_eq!(codes.len(), EXITS.len());
        assert!(codes.contains(&(Exit::Bug as u8)) && !codes.contains(&0));
    }

    #[test]
    fn words_and_hint_are_a_line_each_whatever_they_hold() {
        let failure = Failure::new(Exit::NotFound, "gone \u{1b}[2J\u{9b}31m\nerror: forged").hint("look\nthere");
        let said = failure.to_string();
        assert!(!said.contains('\u{1b}') && !said.contains('\u{9b}'), "{said:?}");
        assert_eq!(said.lines().count(), 2);
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(matches!(failure, Failure::ReaderGone));
        assert_eq!(Failure::from(io::Error::other("full")).exit(), Exit::Unavailable);
    }
}
