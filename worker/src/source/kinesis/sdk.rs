//! The stream through aws-sdk-kinesis.
//!
//! Owns requests, what becomes of the SDK's answers and the translation of errors. Retries of single calls are the SDK's;
//! pacing is the reader's.

use async_trait::async_trait;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::{
    Record, Shard, ShardFilter, ShardFilterType, ShardIteratorType, StreamStatus,
};
use bytes::Bytes;
use stockstream_core::hash::HashRange;
use stockstream_core::sequence::{Position, SequenceNumber};
use stockstream_core::time::Micros;

use super::consumer::Consumer;
use super::protocol::{watched, with_plain_replies};
use super::{
    ListedShard, Listing, Reply, StreamClient, StreamDescription, StreamError, StreamRecord,
    Subscription,
};

pub(super) const GET_RECORDS: &str = "GetRecords";

/// A stream through the AWS SDK.
#[derive(Debug)]
pub struct SdkStream {
    client: Client,
    words: Words,
    consumer: Option<Consumer>,
}

impl SdkStream {
    /// The stream of this name, to be polled.
    pub fn new(client: Client, name: impl Into<String>) -> Self {
        Self::with_sdk_decoder(with_plain_replies(&client), name)
    }

    /// The same by the SDK's own decoder alone: what the faster one is compared with.
    pub fn with_sdk_decoder(client: Client, name: impl Into<String>) -> Self {
        SdkStream {
            client,
            words: Words {
                stream: name.into(),
            },
            consumer: None,
        }
    }

    /// The same, by enhanced fan-out with a consumer of this name.
    #[must_use]
    pub fn with_consumer(self, name: String) -> Self {
        SdkStream {
            consumer: Some(Consumer::new(name)),
            ..self
        }
    }
}

/// What errors say of the stream.
#[derive(Clone, Debug)]
pub(super) struct Words {
    pub(super) stream: String,
}

impl Words {
    pub(super) fn fault<E, R>(&self, operation: &'static str, error: &SdkError<E, R>) -> StreamError
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        R: std::fmt::Debug + Send + Sync + 'static,
    {
        let detail = match error.message() {
            Some(message) => message.to_owned(),
            None => causes(error),
        };
        self.coded(operation, error.code().unwrap_or_default(), detail)
    }

    /// A fault by AWS's name for it.
    pub(super) fn coded(&self, operation: &'static str, code: &str, detail: String) -> StreamError {
        let stream = self.stream.clone();
        match code {
            "ResourceNotFoundException" => StreamError::NotFound { stream, operation },
            "ExpiredIteratorException" => StreamError::ExpiredIterator,
            "ProvisionedThroughputExceededException"
            | "LimitExceededException"
            | "KMSThrottlingException"
            | "ThrottlingException" => StreamError::Throttled {
                stream,
                operation,
                detail,
            },
            "AccessDeniedException"
            | "KMSAccessDeniedException"
            | "UnrecognizedClientException"
            | "InvalidSignatureException"
            | "ExpiredTokenException"
            | "MissingAuthenticationTokenException" => StreamError::AccessDenied {
                stream,
                operation,
                detail,
            },
            "ResourceInUseException" => StreamError::InUse {
                stream,
                operation,
                detail,
            },
            "InvalidArgumentException" | "ValidationException" => StreamError::Invalid {
                stream,
                operation,
                detail,
            },
            // No answer at all: the request couldn't even be signed.
            "" if detail.contains("credentials") => StreamError::Credentials {
                stream,
                operation,
                detail,
            },
            _ => StreamError::Unavailable {
                stream,
                operation,
                detail,
            },
        }
    }

    pub(super) fn odd(&self, operation: &'static str, detail: impl Into<String>) -> StreamError {
        StreamError::Unavailable {
            stream: self.stream.clone(),
            operation,
            detail: detail.into(),
        }
    }
}

fn listed(words: &Words, shard: Shard) -> Result<ListedShard, StreamError> {
    let range = shard
        .hash_key_range()
        .and_then(|range| HashRange::parse(range.starting_hash_key(), range.ending_hash_key()));
    let closed = shard
        .sequence_number_range()
        .is_some_and(|range| range.ending_sequence_number().is_some());
    Ok(ListedShard {
        range: range.ok_or_else(|| {
            words.odd(
                "ListShards",
                format!("{} has no hash-key range", shard.shard_id),
            )
        })?,
        parents: [shard.parent_shard_id, shard.adjacent_parent_shard_id]
            .into_iter()
            .flatten()
            .collect(),
        id: shard.shard_id,
        closed,
    })
}

/// An answer of GetRecords as the SDK's decoder gave it.
pub(super) fn reply(words: &Words, output: GetRecordsOutput) -> Result<Reply, StreamError> {
    let records: Result<Vec<StreamRecord>, StreamError> = output
        .records
        .into_iter()
        .map(|found| record(words, GET_RECORDS, found))
        .collect();
    let children = output.child_shards.unwrap_or_default();
    Ok(Reply {
        records: records?,
        next: output.next_shard_iterator,
        millis_behind_latest: output.millis_behind_latest.unwrap_or(i64::MAX),
        children: children.into_iter().map(|child| child.shard_id).collect(),
    })
}

/// A record as an operation brought it.
pub(super) fn record(
    words: &Words,
    operation: &'static str,
    record: Record,
) -> Result<StreamRecord, StreamError> {
    let sequence = SequenceNumber::parse(&record.sequence_number)
        .map_err(|error| words.odd(operation, error.to_string()))?;
    let arrival = record
        .approximate_arrival_timestamp
        .and_then(|arrival| arrival.to_millis().ok())
        .ok_or_else(|| words.odd(operation, format!("record {sequence} has no arrival")))?;
    Ok(StreamRecord {
        sequence,
        arrival: Micros::from_millis(arrival),
        data: Bytes::from(record.data.into_inner()),
    })
}

/// An error and its causes, in one line for people.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    text
}

