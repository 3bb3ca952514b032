//! How a server refuses: the error's type, the HTTP status and the message, as AWS's API reference writes them.

use std::fmt::Debug;

use anyhow::{bail, ensure};
use aws_sdk_kinesis::config::http::HttpResponse;
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};

/// What AWS answers to a parameter that breaks its constraints. The reference documents `InvalidArgumentException` ("a
/// specified parameter exceeds its restrictions") with most operations and `ValidationException` ("fails to satisfy the
/// constraints") as an error common to all, and doesn't say which of the two a parameter gets: either is right.
pub const INVALID: &[&str] = &["InvalidArgumentException", "ValidationException"];

/// An error as a client sees it.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub code: String,
    pub message: String,
    pub status: u16,
}

impl Refusal {
    /// Itself, if it is one of the errors, with the status and a message that go with it.
    pub fn is(self, codes: &[&str]) -> anyhow::Result<Refusal> {
        ensure!(
            codes.contains(&self.code.as_str()),
            "{} is documented, it answered {}: {:?} (HTTP {})",
            codes.join(" or "),
            self.code,
            self.message,
            self.status
        );
        // "HTTP Status Code: 400" stands with every error of the reference; failures of the service are 500.
        let status = if self.code.starts_with("InternalFailure") {
            500
        } else {
            400
        };
        ensure!(
            self.status == status,
            "{} has HTTP status {status} in the reference, it answered {}",
            self.code,
            self.status
        );
        ensure!(!self.message.is_empty(), "{} has no message", self.code);
        Ok(self)
    }

    /// Itself, if its message names what it is about.
    pub fn says(self, text: &str) -> anyhow::Result<Refusal> {
        ensure!(
            self.message.contains(text),
            "the message of {} doesn't name {text:?}: {:?}",
            self.code,
            self.message
        );
        Ok(self)
    }
}

/// An SDK call's outcome: done, or refused by the server.
///
/// # Errors
/// Anything else, such as a connection that broke or an answer that can't be read.
pub fn outcome<T, E>(
    result: Result<T, SdkError<E, HttpResponse>>,
) -> anyhow::Result<Result<T, Refusal>>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    match result {
        Ok(done) => Ok(Ok(done)),
        Err(SdkError::ServiceError(error)) => {
            let status = error.raw().status().as_u16();
            let error = error.err();
            Ok(Err(Refusal {
                code: error.code().unwrap_or_default().to_owned(),
                message: error.message().unwrap_or_default().to_owned(),
                status,
            }))
        }
        Err(error) => Err(anyhow::Error::new(error).context("no answer that the SDK can read")),
    }
}

/// The refusal of a call that must be refused with one of `codes`.
pub fn refused<T: Debug, E>(
    result: Result<T, SdkError<E, HttpResponse>>,
    codes: &[&str],
) -> anyhow::Result<Refusal>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    match outcome(result)? {
        Ok(done) => bail!(
            "{} is documented, it was accepted: {done:?}",
            codes.join(" or ")
        ),
        Err(refusal) => refusal.is(codes),
    }
}

/// Fails unless what was seen is what the documentation says.
pub fn same<T: PartialEq + Debug>(what: &str, seen: T, documented: T) -> anyhow::Result<()> {
    ensure!(
        seen == documented,
        "{what}: {documented:?} by the documentation, it answered {seen:?}"
    );
    Ok(())
}
