//! The disk of the database is full: of its tables, and PostgreSQL refuses what would make one grow; or of its log, and
//! PostgreSQL goes down.

use super::Scene;
use crate::daemon::runtime;
use crate::preload;
use crate::server::{Options, Server};

fn server() -> Server {
    // What it clears away by itself would be room for a few records more.
    let settings = vec![("autovacuum", "off".to_owned())];
    Server::new(Options { filler: Some(preload::library()), settings, ..Options::default() })
}

#[test]
fn a_disk_without_room_for_tables_is_told_of() {
    let server = server();
    let database = server.create_database();
    let scene = Scene::new(&server.url(&database));
    runtime().block_on(async {
        let load = scene.load().await;
        server.fill("base");
        scene.refuses("make room on the server's disk").await;
        // It lives, and whoever only asks has an answer.
        assert!(server.log().contains("ERROR:  could not extend file"), "{}", server.log());
        assert!(!server.log().contains("PANIC"), "{}", server.log());
        server.psql(&database, "SELECT count(*) FROM credentials");
        server.make_room();
        scene.recovers(load).await;
    });
}

#[test]
fn a_disk_without_room_for_the_databases_log_takes_it_down() {
    let server = server();
    let database = server.create_database();
    let scene = Scene::new(&server.url(&database));
    runtime().block_on(async {
        let load = scene.load().await;
        server.fill("pg_wal");
        // It goes through what it has in store, and comes to where there is nothing.
        while server.try_psql(&server.admin_url("postgres"), "SELECT pg_switch_wal()").is_ok() {}
        server.ends();
        assert!(server.log().contains("PANIC:  could not write to file"), "{}", server.log());
        scene.refuses("nobody listens there").await;
        server.make_room();
        server.start();
        scene.recovers(load).await;
    });
}
