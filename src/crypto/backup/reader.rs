//! Reads an export as it comes, and says what is wrong with it, and where. What a row's cells must be, the store knows.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{End, FORMAT, Header, KEYS, Line, signed};
use crate::crypto::ledger::Hash;
use crate::crypto::ledger::note::Verifier;

/// No line of ours is longer: whoever sends one without an end is not read into memory.
const LONGEST: usize = 4 << 20;

/// What a line holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    Header(Header),
    Table { name: String, columns: Vec<String> },
    Row(Vec<Value>),
    End,
}

/// An export that is as it was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    pub header: Header,
    /// By table.
    pub rows: BTreeMap<String, u64>,
    pub digest: Hash,
    /// Who signed it, by its own account: one of the audit keys in it.
    pub key: Verifier,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    #[error("it is empty")]
    Empty,
    #[error("it is no export of a vault: it does not begin as one")]
    Stranger,
    #[error("it is of format {found}, and this program knows {FORMAT}")]
    Format { found: u32 },
    #[error("line {line}: {why}")]
    Line { line: u64, why: String },
    #[error("it ends after line {line}, and the line that closes an export is not there: it was cut")]
    Cut { line: u64 },
    #[error("line {line}: table {table} was signed with {told} rows, and {found} are there")]
    Count { line: u64, table: String, told: u64, found: u64 },
    #[error("something before line {line} was altered: it is not what the SHA-256 in that line says")]
    Altered { line: u64 },
    #[error("line {line}: it is signed by a key that is none of the audit keys in it")]
    OtherKey { line: u64 },
    #[error("line {line}: the signature does not fit what the line says")]
    Signature { line: u64 },
}

pub struct Reader {
    line: u64,
    /// The beginning of a line whose end has not come yet.
    rest: Vec<u8>,
    hash: Sha256,
    header: Option<Header>,
    table: Option<(String, Vec<String>)>,
    rows: BTreeMap<String, u64>,
    keys: Vec<Verifier>,
    end: Option<(Hash, Verifier)>,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            line: 0,
            rest: Vec::new(),
            hash: Sha256::new(),
            header: None,
            table: None,
            rows: BTreeMap::new(),
            keys: Vec::new(),
            end: None,
        }
    }
}

