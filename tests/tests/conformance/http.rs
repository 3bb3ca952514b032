//! Bare HTTP, for what an SDK can't send and for what it hides: headers, bodies, statuses.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::refusal::Refusal;

pub const JSON: &str = "application/x-amz-json-1.1";
const PATIENCE: Duration = Duration::from_secs(20);
/// As an SDK signs; signatures aren't checked by any of the servers, but the credential's scope is read.
const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/kinesis/aws4_request, \
     SignedHeaders=host;x-amz-date, Signature=0000000000000000000000000000000000000000000000000000000000000000";

/// An answer as it came.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("no JSON: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The error in it, read as every AWS SDK reads the JSON protocol: `__type`, without what may stand before `#`.
    pub fn refusal(&self) -> anyhow::Result<Refusal> {
        ensure!(self.status >= 400, "it was accepted: {self:?}");
        let body = self.json()?;
        let text = |name: &str| body[name].as_str().map(str::to_owned);
        let kind = text("__type").context("no __type")?;
        Ok(Refusal {
            code: kind.rsplit('#').next().unwrap_or_default().to_owned(),
            message: text("message").or(text("Message")).unwrap_or_default(),
            status: self.status,
        })
    }
}

/// Calls an operation of Kinesis.
pub async fn post(endpoint: &str, operation: &str, body: &[u8]) -> anyhow::Result<Answer> {
    post_as(endpoint, operation, JSON, body).await
}

/// The same with another content type.
pub async fn post_as(
    endpoint: &str,
    operation: &str,
    content_type: &str,
    body: &[u8],
) -> anyhow::Result<Answer> {
    let target = format!("Kinesis_20131202.{operation}");
    let headers = [
        ("content-type", content_type),
        ("x-amz-target", &target),
        ("x-amz-date", "20260101T000000Z"),
        ("authorization", AUTHORIZATION),
    ];
    request(endpoint, "POST", "/", &headers, body).await
}

/// Replaces the rules for faults of a server of ours.
pub async fn put_faults(endpoint: &str, rules: &Value) -> anyhow::Result<()> {
    let body = rules.to_string();
    let headers = [("content-type", "application/json")];
    let path = "/_stockstream/faults";
    let answer = request(endpoint, "PUT", path, &headers, body.as_bytes()).await?;
    ensure!(
        (200..300).contains(&answer.status),
        "the rules {body} were refused: {} {}",
        answer.status,
        String::from_utf8_lossy(&answer.body)
    );
    Ok(())
}

/// One request on a connection of its own.
pub async fn request(
    endpoint: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> anyhow::Result<Answer> {
    tokio::time::timeout(PATIENCE, exchange(endpoint, method, path, headers, body))
        .await
        .context("no answer came")?
}

async fn exchange(
    endpoint: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> anyhow::Result<Answer> {
    let address = endpoint.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).await.context("connecting")?;
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    parse(&answer)
}

fn parse(answer: &[u8]) -> anyhow::Result<Answer> {
    let end = answer
        .windows(4)
        .position(|bytes| bytes == b"\r\n\r\n")
        .context("no end of the headers")?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let body = &answer[end + 4..];
    let chunked = headers
        .iter()
        .any(|(name, value)| name == "transfer-encoding" && value == "chunked");
    Ok(Answer {
        status: status.context("no status")?.parse()?,
        body: if chunked {
            unchunk(body)?
        } else {
            body.to_vec()
        },
        headers,
    })
}

fn unchunk(mut body: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let line = body.windows(2).position(|bytes| bytes == b"\r\n");
        let line = line.context("a chunk without a size")?;
        let size = usize::from_str_radix(std::str::from_utf8(&body[..line])?.trim(), 16)?;
        let chunk = body.get(line + 2..line + 2 + size);
        whole.extend_from_slice(chunk.context("a chunk that is cut off")?);
        if size == 0 {
            return Ok(whole);
        }
        body = body.get(line + 4 + size..).context("no next chunk")?;
    }
}
