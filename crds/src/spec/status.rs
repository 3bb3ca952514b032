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

    /// One entry for each shard that is read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["shard"]))]
    pub shards: Vec<ShardStatus>,
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
