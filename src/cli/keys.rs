//! The keys of the KMS: what is wrapped under them, and moving it.

use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Context;
use super::error::{Exit, Failure};
use super::output::{escape, say};
use super::view::{self, Columns};
use crate::pb::v1::{Key, KeyHolders, ListKeysRequest, RewrapFailure, RewrapRequest, RewrapResponse};

const KEYS: &[&str] = &["KEY", "VERSION", "IS", "VERSIONS", "ORG KEYS", "AUDIT KEYS", "SECOND FACTORS"];
const KEYS_BY_ORG: &[&str] = &["KEY", "VERSION", "ORG", "VERSIONS", "ORG KEYS", "AUDIT KEYS", "SECOND FACTORS"];

/// Where nobody watches a bar, news come in lines, so often.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// List what keys of the KMS are in use, and by how much: what is listed with a number must not be destroyed.
///
/// Backups and exports may need keys that are not in use here any more.
#[derive(Args)]
#[command(after_help = "Example:\n  strongroom keys --by-org")]
pub(super) struct Keys {
    /// Count by org too, which takes longer.
    #[arg(long)]
    by_org: bool,
}

impl Keys {
    pub async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let request = ListKeysRequest { by_org: self.by_org };
        let keys = context.server.admin().await?.list_keys(request).await?.into_inner().keys;
        context.out.show(&keys, |keys| match self.by_org {
            false => Columns::new(KEYS).page(keys.iter().map(|key| row(key, is(key), key.held.as_ref()))),
            true => Columns::new(KEYS_BY_ORG).page(keys.iter().flat_map(by_org)),
        })
    }
}

fn by_org(key: &Key) -> Vec<Vec<String>> {
    let mut orgs: Vec<_> = key.by_org.iter().collect();
    orgs.sort_by_key(|(org, _)| org.as_str());
    orgs.into_iter().map(|(org, held)| row(key, org.clone(), Some(held))).collect()
}

fn row(key: &Key, third: String, held: Option<&KeyHolders>) -> Vec<String> {
    let KeyHolders { versions, org_keys, audit_keys, second_factors } = held.copied().unwrap_or_default();
    let counts = [versions, org_keys, audit_keys, second_factors].map(|count| count.to_string());
    [key.key.clone(), key.version.clone(), third].into_iter().chain(counts).collect()
}

/// What a key is to this daemon.
fn is(key: &Key) -> String {
    let mut words = Vec::new();
    match (key.recovery, key.configured) {
        (true, true) => words.push("recovery".to_owned()),
        (true, false) => words.push("recovery, NOT CONFIGURED".to_owned()),
        (false, false) => words.push("NOT CONFIGURED".to_owned()),
        (false, true) if key.default => words.push("default".to_owned()),
        (false, true) if key.orgs.is_empty() => words.push("other".to_owned()),
        (false, true) => (),
    }
    words.extend(key.orgs.iter().map(|org| format!("of {org}")));
    words.join(", ")
}

/// Move wrapped keys to the newest version of their key, or to another key, while everything is served.
///
/// No credential is sealed anew. Each key is read back and opened before the old wrap of it goes, so this may be stopped
/// at any moment; run it again to go on. What cannot be opened is named and left as it is.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  strongroom rewrap --dry-run\n  strongroom rewrap --from local://old --to local://new"
)]
pub(super) struct Rewrap {
    /// The key to move to; without it, each goes to the key that is meant for its org.
    #[arg(long, value_name = "URI")]
    to: Option<String>,

    /// Only what is under this key.
    #[arg(long, value_name = "URI")]
    from: Option<String>,

    /// Only what belongs to this tenant.
    #[arg(long)]
    org: Option<String>,

    /// At most so many keys a second; as many as can be, when not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,

    /// Only count what there is to move.
    #[arg(long)]
    dry_run: bool,
}

impl Rewrap {
    pub async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let request = RewrapRequest {
            to: self.to.unwrap_or_default(),
            from: self.from.unwrap_or_default(),
            org: self.org.unwrap_or_default(),
            rate: self.rate.unwrap_or_default(),
            dry_run: self.dry_run,
        };
        let mut news = context.server.admin_without_end().await?.rewrap(request).await?.into_inner();
        let (mut shown, mut last) = (Shown::new(), RewrapResponse::default());
        let ended = loop {
            match news.message().await {
                Ok(Some(now)) => {
                    now.failures.iter().for_each(|failure| shown.say(&told(failure)));
                    shown.progress(&now);
                    if context.out.is_json() {
                        context.out.line(&now, |_| String::new())?;
                    }
                    last = now;
                }
                Ok(None) => break Ok(()),
                Err(status) => break Err(status),
            }
        };
        shown.end();
        ended?;
        if !context.out.is_json() {
            context.out.text(&summary(&last, self.dry_run))?;
        }
        match last {
            RewrapResponse { done: false, .. } => {
                Err(Failure::new(Exit::Unavailable, "the server ended the rewrap early; nothing is lost")
                    .hint("run it again: it goes on where it was"))
            }
            RewrapResponse { failed: 0, .. } => Ok(()),
            RewrapResponse { failed, .. } => {
                Err(Failure::new(Exit::Corrupt, format!("{failed} keys could not be opened and were left as they are"))
                    .hint("the lines above and the server's log name them"))
            }
        }
    }
}

fn told(failure: &RewrapFailure) -> String {
    escape(&format!("left as it is, under {} {}: {}", failure.key, failure.key_version, failure.why))
}

fn summary(last: &RewrapResponse, dry_run: bool) -> String {
    let RewrapResponse { total, moved, gone, failed, .. } = last;
    let lines = match dry_run {
        true => vec![("to move", total.to_string())],
        false => vec![("moved", moved.to_string()), ("gone", gone.to_string()), ("left", failed.to_string())],
    };
    view::sheet(lines)
}

/// A bar in a terminal, lines elsewhere.
struct Shown {
    bar: ProgressBar,
    lined: Instant,
}

impl Shown {
    fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{bar:40} {pos} of {len}, {per_sec}, {eta} left");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, lined: Instant::now() }
    }

    fn progress(&mut self, now: &RewrapResponse) {
        let past = now.moved + now.gone + now.failed;
        self.bar.set_length(now.total);
        self.bar.set_position(past);
        if self.bar.is_hidden() && self.lined.elapsed() >= LINE_EVERY {
            self.lined = Instant::now();
            say(format!("{past} of {}", now.total));
        }
    }

    fn say(&self, line: &str) {
        self.bar.suspend(|| say(line));
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}
