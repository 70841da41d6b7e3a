//! Whoever proves nothing costs little, leaves little behind and is in nobody's way.

use std::thread;

use strongroom::pb::v1::GetCredentialRequest;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::*;
use crate::daemon::runtime;

/// Text of a token's form that nobody has issued; each costs a look.
fn nobodys(number: usize) -> String {
    format!("srt_{number:070}")
}

fn retry_after(head: &str) -> u64 {
    let line = head.lines().find_map(|line| line.strip_prefix("retry-after: "));
    line.unwrap_or_else(|| panic!("no retry-after: {head}")).parse().unwrap()
}

#[test]
fn two_thousand_idle_strangers_lock_nobody_out() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    let key = prepare(&daemon);
    let working = Working::start(&daemon, &key);
    working.goes_on(3);
    let idle: Vec<_> = (0..2_000)
        .map(|number| {
            let mut stream = connect(if number % 2 == 0 { &daemon.rest } else { grpc(&daemon) });
            // Some say nothing, some begin, some have been answered.
            let says: &[u8] = [&b""[..], b"P", b"GET /none HTTP/1.1\r\nhost: s\r\n\r\n"][number % 3];
            let _ = stream.write_all(says);
            stream
        })
        .collect();
    working.goes_on(20);
    assert!(metric(&daemon, "strongroom_strangers") <= 600.0);
    assert!(metric(&daemon, "strongroom_connections_displaced_total") > 500.0);
    assert_eq!(metric(&daemon, "strongroom_connections_refused_total"), 0.0);
    working.stop();
    drop(idle);
    assert!(daemon.stop().success());
}

#[test]
fn unfinished_handshakes_are_in_nobodys_way() {
    let home = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).unwrap();
    std::fs::write(home.path().join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(home.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let daemon = Daemon::start_with(home.path(), "[tls]\ncert = \"cert.pem\"\nkey = \"key.pem\"\n");
    let authority = home.path().join("cert.pem").display().to_string();
    let run =
        |args: &[&str], stdin: Option<&str>| daemon.cli(&daemon.token, &[args, &["--ca", &authority]].concat(), stdin);
    let key = openai_key("tls");
    assert!(run(&["setup", "acme", "openai", "--no-probe"], Some(&key)).status.success());

    let stop = Arc::new(AtomicBool::new(false));
    let floods: Vec<_> = (0..4)
        .map(|seed| {
            let (address, stop) = (grpc(&daemon).to_owned(), Arc::clone(&stop));
            thread::spawn(move || {
                let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
                let config = rustls::ClientConfig::builder_with_provider(provider)
                    .with_safe_default_protocol_versions()
                    .unwrap()
                    .with_root_certificates(rustls::RootCertStore::empty())
                    .with_no_client_auth();
                let (config, mut open) = (Arc::new(config), Vec::new());
                for number in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        return number;
                    }
                    let Ok(mut stream) = TcpStream::connect(&address) else { continue };
                    let name = "127.0.0.1".try_into().unwrap();
                    let mut client = rustls::ClientConnection::new(Arc::clone(&config), name).unwrap();
                    // The daemon signs, and hears no more.
                    let _ = client.write_tls(&mut stream);
                    if number % 2 == seed % 2 {
                        open.push(stream);
                    }
                    if open.len() > 300 {
                        open.clear();
                    }
                }
                0
            })
        })
        .collect();
    for _ in 0..8 {
        let read = run(&["decrypt", "acme", "openai"], None);
        assert_eq!(String::from_utf8(read.stdout).unwrap().trim(), key, "{}", String::from_utf8_lossy(&read.stderr));
    }
    stop.store(true, Ordering::SeqCst);
    let tried: u32 = floods.into_iter().map(|flood| flood.join().unwrap()).sum();
    assert!(tried > 100, "{tried}");
    assert!(daemon.stop().success());
}

