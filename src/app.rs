//! The list of parts, and how they are put together. Everything that can be refused is refused before a port opens.

pub mod backup;
mod check;
mod copies;
pub mod keys;
pub mod migrate;
pub mod policy;
pub mod recover;
mod rules;
pub mod services;
mod store;

use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::rules::Rules;
use crate::api::listen::{self, Address, Listener, Tls};
use crate::api::{self, Api};
use crate::authn::token::Tokens;
use crate::authn::{self, Authenticator};
use crate::config::{self, Config};
use crate::crypto::Secret;
use crate::kms::{Keyring, local};
use crate::providers;
use crate::providers::probe::Live;
use crate::store::Store;
use crate::vault::policy::LoadError;
use crate::vault::{self, Admission, Allowance, Allowances, Limits, Parts, Testing, Vault};
use crate::{http, memory, sinks, telemetry};
use copies::Copies;
use services::Services;
use store::Place;

/// A daemon that is ready to open its doors.
pub struct App {
    config: Config,
    tls: Option<Arc<Tls>>,
    api: Arc<Api>,
    vault: Arc<Vault>,
    key_files: Arc<keys::Files>,
    store: Arc<dyn Store>,
    authenticator: Arc<Authenticator>,
    tokens: Arc<Tokens>,
    /// Where checkpoints go besides the store.
    passed_on: Vec<sinks::checkpoints::Place>,
    admission: Admission,
    closing: watch::Sender<bool>,
}

/// The process around the daemon: hardened memory, logs and metrics. Let it go last.
pub struct Process {
    telemetry: telemetry::Guard,
}

impl Process {
    /// Once, before the first secret is read.
    pub fn prepare(config: &Config) -> Result<Self, Error> {
        let hardened = memory::harden(config.memory.lock)?;
        let telemetry = telemetry::init(&config.log, &config.otlp)?;
        hardened.log();
        Ok(Self { telemetry })
    }
}

