//! CreateStream, DeleteStream, DescribeStream, DescribeStreamSummary, ListStreams.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use aws_sdk_kinesis::types::{EncryptionType, StreamMode, StreamStatus};

use tokio::sync::SemaphorePermit;

use super::case::cases;
use super::context::{Context, HALF, REGION, S0, S1, S2, by_size, client, eventually};
use super::refusal::{INVALID, outcome, refused, same};
use super::servers::STATE_LASTS;

cases! {
    CreateStream {
        Plain:
            makes_a_stream_with_the_shards_asked_for,
            shards_share_the_key_space,
            on_demand_begins_with_four_shards,
            tags_are_there_from_the_beginning,
            a_name_of_128_characters_is_taken,
            names_are_scoped_by_region,
            the_largest_record_is_one_mib_by_default = default_record_size,
            the_largest_record_may_be_given = record_size_is_kept,
            resource_in_use_exception = create_twice,
            limit_exceeded_exception_above_the_accounts_shards = create_a_million_shards,
            invalid_argument_exception_for_a_name_with_a_space = create_with_a_bad_name,
            invalid_argument_exception_for_a_name_of_129_characters = create_with_a_long_name,
            validation_exception_for_no_shards = create_without_shards,
            validation_exception_for_a_record_size_out_of_range = create_with_a_bad_record_size;
        Delays:
            is_creating_then_active,
            limit_exceeded_exception_for_a_sixth_in_creating = six_in_creating;
    }
    DeleteStream {
        Plain:
            the_stream_is_gone = delete_is_final,
            the_name_can_be_used_again_and_nothing_of_the_old_stream_is_there = delete_and_create,
            resource_in_use_exception_with_a_consumer = delete_with_a_consumer,
            enforce_consumer_deletion_takes_the_consumers_along = delete_and_consumers,
            invalid_argument_exception_without_name_and_arn = delete_nothing;
        Delays:
            is_deleting_then_gone,
            resource_in_use_exception_while_creating = delete_while_creating,
            a_refused_deletion_deletes_nothing = delete_refused;
    }
    DescribeStream {
        Plain:
            tells_everything_about_a_new_stream = describe_new,
            pages_by_exclusive_start_shard_id = describe_pages,
            at_most_100_shards_come_at_once = describe_101,
            a_closed_shard_has_an_ending_sequence_number = describe_closed,
            invalid_argument_exception_for_a_limit_of_0 = describe_limit_0,
            invalid_argument_exception_for_an_arn_of_another_service = describe_bad_arn;
    }
    DescribeStreamSummary {
        Plain:
            tells_everything_about_a_new_stream = summary_of_new,
            counts_open_shards_and_consumers,
            invalid_argument_exception_without_name_and_arn = summary_of_nothing;
    }
    ListStreams {
        Plain:
            lists_by_name_with_summaries,
            pages_by_next_token = list_by_token,
            pages_by_exclusive_start_stream_name = list_by_name,
            invalid_argument_exception_for_a_limit_of_0 = list_limit_0,
            invalid_argument_exception_for_a_limit_of_10001 = list_limit_10001;
    }
}

async fn makes_a_stream_with_the_shards_asked_for(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(3).await?;
    let shards = context.shards(&stream.name).await?;
    same("shards", shards.len(), 3)?;
    let number = stream
        .arn
        .strip_prefix(&format!("arn:aws:kinesis:{REGION}:"))
        .and_then(|rest| rest.strip_suffix(&format!(":stream/{}", stream.name)));
    let account = number.with_context(|| format!("no ARN of a stream: {}", stream.arn))?;
    ensure!(
        account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit()),
        "an account has 12 digits: {}",
        stream.arn
    );
    Ok(())
}

/// Developer guide, "Terminology": the hash keys of all open shards are the whole space of 128 bits, without overlap.
async fn shards_share_the_key_space(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(3).await?;
    let shards = context.shards(&stream.name).await?;
    let mut next = 0_u128;
    for (index, shard) in shards.iter().enumerate() {
        let range = shard.hash_key_range.as_ref().context("no HashKeyRange")?;
        same(
            "a range begins after the one before",
            range.starting_hash_key.parse::<u128>()?,
            next,
        )?;
        let end: u128 = range.ending_hash_key.parse()?;
        let last = index + 1 == shards.len();
        same("the last one ends the space", end == u128::MAX, last)?;
        next = end.wrapping_add(1);
        let numbers = shard.sequence_number_range.as_ref();
        let numbers = numbers.context("no SequenceNumberRange")?;
        ensure!(
            numbers.ending_sequence_number.is_none(),
            "an open shard has no EndingSequenceNumber"
        );
        ensure!(
            shard.parent_shard_id.is_none(),
            "a new stream's shard has no parent"
        );
    }
    Ok(())
}

