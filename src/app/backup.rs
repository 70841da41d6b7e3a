//! A database out of an export. Everything is looked at before anything counts:
//!
//! ```text
//!   first reading     form, tables, types, counts, digest, signature; whose it is        nothing is written
//!   second reading    a new database beside its place, row by row; the same digest       goes if anything is wrong
//!   then              the audit log, the keys that rows are under, a record of it all    moved to its place
//! ```

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::keys::Missing;
use super::services::Services;
use super::store::Place;
use super::{Error, client, keys};
use crate::config::Config;
use crate::crypto::age::Identity;
use crate::crypto::backup::{Header, Item, Reader, Whole, Wrong};
use crate::crypto::ledger::note::Verifier;
use crate::store::backup::{Cell, SCHEMA, TABLES, Table};
use crate::store::{AuditKey, Holder, Purpose, Restore, Store, Wrap};
pub use crate::vault::restore::Unopened;
use crate::vault::restore::{self, Proof};

/// So many bytes are read at a time.
const PIECE: usize = 128 << 10;

/// What an import found, and did.
#[derive(Debug)]
pub struct Imported {
    pub whole: Whole,
    pub unopened: Vec<Unopened>,
}

/// Checks all of it; with `apply`, it becomes the database of this configuration. The export is ours if the private half
/// of the key that signed it opens under a configured key, or, where `known` are given, if it is one of these.
pub async fn import(config: &Config, file: &Path, known: &[Verifier], apply: bool) -> Result<Imported, Error> {
    let mut config = config.clone();
    // A key that is made now opens nothing.
    config.kms.local.create = false;
    let target = place(&config)?;
    let (whole, kept) = look_through(file)?;
    let (keyring, _) = keys::build(&config, Services::new(client(&config.outbound)?), Missing::Made).await?;
    let proof = if known.is_empty() { Proof::Keys(&keyring) } else { Proof::Known(known) };
    ours(file, &proof, &whole, &kept).await?;
    let purpose = if apply { Purpose::Keep } else { Purpose::Look };
    let (restore, store) = make(&config, file, &whole, &target, purpose).await?;
    let unopened = restore::unopened(&store, &keyring).await?;
    if apply && unopened.is_empty() {
        keep(&config, restore, store, &whole).await?;
    }
    Ok(Imported { whole, unopened })
}

/// An export to recover from, and the public keys that one of must have signed it. Where there are none, nothing proves whose
/// it is: whoever knows a recipient can write what its identity opens.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub file: &'a Path,
    pub known: &'a [Verifier],
}

pub async fn import_by(config: &Config, from: Source<'_>, identity: &Identity) -> Result<(), Error> {
    let target = place(config)?;
    let whole = opened_by(from, identity).await?;
    let (restore, store) = make(config, from.file, &whole, &target, Purpose::Keep).await?;
    keep(config, restore, store, &whole).await
}

/// A database that goes when it is let go of, to try an identity on.
pub async fn look_by(
    config: &Config,
    from: Source<'_>,
    identity: &Identity,
) -> Result<(Restore, Arc<dyn Store>), Error> {
    let target = place(config)?;
    let whole = opened_by(from, identity).await?;
    make(config, from.file, &whole, &target, Purpose::Look).await
}

async fn opened_by(Source { file, known }: Source<'_>, identity: &Identity) -> Result<Whole, Error> {
    let (whole, kept) = look_through(file)?;
    if !known.is_empty() {
        ours(file, &Proof::Known(known), &whole, &kept).await?;
    }
    ours(file, &Proof::Identity(identity), &whole, &kept).await?;
    Ok(whole)
}

fn place(config: &Config) -> Result<PathBuf, Error> {
    let place = Place::of(config)?;
    let why = "names a server, and an import makes a file: name a sqlite:// one";
    place.file().map(Path::to_owned).ok_or_else(|| Error::Url { why: why.to_owned() })
}

async fn ours(file: &Path, proof: &Proof<'_>, whole: &Whole, kept: &[AuditKey]) -> Result<(), Error> {
    let foreign = |why: restore::NotOurs| Error::Foreign { file: file.to_owned(), why: why.to_string() };
    proof.accepts(whole, kept).await?.map_err(foreign)
}

async fn make(
    config: &Config,
    file: &Path,
    whole: &Whole,
    target: &Path,
    purpose: Purpose,
) -> Result<(Restore, Arc<dyn Store>), Error> {
    let failed = |cause| Error::Store { url: config.store.url.clone(), cause };
    let wrong = |why: String| Error::Export { file: file.to_owned(), why };
    let mut restore = Restore::begin(target, purpose).map_err(failed)?;
    let again = read(file, |line, table, cells| match restore.put(table, &cells) {
        Ok(put) => put.map_err(|why| Wrong::Line { line, why }.to_string()).map_err(wrong),
        Err(cause) => Err(failed(cause)),
    })?;
    if again != *whole {
        return Err(wrong("it was changed while it was read".to_owned()));
    }
    let store: Arc<dyn Store> = Arc::new(restore.open().map_err(failed)?);
    if store.instance() != whole.header.instance {
        return Err(wrong(format!("its rows are of instance {}, its header of another", store.instance())));
    }
    match restore::broken_log(store.as_ref()).await? {
        Some(why) => Err(wrong(format!("its audit log: {why}"))),
        None => Ok((restore, store)),
    }
}

