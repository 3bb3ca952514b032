//! The pipeline's own consumer on AWS: its name, its registration, its subscriptions.
//!
//! Owns finding or registering it. Must never deregister it: another worker of the pipeline may be reading.

use async_trait::async_trait;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::StalledStreamProtectionConfig;
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::primitives::event_stream::EventReceiver;
use aws_sdk_kinesis::types::error::SubscribeToShardEventStreamError;
use aws_sdk_kinesis::types::{
    ConsumerStatus, ShardIteratorType, StartingPosition, SubscribeToShardEvent,
    SubscribeToShardEventStream,
};
use sha2::{Digest, Sha256};
use stockstream_core::row::hex;
use stockstream_core::sequence::Position;
use tokio::sync::Mutex;

use super::sdk::{Words, record};
use super::{PushedEvent, REGISTER, StreamError, Subscription};

/// The longest consumer name (Kinesis API reference, RegisterStreamConsumer).
const LONGEST_NAME: usize = 128;

/// Hexadecimal digits of the hash that replaces the end of a longer one.
const HASH_DIGITS: usize = 16;

const SUBSCRIBE: &str = "SubscribeToShard";

/// The consumer of a pipeline: the same for all its workers.
pub fn consumer_name(namespace: &str, name: &str) -> String {
    let whole = format!("stockstream-{namespace}-{name}");
    if whole.len() <= LONGEST_NAME {
        return whole;
    }
    let hash = hex(&Sha256::digest(whole.as_bytes()));
    let kept: String = whole.chars().take(LONGEST_NAME - HASH_DIGITS - 1).collect();
    format!("{kept}-{}", &hash[..HASH_DIGITS])
}

/// A consumer through the AWS SDK.
#[derive(Debug)]
pub(super) struct Consumer {
    name: String,
    arn: Mutex<Option<String>>,
}

impl Consumer {
    pub(super) fn new(name: String) -> Self {
        let arn = Mutex::new(None);
        Consumer { name, arn }
    }

    pub(super) async fn subscribe(
        &self,
        client: &Client,
        words: &Words,
        shard: &str,
        position: &Position,
    ) -> Result<Box<dyn Subscription>, StreamError> {
        let position = starting(words, shard, position)?;
        let arn = self.arn(client, words).await?;
        let request = client.subscribe_to_shard().consumer_arn(&arn);
        let request = request.shard_id(shard).starting_position(position);
        // A subscription that nobody reads for a while is none that stalls.
        let patient = aws_sdk_kinesis::Config::builder()
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        match request.customize().config_override(patient).send().await {
            Ok(output) => Ok(Box::new(Events {
                words: words.clone(),
                receiver: output.event_stream,
            })),
            Err(error) => {
                let error = words.fault(SUBSCRIBE, &error);
                if let StreamError::NotFound { .. } = error {
                    // Somebody deregistered it.
                    *self.arn.lock().await = None;
                }
                Err(error)
            }
        }
    }

    /// The consumer's ARN, once it is ACTIVE. One call at a time: shards share it.
    async fn arn(&self, client: &Client, words: &Words) -> Result<String, StreamError> {
        let mut known = self.arn.lock().await;
        if let Some(arn) = &*known {
            return Ok(arn.clone());
        }
        let summary = client.describe_stream_summary().stream_name(&words.stream);
        let summary = summary
            .send()
            .await
            .map_err(|error| words.fault("DescribeStreamSummary", &error))?;
        let stream = summary
            .stream_description_summary
            .map(|summary| summary.stream_arn)
            .ok_or_else(|| words.odd("DescribeStreamSummary", "the answer holds no ARN"))?;
        let describe = client.describe_stream_consumer().stream_arn(&stream);
        match describe.consumer_name(&self.name).send().await {
            Ok(found) => {
                let found = found.consumer_description.ok_or_else(|| {
                    words.odd("DescribeStreamConsumer", "the answer holds no consumer")
                })?;
                if found.consumer_status != ConsumerStatus::Active {
                    return Err(self.not_active(words, found.consumer_status.as_str()));
                }
                *known = Some(found.consumer_arn.clone());
                Ok(found.consumer_arn)
            }
            Err(error) if error.code() == Some("ResourceNotFoundException") => {
                let register = client.register_stream_consumer().stream_arn(&stream);
                register
                    .consumer_name(&self.name)
                    .send()
                    .await
                    .map_err(|error| words.fault(REGISTER, &error))?;
                tracing::info!(event = "consumer_registered", consumer = %self.name, "enhanced fan-out");
                Err(self.not_active(words, "CREATING"))
            }
            Err(error) => Err(words.fault("DescribeStreamConsumer", &error)),
        }
    }

