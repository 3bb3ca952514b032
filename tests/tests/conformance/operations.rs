//! Every operation once, in a call that succeeds on a stream made for it: what the cases that go over all operations
//! (by name, by ARN, on something missing, with a scripted error) are made of.

use anyhow::{Context as _, bail, ensure};
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{
    EncryptionType, PutRecordsRequestEntry, ScalingType, ShardIteratorType, StartingPosition,
    StreamMode,
};

use super::context::{Context, REGION, S0, S1, mode};
use super::refusal::{Refusal, outcome};

/// The operations that this suite holds; a case fails when ours serves another set.
pub const OPERATIONS: [&str; 30] = [
    "AddTagsToStream",
    "CreateStream",
    "DecreaseStreamRetentionPeriod",
    "DeleteStream",
    "DeregisterStreamConsumer",
    "DescribeLimits",
    "DescribeStream",
    "DescribeStreamConsumer",
    "DescribeStreamSummary",
    "GetRecords",
    "GetShardIterator",
    "IncreaseStreamRetentionPeriod",
    "ListShards",
    "ListStreamConsumers",
    "ListStreams",
    "ListTagsForResource",
    "ListTagsForStream",
    "MergeShards",
    "PutRecord",
    "PutRecords",
    "RegisterStreamConsumer",
    "RemoveTagsFromStream",
    "SplitShard",
    "StartStreamEncryption",
    "StopStreamEncryption",
    "SubscribeToShard",
    "TagResource",
    "UntagResource",
    "UpdateShardCount",
    "UpdateStreamMode",
];

/// A made-up key: no server here asks a KMS about it.
pub const KEY: &str = "alias/aws/kinesis";

/// What a call is about.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// The stream by name.
    pub name: Option<String>,
    /// The stream by ARN.
    pub arn: Option<String>,
    pub iterator: String,
    pub consumer: Option<String>,
    pub new_name: String,
}

/// How a stream is given to an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Name,
    Arn,
}

/// Makes what the operation needs to succeed: a stream of two shards in the right state.
pub async fn prepare(context: &Context, operation: &str, by: By) -> anyhow::Result<Target> {
    let stream = context.stream(2).await?;
    let client = &context.client;
    match operation {
        "DecreaseStreamRetentionPeriod" => {
            let increase = client.increase_stream_retention_period();
            let increase = increase.stream_name(&stream.name);
            increase.retention_period_hours(72).send().await?;
        }
        "StopStreamEncryption" => {
            let start = client.start_stream_encryption().stream_name(&stream.name);
            let start = start.encryption_type(EncryptionType::Kms).key_id(KEY);
            start.send().await?;
        }
        _ => {}
    }
    context.active(&stream.name).await?;
    let consumer = match operation {
        "DescribeStreamConsumer" | "DeregisterStreamConsumer" | "SubscribeToShard" => {
            Some(context.consumer(&stream, "consumer").await?)
        }
        _ => None,
    };
    let iterator = match operation {
        "GetRecords" => {
            let kind = ShardIteratorType::TrimHorizon;
            context.iterator(&stream.name, S0, kind).await?
        }
        _ => String::new(),
    };
    Ok(Target {
        name: (by == By::Name).then(|| stream.name.clone()),
        arn: (by == By::Arn || needs_arn(operation)).then(|| stream.arn.clone()),
        iterator,
        consumer,
        new_name: context.name(),
    })
}

/// Operations that take a stream or another resource by its ARN alone.
fn needs_arn(operation: &str) -> bool {
    matches!(
        operation,
        "RegisterStreamConsumer"
            | "ListStreamConsumers"
            | "UpdateStreamMode"
            | "TagResource"
            | "UntagResource"
            | "ListTagsForResource"
    )
}

