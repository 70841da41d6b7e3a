//! Credentials that end, and are fetched anew before they do: by one caller, while the others go on with what there is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;

use super::Error;

/// This long before their end they are fetched anew, or after half of a life that is not twice as long.
const EARLY: Duration = Duration::from_secs(300);
/// After a fetch that failed while the old ones still serve.
const AGAIN: Duration = Duration::from_secs(30);

pub struct Held<T> {
    lease: ArcSwapOption<Lease<T>>,
    turn: Mutex<()>,
}

pub struct Lease<T> {
    pub value: Arc<T>,
    got: Instant,
    due: Option<Instant>,
    end: Option<Instant>,
}

pub struct Fetched<T> {
    pub value: T,
    /// None where they do not end.
    pub life: Option<Duration>,
}

impl<T> Held<T> {
    pub const fn new() -> Self {
        Self { lease: ArcSwapOption::const_empty(), turn: Mutex::const_new(()) }
    }

    /// What is held, or what is fetched now. However many wait, one fetches.
    pub async fn get(
        &self,
        now: Instant,
        fetch: impl Future<Output = Result<Fetched<T>, Error>> + Send,
    ) -> Result<Arc<Lease<T>>, Error> {
        if let Some(lease) = self.good(now) {
            if lease.due.is_none_or(|due| now < due) {
                return Ok(lease);
            }
            let Ok(_turn) = self.turn.try_lock() else { return Ok(lease) };
            // First: whoever fetches may be gone before it ends.
            self.put_off(&lease, now);
            return match fetch.await {
                Ok(fetched) => Ok(self.keep(fetched, now)),
                Err(error) => {
                    tracing::warn!(%error, "credentials are not renewed; the old ones serve until they end");
                    Ok(lease)
                }
            };
        }
        let _turn = self.turn.lock().await;
        match self.good(now) {
            Some(lease) => Ok(lease),
            None => fetch.await.map(|fetched| self.keep(fetched, now)),
        }
    }

    /// Somebody who was shown these did not take them. What has been fetched meanwhile stays.
    pub fn forget(&self, refused: &Lease<T>) {
        let held = self.lease.load();
        if held.as_ref().is_some_and(|held| Arc::ptr_eq(&held.value, &refused.value)) {
            self.lease.compare_and_swap(&held, None);
        }
    }

    fn good(&self, now: Instant) -> Option<Arc<Lease<T>>> {
        self.lease.load_full().filter(|lease| lease.end.is_none_or(|end| now < end))
    }

    fn keep(&self, fetched: Fetched<T>, got: Instant) -> Arc<Lease<T>> {
        let due = fetched.life.map(|life| got + life.saturating_sub(EARLY).max(life / 2));
        let end = fetched.life.map(|life| got + life);
        let lease = Arc::new(Lease { value: Arc::new(fetched.value), got, due, end });
        self.lease.store(Some(Arc::clone(&lease)));
        lease
    }

    fn put_off(&self, lease: &Lease<T>, now: Instant) {
        let due = Some(now + AGAIN);
        let later = Lease { value: Arc::clone(&lease.value), got: lease.got, due, end: lease.end };
        self.lease.store(Some(Arc::new(later)));
    }
}

impl<T> Lease<T> {
    /// Whether they are just fetched, so that fetching them again would bring the same.
    pub fn is_new(&self) -> bool {
        self.got.elapsed() < AGAIN
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn fetched(value: u32, seconds: u64) -> Result<Fetched<u32>, Error> {
        Ok(Fetched { value, life: Some(Duration::from_secs(seconds)) })
    }

    fn none() -> Result<Fetched<u32>, Error> {
        Err(Error::Unavailable("nobody there".into()))
    }

    async fn get(held: &Held<u32>, now: Instant, fetch: Result<Fetched<u32>, Error>) -> Result<u32, Error> {
        held.get(now, async { fetch }).await.map(|lease| *lease.value)
    }

    #[tokio::test]
    async fn they_are_fetched_anew_before_they_end_and_serve_until_then() {
        let (held, begin) = (Held::new(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        assert_eq!(get(&held, at(0), fetched(1, 3600)).await, Ok(1));
        assert_eq!(get(&held, at(3299), fetched(2, 3600)).await, Ok(1));
        assert_eq!(get(&held, at(3300), none()).await, Ok(1), "what fails now does not end what still serves");
        assert_eq!(get(&held, at(3301), fetched(2, 3600)).await, Ok(1), "and is not tried on every call");
        assert_eq!(get(&held, at(3330), fetched(3, 3600)).await, Ok(3));
        assert!(get(&held, at(3330 + 3600), none()).await.is_err(), "not longer than they live");
        assert_eq!(get(&held, at(7000), fetched(4, 60)).await, Ok(4));
        assert_eq!(get(&held, at(7029), fetched(5, 60)).await, Ok(4));
        assert_eq!(get(&held, at(7030), fetched(5, 60)).await, Ok(5), "a short life is renewed at its half");
    }

    #[tokio::test]
    async fn one_fetches_for_all_who_wait() {
        let (held, now) = (Held::new(), Instant::now());
        let fetches = AtomicU32::new(0);
        let wait = |_| async {
            let fetch = async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                fetched(fetches.fetch_add(1, Ordering::SeqCst), 3600)
            };
            held.get(now, fetch).await.map(|lease| *lease.value)
        };
        let all = futures_util::future::join_all((0..100).map(wait)).await;
        assert!(all.iter().all(|value| *value == Ok(0)));
        assert_eq!(fetches.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn while_one_renews_the_others_go_on() {
        let (held, now) = (Held::new(), Instant::now());
        get(&held, now, fetched(1, 3600)).await.unwrap();
        let late = now + Duration::from_secs(3400);
        let mut renewing = Box::pin(held.get(late, std::future::pending()));
        assert!(tokio::time::timeout(Duration::from_millis(10), &mut renewing).await.is_err());
        assert_eq!(get(&held, late, none()).await, Ok(1));
    }

    #[tokio::test]
    async fn whoever_goes_while_fetching_leaves_the_turn_to_the_next() {
        let (held, now) = (Held::new(), Instant::now());
        let never = held.get(now, std::future::pending());
        assert!(tokio::time::timeout(Duration::from_millis(10), never).await.is_err());
        assert_eq!(get(&held, now, fetched(1, 3600)).await, Ok(1));
    }

    #[tokio::test]
    async fn only_what_was_refused_is_forgotten() {
        let (held, now) = (Held::new(), Instant::now());
        let first = held.get(now, async { fetched(1, 3600) }).await.unwrap();
        held.forget(&first);
        assert_eq!(get(&held, now, fetched(2, 3600)).await, Ok(2));
        held.forget(&first);
        assert_eq!(get(&held, now, fetched(3, 3600)).await, Ok(2));
    }
}
