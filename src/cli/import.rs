//! `strongroom import`: a database out of an export. No server is asked.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use super::Context;
use super::audit::verify::read_keys;
use super::error::{Exit, Failure};
use super::output::{escape, say};
use super::view;
use crate::app::backup::{self, Unopened};
use crate::app::{Error, Process};
use crate::config::Config;

/// Make the database of a configuration out of an export, or prove that it could be done.
///
/// The export must be whole and ours: the private half of the audit key that signed it opens under a configured key. A
/// database that is there is never written to; what is made is moved to its place when all of it is right.
#[derive(Args)]
#[command(after_help = "Examples:\n  strongroom import vault.jsonl --dry-run --config strongroom.toml\n  \
                        strongroom import vault.jsonl --apply --config strongroom.toml")]
pub(super) struct Import {
    /// The export.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The configuration file, which says where the database is to be, and the keys that open it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Check everything, and leave nothing behind.
    #[arg(long, required_unless_present = "apply", conflicts_with = "apply")]
    dry_run: bool,

    /// Check everything, and make the database.
    #[arg(long)]
    apply: bool,

    /// The public key that must have signed it, as `strongroom audit key` prints it, or a file with such keys, one a line:
    /// in place of the proof by a configured key.
    #[arg(long, value_name = "KEY")]
    key: Vec<String>,
}

impl Import {
    pub async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let config = Config::load(self.config.as_deref()).map_err(Error::from)?;
        let _process = Process::prepare(&config)?;
        let mut known = Vec::new();
        for key in &self.key {
            read_keys(key, &mut known)?;
        }
        let found = backup::import(&config, &self.file, &known, self.apply).await?;
        for Unopened { under, count, why } in &found.unopened {
            say(escape(&format!("{count} keys are under {} version {}, which {why}", under.key, under.version)));
        }
        let whole = found.whole;
        let shown = Shown {
            applied: self.apply && found.unopened.is_empty(),
            instance: whole.header.instance,
            taken_at: whole.header.at,
            signed_by: whole.key.to_string(),
            rows: whole.rows,
            unopened: found.unopened.iter().map(|it| it.count).sum(),
        };
        context.out.show(&shown, |it| {
            let mut lines = vec![
                ("instance", it.instance.clone()),
                ("taken at", it.taken_at.clone()),
                ("signed by", it.signed_by.clone()),
            ];
            lines.extend(it.rows.iter().map(|(table, count)| (table.as_str(), count.to_string())));
            view::sheet(lines)
        })?;
        match (self.apply, shown.unopened) {
            (true, 0) => say("the database is made; next: strongroom serve"),
            (false, 0) => say("it is whole and ours; nothing was written"),
            (_, left) => {
                return Err(Failure::new(Exit::Key, format!("{left} keys in it would not open"))
                    .hint("nothing was written; the lines above name the keys: kms.others, or a newer key file"));
            }
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct Shown {
    applied: bool,
    instance: String,
    taken_at: String,
    signed_by: String,
    rows: BTreeMap<String, u64>,
    unopened: u64,
}
