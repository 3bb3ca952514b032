//! Rows against another tool: DuckDB computes them from the same ticks, reads them back, and both must agree.
//!
//! The ticks are real bars (examples/data/daily.csv) with event times of their own, out of order within the watermark
//! delay; many bars of AAPL and AMD have no open, high, low and volume. One set of ticks comes as one file, as a file
//! per ticker, as many files in every format, and through the embedded Kinesis: the rows are always the same.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use stockstream_tests::{python_json, repository, scratch};

use support::{Kinesis, Running, Spec, run, run_files, text};

/// The golden ticks in all their layouts, and the figures that are asked of them.
struct Golden {
    directory: tempfile::TempDir,
    facts: Value,
}

impl Golden {
    fn make() -> Golden {
        let directory = scratch().unwrap();
        let bars = repository().join("examples/data/daily.csv");
        let facts = python_json(
            "golden.py",
            [
                "ticks",
                &text(&bars).unwrap(),
                &text(directory.path()).unwrap(),
            ],
        )
        .unwrap();
        assert!(facts["ticks"].as_u64().unwrap() > 3_000, "{facts}");
        assert_eq!(
            facts["without_volume"],
            json!(["AAPL", "AMD"]),
            "the ticks must have gaps"
        );
        Golden { directory, facts }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A pipeline with every aggregate over one of the layouts, with rows below `name`.
    fn spec(&self, name: &str, pattern: &str) -> Spec {
        let directory = self.path().join(format!("run-{name}"));
        std::fs::create_dir(&directory).unwrap();
        let path = text(&self.path().join(pattern)).unwrap();
        self.with_aggregates(Spec::of_files(&directory, &[path]))
    }

    fn with_aggregates(&self, spec: Spec) -> Spec {
        spec.window(&format!("aggregates: {}", self.facts["aggregates"]))
    }

    fn yaml(&self, spec: &Spec) -> String {
        spec.write(&spec.output_path.with_extension("yaml"))
            .unwrap()
    }

    /// Compares a table with DuckDB's rows, both ways.
    fn compare(&self, rows: &Path, before: Option<&str>) -> Value {
        let mut arguments = vec![
            "compare".to_owned(),
            text(rows).unwrap(),
            text(&self.path().join("one/ticks.ndjson")).unwrap(),
        ];
        arguments.extend(before.map(str::to_owned));
        let compared = python_json("golden.py", arguments).unwrap();
        for kind in ["wrong", "missing", "unknown", "doubled"] {
            assert_eq!(compared[kind], json!([]), "{kind}: {compared:#}");
        }
        assert_eq!(compared["found"], compared["expected"]);
        assert!(
            compared["found"].as_u64().unwrap() > 400,
            "too few rows to say anything: {compared}"
        );
        assert!(
            compared["nulls"].as_u64().unwrap() > 100,
            "the gaps must show in the figures: {compared}"
        );
        compared
    }

    /// Runs one layout and compares its rows.
    fn run_and_compare(&self, spec: &Spec) -> Value {
        let summary = run_files(&self.yaml(spec)).unwrap();
        let compared = self.compare(&spec.output_path, None);
        assert_eq!(summary["ticks"], self.facts["ticks"]);
        assert_eq!(summary["rows"], compared["found"]);
        assert_eq!(summary["late"], 0);
        assert_eq!(summary["deadLetters"], json!({}));
        summary
    }
}

#[test]
fn rows_of_real_bars_are_duckdbs_rows() {
    let golden = Golden::make();
    let spec = golden.spec("one", "one/*.ndjson");
    let summary = golden.run_and_compare(&spec);
    assert!(
        summary["files"].as_u64().unwrap() > 300,
        "by ticker and trade date: {summary}"
    );

    // Once more on the same state: nothing is left to do, and nothing is written twice.
    let again = run_files(&golden.yaml(&spec)).unwrap();
    assert_eq!(again["rows"], 0, "{again:#}");
    assert_eq!(again["sinceBeginning"]["rows"], summary["rows"]);
    golden.compare(&spec.output_path, None);
}

#[test]
fn one_file_per_ticker_gives_the_same_rows() {
    let golden = Golden::make();
    golden.run_and_compare(
        &golden
            .spec("tickers", "per-ticker/*.ndjson")
            .unpartitioned(),
    );
}

#[test]
fn many_packed_files_of_every_format_in_another_order_give_the_same_rows() {
    let golden = Golden::make();
    assert!(golden.facts["files"].as_u64().unwrap() > 30);
    let mut spec = golden.spec("many", "unused").unpartitioned();
    let endings = [
        "ndjson",
        "csv.zst",
        "parquet",
        "csv",
        "ndjson.gz",
        "csv.gz",
        "ndjson.zst",
    ];
    let paths = endings.map(|ending| {
        let pattern = golden.path().join(format!("many/**/*.{ending}"));
        format!("file://{}", text(&pattern).unwrap())
    });
    spec.source = format!("    files: {}\n", json!({"paths": paths}));
    golden.run_and_compare(&spec);
}

#[test]
fn csv_and_parquet_give_the_same_rows() {
    let golden = Golden::make();
    golden.run_and_compare(&golden.spec("csv", "csv/ticks.csv").unpartitioned());
    golden.run_and_compare(
        &golden
            .spec("parquet", "parquet/ticks.parquet")
            .unpartitioned(),
    );
}

#[test]
fn an_unsorted_list_of_paths_gives_the_same_rows() {
    let golden = Golden::make();
    let mut spec = golden.spec("list", "unused").unpartitioned();
    let paths: Vec<String> = [3, 0, 4, 2, 1]
        .iter()
        .map(|number| {
            let path = golden.path().join(format!("per-ticker/{number}.ndjson"));
            format!("file://{}", text(&path).unwrap())
        })
        .collect();
    spec.source = format!("    files: {}\n", json!({"paths": paths}));
    golden.run_and_compare(&spec);
}

#[test]
fn streamed_rows_are_those_of_the_files() {
    let golden = Golden::make();
    let kinesis = Kinesis::start().unwrap();
    kinesis.boto3(&["create", "golden", "3"]).unwrap();
    // What would close the last windows, on every shard: the windows before it are compared.
    let end = golden.facts["last_event_time"].as_str().unwrap();
    let closing = golden.path().join("closing.ndjson");
    let closers: String = (0..64)
        .map(|number| {
            let tick = json!({"ticker": format!("closer-{number}"), "timestamp": "2024-01-02T18:00:00Z", "close": 1.0});
            format!("{tick}\n")
        })
        .collect();
    std::fs::write(&closing, closers).unwrap();
    assert!(end < "2024-01-02T17:00:00", "{end}");
    let ticks = text(&golden.path().join("one/ticks.ndjson")).unwrap();
    let sent = kinesis.boto3(&["produce", "golden", &ticks]).unwrap();
    assert!(
        sent["shards"].as_object().unwrap().len() > 1,
        "the tickers must lie on several shards: {sent}"
    );
    let closed = kinesis
        .boto3(&["produce", "golden", &text(&closing).unwrap()])
        .unwrap();
    assert_eq!(closed["shards"].as_object().unwrap().len(), 3, "{closed}");

    let directory = golden.path().join("run-streamed");
    std::fs::create_dir(&directory).unwrap();
    let spec = golden
        .with_aggregates(Spec::of_stream(&directory, "golden"))
        .unpartitioned();
    let mut worker = Running::worker(&golden.yaml(&spec), &kinesis.endpoint).unwrap();
    let sent = golden.facts["ticks"].as_u64().unwrap() + 64;
    worker
        .wait_for_state("every tick and every row", |state| {
            let totals = &state["totals"];
            totals["ticks"] == sent
                && totals["rowsClosed"].as_u64() > Some(400)
                && totals["rowsClosed"] == totals["rowsPublished"]
        })
        .unwrap();
    let ended = worker.interrupt().unwrap().success().unwrap();
    assert!(ended.stdout.contains("is done"), "{}", ended.stdout);
    golden.compare(&spec.output_path, Some("2024-01-02T17:00:00"));
}

#[test]
fn duckdb_and_pyarrow_read_back_every_value_type_and_partition() {
    let directory = scratch().unwrap();
    let odd = python_json("golden.py", ["odd", &text(directory.path()).unwrap()]).unwrap();
    let ticks = directory.path().join("odd.ndjson");
    let spec = Spec::of_files(directory.path(), &[text(&ticks).unwrap()]).window(
        "aggregates: [{name: last_close, function: last}, {name: first_close, function: first}, {name: ticks, function: count}]",
    );
    let yaml = spec.write(&directory.path().join("odd.yaml")).unwrap();
    let summary = run_files(&yaml).unwrap();
    assert_eq!(summary["ticks"], odd["ticks"]);

    let read = python_json("golden.py", ["parquet", &text(&spec.output_path).unwrap()]).unwrap();
    let wanted = wanted_rows(&ticks);
    assert_eq!(wanted.len(), 3 * odd["tickers"].as_array().unwrap().len());
    assert_eq!(rows_by_key(&read["duckdb"]), wanted);
    assert_eq!(rows_by_key(&read["pyarrow"]), wanted);

    let mut metadata_ticks = 0;
    for file in read["files"].as_array().unwrap() {
        assert_file(file, &summary);
        metadata_ticks += text_number(&file["metadata"]["ticks"]);
    }
    assert_eq!(
        Some(metadata_ticks),
        odd["ticks"].as_u64(),
        "every tick stands in one file's provenance"
    );
}

/// `(ticker, window_start)` to what the row must hold, computed from the ticks by hand.
fn wanted_rows(ticks: &Path) -> BTreeMap<(String, String), Value> {
    let mut rows: BTreeMap<(String, String), Value> = BTreeMap::new();
    for line in std::fs::read_to_string(ticks).unwrap().lines() {
        let tick: Value = serde_json::from_str(line).unwrap();
        let minute = &tick["timestamp"].as_str().unwrap()[..16];
        let (hour, minutes) = minute.split_at(14);
        let key = (
            tick["ticker"].as_str().unwrap().to_owned(),
            format!("{minute}:00.000000Z"),
        );
        let row = rows.entry(key).or_insert_with(|| {
            let next = minutes.parse::<u32>().unwrap() + 1;
            json!({
                "window_end": format!("{hour}{next:02}:00.000000Z"),
                "trade_date": tick["date"],
                "first_close": tick["close"],
                "ticks": 0,
            })
        });
        row["last_close"] = tick["close"].clone();
        row["ticks"] = json!(row["ticks"].as_u64().unwrap() + 1);
    }
    rows
}

fn rows_by_key(rows: &Value) -> BTreeMap<(String, String), Value> {
    rows.as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let mut row = row.as_object().unwrap().clone();
            let mut key = |name: &str| row.remove(name).unwrap().as_str().unwrap().to_owned();
            ((key("ticker"), key("window_start")), Value::Object(row))
        })
        .collect()
}

