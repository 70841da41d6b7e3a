//! The thread that records what is answered: one statement for a group, on a connection of its own, so that no answer waits
//! for somebody's change.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::connection::{Connection, Isolation, Limits};
use super::desk::Desk;
use super::errors::Failure;
use super::record::{Confirmations, Unfit, prove_room, unexplained};
use crate::store::sql::confirm;
use crate::store::sql::orders::{Boxed, Group};
use crate::store::{Change, Draft, Error, Receipt};

/// The pause that uses of tokens are written in.
const PAUSE: Duration = Duration::from_millis(25);
/// An answer that took longer to be recorded is confirmed once more.
const PROMPT: Duration = Duration::from_secs(1);
/// What a lost connection left behind may have the next numbers of the chain.
const TRIES: usize = 3;
/// As records have it.
const OK: &str = "ok";

/// Whether a change is recorded here: nothing is written but its record.
pub fn is_answer(change: &Change) -> bool {
    match change {
        Change::Record | Change::Serve { grant: None, .. } => true,
        Change::By { change, .. } => matches!(**change, Change::Record),
        _ => false,
    }
}

/// The rules that allow somebody something. None allow the daemon its own work, and what was refused is told whatever the
/// rules are now.
pub fn allowed_by<'a>(change: &Change, record: &'a Draft) -> Option<&'a Arc<str>> {
    let is_told = match change {
        Change::By { change, .. } => matches!(**change, Change::Record),
        change => matches!(change, Change::Record),
    };
    record.rules.as_ref().filter(|_| !is_told || record.outcome == OK)
}

/// What one answer is given on.
struct Asked {
    served: Option<(Uuid, u64, u32)>,
    token: Option<(Uuid, i64)>,
    rules: Option<Arc<str>>,
}

impl Asked {
    fn of(change: &Change, record: &Draft) -> Self {
        let used = |token: &Uuid| (*token, record.at.as_microsecond());
        let (served, token) = match change {
            Change::Serve { target, version, token, .. } => {
                (Some((target.credential, target.revision, *version)), token.as_ref().map(used))
            }
            Change::By { token, .. } => (None, Some(used(token))),
            _ => (None, None),
        };
        Self { served, token, rules: allowed_by(change, record).cloned() }
    }

    fn refusal(&self, unfit: &Unfit) -> Option<Refusal> {
        match (self.token, self.served) {
            (Some((token, _)), _) if unfit.tokens.contains(&token) => Some(Refusal::Revoked),
            (_, Some((credential, ..))) if unfit.served.contains(&credential) => Some(Refusal::Stale(credential)),
            _ => self.rules.as_ref().filter(|rules| unfit.rules.contains(*rules)).map(|_| Refusal::OtherRules),
        }
    }
}

enum Refusal {
    Revoked,
    Stale(Uuid),
    OtherRules,
}

pub struct Answers {
    desk: Desk,
}

impl Answers {
    pub const fn new(desk: Desk) -> Self {
        Self { desk }
    }

    /// Ends when all senders are gone and everything is done.
    pub fn run(mut self, orders: &Receiver<Boxed>) {
        while let Some(first) = self.next(orders) {
            let group = Group::gather(first, orders);
            let outcome = self.prove(&group).and_then(|()| self.record(&group.work));
            self.desk.set_trouble(outcome.as_ref().err());
            group.answer(outcome.map(|outcomes| (outcomes, Vec::new())));
            if self.desk.uses.is_overdue() {
                self.desk.write_uses();
            }
        }
        self.desk.write_uses();
    }

    fn next(&mut self, orders: &Receiver<Boxed>) -> Option<Boxed> {
        if !self.desk.uses.is_empty() {
            match orders.recv_timeout(PAUSE) {
                Ok(order) => return Some(order),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => self.desk.write_uses(),
            }
        }
        orders.recv().ok()
    }

    fn prove(&mut self, group: &Group) -> Result<(), Error> {
        if !group.is_to_prove() {
            return Ok(());
        }
        self.desk.connect()?;
        let connection = self.desk.connection()?;
        connection.begin(Isolation::ReadCommitted, Limits::BRIEF, None)?;
        let proven = prove_room(connection, &self.desk.chain.claim);
        _ = connection.rollback();
        proven
    }

