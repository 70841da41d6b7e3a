//! What went wrong, and who must act: the words and the exit codes.

use std::fmt;
use std::io;
use std::process::ExitCode;

use super::output::{escape, say};

/// Who must act, and on what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Unmet,
    Usage,
    Invalid,
    Unauthenticated,
    Denied,
    NotFound,
    Conflict,
    Refused,
    Unavailable,
    Corrupt,
    Bug,
    NoConnection,
    Configuration,
    Key,
    Schema,
    Store,
    Port,
    Memory,
    Diverged,
}

impl Exit {
    /// In the order of the help, whose last paragraph they are.
    const ALL: [Self; 19] = [
        Self::Unmet,
        Self::Usage,
        Self::Invalid,
        Self::Unauthenticated,
        Self::Denied,
        Self::NotFound,
        Self::Conflict,
        Self::Refused,
        Self::Unavailable,
        Self::Corrupt,
        Self::Bug,
        Self::NoConnection,
        Self::Configuration,
        Self::Key,
        Self::Schema,
        Self::Store,
        Self::Port,
        Self::Memory,
        Self::Diverged,
    ];

    /// The one table of exit codes. From 64 on they are the daemon's own, when it does not start.
    const fn row(self) -> (u8, &'static str) {
        match self {
            Self::Unmet => (1, "policy: a check or a test did not pass"),
            Self::Usage => (2, "the command line is wrong"),
            Self::Invalid => (3, "the server found the request wrong; it names the field and the rule"),
            Self::Unauthenticated => (4, "there is no valid token"),
            Self::Denied => (5, "the token does not allow it, or there is no such thing"),
            Self::NotFound => (6, "there is no such thing"),
            Self::Conflict => (7, "it changed meanwhile, or something is in the way"),
            Self::Refused => (8, "the provider does not accept the credential"),
            Self::Unavailable => (9, "nobody's fault; try again later"),
            Self::Corrupt | Self::Bug => (10, "stored data is damaged, or strongroom has a fault: call the operator"),
            Self::NoConnection => (11, "the server cannot be reached"),
            Self::Configuration => (64, "serve: the configuration is wrong"),
            Self::Key => (65, "serve: the key file is missing, wrong or open to others, or a KMS refuses its key"),
            Self::Schema => (66, "serve: the database was written by a newer strongroom"),
            Self::Store => (67, "serve: the database cannot be opened or written"),
            Self::Port => (68, "serve: an address cannot be listened on"),
            Self::Memory => (69, "serve: memory cannot be protected as the configuration demands"),
            Self::Diverged => (70, "serve: the database is not the one that its audit checkpoints were made of"),
        }
    }

    pub const fn code(self) -> u8 {
        self.row().0
    }
}

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
    let mut rows = Exit::ALL.map(Exit::row).to_vec();
    rows.dedup();
    let lines = rows.iter().map(|(code, meaning)| format!("  {code:>2}  {meaning}\n"));
    format!("Exit codes:\n   0  done\n{}", lines.collect::<String>())
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

    /// Puts what an upload is about into a hint that can only name it in general.
    #[must_use]
    pub(super) fn about(mut self, org: &str, provider: &str) -> Self {
        if let Self::Said { exit: Exit::Invalid, hint: hint @ None, .. } = &mut self {
            *hint = Some(
                "`strongroom providers show PROVIDER` names the fields of an upload and what they look like".into(),
            );
        }
        if let Self::Said { hint: Some(hint), .. } = &mut self {
            *hint = hint.replace("show ORG PROVIDER`", &format!("show {org} {provider}`"));
            *hint = hint.replace("show PROVIDER`", &format!("show {provider}`"));
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
                ExitCode::from(exit.code())
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
    fn codes_are_distinct_but_for_the_one_that_is_shared() {
        let codes: std::collections::BTreeSet<u8> = Exit::ALL.iter().map(|exit| exit.code()).collect();
        assert_eq!(codes.len(), Exit::ALL.len() - 1);
        assert!(!codes.contains(&0));
    }

    #[test]
    fn words_and_hint_are_a_line_each_whatever_they_hold() {
        let failure = Failure::new(Exit::NotFound, "gone \u{1b}[2J\u{9b}31m\nerror: forged").hint("look\nthere");
        let said = failure.to_string();
        assert!(!said.contains('\u{1b}') && !said.contains('\u{9b}'), "{said:?}");
        assert_eq!(said.lines().count(), 2);
    }

    #[test]
    fn a_hint_names_what_the_command_is_about() {
        let hint = |text: &str| Failure::usage("x").hint(text).about("acme", "openai").to_string();
        assert!(
            hint("`strongroom providers show PROVIDER` helps").ends_with("`strongroom providers show openai` helps")
        );
        assert!(hint("`strongroom show ORG PROVIDER` helps").ends_with("`strongroom show acme openai` helps"));
        assert!(hint("a PROVIDER of the ORG").ends_with("a PROVIDER of the ORG"));
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(matches!(failure, Failure::ReaderGone));
        assert_eq!(Failure::from(io::Error::other("full")).exit(), Exit::Unavailable);
    }
}
