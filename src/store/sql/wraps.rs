//! The tables `wraps` and `wrapping_keys`.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::super::{Error, Held, HeldFor, Holder, KeyUse, KeyVersion, Moved, Path, Wrap};
use super::cells;
use super::values;
use super::{Dialect, Sql, Value, versions};

const TABLE: &str = "wraps";

/// The first id of a key: see the migration.
const FIRST_KEY: i64 = 32_768;

const JOINED: &str = "wraps w JOIN wrapping_keys k ON k.id = w.key";

/// A holder's, in the order of their keys.
pub fn of(connection: &dyn Sql, holder: &Holder) -> Result<Vec<Wrap>, Error> {
    let sql = format!(
        "SELECT w.id, k.key, k.key_version, w.bytes FROM {JOINED} WHERE w.holder = ?1 AND w.live = 1 \
         ORDER BY k.key, k.key_version"
    );
    cells::all(connection, &sql, values![holder.bytes()], TABLE, |cells| {
        let _: i64 = cells.plain()?;
        Ok(Wrap { key: cells.plain()?, key_version: cells.plain()?, bytes: cells.plain()? })
    })
}

/// What the keys of a credential's versions are wrapped under.
pub fn of_versions(connection: &dyn Sql, credential: Uuid) -> Result<BTreeMap<u32, Vec<KeyVersion>>, Error> {
    let [first, last] = [0, u32::MAX].map(|version| Holder::Version { credential, version }.bytes());
    let sql = format!(
        "SELECT w.holder, k.key, k.key_version FROM {JOINED} \
         WHERE w.holder BETWEEN ?1 AND ?2 AND w.live = 1 ORDER BY w.holder, k.key, k.key_version"
    );
    let mut versions = BTreeMap::<u32, Vec<KeyVersion>>::new();
    for (holder, under) in cells::all(connection, &sql, values![&first, &last], TABLE, |cells| {
        Ok((cells.holder()?, KeyVersion { key: cells.plain()?, version: cells.plain()? }))
    })? {
        if let Holder::Version { version, .. } = holder {
            versions.entry(version).or_default().push(under);
        }
    }
    Ok(versions)
}

/// How many there are of holders from one to another, by the URI of what they are under.
pub fn by_key(connection: &dyn Sql, first: &Holder, last: &Holder) -> Result<Vec<(String, u64)>, Error> {
    let sql =
        format!("SELECT k.key, count(*) FROM {JOINED} WHERE w.holder BETWEEN ?1 AND ?2 AND w.live = 1 GROUP BY k.key");
    cells::all(connection, &sql, values![first.bytes(), last.bytes()], TABLE, |cells| {
        Ok((cells.plain()?, cells.count()?))
    })
}

/// Adds a wrap, in the place of one that was dropped where there is one of its size. One under the same key stays.
pub fn put(connection: &dyn Sql, holder: &Holder, wrap: &Wrap) -> Result<(), Error> {
    let (holder, key) = (holder.bytes(), key(connection, &wrap.under())?);
    let places = "SELECT (SELECT id FROM wraps WHERE holder = ?1 AND key = ?2 AND live = 1), \
         (SELECT id FROM wraps WHERE live = 0 AND length(bytes) = ?3 AND length(holder) = ?4 LIMIT 1)";
    let about = values![&holder, key, wrap.bytes.len() as u64, holder.len() as u64];
    let found = cells::first(connection, places, about, TABLE, |cells| Ok((cells.plain()?, cells.plain()?)))?;
    let (there, free): (Option<i64>, Option<i64>) = found.unwrap_or_default();
    match free {
        _ if there.is_some() => Ok(()),
        Some(id) => {
            let sql = "UPDATE wraps SET live = 1, holder = ?2, key = ?3, bytes = ?4 WHERE id = ?1";
            connection.send(sql, values![id, holder, key, &wrap.bytes])
        }
        None => {
            let sql = "INSERT INTO wraps (live, holder, key, bytes) VALUES (1, ?1, ?2, ?3)";
            connection.send(sql, values![holder, key, &wrap.bytes])
        }
    }
}

