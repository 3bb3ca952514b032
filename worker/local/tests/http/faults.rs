//! Scripted faults as a client meets them: what is answered, and what is written all the same.

use std::time::{Duration, Instant};

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::retry::RetryConfig;
use aws_sdk_kinesis::error::ProvideErrorMetadata;
use aws_sdk_kinesis::operation::put_records::PutRecordsOutput;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, ShardIteratorType};
use serde_json::{Value, json};
use stockstream_local::faults::Script;
use stockstream_local::{Server, ServerOptions};

use crate::client::*;

const S1: &str = "shardId-000000000001";

/// A server with these rules, a stream of two shards, and a client that tries once.
async fn start_with(rules: Value) -> (Server, Client) {
    let options = ServerOptions {
        faults: Some(Script::parse("[]").unwrap()),
        ..ServerOptions::default()
    };
    let server = Server::start(options).await.unwrap();
    let client = client_trying(&server, 1);
    create(&client, 2).await;
    server
        .faults()
        .unwrap()
        .replace(Script::parse(&rules.to_string()).unwrap());
    (server, client)
}

fn client_trying(server: &Server, attempts: u32) -> Client {
    let config = client(&server.endpoint()).config().to_builder();
    let retry = RetryConfig::standard()
        .with_max_attempts(attempts)
        .with_initial_backoff(Duration::from_millis(1));
    Client::from_conf(config.retry_config(retry).build())
}

fn entry(data: &str, hash_key: u128) -> PutRecordsRequestEntry {
    PutRecordsRequestEntry::builder()
        .data(Blob::new(data))
        .partition_key("k")
        .explicit_hash_key(hash_key.to_string())
        .build()
        .unwrap()
}

/// Records that go to the shards 0, 1, 0, 1.
async fn put_four(client: &Client) -> Result<PutRecordsOutput, Option<String>> {
    let records = [("a", 0), ("b", u128::MAX), ("c", 0), ("d", u128::MAX)];
    let records = records.map(|(data, key)| entry(data, key));
    let put = client.put_records().stream_name(STREAM);
    let put = put.set_records(Some(records.to_vec()));
    put.send()
        .await
        .map_err(|error| error.code().map(str::to_owned))
}

async fn put(client: &Client) -> Result<(), Option<String>> {
    let put = client.put_record().stream_name(STREAM).partition_key("k");
    let put = put.explicit_hash_key("0").data(Blob::new("x"));
    put.send()
        .await
        .map(drop)
        .map_err(|error| error.code().map(str::to_owned))
}

async fn iterator(client: &Client, shard: &str) -> String {
    let get = client.get_shard_iterator().stream_name(STREAM);
    let get = get.shard_id(shard);
    let get = get.shard_iterator_type(ShardIteratorType::TrimHorizon);
    get.send().await.unwrap().shard_iterator.unwrap()
}

async fn texts(client: &Client, shard: &str) -> Vec<String> {
    let iterator = iterator(client, shard).await;
    let get = client.get_records().shard_iterator(iterator).send();
    let records = get.await.unwrap().records;
    records
        .iter()
        .map(|record| String::from_utf8(record.data.as_ref().to_vec()).unwrap())
        .collect()
}

