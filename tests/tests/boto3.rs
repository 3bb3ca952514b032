//! boto3 as the second client of the embedded Kinesis: it feeds a pipeline, and reads what `replay` sent.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use stockstream_tests::{python_json, repository, scratch};

use support::{Kinesis, Running, Spec, boto3, run, text};

#[test]
fn the_reference_producers_calls_are_answered_as_aws_does() {
    let kinesis = Kinesis::start().unwrap();
    let seen = boto3("boto3_producer.py", &kinesis.endpoint, &["stock_stream"]).unwrap();
    assert_eq!(seen["failures"], json!([]), "{seen:#}");
    assert_eq!(seen["sent"], seen["read"]);
    assert!(seen["sent"].as_u64() > Some(0), "{seen:#}");
}

#[test]
fn ticks_of_the_reference_producer_become_rows() {
    let directory = scratch().unwrap();
    let kinesis = Kinesis::start().unwrap();
    kinesis.boto3(&["create", "stock_stream", "2"]).unwrap();
    let tickers = ["AAPL", "AMZN", "GOOGL", "MSFT", "TSLA"];
    // The reference job's tick: a timestamp without a zone, a volume as float. The last minute closes the others.
    let mut ticks = String::new();
    for minute in [30, 31, 32, 40] {
        for second in [1, 20, 59] {
            for (number, ticker) in tickers.iter().enumerate() {
                let close = f64::from(minute)
                    + f64::from(second) / 100.0
                    + f64::from(u8::try_from(number).unwrap());
                let tick = json!({
                    "ticker": ticker, "date": "2024-01-02", "timestamp": format!("2024-01-02T14:{minute}:{second:02}"),
                    "open": 1.0, "high": 2.0, "low": 0.5, "close": close, "volume": 123.0,
                });
                ticks.push_str(&format!("{tick}\n"));
            }
        }
    }
    let path = directory.path().join("ticks.ndjson");
    std::fs::write(&path, ticks).unwrap();
    kinesis
        .boto3(&["produce", "stock_stream", &text(&path).unwrap()])
        .unwrap();

    let spec = Spec::of_stream(directory.path(), "stock_stream");
    let yaml = spec.write(&directory.path().join("p.yaml")).unwrap();
    let mut worker = Running::worker(&yaml, &kinesis.endpoint).unwrap();
    worker
        .wait_for_state("15 rows", |state| state["totals"]["rowsPublished"] == 15)
        .unwrap();
    worker.interrupt().unwrap().success().unwrap();

    let read = python_json("golden.py", ["parquet", &text(&spec.output_path).unwrap()]).unwrap();
    let rows = read["duckdb"].as_array().unwrap();
    assert_eq!(rows.len(), 15);
    for row in rows {
        let number = tickers.iter().position(|ticker| row["ticker"] == *ticker);
        let base = row["window_start"].as_str().unwrap()[14..16]
            .parse::<f64>()
            .unwrap()
            + f64::from(u8::try_from(number.unwrap()).unwrap());
        assert_eq!(row["trade_date"], "2024-01-02");
        let close = |name: &str| row[name].as_f64().unwrap();
        assert!((close("last_close") - (base + 0.59)).abs() < 1e-9, "{row}");
        assert!(
            (close("avg_close") - (base + 0.80 / 3.0)).abs() < 1e-9,
            "{row}"
        );
    }
}

#[test]
fn boto3_reads_what_replay_sent_in_the_bars_order() {
    let kinesis = Kinesis::start().unwrap();
    let bars = text(&repository().join("examples/data/daily.csv")).unwrap();
    let finished = run(&[
        "replay",
        &bars,
        "--stream",
        "bars",
        "--create-stream",
        "3",
        "--rate",
        "max",
        "--region",
        "us-east-1",
        "--endpoint-url",
        &kinesis.endpoint,
    ])
    .unwrap();
    finished.success().unwrap();
    let read = kinesis.boto3(&["read", "bars"]).unwrap();
    let shards = read.as_object().unwrap();
    assert_eq!(shards.len(), 3);

    let mut sent: BTreeMap<String, Vec<(String, f64)>> = BTreeMap::new();
    let mut shard_of: BTreeMap<String, &str> = BTreeMap::new();
    for (shard, records) in shards {
        let mut times: BTreeMap<String, String> = BTreeMap::new();
        for record in records.as_array().unwrap() {
            let tick: Value = serde_json::from_str(record["data"].as_str().unwrap()).unwrap();
            let ticker = tick["ticker"].as_str().unwrap().to_owned();
            assert_eq!(
                record["key"], tick["ticker"],
                "the partition key is the ticker"
            );
            assert_eq!(*shard_of.entry(ticker.clone()).or_insert(shard), shard);
            let time = tick["timestamp"].as_str().unwrap().to_owned();
            let before = times.insert(ticker.clone(), time.clone());
            assert!(
                before.is_none_or(|before| before <= time),
                "{ticker} goes back in time"
            );
            let bar = (
                tick["date"].as_str().unwrap().to_owned(),
                tick["close"].as_f64().unwrap(),
            );
            sent.entry(ticker).or_default().push(bar);
        }
    }
    assert_eq!(sent, bars_by_ticker());
}

/// The bars of the file by ticker, in the order of their dates.
fn bars_by_ticker() -> BTreeMap<String, Vec<(String, f64)>> {
    let text = std::fs::read_to_string(repository().join("examples/data/daily.csv")).unwrap();
    let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let head = lines.next().unwrap();
    let column = |name: &str| head.iter().position(|own| *own == name).unwrap();
    let (date, close, ticker) = (column("date"), column("close"), column("ticker"));
    let mut bars: BTreeMap<String, Vec<(String, f64)>> = BTreeMap::new();
    for row in lines {
        let bar = (row[date].to_owned(), row[close].parse().unwrap());
        bars.entry(row[ticker].to_owned()).or_default().push(bar);
    }
    for bars in bars.values_mut() {
        bars.sort_by(|one, other| one.0.cmp(&other.0));
    }
    assert!(bars.len() > 3);
    bars
}
