//! What can go wrong with a store, by what the caller does about it.
//!
//! Owns [`StoreError`] and its messages. Absence, "exists" and a lost race are outcomes and never appear here.

use std::fmt;

/// What was asked of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Open the store.
    Open,
    /// Read an object or a part of it.
    Get,
    /// Read an object's size and stamps.
    Head,
    /// List keys.
    List,
    /// Create an object that must not exist.
    Create,
    /// Write an object, whether it exists or not.
    Put,
    /// Delete an object.
    Delete,
}

impl Operation {
    /// The S3 action that allows it.
    pub fn s3_action(self) -> &'static str {
        match self {
            Operation::Open | Operation::List => "s3:ListBucket",
            Operation::Get | Operation::Head => "s3:GetObject",
            Operation::Create | Operation::Put => "s3:PutObject",
            Operation::Delete => "s3:DeleteObject",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Operation::Open => "open",
            Operation::Get => "read",
            Operation::Head => "look up",
            Operation::List => "list",
            Operation::Create => "create",
            Operation::Put => "write",
            Operation::Delete => "delete",
        })
    }
}

/// A fault of a store. Every message names the URL, the operation and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The location can't be understood.
    #[error(
        "{url:?} is no storage location: {reason}; give s3://BUCKET/PREFIX, file:///ABSOLUTE/PATH or file://./RELATIVE/PATH"
    )]
    BadUrl {
        /// What was given.
        url: String,
        /// Why.
        reason: String,
    },
    /// The store can't be opened.
    #[error("can't open {url}: {detail}")]
    Open {
        /// The store.
        url: String,
        /// Why.
        detail: String,
    },
    /// A key that no object can have.
    #[error("{key:?} can't be a key under {url}: {reason}")]
    BadKey {
        /// The store.
        url: String,
        /// The key.
        key: String,
        /// Why.
        reason: String,
    },
    /// A permission is missing.
    #[error("can't {operation} {url}: access denied; allow {action} ({detail})")]
    AccessDenied {
        /// The object or store.
        url: String,
        /// What was asked.
        operation: Operation,
        /// What to allow, and on what.
        action: String,
        /// What the store said.
        detail: String,
    },
    /// There are no credentials, or the store doesn't accept them.
    #[error(
        "can't {operation} {url}: AWS credentials are missing, expired or not accepted ({detail}); \
         set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the pod a role; \
         for an expired sign-on run `aws sso login`"
    )]
    Credentials {
        /// The object or store.
        url: String,
        /// What was asked.
        operation: Operation,
        /// What the store or the credentials provider said.
        detail: String,
    },
    /// The bucket doesn't exist.
    #[error(
        "can't {operation} {url}: the bucket {bucket} doesn't exist; create it or correct the URL"
    )]
    NoSuchBucket {
        /// The object or store.
        url: String,
        /// What was asked.
        operation: Operation,
        /// The bucket.
        bucket: String,
    },
    /// The store asked to slow down until the retries were used up. Nothing was changed by it.
    #[error(
        "can't {operation} {url}: the store asked to slow down in {attempts} attempts; it is tried again later ({detail})"
    )]
    Throttled {
        /// The object or store.
        url: String,
        /// What was asked.
        operation: Operation,
        /// Attempts made.
        attempts: u32,
        /// What the store said.
        detail: String,
    },
    /// No usable answer until the retries were used up.
    #[error(
        "can't {operation} {url}: no usable answer in {attempts} attempts; check the network, the region and the endpoint ({detail})"
    )]
    Unavailable {
        /// The object or store.
        url: String,
        /// What was asked.
        operation: Operation,
        /// Attempts made.
        attempts: u32,
        /// The last failure.
        detail: String,
    },
    /// The disk is full. Nothing was written.
    #[error(
        "can't {operation} {url}: no space is left on the disk; free some: nothing was written"
    )]
    Full {
        /// The object.
        url: String,
        /// What was asked.
        operation: Operation,
    },
    /// The file system failed.
    #[error("can't {operation} {url}: {detail}; check the disk and the directory")]
    Io {
        /// The object or store.
        url: String,
        /// What was asked.
        operation: Operation,
        /// What the system said.
        detail: String,
    },
    /// The store refused the request for another reason; the same request would be refused again.
    #[error("can't {operation} {url}: the store refuses it: {detail}")]
    Rejected {
        /// The object or store.
        url: String,
        /// What was asked.
        operation: Operation,
        /// What the store said, and what to do when it is known.
        detail: String,
    },
    /// More than this worker is willing to hold.
    #[error("can't {operation} {url}: {found} is above the limit of {limit}")]
    TooLarge {
        /// The object or store.
        url: String,
        /// What was asked.
        operation: Operation,
        /// What was found, with its unit.
        found: String,
        /// The limit.
        limit: u64,
    },
    /// The caller's deadline passed before anything was sent.
    #[error("didn't {operation} {url}: the deadline has passed; nothing was sent")]
    Expired {
        /// The object.
        url: String,
        /// What was asked.
        operation: Operation,
    },
    /// An attempt may have taken effect. Keep the same bytes and create again: never other bytes.
    #[error(
        "it isn't known whether {url} was written; the same bytes must be sent again (last: {cause})"
    )]
    Unknown {
        /// The object.
        url: String,
        /// The last failure.
        cause: Box<StoreError>,
    },
    /// The store lacks what exactly-once needs.
    #[error("{url} can't hold a pipeline's state or output: {reason}")]
    Unsound {
        /// The store.
        url: String,
        /// What was tried and seen, and which stores are known to work.
        reason: String,
    },
}

impl StoreError {
    /// True when trying the same again later may help without anybody's action.
    pub fn is_transient(&self) -> bool {
        match self {
            StoreError::Throttled { .. }
            | StoreError::Unavailable { .. }
            | StoreError::Expired { .. } => true,
            StoreError::Unknown { cause, .. } => cause.is_transient(),
            _ => false,
        }
    }

    /// True when the write may have taken effect: the caller must send the same bytes again.
    pub fn is_unknown(&self) -> bool {
        matches!(self, StoreError::Unknown { .. })
    }

    /// A short stable reason, for conditions and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            StoreError::BadUrl { .. } => "BadUrl",
            StoreError::Open { .. } => "OpenFailed",
            StoreError::BadKey { .. } => "BadKey",
            StoreError::AccessDenied { .. } => "AccessDenied",
            StoreError::Credentials { .. } => "Credentials",
            StoreError::NoSuchBucket { .. } => "NoSuchBucket",
            StoreError::Throttled { .. } => "Throttled",
            StoreError::Unavailable { .. } => "Unavailable",
            StoreError::Full { .. } => "DiskFull",
            StoreError::Io { .. } => "IoError",
            StoreError::Rejected { .. } => "Rejected",
            StoreError::TooLarge { .. } => "TooLarge",
            StoreError::Expired { .. } => "Expired",
            StoreError::Unknown { .. } => "OutcomeUnknown",
            StoreError::Unsound { .. } => "UnsoundStore",
        }
    }
}
