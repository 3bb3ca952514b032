//! The worker's small HTTP server: `/metrics`, `/healthz`, `/readyz`, `/api/state` and an index at `/api`.
//!
//! Owns its addresses and answers. Only reads: no request changes anything, and there is no CORS, so that no
//! foreign web page can read a pipeline's figures.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Query, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use super::metrics;
use super::observer::Observer;
use super::state::{PipelinePhase, PipelineReport, ShardPhase};

/// Where the server listens when nobody says otherwise.
pub const DEFAULT_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
/// Most shards that `/readyz` names.
const MAX_READY_REASONS: usize = 20;

/// The server couldn't listen or serve.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address that was asked for is taken.
    #[error(
        "can't listen on {address}: the port is in use; stop the other process or choose another --listen"
    )]
    InUse {
        /// The address.
        address: SocketAddr,
    },
    /// The address can't be listened on for another reason.
    #[error("can't listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The server ended with an error.
    #[error("the HTTP server on {address} stopped")]
    Serve {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A server that has its port but doesn't answer yet.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

/// Takes a port: the one asked for, or [`DEFAULT_ADDRESS`], or, when nobody asked and that is in use, a free one.
///
/// # Errors
/// [`HttpError::InUse`] when the port asked for is taken, [`HttpError::Listen`] for any other reason.
pub async fn bind(requested: Option<SocketAddr>) -> Result<Bound, HttpError> {
    bind_or(requested, DEFAULT_ADDRESS).await
}

async fn bind_or(requested: Option<SocketAddr>, default: SocketAddr) -> Result<Bound, HttpError> {
    let address = requested.unwrap_or(default);
    let listener = match listen(address).await {
        Err(HttpError::InUse { .. }) if requested.is_none() => {
            listen(SocketAddr::new(address.ip(), 0)).await?
        }
        other => other?,
    };
    let address = listener
        .local_addr()
        .map_err(|source| HttpError::Listen { address, source })?;
    Ok(Bound { listener, address })
}

async fn listen(address: SocketAddr) -> Result<TcpListener, HttpError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => HttpError::InUse { address },
            _ => HttpError::Listen { address, source },
        })
}

impl Bound {
    /// The address that is listened on.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The server's URL, for people; an unspecified address is shown as the loopback one.
    #[must_use]
    pub fn url(&self) -> String {
        let mut shown = self.address;
        if shown.ip().is_unspecified() {
            shown.set_ip(if shown.is_ipv4() {
                IpAddr::V4(Ipv4Addr::LOCALHOST)
            } else {
                IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)
            });
        }
        format!("http://{shown}")
    }

    /// Answers until `stop` is ready; requests that were begun are finished. `doors` are further routes of the process.
    ///
    /// # Errors
    /// [`HttpError::Serve`] when the listener fails.
    pub async fn serve<F>(self, observer: Observer, doors: Router, stop: F) -> Result<(), HttpError>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let address = self.address;
        let router = router(observer, doors, address);
        self.answer(router, stop).await
    }

    /// As [`Bound::serve`], of a process that has no pipeline of its own: `/healthz` and the doors.
    ///
    /// # Errors
    /// [`HttpError::Serve`] when the listener fails.
    pub async fn serve_doors<F>(self, doors: Router, stop: F) -> Result<(), HttpError>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let router = Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .fallback(not_found)
            .merge(doors);
        let router = guarded(router, self.address);
        self.answer(router, stop).await
    }

    async fn answer<F>(self, router: Router, stop: F) -> Result<(), HttpError>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let address = self.address;
        axum::serve(self.listener, router)
            .with_graceful_shutdown(stop)
            .await
            .map_err(|source| HttpError::Serve { address, source })
    }
}

struct Shared {
    observer: Observer,
    registry: Registry,
}

fn router(observer: Observer, doors: Router, address: SocketAddr) -> Router {
    let shared = Arc::new(Shared {
        registry: metrics::registry(observer.clone()),
        observer,
    });
    let router = Router::new()
        .route("/api", get(index))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .route("/api/state", get(state))
        .fallback(not_found)
        .with_state(shared)
        .merge(doors);
    guarded(router, address)
}

async fn not_found() -> (StatusCode, &'static str) {
    (
        StatusCode::NOT_FOUND,
        "not found; see /api for what is here\n",
    )
}

