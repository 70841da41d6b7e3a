//! `strongroom policy`: what policies say, before anybody asks. All but an explanation by a server works on files alone.

mod explain;
mod template;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde::Serialize;

use super::Context;
use super::error::{Exit, Failure};
use super::output::{escape, say};
use crate::app::policy::{Checked, Failed, Table, Workbench};

/// Check, explain, test and write policies.
#[derive(Args)]
#[command(after_help = "Example:\n  strongroom policy check config/policy")]
pub(super) struct Policy {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Subcommand)]
enum PolicyCommand {
    Check(Check),
    Explain(Box<explain::Explain>),
    Test(Test),
    Template(Box<template::Template>),
}

impl Policy {
    pub async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match self.command {
            PolicyCommand::Check(command) => command.run(context),
            PolicyCommand::Explain(command) => command.run(context).await,
            PolicyCommand::Test(command) => command.run(context),
            PolicyCommand::Template(command) => command.run(context),
        }
    }
}

/// Which policies, and what they may name.
#[derive(Args)]
struct Files {
    /// A directory with Cedar files [default: the policies that the program brings along].
    #[arg(long = "policies", value_name = "DIR")]
    directory: Option<PathBuf>,

    /// The callers.toml whose issuers name the claims.
    #[arg(long, value_name = "FILE")]
    callers: Option<PathBuf>,

    /// The provider registry [default: the one that the program brings along].
    #[arg(long, value_name = "FILE")]
    providers: Option<PathBuf>,
}

impl Files {
    fn open(&self) -> Result<Workbench, Failure> {
        Ok(Workbench::open(self.directory.as_deref(), self.callers.as_deref(), self.providers.as_deref())?)
    }
}

/// Tell everything that is wrong with the policies of a directory, and what is surely not meant.
///
/// A warning that a permit lets one tenant reach another is found by asking: callers of every role in two tenants, every
/// action, with the values that the policies name.
#[derive(Args)]
#[command(
    after_help = "Example:\n  strongroom policy check /etc/strongroom/policy --callers /etc/strongroom/callers.toml"
)]
struct Check {
    /// A directory with Cedar files.
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    /// The callers.toml whose issuers name the claims.
    #[arg(long, value_name = "FILE")]
    callers: Option<PathBuf>,

    /// The provider registry [default: the one that the program brings along].
    #[arg(long, value_name = "FILE")]
    providers: Option<PathBuf>,

    /// Fail for a warning too.
    #[arg(long)]
    strict: bool,
}

impl Check {
    fn run(self, context: &mut Context) -> Result<(), Failure> {
        let Self { directory, callers, providers, strict } = self;
        let files = Files { directory: Some(directory), callers, providers };
        let checked = files.open()?.check();
        context.out.show(&checked, words)?;
        let (errors, warnings) = (checked.errors.len(), checked.warnings.len());
        if errors > 0 || (strict && warnings > 0) {
            return Err(Failure::new(Exit::Unmet, format!("{errors} errors, {warnings} warnings")));
        }
        Ok(())
    }
}

fn words(checked: &Checked) -> String {
    let lines = |what: &str, all: &[crate::app::policy::Found]| {
        let line = |it: &crate::app::policy::Found| {
            let place = it.line.map_or_else(|| it.file.clone(), |line| format!("{}:{line}", it.file));
            format!("{}\n", escape(&format!("{place}: {what}: {}", it.why)))
        };
        all.iter().map(line).collect::<String>()
    };
    let end = match (checked.errors.len(), checked.warnings.len()) {
        (0, 0) => format!("{} policies, nothing wrong with them\n", checked.policies),
        (errors, warnings) => format!("{} policies, {errors} errors, {warnings} warnings\n", checked.policies),
    };
    lines("error", &checked.errors) + &lines("warning", &checked.warnings) + &end
}

/// Test policies against tables of what is expected of them.
///
/// A table is TOML: an [[expect]] for each expectation, with `caller`, `action` (one or several), `on` and `allow`; `because`
/// names a policy that must have decided. A caller has `role`, `org`, `projects`, `providers`, `proof`, `claims`, `run`,
/// `phase`, `source`, `certificate`, `step_up_age` and `approved`.
#[derive(Args)]
#[command(
    after_help = "Example:\n  strongroom policy test --policies /etc/strongroom/policy /etc/strongroom/policy/expect.toml"
)]
struct Test {
    /// Tables of expectations.
    #[arg(required = true, value_name = "FILE")]
    tables: Vec<PathBuf>,

    #[command(flatten)]
    files: Files,
}

#[derive(Serialize)]
struct Tested {
    expectations: usize,
    failed: Vec<Failed>,
}

impl Test {
    fn run(self, context: &mut Context) -> Result<(), Failure> {
        let policies = self.files.open()?.policies()?;
        let tables = self.tables.iter().map(|file| Table::read(file)).collect::<Result<Vec<_>, _>>()?;
        let now = Timestamp::now();
        let tested = Tested {
            expectations: tables.iter().map(Table::len).sum(),
            failed: tables.iter().flat_map(|table| table.test(&policies, now)).collect(),
        };
        context.out.show(&tested, |tested| {
            let line = |it: &Failed| format!("{}\n", escape(&format!("{}:{}: {}", it.file, it.line, it.why)));
            tested.failed.iter().map(line).collect()
        })?;
        match tested.failed.len() {
            0 => say(format!("{} expectations, all met", tested.expectations)),
            failed => {
                let message = format!("{failed} of {} expectations are not met", tested.expectations);
                return Err(Failure::new(Exit::Unmet, message));
            }
        }
        Ok(())
    }
}
