//! What others have left uncopied: chains that nobody writes any more reach the same places as this process's own, beside
//! it. A place that is slow or away is given up for a while; what it lacks then, it still lacks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::{Copy, Stuck, checkpoints};
use crate::store::{Store, Takers};

/// After this a place begins to take no more of a chain: the next one has its turn.
const TURN: Duration = Duration::from_secs(10);
/// Nobody waits longer for what a place has begun to take; at the end of the process, not as long.
const LONGEST: Duration = Duration::from_secs(30);
const LAST: Duration = Duration::from_secs(2);
/// A place that took nothing is left alone for so long.
const AGAIN: Duration = Duration::from_secs(10);

/// All places, for chains that nobody writes any more.
pub struct Others {
    lines: Vec<Line>,
    shutdown: watch::Receiver<bool>,
}

/// A place, and what became of it last.
#[derive(Clone)]
struct Line {
    place: Place,
    state: Arc<Mutex<State>>,
}

#[derive(Clone)]
enum Place {
    Records(Copy),
    Checkpoints(checkpoints::Copy),
}

#[derive(Clone, Copy)]
enum State {
    Well,
    Busy,
    FailedAt(Instant),
}

impl Others {
    pub fn new(records: &[Copy], checkpoints: &[checkpoints::Copy], shutdown: watch::Receiver<bool>) -> Self {
        let records = records.iter().cloned().map(Place::Records);
        let places = records.chain(checkpoints.iter().cloned().map(Place::Checkpoints));
        let line = |place| Line { place, state: Arc::new(Mutex::new(State::Well)) };
        Self { lines: places.map(line).collect(), shutdown }
    }

    /// Those that take something, as far as is known.
    pub fn takers(&self) -> Takers {
        let mut takers = Takers::default();
        for line in self.lines.iter().filter(|line| line.takes()) {
            match &line.place {
                Place::Records(copy) => takers.records.push(copy.name),
                Place::Checkpoints(copy) => takers.checkpoints.push(copy.name),
            }
        }
        takers
    }

    /// Hands on what they lack of a chain, as far as they take it before long.
    pub async fn complete(&self, chain: &Arc<dyn Store>) {
        let lines = self.lines.iter().filter(|line| line.takes());
        join_all(lines.map(|line| line.complete(chain, self.shutdown.clone()))).await;
    }
}

impl Line {
    fn takes(&self) -> bool {
        match *self.state() {
            State::Well => true,
            State::Busy => false,
            State::FailedAt(at) => at.elapsed() >= AGAIN,
        }
    }

    async fn complete(&self, chain: &Arc<dyn Store>, mut shutdown: watch::Receiver<bool>) {
        *self.state() = State::Busy;
        let (line, chain, going) = (self.clone(), Arc::clone(chain), shutdown.clone());
        // By itself: what a place has begun to take is not broken off, and nobody gives it a second piece meanwhile.
        let work = async move {
            let done = line.hand_on(chain.as_ref(), &going).await;
            *line.state() = if done { State::Well } else { State::FailedAt(Instant::now()) };
            // It may be the last that has it, and that waits.
            _ = tokio::task::spawn_blocking(move || drop(chain)).await;
        };
        let work = timeout(LONGEST, tokio::spawn(work.boxed()));
        tokio::select! {
            ended = work => if let Ok(Err(_)) = ended {
                *self.state() = State::FailedAt(Instant::now());
            },
            () = async { drop(shutdown.wait_for(|down| *down).await) }.then(|()| sleep(LAST)) => {}
        }
    }

    /// Whether the place took what it was handed. A chain that cannot be read says nothing against it.
    async fn hand_on(&self, chain: &dyn Store, shutdown: &watch::Receiver<bool>) -> bool {
        let (until, name, mut count) = (Instant::now() + TURN, self.place.name(), 0);
        let failed = loop {
            if Instant::now() >= until || *shutdown.borrow() {
                break None;
            }
            match self.place.next(chain, until).await {
                Ok(0) | Err(Stuck::Busy) => break None,
                Ok(more) => count += more,
                Err(stuck) => break Some(stuck),
            }
        };
        let chain = chain.instance();
        if count > 0 {
            tracing::info!(copy = name, chain, count, "copied what was left of a chain that nobody writes any more");
        }
        if let Some(stuck) = &failed {
            metrics::counter!("strongroom_audit_sink_failures_total", "sink" => name).increment(1);
            tracing::warn!(copy = name, chain, cause = %stuck, "what was left of a chain is not copied; trying again");
        }
        !matches!(failed, Some(Stuck::Place(_)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    const fn name(&self) -> &'static str {
        match self {
            Self::Records(copy) => copy.name,
            Self::Checkpoints(copy) => copy.name,
        }
    }

    async fn next(&self, chain: &dyn Store, until: Instant) -> Result<usize, Stuck> {
        match self {
            Self::Records(copy) => copy.next(chain, until).await,
            Self::Checkpoints(copy) => copy.next(chain, until).await,
        }
    }
}
