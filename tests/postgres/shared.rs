//! Several stores over one database, as replicas have it.

use std::time::{Duration, Instant};

use strongroom::store::backup::Cell;
use strongroom::store::{AuditFilter, Keep, Postgres, Takers};

use crate::adapter::Database;
use crate::store::*;

async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_has_revoked_no_other_answers() {
    let place = Database::new();
    let (one, other) = (place.open().await, place.open().await);
    let credential = served(&one, acme()).await;
    let serve = Change::Serve { target: at(&credential), version: 1, token: None, grant: None };
    commit(&other, serve.clone()).await.unwrap();
    let gone = done(&one, Change::Delete { target: at(&credential), destroy_at: Some(later()) }).await;
    assert_eq!(stale(&other, serve).await, Some(gone));

    let token = token("acme");
    commit(&one, Change::IssueToken(token.clone())).await.unwrap();
    let by = Change::By { token: token.id, change: Box::new(Change::Record) };
    commit(&other, by.clone()).await.unwrap();
    commit(&one, Change::RevokeToken { id: token.id }).await.unwrap();
    assert!(matches!(commit(&other, by).await, Err(Error::Revoked)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_revoked_while_the_record_of_an_answer_takes_its_time_is_not_answered() {
    let place = Database::new();
    let one = place.open().await;
    let credential = served(&one, acme()).await;
    let serve = Change::Serve { target: at(&credential), version: 1, token: None, grant: None };
    place.ask(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(1.5); RETURN NULL; END $$; \
         CREATE TRIGGER slow AFTER INSERT ON audit_log FOR EACH ROW EXECUTE FUNCTION slow()",
    );
    let begun = Instant::now();
    let sequence = commit(&one, serve.clone()).await.unwrap().sequence;
    assert!(begun.elapsed() > Duration::from_millis(1500), "it is late, and answered");
    let meanwhile = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        place.ask(&format!("UPDATE credentials SET disabled = 1 WHERE id = '\\x{}'", credential.id.simple()));
    };
    let (late, ()) = tokio::join!(stale(&one, serve), meanwhile);
    assert!(late.is_some_and(|now| now.disabled), "it is not answered by what was confirmed before");
    place.ask("DROP TRIGGER slow ON audit_log");
    assert_eq!(commit(&one, Change::Record).await.unwrap().sequence, sequence + 2, "what took its time is on record");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_other_rules_than_those_in_force_nothing_is_answered() {
    let place = Database::new();
    let (one, other) = (place.open().await, place.open().await);
    let credential = served(&one, acme()).await;
    let serve = || Change::Serve { target: at(&credential), version: 1, token: None, grant: None };
    for store in [&one, &other] {
        commit(store, Change::KeepRules { digests: "old".into() }).await.unwrap();
        commit_under(store, "old", serve()).await.unwrap();
    }
    commit(&one, Change::KeepRules { digests: "new".into() }).await.unwrap();
    // Whoever has put them in force may have decided by the old ones as well.
    for store in [&one, &other] {
        let (old, new) = tokio::join!(commit_under(store, "old", serve()), commit_under(store, "new", serve()));
        assert!(matches!(old, Err(Error::OtherRules)), "{old:?}");
        new.unwrap();
        // Nor is anything else allowed by them; what the daemon does by itself goes on.
        for allowed in [Change::Record, creation(Uuid::now_v7(), acme(), version(Uuid::now_v7(), 1))] {
            let refused = commit_under(store, "old", allowed).await;
            assert!(matches!(refused, Err(Error::OtherRules)), "{refused:?}");
        }
        commit(store, Change::Tell { target: at(&credential) }).await.unwrap();
        // A refusal is recorded all the same.
        let refusal = Draft { outcome: "DENIED".into(), rules: Some("old".into()), ..draft("decrypt") };
        store.commit(Change::Record, refusal.into()).await.unwrap();
    }
    // Whoever starts with them does not put them in force again, unless nobody else is there.
    let starting = place.open().await;
    assert!(starting.rules_replaced("old").await.unwrap().is_some());
    assert_eq!(starting.rules_replaced("new").await.unwrap(), None);
    assert_eq!(starting.rules_replaced("never seen").await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_writes_a_chain_of_its_own_and_hands_it_on() {
    let place = Database::new();
    let (one, other) = (place.open().await, place.open().await);
    assert_ne!(one.instance(), other.instance());
    for store in [&one, &other, &one, &other] {
        commit(store, Change::Record).await.unwrap();
    }
    let chains = [one.instance().to_owned(), other.instance().to_owned()];
    for chain in &chains {
        let filter = AuditFilter { instance: Some(chain.clone()), ..AuditFilter::default() };
        let page = one.audit(&filter, None, false, 10).await.unwrap();
        let numbers: Vec<_> = page.records.iter().map(|(_, record)| record.sequence).collect();
        assert_eq!(numbers, [1, 2]);
    }
    let mut known = one.chains().await.unwrap();
    known.sort();
    let mut expected = chains.to_vec();
    expected.sort();
    assert_eq!(known, expected);
    // What is pruned of one leaves the other as it is.
    assert_eq!(one.keep(Keep::Sweep).await.unwrap(), 0);
    drop(other);
    let next = place.open().await;
    assert_eq!(next.instance(), chains[1]);
    assert_eq!(commit(&next, Change::Record).await.unwrap().sequence, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_name_is_created_once_by_all() {
    let place = Database::new();
    let stores = [place.open().await, place.open().await, place.open().await];
    let tries = (0..63).map(|number| {
        let (id, store) = (Uuid::now_v7(), &stores[number % stores.len()]);
        commit(store, creation(id, acme(), active(id, 1)))
    });
    let outcomes = futures_util::future::join_all(tries).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(_) | Err(Error::Taken))), "{outcomes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_come_to_all_in_one_order() {
    let place = Database::new();
    let stores = [place.open().await, place.open().await];
    let news = stores[1].newest_change();
    let tries = (0..40).map(|number| {
        let id = Uuid::now_v7();
        let path = path("acme", "default", "openai", &format!("n{number}"));
        commit(&stores[number % 2], creation(id, path, version(id, 1)))
    });
    let outcomes = futures_util::future::join_all(tries).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    let told = stores[0].changes(Some("acme"), 0, 100).await.unwrap();
    assert_eq!(told.iter().map(|event| event.sequence).collect::<Vec<_>>(), (1..=40).collect::<Vec<_>>());
    assert_eq!(stores[1].changes(None, 0, 100).await.unwrap(), told);
    eventually("the news never came", async || *news.borrow() == 40).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_does_what_is_to_be_done_once() {
    let place = Database::new();
    let (one, other) = (place.open().await, place.open().await);
    assert!(one.leads().await.unwrap());
    assert!(!other.leads().await.unwrap());
    assert!(one.leads().await.unwrap());
    drop(one);
    eventually("nobody took over", async || other.leads().await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_goes_on_with_the_chain_of_whoever_made_it() {
    let place = Database::new();
    let (_one, other) = (place.open().await, place.open().await);
    let mut rows = other.export().await.unwrap();
    let mut instance = None;
    while let Some(piece) = rows.recv().await.unwrap().unwrap() {
        if piece.table.name == "meta" {
            let named = piece.rows.into_iter().find(|row| row[0] == Cell::Text("instance".into()));
            instance = named.map(|row| row[1].clone());
        }
    }
    assert_eq!(instance, Some(Cell::Text(other.instance().to_owned())));
}

/// The next chain that nobody writes, once it is sure that nobody does.
async fn adopted(store: &Postgres) -> Box<dyn Store> {
    let mut adopted = None;
    eventually("it adopts none", async || {
        adopted = store.adopt("", None, &Takers::default()).await.unwrap();
        adopted.is_some()
    })
    .await;
    adopted.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_lost_its_chain_keeps_nobody_from_what_is_to_be_done_once() {
    let place = Database::new();
    let (one, other) = (place.open().await, place.open().await);
    assert!(one.leads().await.unwrap() && !other.leads().await.unwrap());
    // As if another process had taken it over, and the lease had ended meanwhile.
    let chain = one.instance();
    place.ask(&format!("UPDATE instances SET holder = '\\x{}' WHERE instance = '{chain}'", "00".repeat(16)));
    place.ask("UPDATE leases SET until = 0");
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(!one.leads().await.unwrap());
    assert!(other.leads().await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_that_nobody_writes_is_one_process_s_at_a_time() {
    let place = Database::new();
    let (one, other, dead) = (place.open().await, place.open().await, place.open().await);
    for store in [&one, &other, &dead] {
        commit(store, Change::Record).await.unwrap();
    }
    let chain = dead.instance().to_owned();
    // As a crash leaves it: nothing is let go.
    let _dead = std::mem::ManuallyDrop::new(dead);
    // It says no more that it is there.
    place.ask(&format!("UPDATE instances SET holder = '\\x{}' WHERE instance = '{chain}'", "00".repeat(16)));
    assert!(one.adopt("", None, &Takers::default()).await.unwrap().is_none(), "it was heard of a moment ago");
    place.age(&chain);
    // After an outage nobody has been heard of: whoever lives says so before it is looked again.
    assert!(one.adopt("", None, &Takers::default()).await.unwrap().is_none());
    place.ask("UPDATE instances SET seen_at = seen_at - 1");
    let begun = Instant::now();
    let adopted = adopted(&one).await;
    assert!(begun.elapsed() > Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(adopted.instance(), chain);
    assert!(other.adopt("", None, &Takers::default()).await.unwrap().is_none());
    // Neither a take-over, nor company: it is the same process.
    assert_ne!(place.open().await.instance(), chain);
    assert!(!adopted.leads().await.unwrap() && other.leads().await.unwrap());
    assert!(one.adopt("", None, &Takers::default()).await.unwrap().is_none(), "it has it, and is not done with it");
    // Whoever could not let it go may have it again; another one only when the claim has ended.
    let holder = place.ask(&format!("SELECT holder FROM instances WHERE instance = '{chain}'"));
    drop(adopted);
    place.ask(&format!("UPDATE instances SET holder = '{holder}' WHERE instance = '{chain}'"));
    let stale = one.adopt("", None, &Takers::default()).await.unwrap().unwrap();
    place.age(&chain);
    let adopted = self::adopted(&other).await;
    assert_eq!(adopted.commit(Change::Record, draft("test").into()).await.unwrap().sequence, 2);
    let refused = stale.commit(Change::Record, draft("test").into()).await.unwrap_err().to_string();
    assert!(refused.contains("this process writes the audit chain"), "{refused}");
    assert!(stale.keep(Keep::Sweep).await.is_err());
    drop(stale);
    assert_eq!(adopted.commit(Change::Record, draft("test").into()).await.unwrap().sequence, 3);
    drop(adopted);
    assert_eq!(place.ask("SELECT count(*) FROM leases"), "1", "its own lease is not given back with it");
    assert_eq!(place.open().await.instance(), chain);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_one_that_has_written_nothing_leaves_nothing() {
    let place = Database::new();
    let (one, dead) = (place.open().await, place.open().await);
    let chain = dead.instance().to_owned();
    let _dead = std::mem::ManuallyDrop::new(dead);
    place.ask(&format!("UPDATE instances SET holder = '\\x{}' WHERE instance = '{chain}'", "00".repeat(16)));
    place.age(&chain);
    assert_ne!(place.open().await.instance(), chain, "it may only be silent");
    drop(adopted(&one).await);
    assert_eq!(place.ask(&format!("SELECT count(*) FROM instances WHERE instance = '{chain}'")), "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_that_a_copy_has_not_all_of_is_not_at_rest() {
    let place = Database::new();
    let (one, ended) = (place.open().await, place.open().await);
    let chain = ended.instance().to_owned();
    commit(&ended, Change::Record).await.unwrap();
    drop(ended);
    // As if somebody had signed for it.
    place.ask(&format!(
        "INSERT INTO audit_checkpoints (instance, size, note, head, frontier, after, position, oldest_at, newest_at) \
         SELECT instance, 1, '', hash, '', 0, position, 1, 1 FROM audit_log WHERE instance = '{chain}'"
    ));
    let adopts = async |records: &[&'static str], checkpoints: &[&'static str]| {
        let takers = Takers { records: records.to_vec(), checkpoints: checkpoints.to_vec() };
        one.adopt("", None, &takers).await.unwrap().map(|adopted| adopted.instance().to_owned())
    };
    assert_eq!(adopts(&[], &[]).await, None);
    for (records, checkpoints) in [(&["file"][..], &[][..]), (&[], &["checkpoint-url"])] {
        assert_eq!(adopts(records, checkpoints).await.as_ref(), Some(&chain));
    }
    place.ask(&format!(
        "INSERT INTO audit_cursors SELECT 'file of ' || instance, position FROM audit_log WHERE instance = '{chain}'; \
         INSERT INTO audit_cursors VALUES ('checkpoint-url of {chain}', 1)"
    ));
    assert_eq!(adopts(&["file"], &["checkpoint-url"]).await, None);
    assert_eq!(adopts(&["file", "otlp"], &[]).await.as_ref(), Some(&chain));
    // What was pruned reaches no copy any more.
    place.ask(&format!(
        "INSERT INTO audit_boundaries SELECT instance, 1, position FROM audit_log WHERE instance = '{chain}'"
    ));
    assert_eq!(adopts(&["otlp"], &[]).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_comes_right_after_other_rules_is_made_under_them() {
    let place = Database::new();
    let store = std::sync::Arc::new(place.open().await);
    commit(store.as_ref(), Change::KeepRules { digests: "old".into() }).await.unwrap();
    // Somebody else has the turn: what comes meanwhile waits together.
    let turn = place.hold_turn();
    let named = |name: &str| {
        let id = Uuid::now_v7();
        creation(id, path("acme", "default", "openai", name), version(id, 1))
    };
    let first = {
        let (store, first) = (std::sync::Arc::clone(&store), named("first"));
        tokio::spawn(async move { commit(store.as_ref(), first).await })
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (before, rules, late, after) = tokio::join!(
        commit_under(store.as_ref(), "old", named("before")),
        commit(store.as_ref(), Change::KeepRules { digests: "new".into() }),
        commit_under(store.as_ref(), "old", named("late")),
        commit_under(store.as_ref(), "new", named("after")),
    );
    before.unwrap();
    rules.unwrap();
    assert!(matches!(late, Err(Error::OtherRules)), "{late:?}");
    after.unwrap();
    first.await.unwrap().unwrap();
    turn.join().unwrap();
}
