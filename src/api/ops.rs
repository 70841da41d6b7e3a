//! The operations port: alive, ready, metrics. Says nothing about credentials, and asks nobody who they are.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::{StatusCode, header};

use super::Api;

/// A readiness check that takes longer is an answer.
const PATIENCE: Duration = Duration::from_secs(2);

pub fn ops(api: Arc<Api>, metrics: impl Fn() -> String + Clone + Send + Sync + 'static) -> Router {
    let scrape = move || async move {
        ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics()).into_response()
    };
    Router::new()
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(|| ready(api)))
        .route("/metrics", get(scrape))
}

async fn ready(api: Arc<Api>) -> Response {
    if *api.closing.borrow() {
        return not("DRAINING");
    }
    match tokio::time::timeout(PATIENCE, api.vault.ready()).await {
        Ok(Ok(())) => "ready\n".into_response(),
        Ok(Err(error)) => {
            tracing::warn!(reason = error.reason(), cause = error.cause(), "not ready");
            not(error.reason())
        }
        Err(_) => not("TOO_SLOW"),
    }
}

fn not(reason: &'static str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response()
}
