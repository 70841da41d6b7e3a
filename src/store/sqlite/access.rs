//! The table `tokens`, and the keys of orgs.

use jiff::Timestamp;
use rusqlite::{Connection, named_params};
use uuid::Uuid;

use super::super::{Error, Holder, OrgKey, Token};
use super::cells::{self, Cells, json, micros, stored};
use super::{grants, orgs, wraps};

/// In the order in which [`read`] takes them.
const COLUMNS: &str = "id, name, role, org, projects, providers, hash, created_by, created_at, expires_at, revoked_at, \
     actions, parent, replaces, last_used_at";

/// A token, all that descend from it, and what took over from one of them by its own authority: whoever stole a token does
/// not keep what it turned into.
const LINE: &str = "WITH RECURSIVE family(id) AS (VALUES (?1) UNION \
     SELECT t.id FROM tokens t JOIN family f ON t.parent = f.id UNION \
     SELECT t.id FROM tokens t JOIN family f ON t.replaces = f.id \
     WHERE replace(t.created_by, '-', '') = lower(hex(f.id)))";

/// A token and all that descend from it.
const FAMILY: &str = "WITH RECURSIVE family(id) AS (VALUES (?1) UNION \
     SELECT t.id FROM tokens t JOIN family f ON t.parent = f.id)";

pub fn token(connection: &Connection, id: Uuid) -> Result<Option<Token>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM tokens WHERE id = ?1");
    cells::first(connection, &sql, [id.as_bytes()], "tokens", read)
}

pub fn tokens(connection: &Connection, org: Option<&str>) -> Result<Vec<Token>, Error> {
    let filter = if org.is_some() { "WHERE org = ?1" } else { "" };
    let sql = format!("SELECT {COLUMNS} FROM tokens {filter} ORDER BY created_at DESC, id DESC");
    cells::all(connection, &sql, rusqlite::params_from_iter(org), "tokens", read)
}

/// Issuing the same token again, after an answer that got lost, is no error.
pub fn issue(connection: &Connection, new: &Token, at: Timestamp) -> Result<(), Error> {
    if let Some(known) = token(connection, new.id)? {
        let same = Token {
            created_at: stored(new.created_at),
            expires_at: stored(new.expires_at),
            revoked_at: new.revoked_at.map(stored),
            last_used_at: known.last_used_at,
            ..new.clone()
        };
        return if known == same { Ok(()) } else { Err(Error::Taken) };
    }
    orgs::refuse(connection, &new.org)?;
    if let Some(parent) = new.parent {
        outlived_by(connection, parent, new.expires_at, at)?;
        grants::prune(connection, "tokens", "parent IS NOT NULL", at)?;
    }
    let sql = format!(
        "INSERT INTO tokens ({COLUMNS}) VALUES (:id, :name, :role, :org, :projects, :providers, :hash, :created_by, \
         :created_at, :expires_at, :revoked_at, :actions, :parent, :replaces, NULL)"
    );
    connection.prepare_cached(&sql)?.execute(named_params! {
        ":id": new.id.as_bytes(),
        ":name": new.name,
        ":role": new.role,
        ":org": new.org,
        ":projects": json(&new.projects)?,
        ":providers": json(&new.providers)?,
        ":hash": new.hash,
        ":created_by": new.created_by,
        ":created_at": micros(new.created_at),
        ":expires_at": micros(new.expires_at),
        ":revoked_at": new.revoked_at.map(micros),
        ":actions": json(&new.actions)?,
        ":parent": new.parent.as_ref().map(Uuid::as_bytes),
        ":replaces": new.replaces.as_ref().map(Uuid::as_bytes),
    })?;
    Ok(())
}

/// What is made by a token ends with it at the latest; its end may have come nearer since that was decided.
pub fn outlived_by(connection: &Connection, id: Uuid, end: Timestamp, at: Timestamp) -> Result<(), Error> {
    let source = token(connection, id)?.filter(|source| source.is_good(at) && stored(end) <= source.expires_at);
    source.map(drop).ok_or(Error::Stale { current: None })
}

