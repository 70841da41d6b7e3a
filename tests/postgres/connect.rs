//! How the store reaches a server, and what it says when it does not.

mod pooler;
mod trouble;
mod trust;
mod work;

use std::sync::Arc;
use std::time::Duration;

use strongroom::store::Error;
use strongroom::store::postgres::{Patience, Pool, Server, Url};
use strongroom::store::sql::{Borrowed, Sql, Value};
use tokio::runtime::Runtime;

const QUICK: Patience =
    Patience { connect: Duration::from_secs(5), statement: Duration::from_secs(5), pause: Duration::from_millis(50) };

/// Of the fixture, whose server has no TLS.
fn plain(url: &str) -> Arc<Server> {
    open(&format!("{url}?sslmode=disable"), QUICK).unwrap()
}

fn open(url: &str, patience: Patience) -> Result<Arc<Server>, Error> {
    Server::new(Url::parse(url).unwrap(), patience).map(Arc::new)
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Why nobody is let in.
fn refused(server: &Arc<Server>) -> String {
    runtime().block_on(server.connect()).map(drop).unwrap_err().to_string()
}

/// The one number that a query answers.
fn number(sql: &dyn Sql, query: &str, values: &[Value<'_>]) -> Result<i64, Error> {
    let mut found = None;
    sql.query(query, values, &mut |row| {
        if let Some(Borrowed::Integer(number)) = row.get(0) {
            found = Some(number);
        }
        Ok(std::ops::ControlFlow::Continue(()))
    })?;
    Ok(found.expect("a number"))
}

/// Whether a pool answers, and in which server process.
async fn backend(pool: &Pool) -> Result<i64, Error> {
    pool.read(|sql| number(sql, "SELECT pg_backend_pid()", &[])).await
}
