//! One server, or several of which one takes writes: opens connections to it.

use std::fs::File;
use std::future::poll_fn;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::{AsyncMessage, CancelToken, Client, Config, NoTls};
use zeroize::Zeroizing;

use super::super::Error;
use super::connection::{Connection, Line};
use super::errors::explain;
use super::tls::Tls;
use super::url::{Host, Password, Proof, Url};

/// As the server's views call us.
const NAME: &str = "strongroom";
/// A peer that is gone without a word is noticed after about a minute, and while something is sent to it after half of one.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);
const PASSWORD_MAX: u64 = 4096;

/// How long is waited.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For one host, until a connection to it is ready.
    pub connect: Duration,
    /// For each answer to a statement, and for a connection that reads to be free.
    pub statement: Duration,
    /// So long after a connection could not be opened, nobody tries again: all are told the same.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), statement: Duration::from_secs(10), pause: Duration::from_millis(500) }
    }
}

pub struct Server {
    url: Url,
    /// None: plain text.
    tls: Option<Tls>,
    patience: Patience,
    told: Arc<Notify>,
}

impl Server {
    /// Reads the authorities, and looks whether the password can be read. Connects to nobody.
    pub fn new(url: Url, patience: Patience) -> Result<Self, Error> {
        let tls = match &url.proof {
            Proof::Plain => None,
            Proof::Certificate { authorities } => {
                Some(Tls::new(authorities.as_deref()).map_err(|cause| Error::Unavailable(format!("{url}: {cause}")))?)
            }
        };
        let server = Self { url, tls, patience, told: Arc::default() };
        server.password()?;
        Ok(server)
    }

    pub fn url(&self) -> &Url {
        &self.url
    }

    pub fn patience(&self) -> Patience {
        self.patience
    }

    /// Wakes whoever waits, when any connection is told of something that it listens for.
    pub fn told(&self) -> &Notify {
        &self.told
    }

    /// Opens a connection to the first host that can be reached, lets us in and takes writes.
    pub async fn connect(self: &Arc<Self>) -> Result<Connection, Error> {
        let password = self.password()?;
        let mut causes = Vec::new();
        for host in &self.url.hosts {
            let config = self.config(host, password.as_deref().map(Vec::as_slice));
            match tokio::time::timeout(self.patience.connect, self.open(&config)).await {
                Ok(Ok((client, line))) => return Ok(Connection::new(client, line, Arc::clone(self), Handle::current())),
                Ok(Err(error)) => match explain(&error) {
                    Error::Unavailable(cause) | Error::Corrupt(cause) => causes.push(format!("{host}: {cause}")),
                    error => return Err(error),
                },
                Err(_) => causes.push(format!(
                    "{host}: no answer within {:?}: see whether a firewall is in between, and what the server is busy with",
                    self.patience.connect
                )),
            }
        }
        Err(Error::Unavailable(format!("PostgreSQL at {}", causes.join("; "))))
    }

    async fn open(&self, config: &Config) -> Result<(Client, Line), tokio_postgres::Error> {
        let end = Arc::new(OnceLock::new());
        let (told, cause) = (Arc::clone(&self.told), Arc::clone(&end));
        let (client, task) = match &self.tls {
            Some(tls) => {
                let (client, connection) = config.connect(tls.clone()).await?;
                (client, tokio::spawn(carry(connection, told, cause)))
            }
            None => {
                let (client, connection) = config.connect(NoTls).await?;
                (client, tokio::spawn(carry(connection, told, cause)))
            }
        };
        Ok((client, Line { task, end }))
    }

    /// Asks the server to stop what a connection waits for. Nobody waits for that, and nobody is told.
    pub(super) async fn cancel(&self, token: CancelToken) {
        let asked = async {
            match &self.tls {
                Some(tls) => token.cancel_query(tls.clone()).await,
                None => token.cancel_query(NoTls).await,
            }
        };
        let _ = tokio::time::timeout(self.patience.connect, asked).await;
    }

    fn config(&self, host: &Host, password: Option<&[u8]>) -> Config {
        let mut config = Config::new();
        config
            .user(&self.url.user)
            .dbname(&self.url.database)
            .application_name(NAME)
            .ssl_mode(if self.tls.is_some() { SslMode::Require } else { SslMode::Disable })
            .target_session_attrs(TargetSessionAttrs::ReadWrite)
            .connect_timeout(self.patience.connect)
            .keepalives(true)
            .keepalives_idle(KEEPALIVE_IDLE)
            .keepalives_interval(KEEPALIVE_INTERVAL)
            .keepalives_retries(KEEPALIVE_RETRIES)
            .tcp_user_timeout(UNACKNOWLEDGED);
        match host {
            Host::Tcp(name, port) => config.host(name).port(*port),
            Host::Socket(folder, port) => config.host_path(folder).port(*port),
        };
        // The driver's copies of it last as long as the connection is being opened, and are not wiped.
        if let Some(password) = password {
            config.password(password);
        }
        config
    }

    fn password(&self) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
        match &self.url.password {
            Password::None => Ok(None),
            Password::Known(password) => Ok(Some(password.clone())),
            Password::File(file) => first_line(file)
                .map(Some)
                .map_err(|cause| Error::Unavailable(format!("password_file {}: {cause}", file.display()))),
        }
    }
}

/// Moves the bytes of a connection until it ends, and leaves why.
async fn carry<S, T>(mut line: tokio_postgres::Connection<S, T>, told: Arc<Notify>, end: Arc<OnceLock<Error>>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(message) = poll_fn(|context| line.poll_message(context)).await {
        match message {
            Ok(AsyncMessage::Notification(_)) => told.notify_one(),
            Ok(_) => {}
            Err(cause) => {
                let _ = end.set(explain(&cause));
                return;
            }
        }
    }
}

/// The group may read it, as it must where an orchestrator hands files to a process that is not root.
fn first_line(file: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let about = std::fs::metadata(file).map_err(|cause| format!("cannot be read: {cause}"))?;
    // Looked at before it is opened as well: a pipe in its place would hang here.
    if !about.is_file() {
        return Err("is not a file".into());
    }
    let opened = File::open(file).map_err(|cause| format!("cannot be read: {cause}"))?;
    let about = opened.metadata().map_err(|cause| format!("cannot be read: {cause}"))?;
    let mode = about.permissions().mode() & 0o7777;
    if mode & 0o027 != 0 {
        return Err(format!("others may read or change it (mode {mode:04o}); run: chmod 600 '{}'", file.display()));
    }
    let mut text = Zeroizing::new(Vec::with_capacity(PASSWORD_MAX as usize + 1));
    opened.take(PASSWORD_MAX).read_to_end(&mut text).map_err(|cause| format!("cannot be read: {cause}"))?;
    if text.len() as u64 == PASSWORD_MAX {
        return Err(format!("is {PASSWORD_MAX} bytes or longer"));
    }
    let end = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
    text.truncate(end);
    if text.last() == Some(&b'\r') {
        text.pop();
    }
    match text.is_empty() {
        true => Err("has an empty first line".into()),
        false => Ok(text),
    }
}
