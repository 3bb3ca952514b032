//! What can't be changed for one `state.path`, evaluated by the rules the API server has.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::{MINIMAL, minimal_and, minimal_with};
use stockstream_crds::{Problem, parse, parse_update};

const NEW_STATE: (&str, &str) = ("checkpoints/stock-ticks", "checkpoints/stock-ticks-2");

fn output_with(line: &str) -> String {
    MINIMAL.replace("avg_1min\n", &format!("avg_1min\n    {line}\n"))
}

/// Changes of what the numbers mean, each with the field that must be named.
fn forbidden() -> Vec<(&'static str, String)> {
    vec![
        (
            "spec.source.kinesis.streamName",
            minimal_with("stock_stream", "other_stream"),
        ),
        (
            "spec.source.kinesis.region",
            minimal_with("stock_stream", "stock_stream\n      region: eu-west-1"),
        ),
        (
            "spec.record.ticker",
            minimal_and("record: {ticker: symbol}"),
        ),
        (
            "spec.record.eventTime",
            minimal_and("record: {eventTime: time}"),
        ),
        (
            "spec.record.tradeDate",
            minimal_and("record: {tradeDate: day}"),
        ),
        ("spec.record.open", minimal_and("record: {open: o}")),
        ("spec.record.high", minimal_and("record: {high: h}")),
        ("spec.record.low", minimal_and("record: {low: l}")),
        ("spec.record.close", minimal_and("record: {close: c}")),
        ("spec.record.volume", minimal_and("record: {volume: v}")),
        ("spec.record.id", minimal_and("record: {id: trade_id}")),
        ("spec.window.size", minimal_and("window: {size: 5m}")),
        (
            "spec.output.path",
            minimal_with("streaming/avg_1min", "streaming/avg_5min"),
        ),
        (
            "spec.output.rejectsPath",
            output_with("rejectsPath: s3://my-lake/rejects"),
        ),
        (
            "spec.output.partitionBy",
            output_with("partitionBy: [trade_date, ticker]"),
        ),
        (
            "spec.output.compression",
            output_with("compression: snappy"),
        ),
        (
            "spec.window.aggregates",
            minimal_and("window: {aggregates: [{name: avg_close, function: avg}]}"),
        ),
        (
            "spec.window.aggregates",
            minimal_and(
                "window: {aggregates: [{name: avg_close, function: avg, field: open}, {name: last_close, function: last}]}",
            ),
        ),
    ]
}

#[test]
fn what_the_numbers_mean_is_fixed_for_one_state_path() {
    for (path, new) in forbidden() {
        parse(&new).unwrap_or_else(|errors| panic!("{path} is not valid by itself: {errors}"));
        let errors = parse_update(MINIMAL, &new).expect_err(path);
        let paths: Vec<&str> = errors
            .errors()
            .iter()
            .map(|error| error.path.as_str())
            .collect();
        assert_eq!(paths, [path]);
        assert_eq!(errors.errors()[0].problem, Problem::Immutable, "{path}");
        assert!(
            errors.errors()[0].message.contains("state.path"),
            "{errors}"
        );
    }
}

#[test]
fn another_state_path_starts_another_pipeline() {
    for (path, new) in forbidden() {
        let new = new.replace(NEW_STATE.0, NEW_STATE.1);
        parse_update(MINIMAL, &new).unwrap_or_else(|errors| panic!("{path}: {errors}"));
    }
}

#[test]
fn the_source_cannot_change_its_kind() {
    let files = minimal_with(
        "    kinesis:\n      streamName: stock_stream\n",
        "    files: {paths: ['file:///ticks.csv']}\n",
    );
    assert!(parse_update(MINIMAL, &files).is_err());
    assert!(parse_update(&files, MINIMAL).is_err());
    let more = files.replace(
        "['file:///ticks.csv']",
        "['file:///ticks.csv', 'file:///more.csv']",
    );
    let errors = parse_update(&files, &more).unwrap_err();
    assert_eq!(errors.errors()[0].path, "spec.source.files.paths");
}

#[test]
fn an_optional_field_can_neither_change_nor_go() {
    let id = minimal_and("record: {id: trade_id}");
    for new in [MINIMAL.to_owned(), minimal_and("record: {id: other_id}")] {
        let errors = parse_update(&id, &new).unwrap_err();
        assert_eq!(errors.errors()[0].path, "spec.record.id");
    }
    parse_update(&id, &id).unwrap();
}

#[test]
fn everything_else_may_change() {
    let allowed = [
        minimal_and(
            "window: {aggregates: [{name: high, function: max, field: high}, {name: last_close, function: last}, {name: avg_close, function: avg}]}",
        ),
        minimal_and("window: {watermarkDelay: 5m, idleTimeout: 1m, limits: {maxTickers: 7}}"),
        minimal_and("record: {maxAhead: unbounded}"),
        minimal_and("workers: {replicas: 7, nodeSelector: {disk: ssd}}"),
        minimal_and("catalog: {glue: {}}"),
        minimal_and("storage: {encryption: {sseKms: {keyId: alias/lake, bucketKey: true}}}"),
        minimal_and("suspend: true\ndeletionPolicy: Delete"),
        output_with("publishInterval: 5m"),
        minimal_with(
            "stock_stream",
            "stock_stream\n      mode: {onDemand: {}}\n      retention: 48h",
        ),
        // A default that is written out changes nothing.
        minimal_and("window: {size: 1m}\nrecord: {ticker: ticker}"),
    ];
    for new in allowed {
        parse_update(MINIMAL, &new).unwrap_or_else(|errors| panic!("{new}: {errors}"));
    }
}
