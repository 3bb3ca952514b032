//! ListShards, SplitShard, MergeShards.

use anyhow::{Context as _, ensure};
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::{
    Shard, ShardFilter, ShardFilterType, ShardIteratorType, StreamStatus,
};

use super::case::cases;
use super::context::{Context, HALF, LAST_KEY, S0, S1, S2, Stream, by_size, texts};
use super::refusal::{INVALID, refused, same};

/// The fourth and fifth shard.
const S3: &str = "shardId-000000000003";
const S4: &str = "shardId-000000000004";
const QUARTER: &str = "85070591730234615865843651857942052864";

cases! {
    ListShards {
        Plain:
            lists_open_and_closed_shards_with_their_lineage,
            filter_at_latest,
            filter_at_trim_horizon,
            filter_from_trim_horizon,
            filter_after_shard_id,
            filter_at_timestamp,
            filter_from_timestamp,
            a_filter_holds_on_every_page,
            pages_by_next_token,
            starts_after_exclusive_start_shard_id,
            at_most_1000_shards_come_at_once,
            finds_a_stream_by_its_creation_timestamp,
            resource_not_found_exception_for_another_creation_timestamp = other_timestamp,
            invalid_argument_exception_for_a_token_with_a_name = token_and_name,
            invalid_argument_exception_for_a_token_with_a_start = token_and_start,
            invalid_argument_exception_for_no_token_at_all = not_a_token,
            invalid_argument_exception_for_a_filter_without_its_timestamp = filter_without_timestamp,
            invalid_argument_exception_for_a_filter_without_its_shard = filter_without_shard,
            invalid_argument_exception_for_max_results_of_0 = max_results_0;
    }
    SplitShard {
        Plain:
            makes_two_children_of_the_parents_range,
            a_childs_sequence_numbers_are_above_its_parents = split_numbers,
            puts_go_to_the_children = split_routes,
            the_closed_parent_can_be_read = split_parent_is_read,
            resource_not_found_exception_for_a_shard = split_unknown,
            invalid_argument_exception_for_a_key_outside = split_outside,
            invalid_argument_exception_for_the_first_key = split_at_first_key,
            invalid_argument_exception_for_a_closed_shard = split_closed,
            validation_exception_on_demand = split_on_demand;
        Delays:
            is_updating_then_active = split_updating,
            reads_and_writes_go_on_while_updating = split_updating_works,
            resource_in_use_exception_while_updating = split_while_updating,
            resource_in_use_exception_while_creating = split_while_creating;
    }
    MergeShards {
        Plain:
            makes_one_child_of_both_ranges,
            the_order_of_the_two_does_not_matter = merge_either_way,
            a_childs_sequence_numbers_are_above_both_parents = merge_numbers,
            resource_not_found_exception_for_a_shard = merge_unknown,
            invalid_argument_exception_for_shards_that_are_not_adjacent = merge_not_adjacent,
            invalid_argument_exception_for_a_shard_with_itself = merge_itself,
            invalid_argument_exception_for_a_closed_shard = merge_closed,
            validation_exception_on_demand = merge_on_demand;
        Delays:
            is_updating_then_active = merge_updating,
            resource_in_use_exception_while_updating = merge_while_updating;
    }
}

/// A stream of one shard that was split, and one child split again: 0 → 1, 2; 1 → 3, 4.
async fn lineage(context: &Context) -> anyhow::Result<Stream> {
    let stream = context.stream(1).await?;
    context.split(&stream.name, S0, HALF).await?;
    context.split(&stream.name, S1, QUARTER).await?;
    Ok(stream)
}

fn ids(shards: &[Shard]) -> Vec<&str> {
    let mut ids: Vec<&str> = shards.iter().map(|shard| shard.shard_id()).collect();
    ids.sort_unstable();
    ids
}

