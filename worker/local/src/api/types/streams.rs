//! Requests and outcomes of the operations on streams.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ShardView, StreamModeDetails, StreamRef, Timestamp};
use crate::log::Status;

/// `CreateStream`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateStreamRequest {
    /// The new stream's name.
    pub stream_name: Option<String>,
    /// Its shards, when provisioned.
    pub shard_count: Option<i64>,
    /// Its mode.
    pub stream_mode_details: Option<StreamModeDetails<Option<String>>>,
    /// The largest record in KiB; 10,240 if not given (AWS: 1,024).
    #[serde(rename = "MaxRecordSizeInKiB")]
    pub max_record_size_in_kib: Option<i64>,
    /// Tags by key.
    pub tags: Option<BTreeMap<String, String>>,
}

/// `DeleteStream`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DeleteStreamRequest {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamRef,
    /// Also when it has registered consumers.
    pub enforce_consumer_deletion: Option<bool>,
}

/// `DescribeStreamSummary`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StreamRequest {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamRef,
}

/// `IncreaseStreamRetentionPeriod`, `DecreaseStreamRetentionPeriod`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RetentionRequest {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamRef,
    /// Hours to keep records: 24 to 8760.
    pub retention_period_hours: Option<i64>,
}

/// `DescribeStream`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeStreamRequest {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamRef,
    /// Shards a page, 1 to 10,000; 100 if not given.
    pub limit: Option<i64>,
    /// List the shards after this one.
    pub exclusive_start_shard_id: Option<String>,
}

/// `ListStreams`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListStreamsRequest {
    /// Streams a page, 1 to 10,000; 100 if not given.
    pub limit: Option<i64>,
    /// List the streams after this one.
    pub exclusive_start_stream_name: Option<String>,
    /// The page after a former one.
    pub next_token: Option<String>,
}

/// Metrics per shard, which aren't served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct EnhancedMetrics {
    /// Always empty.
    pub shard_level_metrics: Vec<String>,
}

/// What `DescribeStream` and `DescribeStreamSummary` both say.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct StreamBasics {
    /// The name.
    pub stream_name: String,
    /// The ARN.
    #[serde(rename = "StreamARN")]
    pub stream_arn: String,
    /// Whether it is usable, or about to change.
    pub stream_status: Status,
    /// The mode.
    pub stream_mode_details: StreamModeDetails,
    /// Hours that records are kept.
    pub retention_period_hours: u32,
    /// When it was made.
    pub stream_creation_timestamp: Timestamp,
    /// One entry without metrics.
    pub enhanced_monitoring: Vec<EnhancedMetrics>,
    /// `KMS` or `NONE`.
    pub encryption_type: &'static str,
    /// The key, when encrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// The largest record in KiB.
    #[serde(rename = "MaxRecordSizeInKiB")]
    pub max_record_size_in_kib: usize,
}

/// `DescribeStream`'s description.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct StreamDescription {
    /// What it is.
    #[serde(flatten)]
    pub basics: StreamBasics,
    /// A page of shards.
    pub shards: Vec<ShardView>,
    /// Whether more shards follow.
    pub has_more_shards: bool,
}

/// `DescribeStream`'s outcome.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeStreamOutcome {
    /// The description.
    pub stream_description: StreamDescription,
}

/// `DescribeStreamSummary`'s description.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct StreamDescriptionSummary {
    /// What it is.
    #[serde(flatten)]
    pub basics: StreamBasics,
    /// Open shards.
    pub open_shard_count: usize,
    /// Registered consumers.
    pub consumer_count: usize,
}

/// `DescribeStreamSummary`'s outcome.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeStreamSummaryOutcome {
    /// The description.
    pub stream_description_summary: StreamDescriptionSummary,
}

/// A stream as it is listed.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct StreamSummary {
    /// The name.
    pub stream_name: String,
    /// The ARN.
    #[serde(rename = "StreamARN")]
    pub stream_arn: String,
    /// Whether it is usable, or about to change.
    pub stream_status: Status,
    /// The mode.
    pub stream_mode_details: StreamModeDetails,
    /// When it was made.
    pub stream_creation_timestamp: Timestamp,
}

/// `ListStreams`' outcome.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListStreamsOutcome {
    /// The names, in order.
    pub stream_names: Vec<String>,
    /// The same streams with more about each.
    pub stream_summaries: Vec<StreamSummary>,
    /// Whether more follow.
    pub has_more_streams: bool,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}
