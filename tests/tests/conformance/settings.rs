//! StartStreamEncryption, StopStreamEncryption, and tags by stream and by resource.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{EncryptionType, PutRecordsRequestEntry};
use serde_json::json;

use super::case::cases;
use super::context::{Context, S0, Stream};
use super::operations::KEY;
use super::refusal::{INVALID, Refusal, outcome, refused, same};

cases! {
    StartStreamEncryption {
        Plain:
            shows_in_the_stream_and_in_answers_to_puts = encryption_shows,
            shows_in_records_written_since,
            another_key_replaces_the_first,
            invalid_argument_exception_for_the_type_none = start_none,
            invalid_argument_exception_for_an_empty_key = start_without_key;
        Limits: limit_exceeded_exception_for_the_26th_key_in_a_day = keys_26;
        Delays:
            is_updating_and_puts_go_on = encrypting,
            resource_in_use_exception_while_updating = start_while_updating;
    }
    StopStreamEncryption {
        Plain:
            is_over_in_the_stream_and_in_answers_to_puts = decryption_shows,
            invalid_argument_exception_for_an_empty_key = stop_without_key;
        Delays:
            resource_in_use_exception_while_updating = stop_while_updating;
    }
    AddTagsToStream {
        Plain:
            adds_and_overwrites,
            fifty_tags_are_taken,
            limit_exceeded_exception_for_a_51st_tag = tag_51,
            invalid_argument_exception_for_a_key_of_129_characters = long_key,
            invalid_argument_exception_for_a_value_of_257_characters = long_value;
    }
    ListTagsForStream {
        Plain:
            pages_by_exclusive_start_tag_key,
            a_new_stream_has_none = no_tags,
            invalid_argument_exception_for_a_limit_of_51 = list_51,
            invalid_argument_exception_for_a_limit_of_0 = list_0;
    }
    RemoveTagsFromStream {
        Plain:
            removes_and_ignores_what_is_not_there,
            invalid_argument_exception_for_no_keys = remove_nothing;
    }
    TagResource {
        Plain:
            tags_a_stream,
            tags_a_consumer,
            limit_exceeded_exception_for_a_51st_tag = resource_tag_51,
            invalid_argument_exception_for_an_arn_of_another_service = tag_bad_arn,
            validation_exception_for_a_key_of_129_characters = resource_long_key;
    }
    UntagResource {
        Plain:
            untags_a_stream,
            untags_a_consumer,
            invalid_argument_exception_for_an_arn_of_another_service = untag_bad_arn,
            validation_exception_for_no_keys = untag_nothing;
    }
    ListTagsForResource {
        Plain:
            shows_the_tags_of_the_stream,
            invalid_argument_exception_for_an_arn_of_another_service = list_bad_arn,
            validation_exception_for_an_empty_arn = list_empty_arn;
    }
}

async fn encrypt(
    context: &Context,
    stream: &Stream,
    on: bool,
    key: &str,
) -> anyhow::Result<Result<(), Refusal>> {
    let (client, name) = (&context.client, &stream.name);
    let kind = EncryptionType::Kms;
    let done = if on {
        let start = client.start_stream_encryption().stream_name(name);
        outcome(start.encryption_type(kind).key_id(key).send().await)?.map(drop)
    } else {
        let stop = client.stop_stream_encryption().stream_name(name);
        outcome(stop.encryption_type(kind).key_id(key).send().await)?.map(drop)
    };
    if done.is_ok() {
        context.active(name).await?;
    }
    Ok(done)
}

async fn encrypted(context: &Context) -> anyhow::Result<Stream> {
    let stream = context.stream(1).await?;
    let done = encrypt(context, &stream, true, KEY).await?;
    ensure!(done.is_ok(), "{done:?}");
    Ok(stream)
}

