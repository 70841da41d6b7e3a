//! The configuration: every key, its default and the rules between keys.
//!
//! `config/strongroom.toml` explains the keys, and a test keeps it equal to the defaults below. Relative paths are
//! relative to the working directory. No secret belongs here: what must stay hidden is read from files named here.
//!
//! This file is the only one that reads the environment.

mod audit;
mod kms;
mod rules;
mod size;
mod source;

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::fmt::serde::unsigned_duration::friendly::compact::required as duration;
use serde::{Deserialize, Serialize};

pub use audit::{Audit, AuditFile, AuditOtlp, AuditStdout, AuditSyslog};
pub use kms::{GcpKms, Kms, LocalKms};
pub use rules::LONGEST_TTL;
pub use size::Size;
pub use source::Error;

/// Names the configuration file when no argument does.
const FILE: &str = "STRONGROOM_CONFIG";
/// Stands above `log.level`.
const LEVEL: &str = "STRONGROOM_LOG";

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub listen: Listen,
    pub tls: Tls,
    pub store: Store,
    pub kms: Kms,
    pub cache: Cache,
    pub authn: Authn,
    pub policy: Policy,
    pub providers: Providers,
    pub limits: Limits,
    pub probe: Probe,
    pub outbound: Outbound,
    pub audit: Audit,
    pub log: Log,
    pub otlp: Otlp,
    pub memory: Memory,
    pub shutdown: Shutdown,
    #[serde(skip)]
    written: source::Written,
}

impl Config {
    /// Reads the file, or the one that `STRONGROOM_CONFIG` names, or takes the defaults; then checks every rule.
    pub fn load(path: Option<&Path>) -> Result<Self, Error> {
        let path = path.map(Path::to_path_buf).or_else(|| environment(FILE).map(PathBuf::from));
        let level = environment(LEVEL);
        source::load(path.as_deref(), level.map(|level| level.to_string_lossy().into_owned()).as_deref())
    }

    /// That a setting is wrong in a way that only its user can see.
    pub fn wrong(&self, key: &str, why: impl Into<String>) -> Error {
        self.written.wrong(key, why.into())
    }

    /// The rules that one key's type cannot say.
    pub fn validate(&self) -> Result<(), Error> {
        rules::check(self).map_err(|broken| Error::from_rule(None, broken))
    }
}

/// Whether people asked for output without colours (no-color.org).
pub fn colourless() -> bool {
    environment("NO_COLOR").is_some()
}

/// What a platform tells its processes of who they are there. A value that is no text is none.
#[allow(clippy::disallowed_methods, reason = "this is the one place")]
pub fn platform_variables() -> Vec<(String, String)> {
    const OF_PLATFORMS: &[&str] = &["AWS_", "AZURE_", "IDENTITY_", "BAO_", "VAULT_"];
    let theirs = |name: &str| name == "HOME" || OF_PLATFORMS.iter().any(|prefix| name.starts_with(prefix));
    let texts =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    texts.filter(|(name, _)| theirs(name)).collect()
}

/// Set to nothing counts as not set.
#[allow(clippy::disallowed_methods, reason = "this is the one place")]
fn environment(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    pub grpc: SocketAddr,
    pub rest: SocketAddr,
    /// Health, readiness and metrics: no secret passes here, so TLS is not asked of it.
    pub ops: SocketAddr,
    /// A Unix socket for gRPC beside the port.
    #[serde(with = "source::maybe_path")]
    pub unix: Option<PathBuf>,
    pub allow_plaintext_beyond_loopback: bool,
    /// Where whoever reads what the daemon prints at its first start would be its first admin.
    pub allow_bootstrap_beyond_loopback: bool,
}

impl Default for Listen {
    fn default() -> Self {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            grpc: local(7300),
            rest: local(8000),
            ops: local(7301),
            unix: None,
            allow_plaintext_beyond_loopback: false,
            allow_bootstrap_beyond_loopback: false,
        }
    }
}

/// PEM files. Both or none; they serve gRPC and REST alike.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    #[serde(with = "source::maybe_path")]
    pub cert: Option<PathBuf>,
    #[serde(with = "source::maybe_path")]
    pub key: Option<PathBuf>,
    /// Whose certificates clients may come with.
    #[serde(with = "source::maybe_path")]
    pub client_authorities: Option<PathBuf>,
    /// What those have revoked.
    #[serde(with = "source::maybe_path")]
    pub client_crl: Option<PathBuf>,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    pub url: String,
}

