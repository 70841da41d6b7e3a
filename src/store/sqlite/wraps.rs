//! The tables `wraps` and `wrapping_keys`.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension as _};
use uuid::Uuid;

use super::super::{Error, Held, HeldFor, Holder, KeyUse, KeyVersion, Moved, Path, Wrap};
use super::cells::{self, signed};
use super::versions;

const TABLE: &str = "wraps";

/// The first id of a key: see the migration.
const FIRST_KEY: i64 = 32_768;

const JOINED: &str = "wraps w JOIN wrapping_keys k ON k.id = w.key";

/// A holder's, in the order of their keys.
pub fn of(connection: &Connection, holder: &Holder) -> Result<Vec<Wrap>, Error> {
    let sql = format!(
        "SELECT w.id, k.key, k.key_version, w.bytes FROM {JOINED} WHERE w.holder = ?1 AND w.live = 1 \
         ORDER BY k.key, k.key_version"
    );
    cells::all(connection, &sql, [holder.bytes()], TABLE, |cells| {
        let _: i64 = cells.plain()?;
        Ok(Wrap { key: cells.plain()?, key_version: cells.plain()?, bytes: cells.plain()? })
    })
}

/// What the keys of a credential's versions are wrapped under.
pub fn of_versions(connection: &Connection, credential: Uuid) -> Result<BTreeMap<u32, Vec<KeyVersion>>, Error> {
    let [first, last] = [0, u32::MAX].map(|version| Holder::Version { credential, version }.bytes());
    let sql = format!(
        "SELECT w.holder, k.key, k.key_version FROM {JOINED} \
         WHERE w.holder BETWEEN ?1 AND ?2 AND w.live = 1 ORDER BY w.holder, k.key, k.key_version"
    );
    let mut versions = BTreeMap::<u32, Vec<KeyVersion>>::new();
    for (holder, under) in cells::all(connection, &sql, [first, last], TABLE, |cells| {
        Ok((cells.holder()?, KeyVersion { key: cells.plain()?, version: cells.plain()? }))
    })? {
        if let Holder::Version { version, .. } = holder {
            versions.entry(version).or_default().push(under);
        }
    }
    Ok(versions)
}

/// How many there are of holders from one to another, by the URI of what they are under.
pub fn by_key(connection: &Connection, first: &Holder, last: &Holder) -> Result<Vec<(String, u64)>, Error> {
    let sql =
        format!("SELECT k.key, count(*) FROM {JOINED} WHERE w.holder BETWEEN ?1 AND ?2 AND w.live = 1 GROUP BY k.key");
    cells::all(connection, &sql, [first.bytes(), last.bytes()], TABLE, |cells| Ok((cells.plain()?, cells.count()?)))
}

/// Adds a wrap, in the place of one that was dropped where there is one of its size. One under the same key stays.
pub fn put(connection: &Connection, holder: &Holder, wrap: &Wrap) -> Result<(), Error> {
    let (holder, key) = (holder.bytes(), key(connection, &wrap.under())?);
    let there = "SELECT 1 FROM wraps WHERE holder = ?1 AND key = ?2 AND live = 1";
    if connection.prepare_cached(there)?.exists((&holder, key))? {
        return Ok(());
    }
    let free = "SELECT id FROM wraps WHERE live = 0 AND length(bytes) = ?1 AND length(holder) = ?2 LIMIT 1";
    let mut free = connection.prepare_cached(free)?;
    let size = [wrap.bytes.len(), holder.len()].map(|length| signed(length as u64));
    let free: Option<i64> = free.query_row(size, |row| row.get(0)).optional()?;
    let sql = match free {
        Some(_) => "UPDATE wraps SET live = 1, holder = ?2, key = ?3, bytes = ?4 WHERE id = ?1",
        None => "INSERT INTO wraps (id, live, holder, key, bytes) VALUES (?1, 1, ?2, ?3, ?4)",
    };
    connection.prepare_cached(sql)?.execute((free, holder, key, &wrap.bytes))?;
    Ok(())
}

/// Overwrites what a holder has with zeros, where it stands. Answers whether there was anything.
pub fn drop_all(connection: &Connection, holder: &Holder) -> Result<bool, Error> {
    let sql = "UPDATE wraps SET live = 0, bytes = zeroblob(length(bytes)) WHERE holder = ?1 AND live = 1";
    Ok(connection.prepare_cached(sql)?.execute([holder.bytes()])? > 0)
}

/// The same for every version of a credential.
pub fn drop_versions(connection: &Connection, credential: Uuid) -> Result<(), Error> {
    let [first, last] = [0, u32::MAX].map(|version| Holder::Version { credential, version }.bytes());
    let sql = "UPDATE wraps SET live = 0, bytes = zeroblob(length(bytes)) WHERE holder BETWEEN ?1 AND ?2 AND live = 1";
    connection.prepare_cached(sql)?.execute([first, last])?;
    Ok(())
}

/// Beside those that a holder has. One that has none was destroyed meanwhile.
pub fn add(connection: &Connection, wraps: &[(Holder, Wrap)]) -> Result<(), Error> {
    let sql = "SELECT 1 FROM wraps WHERE holder = ?1 AND live = 1";
    for (holder, wrap) in wraps {
        if connection.prepare_cached(sql)?.exists([holder.bytes()])? {
            put(connection, holder, wrap)?;
        }
    }
    Ok(())
}

