//! Prometheus metrics, computed from the report when they are scraped.
//!
//! Owns the names, units and labels (`namespace`, `pipeline`, `shard`, `phase`, `reason`, `operation`, all bounded). Must never
//! carry a ticker as a label, nor keep figures of its own.

use std::borrow::Cow;
use std::fmt::Error;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use super::observer::Observer;
use super::state::{Counters, PipelinePhase, PipelineReport, ShardPhase, ShardReport};
use crate::storage::Requests;

/// The content type of [`encode`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A registry whose every scrape shows the observer's report.
#[must_use]
pub fn registry(observer: Observer) -> Registry {
    let pipeline = observer.report().pipeline.clone();
    let labels = [
        (Cow::Borrowed("namespace"), Cow::Owned(pipeline.namespace)),
        (Cow::Borrowed("pipeline"), Cow::Owned(pipeline.name)),
    ];
    let mut registry = Registry::with_prefix_and_labels("stockstream", labels.into_iter());
    registry.register_collector(Box::new(ReportCollector { observer }));
    registry
}

/// The metrics as OpenMetrics text.
///
/// # Errors
/// Only when writing to a `String` fails, that is never.
pub fn encode(registry: &Registry) -> Result<String, Error> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry)?;
    Ok(text)
}

#[derive(Debug)]
struct ReportCollector {
    observer: Observer,
}

/// A metric with one value per shard.
struct PerShard<V> {
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    value: fn(&ShardReport) -> V,
}

const fn counter(
    name: &'static str,
    help: &'static str,
    value: fn(&ShardReport) -> u64,
) -> PerShard<u64> {
    PerShard {
        name,
        help,
        unit: None,
        value,
    }
}

const fn gauge(
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    value: fn(&ShardReport) -> Option<f64>,
) -> PerShard<Option<f64>> {
    PerShard {
        name,
        help,
        unit,
        value,
    }
}

/// Counters; `_total` is appended to each name.
const COUNTERS: [PerShard<u64>; 17] = [
    counter("ticks", "Records applied", |s| s.counters.ticks),
    counter("late_ticks", "Ticks whose window was closed", |s| {
        s.counters.late
    }),
    counter(
        "duplicate_ticks",
        "Ticks dropped for a record id seen before",
        |s| s.counters.duplicates,
    ),
    counter(
        "misrouted_records",
        "Sub-records that belong to another shard",
        |s| s.counters.misrouted,
    ),
    counter("rows_closed", "Rows of closed windows", |s| {
        s.counters.rows_closed
    }),
    counter("rows_published", "Rows whose file exists", |s| {
        s.counters.rows_published
    }),
    counter("files_published", "Files of rows that exist", |s| {
        s.counters.files_published
    }),
    counter("published_bytes", "Bytes of published files", |s| {
        s.counters.bytes_published
    }),
    counter("commits", "Checkpoint versions created", |s| {
        s.counters.commits
    }),
    counter("batches_sealed", "Batches sealed", |s| {
        s.counters.batches_sealed
    }),
    counter("takes", "Times the shard was taken by this worker", |s| {
        s.counters.takes
    }),
    counter("fenced", "Times this worker was fenced", |s| {
        s.counters.fenced
    }),
    counter(
        "idle_advances",
        "Times the watermark moved without a tick",
        |s| s.counters.idle_advances,
    ),
    counter("lost_seconds", "Seconds of data trimmed unread", |s| {
        s.counters.lost_seconds
    }),
    counter("reads", "GetRecords replies", |s| s.counters.reads),
    counter(
        "throttled_reads",
        "GetRecords calls refused for their rate",
        |s| s.counters.throttled_reads,
    ),
    counter(
        "read_wait_milliseconds",
        "Time that reads waited for what was read before to be applied",
        |s| s.counters.read_wait_millis,
    ),
];

