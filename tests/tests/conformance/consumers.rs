//! RegisterStreamConsumer, DeregisterStreamConsumer, DescribeStreamConsumer, ListStreamConsumers.

use anyhow::{Context as _, ensure};
use aws_sdk_kinesis::types::{Consumer, ConsumerStatus};

use super::case::cases;
use super::context::{Context, Stream, eventually};
use super::refusal::{INVALID, outcome, refused, same};

cases! {
    RegisterStreamConsumer {
        Plain:
            tells_name_arn_and_creation,
            twenty_consumers_are_taken,
            names_are_of_the_stream,
            tags_are_there_from_the_beginning = register_with_tags,
            a_name_registered_again_has_another_arn,
            resource_in_use_exception_for_a_name_that_is_taken = register_twice,
            limit_exceeded_exception_for_a_21st = register_21,
            invalid_argument_exception_for_a_name_with_a_space = register_bad_name;
        Delays:
            is_creating_then_active = register_creating,
            limit_exceeded_exception_for_a_sixth_in_creating = register_six;
    }
    DeregisterStreamConsumer {
        Plain:
            by_arn_takes_it_off_the_list = deregister_by_arn,
            by_stream_and_name = deregister_by_name,
            resource_not_found_exception_by_name = deregister_unknown,
            invalid_argument_exception_for_neither_arn_nor_name = deregister_nothing;
        Delays:
            is_deleting_then_gone = deregister_deleting;
    }
    DescribeStreamConsumer {
        Plain:
            tells_everything = describe_consumer,
            by_stream_and_name = describe_by_name,
            resource_not_found_exception_by_name = describe_unknown,
            invalid_argument_exception_for_neither_arn_nor_name = describe_nothing;
    }
    ListStreamConsumers {
        Plain:
            lists_all = list_all,
            pages_by_next_token = list_pages,
            a_stream_without_any_has_an_empty_list = list_none,
            invalid_argument_exception_for_max_results_of_0 = list_0,
            invalid_argument_exception_for_no_token_at_all = list_no_token;
    }
}

async fn register(context: &Context, stream: &Stream, name: &str) -> anyhow::Result<Consumer> {
    let register = context.client.register_stream_consumer();
    let register = register.stream_arn(&stream.arn).consumer_name(name);
    register.send().await?.consumer.context("no Consumer")
}

async fn names(context: &Context, stream: &Stream) -> anyhow::Result<Vec<String>> {
    let list = context
        .client
        .list_stream_consumers()
        .stream_arn(&stream.arn);
    let listed = list.send().await?.consumers.unwrap_or_default().into_iter();
    let mut names: Vec<String> = listed.map(|consumer| consumer.consumer_name).collect();
    names.sort();
    Ok(names)
}

/// ConsumerARN: `STREAM-ARN/consumer/NAME:` and the creation time in seconds.
async fn tells_name_arn_and_creation(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let consumer = register(context, &stream, "reader").await?;
    same("the name", consumer.consumer_name(), "reader")?;
    let created = consumer.consumer_creation_timestamp().secs();
    let arn = format!("{}/consumer/reader:{created}", stream.arn);
    same("the ARN", consumer.consumer_arn(), arn.as_str())
}

/// "With On-demand Standard and Provisioned streams, you can register up to 20 consumers per stream."
async fn twenty(context: &Context) -> anyhow::Result<Stream> {
    let stream = context.stream(1).await?;
    for index in 0..20 {
        // Each is waited for: only five may be in CREATING at once.
        context
            .consumer(&stream, &format!("reader-{index}"))
            .await?;
    }
    Ok(stream)
}

async fn twenty_consumers_are_taken(context: &Context) -> anyhow::Result<()> {
    let stream = twenty(context).await?;
    same("consumers", names(context, &stream).await?.len(), 20)
}

async fn register_21(context: &Context) -> anyhow::Result<()> {
    let stream = twenty(context).await?;
    let register = context.client.register_stream_consumer();
    let register = register.stream_arn(&stream.arn).consumer_name("one-more");
    refused(register.send().await, &["LimitExceededException"]).map(drop)
}

