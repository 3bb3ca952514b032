//! The page's addresses: `/`, `/assets/…`, `/api/pipeline`, `/api/events`, `/api/history`.
//!
//! Owns what each answers, its headers and limits. Only reads. Who may ask at all is decided by [`crate::observe::http`].

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use futures::stream;
use serde::Deserialize;
use tokio::sync::{Semaphore, watch};

use super::assets::assets;
use super::gather::{Gatherer, Roster};
use super::history::{History, put_together};
use super::hub::{Hub, MAX_WATCHERS, Snapshot, Watcher};
use super::published::{READ_WITHIN, Rows};
use crate::clock::Clock;
use crate::observe::{Identity, Observer};
use crate::pipeline::Settings;
use crate::storage::Store;

/// Nothing but what this server sends runs or is shown. The chart sets styles through the object model only.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// Histories that are read at the same time; others wait.
const HISTORIES_AT_ONCE: usize = 1;
/// Rows of a history when nobody says how many, and at most.
const ROWS: usize = 500;
const MAX_ROWS: usize = 5_000;
/// The longest ticker that is looked for, in bytes; the pipeline takes none of more than 64.
const MAX_TICKER: usize = 1_024;
/// Milliseconds after which a browser connects again.
const RETRY: u32 = 1_000;

/// What the page shows and where that is found.
#[derive(Debug)]
pub struct PageSettings {
    /// The pipeline and where it lies.
    pub identity: Identity,
    /// Of the worker that serves; a dashboard has none.
    pub observer: Option<Observer>,
    /// Where to find the workers.
    pub roster: Arc<dyn Roster>,
    /// Checkpoints.
    pub state: Store,
    /// Rows.
    pub output: Store,
    /// How the pipeline writes rows, and what its windows compute.
    pub settings: Settings,
    /// For the time of a view.
    pub clock: Clock,
}

/// The page of one process; clones share it.
#[derive(Debug, Clone)]
pub struct Page {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    hub: Arc<Hub>,
    rows: Rows,
    histories: Semaphore,
    observer: Option<Observer>,
    stop: watch::Sender<bool>,
}

impl Page {
    /// A page that nobody watches yet.
    #[must_use]
    pub fn new(settings: PageSettings) -> Self {
        let (stop, stopped) = watch::channel(false);
        let aggregates = settings.identity.aggregates.clone();
        let gatherer = Gatherer {
            identity: settings.identity,
            observer: settings.observer.clone(),
            roster: settings.roster,
            clock: settings.clock,
        };
        let rows = Rows {
            output: settings.output,
            state: settings.state,
            partition_by: settings.settings.partition_by,
            plan: settings.settings.plan,
            aggregates,
        };
        let shared = Shared {
            hub: Arc::new(Hub::new(gatherer, stopped)),
            rows,
            histories: Semaphore::new(HISTORIES_AT_ONCE),
            observer: settings.observer,
            stop,
        };
        Page {
            shared: Arc::new(shared),
        }
    }

    /// Its routes.
    pub fn router(&self) -> Router {
        let mut router = Router::new()
            .route("/", get(|| async { page() }))
            .route("/api/pipeline", get(pipeline))
            .route("/api/events", get(events))
            .route("/api/history", get(history));
        for asset in &assets().files {
            router = router.route(&asset.path, get(move || async move { file(asset) }));
        }
        router.with_state(self.clone())
    }

    /// Ends every stream of events, so that the server can end. The last event says how the pipeline stands.
    pub fn stop(&self) {
        self.shared.stop.send_replace(true);
    }

    /// How many watch.
    #[must_use]
    pub fn watchers(&self) -> usize {
        self.shared.hub.count()
    }
}

fn page() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
    ];
    (headers, assets().html.clone()).into_response()
}