async fn filtered(
    context: &Context,
    stream: &Stream,
    filter: aws_sdk_kinesis::types::builders::ShardFilterBuilder,
) -> anyhow::Result<Vec<Shard>> {
    let list = context.client.list_shards().stream_name(&stream.name);
    let list = list.shard_filter(filter.build()?).send().await?;
    Ok(list.shards.unwrap_or_default())
}

fn filter(kind: ShardFilterType) -> aws_sdk_kinesis::types::builders::ShardFilterBuilder {
    ShardFilter::builder().r#type(kind)
}

/// The next whole second, when it is over: states before and after it can be told apart by a timestamp. A whole one,
/// because kinesis-local reads a timestamp to the second, and would tell them apart or not as the clock happened to stand.
async fn a_moment() -> DateTime {
    let now = DateTime::from(std::time::SystemTime::now());
    let next = DateTime::from_secs(now.secs() + 1);
    let millis = 1050 - u64::from(now.subsec_nanos() / 1_000_000);
    tokio::time::sleep(std::time::Duration::from_millis(millis)).await;
    next
}

async fn lists_open_and_closed_shards_with_their_lineage(context: &Context) -> anyhow::Result<()> {
    let stream = lineage(context).await?;
    let shards = context.shards(&stream.name).await?;
    same("all shards", ids(&shards), vec![S0, S1, S2, S3, S4])?;
    let parents: Vec<_> = shards.iter().map(|shard| shard.parent_shard_id()).collect();
    let expected = vec![None, Some(S0), Some(S0), Some(S1), Some(S1)];
    same("their parents", parents, expected)?;
    let closed: Vec<bool> = shards
        .iter()
        .map(|shard| {
            let range = shard.sequence_number_range.as_ref();
            range.is_some_and(|range| range.ending_sequence_number.is_some())
        })
        .collect();
    same(
        "which are closed",
        closed,
        vec![true, true, false, false, false],
    )
}

/// "The response includes only the currently open shards of the data stream."
async fn filter_at_latest(context: &Context) -> anyhow::Result<()> {
    let stream = lineage(context).await?;
    let shards = filtered(context, &stream, filter(ShardFilterType::AtLatest)).await?;
    same("open shards", ids(&shards), vec![S2, S3, S4])
}

/// "The response includes all the shards that were open at TRIM_HORIZON." Nothing has expired: that is the beginning.
async fn filter_at_trim_horizon(context: &Context) -> anyhow::Result<()> {
    let stream = lineage(context).await?;
    let shards = filtered(context, &stream, filter(ShardFilterType::AtTrimHorizon)).await?;
    same("shards open at the horizon", ids(&shards), vec![S0])
}

/// "(default), the response includes all the shards within the retention period of the data stream (trim to tip)."
async fn filter_from_trim_horizon(context: &Context) -> anyhow::Result<()> {
    let stream = lineage(context).await?;
    let shards = filtered(context, &stream, filter(ShardFilterType::FromTrimHorizon)).await?;
    same("all shards", ids(&shards), vec![S0, S1, S2, S3, S4])
}

/// "The response includes all the shards, starting with the shard whose ID immediately follows the ShardId."
async fn filter_after_shard_id(context: &Context) -> anyhow::Result<()> {
    let stream = lineage(context).await?;
    let after = filter(ShardFilterType::AfterShardId).shard_id(S2);
    let shards = filtered(context, &stream, after).await?;
    same("shards after the third", ids(&shards), vec![S3, S4])
}

/// "All shards whose start timestamp is less than or equal to the given timestamp and end timestamp is greater than or
/// equal to the given timestamp or still open."
async fn filter_at_timestamp(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let before = a_moment().await;
    context.split(&stream.name, S0, HALF).await?;
    let between = a_moment().await;
    context.split(&stream.name, S1, QUARTER).await?;
    for (time, open) in [(before, vec![S0]), (between, vec![S1, S2])] {
        let at = filter(ShardFilterType::AtTimestamp).timestamp(time);
        let shards = filtered(context, &stream, at).await?;
        same("shards open at the time", ids(&shards), open)?;
    }
    Ok(())
}

