//! PutRecord, PutRecords.

use anyhow::{Context as _, ensure};
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{EncryptionType, PutRecordsRequestEntry, ShardIteratorType};
use serde_json::json;

use super::case::cases;
use super::context::{Context, HALF, LAST_KEY, S0, S1, by_size, texts};
use super::refusal::{INVALID, Refusal, refused, same};

cases! {
    PutRecord {
        Plain:
            a_record_can_be_read_once_its_put_returned,
            tells_shard_sequence_number_and_encryption = put_tells,
            sequence_numbers_grow_strictly,
            sequence_number_for_ordering_is_taken,
            a_partition_keys_md5_chooses_the_shard,
            an_explicit_hash_key_goes_before_the_partition_key,
            data_may_be_empty,
            a_partition_key_of_256_characters_is_taken,
            a_mib_is_taken = put_a_mib,
            a_stream_with_larger_records_takes_them = put_two_mib,
            invalid_argument_exception_for_more_than_a_mib = put_more_than_a_mib,
            invalid_argument_exception_for_a_partition_key_of_257_characters = put_long_key,
            invalid_argument_exception_for_no_partition_key = put_without_key,
            invalid_argument_exception_for_an_empty_partition_key = put_empty_key,
            invalid_argument_exception_for_a_hash_key_beyond_128_bits = put_beyond,
            invalid_argument_exception_for_a_hash_key_that_is_no_number = put_no_number;
        Delays:
            resource_not_found_exception_while_creating = put_while_creating;
    }
    PutRecords {
        Plain:
            results_are_in_the_requests_order,
            all_can_be_read_once_it_returned,
            five_hundred_records_are_taken,
            invalid_argument_exception_for_501_records = put_501,
            invalid_argument_exception_for_no_records = put_none,
            invalid_argument_exception_for_more_than_ten_mib = put_eleven_mib,
            invalid_argument_exception_for_a_record_without_partition_key = put_records_without_key;
    }
}

/// An unordered write would show: each put is followed by a read of all.
async fn a_record_can_be_read_once_its_put_returned(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let mut put = Vec::new();
    for index in 0..20 {
        let data = format!("{index}");
        context.put(&stream.name, &data).await?;
        put.push(data);
        let kind = ShardIteratorType::TrimHorizon;
        let iterator = context.iterator(&stream.name, S0, kind).await?;
        let page = context.client.get_records().shard_iterator(iterator);
        same(
            "all that was put",
            &texts(&page.send().await?.records),
            &put,
        )?;
    }
    Ok(())
}

async fn put_tells(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(2).await?;
    let put = context.client.put_record().stream_name(&stream.name);
    let put = put.partition_key("key").explicit_hash_key(HALF);
    let put = put.data(Blob::new("data")).send().await?;
    same("the shard", put.shard_id(), S1)?;
    let digits = put
        .sequence_number()
        .bytes()
        .all(|byte| byte.is_ascii_digit());
    // SequenceNumber: the pattern of the reference.
    ensure!(
        digits && (1..=129).contains(&put.sequence_number().len()),
        "no sequence number: {}",
        put.sequence_number()
    );
    let encryption = put.encryption_type().unwrap_or(&EncryptionType::None);
    same("the encryption", encryption, &EncryptionType::None)?;
    let record = context.read(&stream.name, S1, 1).await?;
    let record = record.first().context("no record")?;
    same(
        "its number",
        record.sequence_number(),
        put.sequence_number(),
    )?;
    same("its key", record.partition_key(), Some("key"))?;
    let arrival = record.approximate_arrival_timestamp();
    ensure!(
        arrival.is_some_and(|arrival| arrival.secs() > 1_700_000_000),
        "ApproximateArrivalTimestamp is in seconds since 1970: {arrival:?}"
    );
    Ok(())
}

fn grow(numbers: &[String]) -> anyhow::Result<()> {
    for pair in numbers.windows(2) {
        ensure!(
            by_size(&pair[0]) < by_size(&pair[1]),
            "{} comes after {}",
            pair[1],
            pair[0]
        );
    }
    Ok(())
}

async fn sequence_numbers_grow_strictly(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let mut numbers = Vec::new();
    for _ in 0..20 {
        numbers.push(context.put(&stream.name, "data").await?);
    }
    grow(&numbers)
}

/// "Set the SequenceNumberForOrdering of record n to the sequence number of record n-1."
async fn sequence_number_for_ordering_is_taken(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let mut numbers: Vec<String> = Vec::new();
    for _ in 0..3 {
        let put = context.client.put_record().stream_name(&stream.name);
        let put = put.partition_key("key").data(Blob::new("data"));
        let put = put.set_sequence_number_for_ordering(numbers.last().cloned());
        numbers.push(put.send().await?.sequence_number);
    }
    grow(&numbers)
}

