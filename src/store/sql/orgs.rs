//! The table `org_destructions`, and what it takes to end an org.

use std::collections::BTreeMap;

use jiff::Timestamp;
use uuid::Uuid;

use super::super::org::{Destruction, OrgChange, Proof, Remains, Toll};
use super::super::{Credential, Error, Holder, Target};
use super::apply::{Act, Applied};
use super::cells::{self, Cells, json, stored};
use super::values;
use super::{Sql, Value, credentials, factors, wraps};

const TABLE: &str = "org_destructions";

/// In the order in which [`read`] takes them.
const COLUMNS: &str = "id, org, requested_by, requested_by_name, requested_at, destroy_at, began_at, ended_at, toll, \
     proof";

/// Credentials in memory at a time.
const PAGE: u32 = 500;

/// All of an org's credentials, by indexes that are there for lists.
const IDS: &str = "(SELECT id FROM credentials WHERE org = ?1 AND deleted_at IS NULL UNION ALL \
     SELECT id FROM credentials WHERE org = ?1 AND deleted_at IS NOT NULL)";

pub fn one(connection: &dyn Sql, id: Uuid) -> Result<Option<Destruction>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM org_destructions WHERE id = ?1");
    cells::first(connection, &sql, values![&id], TABLE, read)
}

/// Newest first, of one org or of all.
pub fn all(connection: &dyn Sql, org: Option<&str>) -> Result<Vec<Destruction>, Error> {
    let filter = if org.is_some() { "WHERE org = ?1" } else { "" };
    let sql = format!("SELECT {COLUMNS} FROM org_destructions {filter} ORDER BY requested_at DESC, id DESC");
    cells::all(connection, &sql, org.map(Value::from).as_slice(), TABLE, read)
}

pub fn under_way(connection: &dyn Sql, org: &str) -> Result<Option<Destruction>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM org_destructions WHERE org = ?1 AND ended_at IS NULL");
    cells::first(connection, &sql, values![org], TABLE, read)
}

/// Those that have begun, and those whose time has come.
pub fn due(connection: &dyn Sql, now: Timestamp) -> Result<Vec<Destruction>, Error> {
    let sql = format!(
        "SELECT {COLUMNS} FROM org_destructions WHERE ended_at IS NULL \
         AND (began_at IS NOT NULL OR destroy_at <= ?1) ORDER BY destroy_at, id"
    );
    cells::all(connection, &sql, values![now], TABLE, read)
}

/// What has its ciphertext though it is deleted.
pub fn kept(connection: &dyn Sql, org: &str, limit: u32) -> Result<Vec<Credential>, Error> {
    credentials::many(connection, "org = ?1 AND destroy_at IS NOT NULL ORDER BY id LIMIT ?2", values![org, limit])
}

/// Nothing of an org that is to be destroyed is stored any more: what came after would outlive it.
pub fn refuse(connection: &dyn Sql, org: &str) -> Result<(), Error> {
    match under_way(connection, org)? {
        None => Ok(()),
        Some(doomed) => {
            let until = Some(doomed.destroy_at).filter(|_| doomed.began_at.is_none());
            Err(Error::Doomed { org: doomed.org, until })
        }
    }
}

/// Reads everything again that an org ever had.
pub fn remains(connection: &dyn Sql, org: &str, now: Timestamp) -> Result<Remains, Error> {
    let count = |sql: &str| -> Result<u64, Error> {
        Ok(cells::first(connection, sql, values![org], TABLE, |cells| cells.count())?.unwrap_or_default())
    };
    let good = |table: &str| -> Result<u64, Error> {
        let sql = format!("SELECT count(*) FROM {table} WHERE org = ?1 AND revoked_at IS NULL AND expires_at > ?2");
        Ok(cells::first(connection, &sql, values![org, now], TABLE, |cells| cells.count())?.unwrap_or_default())
    };
    let versions = format!("FROM {IDS} c JOIN org_integration_credentials v ON v.credential_id = c.id");
    let dialect = connection.dialect();
    let [v, lowest, highest] = ["76", "00000000", "ffffffff"].map(|hex| dialect.bytes(hex));
    let [first, last] = [lowest, highest].map(|end| dialect.as_bytes(&format!("{v} || c.id || {end}")));
    let wrapped =
        format!("SELECT count(*) FROM {IDS} c JOIN wraps w ON w.live = 1 AND w.holder BETWEEN {first} AND {last}");
    let holder = Holder::OrgKey(org.to_owned()).bytes();
    let keys = "SELECT count(*) FROM wraps WHERE holder = ?1 AND live = 1";
    let keys = cells::first(connection, keys, values![holder], TABLE, |cells| cells.count())?.unwrap_or_default();
    let [versions_zeros, resealed_zeros] = ["v.sealed_blob", "r.sealed_blob"].map(|blob| dialect.zeros(blob));
    Ok(Remains {
        looked_at: count(&format!("SELECT count(*) {versions}"))?,
        ciphertexts: count(&format!("SELECT count(*) {versions} WHERE v.sealed_blob <> {versions_zeros}"))?
            + count(&format!(
                "SELECT count(*) FROM {IDS} c JOIN resealed_blobs r ON r.credential_id = c.id \
             WHERE r.sealed_blob <> {resealed_zeros}"
            ))?,
        wraps: count(&wrapped)? + keys,
        second_factors: count("SELECT count(*) FROM second_factors WHERE org = ?1")?,
        tokens: good("tokens")?,
        grants: good("grants")?,
    })
}