/// "All closed shards whose end timestamp is greater than or equal to the given timestamp and also all open shards."
async fn filter_from_timestamp(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    context.split(&stream.name, S0, HALF).await?;
    let between = a_moment().await;
    context.split(&stream.name, S1, QUARTER).await?;
    let from = filter(ShardFilterType::FromTimestamp).timestamp(between);
    let shards = filtered(context, &stream, from).await?;
    same("shards open since", ids(&shards), vec![S1, S2, S3, S4])
}

/// With a token neither the stream nor the filter is given again.
async fn a_filter_holds_on_every_page(context: &Context) -> anyhow::Result<()> {
    let stream = lineage(context).await?;
    let list = context.client.list_shards().stream_name(&stream.name);
    let list = list.shard_filter(filter(ShardFilterType::AtLatest).build()?);
    let first = list.max_results(2).send().await?;
    same("the first page", ids(first.shards()), vec![S2, S3])?;
    let token = first.next_token.context("no NextToken")?;
    let second = context.client.list_shards().next_token(token);
    let second = second.send().await?;
    same("the second page", ids(second.shards()), vec![S4])
}

async fn pages_by_next_token(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(5).await?;
    let list = context.client.list_shards().stream_name(&stream.name);
    let mut page = list.max_results(2).send().await?;
    let mut seen: Vec<String> = Vec::new();
    let mut sizes = Vec::new();
    loop {
        sizes.push(page.shards().len());
        seen.extend(page.shards().iter().map(|shard| shard.shard_id.clone()));
        let Some(token) = page.next_token else { break };
        ensure!(sizes.len() < 9, "the pages have no end");
        let list = context.client.list_shards().next_token(token);
        page = list.max_results(2).send().await?;
    }
    same("the pages' sizes", sizes, vec![2, 2, 1])?;
    let all = context.shards(&stream.name).await?;
    same(
        "all shards",
        seen,
        ids(&all).into_iter().map(str::to_owned).collect(),
    )
}

async fn starts_after_exclusive_start_shard_id(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(3).await?;
    let list = context.client.list_shards().stream_name(&stream.name);
    let listed = list.exclusive_start_shard_id(S0).send().await?;
    same("shards after the first", ids(listed.shards()), vec![S1, S2])
}

/// MaxResults: "If you specify a value greater than 1000, at most 1000 results are returned."
async fn at_most_1000_shards_come_at_once(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1001).await?;
    let list = context.client.list_shards().stream_name(&stream.name);
    let listed = list.max_results(10_000).send().await?;
    same("shards", listed.shards().len(), 1000)?;
    let token = listed.next_token.context("no NextToken")?;
    let rest = context
        .client
        .list_shards()
        .next_token(token)
        .send()
        .await?;
    same("the rest", rest.shards().len(), 1)
}

async fn finds_a_stream_by_its_creation_timestamp(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let created = context
        .summary(&stream.name)
        .await?
        .stream_creation_timestamp;
    let list = context.client.list_shards().stream_name(&stream.name);
    let listed = list.stream_creation_timestamp(created).send().await?;
    same("shards", ids(listed.shards()), vec![S0])
}

/// StreamCreationTimestamp: "to distinguish data streams that have the same name".
async fn other_timestamp(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let list = context.client.list_shards().stream_name(&stream.name);
    let list = list.stream_creation_timestamp(DateTime::from_secs(1_500_000_000));
    refused(list.send().await, &["ResourceNotFoundException"]).map(drop)
}

async fn token(context: &Context, stream: &Stream) -> anyhow::Result<String> {
    let list = context.client.list_shards().stream_name(&stream.name);
    let token = list.max_results(1).send().await?.next_token;
    token.context("no NextToken")
}

/// NextToken: "Don't specify StreamName or StreamCreationTimestamp if you specify NextToken."
async fn token_and_name(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(2).await?;
    let token = token(context, &stream).await?;
    let list = context.client.list_shards().next_token(token);
    refused(list.stream_name(&stream.name).send().await, INVALID).map(drop)
}

