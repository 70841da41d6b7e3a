//! The command line: a client of the daemon. Data goes to stdout, talk to stderr; secrets never come in as arguments.

mod admin;
mod again;
mod audit;
mod client;
mod credentials;
mod decrypt;
mod delete;
mod demo;
mod error;
mod explain;
mod export;
mod grant;
mod import;
mod input;
mod keys;
mod local;
mod local_key;
mod metadata;
mod migrate;
mod moving;
mod org;
mod output;
mod policy;
mod providers;
mod questions;
mod recover;
mod serve;
mod setup;
mod status;
mod stepup;
mod values;
mod view;
mod watch;

use std::process::ExitCode;

use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
pub use error::{Exit, Failure};
use futures_util::FutureExt as _;

use self::client::Connection;
use self::input::Inputs;
use self::output::{Format, Output};

/// Keeps the cloud credentials of your customers sealed, and hands them only to the pipelines that may have them.
#[derive(Parser)]
#[command(name = "strongroom", version, after_long_help = error::table(), max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = true, disable_help_subcommand = true)]
pub struct Cli {
    /// How results are printed: tables for people, JSON for programs.
    #[arg(long, global = true, value_enum, default_value_t = Format::Table, value_name = "FORMAT", display_order = 900)]
    output: Format,

    #[command(flatten)]
    connection: Connection,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::Serve),
    Demo(demo::Demo),
    Setup(setup::Setup),
    Validate(setup::Validate),
    List(credentials::List),
    Show(credentials::Show),
    Decrypt(decrypt::Decrypt),
    Metadata(metadata::Metadata),
    Versions(credentials::Versions),
    Activate(credentials::Activate),
    Delete(delete::Delete),
    Undelete(delete::Undelete),
    Watch(watch::Watch),
    Token(admin::Token),
    Grant(grant::Grant),
    SecondFactor(stepup::Factors),
    Approval(stepup::Approvals),
    Audit(audit::Audit),
    Keys(keys::Keys),
    Rewrap(keys::Rewrap),
    Reseal(keys::Reseal),
    Org(org::Org),
    Providers(providers::Providers),
    Policy(policy::Policy),
    LocalKey(local_key::LocalKey),
    Export(export::Export),
    Import(import::Import),
    Migrate(migrate::Migrate),
    Recover(recover::Recover),
    Fingerprint(local::Fingerprint),
    Completions(local::Completions),
}

/// What every command is given to work with.
struct Context {
    server: Connection,
    inputs: Inputs,
    out: Output,
}

/// Reads the arguments, does what they say, and answers with the exit code that says who must act.
pub fn main() -> ExitCode {
    let cli = match parse() {
        Ok(cli) => cli,
        Err(failure) => return failure.report(),
    };
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        // Boxed: tokio compiles what it waits for several times over, and this is all commands.
        Ok(runtime) => runtime.block_on(run(cli).boxed_local()),
        Err(cause) => Failure::new(Exit::Bug, format!("the async runtime does not start: {cause}")).report(),
    }
}

pub async fn run(cli: Cli) -> ExitCode {
    let mut context = Context { server: cli.connection, inputs: Inputs::of_process(), out: Output::stdout(cli.output) };
    match cli.command.run(&mut context).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// The whole tree of commands, for completions and for the tests of its help.
pub fn command() -> clap::Command {
    Cli::command()
}

impl Command {
    async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self {
            Self::Serve(command) => command.run().await,
            Self::Demo(command) => command.run(),
            Self::Setup(command) => command.run(context).await,
            Self::Validate(command) => command.run(context).await,
            Self::List(command) => command.run(context).await,
            Self::Show(command) => command.run(context).await,
            Self::Decrypt(command) => command.run(context).await,
            Self::Metadata(command) => command.run(context).await,
            Self::Versions(command) => command.run(context).await,
            Self::Activate(command) => command.run(context).await,
            Self::Delete(command) => command.run(context).await,
            Self::Undelete(command) => command.run(context).await,
            Self::Watch(command) => command.run(context).await,
            Self::Token(command) => command.run(context).await,
            Self::Grant(command) => command.run(context).await,
            Self::SecondFactor(command) => command.run(context).await,
            Self::Approval(command) => command.run(context).await,
            Self::Audit(command) => command.run(context).await,
            Self::Keys(command) => command.run(context).await,
            Self::Rewrap(command) => command.run(context).await,
            Self::Reseal(command) => command.run(context).await,
            Self::Org(command) => command.run(context).await,
            Self::Providers(command) => command.run(context).await,
            Self::Policy(command) => command.run(context).await,
            Self::LocalKey(command) => command.run(),
            Self::Export(command) => command.run(context).await,
            Self::Import(command) => command.run(context).await,
            Self::Migrate(command) => command.run(context).await,
            Self::Recover(command) => command.run(context).await,
            Self::Fingerprint(command) => command.run(context),
            Self::Completions(command) => command.run(context),
        }
    }
}

/// clap prints usage errors, help and version itself, and leaves with 2 or 0.
fn parse() -> Result<Cli, Failure> {
    from_matches(&command().args(client::secret_options()).get_matches())
}

fn from_matches(matches: &ArgMatches) -> Result<Cli, Failure> {
    let mut cli = Cli::from_arg_matches(matches).unwrap_or_else(|error| error.exit());
    cli.connection.take_secrets(matches)?;
    Ok(cli)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(words(line))
    }

    fn words(line: &str) -> impl Iterator<Item = &str> {
        std::iter::once("strongroom").chain(line.split(' '))
    }

    #[test]
    fn the_tree_of_commands_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn global_options_may_stand_behind_the_command() {
        let cli = parsed("list acme --addr unix:/run/strongroom.sock --output json").unwrap();
        assert!(matches!(cli.output, Format::Json));
        assert_eq!(cli.connection.addr, "unix:/run/strongroom.sock");
    }

    #[test]
    fn a_token_on_the_command_line_is_refused_without_repeating_it() {
        for line in [
            "--token sr_canary list acme",
            "list acme --token sr_canary",
            "token list --token=sr_canary",
            "list acme --code canary",
            "delete acme openai --code=canary",
            "decrypt acme openai --grant srg_canary",
        ] {
            let matches = command().args(client::secret_options()).try_get_matches_from(words(line)).unwrap();
            let failure = from_matches(&matches).err().unwrap();
            assert_eq!(failure.exit(), Exit::Usage);
            assert!(!failure.to_string().contains("canary"), "{failure}");
        }
        let matches = command().args(client::secret_options()).try_get_matches_from(words("list acme")).unwrap();
        assert!(from_matches(&matches).is_ok());
    }

    #[test]
    fn contradictions_are_usage_errors() {
        for line in [
            "metadata acme openai",
            "metadata acme openai --disable --enable",
            "metadata acme openai --clear-labels --label a=b",
            "setup acme openai --label nothing",
            "activate acme openai 0",
            "token issue ci --org acme",
            "token issue ci --role pipeline",
            "list acme --limit 0",
            "grant mint acme --run 7",
            "grant mint acme --credential openai",
            "grant mint acme --run 7 --credential a/b",
            "grant mint acme --run 7 --credential openai --uses 0",
            "delete acme openai --destroy-after soon",
            "watch",
        ] {
            assert_eq!(parsed(line).err().map(|error| error.exit_code()), Some(2), "{line}");
        }
    }
}
