//! Requests and outcomes of the operations on consumers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ChildShard, RecordView, Timestamp};
use crate::log::Continuation;

/// `RegisterStreamConsumer`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RegisterStreamConsumerRequest {
    /// The stream's ARN.
    #[serde(rename = "StreamARN")]
    pub stream_arn: Option<String>,
    /// The new consumer's name, unique in the stream.
    pub consumer_name: Option<String>,
    /// Up to 50 tags.
    pub tags: Option<BTreeMap<String, String>>,
}

/// `DeregisterStreamConsumer`, `DescribeStreamConsumer`: the consumer's ARN, or the stream's and the
/// consumer's name, or all three if they agree.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ConsumerRequest {
    /// The stream's ARN.
    #[serde(rename = "StreamARN")]
    pub stream_arn: Option<String>,
    /// The consumer's name.
    pub consumer_name: Option<String>,
    /// The consumer's ARN.
    #[serde(rename = "ConsumerARN")]
    pub consumer_arn: Option<String>,
}

/// `ListStreamConsumers`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListStreamConsumersRequest {
    /// The stream's ARN.
    #[serde(rename = "StreamARN")]
    pub stream_arn: Option<String>,
    /// The page after a former one.
    pub next_token: Option<String>,
    /// Consumers a page, 1 to 10,000; 100 at most, and if not given.
    pub max_results: Option<i64>,
    /// Only the stream created then is meant.
    pub stream_creation_timestamp: Option<Timestamp>,
}

/// `SubscribeToShard`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SubscribeToShardRequest {
    /// The consumer's ARN.
    #[serde(rename = "ConsumerARN")]
    pub consumer_arn: Option<String>,
    /// The shard.
    pub shard_id: Option<String>,
    /// Where in the shard to begin.
    pub starting_position: Option<StartingPosition>,
    /// Only check whether it would succeed.
    pub dry_run: Option<bool>,
}

/// Where in a shard to begin.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StartingPosition {
    /// `AT_SEQUENCE_NUMBER`, `AFTER_SEQUENCE_NUMBER`, `AT_TIMESTAMP`, `TRIM_HORIZON` or `LATEST`.
    pub r#type: Option<String>,
    /// For the two of a sequence number.
    pub sequence_number: Option<String>,
    /// For `AT_TIMESTAMP`.
    pub timestamp: Option<Timestamp>,
}

/// A consumer as it is registered and listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Consumer {
    /// The name.
    pub consumer_name: String,
    /// The ARN; a consumer made anew under the same name has another one.
    #[serde(rename = "ConsumerARN")]
    pub consumer_arn: String,
    /// `CREATING`, `ACTIVE` or `DELETING`.
    pub consumer_status: &'static str,
    /// When it was registered.
    pub consumer_creation_timestamp: Timestamp,
}

/// `RegisterStreamConsumer`'s outcome.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RegisterStreamConsumerOutcome {
    /// The new consumer.
    pub consumer: Consumer,
}

/// A consumer as it is described.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ConsumerDescription {
    /// What it is.
    #[serde(flatten)]
    pub consumer: Consumer,
    /// The stream's ARN.
    #[serde(rename = "StreamARN")]
    pub stream_arn: String,
}

/// `DescribeStreamConsumer`'s outcome.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribeStreamConsumerOutcome {
    /// The description.
    pub consumer_description: ConsumerDescription,
}

/// `ListStreamConsumers`' outcome.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ListStreamConsumersOutcome {
    /// A page of consumers, by name.
    pub consumers: Vec<Consumer>,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

/// What a subscription pushes.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SubscribeToShardEvent {
    /// The records, in order; none in an event that only tells that there are none.
    pub records: Vec<RecordView>,
    /// Where the next subscription goes on, with `AT_` or `AFTER_SEQUENCE_NUMBER`; none at the end
    /// of a closed shard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub continuation_sequence_number: Option<Continuation>,
    /// How far behind the tip; 0 at it.
    pub millis_behind_latest: u64,
    /// At the end of a closed shard: what follows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub child_shards: Option<Vec<ChildShard>>,
}
