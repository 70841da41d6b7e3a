//! Takes everything out of a running daemon, in one file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Context;
use super::error::{Exit, Failure};
use super::output::{escape, progress, say};
use crate::crypto::backup::{Reader, Whole, Wrong};
use crate::pb::v1::{ExportVaultRequest, ExportVaultResponse};

/// So many lines go by between two words about them.
const SAID_EVERY: u64 = 10_000;

/// Write all that the server keeps into a file, while it serves: a backup, ciphertext only.
///
/// The file bears a signature of the audit key, and is looked through before it gets its name. `strongroom import` makes a
/// database of it; the keys that its data keys are wrapped under are not in it.
#[derive(Args)]
#[command(after_help = "Example:\n  strongroom export vault-2026-01-31.jsonl")]
pub(super) struct Export {
    /// The file to write; it must not be there yet. `-` is stdout.
    #[arg(value_name = "FILE|-")]
    file: PathBuf,
}

impl Export {
    pub async fn run(self, context: &mut Context) -> Result<(), Failure> {
        if self.file == Path::new("-") {
            let whole = receive(context, &mut io::stdout().lock(), "stdout").await?;
            return told(&whole, "-");
        }
        if self.file.symlink_metadata().is_ok() {
            return Err(Failure::usage(format!("{} is there already", self.file.display())));
        }
        let shown = self.file.display().to_string();
        let unwritten = |cause: io::Error| Failure::usage(format!("cannot write {shown}: {cause}"));
        let mut part = Part::begin(&self.file)?;
        let whole = receive(context, &mut part.file, &shown).await?;
        part.keep(&self.file).map_err(unwritten)?;
        told(&whole, &shown)
    }
}

async fn receive(context: &mut Context, out: &mut impl Write, shown: &str) -> Result<Whole, Failure> {
    let unwritten = |cause| Failure::usage(format!("cannot write {shown}: {cause}"));
    let refused = |wrong: Wrong| {
        let message = escape(&format!("what the server sent is not whole: {wrong}"));
        Failure::new(Exit::Unavailable, message).hint("try again; the server's log tells why it ended early")
    };
    let request = ExportVaultRequest {};
    let mut chunks = context.server.admin_without_end().await?.export_vault(request).await?.into_inner();
    let mut reader = Reader::default();
    while let Some(ExportVaultResponse { chunk }) = chunks.message().await? {
        let tell = |line: u64, _| {
            if line.is_multiple_of(SAID_EVERY) {
                progress(&format!("{line} rows …"));
            }
            Ok(())
        };
        reader.take::<Wrong>(&chunk, tell).map_err(refused)?;
        out.write_all(&chunk).map_err(unwritten)?;
    }
    out.flush().map_err(unwritten)?;
    reader.finish().map_err(refused)
}

fn told(whole: &Whole, shown: &str) -> Result<(), Failure> {
    let rows: u64 = whole.rows.values().sum();
    let count = |table: &str| whole.rows.get(table).copied().unwrap_or_default();
    let (credentials, records) = (count("credentials"), count("audit_log"));
    say(escape(&format!(
        "{rows} rows, {credentials} of them credentials and {records} audit records, signed by {}",
        whole.key
    )));
    if shown != "-" {
        say(escape(&format!("next: strongroom import {shown} --dry-run --config strongroom.toml")));
    }
    Ok(())
}

/// The file on its way, beside the one that it is to be. Goes when it does not become that.
struct Part {
    path: PathBuf,
    file: File,
    kept: bool,
}

impl Part {
    fn begin(file: &Path) -> Result<Self, Failure> {
        let mut path = file.as_os_str().to_owned();
        path.push(".part");
        let path = PathBuf::from(path);
        let open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        match open {
            Ok(file) => Ok(Self { path, file, kept: false }),
            Err(cause) => {
                let failure = Failure::usage(format!("cannot write {}: {cause}", path.display()));
                Err(match cause.kind() {
                    io::ErrorKind::AlreadyExists => failure.hint("what another export has left there: remove it"),
                    _ => failure,
                })
            }
        }
    }

    fn keep(mut self, as_file: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        if as_file.symlink_metadata().is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        std::fs::rename(&self.path, as_file)?;
        self.kept = true;
        let folder = as_file.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or_else(|| Path::new(".")))?.sync_all()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.kept {
            _ = std::fs::remove_file(&self.path);
        }
    }
}