/// The same for a stream, consumer or shard that isn't there.
pub async fn missing(context: &Context, operation: &str) -> anyhow::Result<Target> {
    // A real one for its account and region, which an ARN must have.
    let stream = context.stream(1).await?;
    let arn = stream.arn.replace(&stream.name, "missing");
    let by_arn = needs_arn(operation);
    let mut target = Target {
        name: (!by_arn).then(|| "missing".to_owned()),
        arn: by_arn.then(|| arn.clone()),
        consumer: Some(format!("{arn}/consumer/missing:1700000000")),
        ..Target::default()
    };
    if operation == "GetRecords" {
        // An iterator of a stream that is deleted before it is used.
        let kind = ShardIteratorType::TrimHorizon;
        target.iterator = context.iterator(&stream.name, S0, kind).await?;
        let delete = context.client.delete_stream().stream_name(&stream.name);
        delete.send().await?;
        super::context::eventually("the end of the stream", async || {
            let describe = context.client.describe_stream_summary();
            let described = outcome(describe.stream_name(&stream.name).send().await)?;
            Ok(described.is_err().then_some(()))
        })
        .await?;
    }
    Ok(target)
}

/// Performs an operation through the SDK; says whether the server did it.
#[allow(
    clippy::too_many_lines,
    reason = "a table with one entry per operation"
)]
pub async fn call(
    context: &Context,
    operation: &str,
    target: &Target,
) -> anyhow::Result<Result<(), Refusal>> {
    // Sends an operation that takes a stream by name or ARN.
    macro_rules! on_stream {
        ($operation:ident $(. $setter:ident ($($value:expr),*))*) => {
            outcome(
                context.client.$operation()
                    .set_stream_name(target.name.clone())
                    .set_stream_arn(target.arn.clone())
                    $(.$setter($($value),*))*
                    .send()
                    .await,
            )?
            .map(drop)
        };
    }
    // Sends one that takes something else.
    macro_rules! send {
        ($($call:tt)+) => { outcome(context.client.$($call)+.send().await)?.map(drop) };
    }
    let arn = || target.arn.clone();
    let data = || Blob::new("data");
    Ok(match operation {
        "AddTagsToStream" => on_stream!(add_tags_to_stream.tags("key", "value")),
        "CreateStream" => send!(create_stream().stream_name(&target.new_name).shard_count(1)),
        "DecreaseStreamRetentionPeriod" => {
            on_stream!(decrease_stream_retention_period.retention_period_hours(48))
        }
        "DeleteStream" => on_stream!(delete_stream),
        "DeregisterStreamConsumer" => {
            send!(deregister_stream_consumer().set_consumer_arn(target.consumer.clone()))
        }
        "DescribeLimits" => send!(describe_limits()),
        "DescribeStream" => on_stream!(describe_stream),
        "DescribeStreamConsumer" => {
            send!(describe_stream_consumer().set_consumer_arn(target.consumer.clone()))
        }
        "DescribeStreamSummary" => on_stream!(describe_stream_summary),
        "GetRecords" => send!(
            get_records()
                .set_stream_arn(arn())
                .shard_iterator(&target.iterator)
        ),
        "GetShardIterator" => on_stream!(
            get_shard_iterator
                .shard_id(S0)
                .shard_iterator_type(ShardIteratorType::TrimHorizon)
        ),
        "IncreaseStreamRetentionPeriod" => {
            on_stream!(increase_stream_retention_period.retention_period_hours(48))
        }
        "ListShards" => on_stream!(list_shards),
        "ListStreamConsumers" => send!(list_stream_consumers().set_stream_arn(arn())),
        "ListStreams" => send!(list_streams()),
        "ListTagsForResource" => send!(list_tags_for_resource().set_resource_arn(arn())),
        "ListTagsForStream" => on_stream!(list_tags_for_stream),
        "MergeShards" => on_stream!(merge_shards.shard_to_merge(S0).adjacent_shard_to_merge(S1)),
        "PutRecord" => on_stream!(put_record.partition_key("key").data(data())),
        "PutRecords" => {
            let entry = PutRecordsRequestEntry::builder();
            let entry = entry.partition_key("key").data(data()).build()?;
            on_stream!(put_records.records(entry))
        }
        "RegisterStreamConsumer" => {
            send!(
                register_stream_consumer()
                    .set_stream_arn(arn())
                    .consumer_name("registered")
            )
        }
        "RemoveTagsFromStream" => on_stream!(remove_tags_from_stream.tag_keys("key")),
        "SplitShard" => on_stream!(split_shard.shard_to_split(S0).new_starting_hash_key("1000")),
        "StartStreamEncryption" => on_stream!(
            start_stream_encryption
                .encryption_type(EncryptionType::Kms)
                .key_id(KEY)
        ),
        "StopStreamEncryption" => on_stream!(
            stop_stream_encryption
                .encryption_type(EncryptionType::Kms)
                .key_id(KEY)
        ),
        "SubscribeToShard" => {
            let position = StartingPosition::builder();
            let position = position.r#type(ShardIteratorType::TrimHorizon).build()?;
            send!(
                subscribe_to_shard()
                    .set_consumer_arn(target.consumer.clone())
                    .shard_id(S0)
                    .starting_position(position)
            )
        }
        "TagResource" => send!(tag_resource().set_resource_arn(arn()).tags("key", "value")),
        "UntagResource" => send!(untag_resource().set_resource_arn(arn()).tag_keys("key")),
        "UpdateShardCount" => on_stream!(
            update_shard_count
                .target_shard_count(4)
                .scaling_type(ScalingType::UniformScaling)
        ),
        "UpdateStreamMode" => send!(
            update_stream_mode()
                .set_stream_arn(arn())
                .stream_mode_details(mode(StreamMode::OnDemand)?)
        ),
        other => bail!("the suite has no call of {other}"),
    })
}

