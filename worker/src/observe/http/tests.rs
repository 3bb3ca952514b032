#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::observe::fixtures::{busy_observer, observer};
use crate::observe::state::ShardReport;

const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), HttpError>>,
}

impl Server {
    async fn start(observer: Observer) -> Self {
        let bound = bind(Some(ANY_PORT)).await.unwrap();
        let address = bound.address();
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(bound.serve(observer, Router::new(), async {
            let _ = stopped.await;
        }));
        Self {
            address,
            stop,
            served,
        }
    }

    /// Status, headers in lower case, and body of a plain HTTP/1.1 exchange.
    async fn exchange(&self, request_line: &str, host: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request =
            format!("{request_line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_ascii_lowercase(), body.to_owned())
    }

    async fn get(&self, path: &str) -> (u16, String, String) {
        self.exchange(&format!("GET {path}"), &self.address.to_string())
            .await
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        self.served.await.unwrap().unwrap();
        assert!(
            TcpStream::connect(self.address).await.is_err(),
            "the port is free again"
        );
    }
}

#[tokio::test]
async fn state_is_the_report_as_json() {
    let observer = busy_observer(500);
    let server = Server::start(observer.clone()).await;
    let (status, head, body) = server.get("/api/state").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: application/json"), "{head}");
    let served: PipelineReport = serde_json::from_str(&body).unwrap();
    assert_eq!(&served, observer.report().as_ref());
    assert_eq!(served.tickers.len(), 500);
    server.stop().await;
}

#[tokio::test]
async fn whoever_looks_after_workers_needs_no_tickers() {
    let server = Server::start(busy_observer(5)).await;
    let (status, _, whole) = server.get("/api/state").await;
    assert_eq!(status, 200);
    let whole: PipelineReport = serde_json::from_str(&whole).unwrap();
    let (status, _, slim) = server.get("/api/state?tickers=false").await;
    assert_eq!(status, 200);
    let slim: PipelineReport = serde_json::from_str(&slim).unwrap();
    assert!(!whole.tickers.is_empty());
    assert!(slim.tickers.is_empty() && slim.events.is_empty());
    assert_eq!(slim.tickers_omitted, whole.tickers.len() as u64);
    assert_eq!(slim.shards, whole.shards);
    assert_eq!(server.get("/api/state?tickers=perhaps").await.0, 400);
    server.stop().await;
}

#[tokio::test]
async fn metrics_health_and_index_answer() {
    let server = Server::start(busy_observer(5)).await;
    let (status, head, body) = server.get("/metrics").await;
    assert_eq!(status, 200);
    assert!(
        head.contains("content-type: application/openmetrics-text"),
        "{head}"
    );
    assert!(body.contains("stockstream_ticks_total{"), "{body}");
    assert_eq!(server.get("/healthz").await.2, "ok\n");
    let (status, _, body) = server.get("/api").await;
    assert_eq!(status, 200);
    assert!(
        body.contains("default/stock-ticks") && body.contains("/api/state"),
        "{body}"
    );
    assert_eq!(server.get("/nothing").await.0, 404);
    assert_eq!(server.exchange("POST /api/state", "localhost").await.0, 405);
    server.stop().await;
}

#[tokio::test]
async fn every_answer_carries_the_security_headers_and_none_allows_other_origins() {
    let server = Server::start(busy_observer(1)).await;
    for path in ["/api", "/api/state", "/metrics", "/readyz", "/nothing"] {
        let (_, head, _) = server.get(path).await;
        for expected in [
            "x-content-type-options: nosniff",
            "cache-control: no-store",
            "default-src 'none'",
        ] {
            assert!(
                head.contains(expected),
                "{path}: {expected} is missing in {head}"
            );
        }
        assert!(!head.contains("access-control"), "{path}: {head}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_rebound_dns_name_is_refused_on_loopback() {
    let server = Server::start(busy_observer(1)).await;
    assert_eq!(
        server
            .exchange("GET /api/state", "evil.example:8080")
            .await
            .0,
        403
    );
    for host in [
        "localhost",
        "LOCALHOST:8080",
        "127.0.0.1:1",
        "[::1]:8080",
        "[::1]",
    ] {
        assert_eq!(
            server.exchange("GET /api/state", host).await.0,
            200,
            "{host}"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn readyz_says_what_it_waits_for_until_every_shard_is_read_or_ended() {
    let observer = observer();
    let server = Server::start(observer.clone()).await;
    let (status, _, body) = server.get("/readyz").await;
    assert_eq!(status, 503);
    assert!(body.contains("the pipeline is starting"), "{body}");

    observer.set_phase(PipelinePhase::Running, None);
    // A worker beyond the number of shards stands by.
    assert_eq!(server.get("/readyz").await.0, 200);

    let shard = |phase, reason: Option<&str>| ShardReport {
        phase,
        reason: reason.map(str::to_owned),
        ..ShardReport::new("shardId-0")
    };
    observer.update_shard_only(shard(ShardPhase::Recovering, Some("3 batches to publish")));
    let (status, _, body) = server.get("/readyz").await;
    assert_eq!(status, 503);
    assert!(
        body.contains("shardId-0 is recovering: 3 batches to publish"),
        "{body}"
    );

    for phase in [ShardPhase::Reading, ShardPhase::Ended] {
        observer.update_shard_only(shard(phase, None));
        let (status, _, body) = server.get("/readyz").await;
        assert_eq!(
            (status, body.as_str()),
            (200, r#"{"ready":true,"reasons":[]}"#)
        );
    }

    observer.set_phase(
        PipelinePhase::Failed,
        Some("the store lost create-if-absent".into()),
    );
    let (status, _, body) = server.get("/readyz").await;
    assert_eq!(status, 503);
    assert!(
        body.contains("the pipeline is failed: the store lost create-if-absent"),
        "{body}"
    );
    assert_eq!(
        server.get("/healthz").await.0,
        200,
        "a failed pipeline's process is alive"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_port_in_use_is_an_error_naming_it_only_when_it_was_asked_for() {
    let taken = TcpListener::bind(ANY_PORT).await.unwrap();
    let address = taken.local_addr().unwrap();

    let error = bind(Some(address)).await.unwrap_err();
    assert!(matches!(error, HttpError::InUse { address: named } if named == address));
    assert!(error.to_string().contains(&address.to_string()), "{error}");

    let bound = bind_or(None, address).await.unwrap();
    assert_ne!(bound.address().port(), address.port());
    assert!(bound.address().ip().is_loopback());
}

#[tokio::test]
async fn an_address_of_another_machine_is_another_error() {
    // 192.0.2.0/24 is reserved for documentation (RFC 5737): no machine has it.
    let error = bind(Some("192.0.2.1:1".parse().unwrap()))
        .await
        .unwrap_err();
    assert!(matches!(error, HttpError::Listen { .. }), "{error:?}");
}

#[tokio::test]
async fn the_url_for_people_can_be_opened_even_when_all_interfaces_are_listened_on() {
    let bound = bind(Some(ANY_PORT)).await.unwrap();
    assert_eq!(bound.url(), format!("http://{}", bound.address()));
    let all = Bound {
        address: "0.0.0.0:8123".parse().unwrap(),
        ..bound
    };
    assert_eq!(all.url(), "http://127.0.0.1:8123");
}
