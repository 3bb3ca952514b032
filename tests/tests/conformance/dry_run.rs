//! DryRun: "Checks if your request will succeed." Every such call ends in an error; DryRunOperationException ("the request
//! was rejected because the DryRun parameter was specified") is the one that says that it would.

use anyhow::ensure;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, ShardIteratorType, StartingPosition};

use super::case::cases;
use super::context::{Context, S0};
use super::refusal::refused;

cases! {
    PutRecord { Plain: dry_run_operation_exception_and_nothing_is_put = put; }
    PutRecords { Plain: dry_run_operation_exception_and_nothing_is_put = put_two; }
    GetShardIterator { Plain: dry_run_operation_exception = iterator; }
    GetRecords { Plain: dry_run_operation_exception = get; }
    SubscribeToShard { Plain: dry_run_operation_exception_and_no_subscription = subscribe; }
}

const DRY_RUN: &[&str] = &["DryRunOperationException"];
const HORIZON: ShardIteratorType = ShardIteratorType::TrimHorizon;

/// A stream's first shard has no records.
async fn nothing_is_put(context: &Context, stream: &str) -> anyhow::Result<()> {
    let iterator = context.iterator(stream, S0, HORIZON).await?;
    let page = context.client.get_records().shard_iterator(iterator);
    let page = page.send().await?;
    ensure!(page.records.is_empty(), "{:?}", page.records);
    Ok(())
}

async fn put(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?.name;
    let put = context.client.put_record().stream_name(&stream);
    let put = put.partition_key("key").data(Blob::new("x")).dry_run(true);
    refused(put.send().await, DRY_RUN)?;
    nothing_is_put(context, &stream).await
}

async fn put_two(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?.name;
    let entry = || {
        let entry = PutRecordsRequestEntry::builder().partition_key("key");
        entry.data(Blob::new("x")).build()
    };
    let put = context.client.put_records().stream_name(&stream);
    let put = put.records(entry()?).records(entry()?).dry_run(true);
    refused(put.send().await, DRY_RUN)?;
    nothing_is_put(context, &stream).await
}

async fn iterator(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?.name;
    let get = context.client.get_shard_iterator().stream_name(&stream);
    let get = get.shard_id(S0).shard_iterator_type(HORIZON).dry_run(true);
    refused(get.send().await, DRY_RUN).map(drop)
}

async fn get(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?.name;
    let iterator = context.iterator(&stream, S0, HORIZON).await?;
    let get = context.client.get_records().shard_iterator(iterator);
    refused(get.dry_run(true).send().await, DRY_RUN).map(drop)
}

/// Were there a subscription now, another call within five seconds would be refused.
async fn subscribe(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let consumer = context.consumer(&stream, "reader").await?;
    let position = StartingPosition::builder().r#type(HORIZON).build()?;
    let subscribe = context.client.subscribe_to_shard().consumer_arn(&consumer);
    let subscribe = subscribe.shard_id(S0).starting_position(position);
    let answer = subscribe.clone().dry_run(true).send().await;
    refused(answer.map(drop), DRY_RUN)?;
    subscribe.send().await?;
    Ok(())
}