    /// One outcome for each, or why none of it was recorded.
    fn record(&mut self, work: &[(Change, Arc<Draft>)]) -> Result<Vec<Result<Receipt, Error>>, Error> {
        let mut together = Together::of(work);
        let mut tries = 0;
        let (first, recorded, took) = loop {
            let left = together.left();
            if left.is_empty() {
                return Ok(together.refused.into_iter().flatten().map(Err).collect());
            }
            self.desk.connect()?;
            let records: Vec<_> = left.iter().map(|at| work[*at].1.as_ref()).collect();
            let begun = Instant::now();
            match self.append(&records, &together.confirmations(&left)) {
                Ok(Ok(first)) => break (first, left, begun.elapsed()),
                Ok(Err(unfit)) => together.refuse(&left, &unfit, self.desk.connection()?)?,
                Err(error) => {
                    tries += 1;
                    let failure = self.desk.connection()?.failure();
                    let is_taken = matches!(failure, Some(Failure::Duplicate | Failure::Conflict));
                    if !is_taken || tries == TRIES {
                        return Err(error);
                    }
                }
            }
        };
        if took > PROMPT {
            self.confirm_again(&mut together)?;
        }
        let Together { asked, refused } = together;
        self.desk.note_uses(asked.iter().zip(&refused).filter_map(|(asked, no)| asked.token.filter(|_| no.is_none())));
        let number = |at: &usize| recorded.binary_search(at).map_or(first, |place| first + place as u64);
        let receipt = |(at, no): (usize, Option<Error>)| match no {
            Some(refusal) => Err(refusal),
            None => Ok(Receipt { sequence: number(&at), credential: None, version: None, health: None }),
        };
        Ok(refused.into_iter().enumerate().map(receipt).collect())
    }

    /// What took its time may have been revoked, and that acknowledged, since the statement began that confirmed it. It is
    /// recorded as answered then, and is not.
    fn confirm_again(&mut self, together: &mut Together) -> Result<(), Error> {
        for _ in 0..TRIES {
            let served = together.served();
            if served.is_empty() {
                return Ok(());
            }
            self.desk.connect()?;
            let begun = Instant::now();
            match self.append(&[], &together.confirmations(&served))? {
                Ok(_) if begun.elapsed() <= PROMPT => return Ok(()),
                Ok(_) => {}
                Err(unfit) => together.refuse(&served, &unfit, self.desk.connection()?)?,
            }
        }
        Err(Error::Unavailable(format!("the database took over {PROMPT:?} to record it, and again to confirm it")))
    }

    fn append(&self, records: &[&Draft], confirmations: &Confirmations) -> Result<Result<u64, Unfit>, Error> {
        let chain = &self.desk.chain;
        chain.append(&mut chain.end(), self.desk.connection()?, records, confirmations)
    }
}

/// What is asked for together, and what was refused of it.
struct Together {
    asked: Vec<Asked>,
    refused: Vec<Option<Error>>,
}

impl Together {
    fn of(work: &[(Change, Arc<Draft>)]) -> Self {
        let asked: Vec<_> = work.iter().map(|(change, record)| Asked::of(change, record)).collect();
        Self { refused: asked.iter().map(|_| None).collect(), asked }
    }

    fn left(&self) -> Vec<usize> {
        (0..self.asked.len()).filter(|at| self.refused[*at].is_none()).collect()
    }

    fn served(&self) -> Vec<usize> {
        self.left().into_iter().filter(|at| self.asked[*at].served.is_some()).collect()
    }

    fn confirmations(&self, these: &[usize]) -> Confirmations {
        let asked = || these.iter().map(|at| &self.asked[*at]);
        Confirmations {
            served: asked().filter_map(|asked| asked.served).collect(),
            tokens: asked().filter_map(|asked| asked.token).collect(),
            rules: asked().filter_map(|asked| asked.rules.clone()).collect(),
        }
    }

    fn refuse(&mut self, these: &[usize], unfit: &Unfit, connection: &Connection) -> Result<(), Error> {
        let mut is_explained = false;
        for at in these {
            let Some(refusal) = self.asked[*at].refusal(unfit) else { continue };
            is_explained = true;
            self.refused[*at] = Some(match refusal {
                Refusal::Revoked => Error::Revoked,
                Refusal::Stale(credential) => confirm::stale(connection, credential)?,
                Refusal::OtherRules => Error::OtherRules,
            });
        }
        if is_explained { Ok(()) } else { Err(unexplained()) }
    }
}
