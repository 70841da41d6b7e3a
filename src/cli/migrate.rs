//! `strongroom migrate`: the vault into another store. No server is asked; none may run.

use std::collections::BTreeMap;
use std::time::Instant;

use clap::Args;
use indicatif::ProgressBar;
use serde::Serialize;

use super::Context;
use super::error::Failure;
use super::output::{LINE_EVERY, bar, escape, say};
use super::view;
use crate::app::Error;
use crate::app::migrate::{self, Moved, Progress, Step};

/// Move the vault from SQLite to PostgreSQL, or back: all rows as they are, compared once all are there.
///
/// Stop the daemon first. The target must be new; killed at any moment, the same command goes on where it was. When all is
/// proven, the source is marked as moved, and no daemon serves from it any more. It needs no key and no configuration.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  strongroom migrate --from sqlite://vault.db --to postgres://strongroom@db/vault\n  \
                        strongroom migrate --from postgres://strongroom@db/vault --to sqlite://new.db"
)]
pub(super) struct Migrate {
    /// Where the vault is: sqlite://PATH or postgres://USER@HOST/DATABASE, as in `store.url`.
    #[arg(long, value_name = "URL")]
    from: String,

    /// Where it is to be.
    #[arg(long, value_name = "URL", required_unless_present = "abandon")]
    to: Option<String>,

    /// Say what would be moved, and what stands in the way; change nothing.
    #[arg(long, conflicts_with = "abandon")]
    check: bool,

    /// Give up one that is not finished: take out of the target what was copied, and let the source be served again.
    /// Where the target is gone for good, leave --to out.
    #[arg(long)]
    abandon: bool,
}

impl Migrate {
    pub async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match (&self.to, self.abandon, self.check) {
            (to, true, _) => match migrate::abandon(&self.from, to.as_deref()).await.map_err(told)? {
                true => say("given up: the target is empty again, and the source may be served"),
                false => say("given up: the source may be served; nothing was in the target"),
            },
            (Some(to), _, true) => {
                let moved = migrate::look(&self.from, to).await.map_err(told)?;
                show(context, &moved, false)?;
                match (moved.older, moved.was_done) {
                    (Some((found, known)), _) => say(format!(
                        "it has schema {found}, and is brought to {known} before it is moved: its rows were not counted"
                    )),
                    (None, true) => say("it is moved already"),
                    (None, false) => say("nothing stands in the way; nothing was changed"),
                }
            }
            (Some(to), ..) => {
                let mut shown = Shown::new();
                let moved = migrate::migrate(&self.from, to, move |news| shown.tell(news)).await.map_err(told)?;
                show(context, &moved, true)?;
                say(escape(&match moved.was_done {
                    true => format!("it was moved before; serve from {}", moved.to),
                    false => format!("every row was compared; next: store.url names {}, strongroom serve", moved.to),
                }));
            }
            (None, false, _) => return Err(Failure::usage("--to is missing")),
        }
        Ok(())
    }
}

/// Here a URL is an argument, and no key of a configuration.
fn told(error: Error) -> Failure {
    match error {
        Error::Url { why } => Failure::usage(format!("a URL of --from and --to {why}")),
        Error::UnknownStore(scheme) => {
            Failure::usage(format!("`{scheme}` is none of sqlite://PATH and postgres://USER@HOST/DATABASE"))
        }
        other => other.into(),
    }
}

fn show(context: &mut Context, moved: &Moved, done: bool) -> Result<(), Failure> {
    let Moved { from, to, there, was_done, .. } = moved;
    let shown = Report {
        from,
        to,
        done: done || *was_done,
        there: *there,
        total: moved.rows.iter().map(|(_, rows)| rows).sum(),
        rows: moved.rows.iter().copied().collect(),
    };
    context.out.show(&shown, |it| {
        let mut lines = vec![("from", it.from.to_owned()), ("to", it.to.to_owned())];
        lines.extend(moved.rows.iter().map(|(table, rows)| (*table, rows.to_string())));
        lines.extend([("rows", it.total.to_string()), ("there before", it.there.to_string())]);
        view::sheet(lines)
    })
}

#[derive(Serialize)]
struct Report<'a> {
    from: &'a str,
    to: &'a str,
    done: bool,
    total: u64,
    /// Those that the target had when it began.
    there: u64,
    rows: BTreeMap<&'a str, u64>,
}

struct Shown {
    bar: ProgressBar,
    lined: Instant,
    /// Since when, and from which row on.
    begun: Option<(Step, Instant, u64)>,
    /// The last line of this step was said.
    ended: Option<Step>,
}

impl Shown {
    fn new() -> Self {
        Self {
            bar: bar("{prefix} {bar:40} {pos} of {len} ({percent} %), {msg}"),
            lined: Instant::now(),
            begun: None,
            ended: None,
        }
    }

    fn tell(&mut self, Progress { step, table, rows, of }: Progress) {
        let what = match step {
            Step::Copy => "copying",
            Step::Compare => "comparing",
        };
        let (since, first) = match self.begun {
            Some((begun, since, first)) if begun == step => (since, first),
            _ => {
                self.begun = Some((step, Instant::now(), rows));
                (Instant::now(), rows)
            }
        };
        let seconds = since.elapsed().as_secs_f64().max(0.001);
        #[allow(clippy::cast_precision_loss, reason = "it is shown to people")]
        let speed = (rows - first) as f64 / seconds;
        self.bar.set_prefix(what);
        self.bar.set_message(format!("{table}, {speed:.0} rows/s"));
        self.bar.set_length(of);
        self.bar.set_position(rows);
        let ends = rows == of && self.ended != Some(step);
        if self.bar.is_hidden() && (ends || rows < of && self.lined.elapsed() >= LINE_EVERY) {
            self.lined = Instant::now();
            if ends {
                self.ended = Some(step);
            }
            let percent = rows * 100 / of.max(1);
            say(format!("{what} {table}: {rows} of {of} rows ({percent} %), {speed:.0} rows/s"));
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
