//! Writes that may block for ever, such as into a full pipe, on a thread of their own: neither the runtime nor the end of
//! the process waits for it.

use std::sync::mpsc::{SyncSender, sync_channel};

use tokio::sync::oneshot;

type Job = (Vec<u8>, oneshot::Sender<Result<(), String>>);

pub struct Thread(SyncSender<Job>);

/// What a thread writes into.
pub trait Blocking: Send + 'static {
    fn write(&mut self, bytes: &[u8]) -> Result<(), String>;
}

impl Thread {
    pub fn start(mut into: impl Blocking) -> Result<Self, String> {
        let (jobs, waiting) = sync_channel::<Job>(1);
        let work = move || {
            while let Ok((bytes, done)) = waiting.recv() {
                _ = done.send(into.write(&bytes));
            }
        };
        let thread = std::thread::Builder::new().name("audit-copy".into()).spawn(work);
        thread.map(|_| Self(jobs)).map_err(|error| error.to_string())
    }

    /// Comes back when it is written. One at a time: the caller waits.
    pub async fn write(&self, bytes: Vec<u8>) -> Result<(), String> {
        let (done, written) = oneshot::channel();
        self.0.try_send((bytes, done)).map_err(|_| "the thread that writes is busy or gone".to_owned())?;
        written.await.map_err(|_| "the thread that writes has ended".to_owned())?
    }
}
