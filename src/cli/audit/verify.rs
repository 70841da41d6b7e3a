//! Proves the audit log: at the server, or in a file without one.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::cli::Context;
use crate::cli::error::{Exit, Failure};
use crate::cli::output::{escape, progress};
use crate::crypto::ledger::export::{Findings, Verification};
use crate::crypto::ledger::note::{self, Verifier};
use crate::pb::v1::{AuditChain, VerifyAuditRequest, VerifyAuditResponse};

/// Every record is hashed anew: minutes, for millions of them.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Recompute the audit log's chain, compare it with its checkpoints, and name what is wrong.
///
/// Without a file, the server looks at its own log. With one, which `strongroom audit export` wrote, no server is asked:
/// the public key alone proves it. Checkpoints that were kept elsewhere show a tail that was cut, an older database that was
/// put back, and a log that went on in two ways.
#[derive(Args)]
#[command(after_help = "Examples:\n  strongroom audit verify\n  strongroom audit verify acme.jsonl --key audit.pub")]
pub struct Verify {
    /// An export.
    #[arg(requires = "key")]
    file: Option<PathBuf>,

    /// The public key, as `strongroom audit key` prints it, or a file with such keys, one a line.
    #[arg(long, value_name = "KEY", requires = "file")]
    key: Vec<String>,

    /// A file of checkpoints that was kept elsewhere.
    #[arg(long, value_name = "FILE", requires = "file")]
    checkpoint: Vec<PathBuf>,
}

impl Verify {
    pub async fn run(self, context: &mut Context) -> Result<(), Failure> {
        match &self.file {
            Some(file) => self.offline(file, context),
            None => online(context).await,
        }
    }

    fn offline(&self, path: &Path, context: &mut Context) -> Result<(), Failure> {
        let mut keys = Vec::new();
        for key in &self.key {
            read_keys(key, &mut keys)?;
        }
        let mut witnesses = Vec::new();
        for path in &self.checkpoint {
            let text = std::fs::read_to_string(path).map_err(|cause| unreadable(path, &cause))?;
            let (notes, whole) = note::read(&text);
            if text[whole..].contains(note::DASH) {
                return Err(Failure::usage(format!("{} holds something that is no checkpoint", path.display())));
            }
            witnesses.extend(notes);
        }
        let mut verification = Verification::new(keys, witnesses);
        let refused = |wrong: &dyn std::fmt::Display| {
            Failure::new(Exit::Corrupt, escape(&format!("{} is no export that can be proven: {wrong}", path.display())))
        };
        let file = BufReader::new(File::open(path).map_err(|cause| unreadable(path, &cause))?);
        for line in file.lines() {
            verification.line(&line.map_err(|cause| unreadable(path, &cause))?).map_err(|wrong| refused(&wrong))?;
        }
        let shown = Shown::of(verification.finish().map_err(|wrong| refused(&wrong))?);
        context.out.show(&shown, said)?;
        if shown.faults.is_empty() {
            return Ok(());
        }
        Err(Failure::new(Exit::Corrupt, "the export is not what was written and signed")
            .hint("keep it as it is; compare it with another export, and with checkpoints that were kept elsewhere"))
    }
}

async fn online(context: &mut Context) -> Result<(), Failure> {
    let mut client = context.server.admin_within(TIMEOUT).await?;
    progress("recomputing the audit log …");
    let reply = client.verify_audit(VerifyAuditRequest {}).await?.into_inner();
    context.out.show(&reply, verdict)?;
    if !reply.intact {
        return Err(Failure::new(Exit::Corrupt, "the audit log was tampered with or is damaged")
            .hint("keep the database as it is, and compare it with a backup: records before the named one are whole"));
    }
    Ok(())
}

/// A key as it is, or a file's lines.
pub fn read_keys(text: &str, keys: &mut Vec<Verifier>) -> Result<(), Failure> {
    if let Ok(key) = text.parse() {
        keys.push(key);
        return Ok(());
    }
    let file = std::fs::read_to_string(text)
        .map_err(|cause| Failure::usage(format!("--key: neither a key nor a file that can be read: {cause}")))?;
    for line in file.lines().filter(|line| !line.trim().is_empty()) {
        keys.push(line.trim().parse().map_err(|why| Failure::usage(format!("--key {text}: a line {why}")))?);
    }
    Ok(())
}

