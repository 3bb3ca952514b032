//! SubscribeToShard through the SDK: events as they come, how a subscription ends, and what scripted
//! faults and limits make of it.

use std::path::Path;
use std::time::{Duration, Instant};

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::SdkError;
use aws_sdk_kinesis::operation::subscribe_to_shard::{
    SubscribeToShardError, SubscribeToShardOutput,
};
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::error::SubscribeToShardEventStreamError as EventError;
use aws_sdk_kinesis::types::{
    ShardIteratorType, StartingPosition, SubscribeToShardEvent, SubscribeToShardEventStream,
};
use serde_json::json;
use stockstream_local::faults::Script;
use stockstream_local::{DiskOptions, KinesisOptions, Server, ServerOptions, Storage};

use crate::client::*;

const STREAM_ARN: &str = "arn:aws:kinesis:eu-west-1:000000000000:stream/ticks";
/// Only so that a mistake ends.
const LONG: Duration = Duration::from_secs(60);

fn disk(path: &Path) -> Storage {
    Storage::Directory(DiskOptions::new(path, 1 << 30))
}

/// A server with a stream of one shard, by turns in memory and on disk.
async fn start_on(storage: Storage) -> (Server, Client) {
    let options = ServerOptions {
        kinesis: KinesisOptions {
            storage,
            ..KinesisOptions::default()
        },
        faults: Some(Script::parse("[]").unwrap()),
        ..ServerOptions::default()
    };
    let server = Server::start(options).await.unwrap();
    let client = client(&server.endpoint());
    create(&client, 1).await;
    (server, client)
}

async fn register(client: &Client, name: &str) -> String {
    let register = client.register_stream_consumer().stream_arn(STREAM_ARN);
    let registered = register.consumer_name(name).send().await.unwrap();
    registered.consumer.unwrap().consumer_arn
}

async fn put(client: &Client, data: impl Into<Vec<u8>>) {
    let put = client.put_record().stream_name(STREAM).partition_key("k");
    put.data(Blob::new(data)).send().await.unwrap();
}

fn horizon() -> StartingPosition {
    let position = StartingPosition::builder().r#type(ShardIteratorType::TrimHorizon);
    position.build().unwrap()
}

fn after(sequence_number: &str) -> StartingPosition {
    let position = StartingPosition::builder().r#type(ShardIteratorType::AfterSequenceNumber);
    position.sequence_number(sequence_number).build().unwrap()
}

async fn try_subscribe(
    client: &Client,
    consumer: &str,
    from: StartingPosition,
) -> Result<SubscribeToShardOutput, SubscribeToShardError> {
    let subscribe = client.subscribe_to_shard().consumer_arn(consumer);
    let subscribe = subscribe.shard_id(S0).starting_position(from);
    subscribe.send().await.map_err(SdkError::into_service_error)
}

async fn subscribe(
    client: &Client,
    consumer: &str,
    from: StartingPosition,
) -> SubscribeToShardOutput {
    try_subscribe(client, consumer, from).await.unwrap()
}

/// The next event; none at the end, an error when the subscription fails.
async fn try_next(
    subscription: &mut SubscribeToShardOutput,
) -> Result<Option<SubscribeToShardEvent>, String> {
    let received = tokio::time::timeout(LONG, subscription.event_stream.recv()).await;
    match received.expect("an event, or the end") {
        Ok(None) => Ok(None),
        Ok(Some(SubscribeToShardEventStream::SubscribeToShardEvent(event))) => Ok(Some(event)),
        Ok(Some(other)) => panic!("{other:?}"),
        Err(SdkError::ServiceError(error)) => {
            // By what the SDK made of it: it sets no code.
            Err(match error.into_err() {
                EventError::ResourceNotFoundException(_) => "ResourceNotFoundException".to_owned(),
                EventError::KmsThrottlingException(_) => "KMSThrottlingException".to_owned(),
                other => format!("{other:?}"),
            })
        }
        Err(_) => Err("the connection's end".to_owned()),
    }
}

async fn next(subscription: &mut SubscribeToShardOutput) -> SubscribeToShardEvent {
    let event = try_next(subscription).await;
    event.unwrap().expect("an event, not the end")
}

/// Events until `count` records have come: their texts, and the last continuation.
async fn read(subscription: &mut SubscribeToShardOutput, count: usize) -> (Vec<String>, String) {
    let mut texts = Vec::new();
    loop {
        let event = next(subscription).await;
        let data = event.records.iter().map(|record| record.data.as_ref());
        texts.extend(data.map(|data| String::from_utf8(data.to_vec()).unwrap()));
        if texts.len() >= count {
            return (texts, event.continuation_sequence_number);
        }
    }
}

