//! What a failed call of AWS means for a pipeline.
//!
//! Owns the classes: what is tried again by itself, and what somebody has to mend. Messages name the action to allow.

use aws_sdk_kinesis::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};

use super::calls::Call;
use super::{Standing, State};

/// The longest text of AWS that goes into a message.
const MAX_DETAIL_CHARS: usize = 400;

/// A call of AWS that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{action} on {target} failed: {detail}", action = .call.action())]
pub struct AwsError {
    /// The call.
    pub call: Call,
    /// What it was about.
    pub target: String,
    /// What it means.
    pub kind: AwsErrorKind,
    /// AWS' own words.
    pub detail: String,
}

/// What a failed call means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AwsErrorKind {
    /// There is no such thing.
    NotFound,
    /// It exists already.
    Exists,
    /// It is being changed: later.
    InUse,
    /// Not allowed.
    Denied,
    /// The credentials are no good.
    Credentials,
    /// A quota is used up.
    Limit,
    /// Too many calls just now.
    Throttled,
    /// AWS doesn't take what the spec asks for.
    Refused,
    /// No answer, or AWS' own trouble.
    Unavailable,
}

impl AwsError {
    /// The error of the SDK's `error`, which `call` gave for `target`.
    pub fn of<E>(call: Call, target: &str, error: &SdkError<E>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let code = error.code().unwrap_or_default();
        let detail = match (code, error.message()) {
            ("", _) => DisplayErrorContext(error).to_string(),
            (code, Some(message)) => format!("{code}: {message}"),
            (code, None) => code.to_owned(),
        };
        Self {
            call,
            target: target.to_owned(),
            kind: match kind(code) {
                AwsErrorKind::Limit if is_rate(call, &detail) => AwsErrorKind::Throttled,
                // Whoever stands before AWS may refuse without AWS' words. A 404 of theirs says nothing of AWS.
                AwsErrorKind::Unavailable
                    if code.is_empty() && matches!(status(error), Some(401 | 403)) =>
                {
                    AwsErrorKind::Denied
                }
                kind => kind,
            },
            detail: detail.chars().take(MAX_DETAIL_CHARS).collect(),
        }
    }

    /// The standing of what the call was needed for.
    pub fn standing(&self) -> Standing {
        let standing = self.verdict();
        match field(self.call) {
            Some(field) => Standing {
                message: format!("{field}: {}", standing.message),
                ..standing
            },
            None => standing,
        }
    }

    fn verdict(&self) -> Standing {
        let action = self.call.action();
        let Self { target, detail, .. } = self;
        match self.kind {
            AwsErrorKind::Denied => Standing::new(
                State::Stuck,
                "AccessDenied",
                format!(
                    "the operator isn't allowed {action} on {target}: allow it in the operator's IAM role; {detail}"
                ),
            ),
            AwsErrorKind::Credentials => Standing::new(
                State::Stuck,
                "CredentialsInvalid",
                format!(
                    "AWS doesn't take the operator's credentials for {action} on {target}: check its service account's role; {detail}"
                ),
            ),
            AwsErrorKind::Limit => Standing::new(
                State::Stuck,
                "LimitExceeded",
                format!(
                    "{action} on {target} is over a limit of the account: raise the quota, or wait; {detail}"
                ),
            ),
            AwsErrorKind::Refused => Standing::new(
                State::Stuck,
                "Refused",
                format!("AWS refuses {action} on {target}: {detail}"),
            ),
            AwsErrorKind::Throttled => Standing::new(
                State::Failing,
                "Throttled",
                format!(
                    "AWS throttles {action} on {target}; it is tried again, ever later: {detail}"
                ),
            ),
            AwsErrorKind::NotFound | AwsErrorKind::Exists | AwsErrorKind::InUse => Standing::new(
                State::Waiting,
                "Changing",
                format!(
                    "{target} was changed by somebody else during {action}; it is looked at again: {detail}"
                ),
            ),
            AwsErrorKind::Unavailable => Standing::new(
                State::Failing,
                "Unavailable",
                format!(
                    "{action} on {target} had no good answer; it is tried again, ever later: {detail}"
                ),
            ),
        }
    }
}

/// The field of the spec that a call carries out; S3's callers know which of three it is.
fn field(call: Call) -> Option<&'static str> {
    match call {
        Call::IncreaseStreamRetentionPeriod | Call::DecreaseStreamRetentionPeriod => {
            Some("spec.source.kinesis.retention")
        }
        Call::StartStreamEncryption => Some("spec.source.kinesis.encryption"),
        Call::UpdateShardCount | Call::UpdateStreamMode => Some("spec.source.kinesis.mode"),
        Call::GetDatabase | Call::CreateDatabase => Some("spec.catalog.glue.database"),
        other => match other.action().split(':').next() {
            Some("kinesis") => Some("spec.source.kinesis.streamName"),
            Some("glue") => Some("spec.catalog.glue.table"),
            _ => None,
        },
    }
}

fn status<E>(error: &SdkError<E>) -> Option<u16> {
    Some(error.raw_response()?.status().as_u16())
}

/// Whether a `LimitExceededException` is over by itself within seconds. Kinesis says it of a rate and of a quota alike; only
/// these calls have a quota, and of theirs a rate and "five streams being created at a time" pass.
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_CreateStream.html>
fn is_rate(call: Call, detail: &str) -> bool {
    let has_quota = match call {
        Call::CreateStream
        | Call::UpdateShardCount
        | Call::StartStreamEncryption
        | Call::UpdateStreamMode => true,
        other => other.action().starts_with("glue:"),
    };
    let detail = detail.to_ascii_lowercase();
    !has_quota || detail.contains("rate exceeded") || detail.contains("creating")
}

fn kind(code: &str) -> AwsErrorKind {
    match code {
        "ResourceNotFoundException" | "EntityNotFoundException" => AwsErrorKind::NotFound,
        "ResourceInUseException" | "ConcurrentModificationException" => AwsErrorKind::InUse,
        "AlreadyExistsException" => AwsErrorKind::Exists,
        "AccessDeniedException" | "AccessDenied" | "UnauthorizedOperation" => AwsErrorKind::Denied,
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "ExpiredTokenException"
        | "ExpiredToken"
        | "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "MissingAuthenticationTokenException"
        | "IncompleteSignatureException"
        | "InvalidAccessKeyId" => AwsErrorKind::Credentials,
        "LimitExceededException" | "ResourceNumberLimitExceededException" => AwsErrorKind::Limit,
        "ThrottlingException"
        | "Throttling"
        | "RequestLimitExceeded"
        | "TooManyRequestsException"
        | "ProvisionedThroughputExceededException"
        | "KMSThrottlingException" => AwsErrorKind::Throttled,
        "InvalidArgumentException"
        | "InvalidInputException"
        | "ValidationException"
        | "KMSNotFoundException"
        | "KMSDisabledException"
        | "KMSAccessDeniedException"
        | "KMSInvalidStateException"
        | "KMSOptInRequired" => AwsErrorKind::Refused,
        _ => AwsErrorKind::Unavailable,
    }
}

#[cfg(test)]
mod tests;
