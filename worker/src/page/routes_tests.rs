#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use std::net::SocketAddr;

use futures::StreamExt as _;
use http_body_util::BodyExt as _;
use object_store::memory::InMemory;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::observe::fixtures::{NOW, busy_observer, identity, ticker_report};
use crate::observe::http::{HttpError, bind};
use crate::observe::state::{PipelinePhase, ShardReport};
use crate::page::WorkerRoster;

fn page(observer: &Observer) -> Page {
    let store = || Store::from_object_store(Arc::new(InMemory::new()), "");
    let yaml = "apiVersion: stockstream.dev/v1alpha1\nkind: StockStream\nmetadata: {name: a}\nspec:\n  source:\n    files: \
        {paths: [\"file:///a/*.ndjson\"]}\n  output: {path: \"file:///o\"}\n  state: {path: \"file:///s\"}\n";
    let pipeline = stockstream_crds::parse(yaml).unwrap();
    Page::new(PageSettings {
        identity: identity(),
        observer: Some(observer.clone()),
        roster: Arc::new(WorkerRoster {
            observer: observer.clone(),
        }),
        state: store(),
        output: store(),
        settings: Settings::of(&pipeline),
        clock: Clock::with_wall(|| stockstream_core::time::Micros(NOW)),
    })
}

struct Server {
    address: SocketAddr,
    page: Page,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), HttpError>>,
}

impl Server {
    async fn start(observer: &Observer) -> Server {
        let page = page(observer);
        let bound = bind(Some("127.0.0.1:0".parse().unwrap())).await.unwrap();
        let address = bound.address();
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(bound.serve(observer.clone(), page.router(), async {
            let _ = stopped.await;
        }));
        Server {
            address,
            page,
            stop,
            served,
        }
    }

    async fn connect(&self, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.address
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    /// Head and body.
    async fn get(&self, path: &str) -> (String, String) {
        let mut answer = String::new();
        let mut stream = self.connect(path).await;
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_ascii_lowercase(), body.to_owned())
    }
}

/// Reads until the text holds `wanted`.
async fn read_until(stream: &mut TcpStream, seen: &mut String, wanted: &str) {
    let mut buffer = vec![0; 65_536];
    while !seen.contains(wanted) {
        let read = stream.read(&mut buffer).await.unwrap();
        assert!(read > 0, "it ended before {wanted:?}: {seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..read]));
    }
}

#[tokio::test]
async fn the_page_and_its_files_have_their_policy_and_their_lifetimes() {
    let server = Server::start(&busy_observer(1)).await;
    let (head, html) = server.get("/").await;
    assert!(head.contains("content-type: text/html"), "{head}");
    for part in [
        "script-src 'self'",
        "default-src 'none'",
        "frame-ancestors 'none'",
    ] {
        assert!(head.contains(part), "{part}: {head}");
    }
    assert!(
        !head.contains("unsafe") && head.contains("cache-control: no-store"),
        "{head}"
    );
    for asset in &assets().files {
        assert!(html.contains(&asset.path[1..]));
        let (head, body) = server.get(&asset.path).await;
        assert!(
            head.contains("immutable") && head.contains("nosniff"),
            "{head}"
        );
        assert!(head.contains(asset.content_type), "{head}");
        assert_eq!(body.as_bytes(), asset.bytes);
    }
    assert!(server.get("/assets/page.js").await.0.contains("404"));
}

#[tokio::test]
async fn nothing_is_looked_at_while_nobody_watches() {
    let observer = busy_observer(2);
    let server = Server::start(&observer).await;
    assert_eq!(server.page.watchers(), 0);
    let (head, body) = server.get("/api/pipeline").await;
    assert!(head.contains("200 ok"), "{head}");
    let view: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(view["tickers"].as_array().unwrap().len(), 2);
    assert_eq!(view["servedBy"]["kind"], "worker");
    assert_eq!(
        server.page.watchers(),
        0,
        "it was answered once and forgotten"
    );
}

#[tokio::test]
async fn a_watcher_gets_everything_then_changes_and_is_told_of_the_end() {
    let observer = busy_observer(3);
    let server = Server::start(&observer).await;
    let mut stream = server.connect("/api/events").await;
    let mut seen = String::new();
    read_until(&mut stream, &mut seen, "event: full").await;
    read_until(&mut stream, &mut seen, "T0002").await;
    assert_eq!(server.page.watchers(), 1);
    let mut newer = ticker_report("T0001", "shardId-000000000000");
    newer.latest_close = Some(1234.5);
    let mut shard = ShardReport::new("shardId-000000000000");
    shard.epoch = 4;
    observer.update_shard(shard, vec![newer]);
    seen.clear();
    read_until(&mut stream, &mut seen, "event: change").await;
    read_until(&mut stream, &mut seen, "1234.5").await;
    assert!(
        seen.contains("\"gone\":{\"tickers\":[\"T0000\",\"T0002\"]}"),
        "{seen}"
    );
    // The stream ends at once when the server is to stop, with the last word.
    observer.set_phase(PipelinePhase::Finished, None);
    server.page.stop();
    server.stop.send(()).unwrap();
    read_until(&mut stream, &mut seen, "event: end").await;
    read_until(&mut stream, &mut seen, "\"phase\":\"finished\"").await;
    server.served.await.unwrap().unwrap();
}

#[tokio::test]
async fn one_watcher_too_many_is_refused_and_a_place_is_free_again() {
    let page = page(&busy_observer(1));
    let mut open = Vec::new();
    for _ in 0..MAX_WATCHERS {
        let answer = events(State(page.clone())).await;
        assert_eq!(answer.status(), StatusCode::OK);
        open.push(answer);
    }
    let refused = events(State(page.clone())).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key(header::RETRY_AFTER));
    open.pop();
    assert_eq!(events(State(page.clone())).await.status(), StatusCode::OK);
    // Each gets the whole view first.
    let mut body = open.pop().unwrap().into_body().into_data_stream();
    let first = body.next().await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&first).contains("event: full"));
}

#[tokio::test]
async fn a_history_shows_what_is_closed_and_what_is_open() {
    let page = page(&busy_observer(1));
    let wanted = |ticker: &str| {
        Query(Wanted {
            ticker: ticker.to_owned(),
            rows: None,
        })
    };
    let answer = history(State(page.clone()), wanted("T0000")).await;
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    let told: Value = serde_json::from_slice(&body).unwrap();
    let states: Vec<&str> = told["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["published", "open"], "{told}");
    for bad in ["", &"x".repeat(MAX_TICKER + 1)] {
        let answer = history(State(page.clone()), wanted(bad)).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    }
}