/// What the stream says, and what is said of a record and of records put to it.
async fn shown(context: &Context, stream: &Stream) -> anyhow::Result<[EncryptionType; 4]> {
    let client = &context.client;
    let described = client
        .describe_stream()
        .stream_name(&stream.name)
        .send()
        .await?;
    let described = described.stream_description.context("no description")?;
    let summary = context.summary(&stream.name).await?;
    let put = client
        .put_record()
        .stream_name(&stream.name)
        .partition_key("key");
    let put = put.data(Blob::new("data")).send().await?;
    let entry = PutRecordsRequestEntry::builder().partition_key("key");
    let entry = entry.data(Blob::new("data")).build()?;
    let puts = client
        .put_records()
        .stream_name(&stream.name)
        .records(entry);
    let puts = puts.send().await?;
    // Absent is none.
    let of = |kind: Option<EncryptionType>| kind.unwrap_or(EncryptionType::None);
    Ok([
        of(described.encryption_type),
        of(summary.encryption_type),
        of(put.encryption_type),
        of(puts.encryption_type),
    ])
}

async fn encryption_shows(context: &Context) -> anyhow::Result<()> {
    let stream = encrypted(context).await?;
    same(
        "encryption",
        shown(context, &stream).await?,
        [const { EncryptionType::Kms }; 4],
    )?;
    let key = context.summary(&stream.name).await?.key_id;
    same("the key", key.as_deref(), Some(KEY))
}

async fn decryption_shows(context: &Context) -> anyhow::Result<()> {
    let stream = encrypted(context).await?;
    let done = encrypt(context, &stream, false, KEY).await?;
    ensure!(done.is_ok(), "{done:?}");
    same(
        "encryption",
        shown(context, &stream).await?,
        [const { EncryptionType::None }; 4],
    )
}

/// "Once the status of the stream is ACTIVE, encryption begins for records written to the stream."
async fn shows_in_records_written_since(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    context.put(&stream.name, "before").await?;
    let done = encrypt(context, &stream, true, KEY).await?;
    ensure!(done.is_ok(), "{done:?}");
    context.put(&stream.name, "after").await?;
    let records = context.read(&stream.name, S0, 2).await?;
    let kinds = records.iter().map(|record| record.encryption_type.clone());
    let kinds: Vec<_> = kinds
        .map(|kind| kind.unwrap_or(EncryptionType::None))
        .collect();
    same(
        "the records",
        kinds,
        vec![EncryptionType::None, EncryptionType::Kms],
    )
}

/// "Enables or updates server-side encryption."
async fn another_key_replaces_the_first(context: &Context) -> anyhow::Result<()> {
    let stream = encrypted(context).await?;
    let done = encrypt(context, &stream, true, "alias/mine").await?;
    ensure!(done.is_ok(), "{done:?}");
    let key = context.summary(&stream.name).await?.key_id;
    same("the key", key.as_deref(), Some("alias/mine"))
}

/// "You can successfully apply a new KMS key for server-side encryption 25 times in a rolling 24-hour period."
async fn keys_26(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    for index in 0..25 {
        // AWS's other limit: five calls a second.
        tokio::time::sleep(Duration::from_millis(250)).await;
        let done = encrypt(context, &stream, true, &format!("alias/key-{index}")).await?;
        ensure!(done.is_ok(), "{done:?}");
    }
    let refusal = encrypt(context, &stream, true, "alias/one-more")
        .await?
        .err();
    refusal
        .context("the 26th was accepted")?
        .is(&["LimitExceededException"])
        .map(drop)
}

/// EncryptionType: "The only valid value is KMS."
async fn start_none(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let start = context
        .client
        .start_stream_encryption()
        .stream_name(&stream.name);
    let start = start.encryption_type(EncryptionType::None).key_id(KEY);
    refused(start.send().await, INVALID).map(drop)
}

async fn start_without_key(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let refusal = encrypt(context, &stream, true, "").await?.err();
    refusal.context("it was accepted")?.is(INVALID).map(drop)
}

