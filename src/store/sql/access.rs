//! The table `tokens`, and the keys of orgs.

use jiff::Timestamp;
use uuid::Uuid;

use super::super::{Error, Holder, OrgKey, Token};
use super::cells::{self, Cells, json, stored};
use super::values;
use super::{Dialect, Sql, Value, grants, orgs, wraps};

/// In the order in which [`read`] takes them.
const COLUMNS: &str = "id, name, role, org, projects, providers, hash, created_by, created_at, expires_at, revoked_at, \
     actions, parent, replaces, last_used_at";

/// A token, all that descend from it, and what took over from one of them by its own authority: whoever stole a token does
/// not keep what it turned into.
fn line(dialect: Dialect) -> String {
    let id = dialect.hex("f.id");
    format!(
        "WITH RECURSIVE family(id) AS (SELECT id FROM tokens WHERE id = ?1 UNION SELECT t.id FROM tokens t JOIN family f \
         ON t.parent = f.id OR (t.replaces = f.id AND replace(t.created_by, '-', '') = {id}))"
    )
}

/// A token and all that descend from it.
const FAMILY: &str = "WITH RECURSIVE family(id) AS (SELECT id FROM tokens WHERE id = ?1 UNION \
     SELECT t.id FROM tokens t JOIN family f ON t.parent = f.id)";

pub fn token(connection: &dyn Sql, id: Uuid) -> Result<Option<Token>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM tokens WHERE id = ?1");
    cells::first(connection, &sql, values![&id], "tokens", read)
}

pub fn tokens(connection: &dyn Sql, org: Option<&str>) -> Result<Vec<Token>, Error> {
    let filter = if org.is_some() { "WHERE org = ?1" } else { "" };
    let sql = format!("SELECT {COLUMNS} FROM tokens {filter} ORDER BY created_at DESC, id DESC");
    cells::all(connection, &sql, org.map(Value::from).as_slice(), "tokens", read)
}

/// Issuing the same token again, after an answer that got lost, is no error.
pub fn issue(connection: &dyn Sql, new: &Token, at: Timestamp) -> Result<(), Error> {
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
    connection.insert(
        "tokens",
        &[
            ("id", (&new.id).into()),
            ("name", (&new.name).into()),
            ("role", (&new.role).into()),
            ("org", (&new.org).into()),
            ("projects", json(&new.projects)?.into()),
            ("providers", json(&new.providers)?.into()),
            ("hash", (&new.hash).into()),
            ("created_by", (&new.created_by).into()),
            ("created_at", new.created_at.into()),
            ("expires_at", new.expires_at.into()),
            ("revoked_at", new.revoked_at.into()),
            ("actions", json(&new.actions)?.into()),
            ("parent", new.parent.as_ref().into()),
            ("replaces", new.replaces.as_ref().into()),
        ],
    )
}

/// What is made by a token ends with it at the latest; its end may have come nearer since that was decided.
pub fn outlived_by(connection: &dyn Sql, id: Uuid, end: Timestamp, at: Timestamp) -> Result<(), Error> {
    let source = token(connection, id)?.filter(|source| source.is_good(at) && stored(end) <= source.expires_at);
    source.map(drop).ok_or(Error::Stale { current: None })
}

/// Nobody else does this between the look and the issue: one writes at a time.
pub fn first_admin(connection: &dyn Sql, new: &Token, at: Timestamp) -> Result<(), Error> {
    let sql = "SELECT 1 FROM tokens WHERE role = 'admin' AND org = '*' AND projects = '[]' AND providers = '[]' \
         AND actions = '[]' AND parent IS NULL AND revoked_at IS NULL AND expires_at > ?1";
    match connection.exists(sql, values![at])? {
        true => Err(Error::Taken),
        false => issue(connection, new, at),
    }
}

/// The first revocation counts. There must be such a token. All that descend from it go along.
pub fn revoke(connection: &dyn Sql, id: Uuid, at: Timestamp) -> Result<(), Error> {
    token(connection, id)?.ok_or(Error::Stale { current: None })?;
    end(connection, &line(connection.dialect()), id, REVOKED, at)
}

/// Once: of two successors, nobody could say which is the rightful one.
pub fn rotate(
    connection: &dyn Sql,
    id: Uuid,
    ends_at: Timestamp,
    successor: &Token,
    at: Timestamp,
) -> Result<(), Error> {
    token(connection, id)?.filter(|old| old.is_good(at)).ok_or(Error::Stale { current: None })?;
    if connection.exists("SELECT 1 FROM tokens WHERE replaces = ?1", values![&id])? {
        return Err(Error::Taken);
    }
    issue(connection, &Token { replaces: Some(id), ..successor.clone() }, at)?;
    if ends_at <= at {
        return end(connection, FAMILY, id, REVOKED, at);
    }
    end(connection, FAMILY, id, "expires_at = CASE WHEN expires_at < ?2 THEN expires_at ELSE ?2 END", ends_at)
}

const REVOKED: &str = "revoked_at = COALESCE(revoked_at, ?2)";

/// Whatever was made by a token ends with it: its children, theirs, and the grants of them all.
fn end(connection: &dyn Sql, whom: &str, id: Uuid, how: &str, at: Timestamp) -> Result<(), Error> {
    for (table, made_by) in [("grants", "minted_with"), ("tokens", "id")] {
        let sql = format!("{whom} UPDATE {table} SET {how} WHERE {made_by} IN (SELECT id FROM family)");
        connection.execute(&sql, values![&id, at])?;
    }
    Ok(())
}

pub fn org_key(connection: &dyn Sql, org: &str) -> Result<Option<OrgKey>, Error> {
    let wraps = wraps::of(connection, &Holder::OrgKey(org.to_owned()))?;
    Ok((!wraps.is_empty()).then(|| OrgKey { org: org.to_owned(), wraps }))
}

/// The first key stays: digests made under it would be worth nothing under another.
pub fn keep(connection: &dyn Sql, key: &OrgKey) -> Result<(), Error> {
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
