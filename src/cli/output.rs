//! Stdout and stderr. Nothing that a server sent reaches a terminal with control characters in it.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::error::{Exit, Failure};
use crate::crypto::Secret;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    Table,
    Json,
}

/// Where results go.
pub(super) struct Output {
    format: Format,
    sink: Box<dyn Write>,
    terminal: bool,
}

impl Output {
    pub fn stdout(format: Format) -> Self {
        Self { format, sink: Box::new(io::stdout()), terminal: io::stdout().is_terminal() }
    }

    pub const fn is_json(&self) -> bool {
        matches!(self.format, Format::Json)
    }

    pub const fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// One result: as one JSON value, or as the text that `words` makes of it.
    pub fn show<T: Serialize>(&mut self, value: &T, words: impl FnOnce(&T) -> String) -> Result<(), Failure> {
        let text = match self.format {
            Format::Json => json(value, serde_json::to_string_pretty)? + "\n",
            Format::Table => words(value),
        };
        self.write(text.as_bytes())
    }

    /// One of a stream of results: as one line of JSON, or as one line of words.
    pub fn line<T: Serialize>(&mut self, value: &T, words: impl FnOnce(&T) -> String) -> Result<(), Failure> {
        let line = match self.format {
            Format::Json => json(value, serde_json::to_string)?,
            Format::Table => escape(&words(value)),
        };
        self.write(format!("{line}\n").as_bytes())
    }

    pub fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.write(text.as_bytes())
    }

    /// A plaintext, byte for byte; in a terminal the prompt gets a line of its own.
    pub fn secret(&mut self, secret: &Secret) -> Result<(), Failure> {
        self.write(secret.expose())?;
        if self.terminal { self.write(b"\n") } else { Ok(()) }
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.sink.write_all(bytes)?;
        Ok(self.sink.flush()?)
    }
}

/// A JSON array whose items come a page at a time.
#[derive(Default)]
pub(super) struct Array {
    begun: bool,
}

impl Array {
    pub fn page<T: Serialize>(&mut self, out: &mut Output, items: &[T]) -> Result<(), Failure> {
        let mut text = String::new();
        for item in items {
            text += if self.begun { ",\n" } else { "[\n" };
            text += &json(item, serde_json::to_string)?;
            self.begun = true;
        }
        out.text(&text)
    }

    pub fn end(self, out: &mut Output) -> Result<(), Failure> {
        out.text(if self.begun { "\n]\n" } else { "[]\n" })
    }
}

/// Talk. A closed stderr is nobody's problem.
pub(super) fn say(message: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{message}");
}

/// Where nobody watches a bar, news come in lines, so often.
pub(super) const LINE_EVERY: Duration = Duration::from_secs(5);

/// A bar in a terminal; hidden elsewhere.
pub(super) fn bar(template: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template(template);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// Talk that only somebody who waits in front of a terminal wants to hear.
pub(super) fn progress(message: &str) {
    if io::stderr().is_terminal() {
        say(escape(message));
    }
}

/// Server data as it may be printed: what moves the cursor, changes colours, hides or reorders text (ANSI escapes,
/// C1 controls, bidirectional overrides) is spelled out instead.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match harmful(c) {
            true => safe.extend(c.escape_default()),
            false => safe.push(c),
        }
    }
    safe
}

fn harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn json<T>(value: &T, print: fn(&T) -> serde_json::Result<String>) -> Result<String, Failure> {
    let text = print(value).map_err(|error| {
        Failure::new(Exit::Usage, format!("this has no JSON form: {error}")).hint("leave out --output json")
    })?;
    // serde_json escapes what JSON demands; the rest of what harms a terminal can only stand inside strings.
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c != '\n' && harmful(c) {
            true => write!(safe, "\\u{:04x}", u32::from(c)).map_err(io::Error::other)?,
            false => safe.push(c),
        }
    }
    Ok(safe)
}

/// A line that a shell can `eval`. The secret is the server's word, so it is quoted unless it cannot matter.
pub(super) fn export(variable: &str, secret: Option<&Secret>) -> String {
    let text = secret.and_then(Secret::expose_text).unwrap_or_default();
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    match plain {
        true => format!("export {variable}={text}\n"),
        false => format!("export {variable}='{}'\n", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A stdout that can be read afterwards.
    #[derive(Clone, Default)]
    pub struct Page(Arc<Mutex<Vec<u8>>>);

    impl Page {
        pub fn output(&self, format: Format, terminal: bool) -> Output {
            Output { format, sink: Box::new(self.clone()), terminal }
        }

        pub fn bytes(&self) -> Vec<u8> {
            self.0.lock().unwrap().clone()
        }
    }

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_harms_a_terminal_is_spelled_out() {
        assert_eq!(escape("a\u{1b}[31mred"), "a\\u{1b}[31mred");
        assert_eq!(escape("one\r\ntwo\ttab"), "one\\r\\ntwo\\ttab");
        assert_eq!(escape("\u{9b}2J \u{202e}gpj.exe"), "\\u{9b}2J \\u{202e}gpj.exe");
        assert_eq!(escape("Grüße, 東京 🔑"), "Grüße, 東京 🔑");
    }

    #[test]
    fn json_stays_the_same_value_with_nothing_harmful_in_it() {
        let value = "a\u{1b}\u{9b}\u{7f}\u{202e}é";
        let text = json(&value, serde_json::to_string).unwrap();
        assert!(text.chars().all(|c| !harmful(c)), "{text:?}");
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), value);
    }

    #[test]
    fn a_plaintext_is_printed_byte_for_byte() {
        let secret = Secret::new(*b"\x00sk\x1b\xff");
        let (pipe, terminal) = (Page::default(), Page::default());
        pipe.output(Format::Table, false).secret(&secret).unwrap();
        terminal.output(Format::Table, true).secret(&secret).unwrap();
        assert_eq!(pipe.bytes(), b"\x00sk\x1b\xff");
        assert_eq!(terminal.bytes(), b"\x00sk\x1b\xff\n");
    }

    #[test]
    fn pages_make_one_array() {
        let page = Page::default();
        let mut out = page.output(Format::Json, false);
        let mut array = Array::default();
        array.page(&mut out, &["a", "b"]).unwrap();
        array.page(&mut out, &["c"]).unwrap();
        array.end(&mut out).unwrap();
        assert_eq!(serde_json::from_slice::<Vec<String>>(&page.bytes()).unwrap(), ["a", "b", "c"]);

        let empty = Page::default();
        Array::default().end(&mut empty.output(Format::Json, false)).unwrap();
        assert_eq!(empty.bytes(), b"[]\n");
    }

    #[test]
    fn a_token_is_a_line_for_the_shell() {
        let line = |token: &str| export("STRONGROOM_TOKEN", Some(&token.to_owned().into()));
        assert_eq!(line("sr_0199-aZ.9"), "export STRONGROOM_TOKEN=sr_0199-aZ.9\n");
        assert_eq!(line("x; rm -rf ~ '$(id)'"), "export STRONGROOM_TOKEN='x; rm -rf ~ '\\''$(id)'\\'''\n");
    }
}
