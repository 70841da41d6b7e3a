//! SIGKILL in the middle of a rewrap, again and again: nothing is lost, and it goes on where it was.

use super::*;

const ROWS: usize = 2_000;
const KILLS: u64 = 20;

#[test]
fn killed_again_and_again_it_loses_nothing() {
    let home = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(home.path());
    let token = daemon.token.clone();
    let runtime = runtime();
    runtime.block_on(fill(&daemon, &token, ROWS));
    // The first checkpoint of the audit log, at the latest now, makes the key that signs it.
    assert!(daemon.stop().success());
    let daemon = Daemon::start(home.path());
    let all: u64 = in_use(&daemon, &token)["local://default 1"].iter().sum();
    assert!(daemon.stop().success());

    let answered = Arc::new(AtomicU64::new(0));
    let mut begun = Vec::new();
    for kill in 0..KILLS {
        let daemon = Daemon::start_with(home.path(), NEXT);
        let moved = runtime.block_on(async {
            let mut admin = daemon.admin(&token).await;
            let decrypting = keep_decrypting(&daemon, &token, (ROWS, kill as usize * 97), &answered).await;
            let mut news = admin.rewrap(RewrapRequest::default()).await.unwrap().into_inner();
            let total = news.message().await.unwrap().unwrap().total;
            // From before the first page to the middle of one that is far; and just after one, however slow the machine is.
            match kill % 2 {
                0 => tokio::time::sleep(Duration::from_millis(kill * 5)).await,
                _ => drop(news.message().await.unwrap()),
            }
            daemon.kill();
            decrypting.await.unwrap();
            total
        });
        begun.push(moved);
    }
    assert!(begun.is_sorted_by(|earlier, later| earlier >= later), "it began anew: {begun:?}");
    assert_eq!(begun[0], all);
    assert!(begun[KILLS as usize - 1] < all, "no run came anywhere: {begun:?}");
    assert!(answered.load(Ordering::Relaxed) > 0);

    let daemon = Daemon::start_with(home.path(), NEXT);
    let (code, news, said) = rewrap(&daemon, &token, &[]);
    assert_eq!((code, count(&news, "failed")), (0, 0), "{said}");
    let after = in_use(&daemon, &token);
    assert_eq!((after["local://next 1"].iter().sum::<u64>(), after["local://default -"]), (all, [0; 4]));
    assert_eq!(rewrap(&daemon, &token, &[]).1["total"], Json::Null);
    assert!(daemon.stop().success());
    std::fs::remove_file(keys(home.path()).join("default.key")).unwrap();
    let daemon = Daemon::start_with(home.path(), NEXT);
    runtime.block_on(all_open(&daemon, &token, ROWS));
    let audit = daemon.cli(&token, &["audit", "verify"], None);
    assert!(audit.status.success(), "{audit:?}");
    println!("left to move at each start: {begun:?}; {} decrypts meanwhile", answered.load(Ordering::Relaxed));
}
