//! Where checkpoints go besides the store: a file, and an HTTP endpoint. Whoever can write the database cannot reach what
//! has left the machine, and a log that was rewritten does not fit it any more.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use tokio::sync::{Mutex, MutexGuard, watch};
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use super::{Pause, Stuck, cursor, file, lag};
use crate::crypto::ledger::note::{self, Note};
use crate::http::{Client, Hosts, Request};
use crate::store::{Checkpoint, Keep, Store};

const PAGE: u32 = 100;

/// A place that checkpoints go to.
pub enum Place {
    /// Appended and forced to disk, one note after another.
    File(PathBuf),
    /// Each is the body of a POST.
    Url(Box<Endpoint>),
}

/// Only https, and only there: law 7.
pub struct Endpoint {
    client: Client,
    url: Uri,
    hosts: Hosts,
}

impl Place {
    pub fn url(client: Client, url: &str) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|_| "must be a URL".to_owned())?;
        let host = uri.host().filter(|_| uri.scheme_str() == Some("https"));
        let host = host.ok_or_else(|| "must begin with https:// and a host".to_owned())?;
        let hosts = Hosts::new(vec![host.to_owned()])?;
        Ok(Self::Url(Box::new(Endpoint { client, url: uri, hosts })))
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::File(_) => "checkpoint-file",
            Self::Url(_) => "checkpoint-url",
        }
    }

    async fn hand_on(&self, checkpoint: &Checkpoint) -> Result<(), String> {
        match self {
            Self::File(path) => {
                let (path, note) = (path.clone(), checkpoint.note.clone());
                let written = tokio::task::spawn_blocking(move || append(&path, &note)).await;
                written.map_err(|error| error.to_string())?
            }
            Self::Url(endpoint) => {
                let Endpoint { client, url, hosts } = &**endpoint;
                let plain = HeaderValue::from_static("text/plain; charset=utf-8");
                let request = Request {
                    method: Method::POST,
                    url: url.clone(),
                    headers: HeaderMap::from_iter([(header::CONTENT_TYPE, plain)]),
                    body: Zeroizing::new(checkpoint.note.clone().into_bytes()),
                };
                let answer = client.send(request, hosts).await.map_err(|error| error.to_string())?;
                match answer.status {
                    // A witness may have it already.
                    status if status.is_success() || status == StatusCode::CONFLICT => Ok(()),
                    status => Err(format!("the endpoint answered {status}")),
                }
            }
        }
    }
}

/// A place that is open. Whoever hands on to it takes turns: two that append to one file would spoil it.
#[derive(Clone)]
pub struct Copy {
    pub(super) name: &'static str,
    place: Arc<Mutex<Place>>,
}

impl Copy {
    pub fn to(place: Place) -> Self {
        Self { name: place.name(), place: Arc::new(Mutex::new(place)) }
    }

    /// Passes on every checkpoint, until shutdown; then those that are left, once.
    pub async fn follow(
        self,
        store: Arc<dyn Store>,
        mut news: watch::Receiver<u64>,
        mut shutdown: watch::Receiver<bool>,
    ) {
        let name = self.name;
        let mut pause = Pause::of(name);
        loop {
            news.borrow_and_update();
            let last = *shutdown.borrow();
            let failed = match self.pass_on(store.as_ref()).await {
                Ok(()) => {
                    pause.over();
                    None
                }
                failed => failed.err(),
            };
            match failed {
                Some(cause) if last => return tracing::warn!(copy = name, cause, "passed on after the next start"),
                Some(cause) => pause.after(&cause, &mut shutdown).await,
                None if last => return,
                None => tokio::select! {
                    _ = news.changed() => {}
                    () = async { drop(shutdown.wait_for(|down| *down).await) } => {}
                },
            }
        }
    }

    async fn pass_on(&self, store: &dyn Store) -> Result<(), String> {
        let name = self.name;
        let tell = |behind: u64| lag(name).set(behind as f64);
        while self.some(store, PAGE, None, tell).await.map_err(|stuck| stuck.to_string())? > 0 {}
        Ok(())
    }

    /// Passes on the next checkpoint of a chain that nobody writes any more. How many there were.
    pub(super) async fn next(&self, chain: &dyn Store, until: Instant) -> Result<usize, Stuck> {
        self.some(chain, 1, Some(until), |_| ()).await
    }

