//! GetShardIterator, GetRecords.

use anyhow::{Context as _, ensure};
use aws_sdk_kinesis::operation::get_records::GetRecordsOutput;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::ShardIteratorType;

use super::case::cases;
use super::context::{Context, HALF, S0, S1, S2, Stream, texts};
use super::records::{MIB, blob};
use super::refusal::{INVALID, refused, same};

cases! {
    GetShardIterator {
        Plain:
            trim_horizon,
            latest,
            at_sequence_number,
            after_sequence_number,
            at_timestamp,
            at_timestamp_of_a_record_is_that_record = at_exact_timestamp,
            at_timestamp_before_everything_is_the_trim_horizon = at_old_timestamp,
            after_the_last_record_of_a_closed_shard_is_its_end = after_last_of_closed,
            latest_of_a_closed_shard_is_its_end = latest_of_closed,
            resource_not_found_exception_for_a_shard = iterator_of_unknown,
            invalid_argument_exception_for_no_sequence_number = iterator_without_number,
            invalid_argument_exception_for_no_timestamp = iterator_without_timestamp,
            invalid_argument_exception_for_an_unknown_type = iterator_of_no_type,
            invalid_argument_exception_for_a_sequence_number_that_is_no_number = iterator_at_no_number;
    }
    GetRecords {
        Plain:
            returns_what_was_put_in_order,
            limit_is_kept,
            no_records_is_an_empty_list_and_an_iterator,
            millis_behind_latest_is_0_at_the_tip_only,
            an_iterator_can_be_used_twice,
            the_end_of_a_split_shard_brings_its_children,
            the_end_of_a_merged_shard_brings_its_child,
            children_come_at_the_end_only,
            at_most_ten_mib_come_at_once,
            ten_thousand_records_may_be_asked_for,
            invalid_argument_exception_for_a_limit_of_10001 = get_10001,
            invalid_argument_exception_for_a_limit_of_0 = get_0,
            invalid_argument_exception_for_no_iterator_of_ours = get_garbage;
    }
}

/// A page of the first shard's first record.
async fn first_record(context: &Context, stream: &Stream) -> anyhow::Result<GetRecordsOutput> {
    let kind = ShardIteratorType::TrimHorizon;
    let iterator = context.iterator(&stream.name, S0, kind).await?;
    let get = context.client.get_records().shard_iterator(iterator);
    Ok(get.limit(1).send().await?)
}

/// A stream with the records a, b, c, and their sequence numbers.
async fn with_abc(context: &Context) -> anyhow::Result<(Stream, Vec<String>)> {
    let stream = context.stream(1).await?;
    let mut numbers = Vec::new();
    for data in ["a", "b", "c"] {
        numbers.push(context.put(&stream.name, data).await?);
    }
    Ok((stream, numbers))
}

async fn trim_horizon(context: &Context) -> anyhow::Result<()> {
    let (stream, _) = with_abc(context).await?;
    let read = context.read(&stream.name, S0, 3).await?;
    same("from the horizon", texts(&read).concat().as_str(), "abc")
}

/// LATEST: "just after the most recent record in the shard".
async fn latest(context: &Context) -> anyhow::Result<()> {
    let (stream, _) = with_abc(context).await?;
    let iterator = context
        .iterator(&stream.name, S0, ShardIteratorType::Latest)
        .await?;
    context.put(&stream.name, "d").await?;
    let read = context.read_from(Some(iterator), 1).await?;
    same("from the latest", texts(&read).concat().as_str(), "d")
}

async fn from_number(
    context: &Context,
    kind: ShardIteratorType,
    expected: &str,
) -> anyhow::Result<()> {
    let (stream, numbers) = with_abc(context).await?;
    let iterator = context
        .client
        .get_shard_iterator()
        .stream_name(&stream.name);
    let iterator = iterator.shard_id(S0).shard_iterator_type(kind);
    let iterator = iterator
        .starting_sequence_number(&numbers[1])
        .send()
        .await?;
    let read = context
        .read_from(iterator.shard_iterator, expected.len())
        .await?;
    same(
        "from the second's number",
        texts(&read).concat().as_str(),
        expected,
    )
}

