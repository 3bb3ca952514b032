//! What valid specs mean.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::path::Path;
use std::time::Duration;

use common::{MINIMAL, minimal_and, minimal_with};
use stockstream_crds::pipeline::{ObjectEncryption, StreamCapacity};
use stockstream_crds::reference::EXAMPLE;
use stockstream_crds::spec::{
    Aggregate, AggregateFunction, Compression, Consumer, DeletionPolicy, FileFormat,
    InitialPosition, Management, NumericField, OnDataLoss, PartitionColumn,
};
use stockstream_crds::{Pipeline, Problem, StockStream, parse};

#[test]
fn the_example_reproduces_the_reference_job() {
    let pipeline = parse(EXAMPLE).unwrap();
    assert_eq!(pipeline.name(), "stock-ticks");
    assert_eq!(pipeline.namespace(), "default");

    let kinesis = pipeline.kinesis().unwrap();
    assert_eq!(kinesis.stream_name, "stock_stream");
    assert_eq!(kinesis.region, "us-east-1");
    assert_eq!(kinesis.initial_position, InitialPosition::Latest);
    assert_eq!(kinesis.capacity, StreamCapacity::Provisioned { shards: 2 });
    assert_eq!(kinesis.retention, Duration::from_secs(86_400));
    assert_eq!(kinesis.management, Management::Managed);
    assert_eq!(kinesis.consumer, Consumer::Polling);
    assert_eq!(kinesis.on_data_loss, OnDataLoss::Fail);
    assert!(pipeline.files().is_none());

    let record = pipeline.record();
    let names = [
        (&record.ticker, "ticker"),
        (&record.event_time, "timestamp"),
        (&record.trade_date, "date"),
        (&record.open, "open"),
        (&record.high, "high"),
        (&record.low, "low"),
        (&record.close, "close"),
        (&record.volume, "volume"),
    ];
    for (name, expected) in names {
        assert_eq!(name, expected);
    }
    assert_eq!(record.id, None);
    assert_eq!(record.max_ahead, Some(Duration::from_secs(120)));

    let window = pipeline.window();
    assert_eq!(window.size, Duration::from_secs(60));
    assert_eq!(window.watermark_delay, Duration::from_secs(120));
    assert_eq!(window.idle_timeout, Duration::from_secs(30));
    let aggregate = |name: &str, function| Aggregate {
        name: name.to_owned(),
        function,
        field: NumericField::Close,
    };
    assert_eq!(
        window.aggregates,
        [
            aggregate("avg_close", AggregateFunction::Avg),
            aggregate("last_close", AggregateFunction::Last)
        ]
    );
    assert_eq!(window.limits.max_tickers, 100_000);
    assert_eq!(window.limits.max_open_windows, 500_000);
    assert_eq!(window.limits.max_ids, 1_000_000);

    let output = pipeline.output();
    assert_eq!(output.path.to_string(), "s3://my-lake/streaming/avg_1min");
    assert_eq!(
        output.rejects_path.to_string(),
        "s3://my-lake/streaming/avg_1min-rejects"
    );
    assert_eq!(
        output.partition_by,
        [PartitionColumn::Ticker, PartitionColumn::TradeDate]
    );
    assert_eq!(output.publish_interval, Duration::from_secs(60));
    assert_eq!(output.compression, Compression::Zstd);

    let state = pipeline.state();
    assert_eq!(
        state.path.to_string(),
        "s3://my-lake/checkpoints/stock-ticks"
    );
    assert_eq!(state.commit_interval, Duration::from_secs(10));
    assert_eq!(state.max_outbox_bytes, 4 << 20);
    assert_eq!(state.format, None);
    assert_eq!(state.keep_versions, 10);
    assert_eq!(state.heartbeat, Duration::from_secs(2));
    assert_eq!(state.expiry, Duration::from_secs(6));
    assert_eq!(state.beats_to_expiry(), 3);

    let table = pipeline.catalog().unwrap();
    assert_eq!(table.database, "stock_streaming_database");
    assert_eq!(table.table, "avg_1min");
    assert_eq!(table.region, "us-east-1");
    assert_eq!(pipeline.workers().replicas, 2);
    assert!(pipeline.dashboard_enabled());
    assert!(!pipeline.is_suspended());
    assert_eq!(pipeline.deletion_policy(), DeletionPolicy::Retain);
}

