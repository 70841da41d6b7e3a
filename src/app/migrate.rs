//! A vault from one store into another. It needs no configuration and no key: what is sealed stays sealed.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::Error;
use super::store::Place;
use crate::store::migration::{self, End};
pub use crate::store::migration::{Error as Failed, Moved, Progress, Step};
use crate::store::postgres::Patience;
use crate::store::{self, Store};
use crate::vault::restore;

/// A large table is counted, sorted and emptied by one statement each.
const STATEMENT: Duration = Duration::from_secs(600);

/// Moves all of it, or goes on where an earlier one was.
pub async fn migrate(from: &str, to: &str, mut tell: impl FnMut(Progress) + Send + 'static) -> Result<Moved, Error> {
    let (from, to) = (end(from)?, end(to)?);
    apart(move || migration::run(&from, &to, &mut tell, prove)).await
}

/// What [`migrate`] would do.
pub async fn look(from: &str, to: &str) -> Result<Moved, Error> {
    let (from, to) = (end(from)?, end(to)?);
    apart(move || migration::look(&from, &to)).await
}

/// Whether the target held anything of it.
pub async fn abandon(from: &str, to: Option<&str>) -> Result<bool, Error> {
    let (from, to) = (end(from)?, to.map(end).transpose()?);
    apart(move || migration::abandon(&from, to.as_ref())).await
}

async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, migration::Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await.map_err(crate::vault::Error::bug)?;
    done.map_err(|error| match error {
        Failed::Store { place: url, cause: cause @ store::Error::Newer { .. } } => Error::Schema { url, cause },
        error => error.into(),
    })
}

fn end(url: &str) -> Result<End, Error> {
    Ok(match Place::parse(url, Patience { statement: STATEMENT, ..Patience::default() })? {
        Place::File(path) => End::file(&path)?,
        Place::Server(server) if server.url().has_password() => {
            let why = "has a password, and arguments are there to see for all on this machine: name a file that holds it, \
                       ?password_file=FILE";
            return Err(Error::Url { why: why.to_owned() });
        }
        Place::Server(server) => End::Server(server),
    })
}

/// As `audit verify` does it: what is wrong with a chain.
fn prove(store: Arc<dyn Store>) -> Result<Option<String>, store::Error> {
    let broken = Handle::current().block_on(restore::broken_log(store.as_ref()));
    broken.map_err(|error| {
        let cause = error.cause().map_or_else(|| error.to_string(), str::to_owned);
        store::Error::Unavailable(format!("its audit log cannot be read: {cause}"))
    })
}