async fn at_sequence_number(context: &Context) -> anyhow::Result<()> {
    from_number(context, ShardIteratorType::AtSequenceNumber, "bc").await
}

async fn after_sequence_number(context: &Context) -> anyhow::Result<()> {
    from_number(context, ShardIteratorType::AfterSequenceNumber, "c").await
}

async fn from_time(context: &Context, stream: &Stream, time: DateTime) -> anyhow::Result<String> {
    let kind = ShardIteratorType::AtTimestamp;
    let iterator = context
        .client
        .get_shard_iterator()
        .stream_name(&stream.name);
    let iterator = iterator.shard_id(S0).shard_iterator_type(kind);
    let iterator = iterator.timestamp(time).send().await?.shard_iterator;
    let read = context.read_from(iterator, 1).await?;
    Ok(texts(&read).concat())
}

/// "If a record with this exact time stamp does not exist, the iterator returned is for the next (later) record."
async fn at_timestamp(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    context.put(&stream.name, "a").await?;
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let between = DateTime::from(std::time::SystemTime::now());
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    context.put(&stream.name, "b").await?;
    same(
        "from in between",
        from_time(context, &stream, between).await?.as_str(),
        "b",
    )
}

async fn at_exact_timestamp(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    for data in ["a", "b"] {
        context.put(&stream.name, data).await?;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let records = context.read(&stream.name, S0, 2).await?;
    let arrival = records[1].approximate_arrival_timestamp().copied();
    let arrival = arrival.context("no ApproximateArrivalTimestamp")?;
    same(
        "from its arrival",
        from_time(context, &stream, arrival).await?.as_str(),
        "b",
    )
}

/// "If the time stamp is older than the current trim horizon, the iterator returned is for the oldest untrimmed record."
async fn at_old_timestamp(context: &Context) -> anyhow::Result<()> {
    let (stream, _) = with_abc(context).await?;
    let read = from_time(context, &stream, DateTime::from_secs(1_500_000_000)).await?;
    ensure!(read.starts_with('a'), "it begins with {read:?}");
    Ok(())
}

/// A shard with one record that was split; the record's number.
async fn closed(context: &Context) -> anyhow::Result<(Stream, String)> {
    let stream = context.stream(1).await?;
    let number = context.put(&stream.name, "last").await?;
    context.split(&stream.name, S0, HALF).await?;
    Ok((stream, number))
}

async fn ends_at_once(context: &Context, iterator: Option<String>) -> anyhow::Result<()> {
    let read = context.read_from(iterator, 1).await?;
    same("records after the end", read.len(), 0)
}

async fn after_last_of_closed(context: &Context) -> anyhow::Result<()> {
    let (stream, number) = closed(context).await?;
    let kind = ShardIteratorType::AfterSequenceNumber;
    let iterator = context
        .client
        .get_shard_iterator()
        .stream_name(&stream.name);
    let iterator = iterator.shard_id(S0).shard_iterator_type(kind);
    let iterator = iterator.starting_sequence_number(number).send().await?;
    ends_at_once(context, iterator.shard_iterator).await
}

/// "If the shard is closed, GetShardIterator returns a valid iterator for the last sequence number of the shard."
async fn latest_of_closed(context: &Context) -> anyhow::Result<()> {
    let (stream, _) = closed(context).await?;
    let iterator = context
        .iterator(&stream.name, S0, ShardIteratorType::Latest)
        .await?;
    ends_at_once(context, Some(iterator)).await
}

async fn iterator_of_unknown(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let iterator = context
        .client
        .get_shard_iterator()
        .stream_name(&stream.name);
    let iterator = iterator
        .shard_id(S2)
        .shard_iterator_type(ShardIteratorType::Latest);
    refused(iterator.send().await, &["ResourceNotFoundException"]).map(drop)
}

async fn bad_iterator(context: &Context, kind: &str, number: Option<&str>) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let iterator = context
        .client
        .get_shard_iterator()
        .stream_name(&stream.name);
    let iterator = iterator.shard_id(S0).shard_iterator_type(kind.into());
    let iterator = iterator.set_starting_sequence_number(number.map(str::to_owned));
    refused(iterator.send().await, INVALID).map(drop)
}

