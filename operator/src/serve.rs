//! The operator's HTTP server: `/metrics`, `/healthz`, `/readyz`.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::metrics::Metrics;

const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the server tells of the process; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// True once Kubernetes has answered, whether this process leads or waits for its turn.
    pub is_ready: Arc<AtomicBool>,
    /// Counts.
    pub metrics: Metrics,
}

/// The server couldn't listen.
#[derive(Debug, thiserror::Error)]
#[error("can't listen on {address}: choose another --listen")]
pub struct ServeError {
    address: SocketAddr,
    source: std::io::Error,
}

/// Answers until `stop` is ready.
///
/// # Errors
/// When it can't listen.
pub async fn serve<F>(address: SocketAddr, health: Health, stop: F) -> Result<(), ServeError>
where
    F: Future<Output = ()> + Send + 'static,
{
    let fail = |source| ServeError { address, source };
    let listener = TcpListener::bind(address).await.map_err(fail)?;
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(health);
    axum::serve(listener, router)
        .with_graceful_shutdown(stop)
        .await
        .map_err(fail)
}

async fn readyz(State(health): State<Health>) -> Response {
    match health.is_ready.load(Ordering::Relaxed) {
        true => "ok\n".into_response(),
        false => (
            StatusCode::SERVICE_UNAVAILABLE,
            "Kubernetes hasn't answered yet\n",
        )
            .into_response(),
    }
}

async fn metrics(State(health): State<Health>) -> Response {
    match health.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}