fn dropping(dialect: Dialect) -> String {
    format!("UPDATE wraps SET live = 0, bytes = {}", dialect.zeros("bytes"))
}

/// Overwrites what a holder has with zeros, where it stands. Answers whether there was anything.
pub fn drop_all(connection: &dyn Sql, holder: &Holder) -> Result<bool, Error> {
    let sql = format!("{} WHERE holder = ?1 AND live = 1", dropping(connection.dialect()));
    Ok(connection.execute(&sql, values![holder.bytes()])? > 0)
}

/// The same for every version of a credential.
pub fn drop_versions(connection: &dyn Sql, credential: Uuid) -> Result<(), Error> {
    let [first, last] = [0, u32::MAX].map(|version| Holder::Version { credential, version }.bytes());
    let sql = format!("{} WHERE holder BETWEEN ?1 AND ?2 AND live = 1", dropping(connection.dialect()));
    connection.execute(&sql, values![&first, &last])?;
    Ok(())
}

/// Beside those that a holder has. One that has none was destroyed meanwhile.
pub fn add(connection: &dyn Sql, wraps: &[(Holder, Wrap)]) -> Result<(), Error> {
    let sql = "SELECT 1 FROM wraps WHERE holder = ?1 AND live = 1";
    for (holder, wrap) in wraps {
        if connection.exists(sql, values![holder.bytes()])? {
            put(connection, holder, wrap)?;
        }
    }
    Ok(())
}

/// Never the last: the one that is kept must be there.
pub fn drop_moved(connection: &dyn Sql, moved: &[Moved]) -> Result<(), Error> {
    let sql = format!(
        "{} WHERE holder = ?1 AND key = ?2 AND key <> ?3 AND live = 1 \
         AND EXISTS (SELECT 1 FROM wraps WHERE holder = ?1 AND key = ?3 AND live = 1)",
        dropping(connection.dialect())
    );
    for Moved { holder, kept, dropped } in moved {
        let (holder, kept) = (holder.bytes(), key(connection, kept)?);
        for under in dropped {
            connection.execute(&sql, values![&holder, key(connection, under)?, kept])?;
        }
    }
    Ok(())
}

/// Without orgs, from an index alone.
pub fn in_use(connection: &dyn Sql, by_org: bool) -> Result<Vec<KeyUse>, Error> {
    let dialect = connection.dialect();
    let [v, o] = ["76", "6f"].map(|hex| dialect.bytes(hex));
    let (org, joined) = match by_org {
        false => ("CAST(NULL AS TEXT)".to_owned(), String::new()),
        true => (
            format!(
                "CASE substr(w.holder, 1, 1) WHEN {v} THEN c.org WHEN {o} THEN {} END",
                dialect.to_text("substr(w.holder, 2)")
            ),
            format!("LEFT JOIN credentials c ON c.id = substr(w.holder, 2, 16) AND substr(w.holder, 1, 1) = {v}"),
        ),
    };
    let sql = format!(
        "SELECT k.id, k.key, k.key_version, w.kind, w.org, w.count FROM (SELECT w.key, substr(w.holder, 1, 1) AS kind, \
         {org} AS org, count(*) AS count FROM wraps w {joined} WHERE w.live = 1 GROUP BY 1, 2, 3) w \
         JOIN wrapping_keys k ON k.id = w.key ORDER BY k.key, k.key_version, w.kind, w.org"
    );
    cells::all(connection, &sql, &[], TABLE, |cells| {
        let _: i64 = cells.plain()?;
        let under = KeyVersion { key: cells.plain()?, version: cells.plain()? };
        let kind = cells.holder_kind()?;
        Ok(KeyUse { under, kind, org: cells.plain()?, count: cells.count()? })
    })
}