/// When only this machine can connect, a `Host` that isn't this machine is a rebound DNS name.
fn guarded(router: Router, address: SocketAddr) -> Router {
    let loopback = address.ip().is_loopback();
    router.layer(middleware::from_fn_with_state(loopback, guard))
}

/// Refuses foreign `Host` names on loopback and sets the security headers, unless an answer has its own.
async fn guard(State(loopback): State<bool>, request: Request, next: Next) -> Response {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let mut response = if loopback && !host.is_none_or(is_this_machine) {
        (
            StatusCode::FORBIDDEN,
            "refused: the Host header doesn't name this machine\n",
        )
            .into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
        (header::CACHE_CONTROL, "no-store"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        let entry = headers.entry(name);
        entry.or_insert(HeaderValue::from_static(value));
    }
    response
}

/// Whether a `Host` header names the loopback interface, with or without a port.
fn is_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

async fn index(State(shared): State<Arc<Shared>>) -> String {
    let report = shared.observer.report();
    format!(
        "Stockstream {version}: pipeline {namespace}/{name}\n\n\
         /              the page\n\
         /api/state     what this worker knows, as JSON\n\
         /api/pipeline  what all workers know together\n\
         /api/events    the same and what changes, as server-sent events\n\
         /api/history   ?ticker=NAME: its newest minutes\n\
         /metrics       what this worker knows, for Prometheus\n\
         /healthz       200 while the process lives\n\
         /readyz        200 when the shards of this worker are read, else 503 and why\n",
        version = report.worker.version,
        namespace = report.pipeline.namespace,
        name = report.pipeline.name,
    )
}

/// What is asked of `/api/state`.
#[derive(Debug, Deserialize)]
struct StateQuery {
    /// Whether tickers and events are told: most of the answer, which who looks after workers doesn't need.
    #[serde(default = "with_tickers")]
    tickers: bool,
}

const fn with_tickers() -> bool {
    true
}

async fn state(State(shared): State<Arc<Shared>>, Query(query): Query<StateQuery>) -> Response {
    let report = shared.observer.report();
    if query.tickers {
        return Json(report.as_ref()).into_response();
    }
    let report = PipelineReport {
        tickers: Vec::new(),
        tickers_omitted: report.tickers_omitted + report.tickers.len() as u64,
        events: Vec::new(),
        ..report.as_ref().clone()
    };
    Json(report).into_response()
}

async fn metrics_text(State(shared): State<Arc<Shared>>) -> Response {
    match metrics::encode(&shared.registry) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// The answer of `/readyz`.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Readiness {
    /// Whether the pipeline runs and the shards of this worker are read.
    pub ready: bool,
    /// Why not, for people.
    pub reasons: Vec<String>,
}

/// Whether a worker does all of its work: its pipeline runs or has finished, and every shard of its own is read or
/// ended. A worker without a shard stands by, which is all of its work.
#[must_use]
pub fn readiness(report: &PipelineReport) -> Readiness {
    let mut reasons = Vec::new();
    let because = |reason: &Option<String>| {
        reason
            .as_ref()
            .map_or_else(String::new, |reason| format!(": {reason}"))
    };
    match report.phase {
        PipelinePhase::Running | PipelinePhase::Finished => {}
        phase => reasons.push(format!(
            "the pipeline is {}{}",
            phase.label(),
            because(&report.reason)
        )),
    }
    // A shard that waits for its parents or is in another worker's hands isn't this one's to read; one that waits for room is
    // being read, as fast as its rows can be written.
    let waiting = report.shards.iter().filter(|shard| {
        matches!(
            shard.phase,
            ShardPhase::Taking | ShardPhase::Recovering | ShardPhase::Failed
        )
    });
    for (index, shard) in waiting.enumerate() {
        if index == MAX_READY_REASONS {
            reasons.push("and further shards".to_owned());
            break;
        }
        reasons.push(format!(
            "{} is {}{}",
            shard.shard,
            shard.phase.label(),
            because(&shard.reason)
        ));
    }
    Readiness {
        ready: reasons.is_empty(),
        reasons,
    }
}

async fn readyz(State(shared): State<Arc<Shared>>) -> (StatusCode, Json<Readiness>) {
    let readiness = readiness(&shared.observer.report());
    let status = if readiness.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(readiness))
}

#[cfg(test)]
mod tests;