async fn stop_without_key(context: &Context) -> anyhow::Result<()> {
    let stream = encrypted(context).await?;
    let refusal = encrypt(context, &stream, false, "").await?.err();
    refusal.context("it was accepted")?.is(INVALID).map(drop)
}

async fn begin_encryption(context: &Context) -> anyhow::Result<Stream> {
    let stream = context.stream(1).await?;
    let start = context
        .client
        .start_stream_encryption()
        .stream_name(&stream.name);
    start
        .encryption_type(EncryptionType::Kms)
        .key_id(KEY)
        .send()
        .await?;
    Ok(stream)
}

/// "You can continue to read and write data to your stream while its status is UPDATING."
async fn encrypting(context: &Context) -> anyhow::Result<()> {
    let stream = begin_encryption(context).await?;
    let status = context.summary(&stream.name).await?.stream_status;
    same(
        "the status at once",
        status,
        aws_sdk_kinesis::types::StreamStatus::Updating,
    )?;
    context.put(&stream.name, "data").await?;
    context.active(&stream.name).await?;
    same("records", context.read(&stream.name, S0, 1).await?.len(), 1)
}

async fn start_while_updating(context: &Context) -> anyhow::Result<()> {
    let stream = begin_encryption(context).await?;
    let start = context
        .client
        .start_stream_encryption()
        .stream_name(&stream.name);
    let start = start
        .encryption_type(EncryptionType::Kms)
        .key_id("alias/other");
    refused(start.send().await, &["ResourceInUseException"]).map(drop)
}

async fn stop_while_updating(context: &Context) -> anyhow::Result<()> {
    let stream = begin_encryption(context).await?;
    let stop = context
        .client
        .stop_stream_encryption()
        .stream_name(&stream.name);
    let stop = stop.encryption_type(EncryptionType::Kms).key_id(KEY);
    refused(stop.send().await, &["ResourceInUseException"]).map(drop)
}

async fn add(
    context: &Context,
    stream: &Stream,
    tags: &[(&str, &str)],
) -> anyhow::Result<Result<(), Refusal>> {
    let mut add = context
        .client
        .add_tags_to_stream()
        .stream_name(&stream.name);
    for (key, value) in tags {
        add = add.tags(*key, *value);
    }
    Ok(outcome(add.send().await)?.map(drop))
}

async fn tagged(context: &Context, tags: &[(&str, &str)]) -> anyhow::Result<Stream> {
    let stream = context.stream(1).await?;
    let added = add(context, &stream, tags).await?;
    ensure!(added.is_ok(), "{added:?}");
    Ok(stream)
}

type Tags = BTreeMap<String, String>;

fn tags(pairs: &[(&str, &str)]) -> Tags {
    let pairs = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    pairs.collect()
}

fn read(tags: Option<Vec<aws_sdk_kinesis::types::Tag>>) -> Tags {
    let tags = tags.unwrap_or_default().into_iter();
    tags.map(|tag| (tag.key, tag.value.unwrap_or_default()))
        .collect()
}

async fn of_stream(context: &Context, stream: &Stream) -> anyhow::Result<Tags> {
    let list = context
        .client
        .list_tags_for_stream()
        .stream_name(&stream.name);
    Ok(read(Some(list.send().await?.tags)))
}

async fn of_resource(context: &Context, arn: &str) -> anyhow::Result<Tags> {
    let list = context.client.list_tags_for_resource().resource_arn(arn);
    Ok(read(list.send().await?.tags))
}

/// "AddTagsToStream overwrites any existing tags that correspond to the specified tag keys."
async fn adds_and_overwrites(context: &Context) -> anyhow::Result<()> {
    let stream = tagged(context, &[("a", "1"), ("b", "2")]).await?;
    let added = add(context, &stream, &[("b", "3"), ("c", "")]).await?;
    ensure!(added.is_ok(), "{added:?}");
    let expected = tags(&[("a", "1"), ("b", "3"), ("c", "")]);
    same("tags", of_stream(context, &stream).await?, expected)
}

