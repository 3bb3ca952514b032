//! One HTTP request to one answer: method, headers, size, and errors as AWS writes them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::{Body as _, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::watch;

use super::event_stream::{self, EventStream};
use super::{faulty, wire};
use crate::api::{Caller, ErrorKind, Kinesis, KinesisError, Operation};
use crate::faults::Faults;

/// A PutRecords of 10 MiB is 14 MiB in base64; with 500 escaped partition keys it stays below this.
const MAX_BODY_BYTES: usize = 32 * 1024 * 1024;

/// Memory taken for a body at once because its length promises it; a longer one gets more as it comes.
const PROMISED_BYTES: usize = 1024 * 1024;

/// Between two pieces of a body: a client that sends no more must not hold its connection, which others wait for.
const STALLED: Duration = Duration::from_secs(60);

const JSON: &str = "application/x-amz-json-1.1";

/// What every request is served with.
#[derive(Debug, Clone)]
pub(super) struct Service {
    pub kinesis: Arc<Kinesis>,
    /// The scripted faults, if the server was started with a script.
    pub faults: Option<Faults>,
    /// Ends what would go on for long.
    pub stopped: watch::Receiver<bool>,
}

/// What an answer's body may be: all of it, or events as they come.
type Body = Either<Full<Bytes>, EventStream>;

/// What an operation gave.
enum Outcome {
    Body(Vec<u8>),
    Events(EventStream),
}

/// How a request ends that isn't served.
#[derive(Debug)]
pub(super) enum Ending {
    /// With an error.
    Error(KinesisError),
    /// Without an answer, the connection closed: only a scripted fault does that.
    Closed,
}

impl From<KinesisError> for Ending {
    fn from(error: KinesisError) -> Self {
        Self::Error(error)
    }
}

/// The connection is to be closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("a scripted fault closed the connection")]
pub(super) struct Closed;

/// Answers a request; every failure becomes an answer too.
pub(super) async fn answer(
    service: Service,
    request: Request<Incoming>,
) -> Result<Response<Body>, Closed> {
    Ok(match perform(service, request).await {
        Ok(Outcome::Body(body)) => response(StatusCode::OK, body, None),
        Ok(Outcome::Events(events)) => headed(Either::Right(events), event_stream::CONTENT_TYPE),
        Err(Ending::Closed) => return Err(Closed),
        Err(Ending::Error(error)) => {
            let status = StatusCode::from_u16(error.kind.http_status())
                .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let body = serde_json::json!({"__type": error.kind.name(), "message": error.message});
            response(status, body.to_string().into_bytes(), Some(error.kind))
        }
    })
}

async fn perform(service: Service, request: Request<Incoming>) -> Result<Outcome, Ending> {
    if let Some(faults) = &service.faults
        && request.uri().path() == faulty::PATH
    {
        return control_faults(faults, request).await;
    }
    if request.method() != Method::POST || request.uri().path() != "/" {
        let message = format!(
            "{} {} isn't served: Kinesis takes POST / with the header X-Amz-Target. {}",
            request.method(),
            request.uri().path(),
            Operation::served()
        );
        return Err(KinesisError::new(ErrorKind::UnknownOperation, message).into());
    }
    check_content_type(request.headers())?;
    let operation = operation(request.headers())?;
    let caller = caller(request.headers());
    let body = read_body(request.into_body()).await?;
    let Some(faults) = &service.faults else {
        return Ok(operate(service, caller, operation, body).await?);
    };
    let plan = faulty::before(faults, &service.kinesis, operation, body).await?;
    let outcome = match plan.answered() {
        Some(answer) => Ok(Outcome::Body(answer)),
        None => operate(service, caller, operation, plan.body.clone()).await,
    };
    match outcome {
        _ if plan.drops_reply() => Err(Ending::Closed),
        Ok(Outcome::Body(answer)) => Ok(Outcome::Body(plan.after(answer))),
        other => Ok(other?),
    }
}

/// Reads or replaces the scripted faults.
async fn control_faults(faults: &Faults, request: Request<Incoming>) -> Result<Outcome, Ending> {
    match *request.method() {
        Method::GET => Ok(Outcome::Body(faulty::report(faults))),
        Method::PUT => {
            let body = read_body(request.into_body()).await?;
            Ok(Outcome::Body(faulty::replace(faults, &body)?))
        }
        _ => {
            let message = format!("{} takes GET and PUT.", faulty::PATH);
            Err(KinesisError::new(ErrorKind::UnknownOperation, message).into())
        }
    }
}

