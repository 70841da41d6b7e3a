//! Checkpoints on their way to a witness.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use strongroom::crypto::ledger::note;

use super::*;
use crate::daemon::runtime;
use crate::fake::{Answer, Asked, World};

const WITNESS: &str = "witness.example";

/// What the notes in these bodies say they cover.
fn sizes(asked: &[Asked]) -> Vec<u64> {
    let size = |asked: &Asked| note::read(&format!("{}\n", asked.text())).0[0].claims().unwrap().size;
    asked.iter().map(size).collect()
}

/// Away at first, and later asked twice about what it has: each reaches it, once and in order, and no answer waits.
#[test]
fn a_witness_has_every_checkpoint_in_the_end() {
    let away = Arc::new(AtomicBool::new(true));
    let is_away = Arc::clone(&away);
    let witness = World::start(move |_| match is_away.load(Ordering::SeqCst) {
        true => Answer::status(503),
        // It has this one already.
        false => Answer::status(409),
    });
    let home = tempfile::tempdir().unwrap();
    let url = format!("checkpoint_url = \"https://{WITNESS}/log?of=strongroom\"\ncheckpoint_file = \"checkpoints\"\n");
    let daemon = Daemon::start_with(home.path(), &format!("{OFTEN}{url}{}", witness.config(&[WITNESS])));
    let token = daemon.token.clone();
    runtime().block_on(live(&daemon, &token, 0));
    daemon.logged(|line| {
        line.contains("does not get through") && line.contains("checkpoint-url") && line.contains("503")
    });
    let tried = sizes(&witness.asked());
    assert!(
        !tried.is_empty() && tried.iter().all(|size| *size == tried[0]),
        "only the first is tried again: {tried:?}"
    );
    away.store(false, Ordering::SeqCst);
    witness.forget();
    daemon.logged(|line| line.contains("gets through again") && line.contains("checkpoint-url"));
    assert!(daemon.stop().success());

    let asked = witness.asked();
    for request in &asked {
        assert_eq!((&*request.method, &*request.host, &*request.path), ("POST", WITNESS, "/log?of=strongroom"));
        assert_eq!(request.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(request.header("authorization"), "");
    }
    let file = std::fs::read_to_string(home.path().join("checkpoints")).unwrap();
    let signed: Vec<u64> = note::read(&file).0.iter().map(|note| note.claims().unwrap().size).collect();
    assert!(signed.len() > 3);
    assert_eq!(sizes(&asked), signed);
    // What it has, it is not told again after a start.
    witness.forget();
    let daemon = Daemon::start_with(home.path(), &format!("{OFTEN}{url}{}", witness.config(&[WITNESS])));
    runtime().block_on(live(&daemon, &token, 10));
    let end = Instant::now() + Duration::from_secs(30);
    while witness.asked().is_empty() {
        assert!(Instant::now() < end, "nothing new comes");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(sizes(&witness.asked())[0] > *signed.last().unwrap());
    assert!(daemon.stop().success());
}
