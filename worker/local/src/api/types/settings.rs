//! Requests and outcomes of the operations on what a stream is, and on tags.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{StreamModeDetails, StreamRef};

/// `StartStreamEncryption`, `StopStreamEncryption`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct EncryptionRequest {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamRef,
    /// `KMS`.
    pub encryption_type: Option<String>,
    /// The key, as id, ARN or alias.
    pub key_id: Option<String>,
}

/// `UpdateStreamMode`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UpdateStreamModeRequest {
    /// The stream's ARN.
    #[serde(rename = "StreamARN")]
    pub stream_arn: Option<String>,
    /// The mode.
    pub stream_mode_details: Option<StreamModeDetails<Option<String>>>,
}

/// `UpdateShardCount`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UpdateShardCountRequest {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamRef,
    /// Open shards at the end.
    pub target_shard_count: Option<i64>,
    /// `UNIFORM_SCALING`.
    pub scaling_type: Option<String>,
}

/// `UpdateShardCount`'s outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct UpdateShardCountOutcome {
    /// The name.
    pub stream_name: String,
    /// Open shards before.
    pub current_shard_count: usize,
    /// Open shards at the end.
    pub target_shard_count: u32,
    /// The ARN.
    #[serde(rename = "StreamARN")]
    pub stream_arn: String,
}

/// `DescribeLimits`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct DescribeLimitsRequest {}

/// `DescribeLimits`' outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeLimitsOutcome {
    /// Shards at most.
    pub shard_limit: usize,
    /// Open shards.
    pub open_shard_count: usize,
    /// On-demand streams.
    pub on_demand_stream_count: usize,
    /// On-demand streams at most.
    pub on_demand_stream_count_limit: usize,
}

/// `AddTagsToStream`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AddTagsRequest {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamRef,
    /// Tags by key.
    pub tags: Option<BTreeMap<String, String>>,
}

/// `RemoveTagsFromStream`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RemoveTagsRequest {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamRef,
    /// Their keys.
    pub tag_keys: Option<Vec<String>>,
}

/// `ListTagsForStream`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListTagsForStreamRequest {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamRef,
    /// List the tags after this key.
    pub exclusive_start_tag_key: Option<String>,
    /// Tags a page, 1 to 50.
    pub limit: Option<i64>,
}

/// A tag as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TagView {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// `ListTagsForStream`'s outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListTagsForStreamOutcome {
    /// A page of tags, by key.
    pub tags: Vec<TagView>,
    /// Whether more follow.
    pub has_more_tags: bool,
}

/// `TagResource`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct TagResourceRequest {
    /// The ARN of a stream or consumer.
    #[serde(rename = "ResourceARN")]
    pub resource_arn: Option<String>,
    /// Tags by key.
    pub tags: Option<BTreeMap<String, String>>,
}

/// `UntagResource`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct UntagResourceRequest {
    /// The ARN of a stream or consumer.
    #[serde(rename = "ResourceARN")]
    pub resource_arn: Option<String>,
    /// Their keys.
    pub tag_keys: Option<Vec<String>>,
}

/// `ListTagsForResource`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListTagsForResourceRequest {
    /// The ARN of a stream or consumer.
    #[serde(rename = "ResourceARN")]
    pub resource_arn: Option<String>,
}

/// `ListTagsForResource`'s outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListTagsForResourceOutcome {
    /// All tags, by key.
    pub tags: Vec<TagView>,
}