async fn iterator_without_number(context: &Context) -> anyhow::Result<()> {
    bad_iterator(context, "AT_SEQUENCE_NUMBER", None).await
}

async fn iterator_without_timestamp(context: &Context) -> anyhow::Result<()> {
    bad_iterator(context, "AT_TIMESTAMP", None).await
}

async fn iterator_of_no_type(context: &Context) -> anyhow::Result<()> {
    bad_iterator(context, "AT_THE_END", None).await
}

async fn iterator_at_no_number(context: &Context) -> anyhow::Result<()> {
    bad_iterator(context, "AT_SEQUENCE_NUMBER", Some("ten")).await
}

async fn returns_what_was_put_in_order(context: &Context) -> anyhow::Result<()> {
    let (stream, numbers) = with_abc(context).await?;
    let records = context.read(&stream.name, S0, 3).await?;
    same("the data", texts(&records).concat().as_str(), "abc")?;
    let read: Vec<_> = records
        .iter()
        .map(|record| record.sequence_number.clone())
        .collect();
    same("the numbers", read, numbers)
}

async fn limit_is_kept(context: &Context) -> anyhow::Result<()> {
    let (stream, _) = with_abc(context).await?;
    let kind = ShardIteratorType::TrimHorizon;
    let mut iterator = Some(context.iterator(&stream.name, S0, kind).await?);
    for expected in ["ab", "c"] {
        let page = context.client.get_records().set_shard_iterator(iterator);
        let page = page.limit(2).send().await?;
        same("a page", texts(&page.records).concat().as_str(), expected)?;
        iterator = page.next_shard_iterator;
    }
    Ok(())
}

async fn no_records_is_an_empty_list_and_an_iterator(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let kind = ShardIteratorType::TrimHorizon;
    let iterator = context.iterator(&stream.name, S0, kind).await?;
    let page = context
        .client
        .get_records()
        .shard_iterator(iterator)
        .send()
        .await?;
    same("records", page.records.len(), 0)?;
    ensure!(page.next_shard_iterator.is_some(), "no NextShardIterator");
    same("MillisBehindLatest", page.millis_behind_latest, Some(0))
}

/// "A value of zero indicates that record processing is caught up, and there are no new records to process."
async fn millis_behind_latest_is_0_at_the_tip_only(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    context.put(&stream.name, "a").await?;
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    context.put(&stream.name, "b").await?;
    let first = first_record(context, &stream).await?;
    let behind = first
        .millis_behind_latest
        .context("no MillisBehindLatest")?;
    ensure!(behind > 0, "a record follows, and it says {behind}");
    let second = context
        .client
        .get_records()
        .set_shard_iterator(first.next_shard_iterator);
    let second = second.send().await?;
    same("at the tip", second.millis_behind_latest, Some(0))
}

async fn an_iterator_can_be_used_twice(context: &Context) -> anyhow::Result<()> {
    let (stream, _) = with_abc(context).await?;
    let kind = ShardIteratorType::TrimHorizon;
    let iterator = context.iterator(&stream.name, S0, kind).await?;
    for _ in 0..2 {
        let page = context.client.get_records().shard_iterator(&iterator);
        same(
            "its page",
            texts(&page.send().await?.records).concat().as_str(),
            "abc",
        )?;
    }
    Ok(())
}

/// The last page of a closed shard: no iterator, and its children.
async fn last_page(
    context: &Context,
    stream: &Stream,
) -> anyhow::Result<Vec<aws_sdk_kinesis::types::ChildShard>> {
    let kind = ShardIteratorType::TrimHorizon;
    let mut iterator = context.iterator(&stream.name, S0, kind).await?;
    for _ in 0..100 {
        let page = context.client.get_records().shard_iterator(&iterator);
        let page = page.send().await?;
        match page.next_shard_iterator {
            Some(next) => {
                ensure!(page.child_shards.is_none_or(|children| children.is_empty()));
                iterator = next;
            }
            None => return page.child_shards.context("no ChildShards at the end"),
        }
    }
    anyhow::bail!("a closed shard has no end")
}