/// Developer guide, "On-demand mode": a new stream has a capacity of 4 MB a second, which is four shards.
async fn on_demand_begins_with_four_shards(context: &Context) -> anyhow::Result<()> {
    let stream = context.on_demand().await?;
    same("shards", context.shards(&stream.name).await?.len(), 4)?;
    let summary = context.summary(&stream.name).await?;
    let mode = summary
        .stream_mode_details
        .map(|details| details.stream_mode);
    same("the mode", mode, Some(StreamMode::OnDemand))
}

async fn tags_are_there_from_the_beginning(context: &Context) -> anyhow::Result<()> {
    let name = context.name();
    let create = context.client.create_stream().stream_name(&name);
    create.shard_count(1).tags("team", "ticks").send().await?;
    context.active(&name).await?;
    let tags = context.client.list_tags_for_stream().stream_name(&name);
    let tags = tags.send().await?.tags;
    let tags: Vec<_> = tags.iter().map(|tag| (tag.key(), tag.value())).collect();
    same("tags", tags, vec![("team", Some("ticks"))])
}

async fn a_name_of_128_characters_is_taken(context: &Context) -> anyhow::Result<()> {
    let mut name = context.name();
    name.push_str(&"x".repeat(128 - name.len()));
    let create = context.client.create_stream().stream_name(&name);
    create.shard_count(1).send().await?;
    context.active(&name).await.map(drop)
}

/// "Two streams in the same Amazon Web Services account but in two different Regions can also have the same name."
async fn names_are_scoped_by_region(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let elsewhere = client(&context.endpoint, "eu-west-1");
    let create = elsewhere.create_stream().stream_name(&stream.name);
    let created = outcome(create.shard_count(1).send().await)?;
    ensure!(
        created.is_ok(),
        "another region refused the same name: {created:?}"
    );
    Ok(())
}

/// CreateStream, MaxRecordSizeInKiB: 1024 to 10240; PutRecord: 1 MiB by default.
async fn default_record_size(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let size = context.summary(&stream.name).await?.max_record_size_in_kib;
    same("MaxRecordSizeInKiB", size, Some(1024))
}

async fn record_size_is_kept(context: &Context) -> anyhow::Result<()> {
    let name = context.name();
    let create = context.client.create_stream().stream_name(&name);
    let create = create.shard_count(1).max_record_size_in_kib(2048);
    create.send().await?;
    context.active(&name).await?;
    let size = context.summary(&name).await?.max_record_size_in_kib;
    same("MaxRecordSizeInKiB", size, Some(2048))
}

async fn create_twice(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let again = context.client.create_stream().stream_name(&stream.name);
    let refusal = refused(
        again.shard_count(1).send().await,
        &["ResourceInUseException"],
    )?;
    refusal.says(&stream.name).map(drop)
}

/// "Create more shards than are authorized for your account": 20,000 at most where most are authorized by default.
async fn create_a_million_shards(context: &Context) -> anyhow::Result<()> {
    let create = context.client.create_stream().stream_name(context.name());
    let create = create.shard_count(1_000_000).send().await;
    refused(create, &["LimitExceededException"]).map(drop)
}

async fn create_with_a_bad_name(context: &Context) -> anyhow::Result<()> {
    let create = context.client.create_stream().stream_name("two words");
    let refusal = refused(create.shard_count(1).send().await, INVALID)?;
    refusal.says("two words").map(drop)
}

async fn create_with_a_long_name(context: &Context) -> anyhow::Result<()> {
    let name = "x".repeat(129);
    let create = context.client.create_stream().stream_name(name);
    refused(create.shard_count(1).send().await, INVALID).map(drop)
}

async fn create_without_shards(context: &Context) -> anyhow::Result<()> {
    let create = context.client.create_stream().stream_name(context.name());
    refused(create.shard_count(0).send().await, INVALID).map(drop)
}

async fn create_with_a_bad_record_size(context: &Context) -> anyhow::Result<()> {
    let create = context.client.create_stream().stream_name(context.name());
    let create = create.shard_count(1).max_record_size_in_kib(1000);
    refused(create.send().await, INVALID).map(drop)
}