fn unreadable(path: &Path, cause: &std::io::Error) -> Failure {
    Failure::usage(format!("cannot read {}: {cause}", path.display()))
}

/// What was found in a file, as it is printed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    intact: bool,
    instance: String,
    part: bool,
    records: u64,
    pruned: u64,
    checkpoints: u64,
    covered: u64,
    not_compared: u64,
    faults: Vec<ShownFault>,
}

#[derive(Serialize)]
struct ShownFault {
    record: u64,
    fault: &'static str,
}

impl Shown {
    fn of(found: Findings) -> Self {
        let fault =
            |(record, fault): (u64, crate::crypto::ledger::walk::Fault)| ShownFault { record, fault: fault.as_str() };
        Self {
            intact: found.faults.is_empty(),
            instance: found.instance,
            part: found.part,
            records: found.records,
            pruned: found.pruned,
            checkpoints: found.checkpoints,
            covered: found.covered,
            not_compared: found.apart,
            faults: found.faults.into_iter().map(fault).collect(),
        }
    }
}

fn said(it: &Shown) -> String {
    let broken = |fault: &ShownFault| broken(fault.record, &it.instance, fault.fault) + "\n";
    if !it.intact {
        return it.faults.iter().map(broken).collect();
    }
    let entries = if it.records == 1 { "entry" } else { "entries" };
    let what = if it.part { "proven to be in the log" } else { "chain intact" };
    let mut text = format!("{} {entries}, {what}, signed up to record {}\n", it.records, it.covered);
    if it.pruned > 0 {
        text += &format!("the first {} were pruned before\n", it.pruned);
    }
    if it.not_compared > 0 {
        text += &format!("{} checkpoints could not be compared: the export does not tell of them\n", it.not_compared);
    }
    text
}

fn broken(record: u64, instance: &str, fault: &str) -> String {
    escape(&format!("record {record} of instance {instance} is broken: {fault}"))
}

fn verdict(it: &VerifyAuditResponse) -> String {
    let is_broken = |chain: &&AuditChain| chain.broken_at > 0 || !chain.fault.is_empty();
    let said = |chain: &AuditChain| broken(chain.broken_at, &chain.instance, &chain.fault) + "\n";
    let broken: String = it.chains.iter().filter(is_broken).map(said).collect();
    if !broken.is_empty() || !it.intact {
        return broken;
    }
    let entries = if it.records == 1 { "entry" } else { "entries" };
    let mut text = match it.chains.len() {
        0 | 1 => format!("{} {entries}, chain intact", it.records),
        chains => format!("{} {entries}, {chains} chains intact", it.records),
    };
    let covered = it.chains.iter().map(|chain| chain.covered).max().unwrap_or_default();
    if covered > 0 {
        text += &format!(", signed up to record {covered}");
    }
    let pruned: u64 = it.chains.iter().map(|chain| chain.pruned).sum();
    if pruned > 0 {
        text += &format!(", {pruned} pruned before");
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts() {
        let chain = |broken_at, fault: &str| AuditChain {
            instance: "i".into(),
            broken_at,
            fault: fault.into(),
            ..Default::default()
        };
        let whole = VerifyAuditResponse { intact: true, records: 4, chains: vec![chain(0, "")] };
        assert_eq!(verdict(&whole), "4 entries, chain intact\n");
        let one = VerifyAuditResponse { records: 1, ..whole.clone() };
        assert_eq!(verdict(&one), "1 entry, chain intact\n");
        let two = VerifyAuditResponse { chains: vec![chain(0, ""), chain(0, "")], ..whole };
        assert_eq!(verdict(&two), "4 entries, 2 chains intact\n");
        let broken = VerifyAuditResponse { intact: false, records: 4, chains: vec![chain(0, ""), chain(3, "edited")] };
        assert_eq!(verdict(&broken), "record 3 of instance i is broken: edited\n");
        let signed = AuditChain { covered: 7, pruned: 3, ..chain(0, "") };
        let signed = VerifyAuditResponse { intact: true, records: 4, chains: vec![signed] };
        assert_eq!(verdict(&signed), "4 entries, chain intact, signed up to record 7, 3 pruned before\n");
    }
}
