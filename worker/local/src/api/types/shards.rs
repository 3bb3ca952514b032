//! Requests and outcomes of the operations on shards.

use serde::{Deserialize, Serialize};

use super::{StreamRef, Timestamp};
use crate::log::SequenceNumber;

/// `ListShards`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListShardsRequest {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamRef,
    /// Shards a page, 1 to 10,000; 1,000 if not given.
    pub max_results: Option<i64>,
    /// The page after a former one; then no stream may be named.
    pub next_token: Option<String>,
    /// List the shards after this one.
    pub exclusive_start_shard_id: Option<String>,
    /// Only the stream created then is meant.
    pub stream_creation_timestamp: Option<Timestamp>,
    /// Which shards.
    pub shard_filter: Option<ShardFilter>,
}

/// Which shards `ListShards` lists.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ShardFilter {
    /// `AFTER_SHARD_ID`, `AT_TRIM_HORIZON`, `FROM_TRIM_HORIZON`, `AT_LATEST`, `AT_TIMESTAMP` or
    /// `FROM_TIMESTAMP`.
    pub r#type: Option<String>,
    /// For `AFTER_SHARD_ID`.
    pub shard_id: Option<String>,
    /// For the two of a timestamp.
    pub timestamp: Option<Timestamp>,
}

/// `SplitShard`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SplitShardRequest {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamRef,
    /// The shard.
    pub shard_to_split: Option<String>,
    /// Where the upper child begins.
    pub new_starting_hash_key: Option<String>,
}

/// `MergeShards`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MergeShardsRequest {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamRef,
    /// One shard.
    pub shard_to_merge: Option<String>,
    /// The shard whose range touches it.
    pub adjacent_shard_to_merge: Option<String>,
}

/// A range of hash keys in decimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct HashKeyRangeView {
    /// The first key.
    pub starting_hash_key: String,
    /// The last key.
    pub ending_hash_key: String,
}

/// A shard's first and last sequence number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SequenceNumberRange {
    /// Below every record's.
    pub starting_sequence_number: SequenceNumber,
    /// Above every record's; none while the shard is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ending_sequence_number: Option<SequenceNumber>,
}

/// A shard as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ShardView {
    /// `shardId-` and twelve digits.
    pub shard_id: String,
    /// The shard it came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_shard_id: Option<String>,
    /// The other one it came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adjacent_parent_shard_id: Option<String>,
    /// The keys it takes.
    pub hash_key_range: HashKeyRangeView,
    /// Its sequence numbers.
    pub sequence_number_range: SequenceNumberRange,
}

/// A child of a closed shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ChildShard {
    /// Its id.
    pub shard_id: String,
    /// Its parents' ids.
    pub parent_shards: Vec<String>,
    /// The keys it takes.
    pub hash_key_range: HashKeyRangeView,
}

/// `ListShards`' outcome.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListShardsOutcome {
    /// A page of shards, by id.
    pub shards: Vec<ShardView>,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}
