//! What users are told about mistakes. Snapshots hold the exact words.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::fmt::Write as _;

use common::{MINIMAL, minimal_and, minimal_with};
use stockstream_crds::error::MAX_ERRORS;
use stockstream_crds::{MAX_TEXT_BYTES, Problem, parse};

/// The rendered errors of each case, one after the other.
fn told(cases: &[(&str, String)]) -> String {
    let mut text = String::new();
    for (name, spec) in cases {
        let errors = match parse(spec) {
            Ok(_) => panic!("{name} was accepted:\n{spec}"),
            Err(errors) => errors.render("pipeline.yaml"),
        };
        writeln!(text, "### {name}\n{errors}").unwrap();
    }
    text
}

fn kinesis_with(line: &str) -> String {
    let name = "streamName: stock_stream";
    minimal_with(name, &format!("{name}\n      {line}"))
}

fn source(lines: &str) -> String {
    minimal_with("    kinesis:\n      streamName: stock_stream\n", lines)
}

#[test]
fn text_that_is_not_one_stock_stream() {
    let cases = [
        ("empty", String::new()),
        ("only comments", "# nothing\n".to_owned()),
        ("a null document", "---\n".to_owned()),
        ("a word", "hello".to_owned()),
        ("a list", "- a\n- b\n".to_owned()),
        ("two documents", format!("{MINIMAL}---\n{MINIMAL}")),
        ("tabs", "spec:\n\tsource: x\n".to_owned()),
        ("an open bracket", "spec: [1, 2\n".to_owned()),
        ("bad indentation", "spec:\n  a: 1\n b: 2\n".to_owned()),
        ("an unknown anchor", "spec: *nothing\n".to_owned()),
        (
            "another kind",
            minimal_with("kind: StockStream", "kind: StockSteam"),
        ),
        ("another version", minimal_with("v1alpha1", "v1")),
        (
            "a resource of Kubernetes",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {a: b}\n".to_owned(),
        ),
        ("nothing but a kind", "kind: StockStream\n".to_owned()),
    ];
    insta::assert_snapshot!(told(&cases));
}

#[test]
fn fields_that_are_unknown_missing_or_of_another_type() {
    let cases = [
        ("a slip in a field", minimal_and("window: {sise: 1m}")),
        ("a slip in a section", minimal_and("windows: {size: 1m}")),
        ("a slip in the source", source("    kinsis: {streamName: x}\n")),
        ("snake case", minimal_and("window: {idle_timeout: 30s}")),
        ("a field of nowhere", minimal_and("flink: {parallelism: 3}")),
        ("a slip in the metadata", minimal_with("  name: stock-ticks", "  name: x\n  lables: {a: b}")),
        ("a field in onDemand", kinesis_with("mode: {onDemand: {shards: 2}}")),
        ("no stream name", minimal_with("      streamName: stock_stream\n", "      region: eu-west-1\n")),
        ("a null stream name", minimal_with("streamName: stock_stream", "streamName:")),
        ("no state, no output", "apiVersion: stockstream.dev/v1alpha1\nkind: StockStream\nmetadata: {name: x}\nspec:\n  source:\n    kinesis: {streamName: x}\n".to_owned()),
        ("no metadata", minimal_with("metadata:\n  name: stock-ticks\n", "")),
        ("a number for a duration", minimal_and("window: {size: 60}")),
        ("a word for a boolean", minimal_and("suspend: yes")),
        ("a string for a number", minimal_and("workers: {replicas: '2'}")),
        ("a fraction for an integer", minimal_and("workers: {replicas: 2.5}")),
        ("a map for a list", minimal_and("window: {aggregates: {name: a, function: avg}}")),
        ("a string for a map", minimal_and("window: 1m")),
        ("a field given twice", minimal_and("suspend: false\nsuspend: true")),
        ("a key with a dot", minimal_and("'window.size': 1m")),
    ];
    insta::assert_snapshot!(told(&cases));
}

