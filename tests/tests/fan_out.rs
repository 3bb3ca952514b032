//! Enhanced fan-out: the worker's own consumer on the embedded Kinesis, and what it does when that is refused or taken.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::{BehaviorVersion, Region};
use aws_sdk_kinesis::types::{ConsumerStatus, ShardIteratorType, StartingPosition};
use serde_json::{Value, json};
use stockstream_tests::{PATIENCE, scratch, wait_until};

use support::{Kinesis, Running, Spec, condition, text};

const STREAM: &str = "pushed";
const CONSUMER: &str = "stockstream-default-suite";

/// Windows of ten seconds; a quiet shard's clock closes them only if `idle_timeout` passes.
fn spec(folder: &Path, idle_timeout: &str) -> Spec {
    let mut spec = Spec::of_stream(folder, STREAM)
        .window("size: 10s")
        .window("watermarkDelay: 1s")
        .window(&format!("idleTimeout: {idle_timeout}"));
    spec.source = format!(
        "    kinesis: {{streamName: {STREAM}, initialPosition: TrimHorizon, consumer: EnhancedFanOut}}\n"
    );
    spec
}

/// Puts one tick of each ticker in each of these windows.
fn put(kinesis: &Kinesis, folder: &Path, windows: &[u32]) {
    let mut lines = String::new();
    for window in windows {
        for ticker in ["AAPL", "AMZN", "GOOGL", "MSFT", "TSLA"] {
            let time = format!("2024-01-02T14:30:{:02}Z", window * 10 + 5);
            let tick = json!({"ticker": ticker, "date": "2024-01-02", "timestamp": time,
                "open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0, "volume": 1});
            lines.push_str(&format!("{tick}\n"));
        }
    }
    let path = folder.join("ticks.ndjson");
    std::fs::write(&path, lines).unwrap();
    kinesis
        .boto3(&["produce", STREAM, &text(&path).unwrap()])
        .unwrap();
}

fn rows(state: &Value) -> u64 {
    state["totals"]["rowsPublished"].as_u64().unwrap()
}

fn is_subscribed(state: &Value) -> bool {
    condition(state, "EnhancedFanOut").is_some_and(|found| found["status"] == "True")
}

/// Replaces the server's faults.
fn script(kinesis: &Kinesis, faults: &Value) {
    let address = kinesis.endpoint.trim_start_matches("http://");
    let body = faults.to_string();
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "PUT /_stockstream/faults HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 200"), "{reply}");
}

/// The server, with faults to come, and a stream of so many shards.
fn kinesis(folder: &Path, shards: &str) -> Kinesis {
    let faults = folder.join("faults.json");
    std::fs::write(&faults, "[]").unwrap();
    let kinesis = Kinesis::start_with(&["--memory", "--faults", &text(&faults).unwrap()]).unwrap();
    kinesis.boto3(&["create", STREAM, shards]).unwrap();
    kinesis
}

fn client(kinesis: &Kinesis) -> Client {
    let config = aws_sdk_kinesis::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(aws_credential_types::Credentials::new(
            "test", "test", None, None, "suite",
        ))
        .endpoint_url(&kinesis.endpoint)
        .build();
    Client::from_conf(config)
}

#[test]
fn records_are_pushed_though_no_poll_brings_any_and_children_follow_a_split() {
    let folder = scratch().unwrap();
    let kinesis = kinesis(folder.path(), "1");
    let yaml = spec(folder.path(), "1h").write(&folder.path().join("p.yaml"));
    let mut worker = Running::worker(&yaml.unwrap(), &kinesis.endpoint).unwrap();
    worker
        .wait_for_state("a subscription", is_subscribed)
        .unwrap();

    script(
        &kinesis,
        &json!([{"operation": "GetRecords", "fault": {"throttle": {}}}]),
    );
    put(&kinesis, folder.path(), &[0, 1, 2]);
    let pushed = |state: &Value| rows(state) == 10 && state["totals"]["ticks"] == 15;
    worker
        .wait_for_state("rows of what was pushed", pushed)
        .unwrap();

    // A child is polled once before it is subscribed to.
    script(&kinesis, &json!([]));
    let (shard, middle) = ("shardId-000000000000", (1u128 << 127).to_string());
    kinesis.boto3(&["split", STREAM, shard, &middle]).unwrap();
    put(&kinesis, folder.path(), &[3, 4, 5]);
    let all = |state: &Value| rows(state) == 25 && state["totals"]["ticks"] == 30;
    let state = worker.wait_for_state("rows of the children", all).unwrap();
    assert_eq!(state["totals"]["deadLetters"], json!({}));
    worker.interrupt().unwrap().success().unwrap();
}

