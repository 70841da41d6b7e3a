//! A request whose headers were believed, and whose body comes when its token is worth nothing any more.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use strongroom::pb::v1::WatchCredentialsRequest;

use super::*;

/// A call that has been let in and waits for its body.
fn begins(daemon: &Daemon, path: &str, token: &str) -> TcpStream {
    let mut stream = TcpStream::connect(&daemon.rest).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: s\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut asked_on = [0; 25];
    stream.read_exact(&mut asked_on).unwrap();
    assert_eq!(&asked_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

fn ends(mut stream: TcpStream) -> String {
    stream.write_all(b"{}").unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    reply
}

const DECRYPT: &str = "/integrations/acme/openai/decrypt";

#[test]
fn who_is_no_caller_any_more_gets_no_answer_to_what_they_began() {
    let play = Play::new();
    let signer = Signer::rsa("k1");
    play.publish_keys(&[&signer]);
    let daemon = play.start("");
    let token = signer.token(&claims(&[]));
    let reload = |more: &str, team: &str| {
        let text = callers(more).replacen("team = \"blue\"", &format!("team = \"{team}\""), 1);
        std::fs::write(play.home.path().join("callers.toml"), text).unwrap();
        daemon.signal("HUP");
    };
    runtime().block_on(try_decrypt(&daemon, &token, "acme")).unwrap();

    // Another file that says the same of them takes nothing away.
    let held = begins(&daemon, DECRYPT, &token);
    reload("# the same", "blue");
    daemon.logged(|line| line.contains("are in force"));
    let reply = ends(held);
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");

    let held = begins(&daemon, DECRYPT, &token);
    reload("", "green");
    runtime().block_on(until(&daemon, &token, Result::is_err)).unwrap_err();
    let reply = ends(held);
    assert!(reply.starts_with("HTTP/1.1 401"), "{reply}");
    assert!(!reply.contains("sk-proj-"), "{reply}");
    assert!(daemon.stop().success());
}

#[test]
fn a_watch_ends_with_the_key_that_its_token_was_signed_by() {
    let play = Play::new();
    let (first, second) = (Signer::rsa("k1"), Signer::rsa("k2"));
    play.publish_keys(&[&first]);
    let daemon = play.start("refresh = \"1s\"");
    let operators = callers("refresh = \"1s\"").replacen("\"pipeline\"", "\"operator\"", 1);
    std::fs::write(play.home.path().join("callers.toml"), operators).unwrap();
    daemon.signal("HUP");
    daemon.logged(|line| line.contains("are in force"));
    let token = first.token(&claims(&[]));
    runtime().block_on(async {
        let request = || WatchCredentialsRequest { org: "acme".into(), ..WatchCredentialsRequest::default() };
        let mut changes = daemon.credentials(&token).await.watch_credentials(request()).await.unwrap().into_inner();
        let change = async |name: &str| {
            let key = openai_key(name);
            daemon.credentials(&daemon.token).await.setup_credential(setup("acme", name, &key)).await.unwrap();
        };
        // Another key beside it changes nothing.
        play.publish_keys(&[&first, &second]);
        daemon.logged(|line| line.contains("keys=2"));
        change("one").await;
        changes.message().await.unwrap().unwrap();
        play.publish_keys(&[&second]);
        let end = Instant::now() + Duration::from_secs(60);
        while daemon.credentials(&token).await.watch_credentials(request()).await.is_ok() {
            assert!(Instant::now() < end, "{}", daemon.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        change("two").await;
        let refused = loop {
            match changes.message().await {
                Ok(change) => assert_eq!(change.unwrap().credential.unwrap().name, "one", "said before"),
                Err(refused) => break refused,
            }
        };
        assert_eq!(refused.code(), Code::Unauthenticated);
    });
    assert!(daemon.stop().success());
}

#[test]
fn a_token_that_ends_while_its_request_comes_in_opens_nothing() {
    let play = Play::new();
    let signer = Signer::rsa("k1");
    play.publish_keys(&[&signer]);
    let daemon = play.start("leeway = \"0s\"");
    let end = Timestamp::now().as_second() + 3;
    let token = signer.token(&claims(&[("exp", json!(end))]));
    let held = begins(&daemon, DECRYPT, &token);
    while Timestamp::now().as_second() <= end {
        std::thread::sleep(Duration::from_millis(50));
    }
    let reply = ends(held);
    assert!(reply.starts_with("HTTP/1.1 401"), "{reply}");
    assert!(daemon.stop().success());
}