/// ExclusiveStartShardId: "You cannot specify this parameter if you specify NextToken."
async fn token_and_start(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(2).await?;
    let token = token(context, &stream).await?;
    let list = context.client.list_shards().next_token(token);
    refused(list.exclusive_start_shard_id(S0).send().await, INVALID).map(drop)
}

async fn not_a_token(context: &Context) -> anyhow::Result<()> {
    let list = context.client.list_shards().next_token("not-a-token");
    refused(list.send().await, INVALID).map(drop)
}

/// "If you specify the AT_TIMESTAMP type, you must also provide the value for the optional Timestamp property."
async fn filter_without_timestamp(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let list = context.client.list_shards().stream_name(&stream.name);
    let list = list.shard_filter(filter(ShardFilterType::AtTimestamp).build()?);
    refused(list.send().await, INVALID).map(drop)
}

async fn filter_without_shard(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let list = context.client.list_shards().stream_name(&stream.name);
    let list = list.shard_filter(filter(ShardFilterType::AfterShardId).build()?);
    refused(list.send().await, INVALID).map(drop)
}

async fn max_results_0(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let list = context.client.list_shards().stream_name(&stream.name);
    refused(list.max_results(0).send().await, INVALID).map(drop)
}

pub fn range(shard: &Shard) -> anyhow::Result<(String, String)> {
    let range = shard.hash_key_range.as_ref().context("no HashKeyRange")?;
    Ok((
        range.starting_hash_key.clone(),
        range.ending_hash_key.clone(),
    ))
}

fn owned(pair: (&str, &str)) -> (String, String) {
    (pair.0.to_owned(), pair.1.to_owned())
}

/// NewStartingHashKey: "all the higher hash key values in hash key range are distributed to one of the child shards. All
/// the lower hash key values in the range are distributed to the other child shard."
async fn makes_two_children_of_the_parents_range(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    context.split(&stream.name, S0, "1000").await?;
    let shards = context.shards(&stream.name).await?;
    same("shards", shards.len(), 3)?;
    let mut ranges = [range(&shards[1])?, range(&shards[2])?];
    ranges.sort();
    same(
        "the children's ranges",
        ranges,
        [owned(("0", "999")), owned(("1000", LAST_KEY))],
    )?;
    for child in &shards[1..] {
        same("the parent", child.parent_shard_id(), Some(S0))?;
        same("an adjacent parent", child.adjacent_parent_shard_id(), None)?;
    }
    Ok(())
}

async fn split_numbers(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let parent = context.put(&stream.name, "before").await?;
    context.split(&stream.name, S0, HALF).await?;
    let child = context.put(&stream.name, "after").await?;
    ensure!(by_size(&child) > by_size(&parent), "{child} after {parent}");
    for shard in &context.shards(&stream.name).await?[1..] {
        let start = shard.sequence_number_range.as_ref();
        let start = start.context("no range")?.starting_sequence_number();
        ensure!(by_size(start) > by_size(&parent), "{start} after {parent}");
    }
    Ok(())
}

/// Developer guide, "Data routing after a reshard": records for the parent's hash keys go to the children.
async fn split_routes(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    context.split(&stream.name, S0, HALF).await?;
    for (key, place) in [("0", 1), (HALF, 2)] {
        let (shard, _) = context.put_at(&stream.name, key, "data").await?;
        let shards = context.shards(&stream.name).await?;
        let of_key = shards[1..]
            .iter()
            .find(|shard| range(shard).is_ok_and(|(start, _)| start == key));
        let of_key = of_key.with_context(|| format!("no child {place} begins at {key}"))?;
        same("the record's shard", shard.as_str(), of_key.shard_id())?;
    }
    Ok(())
}

