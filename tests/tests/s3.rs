//! The worker's own storage code, and whole pipelines, against servers that speak S3 and that nobody here wrote.
//!
//! moto, ministack and seaweedfs each get the same questions; microburst before one of them makes what goes wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use serde_json::{Value, json};
use stockstream::storage::{Created, Policy, Store, StoreError, StoreOptions};
use stockstream_crds::pipeline::ObjectEncryption;
use stockstream_tests::restart::tell;
use stockstream_tests::servers::{BUCKET, Faults, S3Server};
use stockstream_tests::{PATIENCE, Process, python_json, scratch, wait_until};

use support::{Kinesis, Running, Spec};

/// More than a page of a listing, which is a thousand keys.
const MANY: usize = 1_005;

fn aws() -> aws_config::SdkConfig {
    let credentials = aws_credential_types::Credentials::new("test", "test", None, None, "suite");
    aws_config::SdkConfig::builder()
        .behavior_version(aws_config::BehaviorVersion::latest())
        .region(aws_config::Region::new("us-east-1"))
        .credentials_provider(
            aws_credential_types::provider::SharedCredentialsProvider::new(credentials),
        )
        .build()
}

async fn store(endpoint: &str, prefix: &str, encryption: Option<ObjectEncryption>) -> Store {
    let options = StoreOptions {
        endpoint: Some(endpoint.to_owned()),
        aws: Some(aws()),
        encryption,
        policy: Policy {
            attempt: Duration::from_secs(20),
            overall: Duration::from_secs(60),
            ..Policy::default()
        },
        ..StoreOptions::default()
    };
    let url = format!("s3://{BUCKET}/{prefix}");
    Store::open(&url, &options).await.unwrap()
}

async fn objects(endpoint: &str) {
    let store = store(endpoint, "objects", None).await;
    // What paths of tickers may hold: escapes of Hive, which S3 must take as they are.
    let key = "rows/ticker=BRK%2FB/trade_date=2024-01-02/a b+c.parquet";
    let (one, other) = (Bytes::from_static(b"one"), Bytes::from_static(b"other"));
    assert_eq!(store.get(key).await.unwrap(), None);
    let created = store.create(key, one.clone()).await.unwrap();
    assert_eq!(created, Created::New);
    let again = store.create(key, one.clone()).await.unwrap();
    assert_eq!(again, Created::AlreadyOurs);
    let lost = store.create(key, other.clone()).await.unwrap();
    assert_eq!(lost, Created::Exists(one.clone()));
    assert_eq!(store.get(key).await.unwrap(), Some(one));
    store.put_overwrite(key, other.clone()).await.unwrap();
    assert_eq!(store.get(key).await.unwrap(), Some(other));
    let listed = store.list("rows").await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].key.as_str(), listed[0].size), (key, 5));
    assert!(listed[0].etag.is_some() && listed[0].last_modified.0 > 0);
    store.delete(key).await.unwrap();
    store.delete(key).await.unwrap();
    assert_eq!(store.get(key).await.unwrap(), None);
}

/// Many writers, one key: one of them makes it.
async fn races(endpoint: &str) {
    let store = store(endpoint, "races", None).await;
    for round in 0..5 {
        let key = format!("race-{round}");
        let creates = (0..16).map(|writer| {
            let (store, key) = (store.clone(), key.clone());
            async move {
                store
                    .create(&key, Bytes::from(format!("writer {writer}")))
                    .await
            }
        });
        let created = futures::future::join_all(creates).await;
        let made = created
            .iter()
            .filter(|created| matches!(created, Ok(Created::New)));
        assert_eq!(made.count(), 1, "{created:?}");
    }
}

async fn pages(endpoint: &str) {
    let store = store(endpoint, "pages", None).await;
    let puts = (0..MANY).map(|number| {
        let store = store.clone();
        async move {
            let key = format!("many/{number:05}");
            store.put_overwrite(&key, Bytes::from_static(b"x")).await
        }
    });
    let put: Vec<_> = futures::stream::iter(puts)
        .buffer_unordered(32)
        .collect()
        .await;
    assert!(put.iter().all(Result::is_ok), "{put:?}");
    let listed = store.list("many").await.unwrap();
    let mut keys: Vec<_> = listed.into_iter().map(|object| object.key).collect();
    keys.sort_unstable();
    let expected: Vec<_> = (0..MANY)
        .map(|number| format!("many/{number:05}"))
        .collect();
    assert_eq!(keys, expected);
}

