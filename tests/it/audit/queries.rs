//! Reading the log: by who, what, when and for which run; and no question holds a reader for long.

use jiff::Timestamp;
use strongroom::store::{AuditFilter, Boundary, Change, Checkpoint, Draft, Keep, Sqlite, Store};
use uuid::Uuid;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_900_000_000 + second).unwrap()
}

fn draft(second: i64, run: &str) -> Draft {
    Draft {
        at: at(second),
        caller: format!("caller-{}", second % 3),
        action: "decrypt".into(),
        outcome: "ok".into(),
        run: run.into(),
        grant: (second % 4 == 0).then(|| Uuid::from_u128(7)),
        ..Draft::default()
    }
}

async fn all(store: &Sqlite, filter: &AuditFilter, descending: bool) -> (Vec<u64>, u32) {
    let (mut found, mut from, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = store.audit(filter, from, descending, 100).await.unwrap();
        found.extend(page.records.iter().map(|(_, record)| record.sequence));
        (from, pages) = (page.next, pages + 1);
        if from.is_none() {
            return (found, pages);
        }
    }
}

/// Times that go back and forth a little, as requests of different length make them, and checkpoints here and there.
#[tokio::test(flavor = "multi_thread")]
async fn by_time_run_and_grant() {
    let home = tempfile::tempdir().unwrap();
    let store = Sqlite::open(&home.path().join("audit.db")).unwrap();
    let seconds: Vec<i64> = (0..60).map(|n| n * 10 + [0, 25, -15][usize::try_from(n % 3).unwrap()]).collect();
    let mut after = 0;
    for (n, second) in (1_u64..).zip(&seconds) {
        let run = if n % 5 == 0 { "run-1" } else { "" };
        store.commit(Change::Record, draft(*second, run).into()).await.unwrap();
        if [7, 20, 21, 48].contains(&n) {
            let span = &seconds[usize::try_from(after).unwrap()..usize::try_from(n).unwrap()];
            let checkpoint = Checkpoint {
                size: n,
                note: String::new(),
                head: [0; 32],
                frontier: Vec::new(),
                after,
                position: n,
                oldest_at: at(*span.iter().min().unwrap()),
                newest_at: at(*span.iter().max().unwrap()),
            };
            store.keep(Keep::Checkpoint(Box::new(checkpoint))).await.unwrap();
            after = n;
        }
    }
    for since in [None, Some(-100), Some(100), Some(185), Some(205), Some(470), Some(595), Some(700)] {
        for until in [None, Some(-50), Some(90), Some(210), Some(215), Some(480), Some(590), Some(900)] {
            let filter = AuditFilter { since: since.map(at), until: until.map(at), ..AuditFilter::default() };
            let matches =
                |second: i64| since.is_none_or(|since| second >= since) && until.is_none_or(|until| second < until);
            let mut expected: Vec<u64> =
                (1..).zip(&seconds).filter(|(_, second)| matches(**second)).map(|(n, _)| n).collect();
            assert_eq!(all(&store, &filter, false).await.0, expected, "{since:?} {until:?}");
            expected.reverse();
            assert_eq!(all(&store, &filter, true).await.0, expected, "{since:?} {until:?} descending");
        }
    }
    let run = AuditFilter { run: Some("run-1".into()), ..AuditFilter::default() };
    assert_eq!(all(&store, &run, false).await.0, (1..=12).map(|n| n * 5).collect::<Vec<_>>());
    let grant = AuditFilter { grant: Some(Uuid::from_u128(7)), ..AuditFilter::default() };
    let expected: Vec<u64> = (1..).zip(&seconds).filter(|(_, s)| **s % 4 == 0).map(|(n, _)| n).collect();
    assert_eq!(all(&store, &grant, false).await.0, expected);

    // The time before the third checkpoint's end: the newest before which everything is older.
    let before = |second| store.checkpoint_before(at(second));
    assert_eq!(before(10).await.unwrap(), None);
    assert_eq!(before(1000).await.unwrap().unwrap().size, 48);
    assert_eq!(before(seconds[6].max(seconds[4]) + 1).await.unwrap().unwrap().size, 7);

    // What is pruned is not there any more, at once; the rows go a few at a time.
    let prune = |size| store.commit(Change::PruneAudit { size }, draft(601, "").into());
    prune(20).await.unwrap();
    assert!(prune(20).await.is_err() && prune(19).await.is_err() && prune(7).await.is_err());
    assert_eq!(store.boundary(store.instance()).await.unwrap(), Boundary { size: 20, position: 20 });
    let left: Vec<u64> = (21..=61).collect();
    assert_eq!(all(&store, &AuditFilter::default(), false).await.0, left);
    assert_eq!(store.keep(Keep::Sweep).await.unwrap(), 20);
    assert_eq!(store.keep(Keep::Sweep).await.unwrap(), 0);
    assert_eq!(all(&store, &AuditFilter::default(), true).await.0, left.iter().rev().copied().collect::<Vec<_>>());
    assert_eq!(store.chained(0, 1).await.unwrap()[0].sequence, 21);
    assert_eq!(
        store.checkpoints(store.instance(), 0, 10).await.unwrap().iter().map(|one| one.size).collect::<Vec<_>>(),
        [20, 21, 48]
    );
}

/// A filter that no index helps: each page looks at a bounded number of records and says where to go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_rare_thing_is_found_over_several_pages() {
    let home = tempfile::tempdir().unwrap();
    let store = Sqlite::open(&home.path().join("audit.db")).unwrap();
    let commit = |n| store.commit(Change::Record, draft(n, "").into());
    futures_util::future::try_join_all((0..12_000).map(commit)).await.unwrap();
    let rare = Draft { caller: "rare".into(), ..draft(0, "") };
    store.commit(Change::Record, rare.into()).await.unwrap();
    let filter = AuditFilter { caller: Some("rare".into()), ..AuditFilter::default() };
    assert_eq!(all(&store, &filter, false).await, (vec![12_001], 3));
    assert_eq!(all(&store, &filter, true).await.0, [12_001]);
    let first = store.audit(&filter, None, false, 10).await.unwrap();
    assert!(first.records.is_empty() && first.next.is_some());
}
