//! Copies: complete, late at worst, and never in an answer's way.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use strongroom::crypto::ledger::chain::Place;
use tokio::sync::mpsc;

use super::*;
use crate::daemon::runtime;

/// The numbers of the records that are in the database.
fn recorded(home: &Path) -> BTreeSet<u64> {
    let database = rusqlite::Connection::open(home.join("strongroom-data/strongroom.db")).unwrap();
    let mut statement = database.prepare("SELECT sequence FROM audit_log").unwrap();
    statement.query_map([], |row| row.get::<_, i64>(0)).unwrap().map(|row| row.unwrap().unsigned_abs()).collect()
}

fn sequence(canonical: &str) -> u64 {
    Place::of(canonical).unwrap_or_else(|| panic!("no record: {canonical}")).sequence
}

fn copied(path: &Path) -> BTreeSet<u64> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(sequence).collect()
}

#[test]
fn a_file_and_stdout_hold_every_record() {
    let home = tempfile::tempdir().unwrap();
    let config = format!("{OFTEN}[audit.file]\npath = \"audit.jsonl\"\n[audit.stdout]\nenabled = true\n");
    let daemon = Daemon::start_with(home.path(), &config);
    let token = daemon.token.clone();
    runtime().block_on(live(&daemon, &token, 0));
    // Moved away by a log rotation.
    std::fs::rename(home.path().join("audit.jsonl"), home.path().join("audit.jsonl.1")).unwrap();
    runtime().block_on(live(&daemon, &token, 10));
    assert!(daemon.stop().success());
    let all = recorded(home.path());
    let (old, new) = (copied(&home.path().join("audit.jsonl.1")), copied(&home.path().join("audit.jsonl")));
    assert!(!old.is_empty() && !new.is_empty());
    assert_eq!(&old | &new, all);
    // The daemon's own words are on stdout too, before.
    let said = std::fs::read_to_string(home.path().join("stdout")).unwrap();
    let lines: BTreeSet<u64> = said.lines().filter(|line| line.starts_with('{')).map(sequence).collect();
    assert_eq!(lines, all);
}

#[test]
fn syslog_takes_every_record() {
    let home = tempfile::tempdir().unwrap();
    let socket = UnixDatagram::bind(home.path().join("log.sock")).unwrap();
    let daemon = Daemon::start_with(home.path(), "[audit.syslog]\naddress = \"unix:log.sock\"\n");
    let token = daemon.token.clone();
    let received = std::thread::spawn(move || {
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let (mut found, mut buffer) = (BTreeSet::new(), [0; 65_536]);
        while let Ok(length) = socket.recv(&mut buffer) {
            let message = std::str::from_utf8(&buffer[..length]).unwrap().to_owned();
            assert!(message.starts_with("<110>1 20"), "{message}");
            found.insert(sequence(message.split_once(" - strongroom - audit - ").unwrap().1));
        }
        found
    });
    runtime().block_on(live(&daemon, &token, 0));
    assert!(daemon.stop().success());
    assert_eq!(received.join().unwrap(), recorded(home.path()));
    // UDP is the same message.
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let home = tempfile::tempdir().unwrap();
    let address = format!("[audit.syslog]\naddress = \"udp://{}\"\n", udp.local_addr().unwrap());
    let _daemon = Daemon::start_with(home.path(), &address);
    let mut buffer = [0; 65_536];
    let length = udp.recv(&mut buffer).unwrap();
    assert!(buffer[..length].starts_with(b"<110>1 "));
}

/// Nobody there, then somebody who does not read: answers go on; when somebody reads, nothing is missing.
#[test]
fn a_sink_that_is_away_or_blocks_holds_up_no_answer_and_loses_nothing() {
    let place = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start_with(home.path(), &format!("[audit.syslog]\naddress = \"tcp://{place}\"\n"));
    let token = daemon.token.clone();
    runtime().block_on(live(&daemon, &token, 0));
    daemon.logged(|line| line.contains("does not get through") && line.contains("syslog"));
    let (_, metrics) = daemon.scrape("/metrics");
    let lag = metrics.lines().find(|line| line.starts_with("strongroom_audit_sink_lag_records{sink=\"syslog\"}"));
    assert!(lag.is_some_and(|line| !line.ends_with(" 0")), "{metrics}");

    let listener = TcpListener::bind(place).unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    runtime().block_on(live(&daemon, &token, 10));
    let end = Instant::now() + Duration::from_secs(30);
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let (mut read, mut found) = (Vec::new(), BTreeSet::new());
    while found != recorded(home.path()) {
        assert!(Instant::now() < end, "{found:?}");
        let mut buffer = [0; 65_536];
        let length = stream.read(&mut buffer).unwrap_or(0);
        read.extend_from_slice(&buffer[..length]);
        found.extend(frames(&mut read));
    }
}

