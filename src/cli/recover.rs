//! `strongroom recover`: opens what is stored by an offline identity, when its keys are lost. No server is asked.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::Context;
use super::audit::verify::read_keys;
use super::error::{Exit, Failure};
use super::output::{escape, progress, say};
use super::view;
use crate::app::backup::Source;
use crate::app::recover::{self, Recovered};
use crate::app::{Error, Process};
use crate::config::Config;
use crate::crypto::Secret;
use crate::crypto::age::Identity;

/// So many are named; the rest is counted.
const NAMED: usize = 1_000;

/// Recover a stopped daemon's database by an age identity, when the keys that wrapped it are lost.
///
/// Every key that is wrapped for the identity is wrapped under the default key of the configuration, read back and opened;
/// what no key opens any more is dropped. It may be stopped at any moment; run it again to go on. Work on a copy, on a
/// machine that you trust with the identity.
#[derive(Args)]
#[command(after_help = "Examples:\n  strongroom recover --identity key.txt --config strongroom.toml\n  \
                        strongroom recover --drill --sample 100 --identity key.txt --config strongroom.toml\n  \
                        strongroom recover --from vault.jsonl --identity key.txt --config strongroom.toml")]
pub(super) struct Recover {
    /// The identity: a file as age-keygen writes it, or `-` for stdin.
    #[arg(long, value_name = "FILE|-")]
    identity: String,

    /// The configuration file, which says where the database is, and the keys to wrap under.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// An export: it becomes the database, which must not be there yet, and that is recovered. With --drill, it is looked
    /// into and nothing is left behind.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,

    /// The public key that must have signed the export, as `strongroom audit key` prints it, or a file with such keys, one a
    /// line. Without one, nothing proves whose the export is: whoever knows the recipient can write one for it.
    #[arg(long, value_name = "KEY", requires = "from")]
    key: Vec<String>,

    /// Only prove on a sample that it would work. Changes nothing but when this was proven last; asks no KMS.
    #[arg(long)]
    drill: bool,

    /// How many keys a drill opens, spread over all.
    #[arg(long, value_name = "N", default_value_t = 100, requires = "drill")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    sample: u32,
}

impl Recover {
    pub async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let config = Config::load(self.config.as_deref()).map_err(Error::from)?;
        let _process = Process::prepare(&config)?;
        let identity = read(&context.inputs.place(&self.identity, "the identity")?)?;
        let mut known = Vec::new();
        for key in &self.key {
            read_keys(key, &mut known)?;
        }
        let from = self.from.as_deref().map(|file| Source { file, known: &known });
        if from.is_some() && known.is_empty() {
            say("nothing proves whose export this is: --key does, with the public key that was kept");
        }
        match self.drill {
            true => self.drill(&config, from, identity, context).await,
            false => recover_all(&config, from, identity, context).await,
        }
    }

    async fn drill(
        &self,
        config: &Config,
        from: Option<Source<'_>>,
        identity: Identity,
        context: &mut Context,
    ) -> Result<(), Failure> {
        let found = recover::drill(config, from, identity, self.sample).await?;
        for (_, why) in found.failed.iter().take(NAMED) {
            say(escape(why));
        }
        for holder in found.lacking.iter().take(NAMED) {
            say(escape(&format!("{holder}: has no wrap for this identity")));
        }
        let shown = Drill {
            proven: found.is_proven(),
            tried: found.tried,
            total: found.total,
            failed: found.failed.len() as u64,
            without: found.lacking.len() as u64,
        };
        context.out.show(&shown, |it| {
            view::sheet(vec![
                ("opened", format!("{} of a sample of {}, of {}", it.tried - it.failed, it.tried, it.total)),
                ("without a wrap", it.without.to_string()),
            ])
        })?;
        match (shown.proven, shown.failed) {
            (true, _) => Ok(()),
            (false, 0) => Err(Failure::new(Exit::Corrupt, format!("{} keys would be lost", shown.without))
                .hint("name the recipient in kms.recovery.recipients, and run `strongroom rewrap`")),
            (false, failed) => Err(Failure::new(Exit::Corrupt, format!("{failed} keys of the sample do not open"))
                .hint("`strongroom rewrap` tells whether their own keys open them")),
        }
    }
}

async fn recover_all(
    config: &Config,
    from: Option<Source<'_>>,
    identity: Identity,
    context: &mut Context,
) -> Result<(), Failure> {
    let told = |so_far: &Recovered| {
        let Recovered { total, recovered, whole, failed, .. } = so_far;
        progress(&format!("{} of {total}", recovered + whole + failed.len() as u64));
    };
    let found = recover::recover(config, from, identity, told).await?;
    for (_, why) in found.failed.iter().take(NAMED) {
        say(escape(&format!("not recovered: {why}")));
    }
    for holder in found.lost.iter().take(NAMED) {
        say(escape(&format!("not recovered: {holder}: has no wrap for this identity, and no configured key opens it")));
    }
    let shown = All {
        recovered: found.recovered,
        whole: found.whole,
        failed: found.failed.len() as u64,
        without: found.lost.len() as u64,
    };
    context.out.show(&shown, |it| {
        view::sheet(vec![
            ("recovered", it.recovered.to_string()),
            ("whole before", it.whole.to_string()),
            ("do not open", it.failed.to_string()),
            ("without a wrap", it.without.to_string()),
        ])
    })?;
    match shown.failed + shown.without {
        0 => Ok(()),
        left => Err(Failure::new(Exit::Corrupt, format!("{left} keys were not recovered and were left as they are"))
            .hint("the lines above name them")),
    }
}

/// One identity, and lines of comments.
fn read(text: &Secret) -> Result<Identity, Failure> {
    let lines = text.expose_text().unwrap_or_default().lines().map(str::trim);
    let mut keys = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    match (keys.next(), keys.next()) {
        (Some(key), None) => key.parse().map_err(|why| Failure::usage(format!("the identity {why}"))),
        (None, _) => Err(Failure::usage("there is no identity in the file")),
        (Some(_), Some(_)) => {
            Err(Failure::usage("there is more than one identity in the file").hint("recover with one after the other"))
        }
    }
}

#[derive(Serialize)]
struct Drill {
    proven: bool,
    tried: u64,
    total: u64,
    failed: u64,
    without: u64,
}

#[derive(Serialize)]
struct All {
    recovered: u64,
    whole: u64,
    failed: u64,
    without: u64,
}
