//! SubscribeToShard: the event stream, its starting positions, its end, and who may subscribe when.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use aws_sdk_kinesis::operation::subscribe_to_shard::SubscribeToShardOutput;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::{ShardIteratorType, StartingPosition};

use super::case::cases;
use super::context::{Context, HALF, S0, S1, S2, Stream, by_size, next_event, texts};
use super::refusal::{INVALID, Refusal, outcome, same};

cases! {
    SubscribeToShard {
        Plain:
            records_come_as_they_are_put,
            from_trim_horizon,
            from_latest,
            from_at_sequence_number,
            from_after_sequence_number,
            from_at_timestamp,
            goes_on_after_the_continuation_sequence_number,
            the_end_of_a_shard_brings_its_children_and_ends,
            two_consumers_get_every_record_each,
            the_second_takes_over_after_five_seconds,
            resource_in_use_exception_within_five_seconds = again_at_once,
            resource_not_found_exception_for_a_shard = unknown_shard,
            invalid_argument_exception_for_no_sequence_number = without_number,
            invalid_argument_exception_for_no_timestamp = without_timestamp,
            invalid_argument_exception_for_an_arn_of_a_stream = not_a_consumer;
        Delays:
            resource_in_use_exception_for_a_consumer_in_creating = consumer_in_creating;
    }
}

fn at(kind: ShardIteratorType) -> aws_sdk_kinesis::types::builders::StartingPositionBuilder {
    StartingPosition::builder().r#type(kind)
}

async fn try_subscribe(
    context: &Context,
    consumer: &str,
    shard: &str,
    position: StartingPosition,
) -> anyhow::Result<Result<SubscribeToShardOutput, Refusal>> {
    let subscribe = context.client.subscribe_to_shard().consumer_arn(consumer);
    let subscribe = subscribe.shard_id(shard).starting_position(position);
    outcome(subscribe.send().await)
}

async fn subscribe(
    context: &Context,
    consumer: &str,
    position: StartingPosition,
) -> anyhow::Result<SubscribeToShardOutput> {
    match try_subscribe(context, consumer, S0, position).await? {
        Ok(output) => Ok(output),
        Err(refusal) => bail!("refused: {refusal:?}"),
    }
}

/// The next records' data, `count` of them at least.
async fn receive(output: &mut SubscribeToShardOutput, count: usize) -> anyhow::Result<String> {
    let mut received = Vec::new();
    while received.len() < count {
        let event = next_event(output, |event| !event.records.is_empty()).await?;
        let event = event.context("the subscription ended")?;
        received.extend(texts(&event.records));
    }
    Ok(received.concat())
}

/// A stream with the records a, b, c, their numbers, and a consumer.
async fn with_abc(context: &Context) -> anyhow::Result<(Stream, String, Vec<String>)> {
    let stream = context.stream(1).await?;
    let mut numbers = Vec::new();
    for data in ["a", "b", "c"] {
        numbers.push(context.put(&stream.name, data).await?);
    }
    let consumer = context.consumer(&stream, "reader").await?;
    Ok((stream, consumer, numbers))
}

/// "Kinesis Data Streams pushes records from the shard to the consumer over this connection."
async fn records_come_as_they_are_put(context: &Context) -> anyhow::Result<()> {
    let (stream, consumer, _) = with_abc(context).await?;
    let position = at(ShardIteratorType::TrimHorizon).build()?;
    let mut output = subscribe(context, &consumer, position).await?;
    same(
        "what was there",
        receive(&mut output, 3).await?.as_str(),
        "abc",
    )?;
    for data in ["d", "e"] {
        context.put(&stream.name, data).await?;
        same(
            "what was put",
            receive(&mut output, 1).await?.as_str(),
            data,
        )?;
    }
    Ok(())
}

async fn from_trim_horizon(context: &Context) -> anyhow::Result<()> {
    let (_, consumer, numbers) = with_abc(context).await?;
    let position = at(ShardIteratorType::TrimHorizon).build()?;
    let mut output = subscribe(context, &consumer, position).await?;
    let event = next_event(&mut output, |event| !event.records.is_empty()).await?;
    let event = event.context("the subscription ended")?;
    let first = event.records.first().context("no record")?;
    same(
        "the first record's number",
        first.sequence_number(),
        numbers[0].as_str(),
    )?;
    same("its key", first.partition_key(), Some("key"))
}