pub fn holders(
    connection: &dyn Sql,
    under: &KeyVersion,
    after: Option<&Holder>,
    limit: u32,
) -> Result<Vec<Holder>, Error> {
    let sql = "SELECT w.holder FROM wraps w WHERE w.key = (SELECT id FROM wrapping_keys WHERE key = ?1 \
         AND key_version = ?2) AND w.holder > ?3 AND w.live = 1 ORDER BY w.holder LIMIT ?4";
    let after = after.map(Holder::bytes).unwrap_or_default();
    cells::all(connection, sql, values![&under.key, &under.version, after, limit], TABLE, |cells| cells.holder())
}

pub fn lacking(connection: &dyn Sql, key: &str, after: Option<&Holder>, limit: u32) -> Result<Vec<Holder>, Error> {
    let sql = "SELECT DISTINCT w.holder FROM wraps w WHERE w.holder > ?2 AND w.live = 1 AND NOT EXISTS (SELECT 1 \
         FROM wraps r JOIN wrapping_keys k ON k.id = r.key WHERE r.holder = w.holder AND r.live = 1 AND k.key = ?1) \
         ORDER BY w.holder LIMIT ?3";
    let after = after.map(Holder::bytes).unwrap_or_default();
    cells::all(connection, sql, values![key, after, limit], TABLE, |cells| cells.holder())
}

pub fn held(connection: &dyn Sql, holder: &Holder) -> Result<Option<Held>, Error> {
    let what = match holder {
        Holder::Version { credential, version } => version_of(connection, *credential, *version)?,
        Holder::OrgKey(_) => Some(HeldFor::OrgKey),
        Holder::AuditKey { instance, number } => {
            let sql = "SELECT number, public FROM audit_keys WHERE instance = ?1 AND number = ?2";
            cells::first(connection, sql, values![instance, *number], "audit_keys", |cells| {
                let _: u32 = cells.plain()?;
                Ok(HeldFor::AuditKey { public: cells.plain()? })
            })?
        }
        Holder::Factor(id) => {
            let sql = "SELECT caller, blob FROM second_factors WHERE id = ?1";
            cells::first(connection, sql, values![id], "second_factors", |cells| {
                Ok(HeldFor::Factor { caller: cells.plain()?, blob: cells.plain()? })
            })?
        }
    };
    let wraps = of(connection, holder)?;
    Ok(what.filter(|_| !wraps.is_empty()).map(|what| Held { wraps, what }))
}

fn version_of(connection: &dyn Sql, credential: Uuid, version: u32) -> Result<Option<HeldFor>, Error> {
    let sql = format!(
        "SELECT v.credential_id, {}, c.org, c.project, c.provider, c.name \
         FROM {} JOIN credentials c ON c.id = v.credential_id WHERE v.credential_id = ?1 AND v.version = ?2",
        versions::BLOB,
        versions::JOINED
    );
    cells::first(connection, &sql, values![&credential, version], "org_integration_credentials", |cells| {
        cells.id()?;
        let blob = cells.plain()?;
        let [org, project, provider, name] = [cells.plain()?, cells.plain()?, cells.plain()?, cells.plain()?];
        Ok(HeldFor::Version { path: Path { org, project, provider, name }, blob })
    })
}

/// The id of a key, given to it where it has none.
pub fn key(connection: &dyn Sql, under: &KeyVersion) -> Result<i64, Error> {
    let sql = "SELECT id FROM wrapping_keys WHERE key = ?1 AND key_version = ?2";
    let id =
        |sql: &str, values: &[Value<'_>]| cells::first(connection, sql, values, "wrapping_keys", |cells| cells.plain());
    if let Some(id) = id(sql, values![&under.key, &under.version])? {
        return Ok(id);
    }
    let next = id("SELECT coalesce(max(id) + 1, ?1) FROM wrapping_keys", values![FIRST_KEY])?.unwrap_or(FIRST_KEY);
    let sql = "INSERT INTO wrapping_keys (id, key, key_version) VALUES (?1, ?2, ?3)";
    connection.execute(sql, values![next, &under.key, &under.version])?;
    Ok(next)
}
