//! What an operation answers when it doesn't do what was asked, by AWS's names.

use std::fmt;

use crate::store::StoreError;

/// AWS's error types, as the Kinesis API reference names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// A field breaks its constraint.
    Validation,
    /// A value is well-formed but not acceptable here.
    InvalidArgument,
    /// No such stream or shard.
    ResourceNotFound,
    /// The stream exists, or isn't ready.
    ResourceInUse,
    /// A limit of the account or the stream.
    LimitExceeded,
    /// The iterator is older than five minutes.
    ExpiredIterator,
    /// The page token is older than five minutes.
    ExpiredNextToken,
    /// The body isn't the JSON that the operation takes.
    Serialization,
    /// The operation isn't served here.
    UnknownOperation,
    /// The body is larger than is taken.
    RequestTooLarge,
    /// The server's own failure, such as a full disk.
    InternalFailure,
}

impl ErrorKind {
    /// The `__type` on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Validation => "ValidationException",
            Self::InvalidArgument => "InvalidArgumentException",
            Self::ResourceNotFound => "ResourceNotFoundException",
            Self::ResourceInUse => "ResourceInUseException",
            Self::LimitExceeded => "LimitExceededException",
            Self::ExpiredIterator => "ExpiredIteratorException",
            Self::ExpiredNextToken => "ExpiredNextTokenException",
            Self::Serialization => "SerializationException",
            Self::UnknownOperation => "UnknownOperationException",
            Self::RequestTooLarge => "RequestEntityTooLargeException",
            Self::InternalFailure => "InternalFailure",
        }
    }

    /// The HTTP status that goes with it.
    #[must_use]
    pub fn http_status(self) -> u16 {
        match self {
            Self::InternalFailure => 500,
            Self::RequestTooLarge => 413,
            _ => 400,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// An operation's error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {message}")]
pub struct KinesisError {
    /// AWS's error type.
    pub kind: ErrorKind,
    /// AWS's message, or ours where AWS has none.
    pub message: String,
}

impl KinesisError {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    pub(crate) fn invalid_argument(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::ResourceNotFound, message)
    }
}

impl From<StoreError> for KinesisError {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the data directory failed");
        Self::new(ErrorKind::InternalFailure, error.to_string())
    }
}
