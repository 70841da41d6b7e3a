//! What is between a replica and the database: bytes go through, wait, or the connection is cut.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum State {
    Flowing,
    /// Nothing goes through, in either direction, and nobody is told.
    Stalled,
}

pub struct Proxy {
    pub port: u16,
    state: watch::Sender<State>,
    /// Counts up: connections that were there before end.
    cuts: watch::Sender<u64>,
}

impl Proxy {
    pub async fn start(to: u16) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Arc::new(Self {
            port: listener.local_addr().unwrap().port(),
            state: watch::Sender::new(State::Flowing),
            cuts: watch::Sender::new(0),
        });
        let shared = Arc::clone(&proxy);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (state, mut cuts) = (shared.state.subscribe(), shared.cuts.subscribe());
                cuts.borrow_and_update();
                tokio::spawn(async move {
                    let Ok(far) = TcpStream::connect(("127.0.0.1", to)).await else { return };
                    let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
                    tokio::select! {
                        () = pass(from_near, to_far, state.clone()) => {}
                        () = pass(from_far, to_near, state) => {}
                        _ = cuts.changed() => {}
                    }
                });
            }
        });
        proxy
    }

    pub fn set(&self, state: State) {
        self.state.send_replace(state);
    }

    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut state: watch::Receiver<State>,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count) = from.read(&mut buffer).await {
        let flows = state.wait_for(|state| *state == State::Flowing).await.is_ok();
        if count == 0 || !flows || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