/// A credential is about to be destroyed: if it is for its org, it counts there.
pub fn count(connection: &dyn Sql, credential: &Credential) -> Result<(), Error> {
    let begun = under_way(connection, &credential.path.org)?.filter(|it| it.began_at.is_some());
    let Some(mut it) = begun else { return Ok(()) };
    let sql =
        "SELECT count(*) FROM org_integration_credential_states WHERE credential_id = ?1 AND state <> 'destroyed'";
    let versions = cells::first(connection, sql, values![&credential.id], TABLE, |cells| cells.count())?;
    it.toll.credentials += 1;
    it.toll.versions += versions.unwrap_or_default();
    let [first, last] = [0, u32::MAX].map(|version| Holder::Version { credential: credential.id, version });
    add(&mut it.toll.wraps, wraps::by_key(connection, &first, &last)?);
    set_toll(connection, it.id, &it.toll)
}

/// An org's credentials come back with it by the time that they have in common with it, and with nothing else: so each org
/// gets a time of its own.
pub fn put_off(connection: &dyn Sql, until: Timestamp) -> Result<(), Error> {
    let until = until.as_microsecond();
    let waiting = all(connection, None)?.into_iter().filter(|it| it.began_at.is_none());
    for (it, time) in waiting.filter(|it| it.destroy_at.as_microsecond() < until).zip(until + 1..) {
        let sql = "UPDATE credentials SET destroy_at = ?3 WHERE org = ?1 AND destroy_at = ?2";
        connection.execute(sql, values![&it.org, it.destroy_at, time])?;
        connection.execute("UPDATE org_destructions SET destroy_at = ?2 WHERE id = ?1", values![&it.id, time])?;
    }
    let begun = "SELECT org FROM org_destructions WHERE began_at IS NOT NULL AND ended_at IS NULL";
    let sql = format!("UPDATE credentials SET destroy_at = ?1 WHERE destroy_at < ?1 AND org NOT IN ({begun})");
    connection.execute(&sql, values![until])?;
    Ok(())
}

