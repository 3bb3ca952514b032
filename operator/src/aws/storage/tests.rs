#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::metrics::Metrics;

/// A store that gives the same answer whatever is asked.
async fn store(status: &'static str, body: &'static str) -> Buckets {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let Ok((mut connection, _)) = listener.accept().await else {
                return;
            };
            tokio::spawn(async move {
                let mut request = vec![0; 65_536];
                let mut length = 0;
                // Until the head and the few bytes of the probe have come.
                while !request[..length].ends_with(b"deleted.\n") {
                    match connection.read(&mut request[length..]).await {
                        Ok(read) if read > 0 => length += read,
                        _ => break,
                    }
                }
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                let _ = connection.write_all(answer.as_bytes()).await;
            });
        }
    });
    let credentials = Credentials::new("test", "test", None, None, "test");
    let config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(format!("http://{address}"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build();
    Buckets::new(&config, CountRequests(Metrics::default()))
}

async fn looked(status: &'static str, body: &'static str) -> Standing {
    let place = Place {
        field: STATE,
        bucket: "lake".to_owned(),
        prefix: "state/".to_owned(),
    };
    store(status, body).await.look(&[place], None).await
}

#[tokio::test]
async fn a_store_that_creates_twice_is_refused() {
    let standing = looked("200 OK", "").await;
    assert_eq!(standing.state, State::Stuck);
    assert_eq!(standing.reason, "NoConditionalWrites");
    assert!(standing.message.starts_with(STATE), "{}", standing.message);
}

#[tokio::test]
async fn a_bucket_of_another_region_is_told() {
    let body = "<Error><Code>PermanentRedirect</Code><Message>elsewhere</Message></Error>";
    let standing = looked("301 Moved Permanently", body).await;
    assert_eq!(
        (standing.state, standing.reason),
        (State::Stuck, "WrongRegion")
    );
}

#[tokio::test]
async fn a_refusal_without_a_word_is_one_all_the_same() {
    let standing = looked("403 Forbidden", "").await;
    assert_eq!(
        (standing.state, standing.reason),
        (State::Stuck, "AccessDenied")
    );
    assert!(
        standing.message.contains("s3:PutObject"),
        "{}",
        standing.message
    );
}
