//! Servers that are gone, cut off, restarted or slow.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Instant;

use strongroom::store::postgres::{Failure, Isolation, Limits};

use super::*;
use crate::server::{Options, Server as Fixture, shared};

#[test]
fn where_nobody_listens_all_are_told_at_once() {
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let told = refused(&plain(&format!("postgres://who:sekret@{dead}/where")));
    assert!(told.contains(&dead.to_string()) && told.contains("nobody listens there"), "{told}");
    let told = refused(&plain("postgres://who@absent.invalid/where"));
    assert!(told.contains("absent.invalid:5432: failed to lookup address"), "{told}");
}

#[test]
fn callers_of_a_server_that_never_answers_do_not_pile_up() {
    // The system takes connections for it; nobody reads them.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let patience = Patience {
        connect: Duration::from_millis(300),
        statement: Duration::from_secs(3),
        pause: Duration::from_secs(2),
    };
    let url = format!("postgres://who@{}/where?sslmode=disable", mute.local_addr().unwrap());
    let pool = Arc::new(Pool::new(open(&url, patience).unwrap(), 4));
    let begun = Instant::now();
    runtime().block_on(async {
        let callers: Vec<_> = (0..200)
            .map(|_| {
                let pool = Arc::clone(&pool);
                tokio::spawn(async move { backend(&pool).await })
            })
            .collect();
        for caller in callers {
            let told = caller.await.unwrap().unwrap_err().to_string();
            assert!(told.contains("no answer within 300ms"), "{told}");
        }
    });
    // One after the other they would take a quarter of a minute.
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

#[test]
fn a_busy_pool_says_so() {
    let patience = Patience { statement: Duration::from_millis(400), ..QUICK };
    let pool = Pool::new(open(&format!("{}?sslmode=disable", shared().url("postgres")), patience).unwrap(), 1);
    runtime().block_on(async {
        let slow = pool.read(|_| {
            thread::sleep(Duration::from_millis(800));
            Ok(())
        });
        let (slow, told) = tokio::join!(slow, backend(&pool));
        slow.unwrap();
        assert!(told.unwrap_err().to_string().contains("all 1 connections"));
    });
}

#[test]
fn readers_do_not_notice_that_an_idle_connection_was_ended() {
    let database = shared().create_database();
    let pool = Pool::new(plain(&shared().url(&database)), 2);
    runtime().block_on(async {
        for _ in 0..10 {
            let first = backend(&pool).await.unwrap();
            assert_eq!(backend(&pool).await.unwrap(), first, "it is used again");
            shared().psql("postgres", &format!("SELECT pg_terminate_backend({first})"));
            assert_ne!(backend(&pool).await.unwrap(), first);
        }
        // In the middle of a statement that has answered nothing yet.
        let first = backend(&pool).await.unwrap();
        let end = tokio::task::spawn_blocking(move || {
            let ask = |what: &str| shared().psql("postgres", &format!("{what} WHERE pid = {first} AND state = 'active'"));
            while ask("SELECT count(*) FROM pg_stat_activity") == "0" {
                thread::sleep(Duration::from_millis(10));
            }
            ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity");
        });
        let query = format!(
            "SELECT CAST(pg_backend_pid() AS BIGINT) FROM pg_sleep(CASE WHEN pg_backend_pid() = {first} THEN 5 ELSE 0 END)"
        );
        assert_ne!(pool.read(move |sql| number(sql, &query, &[])).await.unwrap(), first);
        end.await.unwrap();
    });
}

/// Passes bytes on. So many times as it is told, a connection ends instead with the next bytes that its client sends.
fn cutter(to: SocketAddr) -> (SocketAddr, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let cuts = Arc::new(AtomicU32::new(0));
    let left = Arc::clone(&cuts);
    thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.unwrap();
            let server = TcpStream::connect(to).unwrap();
            let (mut from, mut into, left) =
                (client.try_clone().unwrap(), server.try_clone().unwrap(), Arc::clone(&left));
            thread::spawn(move || {
                let mut bytes = [0; 4096];
                while let Ok(length @ 1..) = from.read(&mut bytes) {
                    let is_cut =
                        left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
                    if is_cut || into.write_all(&bytes[..length]).is_err() {
                        break;
                    }
                }
                let _ = (from.shutdown(Shutdown::Both), into.shutdown(Shutdown::Both));
            });
            let (mut from, mut into) = (server, client);
            thread::spawn(move || std::io::copy(&mut from, &mut into));
        }
    });
    (at, cuts)
}

