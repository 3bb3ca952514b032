//! Requests and outcomes of the operations on records.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize, Serializer};

use super::{Blob, ChildShard, StreamRef, Timestamp};
use crate::log::{Record, SequenceNumber, StoredRecord};

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
    /// Says only whether it would succeed.
    pub dry_run: Option<bool>,
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
    /// Says only whether it would succeed.
    pub dry_run: Option<bool>,
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
    /// Says only whether it would succeed.
    pub dry_run: Option<bool>,
}

/// `GetRecords`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct GetRecordsRequest {
    /// The iterator.
    pub shard_iterator: Option<String>,
    /// Records at most, 1 to 10,000.
    pub limit: Option<i64>,
    /// Says only whether it would succeed.
    pub dry_run: Option<bool>,
}

/// `PutRecord`'s outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PutRecordOutcome {
    /// The shard it lies in.
    pub shard_id: String,
    /// Its sequence number.
    pub sequence_number: SequenceNumber,
    /// `KMS` or `NONE`.
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
    /// `KMS` or `NONE`.
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
            encryption_type: record.encryption_type(),
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
