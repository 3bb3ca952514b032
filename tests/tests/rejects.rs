//! Rejects that can be used: read with SQL as docs/rejects.md shows, and sent again once the mapping is mended.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};
use stockstream_tests::{Binary, PATIENCE, Process, python_json, repository, scratch, wait_until};
use support::{Kinesis, Running, Spec, dead_letters, files_below, run, text};

const TICKERS: [&str; 3] = ["AAPL", "MSFT", "^GSPC"];
const MINUTES: u32 = 4;
const PER_MINUTE: u32 = 5;

/// Ticks whose event time stands in `time`, in order of event time.
fn ticks() -> Vec<Value> {
    let mut ticks = Vec::new();
    for minute in 0..MINUTES {
        for number in 0..PER_MINUTE {
            for (at, ticker) in (0..).zip(TICKERS) {
                let close = f64::from(100 * (at + 1) + 10 * minute + number);
                let time = format!("2024-01-02T14:{:02}:{:02}Z", 30 + minute, 10 * number);
                ticks.push(json!({"ticker": ticker, "date": "2024-01-02", "time": time, "close": close, "volume": 1}));
            }
        }
    }
    ticks
}

/// The rows that the ticks make: (ticker, window start) → last close.
fn rows() -> BTreeMap<(String, String), f64> {
    ticks()
        .iter()
        .map(|tick| {
            let minute = &tick["time"].as_str().unwrap()[..16];
            let ticker = tick["ticker"].as_str().unwrap().to_owned();
            let key = (ticker, format!("{minute}:00"));
            (key, tick["close"].as_f64().unwrap())
        })
        .collect()
}

fn put(kinesis: &Kinesis, directory: &Path, records: &[(String, Vec<u8>)]) {
    use base64::Engine as _;
    let encode = |data: &[u8]| base64::engine::general_purpose::STANDARD.encode(data);
    let lines: String = records
        .iter()
        .map(|(key, data)| format!("{}\n", json!({"key": key, "data_base64": encode(data)})))
        .collect();
    let path = directory.join("records.ndjson");
    std::fs::write(&path, lines).unwrap();
    kinesis
        .boto3(&["put", "ticks", &text(&path).unwrap()])
        .unwrap();
}

/// What the stream holds: how often each record's data.
fn held(kinesis: &Kinesis) -> BTreeMap<String, usize> {
    let mut held = BTreeMap::new();
    let read = kinesis.boto3(&["read", "ticks"]).unwrap();
    for records in read.as_object().unwrap().values() {
        for record in records.as_array().unwrap() {
            *held
                .entry(record["data"].as_str().unwrap().to_owned())
                .or_default() += 1;
        }
    }
    held
}

/// A stream of ticks that a pipeline with a wrong mapping could not use, and that pipeline's rejects.
fn with_dead_letters(directory: &Path, kinesis: &Kinesis) -> Spec {
    kinesis.boto3(&["create", "ticks", "2"]).unwrap();
    let mut records: Vec<(String, Vec<u8>)> = ticks()
        .iter()
        .map(|tick| {
            let key = tick["ticker"].as_str().unwrap().to_owned();
            (key, tick.to_string().into_bytes())
        })
        .collect();
    records.push(("AAPL".to_owned(), b"no JSON".to_vec()));
    put(kinesis, directory, &records);
    let spec = Spec::of_stream(directory, "ticks");
    let yaml = spec.write(&directory.join("wrong.yaml")).unwrap();
    let mut worker = Running::worker(&yaml, &kinesis.endpoint).unwrap();
    worker
        .wait_for_state("every dead letter", |state| {
            let counts = state["totals"]["deadLetters"].as_object().unwrap();
            counts.values().filter_map(Value::as_u64).sum::<u64>() == records.len() as u64
        })
        .unwrap();
    worker.interrupt().unwrap().success().unwrap();
    let letters = dead_letters(&spec.rejects_path()).unwrap();
    assert_eq!(letters.len(), records.len());
    spec
}

/// `stockstream replay --dead-letters …`: its summary.
fn replay(kinesis: &Kinesis, rejects: &Path, yaml: &str, more: &[&str]) -> Value {
    let path = text(rejects).unwrap();
    let mut arguments = vec!["replay", "--dead-letters", &path, "--stream", "ticks"];
    arguments.extend([
        "-f",
        yaml,
        "-o",
        "json",
        "--endpoint-url",
        &kinesis.endpoint,
    ]);
    arguments.extend(more);
    let finished = run(&arguments).unwrap().success().unwrap();
    serde_json::from_str(&finished.stdout).unwrap()
}