fn on_each_server(test: impl AsyncFn(&str)) {
    for server in S3Server::ALL {
        let running = server.start().unwrap();
        tell(server.name());
        runtime().block_on(test(&running.endpoint));
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn objects_are_created_once_read_listed_and_deleted_as_on_s3() {
    on_each_server(objects);
}

#[test]
fn of_many_writers_one_creates() {
    on_each_server(races);
}

#[test]
fn listings_go_on_past_their_first_page() {
    // The slowest server is left out: its pages are those of the same library as the next one's.
    for server in [S3Server::Ministack, S3Server::Seaweedfs] {
        let running = server.start().unwrap();
        runtime().block_on(pages(&running.endpoint));
    }
}

#[test]
fn how_s3_encrypts_is_asked_for_and_told_by_the_server() {
    let running = S3Server::Moto.start().unwrap();
    let key_id = "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    runtime().block_on(async {
        let kms = ObjectEncryption::SseKms {
            key_id: Some(key_id.to_owned()),
            bucket_key: Some(true),
        };
        let kms = store(&running.endpoint, "encrypted/kms", Some(kms)).await;
        kms.create("a", Bytes::from_static(b"x")).await.unwrap();
        let s3 = store(
            &running.endpoint,
            "encrypted/s3",
            Some(ObjectEncryption::SseS3),
        )
        .await;
        s3.put_overwrite("a", Bytes::from_static(b"x"))
            .await
            .unwrap();
        let plain = store(&running.endpoint, "encrypted/plain", None).await;
        plain.create("a", Bytes::from_static(b"x")).await.unwrap();
    });
    let told = python_json("s3.py", ["head", &running.endpoint, BUCKET, "encrypted/"]).unwrap();
    let kms = &told["encrypted/kms/a"];
    assert_eq!(kms["encryption"], "aws:kms", "{told:#}");
    assert_eq!(kms["key"], key_id, "{told:#}");
    assert_eq!(kms["bucketKey"], true, "{told:#}");
    assert_eq!(told["encrypted/s3/a"]["encryption"], "AES256", "{told:#}");
    assert_ne!(
        told["encrypted/plain/a"]["encryption"], "aws:kms",
        "{told:#}"
    );
}

/// One rule of microburst's for creates, so often.
fn rule(times: u32, effect: Value) -> Value {
    let mut rule = json!({"service": "s3", "operation": "PutObject", "times": times});
    let fields = effect.as_object().unwrap().clone();
    rule.as_object_mut().unwrap().extend(fields);
    json!([rule])
}