#[test]
fn a_minimal_spec_means_the_example_without_its_catalog() {
    let minimal = parse(MINIMAL).unwrap();
    let example = parse(EXAMPLE).unwrap();
    assert_eq!(minimal.source(), example.source());
    assert_eq!(minimal.record(), example.record());
    assert_eq!(minimal.window(), example.window());
    assert_eq!(minimal.output(), example.output());
    assert_eq!(minimal.state(), example.state());
    assert_eq!(minimal.catalog(), None);
    assert_eq!(minimal.workers(), example.workers());
    assert_eq!(minimal.deletion_policy(), example.deletion_policy());
}

#[test]
fn the_reference_page_shows_the_example() {
    let files = stockstream_crds::reference::generated_files().unwrap();
    let page = files
        .iter()
        .find(|file| file.path.ends_with(".md"))
        .unwrap();
    let shown = page.text.split("```yaml\n").nth(1).unwrap();
    let shown = shown.split("```").next().unwrap();
    parse(shown).unwrap();
    assert_eq!(shown, EXAMPLE);
}

#[test]
fn empty_sections_and_nulls_mean_their_defaults() {
    let spec = minimal_and(
        "record: {}\nwindow: {size: null, limits: {}}\nworkers: {}\ndashboard:\ncatalog: {glue: {}}",
    );
    let pipeline = parse(&spec).unwrap();
    let minimal = parse(MINIMAL).unwrap();
    assert_eq!(pipeline.window(), minimal.window());
    assert_eq!(pipeline.record(), minimal.record());
    assert_eq!(pipeline.workers(), minimal.workers());
    assert_eq!(pipeline.catalog().unwrap().table, "avg_1min");
}

#[test]
fn unions_are_read() {
    let kinesis = "streamName: stock_stream";
    let with =
        |line: &str| parse(&minimal_with(kinesis, &format!("{kinesis}\n      {line}"))).unwrap();
    let timestamp = with("initialPosition: {timestamp: 2024-01-02T00:00:00Z}");
    assert_eq!(
        timestamp.kinesis().unwrap().initial_timestamp(),
        Some("2024-01-02T00:00:00Z".parse().unwrap())
    );
    let oldest = with("initialPosition: TrimHorizon");
    assert_eq!(
        oldest.kinesis().unwrap().initial_position,
        InitialPosition::TrimHorizon
    );
    let on_demand = with("mode: {onDemand: {}}");
    assert_eq!(
        on_demand.kinesis().unwrap().capacity,
        StreamCapacity::OnDemand
    );
    let max_ahead = |value: &str| {
        let spec = minimal_and(&format!(
            "record: {{maxAhead: {value}}}\nwindow: {{watermarkDelay: 5m}}"
        ));
        parse(&spec).unwrap().record().max_ahead
    };
    assert_eq!(max_ahead("unbounded"), None);
    assert_eq!(max_ahead("90s"), Some(Duration::from_secs(90)));
    assert_eq!(max_ahead("null"), Some(Duration::from_secs(300)));
    for (written, bytes) in [
        ("1048576", 1 << 20),
        ("64Ki", 64 << 10),
        ("'1M'", 1_000_000),
    ] {
        let spec = minimal_and(&format!("  maxOutbox: {written}"));
        assert_eq!(parse(&spec).unwrap().state().max_outbox_bytes, bytes);
    }
}