/// Partition keys and whether their MD5 begins with a bit of 1, which is the upper half of the key space.
const KEYS: [(&str, bool); 6] = [
    ("a", false),   // 0cc175b9…
    ("b", true),    // 92eb5ffe…
    ("c", false),   // 4a8a08f0…
    ("d", true),    // 8277e091…
    ("AAPL", true), // 8b10e4ae…
    ("MSFT", true), // b004b3ec…
];

async fn a_partition_keys_md5_chooses_the_shard(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(2).await?;
    for (key, upper) in KEYS {
        let put = context.client.put_record().stream_name(&stream.name);
        let put = put.partition_key(key).data(Blob::new("data"));
        let shard = put.send().await?.shard_id;
        same(key, shard.as_str(), if upper { S1 } else { S0 })?;
    }
    Ok(())
}

async fn an_explicit_hash_key_goes_before_the_partition_key(
    context: &Context,
) -> anyhow::Result<()> {
    let stream = context.stream(2).await?;
    for (key, shard) in [("0", S0), (HALF, S1), (LAST_KEY, S1)] {
        same(
            "the shard",
            context.put_at(&stream.name, key, "data").await?.0,
            shard.to_owned(),
        )?;
    }
    Ok(())
}

/// Data: "Length Constraints: Minimum length of 0."
async fn data_may_be_empty(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    context.put(&stream.name, "").await?;
    context.put(&stream.name, "after").await?;
    let read = context.read(&stream.name, S0, 2).await?;
    same(
        "both",
        texts(&read),
        vec![String::new(), "after".to_owned()],
    )
}

/// "Partition keys are Unicode strings, with a maximum length limit of 256 characters."
async fn a_partition_key_of_256_characters_is_taken(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let key = "é".repeat(256);
    let put = context.client.put_record().stream_name(&stream.name);
    put.partition_key(&key)
        .data(Blob::new("data"))
        .send()
        .await?;
    let read = context.read(&stream.name, S0, 1).await?;
    same("the key", read[0].partition_key(), Some(key.as_str()))
}

/// A mebibyte.
pub const MIB: usize = 1024 * 1024;

/// As many bytes.
pub fn blob(bytes: usize) -> Blob {
    Blob::new(vec![b'x'; bytes])
}

/// GetRecords: "Each data record can be up to 1 MiB in size by default." Partition key and data count together.
async fn put_a_mib(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let put = context.client.put_record().stream_name(&stream.name);
    put.partition_key("key").data(blob(MIB - 3)).send().await?;
    let read = context.read(&stream.name, S0, 1).await?;
    same("its size", read[0].data().as_ref().len(), MIB - 3)
}

async fn put_more_than_a_mib(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let put = context.client.put_record().stream_name(&stream.name);
    let put = put.partition_key("key").data(blob(MIB + 1));
    refused(put.send().await, INVALID).map(drop)
}

/// MaxRecordSizeInKiB: "the maximum record size of a single record in KiB that you can write to, and read from a stream".
async fn put_two_mib(context: &Context) -> anyhow::Result<()> {
    let name = context.name();
    let create = context.client.create_stream().stream_name(&name);
    let create = create.shard_count(1).max_record_size_in_kib(2048);
    create.send().await?;
    context.active(&name).await?;
    let put = context.client.put_record().stream_name(&name);
    put.partition_key("key")
        .data(blob(2 * MIB - 3))
        .send()
        .await?;
    let larger = context.client.put_record().stream_name(&name);
    let larger = larger.partition_key("key").data(blob(2 * MIB + 1));
    refused(larger.send().await, INVALID).map(drop)
}

async fn put_with_key(context: &Context, key: &str) -> anyhow::Result<Refusal> {
    let stream = context.stream(1).await?;
    let put = context.client.put_record().stream_name(&stream.name);
    let put = put.partition_key(key).data(Blob::new("data"));
    refused(put.send().await, INVALID)
}

async fn put_long_key(context: &Context) -> anyhow::Result<()> {
    put_with_key(context, &"x".repeat(257)).await.map(drop)
}

async fn put_empty_key(context: &Context) -> anyhow::Result<()> {
    put_with_key(context, "").await.map(drop)
}

async fn put_without_key(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let body = json!({"StreamName": stream.name, "Data": "eA=="});
    let refusal = context.raw("PutRecord", &body).await?.refusal()?;
    refusal.is(INVALID).map(drop)
}

async fn put_with_hash_key(context: &Context, key: &str) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let put = context.client.put_record().stream_name(&stream.name);
    let put = put.partition_key("key").explicit_hash_key(key);
    refused(put.data(Blob::new("data")).send().await, INVALID).map(drop)
}

async fn put_beyond(context: &Context) -> anyhow::Result<()> {
    put_with_hash_key(context, "340282366920938463463374607431768211456").await
}

async fn put_no_number(context: &Context) -> anyhow::Result<()> {
    put_with_hash_key(context, "ten").await
}

