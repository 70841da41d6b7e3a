//! How far the server has come with what goes through everything: a bar in a terminal, lines elsewhere.

use std::time::Instant;

use indicatif::ProgressBar;
use serde::Serialize;
use tonic::Streaming;

use super::Context;
use super::error::{Exit, Failure};
use super::output::{LINE_EVERY, bar, escape, say};
use super::view;

pub(super) trait News: Serialize {
    const NAME: &str;

    fn so_far(&self) -> SoFar;

    /// What was left as it was, since the news before.
    fn left(&self) -> Vec<String>;
}

#[derive(Clone, Copy, Default)]
pub(super) struct SoFar {
    pub total: u64,
    pub moved: u64,
    pub gone: u64,
    pub failed: u64,
    pub done: bool,
}

/// Shows what is heard until it ends.
pub(super) async fn follow<T: News>(
    context: &mut Context,
    mut news: Streaming<T>,
    dry_run: bool,
) -> Result<(), Failure> {
    let (mut shown, mut last) = (Shown::new(), SoFar::default());
    let ended = loop {
        match news.message().await {
            Ok(Some(now)) => {
                now.left().iter().for_each(|left| shown.say(&escape(&format!("left as it is, {left}"))));
                last = now.so_far();
                shown.progress(last);
                if context.out.is_json() {
                    context.out.line(&now, |_| String::new())?;
                }
            }
            Ok(None) => break Ok(()),
            Err(status) => break Err(status),
        }
    };
    shown.end();
    ended?;
    if !context.out.is_json() {
        context.out.text(&summary(last, dry_run))?;
    }
    let (name, SoFar { failed, done, .. }) = (T::NAME, last);
    match (done, failed) {
        (false, _) => {
            Err(Failure::new(Exit::Unavailable, format!("the server ended the {name} early; nothing is lost"))
                .hint("run it again: it goes on where it was"))
        }
        (true, 0) => Ok(()),
        (true, _) => {
            Err(Failure::new(Exit::Corrupt, format!("{failed} could not be opened and were left as they are"))
                .hint("the lines above and the server's log name them"))
        }
    }
}

fn summary(last: SoFar, dry_run: bool) -> String {
    let SoFar { total, moved, gone, failed, .. } = last;
    let lines = match dry_run {
        true => vec![("to move", total.to_string())],
        false => vec![("moved", moved.to_string()), ("gone", gone.to_string()), ("left", failed.to_string())],
    };
    view::sheet(lines)
}

struct Shown {
    bar: ProgressBar,
    lined: Instant,
}

impl Shown {
    fn new() -> Self {
        Self { bar: bar("{bar:40} {pos} of {len}, {per_sec}, {eta} left"), lined: Instant::now() }
    }

    fn progress(&mut self, SoFar { total, moved, gone, failed, .. }: SoFar) {
        let past = moved + gone + failed;
        self.bar.set_length(total);
        self.bar.set_position(past);
        if self.bar.is_hidden() && self.lined.elapsed() >= LINE_EVERY {
            self.lined = Instant::now();
            say(format!("{past} of {total}"));
        }
    }

    fn say(&self, line: &str) {
        self.bar.suspend(|| say(line));
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}
