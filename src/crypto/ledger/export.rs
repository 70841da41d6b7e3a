//! The file that a part of the log leaves in: a JSON object a line. Whoever has the public key can prove it.
//!
//! ```text
//!   header        whose log, how many records its newest checkpoint stands for, what was pruned before the first
//!   checkpoint    a signed note; of a part of the log only the newest, which proves all records
//!   consistency   the proof that the tree of an older checkpoint, known to whoever asked, is the beginning of this one
//!   record        the text and its hash in the chain; of a part of the log, with the proof that the tree has it
//!   end           how many records: a file without it was cut
//! ```
//!
//! The whole log, or all that is left of it, proves itself by its chain and its tree. A part proves that each of its
//! records is in the log, unaltered; that it holds all that were asked for, it cannot prove.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::Hash;
use super::chain::Place;
use super::merkle::{self, Frontier};
use super::note::{Checkpoint, Note, Refused, Verifier};
use super::walk::{Boundary, Fault, Walk};

pub const FORMAT: u32 = 1;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Line {
    Header(Header),
    Checkpoint {
        note: String,
    },
    Consistency {
        size: u64,
        proof: Vec<Text>,
    },
    Record {
        canonical: String,
        hash: Text,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        proof: Option<Vec<Text>>,
    },
    End {
        records: u64,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    pub format: u32,
    pub instance: String,
    /// How many records the newest checkpoint stands for.
    pub size: u64,
    /// Only some of the records.
    pub part: bool,
    /// How many were pruned, the last of them in the chain, and the tree of them all.
    pub pruned: u64,
    pub head: Text,
    pub frontier: Vec<Text>,
}

/// A hash as text: base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text(pub Hash);

impl Serialize for Text {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let hash = STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        hash.map(Self).ok_or_else(|| serde::de::Error::custom("must be 32 bytes in base64"))
    }
}

impl Line {
    pub fn texts(proof: &[Hash]) -> Vec<Text> {
        proof.iter().copied().map(Text).collect()
    }
}

/// What was found in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    pub instance: String,
    /// Only some of the records.
    pub part: bool,
    pub pruned: u64,
    /// How many records were proven.
    pub records: u64,
    /// How many checkpoints agree with them, those known from elsewhere too, and how many records the newest stands for.
    pub checkpoints: u64,
    pub covered: u64,
    /// Checkpoints known from elsewhere that nothing in the file can be compared with.
    pub apart: u64,
    /// What is wrong, by number in the chain.
    pub faults: Vec<(u64, Fault)>,
}

/// Why a file cannot be looked into.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    #[error("line {line} is not one of an audit export: {why}")]
    Line { line: u64, why: String },
    #[error("it is of instance {instance}, and the key is another's")]
    OtherInstance { instance: String },
}

/// Looks into a file, line by line.
pub struct Verification {
    keys: Vec<Verifier>,
    /// Checkpoints that are known from elsewhere.
    witnesses: Vec<Note>,
    line: u64,
    header: Option<Header>,
    walk: Walk,
    /// Of a part: the checkpoint that proves it.
    root: Option<Hash>,
    known: Vec<Checkpoint>,
    last: u64,
    count: u64,
    ended: bool,
    /// The end counts as many records as came.
    is_whole: bool,
    found: Findings,
}

impl Verification {
    pub fn new(keys: Vec<Verifier>, witnesses: Vec<Note>) -> Self {
        Self {
            keys,
            witnesses,
            line: 0,
            header: None,
            walk: Walk::default(),
            root: None,
            known: Vec::new(),
            last: 0,
            count: 0,
            ended: false,
            is_whole: false,
            found: Findings::default(),
        }
    }

    pub fn line(&mut self, text: &str) -> Result<(), Wrong> {
        self.line += 1;
        let line = serde_json::from_str(text).map_err(|error| self.wrong(&error.to_string()))?;
        if self.ended {
            return Err(self.wrong("the end was before"));
        }
        match (line, self.header.is_some()) {
            (Line::Header(header), false) => self.begin(header),
            (Line::Header(_), true) | (_, false) => Err(self.wrong("there is one header, and it comes first")),
            (Line::Checkpoint { note }, true) => self.checkpoint(&note),
            (Line::Consistency { size, proof }, true) => {
                self.consistency(size, &proof);
                Ok(())
            }
            (Line::Record { canonical, hash, proof }, true) => {
                self.record(&canonical, hash.0, proof);
                Ok(())
            }
            (Line::End { records }, true) => {
                (self.ended, self.is_whole) = (true, records == self.count);
                Ok(())
            }
        }
    }

    fn wrong(&self, why: &str) -> Wrong {
        Wrong::Line { line: self.line, why: why.to_owned() }
    }