#[test]
fn what_goes_wrong_on_the_way_is_tried_again_and_a_lost_reply_is_recognised_as_ones_own() {
    let running = S3Server::SeaweedfsOpen.start().unwrap();
    let faults = Faults::before(&running.endpoint).unwrap();
    let error = |code: &str, status: u16| json!({"error": {"code": code, "status": status, "message": "no"}});
    let lost = json!({"response": {"abort_bytes": 0}});
    runtime().block_on(async {
        let store = store(&faults.endpoint, "faulty", None).await;
        let mut number = 0;
        for (effect, expected) in [
            (error("SlowDown", 503), Created::New),
            (error("InternalError", 500), Created::New),
            (error("ConditionalRequestConflict", 409), Created::New),
            (json!({"reset": true}), Created::New),
            (
                json!({"latency": {"min_ms": 700, "max_ms": 900}}),
                Created::New,
            ),
            // It took effect; what comes back for the next attempt is 412.
            (lost.clone(), Created::AlreadyOurs),
        ] {
            number += 1;
            faults.set(&rule(1, effect.clone())).unwrap();
            let key = format!("object-{number}");
            let bytes = Bytes::from(key.clone());
            let created = store.create(&key, bytes.clone()).await;
            assert_eq!(created.unwrap(), expected, "{effect}");
            assert_eq!(faults.fired().unwrap(), 1, "{effect}");
            assert_eq!(store.get(&key).await.unwrap(), Some(bytes));
        }
        // Every reply is lost: nothing is known, and the caller is told so.
        faults.set(&rule(1_000, lost)).unwrap();
        let short = store.with_policy(Policy {
            attempts: 2,
            ..Policy::default()
        });
        let bytes = Bytes::from_static(b"ours");
        let unknown = short.create("unknown", bytes.clone()).await;
        match unknown {
            Err(StoreError::Unknown { .. }) => {}
            // Its own read-back isn't a PutObject, and may have told.
            Ok(Created::AlreadyOurs) => {}
            other => panic!("{other:?}"),
        }
        faults.set(&json!([])).unwrap();
        assert_eq!(
            short.create("unknown", bytes).await.unwrap(),
            Created::AlreadyOurs
        );
    });
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// A pipeline with two workers, everything in S3 and the table in Glue.
#[test]
fn two_workers_write_to_s3_and_every_partition_is_in_glue_once_its_file_can_be_seen() {
    let folder = scratch().unwrap();
    let kinesis = Kinesis::start().unwrap();
    kinesis.boto3(&["create", "ticks", "4"]).unwrap();
    let running = S3Server::Moto.start().unwrap();
    let table = format!("s3://{BUCKET}/lake/rows");
    python_json(
        "s3.py",
        [
            "make-table",
            &running.endpoint,
            "market",
            "bars",
            &table,
            "ticker,trade_date",
        ],
    )
    .unwrap();
    let tickers = ["AAPL", "MSFT", "BRK/B", "^GSPC", "TSLA", "AMZN"];
    let mut lines = String::new();
    for (minute, ticker) in (0..3).flat_map(|minute| tickers.map(|ticker| (minute, ticker))) {
        let tick = json!({"ticker": ticker, "date": "2024-01-02", "close": 10.0 + f64::from(minute),
            "timestamp": format!("2024-01-02T14:3{minute}:05Z"), "open": 1.0, "high": 2.0, "low": 1.0, "volume": 1});
        lines += &format!(
            "{}\n",
            json!({"key": ticker, "data_base64": base64(&tick.to_string())})
        );
    }
    let ticks = folder.path().join("ticks.ndjson");
    std::fs::write(&ticks, lines).unwrap();
    kinesis
        .boto3(&["put", "ticks", ticks.to_str().unwrap()])
        .unwrap();

    let spec = Spec::of_stream(folder.path(), "ticks")
        .window("watermarkDelay: 1s")
        .window("idleTimeout: 24h");
    let yaml = spec
        .yaml()
        .replace(&format!("file://{}", spec.output_path.display()), &table)
        .replace(
            &format!("file://{}", spec.state_path.display()),
            &format!("s3://{BUCKET}/lake/state"),
        )
        + "  catalog: {glue: {database: market, table: bars, region: us-east-1}}\n";
    let file = folder.path().join("pipeline.yaml");
    std::fs::write(&file, yaml).unwrap();
    let start = |name: &str| {
        let mut command = stockstream_tests::Binary::Product.command().unwrap();
        command.args(["worker", "--listen", "127.0.0.1:0", "--name", name, "-f"]);
        command
            .arg(&file)
            .args(["--endpoint-url", &kinesis.endpoint]);
        command.env("AWS_ENDPOINT_URL_S3", &running.endpoint);
        command.env("AWS_ENDPOINT_URL_GLUE", &running.endpoint);
        Running::of(Process::spawn(&mut command).unwrap()).unwrap()
    };
    let workers = [start("one"), start("two")];
    // Two of three windows of each ticker are closed; the last stays open.
    let rows = || python_json("s3.py", ["rows", &running.endpoint, BUCKET, "lake/rows/"]);
    let mut found = json!([]);
    wait_until("every row", PATIENCE, || {
        let published: u64 = workers
            .iter()
            .filter_map(|worker| worker.state().ok()?["totals"]["rowsPublished"].as_u64())
            .sum();
        if published < 12 {
            return Ok(None);
        }
        found = rows()?;
        Ok((found.as_array().is_some_and(|rows| rows.len() >= 12)).then_some(()))
    })
    .unwrap();
    let found = found.as_array().unwrap();
    assert_eq!(found.len(), 12, "{found:#?}");
    let mut keys: Vec<String> = found
        .iter()
        .map(|row| format!("{} {}", row["ticker"], row["window_start"]))
        .collect();
    keys.dedup();
    assert_eq!(keys.len(), 12, "{found:#?}");

    let mut registered = json!([]);
    wait_until("every partition", PATIENCE, || {
        registered = python_json("s3.py", ["partitions", &running.endpoint, "market", "bars"])?;
        Ok((registered
            .as_array()
            .is_some_and(|all| all.len() >= tickers.len()))
        .then_some(()))
    })
    .unwrap();
    let registered = registered.as_array().unwrap();
    assert_eq!(registered.len(), tickers.len(), "{registered:#?}");
    let of = |ticker: &str| registered.iter().find(|one| one["values"][0] == ticker);
    let odd = of("BRK/B").unwrap();
    assert_eq!(odd["values"][1], "2024-01-02");
    assert_eq!(
        odd["location"],
        format!("{table}/ticker=BRK%2FB/trade_date=2024-01-02/")
    );
    assert!(odd["format"].as_str().unwrap().contains("Parquet"));
    for worker in workers {
        worker.interrupt().unwrap().success().unwrap();
    }
}
