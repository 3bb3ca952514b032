//! Requests and outcomes, field for field as the Kinesis API reference has them; they are what the
//! JSON protocol carries. Absent and null are the same.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::log::{Record, SequenceNumber, StoredRecord, StreamMode};

/// Bytes, in base64 on the wire.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blob(pub Vec<u8>);

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Base64;
        impl Visitor<'_> for Base64 {
            type Value = Blob;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a base64 string")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Blob, E> {
                STANDARD
                    .decode(text)
                    .map(Blob)
                    .map_err(|error| E::custom(format!("not base64: {error}")))
            }
        }
        deserializer.deserialize_str(Base64)
    }
}

/// A moment: seconds since the Unix epoch with a fraction on the wire, milliseconds here.
///
/// A finer fraction is cut off. Arrivals are cut alike, so reading from a moment never misses a
/// record that arrived after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub u64);

impl Serialize for Timestamp {
    #[allow(
        clippy::cast_precision_loss,
        reason = "milliseconds of the next millennia fit a double"
    )]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0 as f64 / 1000.0)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked to be in range"
    )]
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        if !(0.0..1e13).contains(&seconds) {
            return Err(D::Error::custom("a timestamp must be seconds since 1970"));
        }
        // Doubles near today's time are 0.24 µs apart: round to a microsecond, then cut.
        Ok(Self((seconds * 1e6).round() as u64 / 1000))
    }
}

/// Either name or ARN of a stream.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StreamRef {
    /// The name.
    pub stream_name: Option<String>,
    /// The ARN.
    #[serde(rename = "StreamARN")]
    pub stream_arn: Option<String>,
}

impl StreamRef {
    /// The stream of that name.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            stream_name: Some(name.into()),
            stream_arn: None,
        }
    }
}

/// A stream's mode, as AWS nests it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct StreamModeDetails<M = StreamMode> {
    /// `PROVISIONED` or `ON_DEMAND`.
    pub stream_mode: M,
}

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
}

/// `DeleteStream`, `DescribeStreamSummary`.
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

/// `PutRecord`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PutRecordRequest {
    /// The stream's name.
    pub stream_name: Option<String>,
    /// The stream's ARN.
    #[serde(rename = "StreamARN")]
    pub stream_arn: Option<String>,
    /// The data.
    pub data: Option<Blob>,
    /// The partition key, 1 to 256 characters.
    pub partition_key: Option<String>,
    /// The hash key to use instead of the partition key's.
    pub explicit_hash_key: Option<String>,
}

/// `PutRecords`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PutRecordsRequest {
    /// The stream's name.
    pub stream_name: Option<String>,
    /// The stream's ARN.
    #[serde(rename = "StreamARN")]
    pub stream_arn: Option<String>,
    /// 1 to 500 records of 10 MiB in all.
    pub records: Option<Vec<PutRecordsEntry>>,
}

/// One record of `PutRecords`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct PutRecordsEntry {
    /// The data.
    pub data: Option<Blob>,
    /// The partition key, 1 to 256 characters.
    pub partition_key: Option<String>,
    /// The hash key to use instead of the partition key's.
    pub explicit_hash_key: Option<String>,
}

/// `GetShardIterator`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetShardIteratorRequest {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamRef,
    /// The shard.
    pub shard_id: Option<String>,
    /// `AT_SEQUENCE_NUMBER`, `AFTER_SEQUENCE_NUMBER`, `AT_TIMESTAMP`, `TRIM_HORIZON` or `LATEST`.
    pub shard_iterator_type: Option<String>,
    /// For the two of a sequence number.
    pub starting_sequence_number: Option<String>,
    /// For `AT_TIMESTAMP`.
    pub timestamp: Option<Timestamp>,
}

/// `GetRecords`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetRecordsRequest {
    /// The iterator.
    pub shard_iterator: Option<String>,
    /// Records at most, 1 to 10,000.
    pub limit: Option<i64>,
}

/// An answer without content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Done;

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
    /// `ACTIVE`.
    pub stream_status: &'static str,
    /// The mode.
    pub stream_mode_details: StreamModeDetails,
    /// Hours that records are kept.
    pub retention_period_hours: u32,
    /// When it was made.
    pub stream_creation_timestamp: Timestamp,
    /// One entry without metrics.
    pub enhanced_monitoring: Vec<EnhancedMetrics>,
    /// `NONE`.
    pub encryption_type: &'static str,
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
    /// Registered consumers: 0.
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
    /// `ACTIVE`.
    pub stream_status: &'static str,
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

/// `PutRecord`'s outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PutRecordOutcome {
    /// The shard it lies in.
    pub shard_id: String,
    /// Its sequence number.
    pub sequence_number: SequenceNumber,
    /// `NONE`.
    pub encryption_type: &'static str,
}

/// `PutRecords`' outcome.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PutRecordsOutcome {
    /// How many failed: send those again.
    pub failed_record_count: usize,
    /// One per record, in the request's order.
    pub records: Vec<PutRecordsResult>,
    /// `NONE`.
    pub encryption_type: &'static str,
}

/// What became of one record of `PutRecords`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum PutRecordsResult {
    /// Written.
    #[serde(rename_all = "PascalCase")]
    Written {
        /// The shard it lies in.
        shard_id: String,
        /// Its sequence number.
        sequence_number: SequenceNumber,
    },
    /// Not written.
    #[serde(rename_all = "PascalCase")]
    Failed {
        /// AWS's name of the error.
        error_code: &'static str,
        /// What happened.
        error_message: String,
    },
}

/// `GetShardIterator`'s outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetShardIteratorOutcome {
    /// Valid for five minutes.
    pub shard_iterator: String,
}

/// A record on the wire.
#[derive(Debug, Clone)]
pub struct RecordView(pub StoredRecord);

impl Serialize for RecordView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Wire<'a> {
            sequence_number: SequenceNumber,
            approximate_arrival_timestamp: Timestamp,
            data: String,
            partition_key: &'a str,
            encryption_type: &'static str,
        }
        let record: &Record = &self.0.record;
        Wire {
            sequence_number: self.0.sequence_number,
            approximate_arrival_timestamp: Timestamp(self.0.arrival_millis),
            data: STANDARD.encode(record.data()),
            partition_key: record.partition_key(),
            encryption_type: "NONE",
        }
        .serialize(serializer)
    }
}

/// `GetRecords`' outcome.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetRecordsOutcome {
    /// The records, in order.
    pub records: Vec<RecordView>,
    /// Where to go on; none at the end of a closed shard.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_shard_iterator: Option<String>,
    /// How far behind the tip; 0 at it.
    pub millis_behind_latest: u64,
    /// At the end of a closed shard: what follows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub child_shards: Option<Vec<ChildShard>>,
}
