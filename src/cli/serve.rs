//! `strongroom serve`: the daemon.

use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::error::{Exit, Failure};
use super::output::say;
use crate::app::migrate::Failed;
use crate::app::{App, Error, Process};
use crate::config::Config;
use crate::crypto::Secret;

/// Long enough to look around, short enough to be forgotten.
const FIRST_TOKEN: Duration = Duration::from_secs(30 * 24 * 3600);

/// Run the daemon until SIGTERM or Ctrl-C. SIGHUP reads policies, providers, callers, key files and the files of TLS anew.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  strongroom serve --dev")]
pub(super) struct Serve {
    /// The configuration file; config/strongroom.toml explains every key.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// For a first look: makes the key file when it is missing, and prints an admin token when there is no token yet.
    #[arg(long)]
    dev: bool,

    /// Checks everything, contacts each dependency, and ends.
    #[arg(long, conflicts_with = "dev")]
    check: bool,
}

impl Serve {
    pub async fn run(self) -> Result<(), Failure> {
        let mut config = Config::load(self.config.as_deref()).map_err(Error::from)?;
        config.kms.local.create |= self.dev;
        let process = Process::prepare(&config)?;
        if self.check {
            if let Some(left_out) = App::check(config).await? {
                say(&left_out);
            }
            println!("everything is in order");
            return Ok(());
        }
        let scheme = if config.tls.cert.is_some() { "https" } else { "http" };
        let app = App::build(config).await?;
        let knows_nobody = !self.dev && app.knows_nobody().await?;
        // Before a door opens: whoever sees the port open can be sure of the handlers.
        let stop = stop_signal()?;
        let hangup = listen(SignalKind::hangup())?;
        let doors = app.open().await?;
        // Not sooner: the rules that it was started with are in force first.
        reload_on(hangup, &app);
        tracing::info!(grpc = doors.grpc(), rest = doors.rest(), ops = doors.ops(), "serving");
        if self.dev {
            println!(
                "# strongroom serves gRPC on {}, REST on {}, health and metrics on {}",
                doors.grpc(),
                doors.rest(),
                doors.ops()
            );
            println!("# dev mode: the key lies on disk beside the data; not for production");
            println!("export STRONGROOM_ADDR={scheme}://{}", doors.grpc());
            if let Some(token) = app.first_token(FIRST_TOKEN).await? {
                print_token(&token);
            }
            println!(
                "# next: paste the lines above, then: printf %s \"$OPENAI_API_KEY\" | strongroom setup acme openai"
            );
        } else if knows_nobody {
            println!("# nobody can come in yet; this token issues the first admin's, once, and does nothing else");
            print_token(&app.bootstrap_token()?);
            println!("# next: paste the line above, then: strongroom token issue NAME --role admin --org '*'");
        }
        app.run(doors, process, stop).await?;
        Ok(())
    }
}

fn print_token(token: &Secret) {
    if let Some(token) = token.expose_text() {
        println!("export STRONGROOM_TOKEN={token}");
    }
}

fn stop_signal() -> Result<impl Future<Output = ()>, Failure> {
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

fn reload_on(mut hangup: Signal, app: &App) {
    let reload = app.reloader();
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            if let Err(refused) = reload().await {
                let cause = match &refused {
                    Error::Vault(fault) => fault.cause().unwrap_or_default().to_owned(),
                    refused => refused.to_string(),
                };
                tracing::error!(cause, "what was read anew is not taken; the old ones stay in force");
            }
        }
    });
}

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|cause| Failure::new(Exit::Bug, format!("a signal cannot be listened for: {cause}")))
}

/// Who must mend what.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let (exit, hint) = match &error {
            Error::Config(_)
            | Error::Policies(_)
            | Error::Registry(_)
            | Error::Callers(_)
            | Error::Tls(_)
            | Error::Unreadable { .. } => {
                (Exit::Configuration, "mend the file; `strongroom serve --check` tells when it is right")
            }
            Error::Expectations(_) => (Exit::Configuration, "mend the file"),
            Error::UnknownStore(_) | Error::Url { .. } | Error::Outbound(_) => {
                (Exit::Configuration, "mend the configuration file")
            }
            Error::Strangers { .. } => (
                Exit::Configuration,
                "start once on 127.0.0.1 and issue the admin's token there, or name callers in authn.callers, or set \
                 listen.allow_bootstrap_beyond_loopback = true",
            ),
            Error::Key(_) => (Exit::Key, "for a first look, `strongroom serve --dev` makes a key"),
            Error::Memory(_) => (Exit::Memory, "raise the limit, or set memory.lock to \"try\""),
            Error::Telemetry(_) => (Exit::Configuration, "mend the [otlp] or [log] part of the configuration"),
            Error::Schema { .. } => (Exit::Schema, "the data was left as it is"),
            Error::Export { .. } => (Exit::Corrupt, "nothing was written; take another export, or another copy of it"),
            Error::ExportSchema { .. } => (Exit::Schema, "nothing was written"),
            Error::Foreign { .. } => (
                Exit::Key,
                "nothing was written; name the key that it needs in kms.others, or by --key the public one that was kept",
            ),
            Error::Moving { .. } => (Exit::Store, "docs/postgres.md tells how a vault moves, and back"),
            Error::Migration(Failed::InTheWay { .. }) => {
                (Exit::Conflict, "`strongroom migrate --check` tells whether anything else stands in the way")
            }
            Error::Migration(Failed::Store { .. }) => {
                (Exit::Store, "nothing is lost: when it is mended, the same command goes on where it was")
            }
            Error::Migration(Failed::Differs { .. }) => (
                Exit::Corrupt,
                "neither end is served from: the same command with --abandon empties the target and gives the source back",
            ),
            Error::Audit(_) => (Exit::Configuration, "mend the [audit] part of the configuration"),
            Error::Diverged { .. } => (
                Exit::Diverged,
                "keep both as they are and find out why; if a backup was put back on purpose, move the file away",
            ),
            Error::Kms { may_pass: true, .. } => (Exit::Unavailable, "try again when the key's service answers"),
            Error::Kms { .. } => (Exit::Key, "docs/keys.md tells what each key needs"),
            Error::Unopened(_) => (Exit::Key, "the data was left as it is"),
            Error::OtherKey { .. } => (Exit::Key, "the data was left as it is"),
            Error::Store { url, .. } if !url.starts_with("sqlite://") => {
                (Exit::Store, "mend what it says; `strongroom serve --check` tells when it is right")
            }
            Error::NoHome { .. } | Error::Store { .. } => {
                (Exit::Store, "the directory must be there, writable, and used by one daemon")
            }
            Error::Door(_) => (Exit::Port, "end the other process, or name another address in the configuration"),
            Error::Vault(_) => (Exit::Unavailable, "the log above says what is missing"),
        };
        Self::new(exit, error.to_string()).hint(hint)
    }
}