/// "Kinesis Data Streams immediately returns and sets the stream status to CREATING", then ACTIVE.
async fn is_creating_then_active(context: &Context) -> anyhow::Result<()> {
    let _creating = context.hold_creations(false).await?;
    let name = context.name();
    let create = context.client.create_stream().stream_name(&name);
    create.shard_count(1).send().await?;
    let status = context.summary(&name).await?.stream_status;
    same("the status at once", status, StreamStatus::Creating)?;
    let listed = context
        .client
        .list_streams()
        .exclusive_start_stream_name(before(&name));
    let listed = listed.send().await?;
    ensure!(listed.stream_names.contains(&name), "it isn't listed");
    context.active(&name).await?;
    context.put(&name, "data").await.map(drop)
}

/// A name that comes just before another.
fn before(name: &str) -> &str {
    &name[..name.len() - 1]
}

/// "You receive a LimitExceededException when you try to have more than five streams in the CREATING state."
async fn six_in_creating(context: &Context) -> anyhow::Result<()> {
    let _alone = context.hold_creations(true).await?;
    let names: Vec<String> = (0..5).map(|_| context.name()).collect();
    for name in &names {
        let create = context.client.create_stream().stream_name(name);
        create.shard_count(1).send().await?;
    }
    let sixth = context.client.create_stream().stream_name(context.name());
    let sixth = refused(
        sixth.shard_count(1).send().await,
        &["LimitExceededException"],
    );
    for name in &names {
        context.active(name).await?;
    }
    sixth.map(drop)
}

async fn delete_is_final(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let delete = context.client.delete_stream().stream_name(&stream.name);
    delete.send().await?;
    gone(context, &stream.name).await?;
    let put = context.put(&stream.name, "data").await;
    ensure!(put.is_err(), "it takes records: {put:?}");
    Ok(())
}

async fn gone(context: &Context, name: &str) -> anyhow::Result<()> {
    eventually("the end of the stream", async || {
        let describe = context.client.describe_stream_summary().stream_name(name);
        match outcome(describe.send().await)? {
            Ok(_) => Ok(None),
            Err(refusal) => refusal.is(&["ResourceNotFoundException"]).map(|_| Some(())),
        }
    })
    .await
}

/// "When you delete a stream, any shards in that stream are also deleted, and any tags are dissociated."
async fn delete_and_create(context: &Context) -> anyhow::Result<()> {
    let old = context.stream(2).await?;
    context.put(&old.name, "old").await?;
    let tag = context.client.add_tags_to_stream().stream_name(&old.name);
    tag.tags("key", "value").send().await?;
    let delete = context.client.delete_stream().stream_name(&old.name);
    delete.send().await?;
    gone(context, &old.name).await?;
    let create = context.client.create_stream().stream_name(&old.name);
    create.shard_count(1).send().await?;
    context.active(&old.name).await?;
    same("shards", context.shards(&old.name).await?.len(), 1)?;
    let latest = context.client.list_tags_for_stream().stream_name(&old.name);
    same("tags", latest.send().await?.tags.len(), 0)?;
    context.put(&old.name, "new").await?;
    let read = context.read(&old.name, S0, 1).await?;
    same(
        "the first record",
        super::context::texts(&read),
        vec!["new".to_owned()],
    )
}

/// EnforceConsumerDeletion: "if you set it to false, and the stream has registered consumers, the call fails with a
/// ResourceInUseException".
async fn delete_with_a_consumer(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    context.consumer(&stream, "consumer").await?;
    for enforce in [None, Some(false)] {
        let delete = context.client.delete_stream().stream_name(&stream.name);
        let delete = delete.set_enforce_consumer_deletion(enforce).send().await;
        refused(delete, &["ResourceInUseException"])?;
    }
    Ok(())
}

async fn delete_and_consumers(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let arn = context.consumer(&stream, "consumer").await?;
    let delete = context.client.delete_stream().stream_name(&stream.name);
    delete.enforce_consumer_deletion(true).send().await?;
    gone(context, &stream.name).await?;
    let describe = context.client.describe_stream_consumer();
    let describe = describe.consumer_arn(arn).send().await;
    refused(describe, &["ResourceNotFoundException"]).map(drop)
}

/// "You must use either the StreamARN or the StreamName parameter, or both."
async fn delete_nothing(context: &Context) -> anyhow::Result<()> {
    refused(context.client.delete_stream().send().await, INVALID).map(drop)
}