/// Never the last: the one that is kept must be there.
pub fn drop_moved(connection: &Connection, moved: &[Moved]) -> Result<(), Error> {
    let sql = "UPDATE wraps SET live = 0, bytes = zeroblob(length(bytes)) \
         WHERE holder = ?1 AND key = ?2 AND key <> ?3 AND live = 1 \
         AND EXISTS (SELECT 1 FROM wraps WHERE holder = ?1 AND key = ?3 AND live = 1)";
    for Moved { holder, kept, dropped } in moved {
        let (holder, kept) = (holder.bytes(), key(connection, kept)?);
        for under in dropped {
            connection.prepare_cached(sql)?.execute((&holder, key(connection, under)?, kept))?;
        }
    }
    Ok(())
}

/// Without orgs, from an index alone.
pub fn in_use(connection: &Connection, by_org: bool) -> Result<Vec<KeyUse>, Error> {
    let (org, joined) = match by_org {
        false => ("NULL", ""),
        true => (
            "CASE substr(w.holder, 1, 1) WHEN x'76' THEN c.org WHEN x'6f' THEN CAST(substr(w.holder, 2) AS TEXT) END",
            "LEFT JOIN credentials c ON c.id = substr(w.holder, 2, 16) AND substr(w.holder, 1, 1) = x'76'",
        ),
    };
    let sql = format!(
        "SELECT k.id, k.key, k.key_version, w.kind, w.org, w.count FROM (SELECT w.key, substr(w.holder, 1, 1) AS kind, \
         {org} AS org, count(*) AS count FROM wraps w {joined} WHERE w.live = 1 GROUP BY 1, 2, 3) w \
         JOIN wrapping_keys k ON k.id = w.key ORDER BY k.key, k.key_version, w.kind, w.org"
    );
    cells::all(connection, &sql, [], TABLE, |cells| {
        let _: i64 = cells.plain()?;
        let under = KeyVersion { key: cells.plain()?, version: cells.plain()? };
        let kind = cells.holder_kind()?;
        Ok(KeyUse { under, kind, org: cells.plain()?, count: cells.count()? })
    })
}

pub fn holders(
    connection: &Connection,
    under: &KeyVersion,
    after: Option<&Holder>,
    limit: u32,
) -> Result<Vec<Holder>, Error> {
    let sql = "SELECT w.holder FROM wraps w WHERE w.key = (SELECT id FROM wrapping_keys WHERE key = ?1 \
         AND key_version = ?2) AND w.holder > ?3 AND w.live = 1 ORDER BY w.holder LIMIT ?4";
    let after = after.map(Holder::bytes).unwrap_or_default();
    cells::all(connection, sql, (&under.key, &under.version, after, limit), TABLE, |cells| cells.holder())
}

pub fn lacking(connection: &Connection, key: &str, after: Option<&Holder>, limit: u32) -> Result<Vec<Holder>, Error> {
    let sql = "SELECT DISTINCT w.holder FROM wraps w WHERE w.holder > ?2 AND w.live = 1 AND NOT EXISTS (SELECT 1 \
         FROM wraps r JOIN wrapping_keys k ON k.id = r.key WHERE r.holder = w.holder AND r.live = 1 AND k.key = ?1) \
         ORDER BY w.holder LIMIT ?3";
    let after = after.map(Holder::bytes).unwrap_or_default();
    cells::all(connection, sql, (key, after, limit), TABLE, |cells| cells.holder())
}

pub fn held(connection: &Connection, holder: &Holder) -> Result<Option<Held>, Error> {
    let what = match holder {
        Holder::Version { credential, version } => version_of(connection, *credential, *version)?,
        Holder::OrgKey(_) => Some(HeldFor::OrgKey),
        Holder::AuditKey { instance, number } => {
            let sql = "SELECT number, public FROM audit_keys WHERE instance = ?1 AND number = ?2";
            cells::first(connection, sql, (instance, number), "audit_keys", |cells| {
                let _: u32 = cells.plain()?;
                Ok(HeldFor::AuditKey { public: cells.plain()? })
            })?
        }
        Holder::Factor(id) => {
            let sql = "SELECT caller, blob FROM second_factors WHERE id = ?1";
            cells::first(connection, sql, [id.as_bytes()], "second_factors", |cells| {
                Ok(HeldFor::Factor { caller: cells.plain()?, blob: cells.plain()? })
            })?
        }
    };
    let wraps = of(connection, holder)?;
    Ok(what.filter(|_| !wraps.is_empty()).map(|what| Held { wraps, what }))
}

fn version_of(connection: &Connection, credential: Uuid, version: u32) -> Result<Option<HeldFor>, Error> {
    let sql = format!(
        "SELECT v.credential_id, {}, c.org, c.project, c.provider, c.name \
         FROM {} JOIN credentials c ON c.id = v.credential_id WHERE v.credential_id = ?1 AND v.version = ?2",
        versions::BLOB,
        versions::JOINED
    );
    cells::first(connection, &sql, (credential.as_bytes(), version), "org_integration_credentials", |cells| {
        cells.id()?;
        let blob = cells.plain()?;
        let [org, project, provider, name] = [cells.plain()?, cells.plain()?, cells.plain()?, cells.plain()?];
        Ok(HeldFor::Version { path: Path { org, project, provider, name }, blob })
    })
}

/// The id of a key, given to it where it has none.
pub fn key(connection: &Connection, under: &KeyVersion) -> Result<i64, Error> {
    let sql = "SELECT id FROM wrapping_keys WHERE key = ?1 AND key_version = ?2";
    let known = connection.prepare_cached(sql)?.query_row((&under.key, &under.version), |row| row.get(0)).optional()?;
    if let Some(id) = known {
        return Ok(id);
    }
    let sql = "INSERT INTO wrapping_keys (id, key, key_version) \
         SELECT coalesce(max(id) + 1, ?1), ?2, ?3 FROM wrapping_keys RETURNING id";
    Ok(connection.prepare_cached(sql)?.query_row((FIRST_KEY, &under.key, &under.version), |row| row.get(0))?)
}