async fn split_parent_is_read(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    for data in ["a", "b"] {
        context.put(&stream.name, data).await?;
    }
    context.split(&stream.name, S0, HALF).await?;
    let kind = ShardIteratorType::TrimHorizon;
    let iterator = context.iterator(&stream.name, S0, kind).await?;
    // More than there are: the end of the shard ends it.
    let read = context.read_from(Some(iterator), 9).await?;
    same(
        "the parent's records",
        texts(&read),
        vec!["a".to_owned(), "b".to_owned()],
    )
}

async fn split_unknown(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let split = context.client.split_shard().stream_name(&stream.name);
    let split = split.shard_to_split(S1).new_starting_hash_key(HALF);
    refused(split.send().await, &["ResourceNotFoundException"]).map(drop)
}

/// NewStartingHashKey: "must be in the range of hash keys being mapped into the shard".
async fn split_outside(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(2).await?;
    let split = context.client.split_shard().stream_name(&stream.name);
    let split = split.shard_to_split(S0).new_starting_hash_key(LAST_KEY);
    refused(split.send().await, INVALID).map(drop)
}

/// A split there would leave a child without keys.
async fn split_at_first_key(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let split = context.client.split_shard().stream_name(&stream.name);
    let split = split.shard_to_split(S0).new_starting_hash_key("0");
    refused(split.send().await, INVALID).map(drop)
}

/// Developer guide: a CLOSED shard's data can only be read. The reference doesn't name the error of splitting it again;
/// the stream is ACTIVE, so it isn't ResourceInUseException.
async fn split_closed(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    context.split(&stream.name, S0, HALF).await?;
    let split = context.client.split_shard().stream_name(&stream.name);
    let split = split.shard_to_split(S0).new_starting_hash_key("1000");
    refused(split.send().await, INVALID).map(drop)
}

/// "This API is only supported for the data streams with the provisioned capacity mode."
async fn split_on_demand(context: &Context) -> anyhow::Result<()> {
    let stream = context.on_demand().await?;
    let split = context.client.split_shard().stream_name(&stream.name);
    let split = split.shard_to_split(S0).new_starting_hash_key("1000");
    refused(split.send().await, &["ValidationException"]).map(drop)
}

async fn begin_split(context: &Context, stream: &Stream) -> anyhow::Result<()> {
    let split = context.client.split_shard().stream_name(&stream.name);
    let split = split.shard_to_split(S0).new_starting_hash_key("1000");
    split.send().await.map(drop).map_err(Into::into)
}

async fn is_updating(context: &Context, stream: &Stream) -> anyhow::Result<()> {
    let status = context.summary(&stream.name).await?.stream_status;
    same("the status at once", status, StreamStatus::Updating)
}

async fn split_updating(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    begin_split(context, &stream).await?;
    is_updating(context, &stream).await?;
    context.active(&stream.name).await.map(drop)
}

/// "Read and write operations continue to work while the stream is in the UPDATING state."
async fn split_updating_works(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    context.put(&stream.name, "before").await?;
    begin_split(context, &stream).await?;
    let during = context.put_at(&stream.name, "0", "during").await?;
    is_updating(context, &stream).await?;
    let read = context.read(&stream.name, S0, 1).await?;
    same("the first record", texts(&read)[0].as_str(), "before")?;
    context.active(&stream.name).await?;
    let kind = ShardIteratorType::AtSequenceNumber;
    let iterator = context
        .client
        .get_shard_iterator()
        .stream_name(&stream.name);
    let iterator = iterator.shard_id(&during.0).shard_iterator_type(kind);
    let iterator = iterator.starting_sequence_number(&during.1).send().await?;
    let read = context.read_from(iterator.shard_iterator, 1).await?;
    same(
        "the record put meanwhile",
        texts(&read),
        vec!["during".to_owned()],
    )
}

async fn split_while_updating(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(2).await?;
    begin_split(context, &stream).await?;
    let again = context.client.split_shard().stream_name(&stream.name);
    let again = again.shard_to_split(S1).new_starting_hash_key(QUARTER);
    refused(again.send().await, &["ResourceInUseException"]).map(drop)
}