/// "Consumer names don't have to be unique across data streams."
async fn names_are_of_the_stream(context: &Context) -> anyhow::Result<()> {
    let streams = [context.stream(1).await?, context.stream(1).await?];
    for stream in &streams {
        context.consumer(stream, "reader").await?;
        same(
            "its consumers",
            names(context, stream).await?,
            vec!["reader".to_owned()],
        )?;
    }
    Ok(())
}

async fn register_with_tags(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let register = context.client.register_stream_consumer();
    let register = register.stream_arn(&stream.arn).consumer_name("reader");
    let consumer = register.tags("team", "ticks").send().await?.consumer;
    let consumer = consumer.context("no Consumer")?;
    let list = context.client.list_tags_for_resource();
    let tags = list.resource_arn(consumer.consumer_arn()).send().await?;
    let tags = tags.tags().iter().map(|tag| (tag.key(), tag.value()));
    same(
        "tags",
        tags.collect::<Vec<_>>(),
        vec![("team", Some("ticks"))],
    )
}

async fn deregister(context: &Context, arn: &str) -> anyhow::Result<()> {
    let deregister = context.client.deregister_stream_consumer();
    deregister.consumer_arn(arn).send().await?;
    gone(context, arn).await
}

async fn gone(context: &Context, arn: &str) -> anyhow::Result<()> {
    eventually("the end of the consumer", async || {
        let describe = context.client.describe_stream_consumer();
        match outcome(describe.consumer_arn(arn).send().await)? {
            Ok(_) => Ok(None),
            Err(refusal) => refusal.is(&["ResourceNotFoundException"]).map(|_| Some(())),
        }
    })
    .await
}

/// "If you delete a consumer and then create a new one with the same name, it won't have the same ARN. That's because
/// consumer ARNs contain the creation timestamp", which is in seconds.
async fn a_name_registered_again_has_another_arn(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let first = context.consumer(&stream, "reader").await?;
    deregister(context, &first).await?;
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let second = context.consumer(&stream, "reader").await?;
    ensure!(first != second, "both are {first}");
    Ok(())
}

async fn register_twice(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    context.consumer(&stream, "reader").await?;
    let again = context.client.register_stream_consumer();
    let again = again.stream_arn(&stream.arn).consumer_name("reader");
    let refusal = refused(again.send().await, &["ResourceInUseException"])?;
    refusal.says("reader").map(drop)
}

async fn register_bad_name(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let register = context.client.register_stream_consumer();
    let register = register.stream_arn(&stream.arn).consumer_name("two words");
    refused(register.send().await, INVALID).map(drop)
}

async fn register_creating(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let consumer = register(context, &stream, "reader").await?;
    let at_once = consumer.consumer_status();
    same("the status at once", at_once, &ConsumerStatus::Creating)?;
    eventually("the consumer to become ACTIVE", async || {
        let describe = context.client.describe_stream_consumer();
        let described = describe
            .consumer_arn(consumer.consumer_arn())
            .send()
            .await?;
        let status = described
            .consumer_description
            .map(|described| described.consumer_status);
        Ok((status == Some(ConsumerStatus::Active)).then_some(()))
    })
    .await
}

/// "Registering a 6th consumer while there are 5 in a CREATING status results in a LimitExceededException."
async fn register_six(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    for index in 0..5 {
        register(context, &stream, &format!("reader-{index}")).await?;
    }
    let sixth = context.client.register_stream_consumer();
    let sixth = sixth.stream_arn(&stream.arn).consumer_name("one-more");
    refused(sixth.send().await, &["LimitExceededException"]).map(drop)
}

async fn deregister_by_arn(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let arn = context.consumer(&stream, "reader").await?;
    deregister(context, &arn).await?;
    same("consumers", names(context, &stream).await?.len(), 0)?;
    let summary = context.summary(&stream.name).await?;
    same("ConsumerCount", summary.consumer_count, Some(0))
}

/// "Alternatively, you can provide the ARN of the data stream and the name you gave the consumer."
async fn deregister_by_name(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let arn = context.consumer(&stream, "reader").await?;
    let deregister = context.client.deregister_stream_consumer();
    let deregister = deregister.stream_arn(&stream.arn).consumer_name("reader");
    deregister.send().await?;
    gone(context, &arn).await
}