async fn from_latest(context: &Context) -> anyhow::Result<()> {
    let (stream, consumer, _) = with_abc(context).await?;
    let position = at(ShardIteratorType::Latest).build()?;
    let mut output = subscribe(context, &consumer, position).await?;
    context.put(&stream.name, "d").await?;
    same(
        "what was put since",
        receive(&mut output, 1).await?.as_str(),
        "d",
    )
}

async fn from_number(
    context: &Context,
    kind: ShardIteratorType,
    expected: &str,
) -> anyhow::Result<()> {
    let (_, consumer, numbers) = with_abc(context).await?;
    let position = at(kind).sequence_number(&numbers[1]).build()?;
    let mut output = subscribe(context, &consumer, position).await?;
    let received = receive(&mut output, expected.len()).await?;
    same("from the second's number", received.as_str(), expected)
}

async fn from_at_sequence_number(context: &Context) -> anyhow::Result<()> {
    from_number(context, ShardIteratorType::AtSequenceNumber, "bc").await
}

async fn from_after_sequence_number(context: &Context) -> anyhow::Result<()> {
    from_number(context, ShardIteratorType::AfterSequenceNumber, "c").await
}

async fn from_at_timestamp(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    context.put(&stream.name, "a").await?;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let between = DateTime::from(std::time::SystemTime::now());
    tokio::time::sleep(Duration::from_millis(50)).await;
    context.put(&stream.name, "b").await?;
    let consumer = context.consumer(&stream, "reader").await?;
    let position = at(ShardIteratorType::AtTimestamp)
        .timestamp(between)
        .build()?;
    let mut output = subscribe(context, &consumer, position).await?;
    same(
        "from in between",
        receive(&mut output, 1).await?.as_str(),
        "b",
    )
}

/// ContinuationSequenceNumber: "Use this as SequenceNumber in the next call to SubscribeToShard." Another consumer uses
/// it here, so that the five seconds needn't be waited for.
async fn goes_on_after_the_continuation_sequence_number(context: &Context) -> anyhow::Result<()> {
    let (stream, consumer, _) = with_abc(context).await?;
    let position = at(ShardIteratorType::TrimHorizon).build()?;
    let mut output = subscribe(context, &consumer, position).await?;
    let mut seen = 0;
    let mut continuation = String::new();
    while seen < 3 {
        let event = next_event(&mut output, |event| !event.records.is_empty()).await?;
        let event = event.context("the subscription ended")?;
        let last = event.records.last().context("no record")?;
        ensure!(
            by_size(event.continuation_sequence_number()) >= by_size(last.sequence_number()),
            "it stands before the last record of its event"
        );
        seen += event.records.len();
        continuation = event.continuation_sequence_number;
    }
    context.put(&stream.name, "d").await?;
    let other = context.consumer(&stream, "other").await?;
    let position = at(ShardIteratorType::AfterSequenceNumber);
    let position = position.sequence_number(continuation).build()?;
    let mut output = subscribe(context, &other, position).await?;
    same(
        "what came since",
        receive(&mut output, 1).await?.as_str(),
        "d",
    )
}

/// ChildShards: "returned only at the end of the current shard".
async fn the_end_of_a_shard_brings_its_children_and_ends(context: &Context) -> anyhow::Result<()> {
    let (stream, consumer, _) = with_abc(context).await?;
    let position = at(ShardIteratorType::TrimHorizon).build()?;
    let mut output = subscribe(context, &consumer, position).await?;
    same(
        "the records",
        receive(&mut output, 3).await?.as_str(),
        "abc",
    )?;
    context.split(&stream.name, S0, HALF).await?;
    let event = next_event(&mut output, |event| !event.child_shards().is_empty()).await?;
    let event = event.context("it ended without ChildShards")?;
    let mut children: Vec<_> = event
        .child_shards()
        .iter()
        .map(|child| child.shard_id())
        .collect();
    children.sort_unstable();
    same("the children", children, vec![S1, S2])?;
    for child in event.child_shards() {
        same("its parents", child.parent_shards(), &[S0.to_owned()][..])?;
    }
    let after = next_event(&mut output, |_| true).await?;
    ensure!(after.is_none(), "an event after the end: {after:?}");
    Ok(())
}

