//! A server on a free port, an SDK client for it, and a bare HTTP request.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::{BehaviorVersion, Credentials, Region};
use stockstream_local::{Server, ServerOptions};

pub const STREAM: &str = "ticks";
pub const S0: &str = "shardId-000000000000";

pub async fn start() -> (Server, Client) {
    let server = Server::start(ServerOptions::default()).await.unwrap();
    let client = client(&server.endpoint());
    (server, client)
}

pub fn client(endpoint: &str) -> Client {
    let config = aws_sdk_kinesis::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .credentials_provider(Credentials::new("anyone", "anything", None, None, "test"))
        .endpoint_url(endpoint)
        .build();
    Client::from_conf(config)
}

pub async fn create(client: &Client, shards: i32) {
    client
        .create_stream()
        .stream_name(STREAM)
        .shard_count(shards)
        // The most that there is.
        .max_record_size_in_kib(10_240)
        .send()
        .await
        .unwrap();
}

/// Sends a request as it is and returns status and all of the answer.
pub fn raw(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    // The server may answer and close before it has read a body that is too large.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok())
        .unwrap_or(0);
    (status, answer)
}
