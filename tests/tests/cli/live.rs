//! A running `dev`: what it serves, logs and prints, ports, Ctrl-C, and going on.

use std::net::TcpListener;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;
use stockstream_tests::{Binary, PATIENCE, Process, python_json, scratch};

use super::assert_ended;
use crate::support::{Kinesis, Running, Spec, files_below, get, run, text};

const QUICKSTART: &str = "examples/quickstart.yaml";

fn dev(data: &Path) -> Vec<String> {
    let data = text(data).unwrap();
    ["dev", "-f", QUICKSTART, "--data-dir", &data]
        .map(str::to_owned)
        .to_vec()
}

fn dev_once(data: &Path, speed: &str) -> Value {
    let mut arguments = dev(data);
    arguments.extend(
        [
            "--replay",
            "examples/data/daily.csv",
            "--rate",
            "max",
            "--speed",
            speed,
            "--once",
            "-o",
            "json",
            "--listen",
            "127.0.0.1:0",
        ]
        .map(str::to_owned),
    );
    let finished = run(&arguments).unwrap().success().unwrap();
    serde_json::from_str(&finished.stdout).unwrap_or_else(|error| {
        panic!(
            "stdout must be one JSON document: {error}: {}",
            finished.stdout
        )
    })
}

/// Ticks in the files' provenance, and rows by ticker and window; a doubled row fails.
fn rows_below(output: &str) -> (u64, usize) {
    let read = python_json("golden.py", ["parquet", output]).unwrap();
    let ticks = read["files"].as_array().unwrap().iter();
    let ticks = ticks
        .map(|file| {
            file["metadata"]["ticks"]
                .as_str()
                .unwrap()
                .parse::<u64>()
                .unwrap()
        })
        .sum();
    let rows = read["duckdb"].as_array().unwrap();
    let keys: std::collections::BTreeSet<String> = rows
        .iter()
        .map(|row| format!("{} {}", row["ticker"], row["window_start"]))
        .collect();
    assert_eq!(keys.len(), rows.len(), "rows are doubled");
    (ticks, rows.len())
}

#[test]
fn once_ends_with_one_json_document_and_going_on_doubles_nothing() {
    let directory = scratch().unwrap();
    let data = directory.path().join("data");
    let first = dev_once(&data, "60");
    assert_eq!(
        first["ticks"].as_u64().unwrap() + first["late"].as_u64().unwrap(),
        3_610,
        "{first:#}"
    );
    assert_eq!(first["deadLetters"], serde_json::json!({}));
    let output = text(&data.join("s3/my-lake/streaming/avg_1min")).unwrap();
    let (ticks, rows) = rows_below(&output);
    assert_eq!(
        (Some(ticks), Some(rows as u64)),
        (first["ticks"].as_u64(), first["rows"].as_u64())
    );
    assert!(rows > 0);

    // The same again: the stream and the state are those of the first run. Every tick counts once, or is late.
    let second = dev_once(&data, "60");
    let sent = second["ticks"].as_u64().unwrap() + second["late"].as_u64().unwrap();
    assert_eq!(sent, 3_610, "{second:#}");
    let second = &second["sinceBeginning"];
    let sent = second["ticks"].as_u64().unwrap() + second["late"].as_u64().unwrap();
    assert_eq!(sent, 2 * 3_610, "{second:#}");
    let (ticks, rows) = rows_below(&output);
    assert_eq!(
        (Some(ticks), Some(rows as u64)),
        (second["ticks"].as_u64(), second["rows"].as_u64())
    );
    let late = python_json(
        "late.py",
        [text(&data.join("s3/my-lake/streaming/avg_1min-rejects")).unwrap()],
    )
    .unwrap();
    assert_eq!(
        Some(late.as_array().unwrap().len() as u64),
        second["late"].as_u64()
    );
}