#[test]
fn who_is_slow_is_left() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start_with(home.path(), "[limits]\nhandshake = \"700ms\"\ndeadline = \"1500ms\"\n");
    let key = prepare(&daemon);
    let working = Working::start(&daemon, &key);
    let post = "POST /integrations/acme/openai/setup HTTP/1.1\r\nhost: s\r\ncontent-type: application/json\r\n\
                content-length: 100000\r\n";
    let grpc_head = "POST /grpc.health.v1.Health/Check HTTP/1.1\r\nhost: s\r\ncontent-type: application/grpc\r\n\
                     content-length: 60000\r\n\r\n";
    let head_only = format!("{post}authorization: Bearer {}\r\n\r\n", daemon.token);
    let stranger = format!("{post}\r\n");
    for (what, address, opening, drip) in [
        ("headers", daemon.rest.as_str(), "GET / HTTP/1.1\r\n", "x: y\r\n"),
        ("a callers body", daemon.rest.as_str(), head_only.as_str(), "   "),
        ("a strangers body", daemon.rest.as_str(), stranger.as_str(), "   "),
        ("a health checks body", grpc(&daemon), grpc_head, "\0"),
        ("headers of a scrape", daemon.ops.as_str(), "GET /metrics HTTP/1.1\r\n", "x: y\r\n"),
    ] {
        let mut stream = connect(address);
        let start = Instant::now();
        stream.write_all(opening.as_bytes()).unwrap();
        let mut reader = stream.try_clone().unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&ended);
        let reading = thread::spawn(move || {
            let mut answer = Vec::new();
            let _ = reader.read_to_end(&mut answer);
            end.store(true, Ordering::SeqCst);
            String::from_utf8_lossy(&answer).into_owned()
        });
        while !ended.load(Ordering::SeqCst) && start.elapsed() < LONG {
            let _ = stream.write_all(drip.as_bytes());
            thread::sleep(Duration::from_millis(50));
        }
        let answer = reading.join().unwrap();
        assert!(start.elapsed() < Duration::from_secs(20), "{what}: {:?}", start.elapsed());
        if what == "a strangers body" {
            // Before any of it was read.
            assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
        }
    }
    working.stop();
    assert!(daemon.stop().success());
}

/// None of a stranger's body is read, nor waited for.
#[test]
fn strangers_are_answered_by_their_heads_alone() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    let grpc_path = "/strongroom.v1.CredentialService/SetupCredential";
    for (address, path) in [(daemon.rest.as_str(), "/integrations/acme/openai/setup"), (grpc(&daemon), grpc_path)] {
        let mut stream = connect(address);
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: s\r\ncontent-type: application/grpc\r\ncontent-length: 1000000000\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = [0; 4_096];
        let count = stream.read(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer[..count]).to_lowercase();
        assert!(answer.starts_with("http/1.1 401") || answer.contains("grpc-status: 16"), "{answer}");
    }
}