/// The pipeline with the right mapping, which reads what comes from now on.
fn mended(directory: &Path) -> Spec {
    let mut spec = Spec::of_stream(&directory.join("mended"), "ticks")
        .record("eventTime: time")
        .window("idleTimeout: 24h");
    spec.source = "    kinesis: {streamName: ticks, initialPosition: Latest}\n".to_owned();
    spec
}

#[test]
fn dead_letters_of_a_wrong_mapping_become_rows_once_it_is_mended_and_all_can_be_read_with_sql() {
    let directory = scratch().unwrap();
    let kinesis = Kinesis::start().unwrap();
    let wrong = with_dead_letters(directory.path(), &kinesis);
    let spec = mended(directory.path());
    let yaml = spec.write(&directory.path().join("mended.yaml")).unwrap();
    let mut worker = Running::worker(&yaml, &kinesis.endpoint).unwrap();
    worker
        .wait_for_state("both shards are read", |state| {
            let shards = state["shards"].as_array().unwrap();
            shards.len() == 2 && shards.iter().all(|shard| shard["phase"] == "Reading")
        })
        .unwrap();

    let before = held(&kinesis);
    let good = ticks().len();
    let rejects = wrong.rejects_path();
    let dry = replay(&kinesis, &rejects, &yaml, &["--dry-run"]);
    assert_eq!(dry["to_send"], json!({"missing_field": good}), "{dry:#}");
    assert_eq!(dry["still_unusable"], json!({"malformed": 1}), "{dry:#}");
    let other = replay(&kinesis, &rejects, &yaml, &["--reason", "wrong_shard"]);
    assert_eq!(other["passed_over"], good + 1, "{other:#}");
    assert_eq!(held(&kinesis), before, "nothing was sent yet");

    let sent = replay(&kinesis, &rejects, &yaml, &[]);
    assert_eq!(sent["replay"]["records"], good, "{sent:#}");
    for ticker in TICKERS {
        let wanted = MINUTES * PER_MINUTE;
        assert_eq!(sent["replay"]["per_ticker"][ticker], wanted, "{sent:#}");
    }
    let again = replay(&kinesis, &rejects, &yaml, &[]);
    assert_eq!(again["already_sent"], good, "{again:#}");
    assert_eq!(again["replay"]["records"], 0, "{again:#}");
    let twice = held(&kinesis);
    assert!(ticks().iter().all(|tick| twice[&tick.to_string()] == 2));
    assert_eq!(twice["no JSON"], 1);

    // They close every window but their own.
    let sentinels: Vec<_> = TICKERS
        .iter()
        .map(|ticker| {
            let tick = json!({"ticker": ticker, "time": "2024-01-02T20:00:00Z", "close": 1.0});
            ((*ticker).to_owned(), tick.to_string().into_bytes())
        })
        .collect();
    put(&kinesis, directory.path(), &sentinels);
    let wanted = rows();
    worker
        .wait_for_state("every row", |state| {
            state["totals"]["rowsPublished"] == wanted.len()
        })
        .unwrap();
    // Its window is long closed.
    let late = json!({"ticker": "AAPL", "time": "2024-01-02T14:00:00Z", "close": 1.0});
    let late = vec![("AAPL".to_owned(), late.to_string().into_bytes())];
    put(&kinesis, directory.path(), &late);
    worker
        .wait_for_state("the late tick", |state| state["totals"]["late"] == 1)
        .unwrap();
    worker.interrupt().unwrap().success().unwrap();

    let output = text(&spec.output_path).unwrap();
    let found = python_json("rejects.py", ["rows", &output]).unwrap();
    let found: BTreeMap<(String, String), f64> = found
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let part = |at: usize| row[at].as_str().unwrap().to_owned();
            ((part(0), part(1)), row[2].as_f64().unwrap())
        })
        .collect();
    assert_eq!(found, wanted);

    let page = text(&repository().join("docs/rejects.md")).unwrap();
    let (dead, late) = (
        text(&wrong.rejects_path()).unwrap(),
        text(&spec.rejects_path()).unwrap(),
    );
    let answers = python_json("rejects.py", ["sql", &page, &dead, &late]).unwrap();
    let answers = answers.as_array().unwrap();
    assert!(answers.len() >= 5, "{answers:#?}");
    assert!(answers.iter().all(|rows| rows != 0), "{answers:#?}");
}

