//! Who is connected to a listener, and whether anybody has proven there who they are. Whoever has not is a stranger: their
//! number is bounded, in all and for each network, and for one more the one that has waited longest goes. So strangers lock
//! nobody out, however many they are: a newcomer is always let in, and has the time until as many others have come.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use metrics::{Counter, Gauge};
use tokio::sync::watch;

use super::Settings;
use crate::authn::Source;

/// A stranger has this many times the time for a handshake.
const HANDSHAKES: u32 = 3;

pub(super) struct Lobby {
    settings: Arc<Settings>,
    inside: Mutex<Inside>,
    strangers: Gauge,
    displaced: Counter,
}

#[derive(Default)]
struct Inside {
    guests: HashMap<u64, Arc<Guest>>,
    next: u64,
}

/// The other side of a connection. Handlers tell it when a caller came over it.
pub struct Guest {
    source: Source,
    since: Instant,
    proven: AtomicBool,
    /// When a caller came over it last, in milliseconds since it was opened.
    last: AtomicU64,
    strangers: Gauge,
    leave: watch::Sender<bool>,
}

/// A guest's place, until the connection ends.
pub(super) struct Place {
    lobby: Arc<Lobby>,
    id: u64,
    pub guest: Arc<Guest>,
}

impl Lobby {
    pub fn new(listener: &'static str, settings: Arc<Settings>) -> Arc<Self> {
        Arc::new(Self {
            settings,
            inside: Mutex::default(),
            strangers: metrics::gauge!("strongroom_strangers", "listener" => listener),
            displaced: metrics::counter!("strongroom_connections_displaced_total", "listener" => listener),
        })
    }

    /// Makes room where there is none. None when everybody inside is a caller and busy.
    pub fn enter(self: &Arc<Self>, source: Source) -> Option<Place> {
        let settings = &self.settings;
        let mut inside = self.inside.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut strangers, mut of_source) = (0, 0);
        for guest in inside.guests.values().filter(|guest| !guest.is_proven()) {
            strangers += 1;
            of_source += usize::from(guest.source == source);
        }
        let is_full = inside.guests.len() >= settings.max_connections;
        if of_source >= settings.max_strangers_per_source {
            self.send_away(&mut inside, |guest| !guest.is_proven() && guest.source == source);
        } else if strangers >= settings.max_strangers || (is_full && strangers > 0) {
            self.send_away(&mut inside, |guest| !guest.is_proven());
        } else if is_full {
            let idle = settings.handshake * HANDSHAKES;
            self.send_away(&mut inside, |guest| guest.is_proven() && guest.is_idle(idle));
        }
        if inside.guests.len() >= settings.max_connections {
            return None;
        }
        let (leave, _) = watch::channel(false);
        let guest = Arc::new(Guest {
            source,
            since: Instant::now(),
            proven: AtomicBool::new(false),
            last: AtomicU64::new(0),
            strangers: self.strangers.clone(),
            leave,
        });
        guest.strangers.increment(1.0);
        let id = inside.next;
        inside.next += 1;
        inside.guests.insert(id, Arc::clone(&guest));
        drop(inside);
        Some(Place { lobby: Arc::clone(self), id, guest })
    }

    /// Of those, the one that has been quiet for longest.
    fn send_away(&self, inside: &mut Inside, whom: impl Fn(&Guest) -> bool) {
        let candidates = inside.guests.iter().filter(|(_, guest)| whom(guest));
        let Some(id) = candidates.min_by_key(|(id, guest)| (guest.heard(), **id)).map(|(id, _)| *id) else { return };
        if let Some(guest) = inside.guests.remove(&id) {
            guest.leave.send_replace(true);
            self.displaced.increment(1);
        }
    }
}

impl Guest {
    /// A caller came over this connection.
    pub fn prove(&self) {
        let now = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
        if !self.is_proven() && !self.proven.swap(true, Ordering::Relaxed) {
            self.strangers.decrement(1.0);
        }
    }

    pub(super) fn is_proven(&self) -> bool {
        self.proven.load(Ordering::Relaxed)
    }

    fn heard(&self) -> Instant {
        self.since + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }

    fn is_idle(&self, time: Duration) -> bool {
        self.heard().elapsed() > time
    }

    /// Resolves when another needs the place.
    pub(super) async fn must_leave(&self) {
        // The sender is the guest's own, and cannot be gone.
        let _ = self.leave.subscribe().wait_for(|leave| *leave).await;
    }

    /// Resolves when a stranger has stayed for too long.
    pub(super) async fn overstays(&self, handshake: Duration) {
        tokio::time::sleep_until((self.since + handshake * HANDSHAKES).into()).await;
        if self.is_proven() {
            std::future::pending().await
        }
    }
}

impl Place {
    /// Until the connection ends, or a stranger has to make room. A caller is told to finish instead.
    pub async fn keep(self, connection: impl Future<Output = ()>) {
        let sent_away = async {
            self.guest.must_leave().await;
            if self.guest.is_proven() {
                std::future::pending().await
            }
        };
        tokio::select! {
            () = connection => {}
            () = sent_away => {}
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.lobby.inside.lock().unwrap_or_else(PoisonError::into_inner).guests.remove(&self.id);
        // A call that is still under way must not count it once more.
        if !self.guest.proven.swap(true, Ordering::Relaxed) {
            self.guest.strangers.decrement(1.0);
        }
    }
}