/// Nobody reads the pipe that stdout goes to: answers go on, the lag grows, and the end does not wait.
#[test]
fn a_full_pipe_holds_up_no_answer_and_no_end() {
    let home = tempfile::tempdir().unwrap();
    // Where the daemon's stdout is kept: full, it keeps the pipe before it full too.
    let kept = home.path().join("stdout");
    assert!(std::process::Command::new("mkfifo").arg(&kept).status().unwrap().success());
    let _unread = std::fs::File::options().read(true).write(true).open(&kept).unwrap();
    let daemon = Daemon::start_with(home.path(), "[audit.stdout]\nenabled = true\n");
    let runtime = runtime();
    let mut client = runtime.block_on(daemon.credentials(&daemon.token));
    runtime.block_on(client.setup_credential(setup("acme", "base", &openai_key("base")))).unwrap();
    let lag = || {
        let (_, metrics) = daemon.scrape("/metrics");
        let lag =
            metrics.lines().find_map(|line| line.strip_prefix("strongroom_audit_sink_lag_records{sink=\"stdout\"} "));
        lag.unwrap_or_default().parse().unwrap_or(0)
    };
    let (end, mut answers) = (Instant::now() + Duration::from_secs(60), 0_u32);
    // So many fit into no two pipes.
    while answers < 1_500 || lag() < 300 {
        assert!(Instant::now() < end, "after {answers} answers the lag is {}", lag());
        runtime.block_on(client.decrypt_credential(decrypt("acme", "base"))).unwrap();
        answers += 1;
    }
    assert!(daemon.stop().success());
}

/// Octet counting.
fn frames(read: &mut Vec<u8>) -> Vec<u64> {
    let mut found = Vec::new();
    while let Some(space) = read.iter().position(|byte| *byte == b' ') {
        let length: usize = std::str::from_utf8(&read[..space]).unwrap().parse().unwrap();
        if read.len() < space + 1 + length {
            break;
        }
        let message = String::from_utf8(read[space + 1..space + 1 + length].to_vec()).unwrap();
        found.push(sequence(message.split_once(" - audit - ").unwrap().1));
        read.drain(..space + 1 + length);
    }
    found
}

struct Collector(mpsc::UnboundedSender<u64>);

#[tonic::async_trait]
impl LogsService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportLogsServiceRequest>,
    ) -> Result<tonic::Response<ExportLogsServiceResponse>, tonic::Status> {
        for record in request
            .into_inner()
            .resource_logs
            .into_iter()
            .flat_map(|logs| logs.scope_logs)
            .flat_map(|logs| logs.log_records)
        {
            let Some(Value::StringValue(canonical)) = record.body.and_then(|body| body.value) else {
                panic!("no text")
            };
            self.0.send(sequence(&canonical)).unwrap();
        }
        Ok(tonic::Response::new(ExportLogsServiceResponse::default()))
    }
}

#[test]
fn a_collector_takes_every_record_by_otlp() {
    let home = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let (sender, mut taken) = mpsc::unbounded_channel();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let place = listener.local_addr().unwrap();
    let incoming = futures_util::stream::unfold(listener, |listener| async {
        Some((listener.accept().await.map(|(stream, _)| stream), listener))
    });
    let server = tonic::transport::Server::builder().add_service(LogsServiceServer::new(Collector(sender)));
    runtime.spawn(server.serve_with_incoming(incoming));
    let daemon = Daemon::start_with(home.path(), &format!("[audit.otlp]\nendpoint = \"http://{place}\"\n"));
    let token = daemon.token.clone();
    runtime.block_on(live(&daemon, &token, 0));
    assert!(daemon.stop().success());
    let mut found = BTreeSet::new();
    while let Ok(sequence) = taken.try_recv() {
        found.insert(sequence);
    }
    assert_eq!(found, recorded(home.path()));
}

/// Killed while it signs and copies.
#[test]
fn killed_it_loses_neither_a_copy_nor_a_checkpoint() {
    let home = tempfile::tempdir().unwrap();
    let config = "[audit]\ncheckpoint_every = \"20ms\"\ncheckpoint_file = \"checkpoints\"\n\
                  [audit.file]\npath = \"audit.jsonl\"\n";
    let mut daemon = Daemon::start_with(home.path(), config);
    let token = daemon.token.clone();
    for round in 0..4 {
        let runtime = runtime();
        let mut client = runtime.block_on(daemon.credentials(&token));
        let name = format!("k{round}");
        runtime.block_on(client.setup_credential(setup("acme", &name, &openai_key(&name)))).unwrap();
        let until = Instant::now() + Duration::from_millis(150 + 70 * round);
        while Instant::now() < until {
            runtime.block_on(client.decrypt_credential(decrypt("acme", &name))).unwrap();
        }
        daemon.kill();
        // It starts only when the file's newest checkpoint fits the database.
        daemon = Daemon::start_with(home.path(), config);
    }
    let verified = daemon.cli(&token, &["audit", "verify"], None);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    assert!(daemon.stop().success());
    assert_eq!(copied(&home.path().join("audit.jsonl")), recorded(home.path()));
    let notes = std::fs::read_to_string(home.path().join("checkpoints")).unwrap();
    let (notes, whole) = strongroom::crypto::ledger::note::read(&notes);
    assert!(notes.len() > 4 && whole > 0);
    let newest = notes.iter().filter_map(|note| note.claims()).map(|claim| claim.size).max();
    assert_eq!(newest, recorded(home.path()).last().copied());
}
