//! The AWS JSON protocol: the operations' bodies.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::records;
use crate::api::{Caller, Done, ErrorKind, Kinesis, KinesisError, Operation, Puts, Subscription};

/// Performs an operation on a JSON body and returns the answer's body.
pub(super) fn call(
    kinesis: &Kinesis,
    caller: &Caller,
    operation: Operation,
    body: &[u8],
) -> Result<Vec<u8>, KinesisError> {
    use Operation as Op;
    match operation {
        Op::AddTagsToStream => empty(kinesis.add_tags_to_stream(&parse(body)?)),
        Op::CreateStream => empty(kinesis.create_stream(&parse(body)?)),
        Op::DecreaseStreamRetentionPeriod => {
            empty(kinesis.decrease_stream_retention_period(&parse(body)?))
        }
        Op::DeleteStream => empty(kinesis.delete_stream(&parse(body)?)),
        Op::DescribeLimits => json(kinesis.describe_limits(&parse(body)?)),
        Op::DescribeStream => json(kinesis.describe_stream(caller, &parse(body)?)),
        Op::DeregisterStreamConsumer => empty(kinesis.deregister_stream_consumer(&parse(body)?)),
        Op::DescribeStreamConsumer => json(kinesis.describe_stream_consumer(caller, &parse(body)?)),
        Op::ListStreamConsumers => json(kinesis.list_stream_consumers(caller, &parse(body)?)),
        Op::RegisterStreamConsumer => json(kinesis.register_stream_consumer(caller, &parse(body)?)),
        Op::DescribeStreamSummary => json(kinesis.describe_stream_summary(caller, &parse(body)?)),
        Op::GetRecords => records::records_answer(kinesis.get_records(&parse(body)?)?),
        Op::GetShardIterator => json(kinesis.get_shard_iterator(&parse(body)?)),
        Op::IncreaseStreamRetentionPeriod => {
            empty(kinesis.increase_stream_retention_period(&parse(body)?))
        }
        Op::ListShards => json(kinesis.list_shards(&parse(body)?)),
        Op::ListStreams => json(kinesis.list_streams(caller, &parse(body)?)),
        Op::ListTagsForResource => json(kinesis.list_tags_for_resource(&parse(body)?)),
        Op::ListTagsForStream => json(kinesis.list_tags_for_stream(&parse(body)?)),
        Op::MergeShards => empty(kinesis.merge_shards(&parse(body)?)),
        Op::PutRecord => json(kinesis.put_record(&parse(body)?)),
        Op::PutRecords => put_records(kinesis, body),
        Op::RemoveTagsFromStream => empty(kinesis.remove_tags_from_stream(&parse(body)?)),
        Op::SplitShard => empty(kinesis.split_shard(&parse(body)?)),
        Op::StartStreamEncryption => empty(kinesis.start_stream_encryption(&parse(body)?)),
        Op::StopStreamEncryption => empty(kinesis.stop_stream_encryption(&parse(body)?)),
        Op::TagResource => empty(kinesis.tag_resource(&parse(body)?)),
        Op::UntagResource => empty(kinesis.untag_resource(&parse(body)?)),
        Op::UpdateShardCount => json(kinesis.update_shard_count(caller, &parse(body)?)),
        Op::UpdateStreamMode => empty(kinesis.update_stream_mode(&parse(body)?)),
        Op::SubscribeToShard => Err(KinesisError::new(
            ErrorKind::InternalFailure,
            "a subscription was asked for as a body",
        )),
    }
}

/// SubscribeToShard, whose answer isn't a body but a subscription.
pub(super) fn subscribe(kinesis: &Kinesis, body: &[u8]) -> Result<Subscription, KinesisError> {
    kinesis.subscribe_to_shard(&parse(body)?)
}

/// PutRecords, without a copy of the body's strings where that can be.
fn put_records(kinesis: &Kinesis, body: &[u8]) -> Result<Vec<u8>, KinesisError> {
    let mut decoded = Vec::new();
    let outcome = match records::plain_puts(body, &mut decoded) {
        Some(puts) => kinesis.put(&puts)?,
        None => kinesis.put(&Puts::from(&parse(body)?))?,
    };
    records::puts_answer(&outcome)
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, KinesisError> {
    serde_json::from_slice(body).map_err(|error| {
        KinesisError::new(
            ErrorKind::Serialization,
            format!("The body isn't what the operation takes: {error}"),
        )
    })
}

fn empty(outcome: Result<Done, KinesisError>) -> Result<Vec<u8>, KinesisError> {
    outcome.map(|Done| Vec::new())
}

fn json<T: Serialize>(outcome: Result<T, KinesisError>) -> Result<Vec<u8>, KinesisError> {
    serde_json::to_vec(&outcome?).map_err(records::unwritten)
}
