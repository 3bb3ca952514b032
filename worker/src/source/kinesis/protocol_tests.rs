//! Through the SDK over HTTP: the faster decoder changes nothing but the time that an answer takes.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_sdk_kinesis::config::retry::RetryConfig;
use aws_sdk_kinesis::config::{BehaviorVersion, Credentials, Region};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::super::{SdkStream, StreamClient};
use super::*;

const PLAIN: &str = r#"{"MillisBehindLatest":7,"NextShardIterator":"AAA=","Records":[{"ApproximateArrivalTimestamp":1.441215410867E9,"Data":"QUJD","PartitionKey":"A","SequenceNumber":"12"}]}"#;

/// Answers each request by the next of these, and the last again and again.
struct Server {
    url: String,
    requests: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

/// A status, a body, and how many of its bytes are sent before the connection is closed.
type Answer = (u16, String, usize);

fn whole(status: u16, body: &str) -> Answer {
    (status, body.to_owned(), usize::MAX)
}

impl Server {
    async fn start(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = requests.clone();
        // One connection for each request, one after another.
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let turn = counter.fetch_add(1, Ordering::SeqCst);
                let answer = &answers[turn.min(answers.len() - 1)];
                // A client that gives up is what some tests want.
                let _ = serve(stream, answer).await;
            }
        });
        Server {
            url,
            requests,
            task,
        }
    }

    fn client(&self) -> Client {
        let config = aws_sdk_kinesis::config::Builder::new()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("a", "b", None, None, "test"))
            .retry_config(RetryConfig::standard().with_initial_backoff(std::time::Duration::ZERO))
            .endpoint_url(&self.url);
        Client::from_conf(config.build())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, (status, body, sent): &Answer) -> std::io::Result<()> {
    let mut request = Vec::new();
    // The body of the request is an object without another in it.
    while !request.ends_with(b"}") {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let head = format!(
        "HTTP/1.1 {status} OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    let sent = (*sent).min(body.len());
    stream.write_all(&body.as_bytes()[..sent]).await?;
    stream.shutdown().await
}

/// What became of one read, and how many requests it took.
async fn read(stream: SdkStream, server: &Server) -> (Result<Reply, String>, usize) {
    let before = server.requests.load(Ordering::SeqCst);
    let reply = stream.get_records("AAA", 10_000).await;
    let reply = reply.map_err(|error| format!("{}: {error}", error.reason()));
    (reply, server.requests.load(Ordering::SeqCst) - before)
}

/// The same by both decoders, each with a server of its own.
async fn alike(answers: Vec<Answer>) -> (Result<Reply, String>, usize) {
    let (server, other) = (
        Server::start(answers.clone()).await,
        Server::start(answers.clone()).await,
    );
    let ours = read(SdkStream::new(server.client(), "ticks"), &server).await;
    let sdk = SdkStream::with_sdk_decoder(other.client(), "ticks");
    assert_eq!(ours, read(sdk, &other).await, "{answers:?}");
    ours
}

#[tokio::test]
async fn a_plain_answer_comes_beside_an_output_that_is_empty() {
    let server = Server::start(vec![whole(200, PLAIN)]).await;
    let client = with_plain_replies(&server.client());
    let call = client.get_records().shard_iterator("AAA").send();
    let (output, reply) = watched(call).await;
    assert!(output.unwrap().records.is_empty());
    assert_eq!(reply.unwrap(), decode_by_sdk(PLAIN.as_bytes()).unwrap());
    // Nobody watches: the SDK's decoder alone.
    let output = client.get_records().shard_iterator("AAA").send().await;
    assert_eq!(output.unwrap().records.len(), 1);
}

#[tokio::test]
async fn any_answer_is_what_it_is_by_the_sdk_alone() {
    let odd = PLAIN.replace("\"A\"", "\"\\u0041\"");
    for body in [PLAIN, &odd] {
        let (reply, requests) = alike(vec![whole(200, body)]).await;
        assert_eq!((reply.unwrap().records.len(), requests), (1, 1));
    }
    let end = r#"{"Records":[],"MillisBehindLatest":0,"ChildShards":[{"ShardId":"b","ParentShards":["a"],"HashKeyRange":{"StartingHashKey":"0","EndingHashKey":"1"}}]}"#;
    let (reply, _) = alike(vec![whole(200, end)]).await;
    assert_eq!(reply.unwrap().children, ["b"]);
    for damaged in ["", "{", "[]", &PLAIN[1..], &PLAIN.replace("QUJD", "QUJ")] {
        let _ = alike(vec![whole(200, damaged)]).await;
    }
}

#[tokio::test]
async fn an_error_is_an_error_whatever_its_body_looks_like() {
    for (status, kind, reason) in [
        (400, "ExpiredIteratorException", "ExpiredIterator"),
        (400, "ResourceNotFoundException", "StreamNotFound"),
        (400, "SomethingNew", "StreamUnavailable"),
    ] {
        let body = PLAIN.replacen('{', &format!(r#"{{"__type":"{kind}","message":"no","#), 1);
        let (reply, _) = alike(vec![whole(status, &body)]).await;
        assert!(reply.unwrap_err().starts_with(reason), "{kind}");
    }
    let (reply, _) = alike(vec![whole(400, PLAIN)]).await;
    assert!(reply.is_err());
}

#[tokio::test]
async fn a_call_that_the_sdk_repeats_gives_the_last_answer_alone() {
    let (reply, requests) = alike(vec![whole(500, PLAIN), whole(200, PLAIN)]).await;
    assert_eq!((reply.unwrap().records.len(), requests), (1, 2));
    let throttled = r#"{"__type":"ProvisionedThroughputExceededException"}"#;
    let (reply, requests) = alike(vec![whole(400, throttled), whole(200, PLAIN)]).await;
    assert_eq!((reply.unwrap().records.len(), requests), (1, 2));
    // A body that breaks off isn't looked at.
    for sent in [0, 1, PLAIN.len() - 1] {
        let (reply, requests) = alike(vec![(200, PLAIN.to_owned(), sent), whole(200, PLAIN)]).await;
        assert_eq!((reply.unwrap().records.len(), requests), (1, 2), "{sent}");
    }
}
