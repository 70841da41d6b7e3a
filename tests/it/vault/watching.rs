//! A watch tells changes only while whoever opened it may still see them, however many of them wait to be told.

use futures_util::StreamExt as _;
use strongroom::store::{Change, Store as _};
use strongroom::vault::{Error, Watch};
use uuid::Uuid;

use super::schedule::{World, bearer, issued};
use super::*;

fn watch() -> Watch {
    Watch { org: "acme".into(), project: None, provider: None, after: Some(0) }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_not_told_to_a_revoked_caller() {
    let world = World::new(TESTING);
    for number in 0..10 {
        let path = path("acme", &format!("c{number}"));
        world.vault.setup(&admin(), setup(path, &openai_key(&number.to_string()), true)).await.unwrap();
    }
    let token = Uuid::now_v7();
    world.store.commit(Change::IssueToken(issued(token)), Arc::default()).await.unwrap();
    let mut changes = world.vault.watch(&bearer(token), watch()).await.unwrap();
    for _ in 0..3 {
        changes.next().await.unwrap().unwrap();
    }
    world.vault.revoke_token(&admin(), token).await.unwrap();
    assert!(matches!(changes.next().await.unwrap().unwrap_err(), Error::Unauthenticated));
    assert!(changes.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_not_told_when_the_token_has_ended() {
    let world = World::new(TESTING);
    for number in 0..3 {
        let path = path("acme", &format!("c{number}"));
        world.vault.setup(&admin(), setup(path, &openai_key(&number.to_string()), true)).await.unwrap();
    }
    let end = jiff::Timestamp::now() + Duration::from_secs(2);
    let token = strongroom::vault::Token { expires_at: end, ..issued(Uuid::now_v7()) };
    let caller = bearer(token.id);
    world.store.commit(Change::IssueToken(token), Arc::default()).await.unwrap();
    let mut changes = world.vault.watch(&caller, watch()).await.unwrap();
    changes.next().await.unwrap().unwrap();
    while jiff::Timestamp::now() < end {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(matches!(changes.next().await.unwrap().unwrap_err(), Error::Unauthenticated));
}
