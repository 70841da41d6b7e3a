//! Goes through one instance's records in the order of the log, and says what cannot be what was written.
//!
//! The chain finds whoever edits, moves, adds or takes away a record without computing every later hash anew. Checkpoints
//! find whoever does compute them anew, cuts the tail, puts an older database back, or lets the log go on in two ways.

use std::collections::BTreeMap;

use super::merkle::{self, Frontier};
use super::note::Checkpoint;
use super::{Hash, chain};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The text is not what its hash covers.
    Edited,
    /// It is not there, and neither it nor what stands in its place comes later.
    Missing,
    /// There is a second one with its number.
    Inserted,
    /// It comes later than it should.
    Reordered,
    /// It cannot be read.
    Unreadable,
    /// From here up to the next checkpoint the records are not those that were signed, though their chain is whole.
    Rewritten,
    /// A checkpoint tells of it and of what follows, and the log ends before: cut off, or an older database put back.
    Cut,
    /// Two checkpoints of this size differ: the log went on in two ways.
    Forked,
    /// No checkpoint proves it.
    Unproven,
    /// The checkpoint of this size is not signed by the audit key.
    Unsigned,
}

impl Fault {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Edited => "edited",
            Self::Missing => "missing",
            Self::Inserted => "inserted",
            Self::Reordered => "reordered",
            Self::Unreadable => "unreadable",
            Self::Rewritten => "rewritten",
            Self::Cut => "cut",
            Self::Forked => "forked",
            Self::Unproven => "unproven",
            Self::Unsigned => "unsigned",
        }
    }
}

/// What a log begins with where its first records were pruned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Boundary {
    /// The last of them in the chain.
    pub head: Hash,
    /// The tree of them all.
    pub frontier: Frontier,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How many records were pruned before the first one.
    pub pruned: u64,
    /// How many were looked at and are whole.
    pub records: u64,
    /// The hash of the last of them in the chain.
    pub head: Hash,
    /// How many checkpoints they were compared with, and how many records the last of those covers.
    pub checkpoints: u64,
    pub covered: u64,
    /// The first record that is wrong, by its number in the chain.
    pub broken: Option<(u64, Fault)>,
}

#[derive(Clone, Debug, Default)]
pub struct Walk {
    pruned: u64,
    head: Hash,
    frontier: Frontier,
    expected: BTreeMap<u64, (Hash, Hash)>,
    checkpoints: u64,
    covered: u64,
    broken: Option<(u64, Fault)>,
}

impl Walk {
    pub fn new(boundary: Boundary) -> Self {
        let Boundary { head, frontier } = boundary;
        Self { pruned: frontier.size(), head, frontier, ..Self::default() }
    }

    /// A checkpoint that its signature has proven. It comes before the record that it ends with. Those from before the
    /// boundary can only be compared with each other.
    pub fn expect(&mut self, checkpoint: &Checkpoint) {
        let said = (checkpoint.root, checkpoint.head);
        match self.expected.insert(checkpoint.size, said) {
            Some(other) if other != said => self.breaks_at(checkpoint.size, Fault::Forked),
            _ if checkpoint.size == self.frontier.size() => self.compare(),
            _ => (),
        }
    }

    /// The next record of the log: what its text says is its number, the text, and the stored hash.
    pub fn step(&mut self, sequence: u64, canonical: &str, hash: &Hash) {
        let expected = self.frontier.size() + 1;
        if let Some((broken, fault)) = &mut self.broken {
            // What was missed has come after all.
            if (*broken, *fault, sequence) == (expected, Fault::Missing, expected) {
                *fault = Fault::Reordered;
            }
            return;
        }
        if sequence > expected {
            return self.breaks_at(expected, Fault::Missing);
        }
        if sequence < expected {
            return self.breaks_at(sequence, Fault::Inserted);
        }
        if chain::link(&self.head, canonical) != *hash {
            return self.breaks_at(expected, Fault::Edited);
        }
        self.head = *hash;
        self.frontier.push(merkle::leaf(canonical));
        self.compare();
    }

    /// The next record is there and cannot be read.
    pub fn unreadable(&mut self) {
        self.breaks_at(self.frontier.size() + 1, Fault::Unreadable);
    }

    /// The checkpoint of this size does not bear the audit key's signature.
    pub fn unsigned(&mut self, size: u64) {
        self.breaks_at(size, Fault::Unsigned);
    }

    /// How many records there are up to the last one that is whole.
    pub const fn size(&self) -> u64 {
        self.frontier.size()
    }

    pub fn report(mut self) -> Report {
        let records = self.frontier.size();
        if self.expected.last_key_value().is_some_and(|(size, _)| *size > records) {
            self.breaks_at(records + 1, Fault::Cut);
        }
        let Self { pruned, head, checkpoints, covered, broken, .. } = self;
        Report { pruned, records: records - pruned, head, checkpoints, covered, broken }
    }

    fn compare(&mut self) {
        let size = self.frontier.size();
        match self.expected.get(&size) {
            Some(said) if *said == (self.frontier.root(), self.head) => {
                self.checkpoints += 1;
                self.covered = size;
            }
            Some(_) => self.breaks_at(self.covered + 1, Fault::Rewritten),
            None => (),
        }
    }