async fn split_while_creating(context: &Context) -> anyhow::Result<()> {
    let _creating = context.hold_creations(false).await?;
    let name = context.name();
    let create = context.client.create_stream().stream_name(&name);
    create.shard_count(1).send().await?;
    let split = context.client.split_shard().stream_name(&name);
    let split = split.shard_to_split(S0).new_starting_hash_key(HALF);
    let refusal = refused(split.send().await, &["ResourceInUseException"]);
    context.active(&name).await?;
    refusal.map(drop)
}

async fn makes_one_child_of_both_ranges(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(3).await?;
    let before = context.shards(&stream.name).await?;
    context.merge(&stream.name, S0, S1).await?;
    let shards = context.shards(&stream.name).await?;
    same("shards", shards.len(), 4)?;
    let child = &shards[3];
    let both = (range(&before[0])?.0, range(&before[1])?.1);
    same("the child's range", range(child)?, both)?;
    same("the parent", child.parent_shard_id(), Some(S0))?;
    same(
        "the adjacent parent",
        child.adjacent_parent_shard_id(),
        Some(S1),
    )
}

async fn merge_either_way(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(2).await?;
    context.merge(&stream.name, S1, S0).await?;
    let shards = context.shards(&stream.name).await?;
    let child = shards.get(2).context("no child")?;
    same("the child's range", range(child)?, owned(("0", LAST_KEY)))?;
    let mut parents = [child.parent_shard_id(), child.adjacent_parent_shard_id()];
    parents.sort_unstable();
    same("the parents", parents, [Some(S0), Some(S1)])
}

async fn merge_numbers(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(2).await?;
    let mut parents = Vec::new();
    for key in ["0", HALF] {
        parents.push(context.put_at(&stream.name, key, "before").await?.1);
    }
    context.merge(&stream.name, S0, S1).await?;
    let child = context.put(&stream.name, "after").await?;
    for parent in parents {
        ensure!(by_size(&child) > by_size(&parent), "{child} after {parent}");
    }
    Ok(())
}

async fn merged(
    context: &Context,
    stream: &Stream,
    shard: &str,
    adjacent: &str,
    codes: &[&str],
) -> anyhow::Result<()> {
    let merge = context.client.merge_shards().stream_name(&stream.name);
    let merge = merge
        .shard_to_merge(shard)
        .adjacent_shard_to_merge(adjacent);
    refused(merge.send().await, codes).map(drop)
}

async fn merge_unknown(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    merged(context, &stream, S0, S1, &["ResourceNotFoundException"]).await
}

/// "Two shards are considered adjacent if the union of the hash key ranges forms a contiguous set with no gaps."
async fn merge_not_adjacent(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(3).await?;
    merged(context, &stream, S0, S2, INVALID).await
}

async fn merge_itself(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(2).await?;
    merged(context, &stream, S0, S0, INVALID).await
}

async fn merge_closed(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(2).await?;
    context.merge(&stream.name, S0, S1).await?;
    merged(context, &stream, S0, S1, INVALID).await
}

async fn merge_on_demand(context: &Context) -> anyhow::Result<()> {
    let stream = context.on_demand().await?;
    merged(context, &stream, S0, S1, &["ValidationException"]).await
}

async fn begin_merge(context: &Context, stream: &Stream) -> anyhow::Result<()> {
    let merge = context.client.merge_shards().stream_name(&stream.name);
    let merge = merge.shard_to_merge(S0).adjacent_shard_to_merge(S1);
    merge.send().await.map(drop).map_err(Into::into)
}

async fn merge_updating(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(2).await?;
    begin_merge(context, &stream).await?;
    is_updating(context, &stream).await?;
    context.active(&stream.name).await.map(drop)
}

/// "If a stream is in the CREATING, UPDATING, or DELETING state, MergeShards returns a ResourceInUseException."
async fn merge_while_updating(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(4).await?;
    begin_merge(context, &stream).await?;
    merged(context, &stream, S2, S3, &["ResourceInUseException"]).await
}
