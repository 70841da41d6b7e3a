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

    pub fn name(&self) -> &str {
        &self.0
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
