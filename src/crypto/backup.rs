//! The file that a whole vault leaves in, and comes back from. Ciphertext only; the rows as they are meant, and not as one
//! store lays them out. One JSON value a line:
//!
//! ```text
//!   {"type":"vault","format":1,"schema":8,"instance":"…","at":"2026-01-31T12:00:00Z"}
//!   {"type":"table","name":"credentials","columns":["id","org",…]}
//!   ["AZ…","acme",…]            a row in the order of the columns: text, whole numbers, null; bytes in base64;
//!   …                           times in microseconds since 1970 UTC; other values as JSON inside a text
//!   {"type":"table",…}          each table once
//!   …
//!   {"type":"end","rows":{"credentials":2,…},"sha256":"…","key":"strongroom/INSTANCE+…","signature":"…"}
//!
//!   sha256     of every byte before the last line
//!   signature  Ed25519, by an audit key of the table `audit_keys`, of
//!
//!     strongroom export 1
//!     INSTANCE
//!     sha256 BASE64
//! ```
//!
//! A checkpoint of the audit log (`ledger::note`) is signed by the same key and begins with `strongroom/INSTANCE`: neither
//! is ever taken for the other. A file without its end was cut.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::ledger::Hash;
use super::ledger::note::Signer;

mod reader;
#[cfg(test)]
mod tests;

pub use reader::{Item, Reader, Whole, Wrong};

pub const FORMAT: u32 = 1;
/// The table whose keys may sign, and of its columns those that tell them.
const KEYS: &str = "audit_keys";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    pub format: u32,
    /// Of the store: which tables and columns there are.
    pub schema: u32,
    pub instance: String,
    /// As RFC 3339 writes it.
    pub at: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    Vault(Header),
    Table { name: String, columns: Vec<String> },
    End(End),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    rows: BTreeMap<String, u64>,
    sha256: String,
    key: String,
    signature: String,
}

/// What is signed.
fn signed(instance: &str, digest: &Hash) -> String {
    format!("strongroom export {FORMAT}\n{instance}\nsha256 {}\n", STANDARD.encode(digest))
}

/// Writes the lines, each with its end.
pub struct Writer {
    hash: Sha256,
    instance: String,
    table: String,
    rows: BTreeMap<String, u64>,
}

impl Writer {
    pub fn begin(header: Header) -> Result<(Self, String), serde_json::Error> {
        let instance = header.instance.clone();
        let mut writer = Self { hash: Sha256::new(), instance, table: String::new(), rows: BTreeMap::new() };
        let line = writer.line(&Line::Vault(header))?;
        Ok((writer, line))
    }

    pub fn table(&mut self, name: &str, columns: &[&str]) -> Result<String, serde_json::Error> {
        name.clone_into(&mut self.table);
        self.rows.insert(name.to_owned(), 0);
        let columns = columns.iter().map(ToString::to_string).collect();
        self.line(&Line::Table { name: name.to_owned(), columns })
    }

    pub fn row(&mut self, cells: &[Value]) -> Result<String, serde_json::Error> {
        *self.rows.entry(self.table.clone()).or_default() += 1;
        self.line(&cells)
    }

    pub fn end(self, signer: &Signer) -> Result<String, serde_json::Error> {
        let digest: Hash = self.hash.finalize().into();
        let end = Line::End(End {
            rows: self.rows,
            sha256: STANDARD.encode(digest),
            key: signer.verifier().to_string(),
            signature: STANDARD.encode(signer.sign_text(&signed(&self.instance, &digest))),
        });
        Ok(serde_json::to_string(&end)? + "\n")
    }

    fn line(&mut self, line: &impl Serialize) -> Result<String, serde_json::Error> {
        let line = serde_json::to_string(line)? + "\n";
        self.hash.update(&line);
        Ok(line)
    }
}