fn file(asset: &'static super::assets::Asset) -> Response {
    let headers = [
        (header::CONTENT_TYPE, asset.content_type),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    (headers, asset.bytes.clone()).into_response()
}

fn too_many() -> Response {
    (
        StatusCode::SERVICE_UNAVAILABLE,
        [(header::RETRY_AFTER, HeaderValue::from_static("10"))],
        format!("{MAX_WATCHERS} watch already: close a page, or ask another worker\n"),
    )
        .into_response()
}

/// The merged view of this moment. Counts as a watcher while it waits for it.
async fn pipeline(State(page): State<Page>) -> Response {
    let Some(mut watcher) = page.shared.hub.watch() else {
        return too_many();
    };
    match watcher.snapshot().await {
        Some(snapshot) => {
            let headers = [(header::CONTENT_TYPE, "application/json")];
            (headers, snapshot.full()).into_response()
        }
        None => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response(),
    }
}

/// The merged view, then what changes, as server-sent events: `full`, `change`, and `end` when the server stops.
async fn events(State(page): State<Page>) -> Response {
    let Some(watcher) = page.shared.hub.watch() else {
        return too_many();
    };
    let begin = (watcher, page.clone(), Seen::Nothing);
    let frames = stream::unfold(begin, |(mut watcher, page, seen)| async move {
        let (frame, seen) = next_frame(&mut watcher, &page, seen).await?;
        Some((Ok::<_, Infallible>(frame), (watcher, page, seen)))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        // For proxies that gather answers before they pass them on.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Body::from_stream(frames)).into_response()
}

/// What a watcher has been sent.
#[derive(Debug, Clone, Copy)]
enum Seen {
    Nothing,
    Number(u64),
    End,
}

async fn next_frame(watcher: &mut Watcher, page: &Page, seen: Seen) -> Option<(Bytes, Seen)> {
    let snapshot = match seen {
        Seen::Nothing => watcher.snapshot().await,
        Seen::Number(_) => watcher.next().await,
        Seen::End => return None,
    };
    let Some(snapshot) = snapshot else {
        return Some((end_frame(page), Seen::End));
    };
    let life = &page.shared.hub.life;
    let Snapshot { number, .. } = *snapshot;
    let (event, data) = match seen {
        Seen::Number(known) if known + 1 == number => ("change", snapshot.change.clone()),
        _ => ("full", snapshot.full()),
    };
    let head = format!("id: {life}.{number}\nretry: {RETRY}\nevent: {event}\ndata: ");
    let frame = [head.as_bytes(), &data, b"\n\n"].concat();
    Some((Bytes::from(frame), Seen::Number(number)))
}

fn end_frame(page: &Page) -> Bytes {
    let report = page.shared.observer.as_ref().map(Observer::report);
    let phase = report.as_ref().map(|report| report.phase.label());
    let reason = report.as_ref().and_then(|report| report.reason.clone());
    let data = serde_json::json!({"phase": phase, "reason": reason});
    Bytes::from(format!("event: end\ndata: {data}\n\n"))
}

/// Whose history, and how much of it.
#[derive(Debug, Deserialize)]
struct Wanted {
    ticker: String,
    rows: Option<usize>,
}

/// A ticker's newest rows, published or not.
async fn history(State(page): State<Page>, Query(wanted): Query<Wanted>) -> Response {
    if wanted.ticker.is_empty() || wanted.ticker.len() > MAX_TICKER {
        let message = format!("give ?ticker=NAME of at most {MAX_TICKER} bytes\n");
        return (StatusCode::BAD_REQUEST, message).into_response();
    }
    let shared = &page.shared;
    let turn = tokio::time::timeout(READ_WITHIN, shared.histories.acquire());
    let Ok(Ok(_turn)) = turn.await else {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            [(header::RETRY_AFTER, HeaderValue::from_static("2"))],
            "too many histories are being read; try again\n",
        )
            .into_response();
    };
    let Some(mut watcher) = shared.hub.watch() else {
        return too_many();
    };
    let Some(snapshot) = watcher.snapshot().await else {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
    };
    let most = wanted.rows.unwrap_or(ROWS).clamp(1, MAX_ROWS);
    Json(of_ticker(shared, &snapshot, wanted.ticker, most).await).into_response()
}

async fn of_ticker(shared: &Shared, snapshot: &Snapshot, ticker: String, most: usize) -> History {
    let view = &snapshot.view;
    let place = view
        .tickers
        .binary_search_by(|known| known.ticker.as_str().cmp(&ticker));
    let live = place.ok().and_then(|place| view.tickers.get(place));
    let newest = live.and_then(|live| live.closed.as_ref().or(live.open.as_ref()));
    let newest_date = newest.map(|figures| figures.trade_date.as_str());
    let shard = live.and_then(|live| view.shards.iter().find(|shard| shard.shard == live.shard));
    let waiting = async {
        match (shard, &view.incarnation) {
            (Some(shard), Some(life)) => {
                let version = shard.checkpoint_version;
                let reading = shared.rows.waiting(life, &shard.shard, version, &ticker);
                let read = tokio::time::timeout(Duration::from_secs(2), reading).await;
                read.unwrap_or_else(|_| Err("it took longer than 2 s".to_owned()))
            }
            _ => Ok(Vec::new()),
        }
    };
    let published = shared.rows.published(&ticker, newest_date, most);
    let (waiting, mut published) = tokio::join!(waiting, published);
    let waiting = waiting.unwrap_or_else(|error| {
        let note = format!("rows that wait to be published can't be read: {error}");
        published.notes.push(note);
        Vec::new()
    });
    History {
        aggregates: view.aggregates.clone(),
        rows: put_together(published.rows, waiting, live, most),
        truncated: published.truncated,
        notes: published.notes,
        ticker,
    }
}

#[cfg(test)]
#[path = "routes_tests.rs"]
mod tests;
