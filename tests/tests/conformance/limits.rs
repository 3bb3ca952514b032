//! Throughput limits of shards, where they are enforced. A case calls until it is refused, which a limit per second brings
//! about on any machine; it says nothing about when.

use anyhow::{Context as _, bail, ensure};
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, ShardIteratorType};

use super::case::cases;
use super::context::{Context, HALF, S0, S1};
use super::refusal::outcome;

cases! {
    PutRecord {
        Limits: provisioned_throughput_exceeded_exception_above_a_mib_a_second = put_too_much;
    }
    PutRecords {
        Limits:
            provisioned_throughput_exceeded_exception_for_a_part_of_the_records = put_partly,
            provisioned_throughput_exceeded_exception_for_more_than_a_thousand = put_too_many;
    }
    GetShardIterator {
        Limits: provisioned_throughput_exceeded_exception_above_five_calls_a_second = iterate_too_often;
    }
    GetRecords {
        Limits: provisioned_throughput_exceeded_exception_above_five_calls_a_second = get_too_often;
    }
}

const THROTTLED: &str = "ProvisionedThroughputExceededException";
const MIB: usize = 1024 * 1024;
/// Calls that are more than a second allows, several times over.
const ENOUGH: usize = 12;
/// The same of calls with a MiB and more.
const ENOUGH_MIB: usize = 4;

/// "Each shard can support writes up to 1,000 records per second, up to a maximum data write total of 1 MiB per second."
async fn put_too_much(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    for _ in 0..ENOUGH_MIB {
        let put = context.client.put_record().stream_name(&stream.name);
        let put = put
            .partition_key("key")
            .data(Blob::new(vec![b'x'; MIB - 3]));
        if let Err(refusal) = outcome(put.send().await)? {
            return refusal.is(&[THROTTLED]).map(drop);
        }
    }
    bail!("{ENOUGH_MIB} records of 1 MiB were taken");
}

fn entry(hash_key: &str, bytes: usize) -> anyhow::Result<PutRecordsRequestEntry> {
    let entry = PutRecordsRequestEntry::builder().partition_key("key");
    let entry = entry.explicit_hash_key(hash_key);
    Ok(entry.data(Blob::new(vec![b'x'; bytes])).build()?)
}

/// "A single record failure does not stop the processing of subsequent records." ErrorMessage: "includes the account ID,
/// stream name, and shard ID of the record that was throttled".
async fn put_partly(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(2).await?;
    let account = stream.arn.split(':').nth(4).context("no account")?;
    for _ in 0..ENOUGH_MIB {
        let put = context.client.put_records().stream_name(&stream.name);
        let put = put
            .records(entry("0", MIB - 3)?)
            .records(entry("0", MIB - 3)?);
        let put = put.records(entry(HALF, 1)?).send().await?;
        let failed = put
            .records()
            .iter()
            .filter(|record| record.error_code().is_some());
        let failed: Vec<_> = failed.collect();
        ensure!(
            put.failed_record_count() == i32::try_from(failed.len()).ok(),
            "FailedRecordCount {:?} of {}",
            put.failed_record_count(),
            failed.len()
        );
        let Some(record) = failed.first() else {
            continue;
        };
        ensure!(record.error_code() == Some(THROTTLED), "{record:?}");
        ensure!(record.sequence_number().is_none(), "{record:?}");
        let message = record.error_message().unwrap_or_default();
        for part in [account, stream.name.as_str(), S0] {
            ensure!(message.contains(part), "no {part} in {message:?}");
        }
        let other = put.records().get(2).context("three results")?;
        ensure!(
            other.shard_id() == Some(S1),
            "the other shard's record: {other:?}"
        );
        return Ok(());
    }
    bail!("{} records of 1 MiB were taken", 2 * ENOUGH_MIB);
}

async fn put_too_many(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    for _ in 0..ENOUGH {
        let entries = (0..500).map(|_| entry("0", 1)).collect::<Result<_, _>>()?;
        let put = context.client.put_records().stream_name(&stream.name);
        match outcome(put.set_records(Some(entries)).send().await)? {
            // All of them over the limit: the reference has both forms.
            Err(refusal) => return refusal.is(&[THROTTLED]).map(drop),
            Ok(put) => {
                let failed = put
                    .records()
                    .iter()
                    .filter_map(|record| record.error_code());
                let failed: Vec<&str> = failed.collect();
                ensure!(failed.iter().all(|code| *code == THROTTLED), "{failed:?}");
                if !failed.is_empty() {
                    return Ok(());
                }
            }
        }
    }
    bail!("{} records were taken", 500 * ENOUGH);
}

/// "This operation has a limit of five transactions per second per shard."
async fn get_too_often(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let kind = ShardIteratorType::TrimHorizon;
    let iterator = context.iterator(&stream.name, S0, kind).await?;
    for _ in 0..ENOUGH {
        let get = context.client.get_records().shard_iterator(&iterator);
        if let Err(refusal) = outcome(get.send().await)? {
            return refusal.is(&[THROTTLED]).map(drop);
        }
    }
    bail!("{ENOUGH} calls were answered");
}

/// "GetShardIterator has a limit of five transactions per second per account per open shard."
async fn iterate_too_often(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    for _ in 0..ENOUGH {
        let get = context.client.get_shard_iterator();
        let get = get.stream_name(&stream.name).shard_id(S0);
        let get = get.shard_iterator_type(ShardIteratorType::Latest);
        if let Err(refusal) = outcome(get.send().await)? {
            return refusal.is(&[THROTTLED]).map(drop);
        }
    }
    bail!("{ENOUGH} calls were answered");
}
