//! `strongroom local-key`: the key files of `local://NAME`, on the machine where they are. No server is asked.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::error::Failure;
use super::output::say;
use crate::app::{Error, keys};
use crate::config::Config;

/// Make or rotate the key files of local:// keys.
#[derive(Args)]
#[command(after_help = "Example:\n  strongroom local-key rotate default --config strongroom.toml")]
pub(super) struct LocalKey {
    #[command(subcommand)]
    command: LocalKeyCommand,
}

#[derive(Subcommand)]
enum LocalKeyCommand {
    Create(Create),
    Rotate(Rotate),
}

impl LocalKey {
    pub fn run(self) -> Result<(), Failure> {
        match self.command {
            LocalKeyCommand::Create(command) => command.run(),
            LocalKeyCommand::Rotate(command) => command.run(),
        }
    }
}

/// Make a key file with one new key in it. One that exists is left as it is.
#[derive(Args)]
#[command(after_help = "Example:\n  strongroom local-key create acme --config strongroom.toml")]
struct Create {
    /// Which key: NAME of local://NAME.
    name: String,

    /// The configuration file, which says where key files are and under which passphrase.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Create {
    fn run(self) -> Result<(), Failure> {
        let config = Config::load(self.config.as_deref()).map_err(Error::from)?;
        keys::create(&config, &self.name)?;
        say(format_args!(
            "local://{} is made; back up its file before anything is wrapped under it, and restart the daemon",
            self.name
        ));
        Ok(())
    }
}

/// Add a version to a key file.
///
/// What is new is wrapped under it as soon as the daemon has had SIGHUP; what older versions have wrapped still opens, for
/// they stay in the file. A backup of the file from before opens nothing that is wrapped from then on: make a new one.
#[derive(Args)]
#[command(after_help = "Example:\n  strongroom local-key rotate default --config strongroom.toml")]
struct Rotate {
    /// Which key: NAME of local://NAME.
    name: String,

    /// The configuration file, which says where key files are and under which passphrase.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Rotate {
    fn run(self) -> Result<(), Failure> {
        let config = Config::load(self.config.as_deref()).map_err(Error::from)?;
        let newest = keys::rotate(&config, &self.name)?.newest();
        say(format_args!(
            "local://{} has version {newest}; back up its file, then send SIGHUP to the daemon",
            self.name
        ));
        Ok(())
    }
}
