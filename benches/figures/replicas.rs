//! Replicas over one PostgreSQL, beside one daemon over SQLite. The database is a real one, started here, which writes
//! through to the disk before it says so. Everything shares this machine: what more replicas bring is seen only where
//! there are cores for them, the database and the clients; the processor time of a call says more.

use std::path::{Path, PathBuf};

use futures_util::future::join_all;

use crate::load::{Sample, drive};
use crate::postgres::{self, Options, Server as Database};
use crate::server::{Client, Door, ORG, Server, runtime};
use crate::table::{Row, Target, count, median, section, time};
use crate::{Plan, rows};

const IN_FLIGHT: usize = 64;
const CONNECTIONS: usize = 4;
const MOST: usize = 3;

/// Each replica's turns of the same load.
#[derive(Default)]
struct Turns {
    replicas: Vec<Sample>,
    together: Vec<f64>,
    trips: Vec<f64>,
}

pub fn run(plan: Plan, home: &Path) {
    if postgres::programs().is_none() {
        println!("\nreplicas over PostgreSQL: left out, because its programs are not installed here");
        return;
    }
    let database = start();
    for (load, what, rpc) in [
        (Load::Decrypt, "warm decrypt over PostgreSQL, 2.3 KiB, 64 in flight to each replica", "DecryptCredential"),
        (Load::Setup, "setup without a test over PostgreSQL, 2.3 KiB, 64 in flight to each replica", "SetupCredential"),
    ] {
        section(what, "each replica: rate, p50 / p99", "SQLite: rate, p50 / p99");
        let home = home.join(rpc);
        runtime().block_on(under(plan, &home, &database, load, rpc));
    }
    let sizes: &[u64] = plan.pick(&[1_000, 100_000], &[1_000, 100_000, 1_000_000]);
    rows::compare(plan, "the number of credentials in one org, over PostgreSQL", sizes, |rows| {
        let home = home.join(rows.to_string());
        std::fs::create_dir(&home).unwrap();
        let name = database.create_database();
        let url = url(&database, &name);
        Server::replica(&home, &home, &url).stop();
        database.psql(&name, &seed(rows));
        database.psql(&name, "VACUUM ANALYZE");
        move || Server::replica(&home, &home, &url)
    });
}

/// Writes reach the disk that the build is on, where whoever the server runs as gets there.
fn start() -> Database {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let is_open = |folder: &Path| folder.metadata().is_ok_and(|about| about.permissions().mode() & 1 == 1);
    if !rustix::process::getuid().is_root() || place.ancestors().all(is_open) {
        _ = tempfile::env::override_temp_dir(place);
    }
    Database::new(Options { settings: vec![("fsync", "on".into())], ..Options::default() })
}

fn url(database: &Database, name: &str) -> String {
    format!("{}?sslmode=disable", database.url(name))
}

#[derive(Clone, Copy)]
enum Load {
    Decrypt,
    Setup,
}