    fn breaks_at(&mut self, sequence: u64, fault: Fault) {
        self.broken = self.broken.or(Some((sequence, fault)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log as it was written: texts and hashes.
    fn log(count: u64, what: &str) -> Vec<(u64, String, Hash)> {
        let mut head = [0; 32];
        (1..=count)
            .map(|sequence| {
                let text = format!("{{\"instance\":\"i\",\"sequence\":{sequence},\"what\":\"{what}\"}}");
                head = chain::link(&head, &text);
                (sequence, text, head)
            })
            .collect()
    }

    fn checkpoint(log: &[(u64, String, Hash)], size: usize) -> Checkpoint {
        let mut frontier = Frontier::default();
        log[..size].iter().for_each(|(_, text, _)| frontier.push(merkle::leaf(text)));
        let head = size.checked_sub(1).map_or([0; 32], |last| log[last].2);
        Checkpoint { instance: "i".into(), size: size as u64, root: frontier.root(), head, time: String::new() }
    }

    fn walked(log: &[(u64, String, Hash)], checkpoints: &[Checkpoint]) -> Report {
        walked_from(Boundary::default(), log, checkpoints)
    }

    fn walked_from(boundary: Boundary, log: &[(u64, String, Hash)], checkpoints: &[Checkpoint]) -> Report {
        let mut walk = Walk::new(boundary);
        checkpoints.iter().for_each(|checkpoint| walk.expect(checkpoint));
        log.iter().for_each(|(sequence, text, hash)| walk.step(*sequence, text, hash));
        walk.report()
    }

    #[test]
    fn a_whole_log() {
        let log = log(9, "a");
        let report = walked(&log, &[checkpoint(&log, 4), checkpoint(&log, 9)]);
        let expected = Report { pruned: 0, records: 9, head: log[8].2, checkpoints: 2, covered: 9, broken: None };
        assert_eq!(report, expected);
        assert_eq!(walked(&[], &[]).broken, None);
    }

    #[test]
    fn the_chain_names_who_did_not_compute_it_anew() {
        let whole = log(9, "a");
        let broken = |change: &dyn Fn(&mut Vec<(u64, String, Hash)>)| {
            let mut log = whole.clone();
            change(&mut log);
            walked(&log, &[]).broken
        };
        assert_eq!(broken(&|log| log[3].1 = log[3].1.replace("\"a\"", "\"b\"")), Some((4, Fault::Edited)));
        assert_eq!(broken(&|log| log[3].2[0] ^= 1), Some((4, Fault::Edited)));
        assert_eq!(broken(&|log| drop(log.remove(3))), Some((4, Fault::Missing)));
        assert_eq!(broken(&|log| drop(log.remove(0))), Some((1, Fault::Missing)));
        assert_eq!(broken(&|log| log.swap(3, 5)), Some((4, Fault::Reordered)));
        assert_eq!(broken(&|log| log.insert(5, log[2].clone())), Some((3, Fault::Inserted)));
        // Of the tail the chain alone knows nothing.
        assert_eq!(broken(&|log| log.truncate(5)), None);
    }

    #[test]
    fn checkpoints_name_who_did() {
        let (whole, other) = (log(9, "a"), log(9, "b"));
        let signed = [checkpoint(&whole, 4), checkpoint(&whole, 7)];
        assert_eq!(walked(&whole[..5], &signed).broken, Some((6, Fault::Cut)));
        assert_eq!(walked(&[], &signed).broken, Some((1, Fault::Cut)));
        assert_eq!(walked(&other, &signed).broken, Some((1, Fault::Rewritten)));
        // From the fifth on.
        let mut rewritten = whole[..4].to_vec();
        let mut head = rewritten[3].2;
        for (sequence, text, _) in &other[4..] {
            head = chain::link(&head, text);
            rewritten.push((*sequence, text.clone(), head));
        }
        let report = walked(&rewritten, &signed);
        assert_eq!((report.broken, report.covered), (Some((5, Fault::Rewritten)), 4));
        let forked = [checkpoint(&whole, 7), checkpoint(&rewritten, 7)];
        assert_eq!(walked(&whole, &forked).broken, Some((7, Fault::Forked)));
    }

    #[test]
    fn what_was_pruned_is_begun_after() {
        let whole = log(9, "a");
        let mut frontier = Frontier::default();
        whole[..4].iter().for_each(|(_, text, _)| frontier.push(merkle::leaf(text)));
        let boundary = Boundary { head: whole[3].2, frontier };
        let signed = [checkpoint(&whole, 4), checkpoint(&whole, 9)];
        let report = walked_from(boundary.clone(), &whole[4..], &signed);
        assert_eq!((report.pruned, report.records, report.checkpoints), (4, 5, 2));
        assert_eq!(report.broken, None);
        let forged = Boundary { head: [1; 32], ..boundary };
        assert_eq!(walked_from(forged, &whole[4..], &signed).broken, Some((1, Fault::Rewritten)));
    }
}