#[test]
fn a_running_dev_answers_and_ctrl_c_ends_it_with_a_summary() {
    let directory = scratch().unwrap();
    let mut arguments = dev(&directory.path().join("data"));
    arguments.extend(
        [
            "--replay",
            "examples/data/daily.csv",
            "--rate",
            "200",
            "--speed",
            "60",
            "--listen",
            "127.0.0.1:0",
        ]
        .map(str::to_owned),
    );
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut dev = Running::start(&arguments).unwrap();
    let state = dev
        .wait_for_state("published rows", |state| {
            state["totals"]["rowsPublished"].as_u64() > Some(0)
        })
        .unwrap();
    assert_eq!(state["pipeline"]["name"], "stock-ticks");
    assert_eq!(state["phase"], "Running");
    assert_eq!(state["shards"].as_array().unwrap().len(), 2);
    let tickers = state["tickers"].as_array().unwrap();
    assert_eq!(tickers.len(), 5, "{state:#}");
    for ticker in tickers {
        assert!(ticker["latestClose"].as_f64().is_some(), "{ticker}");
        assert_eq!(ticker["closed"]["provisional"], false, "{ticker}");
    }
    let page = |path: &str| get(&format!("{}{path}", dev.url)).unwrap();
    assert_eq!(page("/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(page("/readyz").0, 200);
    assert_eq!(page("/none").0, 404);
    let (status, metrics) = page("/metrics");
    assert_eq!(status, 200);
    let published = metrics
        .lines()
        .find(|line| line.starts_with("stockstream_rows_published_total"));
    assert!(published.is_some(), "{metrics}");
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let (_, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }

    let ended = dev.interrupt().unwrap();
    assert_ended(&ended, 0, &[]);
    for text in ["is done in", "rows", "output", "read_parquet"] {
        assert!(
            ended.stdout.contains(text),
            "no {text:?} in {}",
            ended.stdout
        );
    }
    let mut events = Vec::new();
    for line in ended.stderr.lines() {
        let line: Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let named = line["event"].as_str().or(line["message"].as_str());
        events.push(
            named
                .unwrap_or_else(|| panic!("neither event nor message: {line}"))
                .to_owned(),
        );
        for field in ["timestamp", "level"] {
            assert!(line[field].is_string(), "{field}: {line}");
        }
    }
    for event in [
        "listening",
        "shard_taken",
        "sealed",
        "published",
        "stopping",
        "stopped",
    ] {
        assert!(
            events.iter().any(|own| own == event),
            "no {event} in {events:?}"
        );
    }
}

#[test]
fn a_port_in_use_is_told_when_it_was_asked_for_and_nothing_is_left() {
    let directory = scratch().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for option in ["--listen", "--kinesis-listen"] {
        let mut arguments = dev(&directory.path().join("data"));
        arguments.extend([option.to_owned(), address.clone()]);
        let finished = run(&arguments).unwrap();
        assert_ended(&finished, 1, &[&address, "in use"]);
    }
    let finished = run(&["kinesis", "--memory", "--listen", &address]).unwrap();
    assert_ended(&finished, 1, &[&address, "in use"]);
}

#[test]
fn without_listen_a_taken_default_port_is_replaced_and_the_other_told() {
    let directory = scratch().unwrap();
    // Whoever has 8080, it is taken now: by this test, or by something else on this machine.
    let _taken = TcpListener::bind("127.0.0.1:8080");
    let arguments = dev(&directory.path().join("data"));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut dev = Running::start(&arguments).unwrap();
    assert!(dev.url.starts_with("http://127.0.0.1:"), "{}", dev.url);
    assert_ne!(dev.url, "http://127.0.0.1:8080");
    assert_eq!(dev.state().unwrap()["worker"]["listen"], dev.url.as_str());
    dev.wait_for_state("running", |state| state["phase"] == "Running")
        .unwrap();
    assert_ended(&dev.interrupt().unwrap(), 0, &[]);
}

#[test]
fn two_devs_on_one_data_directory_are_refused() {
    let directory = scratch().unwrap();
    let data = directory.path().join("data");
    let mut arguments = dev(&data);
    arguments.extend(["--listen", "127.0.0.1:0"].map(str::to_owned));
    let borrowed: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut first = Running::start(&borrowed).unwrap();
    first
        .wait_for_state("running", |state| state["phase"] == "Running")
        .unwrap();
    let second = Process::spawn(Binary::Product.command().unwrap().args(&arguments)).unwrap();
    let finished = second.wait(PATIENCE).unwrap();
    assert_ended(&finished, 1, &[&text(&data).unwrap()]);
    assert_ended(&first.interrupt().unwrap(), 0, &[]);
    assert!(!files_below(&data).unwrap().is_empty());
}

/// A pod may be deleted as soon as it has begun; the first process of a container isn't even ended by a signal that it
/// doesn't listen to.
#[test]
fn a_worker_that_is_told_to_stop_while_it_still_begins_ends_with_0() {
    let folder = scratch().unwrap();
    let kinesis = Kinesis::start().unwrap();
    kinesis.boto3(&["create", "ticks", "1"]).unwrap();
    let yaml = Spec::of_stream(folder.path(), "ticks")
        .write(&folder.path().join("pipeline.yaml"))
        .unwrap();
    let mut worker = Running::worker(&yaml, &kinesis.endpoint).unwrap();
    worker.process.signal(Signal::TERM).unwrap();
    let finished = worker.process.wait(PATIENCE).unwrap();
    assert_ended(&finished, 0, &["\"stopping\""]);
}
