//! Specs with a mistake each, by kind. The tests of this crate hold what users are told; the suite `e2e` asks a real API
//! server.

use crate::common::{MINIMAL, minimal_and, minimal_with};

/// A name, and the text of a spec.
pub type Case = (&'static str, String);

fn kinesis_with(line: &str) -> String {
    let name = "streamName: stock_stream";
    minimal_with(name, &format!("{name}\n      {line}"))
}

fn source(lines: &str) -> String {
    minimal_with("    kinesis:\n      streamName: stock_stream\n", lines)
}

/// Text that is not one StockStream.
pub fn texts() -> Vec<Case> {
    vec![
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
    ]
}

/// Fields that are unknown, missing or of another type.
pub fn fields() -> Vec<Case> {
    vec![
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
    ]
}

/// Values that are not allowed.
pub fn values() -> Vec<Case> {
    vec![
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
            "a window of a nanosecond more",
            minimal_and("window: {size: 1.000000001s}"),
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
    ]
}

/// Values that don't fit together.
pub fn combinations() -> Vec<Case> {
    let state = "s3://my-lake/checkpoints/stock-ticks";
    let output = "s3://my-lake/streaming/avg_1min";
    let lease = |lease: &str| minimal_and(&format!("  lease: {lease}"));
    let rejects = |path: &str| {
        MINIMAL.replace(
            "avg_1min\n",
            &format!("avg_1min\n    rejectsPath: {path}\n"),
        )
    };
    vec![
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
            "expiry not a multiple of a fraction",
            lease("{heartbeat: 500.5ms, expiry: 1.2s}"),
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
        (
            "files within the default of rejects",
            source(
                "    files: {paths: ['s3://my-lake/streaming/avg_1min-rejects/late/a.parquet']}\n",
            ),
        ),
    ]
}