fn code(name: &str) -> Result<(), Option<String>> {
    Err(Some(name.to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_answer_is_applied_and_the_sdks_own_retry_writes_it_twice() {
    let rules = json!([{"operation": "PutRecords", "count": 1, "fault": {"drop_reply": {}}}]);
    let (server, _) = start_with(rules).await;
    let client = client_trying(&server, 3);
    let outcome = put_four(&client).await.unwrap();
    assert_eq!(outcome.failed_record_count, Some(0));
    assert_eq!(texts(&client, S0).await, ["a", "c", "a", "c"]);
    assert_eq!(texts(&client, S1).await, ["b", "d", "b", "d"]);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_connection_applies_nothing_and_the_retry_writes_it_once() {
    let rules = json!([{"operation": "PutRecords", "count": 1, "fault": {"close": {}}}]);
    let (server, once) = start_with(rules.clone()).await;
    assert_eq!(put_four(&once).await.unwrap_err(), None);
    assert_eq!(texts(&once, S0).await, [""; 0]);
    let faults = server.faults().unwrap();
    faults.replace(Script::parse(&rules.to_string()).unwrap());
    put_four(&client_trying(&server, 3)).await.unwrap();
    assert_eq!(texts(&once, S0).await, ["a", "c"]);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttled_shard_refuses_its_entries_and_the_others_are_written() {
    let rules =
        json!([{"operation": "PutRecords", "shard": S1, "count": 1, "fault": {"throttle": {}}}]);
    let (server, client) = start_with(rules).await;
    let outcome = put_four(&client).await.unwrap();
    assert_eq!(outcome.failed_record_count, Some(2));
    let shards: Vec<_> = outcome.records.iter().map(|one| one.shard_id()).collect();
    assert_eq!(shards, [Some(S0), None, Some(S0), None]);
    let refused = &outcome.records[1];
    assert_eq!(
        refused.error_code(),
        Some("ProvisionedThroughputExceededException")
    );
    assert_eq!(
        refused.error_message().unwrap(),
        format!("Rate exceeded for shard {S1} in stream {STREAM} under account 000000000000.")
    );
    assert_eq!(texts(&client, S0).await, ["a", "c"]);
    assert_eq!(texts(&client, S1).await, [""; 0]);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_throttle_without_a_shard_refuses_every_entry_in_an_answer() {
    let rules = json!([{"operation": "PutRecords", "fault": {"throttle": {}}}]);
    let (server, client) = start_with(rules).await;
    let outcome = put_four(&client).await.unwrap();
    assert_eq!(
        (outcome.failed_record_count, outcome.records.len()),
        (Some(4), 4)
    );
    assert_eq!(texts(&client, S0).await, [""; 0]);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_put_records_that_is_invalid_nothing_is_throttled() {
    let rules = json!([{"operation": "PutRecords", "fault": {"throttle": {}}}]);
    let (server, client) = start_with(rules).await;
    let put = |stream: &str, hash_key: &str| {
        let entry = PutRecordsRequestEntry::builder().partition_key("k");
        let entry = entry.data(Blob::new("x")).explicit_hash_key(hash_key);
        client
            .put_records()
            .stream_name(stream)
            .records(entry.build().unwrap())
            .send()
    };
    let error = put("missing", "0").await.unwrap_err().into_service_error();
    assert!(error.is_resource_not_found_exception(), "{error:?}");
    let error = put(STREAM, "zz").await.unwrap_err().into_service_error();
    assert_eq!(error.code(), Some("ValidationException"), "{error:?}");
    let outcome = put(STREAM, "0").await.unwrap();
    assert_eq!(outcome.failed_record_count, Some(1));
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn throttles_are_what_a_limit_would_say() {
    let rules = json!([{"operation": "PutRecord", "fault": {"throttle": {}}},
                       {"operation": "ListShards", "fault": {"throttle": {}}}]);
    let (server, client) = start_with(rules).await;
    assert_eq!(
        put(&client).await,
        code("ProvisionedThroughputExceededException")
    );
    let list = client.list_shards().stream_name(STREAM).send().await;
    let error = list.unwrap_err().into_service_error();
    assert!(error.is_limit_exceeded_exception(), "{error:?}");
    assert_eq!(
        error.message(),
        Some("Rate exceeded for stream ticks under account 000000000000.")
    );
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_the_type_and_message_of_the_rule_and_change_nothing() {
    let error = json!({"error": {"type": "KMSAccessDeniedException", "message": "no key for you"}});
    let rules = json!([{"operation": "PutRecord", "count": 1, "fault": error},
        {"operation": "PutRecord", "skip": 0, "count": 1, "fault": {"error": {"type": "InternalFailureException"}}}]);
    let (server, client) = start_with(rules).await;
    let put_record = client.put_record().stream_name(STREAM).partition_key("k");
    let refused = put_record.data(Blob::new("x")).send().await.unwrap_err();
    let refused = refused.into_service_error();
    assert!(refused.is_kms_access_denied_exception(), "{refused:?}");
    assert_eq!(refused.message(), Some("no key for you"));
    assert_eq!(put(&client).await, code("InternalFailureException"));
    put(&client).await.unwrap();
    assert_eq!(texts(&client, S0).await, ["x"]);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_iterator_expires_when_a_rule_says_so() {
    let rules = json!([{"shard": S1, "count": 1, "fault": {"expire_iterator": {}}}]);
    let (server, client) = start_with(rules).await;
    let (zero, one) = (iterator(&client, S0).await, iterator(&client, S1).await);
    let get = |iterator: &String| client.get_records().shard_iterator(iterator).send();
    get(&zero).await.unwrap();
    let error = get(&one).await.unwrap_err().into_service_error();
    assert!(error.is_expired_iterator_exception(), "{error:?}");
    get(&one).await.unwrap();
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delay_comes_before_the_operation() {
    let delay = Duration::from_millis(50);
    let rules = json!([{"operation": "PutRecord", "fault": {"delay": {"millis": 50}}}]);
    let (server, client) = start_with(rules).await;
    let begin = Instant::now();
    put(&client).await.unwrap();
    // The least it takes: no machine is too slow for that.
    assert!(begin.elapsed() >= delay);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_decides_the_same_calls_twice() {
    let rules = json!([{"operation": "PutRecord", "probability": 0.5, "seed": 7, "fault": {"throttle": {}}}]);
    let mut runs = Vec::new();
    for _ in 0..2 {
        let (server, client) = start_with(rules.clone()).await;
        let mut run = Vec::new();
        for _ in 0..40 {
            run.push(put(&client).await.is_ok());
        }
        runs.push(run);
        server.shutdown().await;
    }
    assert_eq!(runs[0], runs[1]);
    assert!(runs[0].contains(&true) && runs[0].contains(&false));
}

fn faults_at(server: &Server, method: &str, body: &[u8]) -> (u16, Value) {
    let (status, answer) = raw(server.address(), method, "/_stockstream/faults", &[], body);
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    (status, serde_json::from_str(body).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_read_with_their_hits_and_replaced_while_the_server_runs() {
    let rules = json!([{"operation": "PutRecord", "count": 1, "fault": {"throttle": {}}}]);
    let (server, client) = start_with(rules).await;
    put(&client).await.unwrap_err();
    put(&client).await.unwrap();
    let (status, shown) = faults_at(&server, "GET", b"");
    let expected = json!([{"operation": "PutRecord", "skip": 0, "count": 1, "probability": 1.0,
        "fault": {"throttle": {}}, "matched": 2, "hits": 1}]);
    assert_eq!((status, shown), (200, expected));
    let (status, error) = faults_at(&server, "PUT", br#"[{"fault": {"explode": {}}}]"#);
    assert_eq!(status, 400);
    let message = error["message"].as_str().unwrap();
    assert!(
        message.starts_with("rule 1: fault is {\"explode\":{}}; allowed is"),
        "{message}"
    );
    let fault = br#"[{"operation": "PutRecord", "fault": {"close": {}}}]"#;
    assert_eq!(faults_at(&server, "PUT", fault).0, 200);
    assert_eq!(put(&client).await, Err(None));
    assert_eq!(faults_at(&server, "PUT", b"[]"), (200, json!([])));
    put(&client).await.unwrap();
    assert_eq!(faults_at(&server, "POST", b"[]").0, 400);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_script_the_path_is_refused_as_any_other() {
    let (server, _client) = start().await;
    let (status, error) = faults_at(&server, "GET", b"");
    assert_eq!(status, 400);
    assert_eq!(error["__type"], "UnknownOperationException");
    server.shutdown().await;
}