#[test]
fn a_read_is_tried_once_more_where_the_connection_had_died_unseen() {
    let database = shared().create_database();
    let url = shared().url(&database);
    let host = url.rsplit_once('@').unwrap().1.split_once('/').unwrap().0;
    let (proxy, cuts) = cutter(host.parse().unwrap());
    let pool = Pool::new(plain(&url.replace(host, &proxy.to_string())), 1);
    let own = |sql: &dyn Sql| number(sql, "SELECT pg_backend_pid()", &[]);
    runtime().block_on(async {
        let first = pool.read(own).await.unwrap();
        cuts.store(1, Ordering::SeqCst);
        let second = pool.read(own).await.unwrap();
        cuts.store(1, Ordering::SeqCst);
        let third = pool.moment(own).await.unwrap();
        assert!(first != second && second != third && cuts.load(Ordering::SeqCst) == 0);

        // The new connection is cut too: there is no third.
        cuts.store(2, Ordering::SeqCst);
        let told = pool.read(own).await.unwrap_err().to_string();
        assert!(told.contains("PostgreSQL at 127.0.0.1:") && cuts.load(Ordering::SeqCst) == 0, "{told}");
        tokio::time::sleep(QUICK.pause * 2).await;
        pool.read(own).await.unwrap();

        // Not within a moment: its queries would see another one.
        let begun = Arc::clone(&cuts);
        let broken = pool.moment(move |sql| {
            own(sql)?;
            begun.store(1, Ordering::SeqCst);
            own(sql)
        });
        assert!(broken.await.is_err());
        pool.read(own).await.unwrap();
    });
}

#[test]
fn a_writer_learns_that_its_connection_was_lost() {
    let runtime = runtime();
    let database = shared().create_database();
    let server = plain(&shared().url(&database));
    let sql = runtime.block_on(server.connect()).unwrap();
    sql.batch("CREATE TABLE kept (id BIGINT)").unwrap();
    let own = number(&sql, "SELECT pg_backend_pid()", &[]).unwrap();
    sql.begin(Isolation::ReadCommitted, Limits::default(), None).unwrap();
    sql.execute("INSERT INTO kept VALUES (?)", &[7_i64.into()]).unwrap();
    shared().psql("postgres", &format!("SELECT pg_terminate_backend({own})"));
    let told = sql.commit().unwrap_err().to_string();
    assert!(told.contains("57P01") && told.contains("terminating connection"), "{told}");
    assert!(sql.is_broken() && sql.failure() == Some(Failure::Lost));
    assert!(sql.batch("SELECT 1").is_err());
    assert_eq!(shared().psql(&database, "SELECT count(*) FROM kept"), "0");
}

#[test]
fn a_server_that_was_away_is_used_again_by_itself() {
    let fixture = Fixture::new(Options::default());
    let pool = Pool::new(plain(&fixture.url(&fixture.create_database())), 4);
    runtime().block_on(async {
        backend(&pool).await.unwrap();
        fixture.restart();
        tokio::time::sleep(QUICK.pause).await;
        backend(&pool).await.unwrap();
        fixture.stop();
        let begun = Instant::now();
        let told = backend(&pool).await.unwrap_err().to_string();
        assert!(told.contains("PostgreSQL at 127.0.0.1:"), "{told}");
        assert!(begun.elapsed() < Duration::from_secs(20));
        fixture.start();
        tokio::time::sleep(QUICK.pause * 2).await;
        backend(&pool).await.unwrap();
        fixture.kill();
        fixture.start();
        tokio::time::sleep(QUICK.pause * 2).await;
        pool.moment(|sql| number(sql, "SELECT 1", &[])).await.unwrap();
    });
}

#[test]
fn a_statement_that_takes_too_long_is_cancelled_and_its_connection_thrown_away() {
    let database = shared().create_database();
    let patience = Patience { statement: Duration::from_secs(2), ..QUICK };
    let url = format!("{}?sslmode=disable", shared().url(&database));
    let pool = Pool::new(open(&url, patience).unwrap(), 1);
    let busy =
        format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND query LIKE '%sleep(30)%'");
    runtime().block_on(async {
        let first = backend(&pool).await.unwrap();
        let begun = Instant::now();
        let told = pool.read(|sql| number(sql, "SELECT 1 FROM pg_sleep(30)", &[])).await.unwrap_err().to_string();
        assert!(told.contains("did not answer within 2s"), "{told}");
        assert!(begun.elapsed() < Duration::from_secs(20), "it waited for all of it");
        assert_ne!(backend(&pool).await.unwrap(), first);
        while shared().psql("postgres", &busy) != "0" {
            assert!(begun.elapsed() < Duration::from_secs(25), "it still sleeps");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
}

#[test]
fn a_query_that_panics_leaves_nothing_behind() {
    let database = shared().create_database();
    let pool = Pool::new(plain(&shared().url(&database)), 1);
    runtime().block_on(async {
        let told = pool.moment(|_| -> Result<(), Error> { panic!("on purpose") }).await.unwrap_err().to_string();
        assert!(told.contains("a query did not end"), "{told}");
        backend(&pool).await.unwrap();
        let panics = |sql: &dyn Sql| sql.query("SELECT 1", &[], &mut |_| panic!("on purpose"));
        assert!(pool.read(panics).await.is_err());
        backend(&pool).await.unwrap();
        let open =
            format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND state LIKE 'idle in%'");
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(shared().psql("postgres", &open), "0");
    });
}