#[test]
fn encryption_is_read_and_nothing_is_made_up() {
    let read = |lines: &str| {
        let spec = minimal_and(&format!("storage: {{encryption: {{{lines}}}}}"));
        parse(&spec).unwrap().encryption().cloned().unwrap()
    };
    let kms = |key_id: Option<&str>, bucket_key| ObjectEncryption::SseKms {
        key_id: key_id.map(str::to_owned),
        bucket_key,
    };
    assert_eq!(read("sseS3: {}"), ObjectEncryption::SseS3);
    assert_eq!(read("sseKms: {}"), kms(None, None));
    for key in [
        "arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab",
        "arn:aws-cn:kms:cn-north-1:123456789012:alias/lake",
        "alias/lake",
        "1234abcd-12ab-34cd-56ef-1234567890ab",
        "mrk-1234abcd12ab34cd56ef1234567890ab",
    ] {
        assert_eq!(
            read(&format!("sseKms: {{keyId: '{key}', bucketKey: false}}")),
            kms(Some(key), Some(false))
        );
    }
    for nothing in ["suspend: false", "storage: {}"] {
        assert_eq!(parse(&minimal_and(nothing)).unwrap().encryption(), None);
    }
}

#[test]
fn files_tell_their_format() {
    let files = |lines: &str| {
        minimal_with(
            "    kinesis:\n      streamName: stock_stream",
            &format!("    files:\n      {lines}"),
        )
    };
    let pipeline = parse(&files(
        "paths: ['file://./ticks/*.ndjson', 's3://lake/ticks/a.parquet']",
    ))
    .unwrap();
    let settings = pipeline.files().unwrap();
    assert_eq!(
        settings.format_of("s3://lake/ticks/a.parquet"),
        Some(FileFormat::Parquet)
    );
    assert_eq!(
        settings.format_of("file://./ticks/b.ndjson"),
        Some(FileFormat::Ndjson)
    );
    let pipeline = parse(&files("{paths: ['file:///data/ticks'], format: csv}")).unwrap();
    assert_eq!(
        pipeline.files().unwrap().format_of("file:///data/ticks"),
        Some(FileFormat::Csv)
    );
}

#[test]
fn relative_paths_are_compared_once_they_are_absolute() {
    let spec = MINIMAL
        .replace("s3://my-lake/streaming/avg_1min", "file://./data/rows")
        .replace("s3://my-lake/checkpoints/stock-ticks", "file:///work/data");
    let pipeline = parse(&spec).unwrap();
    let elsewhere = pipeline
        .clone()
        .resolved_at(Path::new("/home/user"))
        .unwrap();
    assert_eq!(
        elsewhere.output().path.to_string(),
        "file:///home/user/data/rows"
    );
    let errors = pipeline.resolved_at(Path::new("/work")).unwrap_err();
    assert!(
        errors
            .errors()
            .iter()
            .all(|error| error.problem == Problem::Conflict),
        "{errors}"
    );
    assert_eq!(errors.errors().len(), 2, "{errors}");
}

#[test]
fn a_resource_from_the_api_server_is_validated_the_same_way() {
    let pipeline = parse(EXAMPLE).unwrap();
    let mut resource: StockStream = pipeline.resource().clone();
    assert_eq!(Pipeline::from_resource(&resource).unwrap(), pipeline);
    resource.spec.window.aggregates.clear();
    resource.spec.state.path = resource.spec.output.path.clone();
    let errors = Pipeline::from_resource(&resource).unwrap_err();
    let paths: Vec<&str> = errors
        .errors()
        .iter()
        .map(|error| error.path.as_str())
        .collect();
    assert_eq!(paths, ["spec.output.path", "spec.window.aggregates"]);
}

#[test]
fn json_is_read_like_yaml() {
    let resource = serde_json::to_string(parse(MINIMAL).unwrap().resource()).unwrap();
    assert_eq!(
        parse(&resource).unwrap().output(),
        parse(MINIMAL).unwrap().output()
    );
}
