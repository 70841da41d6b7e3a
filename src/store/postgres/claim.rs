//! Which audit chain this process writes. Each chain has one writer at a time: a process takes one that was let go, or
//! begins one, and lets it go when it ends. One that died holds its own for a while; then another adopts it, does what is
//! left to be done, and lets it go.

use std::time::Duration;

use jiff::Timestamp;
use uuid::Uuid;

use super::connection::Connection;
use crate::store::migration::Entry;
use crate::store::sql::values;
use crate::store::sql::{Sql, cells, meta};
use crate::store::{Error, Takers};

/// Who has not said for so long that it is there has died. Longer than any statement, pause or partition that a process
/// comes back from; one that does come back writes nothing any more.
const DEAD_AFTER: Duration = Duration::from_secs(600);
/// Each says so three times in it.
const LATELY: Duration = Duration::from_secs(60);
/// By the database's clock: those of the replicas differ.
pub const NOW: &str = "CAST(extract(epoch FROM now()) * 1000000 AS BIGINT)";

/// A chain, and proof that this process is who writes it.
#[derive(Clone, Debug)]
pub struct Claim {
    pub chain: String,
    pub holder: Uuid,
}

impl Claim {
    /// In its turn: a migration that begins has been seen, or it sees this claim.
    pub fn take(connection: &Connection, entry: Entry) -> Result<Self, Error> {
        connection.begin_turn()?;
        let chosen = entry.admit(connection).and_then(|()| Self::choose(connection));
        let claim = chosen.and_then(|claim| connection.commit().map(|()| claim));
        if claim.is_err() {
            _ = connection.rollback();
        }
        claim
    }

    fn choose(connection: &dyn Sql) -> Result<Self, Error> {
        let holder = Uuid::now_v7();
        let free = "SELECT instance FROM instances WHERE holder IS NULL ORDER BY instance LIMIT 1";
        let found = cells::first(connection, free, &[], "instances", |cells| cells.plain())?;
        let chain = match found {
            Some(chain) => chain,
            // The first is what the database itself is known by.
            None if connection.exists("SELECT 1 FROM instances LIMIT 1", &[])? => Uuid::now_v7().to_string(),
            None => meta::instance(connection)?,
        };
        let sql = format!(
            "INSERT INTO instances (instance, holder, seen_at) VALUES (?1, ?2, {NOW}) \
             ON CONFLICT (instance) DO UPDATE SET holder = excluded.holder, seen_at = excluded.seen_at"
        );
        connection.execute(&sql, values![&chain, &holder])?;
        Ok(Self { chain, holder })
    }

    /// Says that this process is there. Whether the chain is still its own.
    pub fn renew(&self, connection: &dyn Sql) -> Result<bool, Error> {
        let sql = format!("UPDATE instances SET seen_at = {NOW} WHERE instance = ?1 AND holder = ?2");
        Ok(connection.execute(&sql, values![&self.chain, &self.holder])? > 0)
    }

    /// Whether another process has said lately that it is there.
    pub fn has_company(&self, connection: &dyn Sql) -> Result<bool, Error> {
        let sql = format!("SELECT 1 FROM instances WHERE holder <> ?1 AND seen_at > {NOW} - ?2 LIMIT 1");
        connection.exists(&sql, values![&self.holder, micros(LATELY)])
    }

    /// The first chain after a name that this process may adopt and that is not at rest: its process has died, or somebody
    /// has let it go that had not done all for it. With when another process was last heard of that holds it.
    pub fn unattended(
        &self,
        connection: &dyn Sql,
        after: &str,
        before: Option<Timestamp>,
        takers: &Takers,
    ) -> Result<Option<(String, Option<i64>)>, Error> {
        let undone = undone(before, takers).join(" OR ");
        let sql = format!(
            "SELECT i.instance, CASE WHEN i.holder <> ?3 THEN i.seen_at END FROM instances i \
             WHERE i.instance > ?1 AND i.instance <> ?2 AND {} AND (i.holder IS NOT NULL OR {undone}) \
             ORDER BY i.instance LIMIT 1",
            is_free()
        );
        let values = values![after, &self.chain, &self.holder, micros(DEAD_AFTER)];
        cells::first(connection, &sql, values, "instances", |cells| Ok((cells.plain()?, cells.plain()?)))
    }

