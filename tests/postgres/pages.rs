//! A page costs the same wherever it is. The planner knows nothing of what a comparison of rows leaves over, so it is
//! counted what the server has looked at.

use std::time::{Duration, Instant};

use strongroom::store::{CredentialState, Cursor, Filter, Store as _};

use crate::adapter::Database;
use crate::store::Place as _;

const ROWS: usize = 20_000;
const PAGE: u32 = 50;

/// Half of them deleted; nearly all in one project, and of one provider.
const SEED: &str = "INSERT INTO credentials (id, org, project, provider, name, state, disabled, active_version,
        latest_version, fingerprint, public_identity, metadata, labels, revision, created_at, updated_at,
        secret_created_at, deleted_at)
    SELECT decode(lpad(to_hex(n), 32, '0'), 'hex'), 'acme', CASE WHEN n < 100 THEN 'other' ELSE 'default' END,
        CASE WHEN n % 200 < 2 THEN 'anthropic' ELSE 'openai' END, 'key-' || lpad(n::text, 8, '0'),
        CASE n % 2 WHEN 0 THEN 'active' ELSE 'deleted' END, 0, CASE n % 2 WHEN 0 THEN 1 END, 1, lpad(to_hex(n), 8, '0'),
        '{}', '{}', '{}', 1, n, n, n, CASE n % 2 WHEN 1 THEN n END
    FROM generate_series(1::bigint, 20000) AS n";

#[tokio::test(flavor = "multi_thread")]
async fn a_page_looks_at_what_it_shows_and_little_more() {
    let database = Database::new();
    drop(database.open().await);
    database.ask(SEED);
    // As the server does by itself within a minute or so.
    database.ask("VACUUM ANALYZE");
    let before = looked_at(&database);
    let store = database.open().await;
    let mut shown = 0;
    for state in [None, Some(CredentialState::Active), Some(CredentialState::Deleted)] {
        for project in [None, Some("default".to_owned())] {
            for provider in [None, Some("openai".to_owned())] {
                let (project, org) = (project.clone(), "acme".to_owned());
                let filter = Filter { org, project, provider, state, ..Filter::default() };
                let name = format!("key-{:08}", ROWS / 2);
                let after =
                    Cursor { project: "default".into(), provider: "openai".into(), name, id: uuid::Uuid::nil() };
                for after in [None, Some(&after)] {
                    shown += store.list(&filter, after, PAGE).await.unwrap().len();
                }
            }
        }
    }
    assert_eq!(shown, 24 * PAGE as usize);
    drop(store);
    let looked_at = looked_at(&database) - before;
    assert!(looked_at < 2 * shown, "{looked_at} rows were looked at for {shown}");
}

/// Rows of the table and entries of its indexes. A connection tells what it has done when it ends.
fn looked_at(database: &Database) -> usize {
    let end = Instant::now() + Duration::from_secs(30);
    let ours =
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'strongroom' AND datname = current_database()";
    while database.ask(ours) != "0" {
        assert!(Instant::now() < end, "connections stay open");
        std::thread::sleep(Duration::from_millis(20));
    }
    let sums = "SELECT (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname = 'credentials')
        + (SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'credentials')";
    database.ask(sums).parse().unwrap()
}