#[test]
fn a_flood_of_failures_is_recorded_in_short_and_counted_in_full() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start_with(home.path(), "[limits]\nmax_streams = 100\n");
    list(&daemon, &daemon.token);
    let database = daemon.database();
    let size = || {
        let sizes =
            ["", "-wal"].map(|end| std::fs::metadata(format!("{}{end}", database.display())).map_or(0, |it| it.len()));
        sizes.iter().sum::<u64>()
    };
    let before = size();
    let (mut unauthenticated, mut limited) = (0, 0);
    for number in 0..3_000 {
        match list(&daemon, &nobodys(number)) {
            (401, ..) => unauthenticated += 1,
            (429, head, _) => {
                limited += 1;
                assert!((1..=60).contains(&retry_after(&head)), "{head}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert!((20..200).contains(&unauthenticated), "{unauthenticated}");
    assert_eq!(metric(&daemon, "strongroom_failed_authentications_total"), f64::from(unauthenticated));
    assert_eq!(metric(&daemon, "strongroom_limited_total"), f64::from(limited));
    assert!(size() - before < 2_000_000, "{}", size() - before);
    // The log on stderr is somebody's disk, too.
    assert!(daemon.log().len() < 100_000, "{}", daemon.log().len());
    assert!(daemon.stop().success());
    let (failed, failed_records) = refusals(&database, "authenticate", "UNAUTHENTICATED");
    let (sent_away, sent_away_records) = refusals(&database, "authenticate", "LIMITED");
    assert_eq!((failed, sent_away), (unauthenticated as u64, limited as u64));
    assert!(failed_records + sent_away_records < 150, "{failed_records} and {sent_away_records} records");
}

#[test]
fn known_callers_come_in_from_where_failures_come_from() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start_with(home.path(), "[limits]\nfailed_authentications = 5\n");
    let (known, unknown) = runtime().block_on(async {
        (daemon.issue("operator", "acme", &["*"]).await, daemon.issue("operator", "acme", &["*"]).await)
    });
    assert_eq!(list(&daemon, &known).0, 200);
    let fail = || (0..20).map(|number| list(&daemon, &nobodys(number)).0).collect::<Vec<_>>();
    let answers = fail();
    assert!(answers.iter().filter(|status| **status == 429).count() > 10, "{answers:?}");
    // Longer each time, so that what follows meets it closed.
    let end = Instant::now() + Duration::from_secs(8);
    while Instant::now() < end {
        list(&daemon, &nobodys(0));
    }
    assert_eq!(list(&daemon, &known).0, 200);
    let (status, head, body) = list(&daemon, &unknown);
    assert_eq!(status, 429, "{body}");
    assert!(body.contains(r#""reason":"LIMITED""#), "{body}");
    let wait = retry_after(&head);
    runtime().block_on(async {
        let get = || GetCredentialRequest { org: "acme".into(), provider: "openai".into(), ..Default::default() };
        let refused = daemon.credentials(&unknown).await.get_credential(get()).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
        assert_eq!(refused.get_details_error_info().unwrap().reason, "LIMITED");
        assert!(refused.get_details_retry_info().unwrap().retry_delay.is_some());
        let found = daemon.credentials(&known).await.get_credential(get()).await.unwrap_err();
        assert_eq!(found.code(), Code::NotFound);
    });
    let said = daemon.cli(&unknown, &["list", "acme"], None);
    assert_eq!(said.status.code(), Some(9));
    let words = String::from_utf8(said.stderr).unwrap();
    assert!(words.contains("too much at a time") && words.contains("hint: try again in"), "{words}");
    let changed = |name: &str| refusals(&daemon.database(), "authenticate", name).0;
    assert!(changed("UNAUTHENTICATED") >= 5);

    // Whoever waits as long as they are told comes in, and then the others do.
    std::thread::sleep(Duration::from_secs(wait + 1));
    assert_eq!(list(&daemon, &unknown).0, 200);
    assert_eq!(list(&daemon, &nobodys(0)).0, 401);
}

/// Over the standard services that ask nobody who they are.
#[test]
fn what_is_open_to_everybody_listens_to_nobody_for_long() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start_with(home.path(), "[limits]\ndeadline = \"1s\"\n");
    runtime().block_on(async {
        use tonic_reflection::pb::v1::ServerReflectionRequest;
        use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
        use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;

        let ask = || ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let mut client = ServerReflectionClient::new(daemon.channel().await);
        let one = futures_util::stream::iter([ask()]);
        let mut answers = client.server_reflection_info(one).await.unwrap().into_inner();
        assert!(answers.message().await.unwrap().is_some(), "it is of use still");

        let endless = futures_util::stream::unfold((), move |()| async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Some((ask(), ()))
        });
        let mut answers = client.server_reflection_info(endless).await.unwrap().into_inner();
        let start = Instant::now();
        while let Ok(Some(_)) = answers.message().await {}
        assert!(start.elapsed() < Duration::from_secs(20));

        let much = futures_util::stream::iter((0..100_000).map(move |_| ask()));
        let mut answers = client.server_reflection_info(much).await.unwrap().into_inner();
        let mut count = 0;
        while let Ok(Some(_)) = answers.message().await {
            count += 1;
        }
        assert!(count < 50_000, "{count}");
    });
    assert!(daemon.stop().success());
}