/// Why the daemon does not start. Each names what to mend; the command line gives each its own exit code.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Config(#[from] config::Error),
    #[error("{0}")]
    Memory(#[from] memory::Error),
    #[error("{0}")]
    Telemetry(#[from] telemetry::Error),
    #[error("{0}")]
    Policies(#[from] LoadError),
    #[error("{0}")]
    Expectations(String),
    #[error("{0}")]
    Callers(#[from] authn::callers::LoadError),
    #[error("{0}")]
    Registry(#[from] providers::LoadError),
    #[error("{file}: {cause}")]
    Unreadable { file: String, cause: std::io::Error },
    #[error("{}: cannot be made: {cause}", directory.display())]
    NoHome { directory: PathBuf, cause: std::io::Error },
    #[error("{causes}")]
    Kms { causes: String, may_pass: bool },
    #[error("what this database keeps cannot be opened: {0}")]
    Unopened(String),
    #[error(
        "store.url: `{0}` is not a store that this program knows; it knows sqlite://PATH and postgres://USER@HOST/DATABASE"
    )]
    UnknownStore(String),
    #[error("store.url {why}")]
    Url { why: String },
    #[error("{0}")]
    Key(#[from] local::Error),
    #[error("{key} is not the key that this database was sealed under: restore its key file from a backup")]
    OtherKey { key: String },
    #[error("the store at {url}: {cause}")]
    Schema { url: String, cause: crate::store::Error },
    #[error("the store at {url}: {cause}")]
    Store { url: String, cause: crate::store::Error },
    #[error("the store at {url}: {cause}")]
    Moving { url: String, cause: crate::store::Error },
    #[error("{0}")]
    Migration(#[from] crate::store::migration::Error),
    #[error("{}: {why}", file.display())]
    Export { file: PathBuf, why: String },
    #[error("{}: {why}", file.display())]
    ExportSchema { file: PathBuf, why: String },
    #[error("{}: {why}", file.display())]
    Foreign { file: PathBuf, why: String },
    #[error("{0}")]
    Audit(String),
    #[error("audit.checkpoint_file: {}: {why}", file.display())]
    Diverged { file: PathBuf, why: String },
    #[error("outbound.{0}")]
    Outbound(http::Wrong),
    #[error("{0}")]
    Tls(listen::Error),
    #[error(
        "{key}: {address} is reachable from other machines, and no caller is configured: whoever is the first to read the \
         bootstrap token would be the admin"
    )]
    Strangers { key: &'static str, address: SocketAddr },
    #[error("{0}")]
    Door(#[from] listen::Error),
    #[error("{0}")]
    Vault(#[from] vault::Error),
}

/// How long chains of others may take at the end.
const LAST_OF_OTHERS: Duration = Duration::from_secs(3);

/// The open doors, and where they are.
pub struct Doors {
    grpc: Listener,
    rest: Listener,
    ops: Listener,
    unix: Option<Listener>,
}

impl App {
    /// Puts the parts together. Opens the store and the keys, no port.
    pub async fn build(config: Config) -> Result<Self, Error> {
        let rules = Rules::read(&config)?;
        let client = client(&config.outbound)?;
        if config.kms.local.create {
            make_homes(&config)?;
        }
        let keys = keys::build(&config, Services::new(client.clone()), keys::Missing::Made).await?;
        Self::of(config, rules, client, keys).await
    }

    async fn of(
        config: Config,
        rules: Rules,
        client: http::Client,
        (keyring, key_files): (Keyring, Arc<keys::Files>),
    ) -> Result<Self, Error> {
        let store = Place::of(&config)?.open().await?;
        let owner_hosts = http::Hosts::new(config.outbound.owner_hosts.clone())
            .map_err(|why| Error::Outbound(http::Wrong::new("owner_hosts", why)))?;
        let admission = rules.admission();
        let Rules { registry, callers, policies, authorities, tls } = rules;
        let tls = tls.map(Tls::new);
        let limits = Limits {
            ttl: config.cache.ttl,
            max_bytes: config.cache.max_bytes.bytes(),
            org_bytes: (config.cache.max_bytes.bytes() as f64 * config.cache.org_share) as u64,
        };
        let allowances = Allowances {
            caller: Allowance {
                rate: config.limits.caller_rate,
                at_once: config.limits.caller_at_once,
                watches: config.limits.caller_watches,
            },
            org: Allowance {
                rate: config.limits.org_rate,
                at_once: config.limits.org_at_once,
                watches: config.limits.org_watches,
            },
        };
        let testing = Testing {
            enabled: config.probe.enabled,
            timeout: config.probe.timeout,
            every: config.probe.every,
            at_once: config.probe.at_once as usize,
        };
        let vault = Vault::new(Parts {
            store: Arc::clone(&store),
            keyring,
            registry,
            policies,
            probe: Arc::new(Live::new(client.clone(), owner_hosts)),
            limits,
            allowances,
            testing,
            auditing: vault::Auditing { checkpoint_every: config.audit.checkpoint_every, keep: config.audit.keep },
        })?;
        let (needed, wanted): (Vec<_>, Vec<_>) =
            vault.check_keys().await.into_iter().partition(|error| error.key() == config.kms.default);
        keys::start_without(&needed, &wanted)?;
        match vault.opens_what_is_kept().await {
            Ok(true) => {}
            Ok(false) => return Err(Error::OtherKey { key: config.kms.default }),
            Err(fault) => return Err(Error::Unopened(fault.cause().map_or_else(|| fault.to_string(), str::to_owned))),
        }

        if let Some(file) = &config.audit.checkpoint_file {
            follows(&vault, file).await?;
        }
        let passed_on = copies::checkpoints(&config)?;

        let failures = config.limits.failed_authentications;
        let authenticator = Authenticator::new(Arc::clone(&store), Arc::clone(&vault), callers, client, failures);
        authenticator.trust(authorities);
        let tokens = Arc::new(Tokens::new(Arc::clone(&vault), Arc::clone(&authenticator)));
        let (closing, is_closing) = watch::channel(false);
        let settings =
            api::Settings { request_bytes: config.limits.request_bytes.length(), deadline: config.limits.deadline };
        let api = Api::new(Arc::clone(&vault), Arc::clone(&authenticator), Arc::clone(&tokens), settings, is_closing)?;
        Ok(Self { config, tls, api, vault, key_files, store, authenticator, tokens, passed_on, admission, closing })
    }

    /// Opens the doors without letting anybody in yet.
    pub async fn open(&self) -> Result<Doors, Error> {
        let listen = &self.config.listen;
        let tcp = |key, address: SocketAddr, tls| Listener::bind(key, Address::Tcp(address), tls);
        let unix = match &listen.unix {
            Some(path) => Some(Listener::bind("listen.unix", Address::Unix(path.clone()), None).await?),
            None => None,
        };
        let doors = Doors {
            grpc: tcp("listen.grpc", listen.grpc, self.tls.clone()).await?,
            rest: tcp("listen.rest", listen.rest, self.tls.clone()).await?,
            ops: tcp("listen.ops", listen.ops, None).await?,
            unix,
        };
        self.vault.keep_a_sample().await?;
        self.vault.record_rules(self.admission.clone()).await?;
        Ok(doors)
    }

    /// Serves until `stop` resolves, then drains.
    pub async fn run(self, doors: Doors, process: Process, stop: impl Future<Output = ()>) -> Result<(), Error> {
        let limits = &self.config.limits;
        let settings = listen::Settings {
            max_connections: limits.max_connections as usize,
            max_streams: limits.max_streams,
            max_strangers: limits.max_strangers as usize,
            max_strangers_per_source: limits.max_strangers_per_source as usize,
            handshake: limits.handshake,
            deadline: limits.deadline,
            close_idle_after: self.config.memory.close_idle_after,
            grace: self.config.shutdown.grace,
        };
        let grpc = api::grpc(Arc::clone(&self.api))?;
        let rest = api::rest(Arc::clone(&self.api))?;
        let metrics = process.telemetry.metrics.clone();
        let ops = api::ops(Arc::clone(&self.api), move || metrics.render());
        let mut open = JoinSet::new();
        for (listener, service) in
            [(Some(doors.grpc), grpc.clone()), (doors.unix, grpc), (Some(doors.rest), rest), (Some(doors.ops), ops)]
        {
            if let Some(listener) = listener {
                let closing = self.closing.subscribe();
                open.spawn(listen::serve(listener, service, settings.clone(), closing).boxed());
            }
        }
        let news = || self.vault.newest_checkpoint();
        let places = copies::places(&self.config)?;
        let (copies, others) = Copies::start(places, self.passed_on, &self.store, news, self.closing.subscribe())?;
        // Beside what is served: it reads the whole index of the wraps.
        tokio::spawn(warn_of_unconfigured_keys(Arc::clone(&self.vault)).boxed());
        let upkeep = tokio::spawn(Arc::clone(&self.vault).upkeep(self.closing.subscribe()).boxed());
        let others = Arc::clone(&self.vault).attend_to_others(others, self.closing.subscribe());
        let others = tokio::spawn(others.boxed());
        let issuers = tokio::spawn(Arc::clone(&self.authenticator).upkeep(self.closing.subscribe()).boxed());
        stop.await;
        tracing::info!("draining");
        self.closing.send_replace(true);
        open.join_all().await;
        upkeep.await.map_err(vault::Error::bug)?;
        issuers.await.map_err(vault::Error::bug)?;
        self.vault.record_counted().await;
        // Nothing more is recorded: the last checkpoint stands for all of it.
        self.vault.checkpoint_or_say_why().await;
        copies.finish().await;
        // What it does not finish, another replica does.
        if let Ok(ended) = tokio::time::timeout(LAST_OF_OTHERS, others).await {
            ended.map_err(vault::Error::bug)?;
        }
        Ok(())
    }

    /// Reads policies, providers, callers, key files and the files of TLS anew. When one of them is wrong, or the change
    /// cannot be recorded, all stay as they are.
    pub fn reloader(&self) -> impl Fn() -> BoxFuture<'static, Result<(), Error>> + Send + Sync + 'static {
        let (config, vault) = (Arc::new(self.config.clone()), Arc::clone(&self.vault));
        let (authenticator, door) = (Arc::clone(&self.authenticator), self.tls.clone());
        let key_files = Arc::clone(&self.key_files);
        move || {
            let (config, vault, key_files) = (Arc::clone(&config), Arc::clone(&vault), Arc::clone(&key_files));
            let (authenticator, door) = (Arc::clone(&authenticator), door.clone());
            Box::pin(async move {
                let rules = Rules::read(&config)?;
                let keys = key_files.read_again().await?;
                let admission = rules.admission();
                let Rules { registry, callers, policies, authorities, tls } = rules;
                let admit = || {
                    if let (Some(door), Some(handshakes)) = (&door, tls) {
                        door.replace(handshakes);
                    }
                    authenticator.trust(authorities);
                    authenticator.replace(callers);
                };
                let rules = vault.replace_rules(policies, registry, admission, admit).await?;
                keys.take_over();
                tracing::info!(
                    rules,
                    "policies, providers, callers, key files and TLS files were read anew and are in force"
                );
                Ok(())
            })
        }
    }

    /// The token of the first administrator, if nobody has a token yet.
    pub async fn first_token(&self, ttl: Duration) -> Result<Option<Secret>, Error> {
        Ok(self.tokens.first_admin("first-admin", ttl).await?)
    }

    /// Whether nobody can come in yet. That is refused where other machines could ask, unless it is wanted.
    pub async fn knows_nobody(&self) -> Result<bool, Error> {
        let nobody = self.authenticator.knows_nobody().await?;
        if nobody { no_strangers(&self.config).map(|()| true) } else { Ok(false) }
    }

    /// What the first admin's token is issued with.
    pub fn bootstrap_token(&self) -> Result<Secret, Error> {
        Ok(self.authenticator.offer_bootstrap()?)
    }
}

impl Doors {
    pub fn grpc(&self) -> String {
        shown(&self.grpc)
    }

    pub fn rest(&self) -> String {
        shown(&self.rest)
    }

    pub fn ops(&self) -> String {
        shown(&self.ops)
    }
}

/// Where other machines could ask for the bootstrap token, somebody must be known.
fn no_strangers(config: &Config) -> Result<(), Error> {
    let listen = &config.listen;
    let mut open = [("listen.grpc", listen.grpc), ("listen.rest", listen.rest)].into_iter();
    match open.find(|(_, address)| !address.ip().is_loopback() && !listen.allow_bootstrap_beyond_loopback) {
        Some((key, address)) => Err(Error::Strangers { key, address }),
        None => Ok(()),
    }
}

async fn warn_of_unconfigured_keys(vault: Arc<Vault>) {
    match vault.unconfigured_keys().await {
        Ok(unconfigured) => {
            unconfigured.iter().for_each(|(key, count)| tracing::warn!("{}", keys::lacking(key, *count)))
        }
        Err(error) => tracing::warn!(cause = error.cause(), "whether all keys are configured could not be looked up"),
    }
}

fn shown(listener: &Listener) -> String {
    listener.address().map_or_else(|_| listener.key().to_owned(), |address| address.to_string())
}

/// Whether the audit log is the one that the file's checkpoints were made of.
async fn follows(vault: &Vault, file: &Path) -> Result<(), Error> {
    let diverged = |why: String| Error::Diverged { file: file.to_owned(), why };
    let notes = sinks::checkpoints::read(file).map_err(diverged)?;
    match vault.follows(&notes).await? {
        Err(why) => Err(diverged(why.to_string())),
        Ok(None) if !notes.is_empty() => {
            tracing::warn!(file = %file.display(), "audit.checkpoint_file holds checkpoints, but none of this database's");
            Ok(())
        }
        Ok(_) => Ok(()),
    }
}

fn client(outbound: &config::Outbound) -> Result<http::Client, Error> {
    let file = outbound.authorities.as_deref();
    let named = |wrong: http::Wrong| match file {
        Some(file) if wrong.setting == "authorities" => wrong.within(&file.display().to_string()),
        _ => wrong,
    };
    let unread = |cause| http::Wrong::new("authorities", format!("cannot be read: {cause}"));
    let authorities = file.map(|file| std::fs::read_to_string(file).map_err(unread)).transpose();
    let settings = |authorities| http::Settings {
        authorities,
        proxy: Some(outbound.proxy.clone()).filter(|proxy| !proxy.is_empty()),
        private_hosts: outbound.private_hosts.clone(),
        ..http::Settings::default()
    };
    authorities.map(settings).and_then(http::Client::new).map_err(|wrong| Error::Outbound(named(wrong)))
}

/// Whoever lets keys be made lets their directories be made too: for nobody else's eyes.
fn make_homes(config: &Config) -> Result<(), Error> {
    let place = Place::of(config)?;
    let database = place.file().and_then(Path::parent);
    for directory in database.into_iter().chain([config.kms.local.directory.as_path()]) {
        let unmade = |cause| Error::NoHome { directory: directory.to_owned(), cause };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(unmade)?;
    }
    Ok(())
}

fn read(file: &Path) -> Result<String, Error> {
    std::fs::read_to_string(file).map_err(|cause| unreadable(file, cause))
}

fn unreadable(file: &Path, cause: std::io::Error) -> Error {
    Error::Unreadable { file: file.display().to_string(), cause }
}