    fn not_active(&self, words: &Words, status: &str) -> StreamError {
        words.odd(
            REGISTER,
            format!("the consumer {} is {status}, not yet ACTIVE", self.name),
        )
    }
}

fn starting(
    words: &Words,
    shard: &str,
    position: &Position,
) -> Result<StartingPosition, StreamError> {
    let builder = StartingPosition::builder();
    let builder = match position {
        Position::TrimHorizon => builder.r#type(ShardIteratorType::TrimHorizon),
        Position::AtTimestamp(millis) => builder
            .r#type(ShardIteratorType::AtTimestamp)
            .timestamp(DateTime::from_millis(*millis)),
        // After, never at: the record at the position is in the state already.
        Position::After(sequence) => builder
            .r#type(ShardIteratorType::AfterSequenceNumber)
            .sequence_number(sequence.to_string()),
        Position::ShardEnd | Position::StreamGone => {
            return Err(words.odd(SUBSCRIBE, format!("{shard} is at {position}")));
        }
    };
    builder
        .build()
        .map_err(|error| words.odd(SUBSCRIBE, error.to_string()))
}

struct Events {
    words: Words,
    receiver: EventReceiver<SubscribeToShardEventStream, SubscribeToShardEventStreamError>,
}

#[async_trait]
impl Subscription for Events {
    async fn next(&mut self) -> Result<Option<PushedEvent>, StreamError> {
        loop {
            match self.receiver.recv().await {
                Ok(Some(SubscribeToShardEventStream::SubscribeToShardEvent(event))) => {
                    return pushed(&self.words, event).map(Some);
                }
                // A kind of event that this release doesn't know holds no records.
                Ok(Some(_)) => {}
                Ok(None) => return Ok(None),
                Err(error) => return Err(ended(&self.words, &error)),
            }
        }
    }
}

/// Why a subscription ended. The errors that its events bring have no code of their own in the SDK.
fn ended<R>(words: &Words, error: &SdkError<SubscribeToShardEventStreamError, R>) -> StreamError
where
    R: std::fmt::Debug + Send + Sync + 'static,
{
    use SubscribeToShardEventStreamError as Kind;
    let code = match error.as_service_error() {
        Some(Kind::ResourceInUseException(_)) => "ResourceInUseException",
        Some(Kind::ResourceNotFoundException(_)) => "ResourceNotFoundException",
        Some(Kind::KmsAccessDeniedException(_)) => "KMSAccessDeniedException",
        Some(Kind::KmsThrottlingException(_)) => "KMSThrottlingException",
        _ => return words.fault(SUBSCRIBE, error),
    };
    words.coded(SUBSCRIBE, code, error.message().unwrap_or(code).to_owned())
}

fn pushed(words: &Words, event: SubscribeToShardEvent) -> Result<PushedEvent, StreamError> {
    let records: Result<Vec<_>, StreamError> = event
        .records
        .into_iter()
        .map(|found| record(words, SUBSCRIBE, found))
        .collect();
    let children = event.child_shards.unwrap_or_default();
    let children: Vec<String> = children.into_iter().map(|child| child.shard_id).collect();
    Ok(PushedEvent {
        records: records?,
        millis_behind_latest: event.millis_behind_latest,
        // "returned only at the end of the current shard"
        is_last: !children.is_empty() || event.continuation_sequence_number.is_empty(),
        children,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipeline_has_one_consumer_whatever_the_length_of_its_name() {
        assert_eq!(
            consumer_name("default", "ticks"),
            "stockstream-default-ticks"
        );
        let (a, b) = ("a".repeat(253), format!("{}b", "a".repeat(252)));
        let (a, b) = (consumer_name("default", &a), consumer_name("default", &b));
        assert_eq!((a.len(), b.len()), (LONGEST_NAME, LONGEST_NAME));
        assert_ne!(a, b);
    }
}
