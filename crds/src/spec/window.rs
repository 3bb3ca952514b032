//! How ticks become rows: `spec.window`.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::duration::GoDuration;
use crate::spec::rules;

/// Columns every table has, which an aggregate therefore can't be named.
pub const RESERVED_COLUMNS: [&str; 4] = ["window_start", "window_end", "ticker", "trade_date"];

/// Tumbling windows in event time. Windows are aligned to the Unix epoch.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Window {
    /// Length of a window: whole milliseconds, from 1s to 24h.
    #[serde(default = "default_size")]
    #[x_kube(
        validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('24h')")
            .message("must be from 1s to 24h"),
        validation = rules::whole_milliseconds("a window is a whole number of milliseconds long")
    )]
    pub size: GoDuration,

    /// How long a window waits for ticks that come late, up to 24h. The watermark is the highest event
    /// time seen, less this delay; a window closes when the watermark reaches its end. Later ticks go to
    /// the late output.
    #[serde(default = "default_watermark_delay")]
    #[x_kube(
        validation = Rule::new("duration(self) <= duration('24h')").message("must be at most 24h")
    )]
    pub watermark_delay: GoDuration,

    /// How long a shard without ticks waits before its watermark moves on with the clock, from 1s to 24h.
    /// Without it the last windows of a trading day would stay open until the next tick.
    #[serde(default = "default_idle_timeout")]
    #[x_kube(
        validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('24h')")
            .message("must be from 1s to 24h")
    )]
    pub idle_timeout: GoDuration,

    /// What is computed over the ticks of one ticker and window, one output column each: 1 to 32 entries
    /// with different names. For one `state.path` entries may be added, but not removed or changed.
    #[serde(default = "default_aggregates")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    pub aggregates: Vec<Aggregate>,

    /// Bounds on what one shard keeps in memory.
    #[serde(default)]
    pub limits: WindowLimits,
}

const fn default_size() -> GoDuration {
    GoDuration::from_secs(60)
}

const fn default_watermark_delay() -> GoDuration {
    GoDuration::from_secs(120)
}

const fn default_idle_timeout() -> GoDuration {
    GoDuration::from_secs(30)
}

fn default_aggregates() -> Vec<Aggregate> {
    vec![
        Aggregate {
            name: "avg_close".to_owned(),
            function: AggregateFunction::Avg,
            field: NumericField::Close,
        },
        Aggregate {
            name: "last_close".to_owned(),
            function: AggregateFunction::Last,
            field: NumericField::Close,
        },
    ]
}

impl Default for Window {
    fn default() -> Self {
        Self {
            size: default_size(),
            watermark_delay: default_watermark_delay(),
            idle_timeout: default_idle_timeout(),
            aggregates: default_aggregates(),
            limits: WindowLimits::default(),
        }
    }
}

/// One output column.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("self.__function__ != 'vwap' || self.field != 'volume'")
        .message("vwap weighs a price by the volume: field must be open, high, low or close")
        .field_path(".field")
)]
pub struct Aggregate {
    /// Name of the output column: lower-case letters, digits and `_`, not starting with a digit, at most
    /// 63. Not window_start, window_end, ticker or trade_date.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z_][a-z0-9_]*$"))]
    #[x_kube(
        validation = Rule::new("!(self in ['window_start', 'window_end', 'ticker', 'trade_date'])")
            .message("every table has the columns window_start, window_end, ticker and trade_date: choose another name")
    )]
    pub name: String,

    /// What is computed: avg, sum, min, max, first and last (in the shard's order), count, stddev (of the
    /// sample; null for one tick) or vwap (Σ field·volume / Σ volume; null when the volume is 0).
    pub function: AggregateFunction,

    /// The field it is computed over.
    #[serde(default)]
    pub field: NumericField,
}

/// What is computed over the ticks of a window.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
#[allow(missing_docs)]
pub enum AggregateFunction {
    Avg,
    Sum,
    Min,
    Max,
    First,
    Last,
    Count,
    Stddev,
    Vwap,
}

/// A number that every tick carries.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
#[allow(missing_docs)]
pub enum NumericField {
    Open,
    High,
    Low,
    #[default]
    Close,
    Volume,
}

/// Bounds on what one shard keeps in memory. A tick beyond one becomes a dead letter.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(inline)]
pub struct WindowLimits {
    /// Tickers a shard may know, from 1 to 10000000.
    #[serde(default = "default_max_tickers")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_tickers: u32,

    /// Windows a shard may have open, from 1 to 10000000.
    #[serde(default = "default_max_open_windows")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_open_windows: u32,

    /// Ids of ticks a shard may remember (see `record.id`), from 1 to 10000000.
    #[serde(default = "default_max_ids")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub max_ids: u32,
}

const fn default_max_tickers() -> u32 {
    100_000
}

const fn default_max_open_windows() -> u32 {
    500_000
}

const fn default_max_ids() -> u32 {
    1_000_000
}

impl Default for WindowLimits {
    fn default() -> Self {
        Self {
            max_tickers: default_max_tickers(),
            max_open_windows: default_max_open_windows(),
            max_ids: default_max_ids(),
        }
    }
}