fn many(count: usize) -> Vec<(String, &'static str)> {
    (0..count)
        .map(|index| (format!("key-{index:02}"), "value"))
        .collect()
}

/// A stream with 50 tags.
async fn with_50(context: &Context) -> anyhow::Result<Stream> {
    let many = many(50);
    let pairs: Vec<_> = many
        .iter()
        .map(|(key, value)| (key.as_str(), *value))
        .collect();
    tagged(context, &pairs).await
}

/// "You can assign up to 50 tags to a data stream."
async fn fifty_tags_are_taken(context: &Context) -> anyhow::Result<()> {
    let stream = with_50(context).await?;
    same("tags", of_stream(context, &stream).await?.len(), 50)
}

/// The reference calls it a limit, and the tags a parameter: either error may be meant.
const TOO_MANY: &[&str] = &["LimitExceededException", "InvalidArgumentException"];

async fn tag_51(context: &Context) -> anyhow::Result<()> {
    let stream = with_50(context).await?;
    let refusal = add(context, &stream, &[("one-more", "")]).await?.err();
    refusal.context("it was accepted")?.is(TOO_MANY)?;
    same("tags", of_stream(context, &stream).await?.len(), 50)
}

async fn not_added(context: &Context, key: &str, value: &str) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let refusal = add(context, &stream, &[(key, value)]).await?.err();
    refusal.context("it was accepted")?.is(INVALID).map(drop)
}

async fn long_key(context: &Context) -> anyhow::Result<()> {
    not_added(context, &"k".repeat(129), "value").await
}

async fn long_value(context: &Context) -> anyhow::Result<()> {
    not_added(context, "key", &"v".repeat(257)).await
}

/// "If this number is less than the total number of tags, HasMoreTags is set to true. To list additional tags, set
/// ExclusiveStartTagKey to the last key in the response."
async fn pages_by_exclusive_start_tag_key(context: &Context) -> anyhow::Result<()> {
    let all = tags(&[("a", "1"), ("b", "2"), ("c", "3")]);
    let stream = tagged(context, &[("c", "3"), ("a", "1"), ("b", "2")]).await?;
    let mut seen = Tags::new();
    let mut after = None;
    for more in [true, false] {
        let list = context
            .client
            .list_tags_for_stream()
            .stream_name(&stream.name);
        let list = list.limit(2).set_exclusive_start_tag_key(after.clone());
        let page = list.send().await?;
        same("HasMoreTags", page.has_more_tags, more)?;
        after = page.tags.last().map(|tag| tag.key.clone());
        seen.extend(read(Some(page.tags)));
    }
    same("all tags", seen, all)
}

async fn no_tags(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    same("tags", of_stream(context, &stream).await?.len(), 0)
}

async fn list_limited(context: &Context, limit: i32) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let list = context
        .client
        .list_tags_for_stream()
        .stream_name(&stream.name);
    refused(list.limit(limit).send().await, INVALID).map(drop)
}

/// Limit: "Valid Range: Minimum value of 1. Maximum value of 50."
async fn list_51(context: &Context) -> anyhow::Result<()> {
    list_limited(context, 51).await
}

async fn list_0(context: &Context) -> anyhow::Result<()> {
    list_limited(context, 0).await
}

/// "If you specify a tag that does not exist, it is ignored."
async fn removes_and_ignores_what_is_not_there(context: &Context) -> anyhow::Result<()> {
    let stream = tagged(context, &[("a", "1"), ("b", "2")]).await?;
    let remove = context
        .client
        .remove_tags_from_stream()
        .stream_name(&stream.name);
    remove.tag_keys("a").tag_keys("missing").send().await?;
    same(
        "tags",
        of_stream(context, &stream).await?,
        tags(&[("b", "2")]),
    )
}