#[test]
fn values_that_are_not_allowed() {
    let cases = [
        (
            "a duration without unit",
            minimal_and("window: {size: '60'}"),
        ),
        ("a duration in days", minimal_and("window: {size: 1d}")),
        (
            "a window that is too long",
            minimal_and("window: {size: 25h}"),
        ),
        (
            "a window that is too short",
            minimal_and("window: {size: 500ms}"),
        ),
        (
            "a window of a fraction",
            minimal_and("window: {size: 1.0000001s}"),
        ),
        (
            "a retention of half an hour",
            kinesis_with("retention: 24h30m"),
        ),
        (
            "a retention that is too short",
            kinesis_with("retention: 12h"),
        ),
        (
            "no shards",
            kinesis_with("mode: {provisioned: {shards: 0}}"),
        ),
        (
            "both modes",
            kinesis_with("mode: {provisioned: {shards: 2}, onDemand: {}}"),
        ),
        ("no mode", kinesis_with("mode: {}")),
        (
            "both encryptions",
            minimal_and("storage: {encryption: {sseS3: {}, sseKms: {}}}"),
        ),
        ("no encryption", minimal_and("storage: {encryption: {}}")),
        (
            "a KMS key that is none",
            minimal_and("storage: {encryption: {sseKms: {keyId: my key}}}"),
        ),
        (
            "a slip in the position",
            kinesis_with("initialPosition: latest"),
        ),
        (
            "a bad timestamp",
            kinesis_with("initialPosition: {timestamp: yesterday}"),
        ),
        (
            "a timestamp without zone",
            kinesis_with("initialPosition: {timestamp: 2024-01-02T00:00:00}"),
        ),
        (
            "a position without timestamp",
            kinesis_with("initialPosition: {}"),
        ),
        (
            "a position with more",
            kinesis_with("initialPosition: {timestamp: 2024-01-02T00:00:00Z, shard: 1}"),
        ),
        (
            "a position that is a number",
            kinesis_with("initialPosition: 7"),
        ),
        ("a bad region", kinesis_with("region: europe")),
        (
            "a slip in maxAhead",
            minimal_and("record: {maxAhead: unbound}"),
        ),
        ("an empty field name", minimal_and("record: {ticker: ''}")),
        (
            "an unknown function",
            minimal_and("window: {aggregates: [{name: a, function: avrg}]}"),
        ),
        (
            "an unknown field of a tick",
            minimal_and("window: {aggregates: [{name: a, function: avg, field: closing}]}"),
        ),
        ("no aggregates", minimal_and("window: {aggregates: []}")),
        (
            "a column that is no name",
            minimal_and("window: {aggregates: [{name: 'avg-close', function: avg}]}"),
        ),
        (
            "a reserved column",
            minimal_and("window: {aggregates: [{name: ticker, function: avg}]}"),
        ),
        (
            "the same column twice",
            minimal_and(
                "window: {aggregates: [{name: a, function: avg}, {name: b, function: min}, {name: a, function: max}]}",
            ),
        ),
        (
            "vwap of the volume",
            minimal_and("window: {aggregates: [{name: a, function: vwap, field: volume}]}"),
        ),
        (
            "an outbox that is too small",
            minimal_and("  maxOutbox: 1k"),
        ),
        ("an outbox that is no size", minimal_and("  maxOutbox: 4MB")),
        (
            "a name that is no name",
            minimal_with("name: stock-ticks", "name: Stock_Ticks"),
        ),
        (
            "a local path",
            minimal_with("s3://my-lake/streaming/avg_1min", "/tmp/rows"),
        ),
        (
            "a bucket alone",
            minimal_with("s3://my-lake/streaming/avg_1min", "s3://my-lake"),
        ),
        (
            "a path that climbs",
            minimal_with("s3://my-lake/streaming/avg_1min", "file://./../rows"),
        ),
    ];
    insta::assert_snapshot!(told(&cases));
}

#[test]
fn values_that_do_not_fit_together() {
    let state = "s3://my-lake/checkpoints/stock-ticks";
    let output = "s3://my-lake/streaming/avg_1min";
    let lease = |lease: &str| minimal_and(&format!("  lease: {lease}"));
    let rejects = |path: &str| {
        MINIMAL.replace(
            "avg_1min\n",
            &format!("avg_1min\n    rejectsPath: {path}\n"),
        )
    };
    let cases = [
        (
            "encryption by S3 without S3",
            minimal_and("storage: {encryption: {sseS3: {}}}").replace("s3://", "file:///"),
        ),
        (
            "both sources",
            source("    kinesis: {streamName: x}\n    files: {paths: ['file:///a.csv']}\n"),
        ),
        ("no source", source("    {}\n")),
        (
            "state within output",
            minimal_with(state, &format!("{output}/state")),
        ),
        (
            "output within state",
            minimal_with(output, &format!("{state}/rows")),
        ),
        (
            "state is output, with a slash",
            minimal_with(state, &format!("{output}/")),
        ),
        (
            "rejects within output",
            rejects(&format!("{output}/rejects")),
        ),
        ("output within rejects", rejects("s3://my-lake/streaming")),
        ("state within rejects", rejects("s3://my-lake/checkpoints")),
        (
            "state within the default of rejects",
            minimal_with(state, &format!("{output}-rejects/state")),
        ),
        ("expiry below twice the heartbeat", lease("{heartbeat: 4s}")),
        (
            "expiry not a multiple",
            lease("{heartbeat: 4s, expiry: 10s}"),
        ),
        (
            "one field for two",
            minimal_and("record: {tradeDate: timestamp}"),
        ),
        (
            "a price in the ticker",
            minimal_and("record: {close: ticker}"),
        ),
        (
            "a partition twice",
            minimal_with(
                "avg_1min\n",
                "avg_1min\n    partitionBy: [ticker, ticker]\n",
            ),
        ),
        (
            "files of unknown format",
            source("    files: {paths: ['file:///data/ticks/*']}\n"),
        ),
        (
            "files listed twice",
            source("    files: {paths: ['file:///a.csv', 'file:///a.csv']}\n"),
        ),
        (
            "files within the output",
            source("    files: {paths: ['s3://my-lake/streaming/avg_1min/*/*.parquet']}\n"),
        ),
    ];
    insta::assert_snapshot!(told(&cases));
}

