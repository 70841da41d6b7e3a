//! A log, exported whole and in part, and what becomes of it in other hands.

use super::super::merkle::{Leaves, Prover};
use super::super::note::Signer;
use super::super::{chain, merkle};
use super::*;

const INSTANCE: &str = "0198";

struct Log {
    records: Vec<(String, Hash)>,
    signer: Signer,
}

impl Log {
    fn new(count: u64, what: &str) -> Self {
        let mut log = Self { records: Vec::new(), signer: Signer::new(INSTANCE, &[1; 32]).unwrap() };
        log.grow(count, what);
        log
    }

    fn grow(&mut self, count: u64, what: &str) {
        for _ in 0..count {
            let (sequence, before) = (self.records.len() + 1, self.records.last().map_or([0; 32], |(_, hash)| *hash));
            let text = format!("{{\"instance\":\"{INSTANCE}\",\"sequence\":{sequence},\"what\":\"{what}\"}}");
            self.records.push((text.clone(), chain::link(&before, &text)));
        }
    }

    fn tree(&self, size: u64) -> Frontier {
        let mut tree = Frontier::default();
        self.records[..usize::try_from(size).unwrap()].iter().for_each(|(text, _)| tree.push(merkle::leaf(text)));
        tree
    }

    fn head(&self, size: u64) -> Hash {
        size.checked_sub(1).map_or([0; 32], |last| self.records[usize::try_from(last).unwrap()].1)
    }

    fn note(&self, size: u64) -> Note {
        let (root, head) = (self.tree(size).root(), self.head(size));
        self.signer.sign(&Checkpoint { instance: INSTANCE.into(), size, root, head, time: "then".into() })
    }

    fn size(&self) -> u64 {
        self.records.len() as u64
    }

    fn header(&self, pruned: u64, part: bool) -> Line {
        Line::Header(Header {
            format: FORMAT,
            instance: INSTANCE.into(),
            size: self.size(),
            part,
            pruned,
            head: Text(self.head(pruned)),
            frontier: Line::texts(self.tree(pruned).roots()),
        })
    }

    /// All after the first `pruned`, with checkpoints of these sizes.
    fn whole(&self, pruned: u64, checkpoints: &[u64]) -> Vec<Line> {
        let mut lines = vec![self.header(pruned, false)];
        lines.extend(checkpoints.iter().map(|size| Line::Checkpoint { note: self.note(*size).to_string() }));
        let left = &self.records[usize::try_from(pruned).unwrap()..];
        let record =
            |(text, hash): &(String, Hash)| Line::Record { canonical: text.clone(), hash: Text(*hash), proof: None };
        lines.extend(left.iter().map(record));
        lines.push(Line::End { records: left.len() as u64 });
        lines
    }

    /// These records, with their proofs, and that the log begins with the checkpoints of these sizes.
    fn part(&self, sequences: &[u64], known: &[u64]) -> Vec<Line> {
        let mut prover = Prover::new(Frontier::default());
        let hashes: Vec<Hash> = self.records.iter().map(|(text, _)| merkle::leaf(text)).collect();
        hashes.iter().for_each(|leaf| prover.push(*leaf));
        let leaves = Leaves { first: 0, hashes };
        let mut lines = vec![self.header(0, true), Line::Checkpoint { note: self.note(self.size()).to_string() }];
        for size in known {
            let proof = Line::texts(&prover.consistency(*size, &leaves).unwrap());
            lines.push(Line::Consistency { size: *size, proof });
        }
        for sequence in sequences {
            let (text, hash) = &self.records[usize::try_from(*sequence).unwrap() - 1];
            let proof = Some(Line::texts(&prover.inclusion(sequence - 1, &leaves).unwrap()));
            lines.push(Line::Record { canonical: text.clone(), hash: Text(*hash), proof });
        }
        lines.push(Line::End { records: sequences.len() as u64 });
        lines
    }

    fn look(&self, lines: &[Line], witnesses: &[Note]) -> Findings {
        let mut verification = Verification::new(vec![self.signer.verifier().clone()], witnesses.to_vec());
        lines.iter().for_each(|line| verification.line(&serde_json::to_string(line).unwrap()).unwrap());
        verification.finish().unwrap()
    }
}

fn edited(mut lines: Vec<Line>, at: usize) -> Vec<Line> {
    let Line::Record { canonical, .. } = &mut lines[at] else { panic!("no record") };
    *canonical = canonical.replace("\"a\"", "\"b\"");
    lines
}

#[test]
fn a_whole_log_proves_itself() {
    let log = Log::new(20, "a");
    let found = log.look(&log.whole(0, &[7, 20]), &[log.note(12)]);
    assert_eq!((found.records, found.checkpoints, found.covered, found.faults), (20, 3, 20, vec![]));
    let found = log.look(&log.whole(7, &[7, 20]), &[log.note(7), log.note(3)]);
    assert_eq!((found.pruned, found.records, found.apart, found.faults), (7, 13, 1, vec![]));
}

