//! SIGKILL in the middle of a reseal, again and again: nothing is lost, and it goes on where it was.

use std::path::Path;
use std::time::{Duration, Instant};

use super::*;

const ROWS: usize = 1_500;
const KILLS: u64 = 20;

/// Waits until something was added that is not read yet.
fn unproven_there(database: &Path) {
    let raw = Connection::open(database).unwrap();
    let mut there = raw.prepare("SELECT 1 FROM resealed_blobs WHERE state = 'next'").unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    while !there.exists([]).unwrap() {
        assert!(Instant::now() < end, "nothing was added");
    }
}

#[test]
fn killed_again_and_again_it_loses_nothing() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    let token = daemon.token.clone();
    let runtime = runtime();
    runtime.block_on(fill(&daemon, &token, ROWS));
    let old = first_blobs(&daemon);
    assert!(daemon.stop().success());
    let config = fernet(home.path());

    let answered = Arc::new(AtomicU64::new(0));
    let (mut begun, mut unproven) = (Vec::new(), 0);
    for kill in 0..KILLS {
        let daemon = Daemon::start_with(home.path(), &config);
        let database = daemon.database();
        let total = runtime.block_on(async {
            let mut admin = daemon.admin(&token).await;
            let decrypting = keep_decrypting(&daemon, &token, (ROWS, kill as usize * 97), &answered).await;
            let mut news = admin.reseal(ResealRequest::default()).await.unwrap().into_inner();
            let total = news.message().await.unwrap().unwrap().total;
            // Before what was added is proven, just after a page, and anywhere.
            match kill % 3 {
                0 => unproven_there(&database),
                1 => drop(news.message().await.unwrap()),
                _ => tokio::time::sleep(Duration::from_millis(kill * 5)).await,
            }
            daemon.kill();
            decrypting.await.unwrap();
            total
        });
        begun.push(total);
        let raw = Connection::open(&database).unwrap();
        let sql = "SELECT count(*) FROM resealed_blobs WHERE state = 'next'";
        let left: i64 = raw.query_row(sql, [], |row| row.get(0)).unwrap();
        assert!(left <= 64, "more than a page waits: {left}");
        unproven += left;
    }
    assert!(begun.is_sorted_by(|earlier, later| earlier >= later), "it began anew: {begun:?}");
    assert_eq!(begun[0], ROWS as u64);
    assert!(begun[KILLS as usize - 1] < ROWS as u64, "no run came anywhere: {begun:?}");
    assert!(unproven > 0, "no kill came between the two commits of a page");
    assert!(answered.load(Ordering::Relaxed) > 0);

    let daemon = Daemon::start_with(home.path(), &config);
    let (code, news, said) = reseal(&daemon, &token, &[]);
    assert_eq!((code, count(&news, "failed")), (0, 0), "{said}");
    assert!(!are_there(&daemon, &old), "a blob under the old seal is still in a file");
    let gone = raw(&daemon, "SELECT sealed_blob FROM resealed_blobs WHERE state <> 'live'");
    assert!(gone.iter().flatten().all(|byte| *byte == 0));
    assert_eq!(live_seals(&daemon), [("fernet".to_owned(), ROWS as i64)]);
    assert_eq!(reseal(&daemon, &token, &[]).1["total"], Json::Null);
    runtime.block_on(all_open(&daemon, &token, ROWS));
    let audit = daemon.cli(&token, &["audit", "verify"], None);
    assert!(audit.status.success(), "{audit:?}");
    println!(
        "left to seal at each start: {begun:?}; {unproven} were not proven at a kill; {} decrypts meanwhile",
        answered.load(Ordering::Relaxed)
    );
}
