//! Changes of a running pipeline's spec. The tests of this crate hold which of them may be; the suite `e2e` asks a real API
//! server.

use crate::common::{MINIMAL, minimal_and, minimal_with};

fn output_with(line: &str) -> String {
    MINIMAL.replace("avg_1min\n", &format!("avg_1min\n    {line}\n"))
}

/// Changes of what the numbers mean, each with the field that must be named.
pub fn forbidden() -> Vec<(&'static str, String)> {
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

/// Changes that may be.
pub fn allowed() -> Vec<String> {
    vec![
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
    ]
}