#[test]
fn what_has_a_receipt_is_not_sent_twice_though_the_run_was_killed() {
    let directory = scratch().unwrap();
    let kinesis = Kinesis::start().unwrap();
    let wrong = with_dead_letters(directory.path(), &kinesis);
    let spec = mended(directory.path());
    let yaml = spec.write(&directory.path().join("mended.yaml")).unwrap();
    let rejects = wrong.rejects_path();
    let receipts = rejects.join("dead-letters/_replayed");
    // File name and line of every letter with a receipt.
    let marked = || -> anyhow::Result<BTreeSet<(String, u64)>> {
        let mut marked = BTreeSet::new();
        for file in files_below(&receipts)? {
            // What is being written lies beside it for a moment.
            if file.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let receipt: Value = serde_json::from_slice(&std::fs::read(file)?)?;
            for (name, file) in receipt["files"].as_object().unwrap() {
                for run in file["lines"].as_array().unwrap() {
                    let (first, last) = (run[0].as_u64().unwrap(), run[1].as_u64().unwrap());
                    marked.extend((first..=last).map(|line| (name.clone(), line)));
                }
            }
        }
        Ok(marked)
    };

    let mut command = Binary::Product.command().unwrap();
    command.args(["replay", "--stream", "ticks", "--rate", "10", "-f", &yaml]);
    command.args(["--endpoint-url", &kinesis.endpoint, "--dead-letters"]);
    let mut killed = Process::spawn(command.arg(&rejects)).unwrap();
    wait_until("a receipt of some letters", PATIENCE, || {
        Ok((!marked()?.is_empty()).then_some(()))
    })
    .unwrap();
    killed.signal(Signal::KILL).unwrap();
    killed.wait(PATIENCE).unwrap();
    let marked = marked().unwrap();

    replay(&kinesis, &rejects, &yaml, &[]);
    let held = held(&kinesis);
    // Each letter is once more in the stream than at first; those without a receipt may be twice more.
    let good = ticks().len();
    let sent: usize = ticks().iter().map(|tick| held[&tick.to_string()] - 1).sum();
    assert!(ticks().iter().all(|tick| held[&tick.to_string()] >= 2));
    assert!(sent <= good + (good - marked.len()), "{sent} of {good}");
    let mut letters = BTreeMap::new();
    for file in files_below(&rejects.join("dead-letters")).unwrap() {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        for (line, letter) in (0..).zip(std::fs::read_to_string(&file).unwrap().lines()) {
            letters.insert((name.clone(), line), letter.to_owned());
        }
    }
    for mark in &marked {
        use base64::Engine as _;
        let letter: Value = serde_json::from_str(&letters[mark]).unwrap();
        let data = letter["data_base64"].as_str().unwrap();
        let data = base64::engine::general_purpose::STANDARD.decode(data);
        let data = String::from_utf8(data.unwrap()).unwrap();
        assert_eq!(held[&data], 2, "{data} had a receipt");
    }
}

#[test]
fn lines_that_are_no_dead_letters_are_told_and_fail_the_command() {
    let directory = scratch().unwrap();
    let kinesis = Kinesis::start().unwrap();
    kinesis.boto3(&["create", "ticks", "1"]).unwrap();
    let file = directory.path().join("mine.ndjson");
    std::fs::write(&file, "{\"reason\": \"malformed\"}\n").unwrap();
    let path = text(&file).unwrap();
    let finished = run(&[
        "replay",
        "--dead-letters",
        &path,
        "--stream",
        "ticks",
        "--endpoint-url",
        &kinesis.endpoint,
    ])
    .unwrap();
    assert_eq!(finished.status.code(), Some(1), "{}", finished.stderr);
    assert!(
        finished
            .stdout
            .contains("mine.ndjson, line 1: missing field"),
        "{}",
        finished.stdout
    );
    let nothing = run(&[
        "replay",
        "--dead-letters",
        &text(&directory.path().join("nowhere")).unwrap(),
        "--stream",
        "ticks",
        "--endpoint-url",
        &kinesis.endpoint,
    ])
    .unwrap();
    assert_eq!(nothing.status.code(), Some(1), "{}", nothing.stderr);
    assert!(nothing.stderr.contains("nowhere"), "{}", nothing.stderr);
}