/// Gauges of a shard; those without a value are left out.
const GAUGES: [PerShard<Option<f64>>; 10] = [
    gauge(
        "shard_behind_latest",
        "How far reading is behind the newest record",
        Some(Unit::Seconds),
        |s| {
            s.millis_behind_latest
                .map(|millis| number(millis) / 1_000.0)
        },
    ),
    gauge(
        "shard_watermark_timestamp",
        "Event time below which windows are closed",
        Some(Unit::Seconds),
        |s| s.watermark.map(seconds),
    ),
    gauge(
        "shard_read_through_timestamp",
        "Arrival time up to which it was read",
        Some(Unit::Seconds),
        |s| s.read_through.map(seconds),
    ),
    gauge(
        "shard_committed_timestamp",
        "When the newest checkpoint was committed",
        Some(Unit::Seconds),
        |s| s.committed_at.map(seconds),
    ),
    gauge("shard_epoch", "Fencing number of the owner", None, |s| {
        Some(number(s.epoch))
    }),
    gauge(
        "shard_checkpoint_version",
        "Newest checkpoint version",
        None,
        |s| Some(number(s.checkpoint_version)),
    ),
    gauge("shard_open_windows", "Windows open now", None, |s| {
        Some(number(s.open_windows))
    }),
    gauge(
        "shard_unpublished",
        "Closed rows and rejects not yet published",
        Some(Unit::Bytes),
        |s| Some(number(s.unpublished_bytes)),
    ),
    gauge(
        "shard_read_ahead",
        "Records read and not yet applied",
        Some(Unit::Bytes),
        |s| Some(number(s.read_ahead_bytes)),
    ),
    gauge(
        "shard_outbox_batches",
        "Sealed batches not yet published",
        None,
        |s| Some(number(s.outbox_batches)),
    ),
];

impl Collector for ReportCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let report = self.observer.report();
        pipeline_metrics(&report, &mut encoder)?;
        storage_requests(self.observer.storage_requests(), &mut encoder)?;
        for metric in &GAUGES {
            let mut metric_encoder = encoder.encode_descriptor(
                metric.name,
                metric.help,
                metric.unit.as_ref(),
                MetricType::Gauge,
            )?;
            for shard in &report.shards {
                if let Some(value) = (metric.value)(shard) {
                    let labels = [("shard", shard.shard.as_str())];
                    ConstGauge::new(value).encode(metric_encoder.encode_family(&labels)?)?;
                }
            }
        }
        for metric in &COUNTERS {
            let mut metric_encoder =
                encoder.encode_descriptor(metric.name, metric.help, None, MetricType::Counter)?;
            for shard in &report.shards {
                let labels = [("shard", shard.shard.as_str())];
                ConstCounter::new((metric.value)(shard))
                    .encode(metric_encoder.encode_family(&labels)?)?;
            }
        }
        dead_letters(&report, &mut encoder)
    }
}

fn pipeline_metrics(
    report: &PipelineReport,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), Error> {
    let mut info =
        encoder.encode_descriptor("build", "Version of the worker", None, MetricType::Info)?;
    info.encode_info(&[("version", report.worker.version.as_str())])?;

    let started = ConstGauge::new(seconds(report.worker.started_at));
    let metric = encoder.encode_descriptor(
        "start_timestamp",
        "When the process started",
        Some(&Unit::Seconds),
        MetricType::Gauge,
    )?;
    started.encode(metric)?;

    let mut phases = encoder.encode_descriptor(
        "phase",
        "1 for the pipeline's phase",
        None,
        MetricType::Gauge,
    )?;
    for phase in PipelinePhase::ALL {
        let labels = [("phase", phase.label())];
        ConstGauge::new(i64::from(phase == report.phase)).encode(phases.encode_family(&labels)?)?;
    }

    let mut shards =
        encoder.encode_descriptor("shards", "Shards by phase", None, MetricType::Gauge)?;
    for phase in ShardPhase::ALL {
        let labels = [("phase", phase.label())];
        let count = report
            .shards
            .iter()
            .filter(|shard| shard.phase == phase)
            .count();
        ConstGauge::new(number(count as u64)).encode(shards.encode_family(&labels)?)?;
    }

    let tickers = number(report.tickers.len() as u64 + report.tickers_omitted);
    let metric = encoder.encode_descriptor("tickers", "Tickers seen", None, MetricType::Gauge)?;
    ConstGauge::new(tickers).encode(metric)
}

