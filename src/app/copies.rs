//! Copies of the audit log: where they go, and who hands on to them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Error, client};
use crate::config::{self, Config};
use crate::sinks::others::Others;
use crate::store::{Store, Takers};
use crate::{sinks, vault};

/// How long copies may take for what is left at the end.
const LAST: Duration = Duration::from_secs(3);

/// Those of the chain that this process writes.
pub struct Copies {
    tasks: JoinSet<()>,
    finish: watch::Sender<bool>,
}

impl Copies {
    /// And, beside them, those of chains that nobody writes any more.
    pub fn start(
        places: Vec<sinks::Place>,
        passed_on: Vec<sinks::checkpoints::Place>,
        store: &Arc<dyn Store>,
        news: impl Fn() -> watch::Receiver<u64>,
        closing: watch::Receiver<bool>,
    ) -> Result<(Self, Arc<Others>), Error> {
        let (mut tasks, finish) = (JoinSet::new(), watch::Sender::new(false));
        let records = places.into_iter().map(sinks::Copy::open).collect::<Result<Vec<_>, _>>().map_err(Error::Audit)?;
        for copy in records.iter().cloned() {
            tasks.spawn(copy.follow(Arc::clone(store), finish.subscribe()).boxed());
        }
        let checkpoints: Vec<_> = passed_on.into_iter().map(sinks::checkpoints::Copy::to).collect();
        for copy in checkpoints.iter().cloned() {
            tasks.spawn(copy.follow(Arc::clone(store), news(), finish.subscribe()).boxed());
        }
        Ok((Self { tasks, finish }, Arc::new(Others::new(&records, &checkpoints, closing))))
    }

    /// Nothing more is recorded.
    pub async fn finish(mut self) {
        self.finish.send_replace(true);
        if tokio::time::timeout(LAST, async { while self.tasks.join_next().await.is_some() {} }).await.is_err() {
            tracing::warn!("a copy of the audit log does not get through; the rest is copied after the next start");
        }
    }
}

#[async_trait]
impl vault::Copies for Others {
    fn takers(&self) -> Takers {
        Self::takers(self)
    }

    async fn complete(&self, chain: Arc<dyn Store>) {
        Self::complete(self, &chain).await;
    }
}

/// Where checkpoints go besides the store.
pub fn checkpoints(config: &Config) -> Result<Vec<sinks::checkpoints::Place>, Error> {
    let audit = &config.audit;
    let file = audit.checkpoint_file.clone().map(sinks::checkpoints::Place::File);
    let url = match audit.checkpoint_url.as_str() {
        "" => None,
        url => Some(
            sinks::checkpoints::Place::url(client(&config.outbound)?, url)
                .map_err(|why| Error::Audit(format!("audit.checkpoint_url {why}")))?,
        ),
    };
    Ok(file.into_iter().chain(url).collect())
}

/// Where copies of the audit log go.
pub fn places(config: &Config) -> Result<Vec<sinks::Place>, Error> {
    let config::Audit { file, stdout, syslog, otlp, .. } = &config.audit;
    let address = Some(&syslog.address).filter(|address| !address.is_empty());
    let address = address.map(|address| address.parse::<sinks::Address>()).transpose();
    let address = address.map_err(|why| Error::Audit(format!("audit.syslog.address {why}")))?;
    let endpoint = Some(otlp.endpoint.clone()).filter(|endpoint| !endpoint.is_empty());
    let places = [
        file.path.clone().map(sinks::Place::File),
        stdout.enabled.then_some(sinks::Place::Stdout),
        address.map(sinks::Place::Syslog),
        endpoint.map(sinks::Place::Otlp),
    ];
    Ok(places.into_iter().flatten().collect())
}