/// "You should perform read and write operations only on an ACTIVE stream." Of PutRecord's documented errors only
/// ResourceNotFoundException fits; ResourceInUseException isn't among them.
async fn put_while_creating(context: &Context) -> anyhow::Result<()> {
    let _creating = context.hold_creations(false).await?;
    let name = context.name();
    let create = context.client.create_stream().stream_name(&name);
    create.shard_count(1).send().await?;
    let put = context.client.put_record().stream_name(&name);
    let put = put
        .partition_key("key")
        .data(Blob::new("data"))
        .send()
        .await;
    let refusal = refused(put, &["ResourceNotFoundException"]);
    context.active(&name).await?;
    refusal.map(drop)
}

fn entry(key: &str, data: &str) -> anyhow::Result<PutRecordsRequestEntry> {
    let entry = PutRecordsRequestEntry::builder().partition_key("key");
    let entry = entry.explicit_hash_key(key).data(Blob::new(data));
    Ok(entry.build()?)
}

/// "Each record in the response array directly correlates with a record in the request array using natural ordering."
async fn results_are_in_the_requests_order(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(2).await?;
    let keys = ["0", HALF, "1", LAST_KEY, "2"];
    let entries = keys
        .iter()
        .map(|key| entry(key, key))
        .collect::<Result<Vec<_>, _>>()?;
    let put = context.client.put_records().stream_name(&stream.name);
    let put = put.set_records(Some(entries)).send().await?;
    same("FailedRecordCount", put.failed_record_count(), Some(0))?;
    let shards: Vec<_> = put
        .records()
        .iter()
        .map(|result| result.shard_id())
        .collect();
    let expected = vec![Some(S0), Some(S1), Some(S0), Some(S1), Some(S0)];
    same("the results' shards", shards, expected)?;
    for (result, key) in put.records().iter().zip(keys) {
        let number = result.sequence_number().context("no SequenceNumber")?;
        ensure!(result.error_code().is_none(), "{result:?}");
        let shard = result.shard_id().context("no ShardId")?;
        let kind = ShardIteratorType::AtSequenceNumber;
        let iterator = context
            .client
            .get_shard_iterator()
            .stream_name(&stream.name);
        let iterator = iterator.shard_id(shard).shard_iterator_type(kind);
        let iterator = iterator.starting_sequence_number(number).send().await?;
        let read = context.read_from(iterator.shard_iterator, 1).await?;
        same("the record of that number", texts(&read)[0].as_str(), key)?;
    }
    Ok(())
}

async fn all_can_be_read_once_it_returned(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let entries = (0..10).map(|index| entry("0", &index.to_string()));
    let put = context.client.put_records().stream_name(&stream.name);
    let put = put.set_records(Some(entries.collect::<Result<_, _>>()?));
    put.send().await?;
    let kind = ShardIteratorType::TrimHorizon;
    let iterator = context.iterator(&stream.name, S0, kind).await?;
    let page = context.client.get_records().shard_iterator(iterator);
    // "PutRecords doesn't guarantee the ordering of records."
    let mut read = texts(&page.send().await?.records);
    read.sort();
    same(
        "all records",
        read,
        (0..10).map(|index| index.to_string()).collect(),
    )
}

async fn put_many(context: &Context, count: usize) -> anyhow::Result<Result<i32, Refusal>> {
    let stream = context.stream(1).await?;
    let entries = (0..count).map(|_| entry("0", "data"));
    let put = context.client.put_records().stream_name(&stream.name);
    let put = put.set_records(Some(entries.collect::<Result<_, _>>()?));
    let put = super::refusal::outcome(put.send().await)?;
    Ok(put.map(|put| put.failed_record_count().unwrap_or(0)))
}

async fn five_hundred_records_are_taken(context: &Context) -> anyhow::Result<()> {
    let put = put_many(context, 500).await?;
    ensure!(matches!(put, Ok(0)), "{put:?}");
    Ok(())
}

async fn put_501(context: &Context) -> anyhow::Result<()> {
    let refusal = put_many(context, 501).await?.err();
    refusal
        .context("501 records were taken")?
        .is(INVALID)
        .map(drop)
}

async fn put_none(context: &Context) -> anyhow::Result<()> {
    let refusal = put_many(context, 0).await?.err();
    refusal
        .context("no records were taken")?
        .is(INVALID)
        .map(drop)
}

/// "Up to a limit of 10 MiB for the entire request, including partition keys."
async fn put_eleven_mib(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let data = "x".repeat(MIB - 3);
    let entries = (0..11).map(|_| entry("0", &data));
    let put = context.client.put_records().stream_name(&stream.name);
    let put = put.set_records(Some(entries.collect::<Result<_, _>>()?));
    refused(put.send().await, INVALID).map(drop)
}

async fn put_records_without_key(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let body = json!({"StreamName": stream.name, "Records": [{"Data": "eA=="}]});
    let refusal = context.raw("PutRecords", &body).await?.refusal()?;
    refusal.is(INVALID).map(drop)
}
