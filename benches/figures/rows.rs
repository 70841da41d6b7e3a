//! What grows with the number of credentials, and should not: a page of a list, the start, idle memory.

use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use strongroom::pb::v1::{ListCredentialsRequest, ListCredentialsResponse};

use crate::Plan;
use crate::load::{Sample, drive};
use crate::server::{Client, Door, ORG, Server, runtime};
use crate::table::{Row, Target, section, time};

const PAGE: u32 = 50;

struct Sized {
    rows: u64,
    daemon: Server,
    client: Client,
    /// The page token after the row in the middle.
    middle: String,
    /// The first page, and one in the middle.
    pages: [Vec<Sample>; 2],
}

pub fn run(plan: Plan, home: &Path) {
    let sizes: &[u64] = plan.pick(&[1_000, 20_000], &[1_000, 100_000, 1_000_000]);
    compare(plan, "the number of credentials in one org", sizes, |rows| {
        let home = home.join(rows.to_string());
        std::fs::create_dir(&home).unwrap();
        let database = {
            let empty = Server::daemon(&home, false);
            let database = empty.database();
            empty.stop();
            database
        };
        seed(&database, rows);
        move || Server::daemon(&home, false)
    });
}

/// Of stores that are filled already, which `filled` starts a daemon over.
pub fn compare<S: FnOnce() -> Server>(plan: Plan, title: &str, sizes: &[u64], filled: impl Fn(u64) -> S) {
    section(title, "here", "with 1 000");
    let runtime = runtime();
    let mut all: Vec<Sized> = sizes.iter().map(|rows| runtime.block_on(Sized::new(*rows, filled(*rows)))).collect();
    runtime.block_on(async {
        for _ in 0..=plan.rounds() {
            for sized in &mut all {
                sized.turn(plan.turn() / 4).await;
            }
        }
    });
    let pages: Vec<_> =
        all.iter().map(|sized| sized.pages.each_ref().map(|turns| Sample::median(&turns[1..]))).collect();
    for (nth, what) in ["first page of 50", "a page in the middle"].into_iter().enumerate() {
        for (sized, page) in all.iter().zip(&pages) {
            let (here, small) = (page[nth].p50, pages[0][nth].p50);
            let target = if sized.rows >= 1_000_000 { Target::AtMost(1.2) } else { Target::None };
            Row::shown(format!("{what}, {} rows", sized.rows), format!("{} median", time(here)), time(small))
                .ratio(here.as_secs_f64() / small.as_secs_f64(), target)
                .print();
        }
    }
    for sized in &all {
        let ready = sized.daemon.ready_after;
        let target = if sized.rows >= 1_000_000 { Target::AtMost(1.0) } else { Target::None };
        Row::shown(format!("start to ready, {} rows", sized.rows), time(ready), time(all[0].daemon.ready_after))
            .value(ready.as_secs_f64(), " s", target)
            .print();
    }
}

impl Sized {
    async fn new(rows: u64, start: impl FnOnce() -> Server) -> Self {
        let begin = Instant::now();
        let mut daemon = start();
        daemon.wait_until_ready();
        daemon.ready_after = begin.elapsed();
        let client = daemon.client(Door::Tcp).await;
        let middle = middle(&client, rows).await;
        Self { rows, daemon, client, middle, pages: Default::default() }
    }

    async fn turn(&mut self, turn: Duration) {
        for (token, turns) in [String::new(), self.middle.clone()].into_iter().zip(&mut self.pages) {
            let client = self.client.clone();
            let call = move |_, _| {
                let (client, token) = (client.clone(), token.clone());
                async move { list(&client, token).await }
            };
            turns.push(drive(&self.daemon, 1, turn, call).await);
        }
    }
}

/// Walks to the row in the middle: a page token is sealed, so only the daemon makes one.
async fn middle(client: &Client, rows: u64) -> String {
    const STEP: u64 = 500;
    let mut token = String::new();
    for _ in 0..rows / 2 / STEP {
        token = page(client, STEP as u32, token).await.next_page_token;
    }
    token
}

async fn list(client: &Client, page_token: String) {
    let reply = page(client, PAGE, page_token).await;
    assert_eq!(reply.credentials.len(), PAGE as usize);
}

async fn page(client: &Client, page_size: u32, page_token: String) -> ListCredentialsResponse {
    let request = ListCredentialsRequest { org: ORG.into(), page_size, page_token, ..Default::default() };
    client.calls().list_credentials(client.request(request)).await.unwrap().into_inner()
}

/// Rows as setups leave them, without anything sealed that could be opened.
fn seed(database: &Path, rows: u64) {
    let connection = Connection::open(database).unwrap();
    connection
        .execute_batch(&format!(
            "PRAGMA synchronous = OFF;
             PRAGMA cache_size = -262144;
             BEGIN;
             CREATE TEMP TABLE new AS
               WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {rows})
               SELECT n, unhex(printf('%032x', n)) AS id, 1750000000000000 + n AS at FROM numbers;
             INSERT INTO credentials (id, org, project, provider, name, state, disabled, active_version, latest_version,
                 fingerprint, public_identity, metadata, labels, revision, created_at, updated_at)
               SELECT id, '{ORG}', 'default', 'openai', printf('key-%08d', n), 'active', 0, 1, 1,
                 printf('%08x', n), '{{}}', '{{}}', '{{\"team\":\"data\"}}', 1, at, at FROM new;
             INSERT INTO org_integration_credentials (credential_id, version, fingerprint, digest, public_identity, seal,
                 created_by, created_at, sealed_blob)
               SELECT id, 1, printf('%08x', n), zeroblob(32), '{{}}', 'aes256gcm', 'seed', at, zeroblob(250) FROM new;
             INSERT INTO wraps (live, holder, key, bytes)
               SELECT 1, CAST(x'76' || id || x'00000001' AS BLOB), (SELECT min(id) FROM wrapping_keys), zeroblob(81)
               FROM new;
             INSERT INTO org_integration_credential_states (credential_id, version, state, activated_at)
               SELECT id, 1, 'active', at FROM new;
             COMMIT;
             PRAGMA wal_checkpoint(TRUNCATE);"
        ))
        .unwrap();
}
