//! What a writer is asked for.

use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

use crate::store::{Change, Draft, Error, Keep, Receipt};

/// At most so many share one commit.
pub const GROUP: usize = 256;
/// More than this many commits do not wait in memory; the next ones wait to be let in.
pub const QUEUE: usize = 4096;

/// It waits in the queue in a box, which is wiped once it is done. The queue's own slots are not: they are kept for long
/// after, and a small change leaves most of a slot unwritten. What the sender's stack held, a piece of a request that was
/// just refused, would go along and stay.
#[allow(clippy::large_enum_variant, reason = "nearly every order is the large one")]
pub enum Order {
    Commit {
        change: Change,
        record: Arc<Draft>,
        answer: Answer<Receipt>,
        place: OwnedSemaphorePermit,
    },
    /// Keeps something about the audit log.
    Keep {
        what: Keep,
        answer: Answer<u64>,
    },
    /// Proves that a commit works.
    Prove {
        answer: Answer<()>,
    },
}

pub type Boxed = Box<Order>;

pub type Answer<T> = oneshot::Sender<Result<T, Error>>;

/// Why the newest group failed, if it did.
pub type Trouble = Arc<Mutex<Option<Error>>>;

/// Wakes those who wait for something new.
pub struct Newest {
    /// The sequence number of the newest change.
    pub change: watch::Sender<u64>,
    /// The number of the newest audit record.
    pub record: watch::Sender<u64>,
}

/// A group of orders, by what they are.
#[derive(Default)]
pub struct Group {
    pub work: Vec<(Change, Arc<Draft>)>,
    pub keeps: Vec<Keep>,
    answers: Vec<(Answer<Receipt>, OwnedSemaphorePermit)>,
    keepers: Vec<Answer<u64>>,
    proofs: Vec<Answer<()>>,
}

/// What came of a group's work and of what it was to keep.
pub type Done = (Vec<Result<Receipt, Error>>, Vec<Result<u64, Error>>);

impl Group {
    /// With what has come in meanwhile.
    pub fn gather(first: Boxed, orders: &Receiver<Boxed>) -> Self {
        let mut group = Self::default();
        let mut next = Some(first);
        for _ in 0..GROUP {
            let Some(order) = next.take().or_else(|| orders.try_recv().ok()) else { break };
            group.add(*order);
        }
        group
    }

    fn add(&mut self, order: Order) {
        match order {
            Order::Commit { change, record, answer, place } => {
                self.work.push((change, record));
                self.answers.push((answer, place));
            }
            Order::Keep { what, answer } => {
                self.keeps.push(what);
                self.keepers.push(answer);
            }
            Order::Prove { answer } => self.proofs.push(answer),
        }
    }

    pub fn is_to_prove(&self) -> bool {
        !self.proofs.is_empty()
    }

    /// A caller that has gone away does not take its answer; what was done stays done.
    pub fn answer(self, outcome: Result<Done, Error>) {
        let Self { answers, keepers, proofs, .. } = self;
        match outcome {
            Ok((outcomes, kept)) => {
                answers.into_iter().zip(outcomes).for_each(|((answer, _), outcome)| _ = answer.send(outcome));
                keepers.into_iter().zip(kept).for_each(|(answer, rows)| _ = answer.send(rows));
                proofs.into_iter().for_each(|answer| _ = answer.send(Ok(())));
            }
            Err(cause) => {
                answers.into_iter().for_each(|(answer, _)| _ = answer.send(Err(cause.clone())));
                keepers.into_iter().for_each(|answer| _ = answer.send(Err(cause.clone())));
                proofs.into_iter().for_each(|answer| _ = answer.send(Err(cause.clone())));
            }
        }
    }
}

/// Tells what is wrong with a piece of work from what is wrong with the store.
pub fn refused<T>(outcome: Result<T, Error>) -> Result<Result<T, Error>, Error> {
    match outcome {
        Err(error @ Error::Unavailable(_)) => Err(error),
        outcome => Ok(outcome),
    }
}