async fn keep(config: &Config, restore: Restore, store: Arc<dyn Store>, whole: &Whole) -> Result<(), Error> {
    restore::record_import(&store, &whole.header.at, &whole.digest).await?;
    drop(store);
    restore.keep().map_err(|cause| Error::Store { url: config.store.url.clone(), cause })
}

/// The first reading: what it holds is as it was signed, and its rows are rows. Answers the audit keys with their wraps.
fn look_through(file: &Path) -> Result<(Whole, Vec<AuditKey>), Error> {
    let mut keys: Vec<(String, AuditKey)> = Vec::new();
    let whole = read(file, |_, table, cells| {
        match (table.name, <[Cell; 4]>::try_from(cells)) {
            (
                "audit_keys",
                Ok([Cell::Text(instance), Cell::Integer(number), Cell::Bytes(public), Cell::Integer(created_at)]),
            ) => {
                let public = <[u8; 32]>::try_from(public);
                let number = u32::try_from(number);
                let created_at = jiff::Timestamp::from_microsecond(created_at);
                if let (Ok(public), Ok(number), Ok(created_at)) = (public, number, created_at) {
                    keys.push((instance, AuditKey { number, public, wraps: Vec::new(), created_at }));
                }
            }
            ("wraps", Ok([Cell::Bytes(holder), Cell::Text(key), Cell::Text(key_version), Cell::Bytes(bytes)])) => {
                if let Some(Holder::AuditKey { instance, number }) = Holder::read(&holder) {
                    let own = keys.iter_mut().find(|(of, key)| *of == instance && key.number == number);
                    if let Some((_, own)) = own {
                        own.wraps.push(Wrap { key, key_version, bytes });
                    }
                }
            }
            _ => (),
        }
        Ok(())
    })?;
    let instance = &whole.header.instance;
    let kept = keys.into_iter().filter(|(of, _)| of == instance).map(|(_, key)| key).collect();
    Ok((whole, kept))
}

/// Reads it line by line: all tables in their order, each row as its table has it.
fn read(
    file: &Path,
    mut each: impl FnMut(u64, &'static Table, Vec<Cell>) -> Result<(), Error>,
) -> Result<Whole, Error> {
    let unreadable = |cause| super::unreadable(file, cause);
    let mut bytes = vec![0; PIECE];
    let (mut reader, mut tables) = (Reader::default(), Tables { file, next: 0 });
    let mut open = File::open(file).map_err(unreadable)?;
    loop {
        let length = open.read(&mut bytes).map_err(unreadable)?;
        if length == 0 {
            break;
        }
        let taken = reader
            .take::<Stop>(&bytes[..length], |line, item| tables.take(line, item, &mut each).map_err(Stop::Failed));
        taken.map_err(|stop| tables.said(stop))?;
    }
    reader.finish().map_err(|wrong| tables.said(wrong.into()))
}

enum Stop {
    Wrong(Wrong),
    Failed(Error),
}

impl From<Wrong> for Stop {
    fn from(wrong: Wrong) -> Self {
        Self::Wrong(wrong)
    }
}

struct Tables<'a> {
    file: &'a Path,
    /// How many tables have begun.
    next: usize,
}

impl Tables<'_> {
    fn take(
        &mut self,
        line: u64,
        item: Item,
        each: &mut impl FnMut(u64, &'static Table, Vec<Cell>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let wrong = |why: String| self.said(Wrong::Line { line, why }.into());
        match item {
            Item::Header(header) => self.schema(&header),
            Item::Table { name, columns } => {
                let table = TABLES.get(self.next).filter(|table| table.name == name && table.columns() == columns);
                if table.is_none() {
                    return Err(wrong(format!("table {name} is not the one that belongs here, with these columns")));
                }
                self.next += 1;
                Ok(())
            }
            Item::Row(row) => {
                let Some(table) = self.next.checked_sub(1).and_then(|at| TABLES.get(at)) else { return Ok(()) };
                each(line, table, table.read(row).map_err(wrong)?)
            }
            Item::End => match TABLES.get(self.next) {
                Some(table) => Err(wrong(format!("table {} is missing", table.name))),
                None => Ok(()),
            },
        }
    }

    fn schema(&self, header: &Header) -> Result<(), Error> {
        let found = header.schema;
        let why = match found.cmp(&SCHEMA) {
            std::cmp::Ordering::Equal => return Ok(()),
            std::cmp::Ordering::Greater => {
                format!(
                    "the export has schema {found}, and this program knows up to {SCHEMA}: run the newer strongroom"
                )
            }
            std::cmp::Ordering::Less => format!(
                "the export has schema {found}, and this program reads {SCHEMA}: import it with the strongroom that wrote \
                 it, and start this one on that database"
            ),
        };
        Err(Error::ExportSchema { file: self.file.to_owned(), why })
    }

    fn said(&self, stop: Stop) -> Error {
        match stop {
            Stop::Wrong(wrong) => Error::Export { file: self.file.to_owned(), why: wrong.to_string() },
            Stop::Failed(error) => error,
        }
    }
}