async fn records_come_as_they_are_put_and_continue_elsewhere(storage: Storage) {
    let (server, client) = start_on(storage).await;
    let first = register(&client, "first").await;
    let second = register(&client, "second").await;
    put(&client, "before").await;
    let mut subscription = subscribe(&client, &first, horizon()).await;
    assert_eq!(read(&mut subscription, 1).await.0, ["before"]);
    let writer = client.clone();
    let writing = tokio::spawn(async move {
        for number in 0..100 {
            put(&writer, number.to_string()).await;
        }
    });
    let numbers = |range: std::ops::Range<u32>| -> Vec<String> {
        range.map(|number| number.to_string()).collect()
    };
    let (texts, continuation) = read(&mut subscription, 30).await;
    let seen = u32::try_from(texts.len()).unwrap();
    assert_eq!(texts, numbers(0..seen));
    let mut subscription = subscribe(&client, &second, after(&continuation)).await;
    let left = usize::try_from(100 - seen).unwrap();
    if left > 0 {
        assert_eq!(read(&mut subscription, left).await.0, numbers(seen..100));
    }
    writing.await.unwrap();
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_come_as_they_are_put_and_continue_elsewhere_in_memory() {
    records_come_as_they_are_put_and_continue_elsewhere(Storage::default()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_come_as_they_are_put_and_continue_elsewhere_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    records_come_as_they_are_put_and_continue_elsewhere(disk(directory.path())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_shards_last_event_names_its_children_and_ends_the_subscription() {
    let (server, client) = start_on(Storage::default()).await;
    let consumer = register(&client, "reader").await;
    put(&client, "last").await;
    let mut subscription = subscribe(&client, &consumer, horizon()).await;
    assert_eq!(read(&mut subscription, 1).await.0, ["last"]);
    let split = client.split_shard().stream_name(STREAM).shard_to_split(S0);
    let split = split.new_starting_hash_key((1_u128 << 127).to_string());
    split.send().await.unwrap();
    let children = loop {
        let event = next(&mut subscription).await;
        if let Some(children) = event.child_shards {
            break children;
        }
    };
    let ids = children.iter().map(|child| child.shard_id.as_str());
    assert_eq!(
        ids.collect::<Vec<_>>(),
        ["shardId-000000000001", "shardId-000000000002"]
    );
    assert_eq!(try_next(&mut subscription).await, Ok(None));
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_begin_is_refused_with_a_plain_answer() {
    let (server, client) = start_on(Storage::default()).await;
    let unknown = format!("{STREAM_ARN}/consumer/nobody:1");
    let error = try_subscribe(&client, &unknown, horizon()).await;
    let error = error.unwrap_err();
    assert!(error.is_resource_not_found_exception(), "{error:?}");
    let consumer = register(&client, "reader").await;
    let _valid = subscribe(&client, &consumer, horizon()).await;
    // AWS: another call within five seconds of one that succeeded.
    let error = try_subscribe(&client, &consumer, horizon()).await;
    let error = error.unwrap_err();
    assert!(error.is_resource_in_use_exception(), "{error:?}");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_is_deregistered_loses_its_subscription_with_an_error() {
    let (server, client) = start_on(Storage::default()).await;
    let consumer = register(&client, "reader").await;
    let mut subscription = subscribe(&client, &consumer, horizon()).await;
    next(&mut subscription).await;
    let deregister = client.deregister_stream_consumer().consumer_arn(&consumer);
    deregister.send().await.unwrap();
    let error = try_next(&mut subscription).await;
    assert_eq!(error, Err("ResourceNotFoundException".to_owned()));
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_ends_its_subscriptions() {
    let (server, client) = start_on(Storage::default()).await;
    let consumer = register(&client, "reader").await;
    let mut subscription = subscribe(&client, &consumer, horizon()).await;
    next(&mut subscription).await;
    let stopping = tokio::spawn(server.shutdown());
    assert_eq!(try_next(&mut subscription).await, Ok(None));
    stopping.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn scripted_faults_keep_events_back_replace_them_and_close() {
    let (server, client) = start_on(Storage::default()).await;
    let delayed = json!({"operation": "SubscribeToShardEvent", "count": 1, "fault": {"delay": {"millis": 50}}});
    let failed = json!({"operation": "SubscribeToShardEvent", "skip": 1, "count": 1, "shard": S0,
        "fault": {"error": {"type": "KMSThrottlingException", "message": "slowly"}}});
    let closed = json!({"operation": "SubscribeToShardEvent", "skip": 1, "fault": {"close": {}}});
    let script = |rules: serde_json::Value| {
        let faults = server.faults().unwrap();
        faults.replace(Script::parse(&rules.to_string()).unwrap());
    };
    let first = register(&client, "first").await;
    let second = register(&client, "second").await;
    put(&client, "one").await;
    script(json!([delayed, failed]));
    let begin = Instant::now();
    let mut subscription = subscribe(&client, &first, horizon()).await;
    assert_eq!(read(&mut subscription, 1).await.0, ["one"]);
    // The least it takes: no machine is too slow for that.
    assert!(begin.elapsed() >= Duration::from_millis(50));
    put(&client, "two").await;
    let error = try_next(&mut subscription).await;
    assert_eq!(error, Err("KMSThrottlingException".to_owned()));
    script(json!([closed]));
    let mut subscription = subscribe(&client, &second, horizon()).await;
    assert_eq!(read(&mut subscription, 2).await.0, ["one", "two"]);
    put(&client, "three").await;
    let error = try_next(&mut subscription).await;
    assert_eq!(error, Err("the connection's end".to_owned()));
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_limits_a_consumer_gets_two_mebibytes_a_second() {
    let directory = tempfile::tempdir().unwrap();
    // Without limits a shard takes it all at once.
    let (server, client) = start_on(disk(directory.path())).await;
    let consumer = register(&client, "reader").await;
    for _ in 0..4 {
        put(&client, vec![b'x'; 1024 * 1024 - 1]).await;
    }
    server.shutdown().await;
    let options = ServerOptions {
        kinesis: KinesisOptions {
            storage: disk(directory.path()),
            enforce_limits: true,
            ..KinesisOptions::default()
        },
        ..ServerOptions::default()
    };
    let server = Server::start(options).await.unwrap();
    let client = crate::client::client(&server.endpoint());
    let begin = Instant::now();
    let mut subscription = subscribe(&client, &consumer, horizon()).await;
    assert_eq!(read(&mut subscription, 4).await.0.len(), 4);
    // Two at once, the third on credit, the fourth once that is paid back.
    assert!(begin.elapsed() >= Duration::from_millis(400));
    server.shutdown().await;
}
