//! Which store `store.url` means.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Error;
use crate::config::Config;
use crate::store::postgres::{Patience, Server, Url};
use crate::store::{self, Look, Postgres, Sqlite, Store};

pub enum Place {
    File(PathBuf),
    Server(Arc<Server>),
}

impl Place {
    pub fn of(config: &Config) -> Result<Self, Error> {
        Self::parse(&config.store.url, Patience::default())
    }

    pub fn parse(url: &str, patience: Patience) -> Result<Self, Error> {
        if let Some(path) = url.strip_prefix("sqlite://") {
            return Ok(Self::File(path.into()));
        }
        if !Url::is_meant(url) {
            // What follows may be a password.
            let scheme = url.split(':').next().unwrap_or_default();
            return Err(Error::UnknownStore(scheme.to_owned()));
        }
        let url = Url::parse(url).map_err(|why| Error::Url { why })?;
        let shown = url.to_string();
        let server = Server::new(url, patience).map_err(|cause| Error::Store { url: shown, cause })?;
        Ok(Self::Server(Arc::new(server)))
    }

    /// The file of a store that is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Server(_) => None,
        }
    }

    pub async fn open(&self) -> Result<Arc<dyn Store>, Error> {
        let opened: Result<Arc<dyn Store>, _> = match self {
            Self::File(path) => Sqlite::open(path).map(|store| Arc::new(store) as _),
            Self::Server(server) => Postgres::open(Arc::clone(server)).await.map(|store| Arc::new(store) as _),
        };
        opened.map_err(|cause| self.refused(cause))
    }

    /// What is there. Makes and changes nothing.
    pub async fn look(&self) -> Result<Look, Error> {
        match self {
            Self::File(path) => Ok(Sqlite::look(path)),
            Self::Server(server) => Postgres::look(Arc::clone(server)).await.map_err(|cause| self.refused(cause)),
        }
    }

    pub fn refused(&self, cause: store::Error) -> Error {
        let url = self.to_string();
        match cause {
            cause @ store::Error::Newer { .. } => Error::Schema { url, cause },
            cause @ store::Error::Moving(_) => Error::Moving { url, cause },
            cause => Error::Store { url, cause },
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "sqlite://{}", path.display()),
            Self::Server(server) => write!(f, "{}", server.url()),
        }
    }
}
