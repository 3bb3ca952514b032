//! Records aggregated by awslabs' own encoder (PyPI `aws-kinesis-agg`), put by boto3, read by the worker.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeSet;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use stockstream_core::hash::key_hash;
use stockstream_tests::{python_json, scratch};

use support::{Kinesis, Running, Spec, dead_letters, text};

const TICKERS: [&str; 5] = ["AAPL", "AMZN", "GOOGL", "MSFT", "TSLA"];

/// The lower half of the key space ends before this.
const MIDDLE: u128 = 1 << 127;

fn tick(ticker: &str, minute: u32, second: u32) -> Value {
    let close = f64::from(minute) + f64::from(second) / 100.0;
    json!({
        "ticker": ticker, "date": "2024-01-02", "timestamp": format!("2024-01-02T14:{minute:02}:{second:02}Z"),
        "open": 1.0, "high": 2.0, "low": 0.5, "close": close, "volume": 123,
    })
}

fn record(ticker: &str, data: &str) -> Value {
    json!({"key": ticker, "data_base64": STANDARD.encode(data)})
}

fn records_of(ticker: &str, minute: u32) -> Vec<Value> {
    let seconds = [1, 20, 59];
    seconds
        .map(|second| record(ticker, &tick(ticker, minute, second).to_string()))
        .into()
}

fn aggregate(kinesis: &Kinesis, folder: &Path, stream: &str, whole: &[Value]) -> Vec<Value> {
    let path = folder.join("aggregated.ndjson");
    let lines: String = whole.iter().map(|line| format!("{line}\n")).collect();
    std::fs::write(&path, lines).unwrap();
    let replies = kinesis.boto3(&["aggregate", stream, &text(&path).unwrap()]);
    replies.unwrap().as_array().unwrap().clone()
}

fn is_lower(ticker: &str) -> bool {
    key_hash(ticker) < MIDDLE
}

