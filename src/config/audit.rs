//! How the audit log is proven, kept and copied.

use std::path::PathBuf;
use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact::required as duration;
use serde::{Deserialize, Serialize};

use super::source;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Audit {
    /// How often new records are signed for.
    #[serde(with = "duration")]
    pub checkpoint_every: Duration,
    /// Where each checkpoint goes besides. At a start, the database must be one that the file's newest was made of.
    #[serde(with = "source::maybe_path")]
    pub checkpoint_file: Option<PathBuf>,
    pub checkpoint_url: String,
    /// How long records are kept; none: for ever.
    #[serde(with = "source::maybe_duration")]
    pub keep: Option<Duration>,
    pub file: AuditFile,
    pub stdout: AuditStdout,
    pub syslog: AuditSyslog,
    pub otlp: AuditOtlp,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            checkpoint_every: Duration::from_secs(60),
            checkpoint_file: None,
            checkpoint_url: String::new(),
            keep: None,
            file: AuditFile::default(),
            stdout: AuditStdout::default(),
            syslog: AuditSyslog::default(),
            otlp: AuditOtlp::default(),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditFile {
    #[serde(with = "source::maybe_path")]
    pub path: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditStdout {
    pub enabled: bool,
}

/// `unix:PATH`, `udp://HOST:PORT` or `tcp://HOST:PORT`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditSyslog {
    pub address: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuditOtlp {
    pub endpoint: String,
}