/// "The specified stream is in the DELETING state until Kinesis Data Streams completes the deletion."
async fn is_deleting_then_gone(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let delete = context.client.delete_stream().stream_name(&stream.name);
    delete.send().await?;
    let status = context.summary(&stream.name).await?.stream_status;
    same("the status at once", status, StreamStatus::Deleting)?;
    gone(context, &stream.name).await
}

/// "If the stream is in the ACTIVE state, you can delete it."
async fn delete_while_creating(context: &Context) -> anyhow::Result<()> {
    let (_creating, _) = refuse_deletion(context).await?;
    tokio::time::sleep(PAST_CREATION).await;
    Ok(())
}

/// A refused call changes nothing: the stream becomes ACTIVE, and stays.
async fn delete_refused(context: &Context) -> anyhow::Result<()> {
    let (_creating, name) = refuse_deletion(context).await?;
    // That is also past the time when the deletion would have ended, had it been taken.
    tokio::time::sleep(PAST_CREATION).await;
    context.active(&name).await.map(drop)
}

/// By then a stream is no longer in CREATING, on a loaded machine either.
const PAST_CREATION: Duration = STATE_LASTS.saturating_add(Duration::from_secs(2));

/// Has a stream that is being made, and the deletion of it refused; its name, and the leave to have it in CREATING.
async fn refuse_deletion(context: &Context) -> anyhow::Result<(SemaphorePermit<'_>, String)> {
    let creating = context.hold_creations(false).await?;
    loop {
        let name = context.name();
        let began = Instant::now();
        let create = context.client.create_stream().stream_name(&name);
        create.shard_count(1).send().await?;
        let delete = context.client.delete_stream().stream_name(&name);
        let answer = delete.send().await;
        if began.elapsed() >= STATE_LASTS {
            // The machine was so slow that the stream may have been active: that wasn't the question.
            let again = context.client.delete_stream().stream_name(&name);
            let _ = again.send().await;
            continue;
        }
        refused(answer, &["ResourceInUseException"])?;
        return Ok((creating, name));
    }
}

async fn describe_new(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(2).await?;
    let describe = context.client.describe_stream().stream_name(&stream.name);
    let described = describe.send().await?.stream_description;
    let described = described.context("no StreamDescription")?;
    same("the name", described.stream_name(), stream.name.as_str())?;
    same("the ARN", described.stream_arn(), stream.arn.as_str())?;
    same(
        "the status",
        described.stream_status(),
        &StreamStatus::Active,
    )?;
    let mode = described
        .stream_mode_details()
        .map(|mode| mode.stream_mode());
    same("the mode", mode, Some(&StreamMode::Provisioned))?;
    same("retention", described.retention_period_hours(), 24)?;
    let encryption = described.encryption_type();
    same("encryption", encryption, Some(&EncryptionType::None))?;
    same("more shards", described.has_more_shards(), false)?;
    let shards: Vec<&str> = described
        .shards()
        .iter()
        .map(|shard| shard.shard_id())
        .collect();
    same("shards", shards, vec![S0, S1])?;
    let created = described.stream_creation_timestamp().secs();
    ensure!(
        created > 1_700_000_000,
        "StreamCreationTimestamp is in seconds since 1970: {created}"
    );
    Ok(())
}

async fn describe_pages(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(3).await?;
    let mut after = None;
    let mut seen = Vec::new();
    loop {
        let describe = context.client.describe_stream().stream_name(&stream.name);
        let describe = describe
            .limit(2)
            .set_exclusive_start_shard_id(after.clone());
        let page = describe.send().await?.stream_description;
        let page = page.context("no StreamDescription")?;
        seen.extend(page.shards.iter().map(|shard| shard.shard_id.clone()));
        after = seen.last().cloned();
        if !page.has_more_shards {
            break;
        }
        same("shards of a full page", page.shards.len(), 2)?;
    }
    same("all shards", seen, [S0, S1, S2].map(str::to_owned).to_vec())
}

/// Limit: "If you specify a value greater than 100, at most 100 results are returned."
async fn describe_101(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(101).await?;
    for limit in [None, Some(10_000)] {
        let describe = context.client.describe_stream().stream_name(&stream.name);
        let page = describe.set_limit(limit).send().await?.stream_description;
        let page = page.context("no StreamDescription")?;
        same(
            "shards",
            (page.shards.len(), page.has_more_shards),
            (100, true),
        )?;
    }
    Ok(())
}

