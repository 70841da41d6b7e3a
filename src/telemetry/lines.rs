//! One event, one line. The only place where a value becomes log text, so that escaping is complete.

use std::fmt::{self, Write as _};
use std::io::Write as _;

use jiff::Timestamp;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_appender::non_blocking::NonBlocking;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use crate::config::Format;

/// Puts a line for every event into the queue.
pub(super) struct Lines {
    format: Format,
    coloured: bool,
    writer: NonBlocking,
}

impl Lines {
    pub const fn new(format: Format, coloured: bool, writer: NonBlocking) -> Self {
        Self { format, coloured, writer }
    }

    fn line(&self, event: &Event<'_>, spans: &str) -> String {
        let metadata = event.metadata();
        let mut fields = Fields::new(self.format);
        event.record(&mut fields);
        let Fields { message, text, .. } = fields;
        let now = Timestamp::now();
        let mut line = String::with_capacity(256 + text.len());
        let written = match self.format {
            Format::Json => writeln!(
                line,
                r#"{{"time":"{now:.6}","level":"{}","target":"{}","message":"{message}"{spans}{text}}}"#,
                metadata.level(),
                metadata.target()
            ),
            Format::Pretty => {
                let (on, off) = self.colour(*metadata.level());
                let level = metadata.level();
                writeln!(line, "{now:.3} {on}{level:>5}{off} {} {message}{spans}{text}", metadata.target())
            }
        };
        debug_assert!(written.is_ok(), "a String takes everything");
        line
    }

    fn colour(&self, level: Level) -> (&'static str, &'static str) {
        if !self.coloured {
            return ("", "");
        }
        let on = match level {
            Level::ERROR => "\x1b[31m",
            Level::WARN => "\x1b[33m",
            Level::INFO => "\x1b[32m",
            _ => "\x1b[2m",
        };
        (on, "\x1b[0m")
    }
}

/// A span's fields as text, kept for the lines inside it.
struct Kept(Fields);

impl<S> Layer<S> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::new(self.format);
            attributes.record(&mut fields);
            span.extensions_mut().insert(Kept(fields));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(Kept(fields)) = span.extensions_mut().get_mut()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut spans = String::new();
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(Kept(fields)) = span.extensions().get() {
                spans.push_str(&fields.text);
            }
        }
        let line = self.line(event, &spans);
        // The queue takes it or counts it as dropped; there is nobody to tell otherwise.
        let _ = self.writer.clone().write_all(line.as_bytes());
    }
}

/// Collects fields as text of one format.
struct Fields {
    format: Format,
    message: String,
    text: String,
}

impl Fields {
    fn new(format: Format) -> Self {
        Self { format, message: String::new(), text: String::with_capacity(256) }
    }

    /// A value that needs neither quotes nor escaping.
    fn plain(&mut self, field: &Field, value: impl fmt::Display) {
        self.name(field);
        let _ = write!(self.text, "{value}");
    }

    fn quoted(&mut self, field: &Field, value: fmt::Arguments<'_>) {
        if field.name() == "message" {
            let _ = Escaped(&mut self.message, self.format).write_fmt(value);
            return;
        }
        self.name(field);
        if self.format == Format::Pretty && value.as_str().is_some_and(is_word) {
            let _ = self.text.write_fmt(value);
            return;
        }
        self.text.push('"');
        let _ = Escaped(&mut self.text, self.format).write_fmt(value);
        self.text.push('"');
    }

    fn name(&mut self, field: &Field) {
        // Names are ours: identifiers in the source.
        let name = field.name();
        let name = name.strip_prefix("r#").unwrap_or(name);
        let (before, after) = match self.format {
            Format::Json => (",\"", "\":"),
            Format::Pretty => (" ", "="),
        };
        self.text.extend([before, name, after]);
    }
}

impl Visit for Fields {
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.plain(field, value);
        } else {
            self.quoted(field, format_args!("{value}"));
        }
    }

    /// Most values are texts: they go around the formatter, which takes longer than they do.
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            let _ = Escaped(&mut self.message, self.format).write_str(value);
            return;
        }
        self.name(field);
        if self.format == Format::Pretty && is_word(value) {
            self.text.push_str(value);
            return;
        }
        self.text.push('"');
        let _ = Escaped(&mut self.text, self.format).write_str(value);
        self.text.push('"');
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.quoted(field, format_args!("{value:?}"));
    }
}

/// Reads without quotes as one value.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/@+%".contains(&byte))
}

/// Escapes quotes, backslashes and everything that a terminal or a line reader could obey: C0, DEL, C1 (a terminal may
/// take U+009B for the start of a command), line and paragraph separators, and the marks that turn text around.
struct Escaped<'a>(&'a mut String, Format);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')) {
            self.0.push_str(text);
            return Ok(());
        }
        for c in text.chars() {
            match c {
                '"' | '\\' => self.0.extend(['\\', c]),
                '\n' => self.0.push_str("\\n"),
                '\r' => self.0.push_str("\\r"),
                '\t' => self.0.push_str("\\t"),
                c if c.is_control() || obeyed(c) => match self.1 {
                    // All of them are in the basic plane: four digits are enough.
                    Format::Json => write!(self.0, "\\u{:04x}", u32::from(c))?,
                    Format::Pretty => write!(self.0, "{}", c.escape_unicode())?,
                },
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

const fn obeyed(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
}
