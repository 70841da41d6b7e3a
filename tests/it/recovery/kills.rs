//! SIGKILL in the middle of a recovery, again and again: nothing is lost, and it goes on where it was.

use super::*;

const ROWS: usize = 600;

/// So many pages were recovered.
fn pages(home: &Path) -> u32 {
    let raw = Connection::open(home.join("strongroom-data/strongroom.db")).unwrap();
    raw.busy_timeout(Duration::from_secs(10)).unwrap();
    let records = "SELECT count(*) FROM audit_log WHERE canonical LIKE '%\"action\":\"recover\"%'";
    raw.query_row(records, [], |row| row.get(0)).unwrap()
}

#[test]
fn killed_again_and_again_it_loses_nothing() {
    let home = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let daemon = Daemon::start_with(home.path(), &recipients(&[1]));
    let token = daemon.token.clone();
    runtime.block_on(fill(&daemon, &token, ROWS));
    assert!(daemon.stop().success());
    lose_the_key(home.path());
    std::fs::write(home.path().join("identity"), private(1)).unwrap();

    let mut ended = false;
    for kill in 0..12 {
        let mut child = Command::new(program())
            .args(["recover", "--identity", "identity", "--config", "strongroom.toml"])
            .current_dir(home.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // From before the first page to the middle of one; and just after one, however slow the machine is.
        if kill % 2 == 0 {
            std::thread::sleep(Duration::from_millis(60 + kill * 25));
        } else {
            let before = pages(home.path());
            while pages(home.path()) == before && child.try_wait().unwrap().is_none() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        ended |= child.try_wait().unwrap().is_some();
        child.kill().unwrap();
        child.wait().unwrap();
        let raw = Connection::open(home.path().join("strongroom-data/strongroom.db")).unwrap();
        let holders = "SELECT count(DISTINCT holder) FROM wraps WHERE live = 1 AND length(bytes) > 200";
        let holders: u32 = raw.query_row(holders, [], |row| row.get(0)).unwrap();
        assert!(holders as usize > ROWS, "a wrap for the identity is gone");
    }
    let (code, found, said) = recover(home.path(), 1, &[]);
    let [recovered, whole, failed, without] = count_of(&found);
    assert_eq!((code, failed, without), (0, 0, 0), "{said}");
    assert!(recovered + whole > ROWS as u64 && whole > 0, "{found}; it ended before a kill: {ended}");
    let daemon = Daemon::start_with(home.path(), &recipients(&[1]));
    runtime.block_on(all_open(&daemon, &token, ROWS));
    assert!(daemon.cli(&token, &["audit", "verify"], None).status.success());
    println!("recovered at last: {recovered}, before: {whole}");
}
