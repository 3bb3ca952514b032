//! The merged view of a pipeline, as `/api/pipeline` and `/api/events` serve it.
//!
//! Owns the JSON shape (camelCase, times as ISO-8601). Must never hold a decision: [`super::merge`] makes it.

use serde::{Deserialize, Serialize};

use crate::observe::iso8601;
use crate::observe::state::{
    ConditionStatus, Counters, PipelineName, PipelinePhase, ShardPhase, TickerReport,
};

/// What all workers of a pipeline know together at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PipelineView {
    /// Which pipeline this is.
    pub pipeline: PipelineName,
    /// Kinesis stream name, or a short description of the files read.
    pub stream: String,
    /// One life of the stream.
    pub incarnation: Option<String>,
    /// The random id in `pipeline.json`.
    pub state_id: Option<String>,
    /// Where rows are written.
    pub output_path: String,
    /// Where late ticks and dead letters are written.
    pub rejects_path: String,
    /// Where checkpoints are written.
    pub state_path: String,
    /// Names of the aggregates in the order of the spec.
    pub aggregates: Vec<String>,
    /// Who serves this view.
    pub served_by: Served,
    /// When it was made, by the server's clock.
    #[serde(with = "iso8601")]
    pub at: i64,
    /// The pipeline's state at a glance.
    pub health: Health,
    /// What somebody should look at, for people; the reason first.
    pub attention: Vec<String>,
    /// Every window that ends at or before this is closed on all shards that are read.
    #[serde(with = "iso8601::option")]
    pub watermark: Option<i64>,
    /// The largest lag of all shards that are read.
    pub lag_millis: Option<u64>,
    /// Sums over all shards.
    pub totals: Counters,
    /// Workers, in the order of their ids.
    pub workers: Vec<WorkerView>,
    /// Shards, in the order of their names.
    pub shards: Vec<ShardView>,
    /// Conditions, in the order of their types.
    pub conditions: Vec<ConditionView>,
    /// The newest events of all workers, oldest first. At most [`super::merge::MAX_EVENTS`].
    pub events: Vec<EventView>,
    /// Tickers, in the order of their names. At most [`crate::observe::observer::MAX_TICKERS`].
    pub tickers: Vec<TickerReport>,
    /// Tickers left out because there are too many.
    pub tickers_omitted: u64,
}

/// Who serves a view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Served {
    /// `worker` or `dashboard`.
    pub kind: String,
    /// The worker's member id; a dashboard has none.
    pub member_id: Option<String>,
    /// Version of its binary.
    pub version: String,
}

/// A pipeline at a glance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Health {
    /// Workers check the store, the stream and the state.
    Starting,
    /// Reading and publishing.
    Running,
    /// Reading and publishing, and something is wrong: see `attention`.
    NeedsAttention,
    /// Told to stop: sealing and publishing what is open.
    Stopping,
    /// Nothing is left to read and everything is published.
    Finished,
    /// Stopped by an error: see `attention`.
    Failed,
    /// No worker lives: what is shown is what the checkpoints say.
    NoWorkers,
}

/// A worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerView {
    /// Worker's name and random process id.
    pub member_id: String,
    /// Worker's name.
    pub name: String,
    /// Where its HTTP server is reached.
    pub address: Option<String>,
    /// Version of its binary.
    pub version: String,
    /// When its process started, by its own clock.
    #[serde(with = "iso8601")]
    pub since: i64,
    /// How it stands.
    pub state: WorkerState,
    /// Why its figures aren't fresh, when they aren't.
    pub trouble: Option<String>,
    /// What it does, as it said last.
    pub phase: Option<PipelinePhase>,
    /// The shards that it holds.
    pub shards: u64,
}

/// How a worker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WorkerState {
    /// It beats and answers.
    Live,
    /// It is giving its shards away.
    Leaving,
    /// It beats, and can't be asked from here: its figures are those it said last.
    Unreachable,
    /// It no longer beats.
    Dead,
}

/// A shard.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShardView {
    /// Shard id.
    pub shard: String,
    /// Member id of the owner.
    pub owner: Option<String>,
    /// Fencing number of the owner.
    pub epoch: u64,
    /// When the owner took it.
    #[serde(with = "iso8601::option")]
    pub since: Option<i64>,
    /// Whether its owner said this just now; otherwise it is what was known last.
    pub fresh: bool,
    /// What is being done with it; unknown when its owner can't be asked.
    pub phase: Option<ShardPhase>,
    /// Why, for people.
    pub reason: Option<String>,
    /// How far reading is behind the newest record.
    pub lag_millis: Option<u64>,
    /// Event time below which windows are closed.
    #[serde(with = "iso8601::option")]
    pub watermark: Option<i64>,
    /// Newest version of its checkpoint.
    pub checkpoint_version: u64,
    /// When that was committed.
    #[serde(with = "iso8601::option")]
    pub committed_at: Option<i64>,
    /// Windows open now, over all tickers.
    pub open_windows: u64,
    /// Bytes of closed rows and rejects that are not yet published.
    pub unpublished_bytes: u64,
    /// Records applied.
    pub ticks: u64,
    /// Ticks whose window was closed.
    pub late: u64,
    /// Ticks that can't be used.
    pub dead_letters: u64,
    /// Rows whose file exists.
    pub rows_published: u64,
}

/// A condition and who says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConditionView {
    /// Type, such as `KeyedByTicker`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it holds for all workers.
    pub status: ConditionStatus,
    /// Stable CamelCase reason.
    pub reason: String,
    /// For people: what is wrong and what to do.
    pub message: String,
    /// When `status` last changed.
    #[serde(with = "iso8601")]
    pub last_transition: i64,
    /// The worker that says so.
    pub worker: String,
}

/// An event and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventView {
    /// When it happened.
    #[serde(with = "iso8601")]
    pub at: i64,
    /// `info`, `warn` or `error`.
    pub level: String,
    /// Stable snake_case name.
    pub event: String,
    /// The shard it is about.
    pub shard: Option<String>,
    /// For people.
    pub message: String,
    /// The worker that tells it.
    pub worker: String,
}
