//! One test of a version at a time, however many ask for it: they share its outcome. A test goes on when whoever began it
//! hangs up.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::{BoxFuture, FutureExt as _, Shared};
use tokio::task::AbortHandle;
use uuid::Uuid;

use crate::vault::Error;
use crate::vault::guard::Withheld;
use crate::vault::probing::Found;

/// A credential's id, and a version's number.
pub type Key = (Uuid, u32);

pub type Flight = Shared<BoxFuture<'static, Result<Arc<Found>, Withheld>>>;

#[derive(Clone, Default)]
pub struct Flights(Arc<Mutex<HashMap<Key, Airborne>>>);

struct Airborne {
    flight: Flight,
    task: AbortHandle,
    /// Nobody waits for it: it may end with the daemon.
    is_own: bool,
}

impl Flights {
    /// The flight that is under way, or a new one, with what it was to be made from in the first case.
    pub fn board<J, F>(&self, key: Key, is_own: bool, job: J, begin: impl FnOnce(J) -> F) -> (Flight, Option<J>)
    where
        F: Future<Output = Result<Found, Withheld>> + Send + 'static,
    {
        let mut airborne = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(one) = airborne.get_mut(&key) {
            one.is_own &= is_own;
            return (one.flight.clone(), Some(job));
        }
        let (work, landing) = (begin(job), Landing { flights: self.clone(), key });
        let task = tokio::spawn(async move {
            let _landing = landing;
            work.await
        });
        let abort = task.abort_handle();
        let flight = async move {
            // A panic's words may quote the secret.
            let landed = task.await.unwrap_or_else(|_| Err(Withheld::Failed(Error::bug("a test did not end"))));
            landed.map(Arc::new)
        };
        let flight = flight.boxed().shared();
        airborne.insert(key, Airborne { flight: flight.clone(), task: abort, is_own });
        (flight, None)
    }

    /// Ends the tests that nobody waits for.
    pub fn stop_own(&self) {
        let airborne = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        airborne.values().filter(|one| one.is_own).for_each(|one| one.task.abort());
    }
}

/// However a flight ends, the next may begin.
struct Landing {
    flights: Flights,
    key: Key,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.flights.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}
