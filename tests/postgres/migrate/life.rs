//! A vault with a bit of everything goes to a server, to another, and back, and is served at each.

use strongroom::pb::v1::grant_service_client::GrantServiceClient;
use strongroom::pb::v1::{CredentialRef, DeleteCredentialRequest, MintGrantRequest};

use super::*;
use crate::daemon::{Bearer, Daemon, decrypt, openai_key, runtime, setup};
use crate::replicas::{World, reload};

const OFTEN: &str = "[audit]\ncheckpoint_every = \"100ms\"\n";

#[track_caller]
fn cli(daemon: &Daemon, token: &str, line: &str) -> String {
    let output = daemon.cli(token, &line.split(' ').collect::<Vec<_>>(), None);
    assert!(output.status.success(), "{line}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

async fn opens(daemon: &Daemon, token: &str, name: &str, seed: &str) {
    let reply = daemon.credentials(token).await.decrypt_credential(decrypt("acme", name)).await;
    let secret = reply.unwrap_or_else(|error| panic!("{name}: {error}")).into_inner().secret.unwrap();
    assert_eq!(secret.expose_text().unwrap(), openai_key(seed));
}

/// What somebody who holds these has in hand when it is moved.
struct Kept {
    admin: String,
    pipeline: String,
    grant: String,
}

fn live(daemon: &Daemon, home: &std::path::Path) -> Kept {
    let admin = daemon.token.clone();
    let (pipeline, grant) = runtime().block_on(async {
        let mut client = daemon.credentials(&admin).await;
        for number in 0..8 {
            let name = format!("c{number}");
            client.setup_credential(setup("acme", &name, &openai_key(&name))).await.unwrap();
            opens(daemon, &admin, &name, &name).await;
        }
        for seed in ["one", "two"] {
            client.setup_credential(setup("acme", "twice", &openai_key(seed))).await.unwrap();
        }
        for (name, seconds) in [("gone", 0), ("going", 3600)] {
            client.setup_credential(setup("acme", name, &openai_key(name))).await.unwrap();
            let delete = DeleteCredentialRequest {
                org: "acme".into(),
                provider: "openai".into(),
                name: name.into(),
                destroy_after: Some(pbjson_types::Duration { seconds, nanos: 0 }),
                ..DeleteCredentialRequest::default()
            };
            client.delete_credential(delete).await.unwrap();
        }
        client.setup_credential(setup("doomed", "one", &openai_key("doomed"))).await.unwrap();
        let one = CredentialRef { provider: "openai".into(), name: "c1".into(), ..CredentialRef::default() };
        let mint = MintGrantRequest {
            org: "acme".into(),
            run: "7".into(),
            credentials: vec![one],
            uses: 9,
            ..MintGrantRequest::default()
        };
        let mut grants = GrantServiceClient::with_interceptor(daemon.channel().await, Bearer::new(&admin));
        let grant = grants.mint_grant(mint).await.unwrap().into_inner().grant.unwrap();
        (daemon.issue("pipeline", "acme", &["openai"]).await, grant.expose_text().unwrap().to_owned())
    });
    cli(daemon, &admin, "org destroy doomed --after 0s --yes");
    cli(daemon, &admin, "second-factor enrol --output json");
    let rotate = Command::new(program())
        .args(["local-key", "rotate", "default", "--config", "strongroom.toml"])
        .current_dir(home)
        .output()
        .unwrap();
    assert!(rotate.status.success(), "{rotate:?}");
    assert!(reload(daemon).0);
    cli(daemon, &admin, "rewrap");
    runtime().block_on(async {
        let mut client = daemon.credentials(&admin).await;
        client.setup_credential(setup("acme", "late", &openai_key("late"))).await.unwrap();
    });
    Kept { admin, pipeline, grant }
}

/// All that was good is, and what was not is not; and it goes on.
fn goes_on(daemon: &Daemon, kept: &Kept, number: usize) {
    runtime().block_on(async {
        for number in 0..8 {
            let name = format!("c{number}");
            opens(daemon, &kept.admin, &name, &name).await;
        }
        opens(daemon, &kept.pipeline, "twice", "two").await;
        opens(daemon, &kept.grant, "c1", "c1").await;
        let mut client = daemon.credentials(&kept.admin).await;
        for gone in ["gone", "going"] {
            client.decrypt_credential(decrypt("acme", gone)).await.unwrap_err();
        }
        client.decrypt_credential(decrypt("doomed", "one")).await.unwrap_err();
        // The numbers of changes and records go on.
        let name = format!("new-{number}");
        client.setup_credential(setup("acme", &name, &openai_key(&name))).await.unwrap();
        client.setup_credential(setup("acme", &name, &openai_key("again"))).await.unwrap();
        opens(daemon, &kept.admin, &name, "again").await;
    });
    assert!(cli(daemon, &kept.admin, "second-factor list").lines().count() > 1);
    cli(daemon, &kept.admin, "audit verify");
}

#[track_caller]
fn not_served(world: &World, name: &str, url: &str, words: &str) {
    let (status, log) = Daemon::try_start(&world.home(name), &world.config(url), &[]).err().expect("it serves");
    assert!(status.code() == Some(STORE) && log.contains(words), "{status}: {log}");
    let check = Command::new(program())
        .args(["serve", "--check", "--config", "strongroom.toml"])
        .current_dir(world.home(name))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&check.stderr);
    assert!(check.status.code() == Some(STORE) && said.contains(words), "{said}");
}

#[test]
fn it_is_the_same_vault_on_the_way_there_and_back() {
    let (world, place) = (World::new(), Folder::new());
    let (first, there) = (place.file("first.db"), place.database(&world.database));
    let config = |url: &str| format!("{OFTEN}{}", world.config(url));
    let daemon = Daemon::start_with(&world.home("a"), &config(&first));
    let kept = live(&daemon, &world.home("a"));
    refused(&first, &there, &[], IN_THE_WAY, "a daemon");
    assert!(daemon.stop().success());

    let (code, look, said) = migrate(&first, &there, &["--check"]);
    assert!(code == 0 && look["done"] == false && said.contains("nothing stands in the way"), "{code} {said}");
    assert_eq!(world.ask("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), "0");
    let report = migrated(&first, &there);
    assert_eq!(report["rows"], look["rows"]);
    assert!(report["rows"]["audit_log"].as_u64().unwrap() > 30 && report["there"] == 0, "{report}");
    // Once more is no harm.
    assert_eq!(migrate(&first, &there, &[]).0, 0);
    not_served(&world, "a", &first, "was moved to postgres://");
    let dumped = String::from_utf8_lossy(&std::fs::read(place.path("first.db")).unwrap()).into_owned();
    assert!(!dumped.contains("T3BlbkFJ"));

    // Two replicas go on with it; the first one with the chain that it had.
    let chain = world.ask("SELECT value FROM meta WHERE key = 'instance'");
    let numbers = || -> (u64, u64) {
        let ask = |sql: &str| world.ask(sql).parse().unwrap();
        (ask("SELECT max(sequence) FROM changes"), ask("SELECT max(position) FROM audit_log"))
    };
    let before = numbers();
    let a = Daemon::start_with(&world.home("a"), &config(&world.url()));
    let b = Daemon::start_with(&world.home("b"), &config(&world.url()));
    assert!(a.token.is_empty() && b.token.is_empty(), "a vault that knows an admin prints no token");
    assert_eq!(
        world.ask(&format!("SELECT count(*) FROM instances WHERE instance = '{chain}' AND holder IS NOT NULL")),
        "1"
    );
    goes_on(&a, &kept, 1);
    goes_on(&b, &kept, 2);
    let after = numbers();
    assert!(after.0 > before.0 && after.1 > before.1, "{before:?} {after:?}");
    let back = place.file("second.db");
    refused(&there, &back, &[], IN_THE_WAY, "a daemon is using it");
    assert!(a.stop().success() && b.stop().success());
    assert!(!place.path("second.db").exists());

    migrated(&there, &back);
    not_served(&world, "a", &world.url(), "was moved to sqlite://");
    let daemon = Daemon::start_with(&world.home("a"), &config(&back));
    goes_on(&daemon, &kept, 3);
    let log = cli(&daemon, &kept.admin, "audit list --action decrypt --limit 1000 --output json");
    assert!(log.matches("\"decrypt\"").count() > 30, "{log}");
    assert!(daemon.stop().success());

    // From server to server, and nothing has changed at the end.
    let (two, three) = (place.database(&shared().create_database()), place.database(&shared().create_database()));
    let third = place.file("third.db");
    for (from, to) in [(&back, &two), (&two, &three), (&three, &third)] {
        migrated(from, to);
    }
    assert_eq!(dump(&place.path("second.db")), dump(&place.path("third.db")));
    let daemon = Daemon::start_with(&world.home("a"), &config(&third));
    goes_on(&daemon, &kept, 4);
}

#[test]
fn records_of_a_chain_without_keys_are_found_in_a_file_too() {
    let (place, database) = (Folder::new(), shared().create_database());
    fill(&place.path("first.db"), 3, 3);
    migrated(&place.file("first.db"), &place.database(&database));
    // Of a process that ended before it had a key, and long ago.
    let other = Uuid::now_v7().to_string();
    let mut head = strongroom::store::chain::Head::start(other.clone());
    let old = Draft { at: Timestamp::from_second(1_000_000_000).unwrap(), ..draft("test") };
    let canonical = head.append(&old).unwrap();
    let hash: String = head.hash.iter().map(|byte| format!("{byte:02x}")).collect();
    shared().psql(
        &database,
        &format!(
            "INSERT INTO audit_log (instance, sequence, org, canonical, hash) \
             VALUES ('{other}', 1, '', '{canonical}', decode('{hash}', 'hex'))"
        ),
    );
    migrated(&place.database(&database), &place.file("second.db"));
    let company = Connection::open(place.path("second.db")).unwrap();
    let found: i64 =
        company.query_row("SELECT count(*) FROM meta WHERE key = 'company'", [], |row| row.get(0)).unwrap();
    assert_eq!(found, 1);
    runtime().block_on(async {
        let store = Sqlite::open(&place.path("second.db")).unwrap();
        let until = Some(Timestamp::from_second(1_100_000_000).unwrap());
        let page = store.audit(&AuditFilter { until, ..AuditFilter::default() }, None, false, 10).await.unwrap();
        assert_eq!(page.records.len(), 1);
        assert_eq!(page.records[0].1.instance, other);
    });
}

#[test]
fn copies_of_the_log_go_on_where_they_were() {
    let (place, database) = (Folder::new(), shared().create_database());
    let (from, there, back) = (place.file("a.db"), place.database(&database), place.file("b.db"));
    fill(&place.path("a.db"), 1, 20);
    let set = "INSERT INTO audit_cursors (copy, reached) VALUES ('file', 7)";
    assert_eq!(Connection::open(place.path("a.db")).unwrap().execute(set, []).unwrap(), 1);
    migrated(&from, &there);
    let chain = shared().psql(&database, "SELECT value FROM meta WHERE key = 'instance'");
    let its_own = format!("copy = 'file of {chain}'");
    let reached = shared().psql(&database, &format!("SELECT reached FROM audit_cursors WHERE {its_own}"));
    assert_eq!(reached, "7");
    shared().psql(&database, &format!("UPDATE audit_cursors SET reached = 9 WHERE {its_own}"));
    migrated(&there, &back);
    let reached = "SELECT reached FROM audit_cursors WHERE copy = 'file'";
    let reached = Connection::open(place.path("b.db")).unwrap().query_row(reached, [], |row| row.get(0));
    assert_eq!(reached, Ok(9));
}
