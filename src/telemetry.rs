//! Logs, traces and metrics: what operators see of the daemon. No secret reaches this module; these are the nets below
//! that law:
//!
//! - Libraries speak from `warn` upwards only, whatever the level: the debug lines of an HTTP stack show headers and
//!   frames.
//! - Control characters in any value are escaped, so that no name can draw on a terminal or fake a line.
//! - A panic logs its place and its fixed text; a formatted message can quote data and stays unsaid.
//!
//! Lines go to stderr through a bounded queue. When it is full they are dropped and counted: no request waits for a log.

mod lines;
mod metrics;
mod queue;
mod traces;

use std::panic::PanicHookInfo;

use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Subscriber;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Level, Log, Otlp};

use lines::Lines;
pub use metrics::Metrics;

const OURS: &str = "strongroom";

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("logs or metrics were set up before in this process")]
    Twice,
    #[error("otlp.endpoint is refused: {0}")]
    Otlp(String),
}

/// Keeps the log's writer and the exporter alive. Dropping it writes out what they hold: let it go last.
pub struct Guard {
    pub metrics: Metrics,
    _traces: Traces,
    _lines: WorkerGuard,
}

/// Sets up the process's logs, traces and metrics. Called once, inside the runtime.
pub fn init(log: &Log, otlp: &Otlp) -> Result<Guard, Error> {
    let (writer, lines) = queue::to(std::io::stderr());
    let metrics = Metrics::install(writer.error_counter())?;
    let traces = Traces(traces::exporter(&otlp.endpoint)?);
    let coloured = std::io::IsTerminal::is_terminal(&std::io::stderr()) && !crate::config::colourless();
    subscriber(log, Lines::new(log.format, coloured, writer), &traces).try_init().map_err(|_| Error::Twice)?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(Guard { metrics, _traces: traces, _lines: lines })
}

fn subscriber(log: &Log, lines: Lines, traces: &Traces) -> impl Subscriber + Send + Sync + 'static {
    // Each has a filter of its own: calls are traced where a collector is configured, whatever the lines leave out.
    let traces =
        traces.0.as_ref().map(|provider| traces::layer(provider).with_filter(filter(log.level.max(Level::Debug))));
    tracing_subscriber::registry().with(lines.with_filter(filter(log.level))).with(traces)
}

/// Ours at the level that was asked for; everybody else's from `warn` upwards.
fn filter(level: Level) -> Targets {
    let ours = match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    };
    Targets::new().with_target(OURS, ours).with_default(ours.min(LevelFilter::WARN))
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let text = panic.payload().downcast_ref::<&'static str>().copied().unwrap_or("(a message with data in it)");
    tracing::error!(target: OURS, place, text, "a bug: this thread panicked");
}

struct Traces(Option<SdkTracerProvider>);

impl Drop for Traces {
    fn drop(&mut self) {
        if let Some(Err(cause)) = self.0.as_ref().map(SdkTracerProvider::shutdown) {
            tracing::warn!(%cause, "the last traces were not delivered");
        }
    }
}

#[cfg(test)]
mod tests;
