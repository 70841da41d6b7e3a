//! The thread that records what is answered: one statement for a group, on a connection of its own, so that no answer waits
//! for somebody's change.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::connection::{Isolation, Limits};
use super::desk::Desk;
use super::errors::Failure;
use super::record::{Confirmations, Unfit, prove_room, unexplained};
use crate::store::sql::confirm;
use crate::store::sql::orders::{Boxed, Group};
use crate::store::{Change, Draft, Error, Receipt};

/// The pause that uses of tokens are written in.
const PAUSE: Duration = Duration::from_millis(25);
/// An answer that took longer to be recorded is not given: it was confirmed when the statement began, and may have been
/// revoked, and that acknowledged, since.
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
        let asked: Vec<_> = work.iter().map(|(change, record)| Asked::of(change, record)).collect();
        let mut refused: Vec<Option<Error>> = work.iter().map(|_| None).collect();
        let mut tries = 0;
        let first = loop {
            self.desk.connect()?;
            let left: Vec<_> = (0..work.len()).filter(|at| refused[*at].is_none()).collect();
            let records: Vec<_> = left.iter().map(|at| work[*at].1.as_ref()).collect();
            let (chain, connection) = (Arc::clone(&self.desk.chain), self.desk.connection()?);
            let begun = Instant::now();
            let appended = {
                let mut end = chain.end();
                let confirmations = Confirmations {
                    served: left.iter().filter_map(|at| asked[*at].served).collect(),
                    tokens: left.iter().filter_map(|at| asked[*at].token).collect(),
                    rules: left.iter().filter_map(|at| asked[*at].rules.clone()).collect(),
                };
                chain.append(&mut end, connection, &records, &confirmations)
            };
            match appended {
                Ok(Ok(_)) if begun.elapsed() > PROMPT && left.iter().any(|at| asked[*at].served.is_some()) => {
                    return Err(Error::Unavailable(format!("the database took {:?} to record it", begun.elapsed())));
                }
                Ok(Ok(first)) => break first,
                Ok(Err(unfit)) => {
                    let mut known = HashSet::new();
                    for at in left {
                        let Some(refusal) = asked[at].refusal(&unfit) else { continue };
                        known.insert(at);
                        refused[at] = Some(match refusal {
                            Refusal::Revoked => Error::Revoked,
                            Refusal::Stale(credential) => confirm::stale(connection, credential)?,
                            Refusal::OtherRules => Error::OtherRules,
                        });
                    }
                    if known.is_empty() {
                        return Err(unexplained());
                    }
                    if refused.iter().all(Option::is_some) {
                        return Ok(refused.into_iter().flatten().map(Err).collect());
                    }
                }
                Err(error) => {
                    tries += 1;
                    let is_taken = matches!(connection.failure(), Some(Failure::Duplicate | Failure::Conflict));
                    if !is_taken || tries == TRIES {
                        return Err(error);
                    }
                }
            }
        };
        self.desk.note_uses(asked.iter().zip(&refused).filter_map(|(asked, no)| asked.token.filter(|_| no.is_none())));
        let mut sequence = first;
        let receipt = |no: Option<Error>| match no {
            Some(refusal) => Err(refusal),
            None => {
                sequence += 1;
                Ok(Receipt { sequence: sequence - 1, credential: None, version: None, health: None })
            }
        };
        Ok(refused.into_iter().map(receipt).collect())
    }
}
