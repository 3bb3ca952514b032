//! Whole replays through aws-sdk-kinesis against a server in this process that fails what a test tells it to.
#![allow(clippy::unwrap_used, clippy::panic)]

mod server;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::*;
use server::{CallFate, Fate, Server, client, serve};

async fn serve_accepting() -> Server {
    serve(
        Box::new(|_, _| CallFate::PerRecord),
        Box::new(|_, _| Fate::Accept),
    )
    .await
}

/// `days` days of bars of `tickers`; the volume is the row's number within its ticker.
fn bars(tickers: &[&str], days: i64) -> (TempDir, ReplayOptions) {
    let folder = TempDir::new().unwrap();
    let first: jiff::civil::Date = "2015-01-01".parse().unwrap();
    let mut text = "date,ticker,close,volume\n".to_owned();
    for day in 0..days {
        for ticker in tickers {
            let date = first.checked_add(jiff::Span::new().days(day)).unwrap();
            text.push_str(&format!("{date},{ticker},{}.5,{day}\n", day + 1));
        }
    }
    let path = folder.path().join("bars.csv");
    std::fs::write(&path, text).unwrap();
    let mut options = ReplayOptions::new(path.to_str().unwrap(), "s");
    options.rate = pace::Rate::Max;
    options.retry.first_delay = Duration::from_millis(1);
    options.retry.longest_delay = Duration::from_millis(4);
    (folder, options)
}

async fn replay(server: &Server, options: ReplayOptions) -> Result<ReplaySummary, ReplayError> {
    run(&server.client, options, &mut Silent, std::future::pending()).await
}

/// The stream's ticks per ticker, by the number that `bars` gave each row.
fn received(server: &Server) -> BTreeMap<String, Vec<i64>> {
    let mut received: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for (key, tick) in &server.kinesis.lock().unwrap().stored {
        assert_eq!(*key, tick["ticker"], "the partition key is the ticker");
        received
            .entry(key.clone())
            .or_default()
            .push(tick["volume"].as_i64().unwrap());
    }
    received
}

fn in_order(tickers: &[&str], days: i64) -> BTreeMap<String, Vec<i64>> {
    tickers
        .iter()
        .map(|ticker| ((*ticker).to_owned(), (0..days).collect()))
        .collect()
}