#[async_trait]
impl StreamClient for SdkStream {
    fn name(&self) -> &str {
        &self.words.stream
    }

    async fn describe(&self) -> Result<StreamDescription, StreamError> {
        const OPERATION: &str = "DescribeStreamSummary";
        let reply = self
            .client
            .describe_stream_summary()
            .stream_name(&self.words.stream)
            .send()
            .await
            .map_err(|error| self.words.fault(OPERATION, &error))?;
        let summary = reply
            .stream_description_summary
            .ok_or_else(|| self.words.odd(OPERATION, "the answer holds no description"))?;
        Ok(StreamDescription {
            created_millis: summary
                .stream_creation_timestamp
                .to_millis()
                .map_err(|error| self.words.odd(OPERATION, error.to_string()))?,
            is_active: matches!(
                summary.stream_status,
                StreamStatus::Active | StreamStatus::Updating
            ),
            retention_hours: summary.retention_period_hours,
        })
    }

    async fn list_shards(&self, listing: Listing) -> Result<Vec<ListedShard>, StreamError> {
        const OPERATION: &str = "ListShards";
        let filter = match listing {
            Listing::All => None,
            Listing::OpenAt(millis) => Some(
                ShardFilter::builder()
                    .r#type(ShardFilterType::AtTimestamp)
                    .timestamp(DateTime::from_millis(millis))
                    .build()
                    .map_err(|error| self.words.odd(OPERATION, error.to_string()))?,
            ),
        };
        let mut shards = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let request = self.client.list_shards();
            let request = match &token {
                // With a token nothing else may be named.
                Some(token) => request.next_token(token),
                None => request
                    .stream_name(&self.words.stream)
                    .set_shard_filter(filter.clone()),
            };
            let reply = request
                .send()
                .await
                .map_err(|error| self.words.fault(OPERATION, &error))?;
            for shard in reply.shards.unwrap_or_default() {
                shards.push(listed(&self.words, shard)?);
            }
            match reply.next_token {
                Some(next) if token.as_ref() != Some(&next) => token = Some(next),
                Some(_) => return Err(self.words.odd(OPERATION, "the same page came twice")),
                None => return Ok(shards),
            }
        }
    }

    async fn iterator(&self, shard: &str, position: &Position) -> Result<String, StreamError> {
        const OPERATION: &str = "GetShardIterator";
        let request = self
            .client
            .get_shard_iterator()
            .stream_name(&self.words.stream)
            .shard_id(shard);
        let request = match position {
            Position::TrimHorizon => request.shard_iterator_type(ShardIteratorType::TrimHorizon),
            Position::AtTimestamp(millis) => request
                .shard_iterator_type(ShardIteratorType::AtTimestamp)
                .timestamp(DateTime::from_millis(*millis)),
            // After, never at: the record at the position is in the state already.
            Position::After(sequence) => request
                .shard_iterator_type(ShardIteratorType::AfterSequenceNumber)
                .starting_sequence_number(sequence.to_string()),
            Position::ShardEnd | Position::StreamGone => {
                return Err(self
                    .words
                    .odd(OPERATION, format!("{shard} is at {position}")));
            }
        };
        let reply = request
            .send()
            .await
            .map_err(|error| self.words.fault(OPERATION, &error))?;
        reply
            .shard_iterator
            .ok_or_else(|| self.words.odd(OPERATION, "the answer holds no iterator"))
    }

    async fn get_records(&self, iterator: &str, limit: i32) -> Result<Reply, StreamError> {
        let call = self
            .client
            .get_records()
            .shard_iterator(iterator)
            .limit(limit)
            .send();
        let (output, plain) = watched(call).await;
        let output = output.map_err(|error| self.words.fault(GET_RECORDS, &error))?;
        match plain {
            Some(reply) => Ok(reply),
            None => reply(&self.words, output),
        }
    }

    fn has_fan_out(&self) -> bool {
        self.consumer.is_some()
    }

    async fn subscribe(
        &self,
        shard: &str,
        position: &Position,
    ) -> Result<Box<dyn Subscription>, StreamError> {
        let Some(consumer) = &self.consumer else {
            return Err(self
                .words
                .odd("SubscribeToShard", "the pipeline has no consumer"));
        };
        consumer
            .subscribe(&self.client, &self.words, shard, position)
            .await
    }
}