async fn deregister_unknown(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let deregister = context.client.deregister_stream_consumer();
    let deregister = deregister.stream_arn(&stream.arn).consumer_name("missing");
    refused(deregister.send().await, &["ResourceNotFoundException"]).map(drop)
}

async fn deregister_nothing(context: &Context) -> anyhow::Result<()> {
    let deregister = context.client.deregister_stream_consumer();
    refused(deregister.send().await, INVALID).map(drop)
}

async fn deregister_deleting(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let arn = context.consumer(&stream, "reader").await?;
    let deregister = context.client.deregister_stream_consumer();
    deregister.consumer_arn(&arn).send().await?;
    let describe = context.client.describe_stream_consumer();
    let described = describe.consumer_arn(&arn).send().await?;
    let status = described
        .consumer_description
        .map(|described| described.consumer_status);
    same("the status at once", status, Some(ConsumerStatus::Deleting))?;
    gone(context, &arn).await
}

async fn describe_consumer(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let arn = context.consumer(&stream, "reader").await?;
    let describe = context.client.describe_stream_consumer();
    let described = describe.consumer_arn(&arn).send().await?;
    let described = described.consumer_description.context("no description")?;
    same("the name", described.consumer_name(), "reader")?;
    same("the ARN", described.consumer_arn(), arn.as_str())?;
    same("the stream", described.stream_arn(), stream.arn.as_str())?;
    same(
        "the status",
        described.consumer_status(),
        &ConsumerStatus::Active,
    )
}

async fn describe_by_name(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let arn = context.consumer(&stream, "reader").await?;
    let describe = context.client.describe_stream_consumer();
    let describe = describe.stream_arn(&stream.arn).consumer_name("reader");
    let described = describe.send().await?.consumer_description;
    let described = described.context("no description")?;
    same("the ARN", described.consumer_arn(), arn.as_str())
}

async fn describe_unknown(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let describe = context.client.describe_stream_consumer();
    let describe = describe.stream_arn(&stream.arn).consumer_name("missing");
    refused(describe.send().await, &["ResourceNotFoundException"]).map(drop)
}

async fn describe_nothing(context: &Context) -> anyhow::Result<()> {
    let describe = context.client.describe_stream_consumer();
    refused(describe.send().await, INVALID).map(drop)
}

async fn list_all(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    for name in ["a", "b"] {
        context.consumer(&stream, name).await?;
    }
    same(
        "consumers",
        names(context, &stream).await?.concat().as_str(),
        "ab",
    )
}

/// The stream stands with the token too: StreamARN is required.
async fn list_pages(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    for name in ["a", "b", "c"] {
        context.consumer(&stream, name).await?;
    }
    let mut token: Option<String> = None;
    let (mut seen, mut sizes) = (Vec::new(), Vec::new());
    loop {
        let list = context
            .client
            .list_stream_consumers()
            .stream_arn(&stream.arn);
        let list = list.max_results(2).set_next_token(token);
        let page = list.send().await?;
        sizes.push(page.consumers().len());
        seen.extend(
            page.consumers()
                .iter()
                .map(|consumer| consumer.consumer_name.clone()),
        );
        token = page.next_token;
        ensure!(sizes.len() < 9, "the pages have no end");
        if token.is_none() {
            break;
        }
    }
    seen.sort();
    same("all consumers", seen.concat().as_str(), "abc")?;
    same("the pages' sizes", sizes, vec![2, 1])
}

async fn list_none(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    same("consumers", names(context, &stream).await?.len(), 0)
}

async fn list_0(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let list = context
        .client
        .list_stream_consumers()
        .stream_arn(&stream.arn);
    refused(list.max_results(0).send().await, INVALID).map(drop)
}

async fn list_no_token(context: &Context) -> anyhow::Result<()> {
    let stream = context.stream(1).await?;
    let list = context
        .client
        .list_stream_consumers()
        .stream_arn(&stream.arn);
    refused(list.next_token("not-a-token").send().await, INVALID).map(drop)
}
