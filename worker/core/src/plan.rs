//! What a pipeline computes: the validated spec, as far as the core needs it.
//!
//! Owns names and numbers that figures depend on. Must never hold where things lie or how they are reached.

use serde::{Deserialize, Serialize};

use crate::row::{Column, ColumnKind};

/// The largest raw tick, in bytes (Kinesis' own record limit).
pub const MAX_TICK_BYTES: usize = 10 * 1024 * 1024;

/// The longest ticker, in bytes.
pub const MAX_TICKER_BYTES: usize = 64;

/// The longest value of `record.id`, in bytes.
pub const MAX_ID_BYTES: usize = 256;

/// The JSON keys of a tick's fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordMapping {
    /// The ticker's key.
    pub ticker: String,
    /// The event time's key.
    pub event_time: String,
    /// The trade date's key.
    pub trade_date: String,
    /// The key of `open`.
    pub open: String,
    /// The key of `high`.
    pub high: String,
    /// The key of `low`.
    pub low: String,
    /// The key of `close`.
    pub close: String,
    /// The key of `volume`.
    pub volume: String,
    /// The key of the tick's id, when producer's duplicates are dropped.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub id: Option<String>,
}

impl Default for RecordMapping {
    fn default() -> Self {
        RecordMapping {
            ticker: "ticker".into(),
            event_time: "timestamp".into(),
            trade_date: "date".into(),
            open: "open".into(),
            high: "high".into(),
            low: "low".into(),
            close: "close".into(),
            volume: "volume".into(),
            id: None,
        }
    }
}

/// How a window's figure is made from a field's values, in the shard's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Function {
    /// Σ field / number of values.
    Avg,
    /// Σ field.
    Sum,
    /// The lowest value.
    Min,
    /// The highest value.
    Max,
    /// The first value in the shard's order.
    First,
    /// The last value in the shard's order.
    Last,
    /// How many ticks carry the field.
    Count,
    /// The sample's standard deviation; null for one value.
    Stddev,
    /// Σ field·volume / Σ volume over ticks that carry both; null when that is 0.
    Vwap,
}

/// A figure of the row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aggregate {
    /// The output column's name.
    pub name: String,
    /// The function.
    pub function: Function,
    /// The JSON key of the field.
    pub field: String,
}

impl Aggregate {
    /// The output column.
    pub fn column(&self) -> Column {
        Column {
            name: self.name.clone(),
            kind: match self.function {
                Function::Count => ColumnKind::Long,
                _ => ColumnKind::Double,
            },
        }
    }
}

/// How far ahead of its arrival a tick may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxAhead {
    /// This many microseconds; a tick's part in the watermark is capped at its arrival.
    Micros(i64),
    /// Any distance; the event time counts uncapped. Files are read so.
    Unbounded,
}

/// Bounds of one shard's state. What would go beyond is a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Tickers known to a shard.
    pub tickers: usize,
    /// Open windows of a shard.
    pub open_windows: usize,
    /// Ids kept for the open windows of a shard.
    pub ids: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            tickers: 100_000,
            open_windows: 500_000,
            ids: 1_000_000,
        }
    }
}

/// What one shard's ticks are turned into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The JSON keys.
    pub record: RecordMapping,
    /// The figures, as the YAML lists them. What a shard computes is what its chain names.
    pub aggregates: Vec<Aggregate>,
    /// Window size in microseconds, > 0.
    pub window_size: i64,
    /// Watermark delay in microseconds, ≥ 0.
    pub watermark_delay: i64,
    /// Without a tick for this many microseconds the watermark follows the clock; `None` for files.
    pub idle_timeout: Option<i64>,
    /// How far ahead ticks may be.
    pub max_ahead: MaxAhead,
    /// True when a ticker must hash into its shard's range (streams, not files).
    pub keyed_by_ticker: bool,
    /// Bounds.
    pub limits: Limits,
}

impl Default for Plan {
    /// The reference job: one-minute windows, two minutes' delay, `avg_close` and `last_close`.
    fn default() -> Self {
        let aggregate = |name: &str, function| Aggregate {
            name: name.into(),
            function,
            field: "close".into(),
        };
        Plan {
            record: RecordMapping::default(),
            aggregates: vec![
                aggregate("avg_close", Function::Avg),
                aggregate("last_close", Function::Last),
            ],
            window_size: 60_000_000,
            watermark_delay: 120_000_000,
            idle_timeout: Some(30_000_000),
            max_ahead: MaxAhead::Micros(120_000_000),
            keyed_by_ticker: true,
            limits: Limits::default(),
        }
    }
}