/// Asserts one row per ticker and minute, with the figures of `records_of`.
fn assert_rows(spec: &Spec, minutes: &[u32]) {
    let read = python_json("golden.py", ["parquet", &text(&spec.output_path).unwrap()]).unwrap();
    let rows = read["duckdb"].as_array().unwrap();
    let mut found = BTreeSet::new();
    for row in rows {
        let ticker = row["ticker"].as_str().unwrap().to_owned();
        let minute: u32 = row["window_start"].as_str().unwrap()[14..16]
            .parse()
            .unwrap();
        let close = |name: &str| row[name].as_f64().unwrap();
        let base = f64::from(minute);
        assert!((close("last_close") - (base + 0.59)).abs() < 1e-9, "{row}");
        assert!(
            (close("avg_close") - (base + 0.80 / 3.0)).abs() < 1e-9,
            "{row}"
        );
        assert!(found.insert((ticker, minute)), "twice: {row}");
    }
    let expected = TICKERS
        .iter()
        .flat_map(|ticker| minutes.iter().map(|minute| ((*ticker).to_owned(), *minute)))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn the_ticks_of_aggregated_records_become_rows_and_their_rejects_keep_their_place() {
    let folder = scratch().unwrap();
    let kinesis = Kinesis::start().unwrap();
    kinesis.boto3(&["create", "kpl", "2"]).unwrap();
    let mut whole = Vec::new();
    for lower in [true, false] {
        for minute in [30, 31, 32, 40] {
            let of_shard = TICKERS.iter().filter(|ticker| is_lower(ticker) == lower);
            let records: Vec<Value> = of_shard
                .flat_map(|ticker| records_of(ticker, minute))
                .collect();
            whole.push(json!({"records": records}));
        }
    }
    // Then: a late tick, what is none, and one whose explicit hash key is its own.
    let late = tick("AAPL", 31, 7).to_string();
    let mut own = record("AAPL", "{\"no\": \"tick\"}");
    own["hash_key"] = json!(key_hash("AAPL").to_string());
    whole.push(json!({"records": [record("AAPL", &late), record("AAPL", "none"), own]}));
    let replies = aggregate(&kinesis, folder.path(), "kpl", &whole);
    let last = replies.last().unwrap();

    let spec = Spec::of_stream(folder.path(), "kpl");
    let yaml = spec.write(&folder.path().join("p.yaml")).unwrap();
    let mut worker = Running::worker(&yaml, &kinesis.endpoint).unwrap();
    let state = worker
        .wait_for_state("all rows and rejects", |state| {
            let totals = &state["totals"];
            totals["rowsPublished"] == 15
                && totals["late"] == 1
                && totals["deadLetters"] != json!({})
        })
        .unwrap();
    worker.interrupt().unwrap().success().unwrap();
    assert_eq!(state["totals"]["misrouted"], 0);
    assert_rows(&spec, &[30, 31, 32]);

    let dead = dead_letters(&spec.rejects_path()).unwrap();
    let place = |letter: &Value| {
        let data = STANDARD
            .decode(letter["data_base64"].as_str().unwrap())
            .unwrap();
        let data = String::from_utf8(data).unwrap();
        (
            letter["sequence_number"].clone(),
            letter["sub_sequence_number"].as_u64(),
            data,
        )
    };
    let sequence = &last["sequence_number"];
    let expected = [(1, "none"), (2, "{\"no\": \"tick\"}")];
    let expected: Vec<_> = expected
        .iter()
        .map(|(sub, data)| (sequence.clone(), Some(*sub), (*data).to_owned()))
        .collect();
    assert_eq!(dead.iter().map(place).collect::<Vec<_>>(), expected);
    let late_ticks = python_json("late.py", [&text(&spec.rejects_path()).unwrap()]).unwrap();
    let found = &late_ticks[0];
    assert_eq!(
        (&found["sequence_number"], &found["sub_sequence_number"]),
        (sequence, &json!(0))
    );
    assert_eq!(found["data_base64"], STANDARD.encode(late));
}

#[test]
fn sub_records_on_the_wrong_side_of_a_split_are_dropped_and_counted_once() {
    let folder = scratch().unwrap();
    let kinesis = Kinesis::start().unwrap();
    kinesis.boto3(&["create", "kpl", "1"]).unwrap();
    let spec = Spec::of_stream(folder.path(), "kpl");
    let yaml = spec.write(&folder.path().join("p.yaml")).unwrap();
    let mut worker = Running::worker(&yaml, &kinesis.endpoint).unwrap();
    let all = |minute| -> Vec<Value> {
        TICKERS
            .iter()
            .flat_map(|ticker| records_of(ticker, minute))
            .collect()
    };
    let half = |minute, lower| -> Vec<Value> {
        let of_half = TICKERS.iter().filter(|ticker| is_lower(ticker) == lower);
        of_half
            .flat_map(|ticker| records_of(ticker, minute))
            .collect()
    };
    aggregate(
        &kinesis,
        folder.path(),
        "kpl",
        &[json!({"records": all(30)})],
    );
    let shard = "shardId-000000000000";
    kinesis
        .boto3(&["split", "kpl", shard, &MIDDLE.to_string()])
        .unwrap();

    // The producer doesn't know of the split yet: all tickers in one record, which goes to the lower child. It sees
    // where it went, and sends what belongs to the other one again.
    let lower = 1u128.to_string();
    let mut whole = Vec::new();
    for minute in [31, 32, 40] {
        whole.push(json!({"records": all(minute), "hash_key": lower}));
        whole.push(json!({"records": half(minute, false)}));
    }
    aggregate(&kinesis, folder.path(), "kpl", &whole);
    let misrouted = 3 * half(31, false).len();
    assert!(
        misrouted > 0 && half(31, true).len() > 1,
        "both children have tickers"
    );

    let state = worker
        .wait_for_state("15 rows", |state| state["totals"]["rowsPublished"] == 15)
        .unwrap();
    worker.interrupt().unwrap().success().unwrap();
    assert_eq!(state["totals"]["misrouted"], misrouted);
    assert_eq!(state["totals"]["deadLetters"], json!({}));
    assert_rows(&spec, &[30, 31, 32]);
}
