//! The store on PostgreSQL: the suite that every adapter passes.

use std::sync::Arc;

use strongroom::store::Postgres;
use strongroom::store::postgres::{Patience, Server, Url};

use crate::server::shared;
use crate::store::Place;

/// A database of the shared server.
pub struct Database(String);

impl Database {
    pub fn new() -> Self {
        Self(shared().create_database())
    }

    pub fn ask(&self, sql: &str) -> String {
        shared().psql(&self.0, sql)
    }

    /// As if eleven minutes had gone by since a chain's process was heard of.
    pub fn age(&self, chain: &str) {
        self.ask(&format!("UPDATE instances SET seen_at = seen_at - 660 * 1000000 WHERE instance = '{chain}'"));
    }

    /// Somebody has the turn to make changes, for a second.
    pub fn hold_turn(&self) -> std::thread::JoinHandle<()> {
        let url = shared().admin_url(&self.0);
        let holder = std::thread::spawn(move || {
            let sql = "BEGIN; SELECT id FROM turn FOR UPDATE; SELECT pg_sleep(1); COMMIT";
            shared().try_psql(&url, sql).map(drop).unwrap();
        });
        let is_held = || self.ask("SELECT count(*) FROM pg_locks WHERE relation = 'turn'::regclass") != "0";
        while !holder.is_finished() && !is_held() {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        holder
    }

    pub fn server(&self) -> Arc<Server> {
        let url = format!("{}?sslmode=disable", shared().url(&self.0));
        Arc::new(Server::new(Url::parse(&url).unwrap(), Patience::default()).unwrap())
    }
}

impl Place for Database {
    type Store = Postgres;

    async fn open(&self) -> Postgres {
        Postgres::open(self.server()).await.unwrap()
    }
}

conformance!(conforms, super::Database::new());
