//! The protocol itself: headers, forms of errors, what is refused, ports and restarts.

use std::sync::Arc;

use stockstream_local::{
    DiskOptions, KinesisOptions, Server, ServerError, ServerOptions, Storage, StoreError,
    SystemClock,
};

use crate::client::*;

const JSON: (&str, &str) = ("content-type", "application/x-amz-json-1.1");

/// Method, path, headers, body, and what the answer must contain.
type Case<'a> = (
    &'a str,
    &'a str,
    &'a [(&'a str, &'a str)],
    &'a [u8],
    &'a str,
);

fn target(operation: &str) -> String {
    format!("Kinesis_20131202.{operation}")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_has_awss_form() {
    let (server, _client) = start().await;
    let body = br#"{"StreamName":"foo"}"#;
    let (status, answer) = raw(
        server.address(),
        "POST",
        "/",
        &[JSON, ("x-amz-target", &target("DescribeStream"))],
        body,
    );
    assert_eq!(status, 400);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains("content-type: application/x-amz-json-1.1"),
        "{head}"
    );
    let id = head
        .lines()
        .find_map(|line| line.strip_prefix("x-amzn-requestid: "))
        .unwrap();
    assert_eq!((id.len(), &id[14..15]), (36, "4"), "{id}");
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    let expected = serde_json::json!({
        "__type": "ResourceNotFoundException",
        "message": "Stream foo under account 000000000000 not found.",
    });
    assert_eq!(body, expected);
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_protocol_is_refused_with_a_reason() {
    let (server, _client) = start().await;
    let list = target("ListStreams");
    let list = ("x-amz-target", list.as_str());
    let cbor = ("content-type", "application/x-amz-cbor-1.1");
    let unknown = target("EnableEnhancedMonitoring");
    let put = target("PutRecord");
    let cases: [Case<'_>; 10] = [
        ("GET", "/", &[JSON, list], b"", "GET / isn't served"),
        (
            "POST",
            "/health",
            &[JSON, list],
            b"{}",
            "POST /health isn't served",
        ),
        ("POST", "/", &[JSON], b"{}", "UnknownOperationException"),
        (
            "POST",
            "/",
            &[JSON, ("x-amz-target", &unknown)],
            b"{}",
            "Operation 'Kinesis_20131202.EnableEnhancedMonitoring' isn't served",
        ),
        (
            "POST",
            "/",
            &[cbor, list],
            b"\xbf\xff",
            "CBOR_ENABLED=false",
        ),
        ("POST", "/", &[JSON, list], b"", "SerializationException"),
        ("POST", "/", &[JSON, list], b"[1", "SerializationException"),
        (
            "POST",
            "/",
            &[JSON, list],
            br#"{"Limit":"ten"}"#,
            "SerializationException",
        ),
        (
            "POST",
            "/",
            &[JSON, ("x-amz-target", &put)],
            br#"{"Data":"%%"}"#,
            "not base64",
        ),
        (
            "POST",
            "/",
            &[JSON, ("x-amz-target", &put)],
            &[0xff, 0xfe],
            "SerializationException",
        ),
    ];
    for (method, path, headers, body, expected) in cases {
        let (status, answer) = raw(server.address(), method, path, headers, body);
        assert_eq!(status, 400, "{answer}");
        assert!(
            answer.contains(expected),
            "{expected:?} is missing in {answer}"
        );
    }
    let huge = vec![b' '; 33 * 1024 * 1024];
    let (status, answer) = raw(server.address(), "POST", "/", &[JSON, list], &huge);
    assert!(status == 413 || answer.is_empty(), "{status}: {answer}");
    let (status, _) = raw(server.address(), "POST", "/", &[JSON, list], b"{}");
    assert_eq!(status, 200, "and the server goes on");
    server.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named() {
    let (server, _client) = start().await;
    let options = ServerOptions {
        listen: server.address(),
        ..ServerOptions::default()
    };
    let error = Server::start(options).await.unwrap_err();
    assert!(
        matches!(error, ServerError::PortInUse { address } if address == server.address()),
        "{error:?}"
    );
    assert!(error.to_string().contains(&server.address().to_string()));
    server.shutdown().await;
}

fn durable(path: &std::path::Path) -> ServerOptions {
    let disk = DiskOptions {
        reserve_bytes: 0,
        ..DiskOptions::new(path, 1 << 30)
    };
    ServerOptions {
        kinesis: KinesisOptions {
            storage: Storage::Directory(disk),
            clock: Arc::new(SystemClock::new()),
            ..KinesisOptions::default()
        },
        ..ServerOptions::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_server_lets_its_directory_go_and_starts_again_with_all_records() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::start(durable(directory.path())).await.unwrap();
    let second = Server::start(durable(directory.path())).await.unwrap_err();
    assert!(
        matches!(second, ServerError::Store(StoreError::Locked { .. })),
        "{second:?}"
    );
    let client = client(&server.endpoint());
    create(&client, 1).await;
    let data = aws_sdk_kinesis::primitives::Blob::new(b"kept");
    let put = client
        .put_record()
        .stream_name(STREAM)
        .partition_key("k")
        .data(data);
    let sequence = put.send().await.unwrap().sequence_number;
    server.shutdown().await;
    let server = Server::start(durable(directory.path())).await.unwrap();
    let client = crate::client::client(&server.endpoint());
    let get = client.get_shard_iterator().stream_name(STREAM).shard_id(S0);
    let at = get.shard_iterator_type(aws_sdk_kinesis::types::ShardIteratorType::AtSequenceNumber);
    let iterator = at
        .starting_sequence_number(&sequence)
        .send()
        .await
        .unwrap()
        .shard_iterator
        .unwrap();
    let records = client
        .get_records()
        .shard_iterator(iterator)
        .send()
        .await
        .unwrap()
        .records;
    assert_eq!(records[0].data.as_ref(), b"kept");
    server.shutdown().await;
}
