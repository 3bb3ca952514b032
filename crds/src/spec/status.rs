//! What the operator reports: `status`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the operator reports about a pipeline. Written by the operator only.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct StockStreamStatus {
    /// State in the form kstatus understands: Ready, Reconciling, Stalled, and StreamReady, CatalogReady,
    /// WorkersAvailable, ShardCoverage and KeyedByTicker.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,

    /// The generation of the spec that this status speaks about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Worker pods that run.
    #[serde(default)]
    pub replicas: i32,

    /// Label selector of the worker pods, for the scale subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,

    /// The worker pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workers: Option<WorkerStatus>,

    /// The stream, as it was last seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamStatus>,

    /// The catalog's table, as it was last seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalog: Option<CatalogStatus>,

    /// How far the slowest shard is behind its tip, such as `250ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<String>,

    /// Event time up to which the windows of every shard that has one are closed, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watermark: Option<String>,

    /// End of the newest window whose rows were published, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_published_window: Option<String>,

    /// Ticks a second over all shards since the status before, such as `1250`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tick_rate: Option<String>,

    /// Counts over all shards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard_summary: Option<ShardSummary>,

    /// The shards that are read; of many, the 50 that are furthest behind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["shard"]))]
    pub shards: Vec<ShardStatus>,

    /// What the stream costs at list prices, such as `22 USD a month`: an estimate, without requests and storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_estimate: Option<String>,
}

/// The worker pods.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct WorkerStatus {
    /// Pods that are wanted: `spec.workers.replicas`, but no more than the stream has open shards.
    #[serde(default)]
    pub desired: i32,

    /// Pods that are ready, of those that are wanted, such as `2/2`.
    #[serde(default)]
    pub ready: String,

    /// The image that they run.
    #[serde(default)]
    pub image: String,
}

/// The stream, as it was last seen.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct StreamStatus {
    /// ARN of the stream.
    #[serde(default)]
    pub arn: String,

    /// CREATING, ACTIVE, UPDATING or DELETING, as Kinesis says.
    #[serde(default)]
    pub status: String,

    /// Open shards.
    #[serde(default)]
    pub open_shards: i32,

    /// True when the operator made it: only then is it deleted with the pipeline.
    #[serde(default)]
    pub made_by_operator: bool,

    /// When the operator changed the number of shards, within the last 24 hours; AWS allows ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub scalings: Vec<String>,

    /// How many such changes AWS still allows today.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scalings_left: Option<i32>,
}

/// The catalog's table, as it was last seen.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct CatalogStatus {
    /// `database.table`.
    #[serde(default)]
    pub table: String,

    /// True when the operator made it: only then is it deleted with the pipeline.
    #[serde(default)]
    pub made_by_operator: bool,
}

/// Counts over all shards.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct ShardSummary {
    /// Shards that workers tell of, ended ones included.
    #[serde(default)]
    pub total: i32,

    /// Shards that are read.
    #[serde(default)]
    pub reading: i32,

    /// Shards that were read to their end.
    #[serde(default)]
    pub ended: i32,

    /// Shards that can't go on.
    #[serde(default)]
    pub failed: i32,
}

/// Progress of one shard.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[schemars(inline)]
pub struct ShardStatus {
    /// Id of the shard, as Kinesis gives it.
    pub shard: String,

    /// Member id of the worker that owns the shard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,

    /// Fencing number of that owner. It grows with each take.
    #[serde(default)]
    pub epoch: i64,

    /// Last sequence number that was read, or the rule by which reading starts, or SHARD_END.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,

    /// How far reading is behind the tip of the shard, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_millis: Option<i64>,

    /// Event time up to which windows are closed, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub watermark: Option<String>,
}
