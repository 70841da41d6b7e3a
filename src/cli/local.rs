//! What needs no server.

use clap::Args;
use serde::Serialize;

use super::Context;
use super::error::Failure;
use super::output::say;
use crate::crypto::fingerprint;

/// Compute a secret's fingerprint from stdin, without a server.
///
/// It is the first 8 hex digits of SHA-256 of exactly what comes in: what `printf %s "$KEY" | sha256sum` shows. For a
/// provider with several fields, pipe in what `strongroom decrypt` prints. A fingerprint that begins with `k:` is keyed
/// and only the server can compute it.
#[derive(Args)]
#[command(after_help = "Example:\n  printf %s \"$OPENAI_API_KEY\" | strongroom fingerprint")]
pub(super) struct Fingerprint;

impl Fingerprint {
    pub fn run(self, context: &mut Context) -> Result<(), Failure> {
        let secret = context.inputs.secret("secret")?;
        if secret.expose().ends_with(b"\n") {
            say("note: the input ends with a newline, which counts; `printf %s` leaves it out");
        }
        let result = Fingerprinted { fingerprint: fingerprint::plain(&secret) };
        context.out.show(&result, |result| format!("{}\n", result.fingerprint))
    }
}

/// Print a completion script for a shell.
#[derive(Args)]
#[command(
    after_help = "Example:\n  strongroom completions bash > ~/.local/share/bash-completion/completions/strongroom"
)]
pub(super) struct Completions {
    shell: clap_complete::Shell,
}

impl Completions {
    pub fn run(self, context: &mut Context) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::command(), "strongroom", &mut script);
        context.out.write(&script)
    }
}

#[derive(Serialize)]
struct Fingerprinted {
    fingerprint: String,
}

#[cfg(test)]
mod tests {
    use super::super::client::Connection;
    use super::super::input::tests::piped;
    use super::super::output::Format;
    use super::super::output::tests::Page;
    use super::*;

    fn context(stdin: &'static [u8], format: Format, page: &Page) -> Context {
        Context { server: Connection::to(""), inputs: piped(stdin), out: page.output(format, false) }
    }

    #[test]
    fn the_fingerprint_is_what_sha256sum_shows() {
        // printf %s abc | sha256sum
        let (text, json) = (Page::default(), Page::default());
        Fingerprint.run(&mut context(b"abc", Format::Table, &text)).unwrap();
        Fingerprint.run(&mut context(b"abc", Format::Json, &json)).unwrap();
        assert_eq!(text.bytes(), b"ba7816bf\n");
        assert_eq!(json.bytes(), b"{\n  \"fingerprint\": \"ba7816bf\"\n}\n");
    }

    #[test]
    fn every_shell_gets_a_script() {
        for shell in clap::ValueEnum::value_variants() {
            let page = Page::default();
            Completions { shell: *shell }.run(&mut context(b"", Format::Table, &page)).unwrap();
            assert!(page.bytes().len() > 1000, "{shell}");
        }
    }
}