async fn under(plan: Plan, home: &Path, database: &Database, load: Load, rpc: &str) {
    let homes: Vec<PathBuf> = (0..=MOST).map(|nth| home.join(nth.to_string())).collect();
    homes.iter().for_each(|home| std::fs::create_dir_all(home).unwrap());
    let alone = [Server::daemon(&homes[0], false)];
    let url = url(database, &database.create_database());
    let replicas: Vec<Server> = homes[1..].iter().map(|home| Server::replica(home, &homes[1], &url)).collect();
    replicas.iter().for_each(Server::wait_until_ready);
    for first in [&alone[0], &replicas[0]] {
        first.client(Door::Tcp).await.setup("default").await;
    }

    let mut cases: Vec<(&[Server], Turns)> = vec![(&alone, Turns::default())];
    cases.extend((1..=MOST).map(|many| (&replicas[..many], Turns::default())));
    for round in 0..=plan.rounds() {
        for (nth, (servers, turns)) in cases.iter_mut().enumerate() {
            let (before, calls) = (trips(servers), answered(servers, rpc));
            let label = format!("r{round}-{nth}");
            let samples = join_all(servers.iter().enumerate().map(|(at, server)| {
                let label = format!("{label}-{at}");
                async move { turn(plan, server, load, label).await }
            }))
            .await;
            // The first round warms up.
            if round > 0 {
                turns.trips.push((trips(servers) - before) / (answered(servers, rpc) - calls));
                turns.together.push(samples.iter().map(|sample| sample.rate).sum());
                turns.replicas.extend(samples);
            }
        }
    }
    let held = database.psql("postgres", "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'strongroom'");
    Row::shown("connections of 3 that are loaded", held, "").print();
    let most = replicas.iter().map(Server::resident).fold(0.0, f64::max);
    let shown = |bytes: f64| format!("{:.1} MiB", bytes / 1024.0 / 1024.0);
    Row::shown("resident after it", shown(most), shown(alone[0].resident())).print();
    let sqlite = Sample::median(&cases[0].1.replicas);
    for (servers, turns) in &cases[1..] {
        let each = Sample::median(&turns.replicas);
        Row::shown(format!("{} of them", servers.len()), each.shown(), sqlite.shown())
            .ratio(each.rate / sqlite.rate, Target::None)
            .print();
        let together = median(turns.together.iter().copied());
        Row::shown("  together", format!("{}/s", count(together)), "")
            .ratio(together / sqlite.rate, Target::None)
            .print();
        let cpu = |sample: &Sample| format!("{} of its cpu", time(sample.cpu));
        Row::shown("  each call", cpu(&each), cpu(&sqlite)).print();
        let target = if matches!(load, Load::Decrypt) { Target::AtMost(0.5) } else { Target::None };
        Row::shown("  round trips for each", "", "").value(median(turns.trips.iter().copied()), "", target).print();
    }
}

async fn turn(plan: Plan, server: &Server, load: Load, label: String) -> Sample {
    let mut clients: Vec<Client> = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(server.client(Door::Tcp).await);
    }
    let call = move |lane: usize, nth: usize| {
        let client = clients[lane % clients.len()].clone();
        let name = format!("{label}-{lane}-{nth}");
        async move {
            match load {
                Load::Decrypt => client.decrypt("default", false).await,
                Load::Setup => client.setup(&name).await,
            }
        }
    };
    drive(server, IN_FLIGHT, plan.turn(), call).await
}

fn trips(servers: &[Server]) -> f64 {
    servers.iter().map(|server| server.counted("strongroom_store_round_trips_total", "")).sum()
}

fn answered(servers: &[Server], rpc: &str) -> f64 {
    servers.iter().map(|server| server.counted("strongroom_requests_total", rpc)).sum()
}

/// The rows that the section about SQLite has.
fn seed(rows: u64) -> String {
    let id = "decode(lpad(to_hex(n), 32, '0'), 'hex')";
    let at = "1750000000000000 + n";
    format!(
        "SET synchronous_commit = off;
         INSERT INTO credentials (id, org, project, provider, name, state, disabled, active_version, latest_version,
             fingerprint, public_identity, metadata, labels, revision, created_at, updated_at)
           SELECT {id}, '{ORG}', 'default', 'openai', 'key-' || lpad(n::text, 8, '0'), 'active', 0, 1, 1,
             lpad(to_hex(n), 8, '0'), '{{}}', '{{}}', '{{\"team\":\"data\"}}', 1, {at}, {at}
           FROM generate_series(1::bigint, {rows}) AS n;
         INSERT INTO org_integration_credentials (credential_id, version, fingerprint, digest, public_identity, seal,
             created_by, created_at, sealed_blob)
           SELECT {id}, 1, lpad(to_hex(n), 8, '0'), decode(repeat('00', 32), 'hex'), '{{}}', 'aes256gcm', 'seed', {at},
             decode(repeat('00', 250), 'hex') FROM generate_series(1::bigint, {rows}) AS n;
         INSERT INTO wraps (live, holder, key, bytes)
           SELECT 1, decode('76' || lpad(to_hex(n), 32, '0') || '00000001', 'hex'), (SELECT min(id) FROM wrapping_keys),
             decode(repeat('00', 81), 'hex') FROM generate_series(1::bigint, {rows}) AS n;
         INSERT INTO org_integration_credential_states (credential_id, version, state, activated_at)
           SELECT {id}, 1, 'active', {at} FROM generate_series(1::bigint, {rows}) AS n"
    )
}
