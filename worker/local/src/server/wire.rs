//! The AWS JSON protocol: the operations' bodies.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::{Caller, Done, ErrorKind, Kinesis, KinesisError, Operation, Subscription};

/// Performs an operation on a JSON body and returns the answer's body.
pub(super) fn call(
    kinesis: &Kinesis,
    caller: &Caller,
    operation: Operation,
    body: &[u8],
) -> Result<Vec<u8>, KinesisError> {
    match operation {
        Operation::CreateStream => empty(kinesis.create_stream(&parse(body)?)),
        Operation::DecreaseStreamRetentionPeriod => {
            empty(kinesis.decrease_stream_retention_period(&parse(body)?))
        }
        Operation::DeleteStream => empty(kinesis.delete_stream(&parse(body)?)),
        Operation::DeregisterStreamConsumer => {
            empty(kinesis.deregister_stream_consumer(&parse(body)?))
        }
        Operation::DescribeStream => json(kinesis.describe_stream(caller, &parse(body)?)),
        Operation::DescribeStreamConsumer => {
            json(kinesis.describe_stream_consumer(caller, &parse(body)?))
        }
        Operation::DescribeStreamSummary => {
            json(kinesis.describe_stream_summary(caller, &parse(body)?))
        }
        Operation::GetRecords => json(kinesis.get_records(&parse(body)?)),
        Operation::GetShardIterator => json(kinesis.get_shard_iterator(&parse(body)?)),
        Operation::IncreaseStreamRetentionPeriod => {
            empty(kinesis.increase_stream_retention_period(&parse(body)?))
        }
        Operation::ListShards => json(kinesis.list_shards(&parse(body)?)),
        Operation::ListStreamConsumers => {
            json(kinesis.list_stream_consumers(caller, &parse(body)?))
        }
        Operation::ListStreams => json(kinesis.list_streams(caller, &parse(body)?)),
        Operation::MergeShards => empty(kinesis.merge_shards(&parse(body)?)),
        Operation::PutRecord => json(kinesis.put_record(&parse(body)?)),
        Operation::PutRecords => json(kinesis.put_records(&parse(body)?)),
        Operation::RegisterStreamConsumer => {
            json(kinesis.register_stream_consumer(caller, &parse(body)?))
        }
        Operation::SplitShard => empty(kinesis.split_shard(&parse(body)?)),
        other => Err(KinesisError::new(
            ErrorKind::UnknownOperation,
            format!("{other} isn't served yet."),
        )),
    }
}

/// SubscribeToShard, whose answer isn't a body but a subscription.
pub(super) fn subscribe(kinesis: &Kinesis, body: &[u8]) -> Result<Subscription, KinesisError> {
    kinesis.subscribe_to_shard(&parse(body)?)
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
    serde_json::to_vec(&outcome?).map_err(|error| {
        KinesisError::new(
            ErrorKind::InternalFailure,
            format!("the answer couldn't be written: {error}"),
        )
    })
}