#[test]
fn every_mistake_is_told_at_once() {
    let spec = "\
apiVersion: stockstream.dev/v1alpha1
kind: StockStream
metadata:
  name: Bad Name
spec:
  source:
    kinesis:
      stream: ticks
      retention: 25h30m
  window:
    size: 48h
    watermarkDelay: 2 minutes
    aggregates:
      - {name: a, function: avg}
      - {name: a, function: mean}
      - {name: window_end, function: avg}
  output:
    path: s3://lake/rows
    compression: brotli
  state:
    path: s3://lake/rows/state
    lease: {heartbeat: 4s, expiry: 9s}
  workers: {replica: 3}
";
    let errors = parse(spec).unwrap_err();
    insta::assert_snapshot!("every_mistake_text", errors.render("pipeline.yaml"));
    insta::assert_json_snapshot!("every_mistake_json", errors.to_json("pipeline.yaml"));
}

/// Each of these must be refused, for its size or shape, long before it costs anything.
#[test]
fn hostile_text_is_refused() {
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..12 {
        let items = vec![format!("*a{}", i - 1); 10].join(", ");
        writeln!(laughs, "a{i}: &a{i} [{items}]").unwrap();
    }
    let wide: String = (0..40_000).map(|i| format!("k{i}: 1\n")).collect();
    let block: String = (0..2_000).fold(String::new(), |text, depth| {
        text + &" ".repeat(depth) + "a:\n"
    });
    let cases = [
        ("ten megabytes", format!("a: {}", "x".repeat(10 << 20))),
        ("deep brackets", "[".repeat(100_000)),
        ("deep maps", "{a: ".repeat(10_000)),
        ("deep blocks", block),
        ("a billion laughs", laughs),
        ("an alias of itself", "a: &a [*a]\n".to_owned()),
        ("many fields", wide),
        (
            "a long key, marked as key",
            format!("{MINIMAL}? {}\n: 1\n", "k".repeat(500_000)),
        ),
        ("many questions", "? ".repeat(50_000)),
        (
            "a long key",
            format!("{}: 1\n", "k".repeat(MAX_TEXT_BYTES - 10)),
        ),
        (
            "a long value",
            minimal_with("stock_stream", &"x".repeat(500_000)),
        ),
        ("control characters", "a: \u{0}\u{7}\n".to_owned()),
    ];
    for (name, text) in cases {
        let errors = parse(&text).expect_err(name);
        let rendered = errors.render("pipeline.yaml");
        assert!(
            rendered.len() < 50_000,
            "{name}: {} bytes told",
            rendered.len()
        );
        assert!(errors.errors().len() <= MAX_ERRORS, "{name}");
    }
}

#[test]
fn problems_are_told_apart_for_programs() {
    let problem = |spec: String| parse(&spec).unwrap_err().errors()[0].problem;
    assert_eq!(problem(String::new()), Problem::Syntax);
    assert_eq!(
        problem(minimal_with("v1alpha1", "v1")),
        Problem::WrongResource
    );
    assert_eq!(problem(minimal_and("flink: {}")), Problem::UnknownField);
    assert_eq!(problem(minimal_and("suspend: 1")), Problem::WrongType);
    assert_eq!(
        problem(minimal_and("window: {size: 25h}")),
        Problem::OutOfRange
    );
    assert_eq!(
        problem(minimal_and("suspend: true\nsuspend: true")),
        Problem::Duplicate
    );
}