impl Reader {
    /// Takes what has come, and tells of each line in it with its number.
    pub fn take<E: From<Wrong>>(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(u64, Item) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (line, next) = bytes.split_at(end + 1);
            bytes = next;
            let item = if self.rest.is_empty() {
                self.line(line)?
            } else {
                let mut whole = std::mem::take(&mut self.rest);
                whole.extend_from_slice(line);
                self.line(&whole)?
            };
            each(self.line, item)?;
        }
        if self.rest.len() + bytes.len() > LONGEST {
            return Err(self.wrong_next("it is longer than any line of an export").into());
        }
        self.rest.extend_from_slice(bytes);
        Ok(())
    }

    /// After the last byte.
    pub fn finish(self) -> Result<Whole, Wrong> {
        let cut = Wrong::Cut { line: self.line };
        match (self.header, self.end) {
            (None, _) if self.rest.is_empty() => Err(Wrong::Empty),
            (None, _) => Err(Wrong::Stranger),
            (Some(_), Some(_)) if !self.rest.is_empty() => {
                Err(Wrong::Line { line: self.line + 1, why: "the end was before".to_owned() })
            }
            (Some(header), Some((digest, key))) => Ok(Whole { header, rows: self.rows, digest, key }),
            (Some(_), None) => Err(cut),
        }
    }

    fn line(&mut self, line: &[u8]) -> Result<Item, Wrong> {
        self.line += 1;
        if self.header.is_none() {
            let header = header(line)?;
            self.hash.update(line);
            self.header = Some(header.clone());
            return Ok(Item::Header(header));
        }
        if self.end.is_some() {
            return Err(self.wrong("the end was before"));
        }
        if line.first() == Some(&b'[') {
            self.hash.update(line);
            return self.row(line);
        }
        let read: Line = serde_json::from_slice(line).map_err(|why| self.unreadable(&why))?;
        match read {
            Line::Vault(_) => Err(self.wrong("there is one header, and it comes first")),
            Line::Table { name, columns } => {
                self.hash.update(line);
                if self.rows.insert(name.clone(), 0).is_some() {
                    return Err(self.wrong(&format!("table {name} was before")));
                }
                self.table = Some((name.clone(), columns.clone()));
                Ok(Item::Table { name, columns })
            }
            Line::End(end) => self.end(end, line),
        }
    }

    fn row(&mut self, line: &[u8]) -> Result<Item, Wrong> {
        let cells: Vec<Value> = serde_json::from_slice(line).map_err(|why| self.unreadable(&why))?;
        let Some((table, columns)) = &self.table else { return Err(self.wrong("a row comes before any table")) };
        if cells.len() != columns.len() {
            return Err(self.wrong(&format!("a row of {table} has {} cells, not {}", cells.len(), columns.len())));
        }
        if let Some(count) = self.rows.get_mut(table) {
            *count += 1;
        }
        if table == KEYS {
            let key = self.key(columns, &cells);
            self.keys.extend(key);
        }
        Ok(Item::Row(cells))
    }

    /// An audit key of the instance that the header names.
    fn key(&self, columns: &[String], cells: &[Value]) -> Option<Verifier> {
        let cell = |name: &str| cells.get(columns.iter().position(|column| column == name)?)?.as_str();
        let instance = &self.header.as_ref()?.instance;
        let public = STANDARD.decode(cell("public")?).ok()?.try_into().ok()?;
        (cell("instance")? == instance).then(|| Verifier::new(instance, public))
    }

    fn end(&mut self, end: End, text: &[u8]) -> Result<Item, Wrong> {
        let line = self.line;
        let digest: Hash = self.hash.clone().finalize().into();
        // Nothing is in it that is not looked at, and nothing is spelled in two ways.
        let spelled = serde_json::to_string(&Line::End(end.clone())).map_err(|why| self.unreadable(&why))?;
        if text.strip_suffix(b"\n") != Some(spelled.as_bytes()) {
            return Err(self.wrong("it does not end an export as this program spells it"));
        }
        let End { rows, sha256, key, signature } = end;
        let mut names: Vec<&String> = rows.keys().chain(self.rows.keys()).collect();
        names.dedup();
        for name in names {
            let count = |rows: &BTreeMap<String, u64>| rows.get(name).copied().unwrap_or_default();
            let (told, found) = (count(&rows), count(&self.rows));
            if told != found || rows.contains_key(name) != self.rows.contains_key(name) {
                return Err(Wrong::Count { line, table: name.clone(), told, found });
            }
        }
        if sha256 != STANDARD.encode(digest) {
            return Err(Wrong::Altered { line });
        }
        let key: Verifier = key.parse().map_err(|_| Wrong::OtherKey { line })?;
        let instance = self.header.as_ref().map(|header| header.instance.as_str()).unwrap_or_default();
        if !self.keys.contains(&key) {
            return Err(Wrong::OtherKey { line });
        }
        let signature = STANDARD.decode(signature).map_err(|_| Wrong::Signature { line })?;
        if !key.has_signed(&signed(instance, &digest), &signature) {
            return Err(Wrong::Signature { line });
        }
        self.end = Some((digest, key));
        Ok(Item::End)
    }

    fn wrong(&self, why: &str) -> Wrong {
        Wrong::Line { line: self.line, why: why.to_owned() }
    }

    fn wrong_next(&self, why: &str) -> Wrong {
        if self.header.is_none() { Wrong::Stranger } else { Wrong::Line { line: self.line + 1, why: why.to_owned() } }
    }

    /// What serde says may quote the line; nothing of it is secret, but a line is long.
    fn unreadable(&self, why: &serde_json::Error) -> Wrong {
        self.wrong(&format!("it cannot be read, at its byte {}", why.column()))
    }
}

fn header(line: &[u8]) -> Result<Header, Wrong> {
    #[derive(Deserialize)]
    struct Begins {
        r#type: String,
        format: u32,
    }
    let begins: Begins = serde_json::from_slice(line).map_err(|_| Wrong::Stranger)?;
    match serde_json::from_slice(line) {
        _ if begins.r#type != "vault" => Err(Wrong::Stranger),
        _ if begins.format != FORMAT => Err(Wrong::Format { found: begins.format }),
        Ok(Line::Vault(header)) => Ok(header),
        _ => Err(Wrong::Line { line: 1, why: "the header cannot be read".to_owned() }),
    }
}
