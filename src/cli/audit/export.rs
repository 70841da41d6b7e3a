//! Takes the audit log, or a part of it, out of the daemon with what proves it.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;

use clap::Args;

use super::Filters;
use crate::cli::Context;
use crate::cli::error::{Exit, Failure};
use crate::cli::output::{progress, say};
use crate::crypto::ledger::note;
use crate::pb::v1::{ExportAuditRequest, ExportAuditResponse};

/// So many of the newest checkpoints of a file are asked about.
const KNOWN: usize = 16;

/// Write the audit log into a file that proves itself, or some of its records, each with its proof.
///
/// `strongroom audit verify FILE --key KEY` looks into it without a server.
#[derive(Args)]
#[command(after_help = "Example:\n  strongroom audit export --org acme --out acme.jsonl")]
pub struct Export {
    #[command(flatten)]
    filters: Filters,

    /// The file to write; it must not be there yet.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// A file of checkpoints: a part of the log then proves that it continues the newest of them.
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
}

impl Export {
    pub async fn run(self, context: &mut Context) -> Result<(), Failure> {
        let known_sizes = self.checkpoint.as_ref().map(sizes).transpose()?.unwrap_or_default();
        let request = ExportAuditRequest { filter: Some(self.filters.request()), known_sizes };
        let mut pieces = context.server.admin_without_end().await?.export_audit(request).await?.into_inner();
        let unwritten = |cause| Failure::usage(format!("cannot write {}: {cause}", self.out.display()));
        let mut file = BufWriter::new(File::create_new(&self.out).map_err(unwritten)?);
        progress("exporting the audit log …");
        let mut ended = false;
        while let Some(ExportAuditResponse { lines }) = pieces.message().await? {
            for line in lines {
                ended = line.starts_with("{\"type\":\"end\"");
                writeln!(file, "{line}").map_err(unwritten)?;
            }
        }
        file.into_inner().map_err(|error| unwritten(error.into_error()))?.sync_all().map_err(unwritten)?;
        if !ended {
            let message = format!("the server ended the export early: {} is not whole", self.out.display());
            return Err(Failure::new(Exit::Unavailable, message).hint("remove it, and try again"));
        }
        say(format!("next: strongroom audit verify {} --key audit.pub", self.out.display()));
        Ok(())
    }
}

fn sizes(path: &PathBuf) -> Result<Vec<u64>, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|cause| Failure::usage(format!("cannot read {}: {cause}", path.display())))?;
    let (notes, _) = note::read(&text);
    Ok(notes.iter().rev().filter_map(|note| Some(note.claims()?.size)).take(KNOWN).collect())
}
