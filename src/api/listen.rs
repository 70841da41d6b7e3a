//! The daemon's doors: TCP, TLS and Unix sockets, HTTP/1.1 and HTTP/2, one loop for all of them.
//!
//! Written here rather than taken from a framework for three reasons:
//!
//! - **Secrets linger in buffers.** What a connection has read and written stays in the buffers of hyper, h2 and rustls
//!   after the reply has left; they are reused, and wiped only when they are freed. So a handler that takes or gives a
//!   secret marks its connection ([`CarriedSecret`]); so does a refusal of any kind, for the secret may have come in the
//!   wrong place. [`Settings::close_idle_after`] after the last mark the connection is told to finish (GOAWAY, or no
//!   keep-alive) and ends with the last call on it. Calls that come later use a new connection; a client that does not
//!   send a call again which never left it (tonic does not) may see one cancelled, rarely. A call without a deadline,
//!   a watch, would keep it: it is cut after [`Settings::deadline`],
//!   and resumes elsewhere from its sequence number.
//! - **Strangers hold connections open.** Nobody is authenticated yet here, so each wait has an end: handshake, first
//!   bytes, headers, pings that stay unanswered, and the first call of somebody who proves who they are. The number of
//!   connections is bounded, of strangers among them, of calls on each, and of header bytes. A stranger in the way makes
//!   room for a newcomer, so that they lock nobody out.
//! - **A stop loses nothing.** The port closes first, calls in flight finish, and what is left after
//!   [`Settings::grace`] is cut.

mod connection;
mod lobby;
mod prefix;
mod socket;
mod tls;

use std::convert::Infallible;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use futures_util::FutureExt as _;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower::Service;

pub use connection::CarriedSecret;
pub use lobby::Guest;
use lobby::Lobby;
pub use socket::{Address, Error, Listener};
pub use tls::{Tls, check_still_good, tls};

/// After accepting failed for want of descriptors or memory: time for others to give some back.
const BREATH: Duration = Duration::from_millis(50);

/// The bounds of every connection.
#[derive(Clone, Debug)]
pub struct Settings {
    pub max_connections: usize,
    /// Concurrent calls on one HTTP/2 connection.
    pub max_streams: u32,
    /// Connections over which no caller has come yet; and those of them from one network.
    pub max_strangers: usize,
    pub max_strangers_per_source: usize,
    /// For the TLS handshake, for the first bytes, and for the headers of each HTTP/1.1 request.
    pub handshake: Duration,
    /// No call but a stream lives longer.
    pub deadline: Duration,
    pub close_idle_after: Duration,
    /// For calls in flight when the daemon stops.
    pub grace: Duration,
}

/// What [`serve`] accepts: axum routers, and tonic's routes as one.
pub trait Serves:
    Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
    + Clone
    + Send
    + 'static
{
}

impl<S> Serves for S where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
        + Clone
        + Send
        + 'static
{
}

/// Serves until `stop` turns true, then drains. Each request carries its [`crate::authn::Peer`], [`CarriedSecret`] and [`Guest`] as extensions.
pub async fn serve(listener: Listener, service: impl Serves, settings: Settings, mut stop: watch::Receiver<bool>) {
    let name = listener.key();
    let open = metrics::gauge!("strongroom_connections", "listener" => name);
    let settings = Arc::new(settings);
    let lobby = Lobby::new(name, Arc::clone(&settings));
    let mut connections = JoinSet::new();
    let mut full = false;
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next() => {
                open.set(connections.len() as f64);
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            // Gone before it was taken: the peer's own affair.
            Err(cause) if matches!(cause.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => continue,
            Err(cause) => {
                tracing::warn!(listener = name, %cause, "a connection was not accepted");
                tokio::time::sleep(BREATH).await;
                continue;
            }
        };
        let Some(place) = lobby.enter(peer.source()) else {
            metrics::counter!("strongroom_connections_refused_total", "listener" => name).increment(1);
            if !std::mem::replace(&mut full, true) {
                tracing::warn!(listener = name, open = connections.len(), "limits.max_connections is reached");
            }
            continue;
        };
        full = false;
        let (guest, settings) = (Arc::clone(&place.guest), Arc::clone(&settings));
        let connection = connection::run(stream, peer, guest, service.clone(), settings, stop.clone());
        connections.spawn(place.keep(connection).boxed());
        open.set(connections.len() as f64);
    }

    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(settings.grace, drained).await.is_err() {
        tracing::warn!(listener = name, cut = connections.len(), "shutdown.grace is over");
        connections.shutdown().await;
    }
    open.set(0.0);
}

#[cfg(test)]
mod wiped;