async fn two_consumers_get_every_record_each(context: &Context) -> anyhow::Result<()> {
    let (stream, first, _) = with_abc(context).await?;
    let second = context.consumer(&stream, "second").await?;
    for consumer in [first, second] {
        let position = at(ShardIteratorType::TrimHorizon).build()?;
        let mut output = subscribe(context, &consumer, position).await?;
        same(
            "its records",
            receive(&mut output, 3).await?.as_str(),
            "abc",
        )?;
    }
    Ok(())
}

/// "If you call SubscribeToShard 5 seconds or more after a successful call, the second call takes over the subscription
/// and the previous connection expires or fails with a ResourceInUseException."
async fn the_second_takes_over_after_five_seconds(context: &Context) -> anyhow::Result<()> {
    let (stream, consumer, _) = with_abc(context).await?;
    let position = at(ShardIteratorType::TrimHorizon).build()?;
    let mut first = subscribe(context, &consumer, position).await?;
    same(
        "to the first",
        receive(&mut first, 3).await?.as_str(),
        "abc",
    )?;
    tokio::time::sleep(Duration::from_millis(5500)).await;
    let position = at(ShardIteratorType::Latest).build()?;
    let mut second = subscribe(context, &consumer, position).await?;
    context.put(&stream.name, "d").await?;
    same(
        "to the second",
        receive(&mut second, 1).await?.as_str(),
        "d",
    )?;
    match next_event(&mut first, |event| !event.records.is_empty()).await {
        Ok(None) => Ok(()),
        Ok(Some(event)) => bail!("the first still gets records: {:?}", texts(&event.records)),
        Err(error) => {
            let text = format!("{error:?}");
            ensure!(text.contains("ResourceInUse"), "it ends with {text}");
            Ok(())
        }
    }
}

/// "If you call SubscribeToShard again with the same ConsumerARN and ShardId within 5 seconds of a successful call,
/// you'll get a ResourceInUseException."
async fn again_at_once(context: &Context) -> anyhow::Result<()> {
    let (_, consumer, _) = with_abc(context).await?;
    let position = at(ShardIteratorType::TrimHorizon).build()?;
    let mut first = subscribe(context, &consumer, position.clone()).await?;
    let again = try_subscribe(context, &consumer, S0, position).await?;
    let refusal = again.err().context("it was accepted")?;
    refusal.is(&["ResourceInUseException"])?;
    same(
        "the first goes on",
        receive(&mut first, 3).await?.as_str(),
        "abc",
    )
}

async fn not_subscribed(
    context: &Context,
    shard: &str,
    position: StartingPosition,
    codes: &[&str],
) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let consumer = context.consumer(&stream, "reader").await?;
    let subscribed = try_subscribe(context, &consumer, shard, position).await?;
    let refusal = subscribed.err().context("it was accepted")?;
    refusal.is(codes).map(drop)
}

async fn unknown_shard(context: &Context) -> anyhow::Result<()> {
    let position = at(ShardIteratorType::Latest).build()?;
    not_subscribed(context, S1, position, &["ResourceNotFoundException"]).await
}

/// SequenceNumber: "To specify a sequence number, set StartingPosition to AT_SEQUENCE_NUMBER": one without the other
/// says nothing.
async fn without_number(context: &Context) -> anyhow::Result<()> {
    let position = at(ShardIteratorType::AtSequenceNumber).build()?;
    not_subscribed(context, S0, position, INVALID).await
}

async fn without_timestamp(context: &Context) -> anyhow::Result<()> {
    let position = at(ShardIteratorType::AtTimestamp).build()?;
    not_subscribed(context, S0, position, INVALID).await
}

async fn not_a_consumer(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let position = at(ShardIteratorType::Latest).build()?;
    let subscribed = try_subscribe(context, &stream.arn, S0, position).await?;
    let refusal = subscribed.err().context("it was accepted")?;
    refusal.is(INVALID).map(drop)
}

/// "A consumer can't read data while in the CREATING or DELETING states."
async fn consumer_in_creating(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let register = context.client.register_stream_consumer();
    let register = register.stream_arn(&stream.arn).consumer_name("reader");
    let consumer = register.send().await?.consumer.context("no Consumer")?;
    let position = at(ShardIteratorType::Latest).build()?;
    let subscribed = try_subscribe(context, consumer.consumer_arn(), S0, position).await?;
    let refusal = subscribed.err().context("it was accepted")?;
    refusal.is(&["ResourceInUseException"]).map(drop)
}
