//! The Kinesis calls that a replay makes, over HTTP on a free loopback port. It stores what it accepts in
//! memory and fails what a test tells it to. It has no shards, limits or readers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::{BehaviorVersion, Credentials, Region};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::post;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What happens to one record of a call.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Fate {
    Accept,
    Throttle,
    Fail,
}

/// What happens to a call as a whole.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum CallFate {
    PerRecord,
    /// Refused with this error type and status; nothing is stored.
    Refuse(&'static str, u16),
    /// Everything is stored, but the answer is a server error.
    LoseAnswer,
}

pub(super) type Decide<T> = Box<dyn FnMut(usize, &Value) -> T + Send>;

pub(super) struct Kinesis {
    call_fate: Decide<CallFate>,
    /// By the record's number among all attempts, and the record.
    fate: Decide<Fate>,
    pub(super) calls: Vec<Vec<String>>,
    pub(super) attempts: usize,
    /// What is in the stream, in the order in which it was accepted: partition key and tick.
    pub(super) stored: Vec<(String, Value)>,
    pub(super) streams: HashMap<String, u64>,
}

type Shared = Arc<Mutex<Kinesis>>;

pub(super) struct Server {
    pub(super) kinesis: Arc<Mutex<Kinesis>>,
    pub(super) client: Client,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn answer(status: u16, body: &Value) -> Response {
    Response::builder()
        .status(StatusCode::from_u16(status).unwrap())
        .header("content-type", "application/x-amz-json-1.1")
        .body(Body::from(body.to_string()))
        .unwrap()
}

async fn handle(State(kinesis): State<Shared>, headers: HeaderMap, body: String) -> Response {
    let mut kinesis = kinesis.lock().unwrap();
    let request: Value = serde_json::from_str(&body).unwrap();
    let stream = request["StreamName"].as_str().unwrap().to_owned();
    match headers["x-amz-target"].to_str().unwrap() {
        "Kinesis_20131202.CreateStream" => {
            if kinesis.streams.contains_key(&stream) {
                return answer(
                    400,
                    &json!({"__type": "ResourceInUseException", "message": "exists"}),
                );
            }
            kinesis
                .streams
                .insert(stream, request["ShardCount"].as_u64().unwrap());
            answer(200, &json!({}))
        }
        "Kinesis_20131202.DescribeStreamSummary" => answer(
            200,
            &json!({"StreamDescriptionSummary": {
                "StreamName": stream, "StreamARN": "arn:aws:kinesis:us-east-1:0:stream/s", "StreamStatus": "ACTIVE",
                "RetentionPeriodHours": 24, "StreamCreationTimestamp": 0, "EnhancedMonitoring": [],
                "OpenShardCount": kinesis.streams[&stream],
            }}),
        ),
        "Kinesis_20131202.PutRecords" => put_records(
            &mut kinesis,
            &stream,
            request["Records"].as_array().unwrap(),
        ),
        other => panic!("unexpected call {other}"),
    }
}

fn put_records(kinesis: &mut Kinesis, stream: &str, records: &[Value]) -> Response {
    if !kinesis.streams.contains_key(stream) {
        return answer(
            400,
            &json!({"__type": "ResourceNotFoundException", "message": "no such stream"}),
        );
    }
    kinesis.calls.push(
        records
            .iter()
            .map(|record| record["PartitionKey"].as_str().unwrap().to_owned())
            .collect(),
    );
    let number = kinesis.calls.len() - 1;
    let call_fate = (kinesis.call_fate)(number, &Value::Null);
    if let CallFate::Refuse(error, status) = call_fate {
        return answer(status, &json!({"__type": error, "message": "told to"}));
    }
    let mut failed = 0;
    let mut results = vec![Value::Null; records.len()];
    // AWS promises no order inside a call: this server stores the records of a call backwards.
    for (index, record) in records.iter().enumerate().rev() {
        let tick: Value = serde_json::from_slice(
            &BASE64_STANDARD
                .decode(record["Data"].as_str().unwrap())
                .unwrap(),
        )
        .unwrap();
        let attempt = kinesis.attempts;
        kinesis.attempts += 1;
        let error = match (kinesis.fate)(attempt, &tick) {
            Fate::Accept => None,
            Fate::Throttle => Some("ProvisionedThroughputExceededException"),
            Fate::Fail => Some("InternalFailure"),
        };
        results[index] = match error {
            None => {
                kinesis
                    .stored
                    .push((record["PartitionKey"].as_str().unwrap().to_owned(), tick));
                json!({"SequenceNumber": kinesis.stored.len().to_string(), "ShardId": "shardId-000000000000"})
            }
            Some(code) => {
                failed += 1;
                json!({"ErrorCode": code, "ErrorMessage": "told to"})
            }
        };
    }
    if call_fate == CallFate::LoseAnswer {
        return answer(
            500,
            &json!({"__type": "InternalFailure", "message": "answer lost"}),
        );
    }
    answer(
        200,
        &json!({"FailedRecordCount": failed, "Records": results}),
    )
}

/// A server with the stream `s`, with everything accepted unless the closures say otherwise.
pub(super) async fn serve(call_fate: Decide<CallFate>, fate: Decide<Fate>) -> Server {
    let kinesis = Arc::new(Mutex::new(Kinesis {
        call_fate,
        fate,
        calls: Vec::new(),
        attempts: 0,
        stored: Vec::new(),
        streams: HashMap::from([("s".to_owned(), 1)]),
    }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new()
        .route("/", post(handle))
        .with_state(Arc::clone(&kinesis));
    let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    Server {
        kinesis,
        client: client(&url),
        task,
    }
}

pub(super) fn client(url: &str) -> Client {
    Client::from_conf(
        aws_sdk_kinesis::config::Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("a", "b", None, None, "test"))
            .endpoint_url(url)
            .build(),
    )
}