/// Nobody else does this between the look and the issue: this writer alone writes.
pub fn first_admin(connection: &Connection, new: &Token, at: Timestamp) -> Result<(), Error> {
    let sql = "SELECT 1 FROM tokens WHERE role = 'admin' AND org = '*' AND projects = '[]' AND providers = '[]' \
         AND actions = '[]' AND parent IS NULL AND revoked_at IS NULL AND expires_at > ?1";
    match connection.prepare_cached(sql)?.exists([micros(at)])? {
        true => Err(Error::Taken),
        false => issue(connection, new, at),
    }
}

/// The first revocation counts. There must be such a token. All that descend from it go along.
pub fn revoke(connection: &Connection, id: Uuid, at: Timestamp) -> Result<(), Error> {
    token(connection, id)?.ok_or(Error::Stale { current: None })?;
    end(connection, LINE, id, REVOKED, at)
}

/// Once: of two successors, nobody could say which is the rightful one.
pub fn rotate(
    connection: &Connection,
    id: Uuid,
    ends_at: Timestamp,
    successor: &Token,
    at: Timestamp,
) -> Result<(), Error> {
    token(connection, id)?.filter(|old| old.is_good(at)).ok_or(Error::Stale { current: None })?;
    if connection.prepare_cached("SELECT 1 FROM tokens WHERE replaces = ?1")?.exists([id.as_bytes()])? {
        return Err(Error::Taken);
    }
    issue(connection, &Token { replaces: Some(id), ..successor.clone() }, at)?;
    if ends_at <= at {
        return end(connection, FAMILY, id, REVOKED, at);
    }
    end(connection, FAMILY, id, "expires_at = MIN(expires_at, ?2)", ends_at)
}

const REVOKED: &str = "revoked_at = COALESCE(revoked_at, ?2)";

/// Whatever was made by a token ends with it: its children, theirs, and the grants of them all.
fn end(connection: &Connection, whom: &str, id: Uuid, how: &str, at: Timestamp) -> Result<(), Error> {
    for (table, made_by) in [("grants", "minted_with"), ("tokens", "id")] {
        let sql = format!("{whom} UPDATE {table} SET {how} WHERE {made_by} IN family");
        connection.prepare_cached(&sql)?.execute((id.as_bytes(), micros(at)))?;
    }
    Ok(())
}

pub fn org_key(connection: &Connection, org: &str) -> Result<Option<OrgKey>, Error> {
    let wraps = wraps::of(connection, &Holder::OrgKey(org.to_owned()))?;
    Ok((!wraps.is_empty()).then(|| OrgKey { org: org.to_owned(), wraps }))
}

/// The first key stays: digests made under it would be worth nothing under another.
pub fn keep(connection: &Connection, key: &OrgKey) -> Result<(), Error> {
    if org_key(connection, &key.org)?.is_some() {
        return Ok(());
    }
    orgs::refuse(connection, &key.org)?;
    let holder = Holder::OrgKey(key.org.clone());
    key.wraps.iter().try_for_each(|wrap| wraps::put(connection, &holder, wrap))
}

fn read(cells: &mut Cells<'_>) -> Result<Token, Error> {
    Ok(Token {
        id: cells.id()?,
        name: cells.plain()?,
        role: cells.plain()?,
        org: cells.plain()?,
        projects: cells.json()?,
        providers: cells.json()?,
        hash: cells.plain()?,
        created_by: cells.plain()?,
        created_at: cells.time()?,
        expires_at: cells.time()?,
        revoked_at: cells.optional_time()?,
        actions: cells.json()?,
        parent: cells.optional_id()?,
        replaces: cells.optional_id()?,
        last_used_at: cells.optional_time()?,
    })
}
