//! What an operation answers when it doesn't do what was asked, by AWS's names.

use std::fmt;
use std::str::FromStr;

use crate::store::StoreError;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal, $status:literal;)+) => {
        /// AWS's error types, as the Kinesis API reference names them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ErrorKind {
            $($(#[$doc])* $kind),+
        }

        impl ErrorKind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind),+];

            /// The `__type` on the wire.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name),+
                }
            }

            /// The HTTP status that goes with it.
            #[must_use]
            pub fn http_status(self) -> u16 {
                match self {
                    $(Self::$kind => $status),+
                }
            }
        }
    };
}

kinds! {
    /// A field breaks its constraint.
    Validation = "ValidationException", 400;
    /// A value is well-formed but not acceptable here.
    InvalidArgument = "InvalidArgumentException", 400;
    /// No such stream, shard or consumer.
    ResourceNotFound = "ResourceNotFoundException", 400;
    /// It exists already, or isn't ready.
    ResourceInUse = "ResourceInUseException", 400;
    /// A limit of the account or the stream.
    LimitExceeded = "LimitExceededException", 400;
    /// A shard's throughput is used up.
    ProvisionedThroughputExceeded = "ProvisionedThroughputExceededException", 400;
    /// The iterator is older than five minutes.
    ExpiredIterator = "ExpiredIteratorException", 400;
    /// The page token is older than five minutes.
    ExpiredNextToken = "ExpiredNextTokenException", 400;
    /// The request would have succeeded, had it been meant.
    DryRunOperation = "DryRunOperationException", 400;
    /// The caller may not do that; only a scripted fault says so here.
    AccessDenied = "AccessDeniedException", 400;
    /// The key may not be used; only a scripted fault says so here, as there are no keys.
    KmsAccessDenied = "KMSAccessDeniedException", 400;
    /// The key is disabled; only a scripted fault says so here.
    KmsDisabled = "KMSDisabledException", 400;
    /// The key's state doesn't allow it; only a scripted fault says so here.
    KmsInvalidState = "KMSInvalidStateException", 400;
    /// There is no such key.
    KmsNotFound = "KMSNotFoundException", 400;
    /// The account hasn't subscribed to KMS; only a scripted fault says so here.
    KmsOptInRequired = "KMSOptInRequired", 400;
    /// KMS throttles; only a scripted fault says so here.
    KmsThrottling = "KMSThrottlingException", 400;
    /// The body isn't the JSON that the operation takes.
    Serialization = "SerializationException", 400;
    /// The operation isn't served here.
    UnknownOperation = "UnknownOperationException", 400;
    /// The body is larger than is taken.
    RequestTooLarge = "RequestEntityTooLargeException", 413;
    /// The server's own failure, such as a full disk.
    InternalFailure = "InternalFailureException", 500;
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// No error has that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such error")]
pub struct NoSuchError;

impl FromStr for ErrorKind {
    type Err = NoSuchError;

    fn from_str(name: &str) -> Result<Self, NoSuchError> {
        let found = Self::ALL.iter().find(|kind| kind.name() == name);
        found.copied().ok_or(NoSuchError)
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
