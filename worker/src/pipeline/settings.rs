//! From the validated spec to what the core and the runtime work with.
//!
//! Owns that translation only. Must never read a file, the environment or a clock.

use std::sync::Arc;
use std::time::Duration;

use stockstream_core::chain::Pace;
use stockstream_core::codec::DEFAULT_FORMAT;
use stockstream_core::plan::{Aggregate, Function, Limits, MaxAhead, Plan, RecordMapping};
use stockstream_core::row::PartitionColumn;
use stockstream_crds::spec::{self, AggregateFunction, NumericField};
use stockstream_crds::{Pipeline, SourceSettings};

use crate::clock::micros;
use crate::sink::Compression;

/// A sixth of the retention: how often an idle shard commits how far it has read.
const READ_THROUGH_SHARE: i64 = 6;

/// What a worker needs of the spec.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Namespace and name.
    pub namespace: String,
    /// The pipeline's name.
    pub name: String,
    /// What the figures are.
    pub plan: Arc<Plan>,
    /// When shards commit and seal.
    pub pace: Pace,
    /// Partition columns, in order.
    pub partition_by: Vec<PartitionColumn>,
    /// Compression of the rows' files.
    pub compression: Compression,
    /// Bytes that may be read from a stream and not yet applied; without meaning for files.
    pub max_read_ahead: u64,
    /// Versions of a chain that are kept, at least.
    pub keep_versions: usize,
    /// The format in which versions are written.
    pub format: u16,
}

impl Settings {
    /// Translates a spec.
    pub fn of(pipeline: &Pipeline) -> Self {
        let output = pipeline.output();
        Settings {
            namespace: pipeline.namespace().to_owned(),
            name: pipeline.name().to_owned(),
            plan: Arc::new(plan(pipeline)),
            pace: pace(pipeline),
            partition_by: output
                .partition_by
                .iter()
                .map(|column| match column {
                    spec::PartitionColumn::Ticker => PartitionColumn::Ticker,
                    spec::PartitionColumn::TradeDate => PartitionColumn::TradeDate,
                })
                .collect(),
            compression: match output.compression {
                spec::Compression::Zstd => Compression::Zstd,
                spec::Compression::Snappy => Compression::Snappy,
                spec::Compression::Lz4 => Compression::Lz4,
                spec::Compression::Gzip => Compression::Gzip,
                spec::Compression::None => Compression::None,
            },
            max_read_ahead: pipeline
                .kinesis()
                .map_or(0, |kinesis| kinesis.max_read_ahead_bytes),
            keep_versions: usize::try_from(pipeline.state().keep_versions).unwrap_or(usize::MAX),
            format: pipeline
                .state()
                .format
                .and_then(|format| u16::try_from(format).ok())
                .unwrap_or(DEFAULT_FORMAT),
        }
    }
}

impl Settings {
    /// Commits how far an idle shard has been read often enough for the retention that the stream really has, which
    /// can be shorter than the spec's.
    pub fn follow_retention(&mut self, retention: Duration) {
        let share = micros(retention) / READ_THROUGH_SHARE;
        let interval = &mut self.pace.read_through_interval;
        *interval = share.min(*interval);
    }
}

/// How a pipeline reads its ticks.
pub fn mapping(pipeline: &Pipeline) -> RecordMapping {
    let record = pipeline.record();
    RecordMapping {
        ticker: record.ticker.clone(),
        event_time: record.event_time.clone(),
        trade_date: record.trade_date.clone(),
        open: record.open.clone(),
        high: record.high.clone(),
        low: record.low.clone(),
        close: record.close.clone(),
        volume: record.volume.clone(),
        id: record.id.clone(),
    }
}

fn plan(pipeline: &Pipeline) -> Plan {
    let (record, window) = (pipeline.record(), pipeline.window());
    let mapping = mapping(pipeline);
    let streamed = matches!(pipeline.source(), SourceSettings::Kinesis(_));
    Plan {
        aggregates: window
            .aggregates
            .iter()
            .map(|aggregate| Aggregate {
                name: aggregate.name.clone(),
                function: function(aggregate.function),
                field: key_of(aggregate.field, &mapping).to_owned(),
            })
            .collect(),
        record: mapping,
        window_size: micros(window.size),
        watermark_delay: micros(window.watermark_delay),
        idle_timeout: streamed.then(|| micros(window.idle_timeout)),
        max_ahead: match record.max_ahead {
            Some(ahead) if streamed => MaxAhead::Micros(micros(ahead)),
            _ => MaxAhead::Unbounded,
        },
        keyed_by_ticker: streamed,
        limits: Limits {
            tickers: count(window.limits.max_tickers),
            open_windows: count(window.limits.max_open_windows),
            ids: count(window.limits.max_ids),
        },
    }
}

fn count(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

fn pace(pipeline: &Pipeline) -> Pace {
    let state = pipeline.state();
    let read_through_interval = match pipeline.source() {
        SourceSettings::Kinesis(kinesis) => micros(kinesis.retention) / READ_THROUGH_SHARE,
        SourceSettings::Files(_) => i64::MAX,
    };
    Pace {
        commit_interval: micros(state.commit_interval),
        publish_interval: micros(pipeline.output().publish_interval),
        max_outbox: usize::try_from(state.max_outbox_bytes).unwrap_or(usize::MAX),
        read_through_interval,
        keeps_unregistered: pipeline.catalog().is_some()
            && !pipeline.output().partition_by.is_empty(),
    }
}

fn function(function: AggregateFunction) -> Function {
    match function {
        AggregateFunction::Avg => Function::Avg,
        AggregateFunction::Sum => Function::Sum,
        AggregateFunction::Min => Function::Min,
        AggregateFunction::Max => Function::Max,
        AggregateFunction::First => Function::First,
        AggregateFunction::Last => Function::Last,
        AggregateFunction::Count => Function::Count,
        AggregateFunction::Stddev => Function::Stddev,
        AggregateFunction::Vwap => Function::Vwap,
    }
}

fn key_of(field: NumericField, mapping: &RecordMapping) -> &str {
    match field {
        NumericField::Open => &mapping.open,
        NumericField::High => &mapping.high,
        NumericField::Low => &mapping.low,
        NumericField::Close => &mapping.close,
        NumericField::Volume => &mapping.volume,
    }
}