    fn begin(&mut self, header: Header) -> Result<(), Wrong> {
        if header.format != FORMAT {
            return Err(self.wrong("another format than this program knows"));
        }
        if !self.keys.iter().any(|key| key.is_of(&header.instance)) {
            return Err(Wrong::OtherInstance { instance: header.instance });
        }
        let frontier: Vec<u8> = header.frontier.iter().flat_map(|root| root.0).collect();
        let frontier = Frontier::from_bytes(header.pruned, &frontier);
        let frontier = frontier.ok_or_else(|| self.wrong("the frontier is not that of what was pruned"))?;
        self.walk = Walk::new(Boundary { head: header.head.0, frontier });
        self.last = header.pruned;
        for note in std::mem::take(&mut self.witnesses) {
            let claimed = note.claims().filter(|claim| claim.instance == header.instance);
            let Some(claim) = claimed else { continue };
            match self.open(&note) {
                Ok(said) => self.known.push(said),
                Err(_) => self.found.faults.push((claim.size, Fault::Unsigned)),
            }
        }
        if !header.part {
            self.known.iter().for_each(|known| self.walk.signed(known));
        }
        (self.found.instance, self.found.part, self.found.pruned) =
            (header.instance.clone(), header.part, header.pruned);
        self.header = Some(header);
        Ok(())
    }

    fn open(&self, note: &Note) -> Result<Checkpoint, Refused> {
        note.open(&self.keys)
    }

    fn checkpoint(&mut self, text: &str) -> Result<(), Wrong> {
        let note: Note = text.parse().map_err(|_| self.wrong("the note is not a signed checkpoint"))?;
        let claimed = note.claims().map_or(0, |claim| claim.size);
        let Some(header) = &self.header else { return Ok(()) };
        match self.open(&note) {
            Err(_) => self.found.faults.push((claimed, Fault::Unsigned)),
            Ok(said) if said.instance != header.instance => self.found.faults.push((claimed, Fault::Unsigned)),
            Ok(said) if !header.part => self.walk.signed(&said),
            Ok(said) if said.size == header.size => {
                self.root = Some(said.root);
                self.found.checkpoints += 1;
                self.found.covered = said.size;
                self.compare(&said);
            }
            Ok(_) => return Err(self.wrong("a part of a log is proven by its newest checkpoint alone")),
        }
        Ok(())
    }

    /// What is known from elsewhere, and as long as this, says the same; and nothing tells of more.
    fn compare(&mut self, newest: &Checkpoint) {
        let size = newest.size;
        let faults = &mut self.found.faults;
        if self.known.iter().any(|known| known.size == size && (known.root, known.head) != (newest.root, newest.head)) {
            faults.push((size, Fault::Forked));
        }
        if self.known.iter().any(|known| known.size > size) {
            faults.push((size + 1, Fault::Cut));
        }
        let before = self.known.len();
        self.known.retain(|known| known.size < size);
        self.found.checkpoints += (before - self.known.len()) as u64;
    }

    fn consistency(&mut self, size: u64, proof: &[Text]) {
        let (Some(root), Some(header)) = (self.root, &self.header) else { return };
        let proof: Vec<Hash> = proof.iter().map(|text| text.0).collect();
        let (same, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.known).into_iter().partition(|known| known.size == size);
        self.known = others;
        for known in same {
            match merkle::extends((size, &known.root), (header.size, &root), &proof) {
                true => self.found.checkpoints += 1,
                false => self.found.faults.push((size, Fault::Forked)),
            }
        }
    }

    fn record(&mut self, canonical: &str, hash: Hash, proof: Option<Vec<Text>>) {
        self.count += 1;
        let Some(header) = &self.header else { return };
        let place = Place::of(canonical).filter(|place| place.instance == header.instance);
        if !header.part {
            return match place {
                Some(place) => self.walk.step(place.sequence, canonical, &hash),
                None => self.walk.unreadable(),
            };
        }
        let Some(Place { sequence, .. }) = place.filter(|place| place.sequence > 0) else {
            return self.found.faults.push((self.last + 1, Fault::Unreadable));
        };
        if sequence <= self.last {
            let fault = if sequence == self.last { Fault::Inserted } else { Fault::Reordered };
            return self.found.faults.push((sequence, fault));
        }
        self.last = sequence;
        let proof: Vec<Hash> = proof.unwrap_or_default().iter().map(|text| text.0).collect();
        let leaf = merkle::leaf(canonical);
        match self.root.is_some_and(|root| merkle::includes(sequence - 1, header.size, leaf, &proof, &root)) {
            true => self.found.records += 1,
            false => self.found.faults.push((sequence, Fault::Unproven)),
        }
    }

    /// After the last line.
    pub fn finish(self) -> Result<Findings, Wrong> {
        let Some(header) = self.header else {
            return Err(Wrong::Line { line: self.line + 1, why: "it has no header".to_owned() });
        };
        let mut found = self.found;
        if header.part {
            found.apart = self.known.len() as u64;
            if self.root.is_none() {
                found.faults.push((header.size, Fault::Unsigned));
            }
            if !self.is_whole {
                found.faults.push((self.last + 1, Fault::Cut));
            }
            return Ok(found);
        }
        let size = self.walk.size();
        let report = self.walk.report();
        (found.records, found.checkpoints, found.covered) = (report.records, report.checkpoints, report.covered);
        found.apart = self.known.iter().filter(|known| known.size < header.pruned).count() as u64;
        let cut = !self.is_whole || size < header.size;
        found.faults.extend(report.broken.or_else(|| cut.then_some((size + 1, Fault::Cut))));
        // What no signature stands for is not proven.
        if found.faults.is_empty() && found.covered < size {
            found.faults.push((found.covered + 1, Fault::Unproven));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests;
