//! The thread that makes changes. All replicas take turns: whoever has the turn reads rows, decides and writes, and nobody
//! else's change comes in between.
//!
//! ```text
//!   BEGIN, take the turn ─► change, change, …  each undone alone when it is refused ─► all their records ─► COMMIT
//! ```

use std::collections::HashSet;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::answers::allowed_by;
use super::chain::Chain;
use super::connection::Connection;
use super::desk::Desk;
use super::errors::Failure;
use super::record::{Confirmations, prove_room, unexplained};
use crate::store::sql::apply::{Applied, apply};
use crate::store::sql::orders::{Boxed, Done, Group, refused};
use crate::store::sql::{confirm, grants, ledger, meta};
use crate::store::{Change, Draft, Error, Keep, Receipt};

/// A transaction that lost against another is made again, for so long.
const DEADLINE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(5);

pub struct Changes {
    desk: Desk,
}

impl Changes {
    pub const fn new(desk: Desk) -> Self {
        Self { desk }
    }

    /// Ends when all senders are gone and everything is done.
    pub fn run(mut self, orders: &Receiver<Boxed>) {
        while let Ok(first) = orders.recv() {
            let group = Group::gather(first, orders);
            let before = *self.desk.chain.newest.change.borrow();
            let outcome = self.make(&group);
            self.desk.set_trouble(outcome.as_ref().err());
            group.answer(outcome);
            if *self.desk.chain.newest.change.borrow() != before {
                self.desk.tell();
            }
            self.desk.write_uses();
        }
    }

    fn make(&mut self, group: &Group) -> Result<Done, Error> {
        let begun = Instant::now();
        loop {
            self.desk.connect()?;
            let connection = self.desk.connection()?;
            let transaction = Transaction::new(connection, &self.desk.chain);
            match transaction.make(group) {
                Ok((done, used)) => {
                    self.desk.note_uses(used);
                    return Ok(done);
                }
                Err(error) => {
                    let failure = connection.failure();
                    _ = connection.rollback();
                    let may_succeed = matches!(failure, Some(Failure::Conflict | Failure::Duplicate));
                    if !may_succeed || begun.elapsed() > DEADLINE {
                        return Err(error);
                    }
                    std::thread::sleep(PAUSE);
                }
            }
        }
    }
}

struct Transaction<'a> {
    connection: &'a Connection,
    chain: &'a Chain,
    records: Vec<Draft>,
    newest_change: Option<u64>,
    used: HashSet<(Uuid, i64)>,
    /// What the rules in force are known by, once somebody needs to know.
    rules: Option<Option<String>>,
}

/// A change that was made, and which of the records is its own.
struct Made {
    applied: Applied,
    record: usize,
}

impl<'a> Transaction<'a> {
    fn new(connection: &'a Connection, chain: &'a Chain) -> Self {
        Self { connection, chain, records: Vec::new(), newest_change: None, used: HashSet::new(), rules: None }
    }

    fn make(mut self, group: &Group) -> Result<(Done, HashSet<(Uuid, i64)>), Error> {
        self.connection.begin_turn()?;
        let mut made = Vec::with_capacity(group.work.len());
        for (change, record) in &group.work {
            made.push(self.add(change, record)?);
        }
        let keep = |what: &Keep| refused(ledger::keep(self.connection, &self.chain.claim.chain, what));
        let kept = group.keeps.iter().map(keep).collect::<Result<_, _>>()?;
        if group.is_to_prove() {
            meta::count_proof(self.connection)?;
            prove_room(self.connection, &self.chain.claim)?;
        }
        let first = self.commit()?;
        let receipt = |made: Made| {
            let Made { applied: Applied { credential, version, health, .. }, record } = made;
            Receipt { sequence: first + record as u64, credential, version, health }
        };
        let outcomes = made.into_iter().map(|made| made.map(receipt)).collect();
        Ok(((outcomes, kept), self.used))
    }

    /// The inner error refuses this change and leaves nothing of it; the outer one spoils the transaction.
    fn add(&mut self, change: &Change, record: &Draft) -> Result<Result<Made, Error>, Error> {
        if let Some(rules) = allowed_by(change, record)
            && !self.are_in_force(rules)?
        {
            return Ok(Err(Error::OtherRules));
        }
        self.connection.savepoint()?;
        let applied = self.apply(change, record);
        match refused(applied.and_then(|applied| self.connection.release().map(|()| applied)))? {
            Ok(applied) => {
                self.newest_change = applied.newest_change.or(self.newest_change);
                let own = self.records.len();
                self.records.push(record.clone());
                self.records.extend(applied.also_told(record));
                self.records.extend(change.also().iter().map(|further| Draft::clone(further)));
                Ok(Ok(Made { applied, record: own }))
            }
            Err(refusal) => {
                self.connection.undo()?;
                Ok(Err(refusal))
            }
        }
    }

    fn apply(&mut self, change: &Change, record: &Draft) -> Result<Applied, Error> {
        let connection = self.connection;
        match change {
            Change::By { token, change } => {
                self.confirm_token(*token, record)?;
                self.apply(change, record)
            }
            Change::Serve { target, version, token, grant } => {
                if let Some(token) = token {
                    self.confirm_token(*token, record)?;
                }
                if confirm::served(connection, target.credential)? != Some((target.revision, *version)) {
                    return Err(confirm::stale(connection, target.credential)?);
                }
                grant.map_or(Ok(()), |grant| grants::spend(connection, grant, record.at)).map(|()| Applied::default())
            }
            Change::Test { target, version, from, token } => {
                if let Some(token) = token {
                    self.confirm_token(*token, record)?;
                }
                confirm::test(connection, *target, *version, *from).map(|()| Applied::default())
            }
            change => {
                if matches!(change, Change::KeepRules { .. }) {
                    self.rules = None;
                }
                apply(connection, &self.chain.claim.chain, change.clone(), record.at)
            }
        }
    }

    /// Looked at once: nobody else puts others in force meanwhile.
    fn are_in_force(&mut self, rules: &str) -> Result<bool, Error> {
        let in_force = match &mut self.rules {
            Some(known) => known,
            unknown => unknown.insert(meta::rules(self.connection)?),
        };
        Ok(in_force.as_deref() == Some(rules))
    }

    fn confirm_token(&mut self, token: Uuid, record: &Draft) -> Result<(), Error> {
        let at = record.at.as_microsecond();
        if at >= confirm::token(self.connection, token)?.ends_at {
            return Err(Error::Revoked);
        }
        self.used.insert((token, at));
        Ok(())
    }

    /// Appends the records. Whoever answers meanwhile waits from here on.
    fn commit(&mut self) -> Result<u64, Error> {
        let records: Vec<_> = self.records.iter().collect();
        let mut end = self.chain.end();
        let first = self.chain.append(&mut end, self.connection, &records, &Confirmations::default())?;
        let first = first.map_err(|_| unexplained())?;
        if let Some(newest) = self.newest_change {
            self.chain.newest.change.send_if_modified(|change| std::mem::replace(change, newest.max(*change)) < newest);
        }
        Ok(first)
    }
}