#[test]
fn what_was_done_to_a_whole_log_is_named() {
    let log = Log::new(20, "a");
    let whole = log.whole(0, &[7, 20]);
    let faults = |lines: &[Line], witnesses: &[Note]| log.look(lines, witnesses).faults;
    let first = 3;
    assert_eq!(faults(&edited(whole.clone(), first + 4), &[]), [(5, Fault::Edited)]);
    let mut swapped = whole.clone();
    swapped.swap(first + 4, first + 8);
    assert_eq!(faults(&swapped, &[]), [(5, Fault::Reordered)]);
    let mut gap = whole.clone();
    gap.remove(first + 4);
    assert_eq!(faults(&gap, &[]), [(5, Fault::Missing)]);
    let mut twice = whole.clone();
    twice.insert(first + 9, whole[first + 4].clone());
    assert_eq!(faults(&twice, &[]), [(5, Fault::Inserted)]);
    // The tail, with the file's end made to fit.
    let mut cut = whole[..whole.len() - 4].to_vec();
    cut.push(Line::End { records: 17 });
    assert_eq!(faults(&cut, &[]), [(18, Fault::Cut)]);
    // And the file's end missing.
    assert_eq!(faults(&whole[..whole.len() - 1], &[]), [(21, Fault::Cut)]);
    // Without the last checkpoint, nothing stands for the last records.
    assert_eq!(faults(&log.whole(0, &[7]), &[]), [(8, Fault::Unproven)]);
}

#[test]
fn another_history_is_named_by_what_was_kept_elsewhere() {
    let mut log = Log::new(12, "a");
    let mut other = Log { records: log.records.clone(), signer: Signer::new(INSTANCE, &[1; 32]).unwrap() };
    log.grow(8, "a");
    other.grow(8, "b");
    let kept = log.note(20);
    assert_eq!(other.look(&other.whole(0, &[12, 20]), &[kept.clone()]).faults, [(20, Fault::Forked)]);
    assert_eq!(other.look(&other.part(&[3, 15], &[]), &[kept.clone()]).faults, [(20, Fault::Forked)]);
    other.grow(3, "b");
    assert_eq!(other.look(&other.whole(0, &[12, 23]), &[kept.clone()]).faults, [(13, Fault::Rewritten)]);
    assert_eq!(other.look(&other.part(&[3], &[20]), &[kept.clone()]).faults, [(20, Fault::Forked)]);
    // An older database, put back.
    let old = Log::new(12, "a");
    assert_eq!(old.look(&old.whole(0, &[12]), &[kept.clone()]).faults, [(13, Fault::Cut)]);
    assert_eq!(old.look(&old.part(&[3], &[]), &[kept]).faults, [(13, Fault::Cut)]);
}

#[test]
fn a_part_proves_each_of_its_records() {
    let log = Log::new(20, "a");
    let part = log.part(&[2, 9, 20], &[7]);
    let found = log.look(&part, &[log.note(7), log.note(11)]);
    assert_eq!((found.records, found.covered, found.checkpoints, found.apart), (3, 20, 2, 1));
    assert_eq!(found.faults, []);
    let faults = |lines: &[Line]| log.look(lines, &[]).faults;
    let first = 3;
    assert_eq!(faults(&edited(part.clone(), first + 1)), [(9, Fault::Unproven)]);
    let mut swapped = part.clone();
    swapped.swap(first, first + 1);
    assert_eq!(faults(&swapped), [(2, Fault::Reordered)]);
    let mut twice = part.clone();
    twice.insert(first + 1, part[first].clone());
    assert!(faults(&twice).contains(&(2, Fault::Inserted)));
    assert_eq!(faults(&part[..part.len() - 1]), [(21, Fault::Cut)]);
    let mut unsigned = part;
    unsigned.remove(1);
    assert!(faults(&unsigned).contains(&(20, Fault::Unsigned)));
}

#[test]
fn another_key_proves_nothing() {
    let mut log = Log::new(5, "a");
    let lines = log.whole(0, &[5]);
    log.signer = Signer::new(INSTANCE, &[2; 32]).unwrap();
    assert_eq!(log.look(&lines, &[]).faults, [(5, Fault::Unsigned)]);
    assert_eq!(log.look(&log.whole(0, &[5]), &[]).faults, []);
    let stranger = Signer::new(INSTANCE, &[3; 32]).unwrap();
    let forged = stranger.sign(&log.note(5).claims().unwrap());
    assert_eq!(log.look(&log.whole(0, &[5]), &[forged]).faults, [(5, Fault::Unsigned)]);
    let mut elsewhere = Verification::new(vec![Signer::new("0199", &[1; 32]).unwrap().verifier().clone()], vec![]);
    let refused = elsewhere.line(&serde_json::to_string(&lines[0]).unwrap());
    assert_eq!(refused, Err(Wrong::OtherInstance { instance: INSTANCE.into() }));
}

#[test]
fn what_is_no_export_is_refused_with_its_line() {
    let log = Log::new(5, "a");
    let texts: Vec<String> = log.whole(0, &[5]).iter().map(|line| serde_json::to_string(line).unwrap()).collect();
    let refused = |lines: &[&str]| {
        let mut verification = Verification::new(vec![log.signer.verifier().clone()], vec![]);
        let wrong = lines.iter().find_map(|line| verification.line(line).err());
        wrong.or_else(|| verification.finish().err()).map(|wrong| wrong.to_string())
    };
    for lines in [
        &["{}"] as &[&str],
        &["not json"],
        &[""],
        &[],
        &[&texts[1]],
        &[&texts[0], &texts[0]],
        &[&texts[0].replace("\"format\":1", "\"format\":2")],
        &[&texts[0].replace("\"pruned\":0", "\"pruned\":3")],
        &[&texts[0], &texts[7], "{\"type\":\"end\",\"records\":0}"],
        &[&texts[0], "{\"type\":\"end\",\"records\":0}", &texts[3]],
        &[&texts[0], "{\"type\":\"checkpoint\",\"note\":\"x\"}"],
    ] {
        let said = refused(lines).unwrap_or_else(|| panic!("{lines:?} was taken"));
        assert!(said.starts_with("line "), "{said}");
    }
}