    /// The next of a chain, at most so many; keeps how far they have come. Tells by how many records it was behind.
    async fn some(
        &self,
        store: &dyn Store,
        limit: u32,
        until: Option<Instant>,
        tell: impl Fn(u64),
    ) -> Result<usize, Stuck> {
        let copy = cursor(self.name, store);
        let mut reached = store.cursor(&copy).await?.unwrap_or_default();
        let page = store.checkpoints(store.instance(), reached, limit).await?;
        tell(page.last().map_or(0, |last| last.size - reached));
        for checkpoint in &page {
            self.place(until).await?.hand_on(checkpoint).await.map_err(Stuck::Place)?;
            reached = checkpoint.size;
            store.keep(Keep::Cursor { copy: copy.clone(), reached }).await?;
        }
        Ok(page.len())
    }

    async fn place(&self, until: Option<Instant>) -> Result<MutexGuard<'_, Place>, Stuck> {
        match until {
            None => Ok(self.place.lock().await),
            Some(until) => timeout_at(until, self.place.lock()).await.map_err(|_| Stuck::Busy),
        }
    }
}

/// A crash may have left a part of a note: it goes, as nobody signed it. Whole notes are never touched.
fn append(path: &Path, note: &str) -> Result<(), String> {
    let append = || -> std::io::Result<()> {
        let mut file = file::open(path)?;
        let text = std::io::read_to_string(&file)?;
        if text.contains(note) {
            return Ok(());
        }
        let (_, whole) = note::read(&text);
        if whole < text.len() {
            if is_foreign(&text[whole..]) {
                return Err(std::io::Error::other("holds something that is no checkpoint"));
            }
            file.set_len(whole as u64)?;
        }
        file.write_all(format!("{note}\n").as_bytes())?;
        file.sync_all()
    };
    append().map_err(|error| format!("{}: {error}", path.display()))
}

/// What the file holds; nothing where there is none. An unfinished last note is left out.
pub fn read(path: &Path) -> Result<Vec<Note>, String> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.to_string()),
    };
    let (notes, whole) = note::read(&text);
    if is_foreign(&text[whole..]) {
        return Err(format!("holds something that is no checkpoint, from byte {whole} on"));
    }
    Ok(notes)
}

/// A line that is signed to its end was not left by a crash of ours.
fn is_foreign(rest: &str) -> bool {
    let signature = rest.find(&format!("\n{}", note::DASH));
    signature.is_some_and(|at| rest[at + 1..].contains('\n'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::ledger::note::{Checkpoint as Claim, Signer};

    fn notes() -> Vec<String> {
        let signer = Signer::new("0198", &[1; 32]).unwrap();
        let claim = |size| Claim { instance: "0198".into(), size, root: [1; 32], head: [2; 32], time: "now".into() };
        (1..4).map(|size| signer.sign(&claim(size)).to_string()).collect()
    }

    #[test]
    fn what_a_crash_left_of_a_note_goes_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("checkpoints");
        assert_eq!(read(&path), Ok(vec![]));
        let notes = notes();
        append(&path, &notes[0]).unwrap();
        let whole = std::fs::read_to_string(&path).unwrap();
        for cut in (0..notes[1].len()).filter(|cut| notes[1].is_char_boundary(*cut)) {
            std::fs::write(&path, format!("{whole}{}", &notes[1][..cut])).unwrap();
            assert_eq!(read(&path).unwrap().len(), 1);
            append(&path, &notes[1]).unwrap();
            // Once more, after an answer that got lost.
            append(&path, &notes[1]).unwrap();
            assert_eq!(
                std::fs::read_to_string(&path).unwrap(),
                format!("{}\n{}\n", notes[0], notes[1]),
                "cut at {cut}"
            );
        }
        let spoilt = format!("{whole}garbage\n\nmore\n{}\n", notes[2]);
        std::fs::write(&path, &spoilt).unwrap();
        assert!(append(&path, &notes[1]).is_err() && read(&path).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), spoilt);
    }

    #[test]
    fn only_https_is_posted_to() {
        let client = || Client::new(crate::http::Settings::default()).unwrap();
        assert!(Place::url(client(), "https://witness.example/strongroom").is_ok());
        for wrong in ["", "http://witness.example/", "witness.example", "https://127.0.0.1/", "file:///etc/passwd"] {
            assert!(Place::url(client(), wrong).is_err(), "{wrong}");
        }
    }
}
