//! What one caller and one org may ask for, and that the others do not notice.

use futures_util::future::join_all;
use strongroom::pb::v1::{BatchDecryptRequest, CredentialRef, WatchCredentialsRequest};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::*;
use crate::daemon::{decrypt, runtime};

/// A call that has been let in and waits for its body.
fn begins(daemon: &Daemon, token: &str) -> TcpStream {
    let mut stream = connect(&daemon.rest);
    let head = format!(
        "POST /integrations/acme/openai/validate HTTP/1.1\r\nhost: s\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: 10\r\nexpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut asked_on = [0; 25];
    stream.read_exact(&mut asked_on).unwrap();
    assert_eq!(&asked_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

#[track_caller]
fn assert_limited(status: &Status) {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert_eq!(status.get_details_error_info().unwrap().reason, "LIMITED");
    assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
}

fn until(what: &str, like: impl Fn() -> bool) {
    let end = Instant::now() + LONG;
    while !like() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn one_caller_has_so_many_calls_and_one_org() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start_with(home.path(), "[limits]\ncaller_at_once = 3\norg_at_once = 5\n");
    prepare(&daemon);
    let [one, two, other] = runtime().block_on(async {
        let operator = async |org| daemon.issue("operator", org, &["*"]).await;
        [operator("acme").await, operator("acme").await, operator("other").await]
    });
    let held: Vec<_> = (0..3).map(|_| begins(&daemon, &one)).collect();
    let (status, head, body) = list(&daemon, &one);
    assert_eq!(status, 429, "three are in: {body}");
    assert!(head.contains("retry-after: 1") && body.contains("LIMITED"), "{head} {body}");
    assert_eq!(list(&daemon, &two).0, 200);
    let more: Vec<_> = (0..2).map(|_| begins(&daemon, &two)).collect();
    assert_eq!(list(&daemon, &two).0, 429, "the org has its five");
    // Neither other orgs nor who works for all of them is concerned.
    assert_eq!(ask(&daemon.rest, "GET", "/integrations/other", &other).0, 200);
    assert_eq!(list(&daemon, &daemon.token).0, 200);
    runtime().block_on(async {
        let refused = daemon.credentials(&one).await.decrypt_credential(decrypt("acme", "")).await.unwrap_err();
        assert_limited(&refused);
    });
    drop((held, more));
    until("places are given back", || list(&daemon, &one).0 == 200 && list(&daemon, &two).0 == 200);
    let database = daemon.database();
    let counted = metric(&daemon, "strongroom_limited_total") as u64;
    assert!(daemon.stop().success());
    let lists = refusals(&database, "list", "LIMITED");
    let decrypts = refusals(&database, "decrypt", "LIMITED");
    assert_eq!(lists.0 + decrypts.0, counted, "each is counted in the records");
    assert_eq!(decrypts, (1, 1));
}

#[test]
fn a_caller_that_asks_too_often_waits_and_no_other_does() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start_with(home.path(), "[limits]\ncaller_rate = 20\n");
    let key = prepare(&daemon);
    let greedy = runtime().block_on(daemon.issue("pipeline", "acme", &["openai"]));
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, token, rest) = (Arc::clone(&stop), greedy.clone(), daemon.rest.clone());
    let flood = std::thread::spawn(move || {
        let (mut served, mut limited) = (0_u64, 0_u64);
        while !stopped.load(Ordering::SeqCst) {
            match ask(&rest, "POST", "/integrations/acme/openai/decrypt", &token) {
                (200, ..) => served += 1,
                (429, head, _) if head.contains("retry-after: ") => limited += 1,
                other => panic!("{other:?}"),
            }
        }
        (served, limited)
    });
    until("the greedy one is limited", || metric(&daemon, "strongroom_limited_total") > 20.0);
    for _ in 0..10 {
        let (status, _, body) = ask(&daemon.rest, "POST", "/integrations/acme/openai/decrypt", &daemon.token);
        assert!(status == 200 && body.contains(&key), "{status} {body}");
        std::thread::sleep(Duration::from_millis(60));
    }
    stop.store(true, Ordering::SeqCst);
    let (served, limited) = flood.join().unwrap();
    assert!(served >= 20 && limited > 20, "{served} {limited}");
    let database = daemon.database();
    assert!(daemon.stop().success());
    let (count, records) = refusals(&database, "decrypt", "LIMITED");
    assert_eq!(count, limited);
    assert!(records < limited, "{records} records");
    // What was answered has a record of its own, always.
    assert_eq!(refusals(&database, "decrypt", "ok"), (served + 10, served + 10));
}

#[test]
fn a_batch_counts_as_what_it_holds() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start_with(home.path(), "[limits]\ncaller_rate = 50\n");
    prepare(&daemon);
    let pipeline = runtime().block_on(daemon.issue("pipeline", "acme", &["openai"]));
    runtime().block_on(async {
        let mut client = daemon.credentials(&pipeline).await;
        let one = CredentialRef { provider: "openai".into(), ..Default::default() };
        let batch = |count| BatchDecryptRequest { org: "acme".into(), credentials: vec![one.clone(); count] };
        client.batch_decrypt(batch(40)).await.unwrap();
        let refused = client.batch_decrypt(batch(40)).await.unwrap_err();
        assert_limited(&refused);
    });
}

#[test]
fn watches_have_a_number_and_the_default_lets_a_crowd_in() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start_with(home.path(), "[limits]\ncaller_watches = 2\n");
    let key = prepare(&daemon);
    runtime().block_on(async {
        let mut client = daemon.credentials(&daemon.token).await;
        let watch = || WatchCredentialsRequest { org: "acme".into(), after: Some(0), ..Default::default() };
        let mut open = Vec::new();
        for _ in 0..2 {
            let mut stream = client.watch_credentials(watch()).await.unwrap().into_inner();
            assert!(stream.message().await.unwrap().is_some());
            open.push(stream);
        }
        assert_limited(&client.watch_credentials(watch()).await.unwrap_err());
        drop(open.pop());
        let end = Instant::now() + LONG;
        while let Err(refused) = client.watch_credentials(watch()).await {
            assert_limited(&refused);
            assert!(Instant::now() < end, "the place is not given back");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let crowd = (0..600).map(|_| {
            let mut client = client.clone();
            async move { client.decrypt_credential(decrypt("acme", "")).await }
        });
        for answer in join_all(crowd).await {
            assert_eq!(answer.unwrap().into_inner().secret.unwrap().expose(), key.as_bytes());
        }
    });
}
