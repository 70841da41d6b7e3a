//! What nobody may take from the others: through the real daemon, on real sockets.

mod callers;
mod floods;
mod strangers;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::daemon::{Daemon, openai_key};

/// Longer than anything here should take.
const LONG: Duration = Duration::from_secs(60);

/// The host and port of gRPC.
fn grpc(daemon: &Daemon) -> &str {
    daemon.addr.split("//").nth(1).unwrap()
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.set_write_timeout(Some(LONG)).unwrap();
    stream
}

/// What there is to decrypt.
fn prepare(daemon: &Daemon) -> String {
    let key = openai_key("limits");
    let body = format!(r#"{{"fields": {{"api_key": "{key}"}}, "no_probe": true}}"#);
    let (status, told) = daemon.http("POST", "/integrations/acme/openai/setup", &daemon.token, Some(&body));
    assert_eq!(status, 200, "{told}");
    key
}

/// A REST exchange with the answer's head.
fn ask(address: &str, method: &str, path: &str, token: &str) -> (u16, String, String) {
    try_ask(address, method, path, token).unwrap()
}

/// An error where the connection ends before it is answered.
fn try_ask(address: &str, method: &str, path: &str, token: &str) -> std::io::Result<(u16, String, String)> {
    let mut stream = connect(address);
    let head =
        format!("{method} {path} HTTP/1.1\r\nhost: s\r\nconnection: close\r\nauthorization: Bearer {token}\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let mut reply = String::new();
    if stream.read_to_string(&mut reply)? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    let (head, body) = reply.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {reply}"));
    Ok((head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_lowercase(), body.to_owned()))
}

fn list(daemon: &Daemon, token: &str) -> (u16, String, String) {
    ask(&daemon.rest, "GET", "/integrations/acme", token)
}

/// A caller who decrypts again and again, each time on a new connection, while something else goes on. Each answer must be
/// right and in time. Nobody knows a new connection for a caller's before it was read: one of very many from one place may
/// have to come again.
struct Working {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    thread: JoinHandle<Duration>,
}

impl Working {
    fn start(daemon: &Daemon, key: &str) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (rest, token, key) = (daemon.rest.clone(), daemon.token.clone(), key.to_owned());
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&done));
        let thread = std::thread::spawn(move || {
            let mut slowest = Duration::ZERO;
            while !stopped.load(Ordering::SeqCst) {
                let begin = Instant::now();
                let (status, _, body) = loop {
                    match try_ask(&rest, "POST", "/integrations/acme/openai/decrypt", &token) {
                        Ok(answered) => break answered,
                        Err(error) => assert!(begin.elapsed() < LONG, "{error}"),
                    }
                };
                assert!(status == 200 && body.contains(&key), "{status} {body}");
                slowest = slowest.max(begin.elapsed());
                count.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(5));
            }
            slowest
        });
        Self { stop, done, thread }
    }

    fn done(&self) -> u64 {
        self.done.load(Ordering::SeqCst)
    }

    /// At least so many more were answered.
    fn goes_on(&self, more: u64) {
        let (from, end) = (self.done(), Instant::now() + LONG);
        while self.done() < from + more {
            assert!(Instant::now() < end && !self.thread.is_finished(), "a caller is not served any more");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        let slowest = self.thread.join().unwrap();
        assert!(slowest < Duration::from_secs(20), "{slowest:?}");
    }
}

/// The sum of a metric over its labels.
fn metric(daemon: &Daemon, name: &str) -> f64 {
    let (_, page) = daemon.scrape("/metrics");
    let lines = page.lines().filter(|line| line.starts_with(name));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// How many refusals the records of an outcome stand for, and how many records there are. The daemon may be gone.
fn refusals(database: &std::path::Path, action: &str, outcome: &str) -> (u64, u64) {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let database = rusqlite::Connection::open_with_flags(database, flags).unwrap();
    let sql = "SELECT coalesce(sum(1 + coalesce(canonical ->> 'alike', 0)), 0), count(*) FROM audit_log \
               WHERE canonical ->> 'action' = ?1 AND canonical ->> 'outcome' = ?2";
    database
        .query_row(sql, [action, outcome], |row| Ok((row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64)))
        .unwrap()
}

/// Resident bytes.
fn resident(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