fn text_number(value: &Value) -> u64 {
    value.as_str().unwrap().parse().unwrap()
}

/// The name, the types and the provenance of one file.
fn assert_file(file: &Value, summary: &Value) {
    assert_eq!(
        file["schema"],
        json!([
            ["window_start", "timestamp[us, tz=UTC]", false],
            ["window_end", "timestamp[us, tz=UTC]", false],
            ["last_close", "double", true],
            ["first_close", "double", true],
            ["ticks", "int64", true],
        ])
    );
    let stamps = file["parquet"][0].as_array().unwrap();
    assert_eq!(stamps[1], "INT64");
    let logical = stamps[2].as_str().unwrap();
    assert!(
        logical.contains("isAdjustedToUTC=true") && logical.contains("microseconds"),
        "{logical}"
    );
    assert_eq!(file["compression"], json!(["ZSTD"]));
    let raw = file["raw_segments"].as_array().unwrap();
    assert_eq!(
        raw.len(),
        2,
        "ticker and trade date, nothing between: {raw:?}"
    );
    let metadata = &file["metadata"];
    let name = PathBuf::from(file["name"].as_str().unwrap());
    let part = |name: &str| metadata[name].as_str().unwrap();
    assert_eq!(
        name.to_str().unwrap(),
        format!(
            "{}-{}-{}-{}.parquet",
            part("state_id"),
            part("incarnation"),
            part("shard"),
            part("version")
        ),
    );
    assert_eq!(part("row_digest").len(), 64);
    assert!(!part("writer").is_empty());
    assert!(text_number(&metadata["first_sequence"]) <= text_number(&metadata["last_sequence"]));
    assert!(summary["files"].as_u64().unwrap() > 0);
    let inspected = run(&[
        "inspect",
        "file",
        file["path"].as_str().unwrap(),
        "-o",
        "json",
    ])
    .unwrap()
    .success()
    .unwrap();
    let inspected: Value = serde_json::from_str(&inspected.stdout).unwrap();
    let found = inspected.to_string();
    for name in ["state_id", "incarnation", "shard", "row_digest"] {
        assert!(found.contains(part(name)), "{name} of {metadata}: {found}");
    }
}
