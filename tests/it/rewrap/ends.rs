//! What ends a rewrap before it is done: the daemon's own end, and that of the right to it.

use strongroom::pb::v1::{ListTokensRequest, RevokeTokenRequest};

use super::*;

const ROWS: usize = 12;

/// Wrapped under a key that is not the default any more.
fn behind(home: &Path, runtime: &tokio::runtime::Runtime) -> Daemon {
    let daemon = Daemon::start(home);
    let token = daemon.token.clone();
    runtime.block_on(fill(&daemon, &token, ROWS));
    assert!(daemon.stop().success());
    let mut daemon = Daemon::start_with(home, NEXT);
    daemon.token = token;
    daemon
}

#[test]
fn it_stops_with_the_daemon() {
    let home = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let daemon = behind(home.path(), &runtime);
    let token = daemon.token.clone();
    let slow = RewrapRequest { rate: 1, ..RewrapRequest::default() };
    let mut news = runtime.block_on(async {
        let mut news = daemon.admin(&token).await.rewrap(slow).await.unwrap().into_inner();
        while news.message().await.unwrap().unwrap().moved == 0 {}
        news
    });
    let begun = Instant::now();
    assert!(daemon.stop().success());
    assert!(begun.elapsed() < Duration::from_secs(8), "it waited for all of them: {:?}", begun.elapsed());
    // It ends without the word that it is done.
    while let Ok(Some(now)) = runtime.block_on(news.message()) {
        assert!(!now.done);
    }
    let daemon = Daemon::start_with(home.path(), NEXT);
    assert_eq!(rewrap(&daemon, &token, &[]).0, 0);
    assert_eq!(in_use(&daemon, &token)["local://default -"], [0; 4]);
    runtime.block_on(all_open(&daemon, &token, ROWS));
}

#[test]
fn it_stops_when_the_right_to_it_ends() {
    let home = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let daemon = behind(home.path(), &runtime);
    let token = daemon.token.clone();
    let old = raw_wraps(&daemon);
    runtime.block_on(async {
        let other = daemon.issue("admin", "*", &[]).await;
        let slow = RewrapRequest { rate: 2, ..RewrapRequest::default() };
        let mut news = daemon.admin(&other).await.rewrap(slow).await.unwrap().into_inner();
        while news.message().await.unwrap().unwrap().moved == 0 {}
        let mut admin = daemon.admin(&token).await;
        let tokens = admin.list_tokens(ListTokensRequest::default()).await.unwrap().into_inner().tokens;
        let id = tokens.into_iter().find(|token| token.name == "a-admin").unwrap().id;
        admin.revoke_token(RevokeTokenRequest { id }).await.unwrap();
        let end = loop {
            match news.message().await {
                Ok(now) => assert!(!now.unwrap().done),
                Err(status) => break status,
            }
        };
        assert_eq!(end.code(), Code::Unauthenticated, "{end}");
    });
    // What it had dropped until then is in no file.
    let kept = raw_wraps(&daemon);
    let dropped: Vec<_> = old.into_iter().filter(|wrap| !kept.contains(wrap)).collect();
    assert!(!dropped.is_empty() && !are_there(&daemon, &dropped));
    assert_eq!(rewrap(&daemon, &token, &[]).0, 0);
    runtime.block_on(all_open(&daemon, &token, ROWS));
}