/// The operation does what it is asked when the stream is given this way.
pub async fn found(context: &Context, operation: &str, by: By) -> anyhow::Result<()> {
    let target = prepare(context, operation, by).await?;
    match call(context, operation, &target).await? {
        Ok(()) => Ok(()),
        Err(refusal) => bail!("refused by {by:?}: {refusal:?}"),
    }
}

/// What isn't there is refused as such.
pub async fn not_found(context: &Context, operation: &str) -> anyhow::Result<()> {
    let target = missing(context, operation).await?;
    let called = call(context, operation, &target).await?;
    let Err(refusal) = called else {
        bail!("something that doesn't exist was accepted")
    };
    refusal.is(&["ResourceNotFoundException"]).map(drop)
}

/// Calls that are more than any operation's documented rate of at most 20 a second allows.
const TOO_MANY: usize = 60;

/// Calls one after the other are refused in the end as too many. Of something that isn't there, so that nothing else is
/// used up by it: a rate is of calls, whatever comes of them.
pub async fn too_often(context: &Context, operation: &str) -> anyhow::Result<()> {
    let arn = format!("arn:aws:kinesis:{REGION}:000000000000:stream/missing");
    let by_arn = needs_arn(operation);
    let target = Target {
        name: (!by_arn).then(|| "missing".to_owned()),
        consumer: Some(format!("{arn}/consumer/missing:1700000000")),
        arn: by_arn.then_some(arn),
        ..Target::default()
    };
    for _ in 0..TOO_MANY {
        if let Err(refusal) = call(context, operation, &target).await?
            && refusal.code != "ResourceNotFoundException"
        {
            return refusal.is(&["LimitExceededException"]).map(drop);
        }
    }
    bail!("{TOO_MANY} calls were answered")
}

/// A scripted error reaches the client with its type, status and message.
pub async fn scripted(context: &Context, operation: &str, error: &str) -> anyhow::Result<()> {
    let target = prepare(context, operation, By::Arn).await?;
    let said = format!("scripted by {operation}");
    let rule = serde_json::json!({
        "operation": operation,
        "count": 1,
        "fault": {"error": {"type": error, "message": said}},
    });
    let call = call(context, operation, &target);
    let called = context.with_fault(rule, call).await?;
    let refusal = called.err().context("it was accepted")?;
    let refusal = refusal.is(&[error])?.says(&said)?;
    ensure!(refusal.code == error, "{refusal:?}");
    Ok(())
}
