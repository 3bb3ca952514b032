//! The calls to Kinesis: PutRecords with one answer per record, and creating a stream that is not there.
//! Never tries again by itself: what to send again, and when, is the run's decision.

use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::Builder;
use aws_sdk_kinesis::config::retry::RetryConfig;
use aws_sdk_kinesis::config::timeout::TimeoutConfig;
use aws_sdk_kinesis::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::operation::put_records::{PutRecordsError, PutRecordsOutput};
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, StreamStatus};
use bytes::Bytes;

use super::ReplayError;

/// No call waits longer for its answer.
const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// How long a created stream may take to become active.
const CREATE_DEADLINE: Duration = Duration::from_secs(60);

/// What became of one record of a call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is in the stream.
    Delivered,
    /// It is not in the stream, for want of throughput.
    Throttled(String),
    /// It is not in the stream.
    Failed(String),
    /// No answer came: it may be in the stream.
    Unanswered(String),
}

/// Sends one call and gives one answer per entry, in their order.
///
/// # Errors
/// Only what trying again does not mend: [`ReplayError::MissingStream`] and [`ReplayError::Refused`].
pub(super) async fn put_records(
    client: &Client,
    stream: &str,
    entries: Vec<(String, Bytes)>,
) -> Result<Vec<Answer>, ReplayError> {
    let count = entries.len();
    let records = entries
        .into_iter()
        .map(|(key, data)| {
            PutRecordsRequestEntry::builder()
                .partition_key(key)
                .data(Blob::new(data))
                .build()
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| refused(stream, error.to_string()))?;
    // The SDK's own retries would send a whole call again behind our back, accepted records included.
    let once = Builder::new()
        .retry_config(RetryConfig::disabled())
        .timeout_config(
            TimeoutConfig::builder()
                .operation_timeout(CALL_DEADLINE)
                .build(),
        );
    let call = client
        .put_records()
        .stream_name(stream)
        .set_records(Some(records))
        .customize()
        .config_override(once);
    match call.send().await {
        Ok(output) => Ok(answers(&output, count)),
        Err(error) => {
            whole_call(stream, &error).map(|answer| (0..count).map(|_| answer()).collect())
        }
    }
}

fn answers(output: &PutRecordsOutput, count: usize) -> Vec<Answer> {
    let results = output.records();
    (0..count)
        .map(|index| match results.get(index) {
            None => Answer::Unanswered(
                "the service answered for fewer records than were sent".to_owned(),
            ),
            Some(result) => match result.error_code() {
                None => Answer::Delivered,
                Some(code) => {
                    let message =
                        format!("{code}: {}", result.error_message().unwrap_or("no message"));
                    if code == "ProvisionedThroughputExceededException" {
                        Answer::Throttled(message)
                    } else {
                        Answer::Failed(message)
                    }
                }
            },
        })
        .collect()
}

/// The answer that a failed call means for each of its records.
fn whole_call(
    stream: &str,
    error: &SdkError<PutRecordsError>,
) -> Result<impl Fn() -> Answer + use<>, ReplayError> {
    let message = match (error.code(), error.message()) {
        (Some(code), Some(message)) => format!("{code}: {message}"),
        (Some(code), None) => code.to_owned(),
        _ => DisplayErrorContext(error).to_string(),
    };
    let kind: fn(String) -> Answer = match error {
        SdkError::ServiceError(service) => match error.code().unwrap_or_default() {
            "ResourceNotFoundException" => {
                return Err(ReplayError::MissingStream {
                    stream: stream.to_owned(),
                    message,
                });
            }
            "ProvisionedThroughputExceededException"
            | "LimitExceededException"
            | "ThrottlingException"
            | "Throttling"
            | "KMSThrottlingException"
            | "RequestLimitExceeded" => Answer::Throttled,
            _ if service.raw().status().is_server_error() => Answer::Unanswered,
            _ => return Err(refused(stream, message)),
        },
        SdkError::DispatchFailure(failure) if !failure.is_io() && !failure.is_timeout() => {
            return Err(refused(stream, message));
        }
        SdkError::ConstructionFailure(_) => return Err(refused(stream, message)),
        // Timeouts, broken connections, unreadable answers: the records may have arrived.
        _ => Answer::Unanswered,
    };
    Ok(move || kind(message.clone()))
}

fn refused(stream: &str, message: String) -> ReplayError {
    ReplayError::Refused {
        operation: "PutRecords",
        stream: stream.to_owned(),
        message,
    }
}

/// Which stream a name means, and which life of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) arn: String,
    pub(super) created_millis: i64,
}

/// Asks which stream a name means.
///
/// # Errors
/// [`ReplayError::MissingStream`] and [`ReplayError::Refused`].
pub(super) async fn identity(client: &Client, stream: &str) -> Result<Identity, ReplayError> {
    const OPERATION: &str = "DescribeStreamSummary";
    let refused = |message: String| ReplayError::Refused {
        operation: OPERATION,
        stream: stream.to_owned(),
        message,
    };
    let described = client.describe_stream_summary().stream_name(stream).send();
    let output = match described.await {
        Ok(output) => output,
        Err(error) if error.code() == Some("ResourceNotFoundException") => {
            return Err(ReplayError::MissingStream {
                stream: stream.to_owned(),
                message: DisplayErrorContext(&error).to_string(),
            });
        }
        Err(error) => return Err(refused(DisplayErrorContext(&error).to_string())),
    };
    let summary = output
        .stream_description_summary
        .ok_or_else(|| refused("the answer holds no description".to_owned()))?;
    let created = summary.stream_creation_timestamp.to_millis();
    Ok(Identity {
        arn: summary.stream_arn,
        created_millis: created.map_err(|error| refused(error.to_string()))?,
    })
}

/// Creates the stream unless it is there, and waits until it is active.
///
/// # Errors
/// [`ReplayError::Refused`] when a call is refused, [`ReplayError::StreamNotActive`] after a minute.
pub(super) async fn ensure_stream(
    client: &Client,
    stream: &str,
    shards: u16,
) -> Result<(), ReplayError> {
    let refused = |operation, message: String| ReplayError::Refused {
        operation,
        stream: stream.to_owned(),
        message,
    };
    let created = client
        .create_stream()
        .stream_name(stream)
        .shard_count(i32::from(shards))
        .send()
        .await;
    if let Err(error) = created
        && error.code() != Some("ResourceInUseException")
    {
        return Err(refused(
            "CreateStream",
            DisplayErrorContext(&error).to_string(),
        ));
    }
    let begin = tokio::time::Instant::now();
    loop {
        let described = client
            .describe_stream_summary()
            .stream_name(stream)
            .send()
            .await;
        let status = match described {
            Ok(output) => output
                .stream_description_summary
                .map(|summary| summary.stream_status),
            Err(error) if error.code() == Some("ResourceNotFoundException") => None,
            Err(error) => {
                return Err(refused(
                    "DescribeStreamSummary",
                    DisplayErrorContext(&error).to_string(),
                ));
            }
        };
        if matches!(status, Some(StreamStatus::Active | StreamStatus::Updating)) {
            return Ok(());
        }
        if begin.elapsed() > CREATE_DEADLINE {
            return Err(ReplayError::StreamNotActive {
                stream: stream.to_owned(),
                seconds: CREATE_DEADLINE.as_secs(),
                status: status.map_or_else(|| "not found".to_owned(), |status| status.to_string()),
            });
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