    /// Takes such a chain, unless somebody was faster. Where a migration has begun, nobody writes any more.
    pub fn adopt(&self, connection: &Connection, chain: String) -> Result<Option<Self>, Error> {
        let sql = format!(
            "UPDATE instances AS i SET holder = ?3, seen_at = {NOW} WHERE i.instance = ?1 AND i.instance <> ?2 AND {}",
            is_free()
        );
        connection.begin_turn()?;
        let admitted = Entry::Work.admit(connection);
        let taken = admitted
            .and_then(|()| connection.execute(&sql, values![&chain, &self.chain, &self.holder, micros(DEAD_AFTER)]));
        let taken = taken.and_then(|rows| connection.commit().map(|()| rows > 0));
        if taken.is_err() {
            _ = connection.rollback();
        }
        Ok(taken?.then_some(Self { chain, holder: self.holder }))
    }

    /// A chain that was not begun is not kept either: a check that looks at everything leaves nothing.
    pub fn release(&self, connection: &dyn Sql) -> Result<(), Error> {
        let empty = "DELETE FROM instances WHERE instance = ?1 AND holder = ?2 \
             AND NOT EXISTS (SELECT 1 FROM audit_log WHERE instance = ?1)";
        connection.execute(empty, values![&self.chain, &self.holder])?;
        let sql = "UPDATE instances SET holder = NULL WHERE instance = ?1 AND holder = ?2";
        connection.execute(sql, values![&self.chain, &self.holder]).map(drop)
    }

    pub fn lost(&self) -> Error {
        Error::Unavailable(format!(
            "this process writes the audit chain {} no more: it had not been heard of for long, and another one, or a \
             migration, took it for dead. Restart it, and it takes another chain",
            self.chain
        ))
    }
}

/// Nobody else writes it: `?3` is who asks.
fn is_free() -> String {
    format!("(i.holder IS NULL OR i.holder = ?3 OR i.seen_at < {NOW} - ?4)")
}

/// What may be left to be done for a chain, each as a condition.
fn undone(before: Option<Timestamp>, takers: &Takers) -> Vec<String> {
    let newest =
        |what: &str, table: &str| format!("(SELECT max(t.{what}) FROM {table} t WHERE t.instance = i.instance)");
    let begun =
        |what: &str| format!("coalesce((SELECT b.{what} FROM audit_boundaries b WHERE b.instance = i.instance), 0)");
    let (records, checkpoints) = (newest("position", "audit_log"), newest("size", "audit_checkpoints"));
    let mut undone = vec![format!("{} > coalesce({checkpoints}, 0)", newest("sequence", "audit_log"))];
    // Whoever keeps all for ever takes nothing away.
    if let Some(before) = before.map(Timestamp::as_microsecond) {
        undone.push(format!(
            "EXISTS (SELECT 1 FROM audit_checkpoints c WHERE c.instance = i.instance AND c.newest_at < {before} \
             AND c.size > {})",
            begun("size")
        ));
        undone.push(format!(
            "EXISTS (SELECT 1 FROM audit_log l WHERE l.instance = i.instance AND l.position <= {})",
            begun("position")
        ));
    }
    let reached = |copy: &str| {
        format!("coalesce((SELECT a.reached FROM audit_cursors a WHERE a.copy = '{copy} of ' || i.instance), 0)")
    };
    // What was pruned reaches no copy any more.
    undone.extend(
        takers.records.iter().map(|copy| format!("{records} > greatest({}, {})", reached(copy), begun("position"))),
    );
    undone.extend(takers.checkpoints.iter().map(|copy| format!("{checkpoints} > {}", reached(copy))));
    undone
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Whether any process has said lately that it is there.
pub fn is_anybody_there(connection: &dyn Sql) -> Result<bool, Error> {
    let sql = format!("SELECT 1 FROM instances WHERE holder IS NOT NULL AND seen_at > {NOW} - ?1 LIMIT 1");
    connection.exists(&sql, values![micros(LATELY)])
}

/// Whoever comes back writes nothing any more.
pub fn shut_out(connection: &dyn Sql) -> Result<(), Error> {
    connection.execute("UPDATE instances SET holder = NULL", &[]).map(drop)
}

/// Chains that nobody writes, for processes to take.
pub fn offer(connection: &dyn Sql, chains: &[String]) -> Result<(), Error> {
    let sql = format!(
        "INSERT INTO instances (instance, holder, seen_at) VALUES (?1, NULL, {NOW}) \
         ON CONFLICT (instance) DO UPDATE SET holder = NULL"
    );
    chains.iter().try_for_each(|chain| connection.execute(&sql, values![chain]).map(drop))
}