async fn the_end_of_a_split_shard_brings_its_children(context: &Context) -> anyhow::Result<()> {
    let (stream, _) = closed(context).await?;
    let mut children = last_page(context, &stream).await?;
    children.sort_by(|one, other| one.shard_id.cmp(&other.shard_id));
    let ids: Vec<_> = children.iter().map(|child| child.shard_id()).collect();
    same("the children", ids, vec![S1, S2])?;
    let shards = context.shards(&stream.name).await?;
    for (child, shard) in children.iter().zip(&shards[1..]) {
        same("its parents", child.parent_shards(), &[S0.to_owned()][..])?;
        same("its range", child.hash_key_range(), shard.hash_key_range())?;
    }
    Ok(())
}

async fn the_end_of_a_merged_shard_brings_its_child(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(2).await?;
    context.merge(&stream.name, S0, S1).await?;
    let children = last_page(context, &stream).await?;
    let child = children.first().context("no child")?;
    same("the child", (child.shard_id(), children.len()), (S2, 1))?;
    let mut parents = child.parent_shards().to_vec();
    parents.sort();
    same("its parents", parents, vec![S0.to_owned(), S1.to_owned()])
}

/// ChildShards: "returned in the GetRecords API's response only when the end of the current shard is reached".
async fn children_come_at_the_end_only(context: &Context) -> anyhow::Result<()> {
    let (stream, _) = with_abc(context).await?;
    context.split(&stream.name, S0, HALF).await?;
    let page = first_record(context, &stream).await?;
    ensure!(page.next_shard_iterator.is_some(), "no NextShardIterator");
    let children = page.child_shards.unwrap_or_default();
    same("children before the end", children.len(), 0)
}

/// "The maximum size of data that GetRecords can return is 10 MiB."
async fn at_most_ten_mib_come_at_once(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    for _ in 0..12 {
        let put = context.client.put_record().stream_name(&stream.name);
        put.partition_key("key").data(blob(MIB - 3)).send().await?;
    }
    let kind = ShardIteratorType::TrimHorizon;
    let iterator = context.iterator(&stream.name, S0, kind).await?;
    let page = context.client.get_records().shard_iterator(&iterator);
    let page = page.send().await?;
    ensure!(
        (1..=10).contains(&page.records.len()),
        "{} records of 1 MiB",
        page.records.len()
    );
    let rest = context.read_from(page.next_shard_iterator, 12 - page.records.len());
    same("the rest", rest.await?.len(), 12 - page.records.len())
}

async fn ten_thousand_records_may_be_asked_for(context: &Context) -> anyhow::Result<()> {
    let (stream, _) = with_abc(context).await?;
    let kind = ShardIteratorType::TrimHorizon;
    let iterator = context.iterator(&stream.name, S0, kind).await?;
    let page = context
        .client
        .get_records()
        .shard_iterator(iterator)
        .limit(10_000);
    same("records", page.send().await?.records.len(), 3)
}

async fn get_limited(context: &Context, limit: i32, codes: &[&str]) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let kind = ShardIteratorType::TrimHorizon;
    let iterator = context.iterator(&stream.name, S0, kind).await?;
    let page = context
        .client
        .get_records()
        .shard_iterator(iterator)
        .limit(limit);
    refused(page.send().await, codes).map(drop)
}

/// "If you specify a value that is greater than 10,000, GetRecords throws InvalidArgumentException."
async fn get_10001(context: &Context) -> anyhow::Result<()> {
    get_limited(context, 10_001, &["InvalidArgumentException"]).await
}

async fn get_0(context: &Context) -> anyhow::Result<()> {
    get_limited(context, 0, INVALID).await
}

async fn get_garbage(context: &Context) -> anyhow::Result<()> {
    let get = context
        .client
        .get_records()
        .shard_iterator("not-an-iterator");
    refused(get.send().await, INVALID).map(drop)
}
