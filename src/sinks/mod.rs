//! Copies of the audit log for those who collect logs, and the checkpoints' way out of the machine.
//!
//! A copy follows the log: it reads what is new a page at a time, hands it on, and keeps how far it has come. So nothing
//! waits in memory, nothing is lost while the other end is slow or away, and after a crash the last records may come
//! twice. No answer waits for a copy: the local record alone is what an answer waits for.

pub mod checkpoints;
mod file;
pub mod others;
mod otlp;
mod stdout;
mod syslog;
mod thread;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, watch};
use tokio::time;

use crate::store::{self, Chained, Keep, Store};

/// So many records are handed on at a time.
const PAGE: u32 = 500;
/// What comes within this time goes together.
const GATHER: Duration = Duration::from_millis(50);
/// How far a copy has come is kept this often: a commit each time.
const KEEP_EVERY: Duration = Duration::from_secs(1);
/// While a place does not take what it is handed, its lag is told this often.
const LAG_EVERY: Duration = Duration::from_secs(1);
/// Between two tries.
const SHORTEST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// A place that copies go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    File(std::path::PathBuf),
    Stdout,
    Syslog(syslog::Address),
    /// `http://HOST:PORT` or `https://…` of a collector.
    Otlp(String),
}

pub use syslog::Address;

impl Place {
    /// As cursors and metrics name it.
    const fn name(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Stdout => "stdout",
            Self::Syslog(_) => "syslog",
            Self::Otlp(_) => "otlp",
        }
    }
}

/// An open place.
enum Sink {
    Thread(thread::Thread),
    Syslog(syslog::Syslog),
    Otlp(otlp::Otlp),
}

impl Sink {
    fn open(place: Place) -> Result<Self, String> {
        Ok(match place {
            Place::File(path) => Self::Thread(thread::Thread::start(file::Appended::at(path))?),
            Place::Stdout => Self::Thread(thread::Thread::start(stdout::Stdout)?),
            Place::Syslog(address) => Self::Syslog(syslog::Syslog::new(address)),
            Place::Otlp(endpoint) => Self::Otlp(otlp::Otlp::new(&endpoint)?),
        })
    }

    async fn hand_on(&mut self, records: &[Chained]) -> Result<(), String> {
        match self {
            Self::Thread(thread) => thread.write(lines(records)).await,
            Self::Syslog(syslog) => syslog.send(records).await,
            Self::Otlp(otlp) => otlp.send(records).await,
        }
    }
}

/// JSON lines: the records as they are chained.
fn lines(records: &[Chained]) -> Vec<u8> {
    let mut text = Vec::with_capacity(records.iter().map(|record| record.canonical.len() + 1).sum());
    for record in records {
        text.extend_from_slice(record.canonical.as_bytes());
        text.push(b'\n');
    }
    text
}

/// A place that is open. Whoever hands on to it takes turns: this process's own chain, and those of others that have died.
#[derive(Clone)]
pub struct Copy {
    name: &'static str,
    sink: Arc<Mutex<Sink>>,
}

impl Copy {
    pub fn open(place: Place) -> Result<Self, String> {
        let name = place.name();
        let sink = Sink::open(place).map_err(|cause| format!("audit.{name}: {cause}"))?;
        Ok(Self { name, sink: Arc::new(Mutex::new(sink)) })
    }

    /// Follows the log that a store writes, until shutdown.
    pub async fn follow(self, store: Arc<dyn Store>, mut shutdown: watch::Receiver<bool>) {
        let mut pause = Pause::of(self.name);
        let mut news = store.newest_record();
        let mut reached = loop {
            match store.cursor(&cursor(self.name, store.as_ref())).await {
                Ok(reached) => break reached.unwrap_or_default(),
                Err(error) => pause.after(&error.to_string(), &mut shutdown).await,
            }
        };
        let (mut kept, mut kept_at, mut next) = (reached, Instant::now(), None);
        loop {
            news.borrow_and_update();
            let page = match store.chained(reached, PAGE).await {
                Ok(page) => page,
                Err(error) if *shutdown.borrow() => return tracing::warn!(copy = self.name, %error, "not finished"),
                Err(error) => {
                    pause.after(&error.to_string(), &mut shutdown).await;
                    continue;
                }
            };
            let Some((first, last)) = page.first().zip(page.last()) else {
                lag(self.name).set(0.0);
                if kept != reached && self.keep(store.as_ref(), reached).await {
                    (kept, kept_at) = (reached, Instant::now());
                }
                if *shutdown.borrow() {
                    return;
                }
                tokio::select! {
                    _ = news.changed() => tokio::time::sleep(GATHER).await,
                    () = async { drop(shutdown.wait_for(|down| *down).await) } => {}
                }
                continue;
            };
            if next.is_some_and(|next| first.sequence > next) {
                tracing::warn!(
                    copy = self.name,
                    from = next,
                    to = first.sequence - 1,
                    "pruned before they were copied"
                );
            }
            match self.hand_on(&page, first.sequence, &news).await {
                Ok(()) => {
                    (reached, next) = (last.position, Some(last.sequence + 1));
                    pause.over();
                    if kept_at.elapsed() >= KEEP_EVERY && self.keep(store.as_ref(), reached).await {
                        (kept, kept_at) = (reached, Instant::now());
                    }
                }
                Err(cause) if *shutdown.borrow() => {
                    self.keep(store.as_ref(), reached).await;
                    return tracing::warn!(copy = self.name, cause, "the rest is copied after the next start");
                }
                Err(cause) => pause.after(&cause, &mut shutdown).await,
            }
        }
    }