/// Reproducible disorder for the server: splitmix64.
fn random(seed: u64, number: usize) -> u64 {
    let mut x = seed.wrapping_add((number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

const TICKERS: [&str; 5] = ["AAPL", "AMD", "MSFT", "^GSPC", "^IXIC"];

#[tokio::test]
async fn every_row_arrives_once_and_in_order_within_its_ticker() {
    let server = serve_accepting().await;
    let (_folder, options) = bars(&TICKERS, 40);
    let before = Timestamp::now();
    let summary = replay(&server, options).await.unwrap();
    assert_eq!(received(&server), in_order(&TICKERS, 40));
    assert_eq!(
        (summary.records, summary.retried, summary.stopped),
        (200, 0, false)
    );
    assert_eq!(
        summary.per_ticker,
        TICKERS
            .iter()
            .map(|ticker| ((*ticker).to_owned(), 40))
            .collect()
    );
    assert!(
        summary.first_event_time.unwrap()
            >= Timestamp::from_microsecond(before.as_microsecond()).unwrap()
    );
    assert!(summary.last_event_time.unwrap() <= Timestamp::now());
    let kinesis = server.kinesis.lock().unwrap();
    for call in &kinesis.calls {
        let mut keys = call.clone();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), call.len(), "a ticker is in a call once");
    }
    assert_eq!(
        kinesis.stored[0]
            .1
            .as_object()
            .unwrap()
            .keys()
            .collect::<Vec<_>>(),
        ["close", "date", "ticker", "timestamp", "volume"]
    );
}

#[tokio::test]
async fn partial_failures_are_sent_again_without_loss_doubles_or_disorder() {
    for seed in 0..4 {
        let fate = move |attempt: usize, _: &Value| match random(seed, attempt) % 10 {
            0..=2 => Fate::Throttle,
            3 => Fate::Fail,
            _ => Fate::Accept,
        };
        let refuse = move |call: usize, _: &Value| match random(!seed, call) % 8 {
            0 => CallFate::Refuse("ProvisionedThroughputExceededException", 400),
            _ => CallFate::PerRecord,
        };
        let server = serve(Box::new(refuse), Box::new(fate)).await;
        let (_folder, mut options) = bars(&TICKERS, 40);
        options.retry.attempts = 40;
        let summary = replay(&server, options).await.unwrap();
        assert_eq!(received(&server), in_order(&TICKERS, 40), "seed {seed}");
        assert!(
            summary.throttled > 0 && summary.retried > summary.throttled,
            "seed {seed}: {summary:?}"
        );
        assert_eq!(summary.unanswered, 0, "seed {seed}");
    }
}

#[tokio::test]
async fn more_tickers_than_a_call_takes_are_spread_over_calls() {
    let tickers: Vec<String> = (0..1100).map(|number| format!("T{number}")).collect();
    let names: Vec<&str> = tickers.iter().map(String::as_str).collect();
    let server = serve(
        Box::new(|_, _| CallFate::PerRecord),
        Box::new(|attempt, _| {
            if random(9, attempt).is_multiple_of(20) {
                Fate::Throttle
            } else {
                Fate::Accept
            }
        }),
    )
    .await;
    let (_folder, options) = bars(&names, 4);
    replay(&server, options).await.unwrap();
    assert_eq!(received(&server), in_order(&names, 4));
    assert!(
        server
            .kinesis
            .lock()
            .unwrap()
            .calls
            .iter()
            .all(|call| call.len() <= lanes::RECORDS_PER_CALL)
    );
}

#[tokio::test]
async fn a_record_without_an_answer_is_sent_again_with_the_same_bytes() {
    let lose_first = |call: usize, _: &Value| {
        if call == 0 {
            CallFate::LoseAnswer
        } else {
            CallFate::PerRecord
        }
    };
    let server = serve(Box::new(lose_first), Box::new(|_, _| Fate::Accept)).await;
    let (_folder, options) = bars(&["A"], 3);
    let summary = replay(&server, options).await.unwrap();
    assert_eq!(
        received(&server),
        BTreeMap::from([("A".to_owned(), vec![0, 0, 1, 2])])
    );
    assert_eq!(
        (summary.records, summary.unanswered, summary.retried),
        (3, 1, 1)
    );
    let kinesis = server.kinesis.lock().unwrap();
    assert_eq!(kinesis.stored[0], kinesis.stored[1]);
}

#[tokio::test]
async fn faults_that_stay_end_the_run_with_what_to_do() {
    let server = serve(
        Box::new(|_, _| CallFate::PerRecord),
        Box::new(|_, _| Fate::Throttle),
    )
    .await;
    let (_folder, mut options) = bars(&["A"], 1);
    options.retry.attempts = 3;
    match replay(&server, options.clone()).await.unwrap_err() {
        ReplayError::GaveUp {
            ticker,
            attempts,
            delivered,
            message,
        } => {
            assert_eq!((ticker.as_str(), attempts, delivered), ("A", 3, 0));
            assert!(
                message.contains("ProvisionedThroughputExceeded"),
                "{message}"
            );
        }
        other => panic!("{other}"),
    }
    assert_eq!(server.kinesis.lock().unwrap().attempts, 3);

    let missing = ReplayOptions {
        stream: "elsewhere".to_owned(),
        ..options.clone()
    };
    let error = replay(&server, missing).await.unwrap_err();
    assert!(
        matches!(&error, ReplayError::MissingStream { stream, .. } if stream == "elsewhere"),
        "{error}"
    );
    assert!(error.to_string().contains("--create-stream"), "{error}");

    let refusing = serve(
        Box::new(|_, _| CallFate::Refuse("AccessDeniedException", 400)),
        Box::new(|_, _| Fate::Accept),
    )
    .await;
    let error = replay(&refusing, options).await.unwrap_err();
    assert!(
        error.to_string().contains("allow `kinesis:PutRecords`"),
        "{error}"
    );
    assert_eq!(
        refusing.kinesis.lock().unwrap().calls.len(),
        1,
        "not tried again"
    );
}

#[tokio::test]
async fn an_endpoint_that_is_down_is_tried_and_then_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let (_folder, mut options) = bars(&["A"], 1);
    options.retry.attempts = 2;
    let error = run(&client(&url), options, &mut Silent, std::future::pending())
        .await
        .unwrap_err();
    assert!(
        matches!(&error, ReplayError::GaveUp { attempts: 2, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn bad_input_sends_nothing() {
    let server = serve_accepting().await;
    let (folder, options) = bars(&["A"], 3);
    let path = folder.path().join("bars.csv");
    let text = std::fs::read_to_string(&path).unwrap() + "2015-01-09,A,broken,1\n";
    std::fs::write(&path, text).unwrap();
    let error = replay(&server, options).await.unwrap_err();
    assert!(
        matches!(error, ReplayError::BadRow { line: 5, .. }),
        "{error}"
    );
    assert!(server.kinesis.lock().unwrap().calls.is_empty());
}

#[tokio::test]
async fn a_stream_is_created_once_and_a_loop_ends_at_its_limit() {
    let server = serve_accepting().await;
    let (_folder, mut options) = bars(&["A", "B"], 2);
    options.stream = "new".to_owned();
    options.create_shards = Some(3);
    options.repeat = true;
    options.limit = Some(7);
    let summary = replay(&server, options.clone()).await.unwrap();
    assert_eq!(summary.records, 7);
    assert_eq!(server.kinesis.lock().unwrap().streams["new"], 3);
    assert_eq!(
        received(&server),
        BTreeMap::from([
            ("A".to_owned(), vec![0, 1, 0, 1]),
            ("B".to_owned(), vec![0, 1, 0])
        ])
    );
    options.limit = Some(1);
    assert_eq!(
        replay(&server, options).await.unwrap().records,
        1,
        "the stream is there already"
    );
}

/// Counts the calls of an observer and stops the run at the first record.
#[derive(Default)]
struct Watch {
    started: Vec<Plan>,
    ended: Vec<Progress>,
}

impl Observer for Watch {
    fn started(&mut self, plan: &Plan) {
        self.started.push(plan.clone());
    }
    fn progress(&mut self, _: &Progress) {}
    fn ended(&mut self, progress: &Progress) {
        self.ended.push(progress.clone());
    }
}

#[tokio::test]
async fn at_a_low_rate_the_first_record_goes_at_once_and_a_stop_ends_the_run_with_a_summary() {
    let (seen, first) = tokio::sync::oneshot::channel();
    let mut seen = Some(seen);
    let fate = move |_: usize, _: &Value| {
        if let Some(seen) = seen.take() {
            seen.send(()).unwrap();
        }
        Fate::Accept
    };
    let server = serve(Box::new(|_, _| CallFate::PerRecord), Box::new(fate)).await;
    let (_folder, mut options) = bars(&["A", "B"], 2);
    options.rate = "1h".parse().unwrap();
    let mut watch = Watch::default();
    let summary = run(&server.client, options, &mut watch, async {
        first.await.unwrap()
    })
    .await
    .unwrap();
    assert!(summary.stopped);
    assert_eq!(
        (summary.records, received(&server)),
        (1, BTreeMap::from([("A".to_owned(), vec![0])]))
    );
    let plan = &watch.started[0];
    assert_eq!((plan.rows, plan.tickers, plan.records), (4, 2, Some(4)));
    assert_eq!(plan.expected, Some(Duration::from_secs(3 * 3600)));
    assert_eq!((watch.ended.len(), watch.ended[0].records), (1, 1));
}

#[tokio::test]
async fn a_stop_while_reading_sends_nothing() {
    let server = serve_accepting().await;
    let (_folder, options) = bars(&["A"], 1);
    let summary = run(&server.client, options, &mut Silent, std::future::ready(()))
        .await
        .unwrap();
    assert_eq!((summary.stopped, summary.records), (true, 0));
    assert!(server.kinesis.lock().unwrap().calls.is_empty());
}

#[tokio::test]
async fn event_times_follow_the_given_clock_never_pass_it_and_never_decrease() {
    let server = serve_accepting().await;
    let (_folder, mut options) = bars(&TICKERS, 20);
    options.rate = "2ms".parse().unwrap();
    options.speed = "1000".parse().unwrap();
    // A clock that stands still: whatever the machine's speed, event times end there.
    let now: Timestamp = "2026-01-02T03:04:05.678901234Z".parse().unwrap();
    let mut watch = Watch::default();
    let never = std::future::pending();
    let summary = run_with_clock(&server.client, options, &mut watch, never, &|| now)
        .await
        .unwrap();
    let look_back = jiff::SignedDuration::from_millis(99 * 2 * 999);
    let start = now.checked_sub(look_back).unwrap();
    let start = Timestamp::from_microsecond(start.as_microsecond()).unwrap();
    assert_eq!(
        watch.started[0].first_event_time, start,
        "it begins in the past"
    );
    assert!(summary.first_event_time.unwrap() >= start);
    assert_eq!(
        summary.last_event_time.unwrap(),
        Timestamp::from_microsecond(now.as_microsecond()).unwrap()
    );
    let mut newest: HashMap<String, Timestamp> = HashMap::new();
    for (key, tick) in &server.kinesis.lock().unwrap().stored {
        let time: Timestamp = tick["timestamp"].as_str().unwrap().parse().unwrap();
        assert!(
            time <= now && newest.get(key).is_none_or(|newest| *newest <= time),
            "{key} {time}"
        );
        newest.insert(key.clone(), time);
    }
}
