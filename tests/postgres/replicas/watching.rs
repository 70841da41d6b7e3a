//! A watch on one replica sees what the others change.

use std::sync::Arc;
use std::time::Duration;

use strongroom::pb::v1::{DeleteCredentialRequest, WatchCredentialsRequest, WatchCredentialsResponse};
use strongroom::store::postgres::{Patience, Server, Url};

use super::{Credentials, World};
use crate::daemon::{decrypt, openai_key, runtime, setup};

const CHANGES: usize = 120;

async fn follow(mut client: Credentials, after: Option<u64>, count: usize) -> Vec<(u64, String, String, u32)> {
    let request = WatchCredentialsRequest { org: "acme".into(), after, ..Default::default() };
    let mut stream = client.watch_credentials(request).await.unwrap().into_inner();
    let mut seen = Vec::new();
    while seen.len() < count {
        let next = tokio::time::timeout(Duration::from_secs(30), stream.message()).await;
        let next = next.unwrap_or_else(|_| panic!("{} of {count}", seen.len())).unwrap().unwrap();
        let WatchCredentialsResponse { sequence, change, version, credential, .. } = next;
        seen.push((sequence, change, credential.unwrap().name, version));
    }
    seen
}

#[test]
fn it_sees_all_in_order_and_goes_on_at_another() {
    let world = World::new();
    let (a, b) = world.two();
    let token = a.token.clone();
    runtime().block_on(async {
        let watch = tokio::spawn(follow(b.credentials(&token).await, Some(0), CHANGES));
        // Of one name only one writes, so that its order is known.
        let mut writers = tokio::task::JoinSet::new();
        for number in 0..6 {
            let mut clients = [a.credentials(&token).await, b.credentials(&token).await];
            writers.spawn(async move {
                let name = format!("n{number}");
                for count in 0..5 {
                    for (at, client) in clients.iter_mut().enumerate() {
                        let key = openai_key(&format!("k{number}{count}{at}"));
                        client.setup_credential(setup("acme", &name, &key)).await.unwrap();
                    }
                    let delete = DeleteCredentialRequest {
                        org: "acme".into(),
                        provider: "openai".into(),
                        name: name.clone(),
                        ..Default::default()
                    };
                    clients[count % 2].delete_credential(delete).await.unwrap();
                }
            });
        }
        writers.join_all().await;
        let all = world.ask(
            "SELECT h.sequence, h.change, c.name, coalesce(h.version, 0) FROM changes h \
             JOIN credentials c ON c.id = h.credential_id ORDER BY 1",
        );
        let all: Vec<String> = all.lines().map(str::to_owned).collect();
        assert!(all.len() >= CHANGES, "{}", all.len());
        let line = |(sequence, change, name, version): &(u64, String, String, u32)| {
            format!("{sequence}|{change}|{name}|{version}")
        };
        let seen = watch.await.unwrap();
        assert_eq!(seen.iter().map(line).collect::<Vec<_>>(), all[..CHANGES]);
        for number in 0..6 {
            let name = format!("n{number}");
            let own: Vec<_> = seen.iter().filter(|(_, _, of, _)| *of == name).map(|(_, change, ..)| change).collect();
            let kinds: Vec<_> = own.iter().filter(|change| **change == "deleted" || **change == "setup").collect();
            assert!(kinds.chunks(3).all(|three| three.len() < 3 || three[2] == &"deleted"), "{kinds:?}");
        }
        // What one has told, the other one goes on from.
        let middle = seen[CHANGES / 3].0;
        for daemon in [&a, &b] {
            let rest = follow(daemon.credentials(&token).await, Some(middle), CHANGES - CHANGES / 3 - 1).await;
            assert_eq!(rest, seen[CHANGES / 3 + 1..]);
        }
    });
}

/// Replicas ask now and then; where the server can tell them, they need not wait until then.
#[test]
fn the_server_tells_whoever_listens_of_a_change_and_of_nothing_else() {
    let world = World::new();
    let (a, _b) = world.two();
    let server = Arc::new(Server::new(Url::parse(&world.url()).unwrap(), Patience::default()).unwrap());
    let runtime = runtime();
    let connection = runtime.block_on(server.connect()).unwrap();
    connection.batch("LISTEN strongroom_changes").unwrap();
    let told =
        |longest| runtime.block_on(async { tokio::time::timeout(longest, server.told().notified()).await.is_ok() });
    let mut client = runtime.block_on(a.credentials(&a.token));
    runtime.block_on(client.setup_credential(setup("acme", "one", &openai_key("one")))).unwrap();
    assert!(told(Duration::from_secs(30)));
    runtime.block_on(client.decrypt_credential(decrypt("acme", "one"))).unwrap();
    assert!(!told(Duration::from_secs(1)), "an answer changes nothing");
}
