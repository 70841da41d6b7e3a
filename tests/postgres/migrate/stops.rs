//! Killed, and cut off from the database, at any moment: the same command goes on, and at the end nothing is missing.

use std::time::Duration;

use super::*;

/// As often as it takes; how often it was stopped.
fn through(from: &str, to: &str, databases: &[&str], random: &mut Random) -> usize {
    for tries in 0_usize.. {
        assert!(tries < 400, "it does not come to its end");
        let mut child = spawn(from, to, &[]);
        std::thread::sleep(Duration::from_millis(random.below(30 + 8 * tries) as u64));
        match tries % 3 {
            2 => {
                for database in databases {
                    let end =
                        format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'");
                    shared().psql("postgres", &end);
                }
            }
            _ => child.kill().unwrap(),
        }
        let (code, report, said) = ended(child);
        match code {
            0 => {
                assert_eq!(report["done"], true, "{said}");
                return tries;
            }
            // Killed; or cut off, and it says so.
            -1 => {}
            STORE => assert!(said.contains("goes on where it was"), "{said}"),
            code => panic!("{code}: {said}"),
        }
    }
    unreachable!()
}

#[test]
fn stopped_at_any_moment_it_goes_on() {
    let mut random = Random(seed());
    let (place, one, two) = (Folder::new(), shared().create_database(), shared().create_database());
    let first = place.path("first.db");
    fill(&first, 1500, 15_000);
    let before = dump(&first);
    let (a, b) = (place.database(&one), place.database(&two));
    let mut stops = 0;
    stops += through(&place.file("first.db"), &a, &[&one], &mut random);
    stops += through(&a, &b, &[&one, &two], &mut random);
    stops += through(&b, &place.file("second.db"), &[&two], &mut random);
    println!("stopped {stops} times");
    assert!(stops >= 6, "stopped only {stops} times");
    assert!(dump(&place.path("second.db")) == before, "what came back is not what went");
    // Each of those on the way is done with.
    for (from, to) in [(&a, &b), (&b, &place.file("third.db"))] {
        let (code, report, said) = migrate(from, to, &["--check"]);
        let is_done = code == 0 && report["done"] == true;
        assert!(is_done || code == IN_THE_WAY && said.contains("was moved to"), "{code}: {said}");
    }
}

#[test]
fn of_two_at_once_no_row_comes_twice() {
    let (place, one, two) = (Folder::new(), shared().create_database(), shared().create_database());
    fill(&place.path("first.db"), 300, 3000);
    let before = dump(&place.path("first.db"));
    let (a, b) = (place.database(&one), place.database(&two));
    migrated(&place.file("first.db"), &a);
    let mut running: Vec<_> = (0..3).map(|_| spawn(&a, &b, &[])).collect();
    while let Some(child) = running.pop() {
        let (code, _, said) = ended(child);
        assert!([0, IN_THE_WAY, STORE, DIFFERS].contains(&code), "{code}: {said}");
    }
    let (code, _, said) = migrate(&a, &b, &[]);
    if code != 0 {
        assert!(code == IN_THE_WAY && said.contains("--abandon"), "{code}: {said}");
        assert_eq!(migrate(&a, &b, &["--abandon"]).0, 0);
        migrated(&a, &b);
    }
    migrated(&b, &place.file("second.db"));
    assert!(dump(&place.path("second.db")) == before, "what came back is not what went");
}