/// A server's URL may hold a password.
impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = self.url.split(':').next().unwrap_or_default();
        f.debug_struct("Store").field("url", &format_args!("{scheme}://…")).finish()
    }
}

impl Default for Store {
    fn default() -> Self {
        Self { url: "sqlite://strongroom-data/strongroom.db".into() }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cache {
    /// At most [`LONGEST_TTL`].
    #[serde(with = "duration")]
    pub ttl: Duration,
    pub max_bytes: Size,
    /// The part of `max_bytes` that one org may fill.
    pub org_share: f64,
}

impl Default for Cache {
    fn default() -> Self {
        Self { ttl: LONGEST_TTL, max_bytes: Size::mib(64), org_share: 0.25 }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Authn {
    /// Who comes in without an API token.
    #[serde(with = "source::maybe_path")]
    pub callers: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Cedar files; the embedded policy when not given.
    #[serde(with = "source::maybe_path")]
    pub directory: Option<PathBuf>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Providers {
    /// A registry file; the embedded one when not given.
    #[serde(with = "source::maybe_path")]
    pub file: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    pub request_bytes: Size,
    /// The longest that one call may take; a shorter `grpc-timeout` holds.
    #[serde(with = "duration")]
    pub deadline: Duration,
    /// How long a new connection may take for its TLS handshake and for each request's headers.
    #[serde(with = "duration")]
    pub handshake: Duration,
    /// Open connections, of each listener.
    pub max_connections: u32,
    /// Concurrent calls on one HTTP/2 connection.
    pub max_streams: u32,
    /// Connections over which nobody has proven yet who they are, of each listener.
    pub max_strangers: u32,
    /// Of those, from one network.
    pub max_strangers_per_source: u32,
    /// From one network in a minute. From here on, none means no limit.
    pub failed_authentications: u32,
    /// Calls a second.
    pub caller_rate: u32,
    pub caller_at_once: u32,
    /// Open at the same time.
    pub caller_watches: u32,
    pub org_rate: u32,
    pub org_at_once: u32,
    pub org_watches: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_bytes: Size::mib(1),
            deadline: Duration::from_secs(30),
            handshake: Duration::from_secs(10),
            max_connections: 1024,
            max_streams: 256,
            max_strangers: 512,
            max_strangers_per_source: 256,
            failed_authentications: 20,
            caller_rate: 0,
            caller_at_once: 1024,
            caller_watches: 64,
            org_rate: 0,
            org_at_once: 4096,
            org_watches: 256,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Probe {
    /// Off where the daemon cannot reach the providers: what is set up then waits for somebody to activate it.
    pub enabled: bool,
    #[serde(with = "duration")]
    pub timeout: Duration,
    /// How long after a test a stored credential is tested again, a tenth more or less.
    #[serde(with = "duration")]
    pub every: Duration,
    /// How many of those may run at the same time.
    pub at_once: u32,
}

impl Default for Probe {
    fn default() -> Self {
        Self { enabled: true, timeout: Duration::from_secs(15), every: Duration::from_secs(24 * 60 * 60), at_once: 16 }
    }
}

/// What connection tests and the fetching of issuers' keys may reach beyond public addresses of hosts that are named.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Outbound {
    /// PEM of authorities to trust beside the system's.
    #[serde(with = "source::maybe_path")]
    pub authorities: Option<PathBuf>,
    /// The environment's proxies are never used.
    pub proxy: String,
    /// `HOST`, or `HOST=ADDRESS:PORT`; `*.HOST` for every name below.
    pub private_hosts: Vec<String>,
    /// Where a test that a credential's owner wrote may go.
    pub owner_hosts: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    pub format: Format,
    pub level: Level,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One line for people.
    #[default]
    Pretty,
    /// One JSON object a line.
    Json,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Otlp {
    /// Where traces go, such as `http://127.0.0.1:4317`; empty sends none.
    pub endpoint: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Memory {
    pub lock: Lock,
    /// How long after its last secret a connection is closed, so that its buffers are wiped.
    #[serde(with = "duration")]
    pub close_idle_after: Duration,
}

impl Default for Memory {
    fn default() -> Self {
        Self { lock: Lock::Try, close_idle_after: Duration::from_millis(500) }
    }
}

/// Whether memory is kept out of swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lock {
    /// Where the system allows it; says so where not.
    Try,
    /// Or the daemon does not start.
    Require,
    Off,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shutdown {
    /// How long requests in flight may still run after SIGTERM.
    #[serde(with = "duration")]
    pub grace: Duration,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { grace: Duration::from_secs(10) }
    }
}