impl Act<'_> {
    pub fn org(&self, change: OrgChange) -> Result<Applied, Error> {
        match change {
            OrgChange::Destroy { id, org, by, by_name, destroy_at } => {
                let at = self.at;
                let row = Destruction {
                    id,
                    org,
                    requested_by: by,
                    requested_by_name: by_name,
                    requested_at: at,
                    destroy_at: stored(destroy_at),
                    began_at: None,
                    ended_at: None,
                    toll: Toll::default(),
                    proof: None,
                };
                self.destroy_org(&row)
            }
            OrgChange::Restore { id } => self.restore_org(id),
            OrgChange::Begin { id } => self.begin_org(id),
            OrgChange::End { id, proof } => self.end_org(id, &proof),
        }
    }

    /// All in one transaction: whoever writes at the same time waits for it.
    fn destroy_org(&self, row: &Destruction) -> Result<Applied, Error> {
        refuse(self.connection, &row.org)?;
        // What has this end is what comes back with the org.
        let sql = "SELECT 1 FROM credentials WHERE org = ?1 AND destroy_at = ?2";
        if self.connection.exists(sql, values![&row.org, row.destroy_at])? {
            return Err(Error::Stale { current: None });
        }
        insert(self.connection, row)?;
        let page =
            || credentials::many(self.connection, "org = ?1 AND deleted_at IS NULL LIMIT ?2", values![&row.org, PAGE]);
        self.each(page, |credential| {
            let target = Target { credential: credential.id, revision: credential.revision };
            self.delete(target, Some(row.destroy_at))
        })
    }

    fn restore_org(&self, id: Uuid) -> Result<Applied, Error> {
        let row = self.waiting_org(id)?;
        if row.began_at.is_some() || row.destroy_at <= self.at {
            return Err(Error::Stale { current: None });
        }
        self.connection.execute("DELETE FROM org_destructions WHERE id = ?1", values![&id])?;
        let filter = "org = ?1 AND destroy_at = ?2 LIMIT ?3";
        let page = || credentials::many(self.connection, filter, values![&row.org, row.destroy_at, PAGE]);
        self.each(page, |credential| self.undelete_among(credential))
    }

    fn begin_org(&self, id: Uuid) -> Result<Applied, Error> {
        let mut row = self.waiting_org(id)?;
        if row.began_at.is_some() || row.destroy_at > self.at {
            return Err(Error::Stale { current: None });
        }
        let holder = Holder::OrgKey(row.org.clone());
        add(&mut row.toll.wraps, wraps::by_key(self.connection, &holder, &holder)?);
        row.toll.org_keys = u64::from(wraps::drop_all(self.connection, &holder)?);
        for factor in factors::all(self.connection, Some(&row.org))? {
            let holder = Holder::Factor(factor.id);
            add(&mut row.toll.wraps, wraps::by_key(self.connection, &holder, &holder)?);
            wraps::drop_all(self.connection, &holder)?;
            row.toll.second_factors += 1;
        }
        self.connection.execute("DELETE FROM second_factors WHERE org = ?1", values![&row.org])?;
        let Remains { tokens, grants, .. } = remains(self.connection, &row.org, self.at)?;
        (row.toll.tokens, row.toll.grants) = (tokens, grants);
        for table in ["tokens", "grants"] {
            let sql = format!("UPDATE {table} SET revoked_at = ?2 WHERE org = ?1 AND revoked_at IS NULL");
            self.connection.execute(&sql, values![&row.org, self.at])?;
        }
        set_toll(self.connection, id, &row.toll)?;
        let sql = "UPDATE org_destructions SET began_at = ?2 WHERE id = ?1";
        self.connection.execute(sql, values![&id, self.at])?;
        Ok(Applied { destroyed: true, ..Applied::default() })
    }

    fn end_org(&self, id: Uuid, proof: &Proof) -> Result<Applied, Error> {
        let row = self.waiting_org(id)?;
        let left = remains(self.connection, &row.org, self.at)?;
        let waits = !kept(self.connection, &row.org, 1)?.is_empty();
        if row.began_at.is_none() || waits || !left.is_nothing() || left != proof.left {
            return Err(Error::Stale { current: None });
        }
        let sql = "UPDATE org_destructions SET ended_at = ?2, proof = ?3 WHERE id = ?1";
        self.connection.execute(sql, values![&id, self.at, json(proof)?])?;
        Ok(Applied::default())
    }

    fn waiting_org(&self, id: Uuid) -> Result<Destruction, Error> {
        one(self.connection, id)?.filter(|row| row.ended_at.is_none()).ok_or(Error::Stale { current: None })
    }

    /// A page after the other, until there is none: what is changed is on no page any more.
    fn each(
        &self,
        page: impl Fn() -> Result<Vec<Credential>, Error>,
        change: impl Fn(Credential) -> Result<Applied, Error>,
    ) -> Result<Applied, Error> {
        let mut newest_change = None;
        loop {
            let credentials = page()?;
            if credentials.is_empty() {
                return Ok(Applied { newest_change, ..Applied::default() });
            }
            for credential in credentials {
                newest_change = change(credential)?.newest_change.or(newest_change);
            }
        }
    }
}

fn add(wraps: &mut BTreeMap<String, u64>, more: Vec<(String, u64)>) {
    for (key, count) in more {
        *wraps.entry(key).or_default() += count;
    }
}

fn set_toll(connection: &dyn Sql, id: Uuid, toll: &Toll) -> Result<(), Error> {
    let sql = "UPDATE org_destructions SET toll = ?2 WHERE id = ?1";
    connection.execute(sql, values![&id, json(toll)?])?;
    Ok(())
}

fn insert(connection: &dyn Sql, row: &Destruction) -> Result<(), Error> {
    connection.insert(
        TABLE,
        &[
            ("id", (&row.id).into()),
            ("org", (&row.org).into()),
            ("requested_by", (&row.requested_by).into()),
            ("requested_by_name", (&row.requested_by_name).into()),
            ("requested_at", row.requested_at.into()),
            ("destroy_at", row.destroy_at.into()),
            ("toll", json(&row.toll)?.into()),
        ],
    )
}

fn read(cells: &mut Cells<'_>) -> Result<Destruction, Error> {
    Ok(Destruction {
        id: cells.id()?,
        org: cells.plain()?,
        requested_by: cells.plain()?,
        requested_by_name: cells.plain()?,
        requested_at: cells.time()?,
        destroy_at: cells.time()?,
        began_at: cells.optional_time()?,
        ended_at: cells.optional_time()?,
        toll: cells.json()?,
        proof: cells.optional_json()?,
    })
}
