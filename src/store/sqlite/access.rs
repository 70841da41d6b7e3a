//! The tables `tokens` and `org_keys`.

use jiff::Timestamp;
use rusqlite::{Connection, named_params};
use uuid::Uuid;

use super::super::{Error, OrgKey, Token};
use super::cells::{self, Cells, json, micros, stored};

/// In the order in which [`read`] takes them.
const COLUMNS: &str = "id, name, role, org, projects, providers, hash, created_by, created_at, expires_at, revoked_at";

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
pub fn issue(connection: &Connection, new: &Token) -> Result<(), Error> {
    if let Some(known) = token(connection, new.id)? {
        let same = Token {
            created_at: stored(new.created_at),
            expires_at: stored(new.expires_at),
            revoked_at: new.revoked_at.map(stored),
            ..new.clone()
        };
        return if known == same { Ok(()) } else { Err(Error::Taken) };
    }
    let sql = format!(
        "INSERT INTO tokens ({COLUMNS}) VALUES (:id, :name, :role, :org, :projects, :providers, :hash, :created_by, \
         :created_at, :expires_at, :revoked_at)"
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
    })?;
    Ok(())
}

/// Nobody else does this between the look and the issue: this writer alone writes.
pub fn first_admin(connection: &Connection, new: &Token, at: Timestamp) -> Result<(), Error> {
    let sql = "SELECT 1 FROM tokens WHERE role = 'admin' AND org = '*' AND projects = '[]' AND providers = '[]' \
         AND revoked_at IS NULL AND expires_at > ?1";
    match connection.prepare_cached(sql)?.exists([micros(at)])? {
        true => Err(Error::Taken),
        false => issue(connection, new),
    }
}

/// The first revocation counts. There must be such a token.
pub fn revoke(connection: &Connection, id: Uuid, at: Timestamp) -> Result<(), Error> {
    let sql = "UPDATE tokens SET revoked_at = COALESCE(revoked_at, ?2) WHERE id = ?1";
    match connection.prepare_cached(sql)?.execute((id.as_bytes(), micros(at)))? {
        0 => Err(Error::Stale { current: None }),
        _ => Ok(()),
    }
}

pub fn org_key(connection: &Connection, org: &str) -> Result<Option<OrgKey>, Error> {
    let sql = "SELECT org, wrapped, kms_key, kms_key_version FROM org_keys WHERE org = ?1";
    cells::first(connection, sql, [org], "org_keys", |cells| {
        Ok(OrgKey {
            org: cells.plain()?,
            wrapped: cells.plain()?,
            kms_key: cells.plain()?,
            kms_key_version: cells.plain()?,
        })
    })
}

/// The first key stays: digests made under it would be worth nothing under another.
pub fn keep(connection: &Connection, key: &OrgKey) -> Result<(), Error> {
    let sql = "INSERT INTO org_keys (org, wrapped, kms_key, kms_key_version) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT (org) DO NOTHING";
    connection.prepare_cached(sql)?.execute((&key.org, &key.wrapped, &key.kms_key, &key.kms_key_version))?;
    Ok(())
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
    })
}