async fn describe_closed(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let number = context.put(&stream.name, "data").await?;
    context.split(&stream.name, S0, HALF).await?;
    let describe = context.client.describe_stream().stream_name(&stream.name);
    let described = describe.send().await?.stream_description;
    let described = described.context("no StreamDescription")?;
    same("shards", described.shards.len(), 3)?;
    let ending = |shard: &aws_sdk_kinesis::types::Shard| {
        let range = shard.sequence_number_range.clone();
        range.and_then(|range| range.ending_sequence_number)
    };
    let end = ending(&described.shards[0]).context("the parent has no EndingSequenceNumber")?;
    ensure!(by_size(&end) >= by_size(&number), "{end} is below {number}");
    same("children's end", ending(&described.shards[1]), None)
}

async fn describe_limit_0(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let describe = context.client.describe_stream().stream_name(&stream.name);
    refused(describe.limit(0).send().await, INVALID).map(drop)
}

async fn describe_bad_arn(context: &Context) -> anyhow::Result<()> {
    let describe = context.client.describe_stream();
    let describe = describe.stream_arn("arn:aws:s3:us-east-1:000000000000:stream/ticks");
    refused(describe.send().await, INVALID).map(drop)
}

async fn summary_of_new(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(2).await?;
    let summary = context.summary(&stream.name).await?;
    same("the name", summary.stream_name(), stream.name.as_str())?;
    same("the status", summary.stream_status(), &StreamStatus::Active)?;
    let mode = summary.stream_mode_details().map(|mode| mode.stream_mode());
    same("the mode", mode, Some(&StreamMode::Provisioned))?;
    same("retention", summary.retention_period_hours(), 24)?;
    same(
        "encryption",
        summary.encryption_type(),
        Some(&EncryptionType::None),
    )?;
    same("open shards", summary.open_shard_count(), 2)
}

async fn counts_open_shards_and_consumers(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    context.split(&stream.name, S0, HALF).await?;
    context.consumer(&stream, "consumer").await?;
    let summary = context.summary(&stream.name).await?;
    let counts = (summary.open_shard_count(), summary.consumer_count());
    same("open shards, consumers", counts, (2, Some(1)))
}

async fn summary_of_nothing(context: &Context) -> anyhow::Result<()> {
    refused(
        context.client.describe_stream_summary().send().await,
        INVALID,
    )
    .map(drop)
}

async fn lists_by_name_with_summaries(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let list = context.client.list_streams();
    let list = list.exclusive_start_stream_name(before(&stream.name));
    let listed = list.send().await?;
    same(
        "the first after",
        listed.stream_names.first(),
        Some(&stream.name),
    )?;
    let mut sorted = listed.stream_names.clone();
    sorted.sort();
    same("the order", &listed.stream_names, &sorted)?;
    let summary = listed.stream_summaries().first().context("no summary")?;
    same("its name", summary.stream_name(), stream.name.as_str())?;
    same("its ARN", summary.stream_arn(), stream.arn.as_str())?;
    same("its status", summary.stream_status(), &StreamStatus::Active)
}

/// Three streams whose names stand side by side.
async fn three(context: &Context) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for _ in 0..3 {
        names.push(context.stream(1).await?.name);
    }
    Ok(names)
}

async fn list_by_token(context: &Context) -> anyhow::Result<()> {
    let names = three(context).await?;
    let first = context.client.list_streams().limit(2);
    let first = first.exclusive_start_stream_name(before(&names[0]));
    let first = first.send().await?;
    same("the first page", &first.stream_names[..], &names[..2])?;
    same("more streams", first.has_more_streams, true)?;
    let token = first.next_token.context("no NextToken")?;
    let second = context.client.list_streams().limit(1).next_token(token);
    let second = second.send().await?;
    same("the second page", &second.stream_names[..], &names[2..])
}

async fn list_by_name(context: &Context) -> anyhow::Result<()> {
    let names = three(context).await?;
    let list = context.client.list_streams().limit(1);
    let page = list.exclusive_start_stream_name(&names[1]).send().await?;
    same(
        "the page after the second",
        &page.stream_names[..],
        &names[2..],
    )
}

async fn list_limit_0(context: &Context) -> anyhow::Result<()> {
    refused(context.client.list_streams().limit(0).send().await, INVALID).map(drop)
}

async fn list_limit_10001(context: &Context) -> anyhow::Result<()> {
    let list = context.client.list_streams().limit(10_001);
    refused(list.send().await, INVALID).map(drop)
}
