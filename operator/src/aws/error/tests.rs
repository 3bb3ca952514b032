#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use aws_sdk_kinesis::config::http::HttpResponse;
use aws_sdk_kinesis::error::ErrorMetadata;
use aws_sdk_kinesis::operation::create_stream::CreateStreamError;

use super::*;

fn failed(call: Call, http: u16, code: Option<&str>, message: &str) -> AwsError {
    let mut metadata = ErrorMetadata::builder().message(message);
    if let Some(code) = code {
        metadata = metadata.code(code);
    }
    let raw = HttpResponse::new(
        http.try_into().unwrap(),
        aws_smithy_types::body::SdkBody::empty(),
    );
    let error = CreateStreamError::generic(metadata.build());
    AwsError::of(call, "it", &SdkError::service_error(error, raw))
}

#[test]
fn a_rate_passes_and_a_quota_is_told() {
    let limit = Some("LimitExceededException");
    let shards = "This request would exceed the shard limit for the account 1 in us-east-1.";
    let of = |call, message| failed(call, 400, limit, message).kind;
    assert_eq!(of(Call::CreateStream, shards), AwsErrorKind::Limit);
    assert_eq!(of(Call::UpdateShardCount, shards), AwsErrorKind::Limit);
    assert_eq!(
        of(Call::CreateStream, "Rate exceeded for account 1."),
        AwsErrorKind::Throttled
    );
    assert_eq!(
        of(Call::CreateStream, "You have 5 streams in CREATING state."),
        AwsErrorKind::Throttled
    );
    // Nothing but a rate is limited here, whatever is said.
    for call in [
        Call::AddTagsToStream,
        Call::DescribeStreamSummary,
        Call::DeleteStream,
        Call::IncreaseStreamRetentionPeriod,
    ] {
        assert_eq!(of(call, ""), AwsErrorKind::Throttled, "{call:?}");
    }
}

#[test]
fn an_answer_without_a_code_is_told_by_its_status() {
    let of = |http| failed(Call::ListBucket, http, None, "").kind;
    assert_eq!(of(403), AwsErrorKind::Denied);
    assert_eq!(of(404), AwsErrorKind::Unavailable);
    assert_eq!(of(503), AwsErrorKind::Unavailable);
}

#[test]
fn a_message_begins_with_the_field_that_asks_for_the_call() {
    let refused = failed(
        Call::StartStreamEncryption,
        400,
        Some("KMSNotFoundException"),
        "no such key",
    );
    let standing = refused.standing();
    assert_eq!((standing.state, standing.reason), (State::Stuck, "Refused"));
    assert!(
        standing
            .message
            .starts_with("spec.source.kinesis.encryption: AWS refuses"),
        "{}",
        standing.message
    );
    let denied = failed(Call::GetTable, 400, Some("AccessDeniedException"), "no");
    let message = denied.standing().message;
    assert!(
        message.starts_with("spec.catalog.glue.table: "),
        "{message}"
    );
}