/// Performs an operation.
async fn operate(
    service: Service,
    caller: Caller,
    operation: Operation,
    body: Bytes,
) -> Result<Outcome, KinesisError> {
    let durable = service.kinesis.is_durable();
    let call = move || match operation {
        Operation::SubscribeToShard => {
            let subscription = wire::subscribe(&service.kinesis, &body)?;
            Ok(Outcome::Events(EventStream::new(subscription, service)))
        }
        _ => wire::call(&service.kinesis, &caller, operation, &body).map(Outcome::Body),
    };
    if !durable {
        return call();
    }
    // The disk may keep this waiting: not on the runtime's own threads.
    let calling = tokio::task::spawn_blocking(call);
    calling.await.unwrap_or_else(|error| {
        Err(KinesisError::new(
            ErrorKind::InternalFailure,
            format!("the operation failed: {error}"),
        ))
    })
}

fn check_content_type(headers: &HeaderMap) -> Result<(), KinesisError> {
    let content_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if content_type.contains("cbor") {
        tracing::warn!("a client sent CBOR, which isn't served");
        return Err(KinesisError::new(
            ErrorKind::Serialization,
            "CBOR isn't served here, only JSON. Switch the AWS SDK for Java 2 to JSON by the environment variable \
             CBOR_ENABLED=false or the system property aws.cborEnabled=false; version 1 by AWS_CBOR_DISABLE=true or \
             com.amazonaws.sdk.disableCbor=true.",
        ));
    }
    Ok(())
}

fn operation(headers: &HeaderMap) -> Result<Operation, KinesisError> {
    let target = headers
        .get("x-amz-target")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let name = target.strip_prefix("Kinesis_20131202.");
    let operation = name.and_then(|name| name.parse().ok());
    operation.ok_or_else(|| {
        let message = format!(
            "Operation '{target}' isn't served by this Kinesis. {}",
            Operation::served()
        );
        KinesisError::new(ErrorKind::UnknownOperation, message)
    })
}

/// The region that the request was signed for: `Credential=KEY/DATE/REGION/kinesis/aws4_request`.
fn caller(headers: &HeaderMap) -> Caller {
    let authorization = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let scope = authorization
        .split_once("Credential=")
        .map_or("", |(_, rest)| rest);
    let region = scope
        .split(',')
        .next()
        .and_then(|scope| scope.split('/').nth(2))
        .unwrap_or_default();
    let plausible = (1..=32).contains(&region.len())
        && region
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if plausible {
        Caller {
            region: region.to_owned(),
        }
    } else {
        Caller::default()
    }
}

/// Reads a body into one buffer. Pieces are copied as they come, so that the connection can use its own
/// buffer again: gathering them first would take new memory for each.
async fn read_body(mut body: Incoming) -> Result<Bytes, KinesisError> {
    let promised = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut bytes = Vec::with_capacity(promised.min(PROMISED_BYTES));
    loop {
        let piece = tokio::time::timeout(STALLED, body.frame()).await;
        let piece = piece.map_err(|_| {
            let message = format!("No more of the request came for {} s.", STALLED.as_secs());
            KinesisError::new(ErrorKind::Serialization, message)
        })?;
        let Some(frame) = piece else { break };
        let frame = frame.map_err(|error| {
            KinesisError::new(
                ErrorKind::Serialization,
                format!("The request couldn't be read to its end: {error}"),
            )
        })?;
        // Trailers say nothing here.
        let Ok(piece) = frame.into_data() else {
            continue;
        };
        if bytes.len() + piece.len() > MAX_BODY_BYTES {
            return Err(KinesisError::new(
                ErrorKind::RequestTooLarge,
                format!("The request is larger than {MAX_BODY_BYTES} bytes."),
            ));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.into())
}

fn response(status: StatusCode, body: Vec<u8>, error: Option<ErrorKind>) -> Response<Body> {
    let mut response = headed(Either::Left(Full::new(Bytes::from(body))), JSON);
    *response.status_mut() = status;
    if let Some(kind) = error {
        let kind = HeaderValue::from_static(kind.name());
        response.headers_mut().insert("x-amzn-errortype", kind);
    }
    response
}

/// A response with the headers that each has.
fn headed(body: Body, content_type: &'static str) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Ok(id) = HeaderValue::from_str(&request_id()) {
        headers.insert("x-amzn-requestid", id);
    }
    response
}

/// A random UUID (RFC 9562, version 4).
fn request_id() -> String {
    let mut bytes = [0; 16];
    // Without the system's randomness the id is all zeros: it is for logs only.
    let _ = getrandom::fill(&mut bytes);
    let id = (u128::from_be_bytes(bytes) & !(0xf << 76) & !(0b11 << 62)) | (4 << 76) | (0b10 << 62);
    let hex = format!("{id:032x}");
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}