/// TagKeys: "Array Members: Minimum number of 1 item."
async fn remove_nothing(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let remove = context
        .client
        .remove_tags_from_stream()
        .stream_name(&stream.name);
    refused(remove.set_tag_keys(Some(Vec::new())).send().await, INVALID).map(drop)
}

async fn tag_resource(context: &Context, arn: &str) -> anyhow::Result<()> {
    let tag = context.client.tag_resource().resource_arn(arn);
    tag.tags("a", "1").tags("b", "2").send().await?;
    let again = context.client.tag_resource().resource_arn(arn);
    again.tags("b", "3").send().await?;
    same(
        "tags",
        of_resource(context, arn).await?,
        tags(&[("a", "1"), ("b", "3")]),
    )
}

async fn untag_resource(context: &Context, arn: &str) -> anyhow::Result<()> {
    tag_resource(context, arn).await?;
    let untag = context.client.untag_resource().resource_arn(arn);
    untag.tag_keys("a").send().await?;
    same(
        "tags",
        of_resource(context, arn).await?,
        tags(&[("b", "3")]),
    )
}

async fn tags_a_stream(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    tag_resource(context, &stream.arn).await?;
    // The same tags as seen by the older operation.
    same(
        "tags",
        of_stream(context, &stream).await?,
        tags(&[("a", "1"), ("b", "3")]),
    )
}

/// "The Kinesis resource can be a data stream or a consumer."
async fn tags_a_consumer(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let consumer = context.consumer(&stream, "consumer").await?;
    tag_resource(context, &consumer).await?;
    same(
        "tags of the stream",
        of_stream(context, &stream).await?.len(),
        0,
    )
}

async fn untags_a_stream(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    untag_resource(context, &stream.arn).await
}

async fn untags_a_consumer(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let consumer = context.consumer(&stream, "consumer").await?;
    untag_resource(context, &consumer).await
}

async fn resource_tag_51(context: &Context) -> anyhow::Result<()> {
    let stream = with_50(context).await?;
    let tag = context.client.tag_resource().resource_arn(&stream.arn);
    refused(tag.tags("one-more", "").send().await, TOO_MANY).map(drop)
}

async fn resource_long_key(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let tag = context.client.tag_resource().resource_arn(&stream.arn);
    refused(tag.tags("k".repeat(129), "").send().await, INVALID).map(drop)
}

const OF_S3: &str = "arn:aws:s3:us-east-1:000000000000:stream/ticks";

async fn tag_bad_arn(context: &Context) -> anyhow::Result<()> {
    let tag = context.client.tag_resource().resource_arn(OF_S3);
    refused(tag.tags("a", "1").send().await, INVALID).map(drop)
}

async fn untag_bad_arn(context: &Context) -> anyhow::Result<()> {
    let untag = context.client.untag_resource().resource_arn(OF_S3);
    refused(untag.tag_keys("a").send().await, INVALID).map(drop)
}

async fn untag_nothing(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let untag = context.client.untag_resource().resource_arn(&stream.arn);
    refused(untag.set_tag_keys(Some(Vec::new())).send().await, INVALID).map(drop)
}

async fn shows_the_tags_of_the_stream(context: &Context) -> anyhow::Result<()> {
    let stream = tagged(context, &[("a", "1")]).await?;
    same(
        "tags",
        of_resource(context, &stream.arn).await?,
        tags(&[("a", "1")]),
    )
}

async fn list_bad_arn(context: &Context) -> anyhow::Result<()> {
    let list = context.client.list_tags_for_resource().resource_arn(OF_S3);
    refused(list.send().await, INVALID).map(drop)
}

/// ResourceARN: "Length Constraints: Minimum length of 1."
async fn list_empty_arn(context: &Context) -> anyhow::Result<()> {
    // The SDK doesn't send it.
    let body = json!({"ResourceARN": ""});
    let refusal = context.raw("ListTagsForResource", &body).await?.refusal()?;
    refusal.is(INVALID).map(drop)
}