#[test]
fn a_quiet_subscription_leaves_the_idle_clock_to_a_poll_that_finds_the_tip_empty() {
    let folder = scratch().unwrap();
    let kinesis = kinesis(folder.path(), "1");
    put(&kinesis, folder.path(), &[0]);
    let yaml = spec(folder.path(), "6s").write(&folder.path().join("p.yaml"));
    let mut worker = Running::worker(&yaml.unwrap(), &kinesis.endpoint).unwrap();
    let closed = |state: &Value| is_subscribed(state) && rows(state) == 5;
    worker
        .wait_for_state("rows closed by the clock", closed)
        .unwrap();
    worker.interrupt().unwrap().success().unwrap();
}

#[test]
fn a_refused_consumer_means_polling_and_a_condition_that_names_the_action() {
    let folder = scratch().unwrap();
    let kinesis = kinesis(folder.path(), "1");
    let refused = json!({"error": {"type": "AccessDeniedException", "message": "not you"}});
    script(
        &kinesis,
        &json!([{"operation": "RegisterStreamConsumer", "fault": refused}]),
    );
    let yaml = spec(folder.path(), "1h").write(&folder.path().join("p.yaml"));
    let mut worker = Running::worker(&yaml.unwrap(), &kinesis.endpoint).unwrap();
    put(&kinesis, folder.path(), &[0, 1, 2, 3]);
    let state = worker
        .wait_for_state("rows by polling, and the condition", |state| {
            rows(state) == 15 && condition(state, "EnhancedFanOut").is_some()
        })
        .unwrap();
    let found = condition(&state, "EnhancedFanOut").unwrap();
    assert_eq!(
        (&found["status"], &found["reason"]),
        (&json!("False"), &json!("StreamAccessDenied"))
    );
    let message = found["message"].as_str().unwrap();
    assert!(
        message.contains("kinesis:RegisterStreamConsumer"),
        "{message}"
    );
    assert!(!is_subscribed(&state));
    worker.interrupt().unwrap().success().unwrap();
}

#[test]
fn a_subscription_that_was_taken_over_is_renewed_once_the_chain_is_found_to_be_ours() {
    let folder = scratch().unwrap();
    let kinesis = kinesis(folder.path(), "1");
    let yaml = spec(folder.path(), "1h").write(&folder.path().join("p.yaml"));
    let mut worker = Running::worker(&yaml.unwrap(), &kinesis.endpoint).unwrap();
    worker
        .wait_for_state("a subscription", is_subscribed)
        .unwrap();
    put(&kinesis, folder.path(), &[0]);

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let client = client(&kinesis);
    let summary = client.describe_stream_summary().stream_name(STREAM);
    let summary = runtime.block_on(summary.send()).unwrap();
    let stream = summary.stream_description_summary().unwrap().stream_arn();
    let describe = client.describe_stream_consumer().stream_arn(stream);
    let found = runtime
        .block_on(describe.consumer_name(CONSUMER).send())
        .unwrap();
    let consumer = found.consumer_description().unwrap();
    assert_eq!(*consumer.consumer_status(), ConsumerStatus::Active);

    // Within five seconds of the worker's call it is refused.
    let latest = StartingPosition::builder()
        .r#type(ShardIteratorType::Latest)
        .build()
        .unwrap();
    let stolen = wait_until("taking it over", PATIENCE, || {
        let subscribe = client
            .subscribe_to_shard()
            .consumer_arn(consumer.consumer_arn());
        let subscribe = subscribe
            .shard_id("shardId-000000000000")
            .starting_position(latest.clone());
        Ok(runtime.block_on(subscribe.send()).ok())
    });
    let stolen = stolen.unwrap();
    let noticed = |line: &str| line.contains("subscription_taken_over");
    worker.process.wait_for_line(PATIENCE, noticed).unwrap();
    put(&kinesis, folder.path(), &[1, 2, 3]);
    worker
        .wait_for_state("all rows, each once", |state| rows(state) == 15)
        .unwrap();

    // The worker takes it back: what was taken over ends.
    let mut stolen = stolen.event_stream;
    runtime.block_on(async { while let Ok(Some(_)) = stolen.recv().await {} });
    let state = worker.state().unwrap();
    assert_eq!((rows(&state), &state["totals"]["ticks"]), (15, &json!(20)));
    worker.interrupt().unwrap().success().unwrap();
}