    /// However long it takes: the lag grows meanwhile.
    async fn hand_on(&self, page: &[Chained], first: u64, news: &watch::Receiver<u64>) -> Result<(), String> {
        let name = self.name;
        let mut handed = std::pin::pin!(async { self.sink.lock().await.hand_on(page).await });
        loop {
            lag(name).set((*news.borrow() + 1).saturating_sub(first) as f64);
            tokio::select! {
                done = &mut handed => return done,
                () = tokio::time::sleep(LAG_EVERY) => {}
            }
        }
    }

    /// A cursor that is behind only makes records come twice.
    async fn keep(&self, store: &dyn Store, reached: u64) -> bool {
        let copy = cursor(self.name, store);
        store.keep(Keep::Cursor { copy, reached }).await.is_ok()
    }

    /// Hands on the next records of a chain that nobody writes any more, and keeps how far that has come. How many there
    /// were.
    async fn next(&self, chain: &dyn Store, until: time::Instant) -> Result<usize, Stuck> {
        let copy = cursor(self.name, chain);
        let reached = chain.cursor(&copy).await?.unwrap_or_default();
        let page = chain.chained(reached, PAGE).await?;
        if let Some(last) = page.last() {
            let sink = time::timeout_at(until, self.sink.lock()).await;
            sink.map_err(|_| Stuck::Busy)?.hand_on(&page).await.map_err(Stuck::Place)?;
            chain.keep(Keep::Cursor { copy, reached: last.position }).await?;
        }
        Ok(page.len())
    }
}

/// Why no more of a chain is handed on to a place.
#[derive(Debug, thiserror::Error)]
enum Stuck {
    /// The place took it not.
    #[error("{0}")]
    Place(String),
    /// The chain cannot be read, or how far it has come not be kept: no fault of the place.
    #[error(transparent)]
    Chain(#[from] store::Error),
    #[error("it is busy with another chain")]
    Busy,
}

/// What a copy's cursor is kept as. Where several keep one store, each follows the chain that it writes.
fn cursor(name: &str, store: &dyn Store) -> String {
    match store.is_shared() {
        true => format!("{name} of {}", store.instance()),
        false => name.to_owned(),
    }
}

/// How many records have not reached it yet.
fn lag(name: &'static str) -> metrics::Gauge {
    metrics::gauge!("strongroom_audit_sink_lag_records", "sink" => name)
}

/// How long to wait after a failure: longer each time. Says why once, until it works again.
struct Pause {
    name: &'static str,
    next: Duration,
    said: bool,
}

impl Pause {
    const fn of(name: &'static str) -> Self {
        Self { name, next: SHORTEST, said: false }
    }

    async fn after(&mut self, cause: &str, shutdown: &mut watch::Receiver<bool>) {
        metrics::counter!("strongroom_audit_sink_failures_total", "sink" => self.name).increment(1);
        if !std::mem::replace(&mut self.said, true) {
            tracing::warn!(copy = self.name, cause, "a copy of the audit log does not get through; trying again");
        }
        tokio::select! {
            () = tokio::time::sleep(self.next) => {}
            () = async { drop(shutdown.wait_for(|down| *down).await) } => {}
        }
        self.next = (self.next * 2).min(LONGEST);
    }

    fn over(&mut self) {
        if std::mem::replace(&mut self.said, false) {
            tracing::info!(copy = self.name, "the copy of the audit log gets through again");
        }
        self.next = SHORTEST;
    }
}