fn storage_requests(requests: Requests, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
    let mut metric = encoder.encode_descriptor(
        "storage_requests",
        "Requests to the stores of state, rows and rejects, each attempt and each page of a listing",
        None,
        MetricType::Counter,
    )?;
    for (operation, count) in requests.by_operation() {
        let labels = [("operation", operation)];
        ConstCounter::new(count).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}

fn dead_letters(report: &PipelineReport, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
    let mut metric = encoder.encode_descriptor(
        "dead_letters",
        "Ticks that can't be used",
        None,
        MetricType::Counter,
    )?;
    for ShardReport {
        shard,
        counters: Counters { dead_letters, .. },
        ..
    } in &report.shards
    {
        for (reason, count) in dead_letters {
            let labels = [("shard", shard.as_str()), ("reason", reason.as_str())];
            ConstCounter::new(*count).encode(metric.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

/// Seconds of a time in microseconds.
#[allow(clippy::cast_precision_loss, reason = "Prometheus knows only doubles")]
fn seconds(micros: i64) -> f64 {
    micros as f64 / 1_000_000.0
}

#[allow(clippy::cast_precision_loss, reason = "Prometheus knows only doubles")]
fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;
    use crate::observe::fixtures::{busy_observer, observer};

    fn scrape(observer: Observer) -> String {
        encode(&registry(observer)).unwrap()
    }

    /// `name{labels} value` lines as (name, labels, value), checked for form.
    fn samples(text: &str) -> Vec<(String, String, f64)> {
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let (name, labels) = series.split_once('{').unwrap();
                (
                    name.to_owned(),
                    labels.strip_suffix('}').unwrap().to_owned(),
                    value.parse().unwrap(),
                )
            })
            .collect()
    }

    fn value(text: &str, name: &str, label: &str) -> f64 {
        let found: Vec<_> = samples(text)
            .into_iter()
            .filter(|(n, labels, _)| n == name && labels.contains(label))
            .collect();
        assert_eq!(found.len(), 1, "{name} {label}: {found:?}");
        found[0].2
    }

    #[test]
    fn a_scrape_shows_the_report() {
        let text = scrape(busy_observer(5));
        assert!(text.ends_with("# EOF\n"));
        let first = r#"shard="shardId-000000000000""#;
        assert_eq!(value(&text, "stockstream_ticks_total", first), 12_345.0);
        assert_eq!(
            value(
                &text,
                "stockstream_dead_letters_total",
                r#"reason="malformed_json""#
            ),
            2.0
        );
        assert_eq!(
            value(&text, "stockstream_shard_behind_latest_seconds", first),
            0.25
        );
        assert_eq!(
            value(
                &text,
                "stockstream_shard_watermark_timestamp_seconds",
                first
            ),
            1_704_204_060.0
        );
        assert_eq!(
            value(&text, "stockstream_shard_unpublished_bytes", first),
            4_096.0
        );
        assert_eq!(
            value(&text, "stockstream_shards", r#"phase="reading""#),
            1.0
        );
        assert_eq!(value(&text, "stockstream_phase", r#"phase="running""#), 1.0);
        assert_eq!(value(&text, "stockstream_tickers", "pipeline"), 5.0);
    }

    #[test]
    fn every_series_names_the_pipeline_and_none_names_a_ticker() {
        let text = scrape(busy_observer(500));
        let samples = samples(&text);
        assert!(
            samples.len() < 200,
            "{} series for 500 tickers",
            samples.len()
        );
        for (name, labels, _) in samples {
            assert!(name.starts_with("stockstream_"), "{name}");
            assert!(
                labels.contains(r#"namespace="default",pipeline="stock-ticks""#),
                "{name} {labels}"
            );
            assert!(!labels.contains("T000"), "{labels}");
        }
    }

    #[test]
    fn without_shards_the_text_is_still_whole() {
        let text = scrape(observer());
        assert_eq!(
            value(&text, "stockstream_phase", r#"phase="starting""#),
            1.0
        );
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn each_metric_is_described_once() {
        let text = scrape(busy_observer(2));
        let mut names: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("# TYPE"))
            .collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
