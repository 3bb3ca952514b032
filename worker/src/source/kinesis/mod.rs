//! The stream as the worker sees it.
//!
//! Owns the few calls that reading needs, as a trait: the AWS SDK stands behind it in production, and the embedded log
//! in the simulation. Must never know windows, checkpoints or rows.

mod budget;
mod consumer;
mod decode;
mod protocol;
mod reader;
mod sdk;
mod subscriber;

pub use budget::{Held, LARGEST_REPLY, REPLY_AT_TIP, ReadBudget, ShardBytes};
pub use consumer::consumer_name;
pub use decode::decode;
pub use protocol::decode_by_sdk;
pub use reader::{ReaderSettings, Reading, ShardReader};
pub use sdk::SdkStream;
pub use subscriber::{Pushed, Subscribed, Subscriber};

use async_trait::async_trait;
use bytes::Bytes;
use stockstream_core::hash::HashRange;
use stockstream_core::sequence::{Position, SequenceNumber};
use stockstream_core::time::Micros;

/// What a stream says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamDescription {
    /// Creation time, in milliseconds since the epoch: tells one life of the stream from another.
    pub created_millis: i64,
    /// True when it can be read.
    pub is_active: bool,
    /// How long records are kept, in hours.
    pub retention_hours: i32,
}

impl StreamDescription {
    /// How long records are kept.
    pub fn retention(&self) -> std::time::Duration {
        let hours = u64::from(self.retention_hours.unsigned_abs());
        std::time::Duration::from_secs(hours.saturating_mul(3600))
    }
}

/// A shard as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedShard {
    /// Its id.
    pub id: String,
    /// Its hash keys.
    pub range: HashRange,
    /// The shards it came from: none, one (split) or two (merge).
    pub parents: Vec<String>,
    /// True when it takes no more records.
    pub closed: bool,
}

/// Which shards to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listing {
    /// All that the stream still knows.
    All,
    /// Those open at this time, in milliseconds since the epoch.
    OpenAt(i64),
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRecord {
    /// Its place in the shard.
    pub sequence: SequenceNumber,
    /// When the stream received it.
    pub arrival: Micros,
    /// Its bytes.
    pub data: Bytes,
}

/// An answer to a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Records in the shard's order; may be empty though more will come.
    pub records: Vec<StreamRecord>,
    /// Where to go on; `None` when the shard is closed and was read to its end.
    pub next: Option<String>,
    /// How far behind the tip the answer is.
    pub millis_behind_latest: i64,
    /// The shards that follow, once the shard has been read to its end.
    pub children: Vec<String>,
}

/// A fault of the stream, by what the caller does about it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StreamError {
    /// There is no such stream (any more).
    #[error(
        "the stream {stream:?} doesn't exist ({operation}). Create it, or correct spec.source.kinesis.streamName, region or the endpoint"
    )]
    NotFound {
        /// The stream.
        stream: String,
        /// The call.
        operation: &'static str,
    },
    /// The iterator is too old: get a new one from the position.
    #[error("the iterator has expired")]
    ExpiredIterator,
    /// Too many calls: wait and go on.
    #[error("{operation} on stream {stream:?} was throttled: {detail}")]
    Throttled {
        /// The stream.
        stream: String,
        /// The call.
        operation: &'static str,
        /// The service's words.
        detail: String,
    },
    /// There are no credentials.
    #[error(
        "{operation} on stream {stream:?} couldn't be signed: {detail}. Set AWS_PROFILE, or AWS_ACCESS_KEY_ID and \
         AWS_SECRET_ACCESS_KEY, or give the pod a role"
    )]
    Credentials {
        /// The stream.
        stream: String,
        /// The call.
        operation: &'static str,
        /// What the SDK said.
        detail: String,
    },
    /// Something else has it: another subscriber.
    #[error("{operation} on stream {stream:?} found it in use: {detail}")]
    InUse {
        /// The stream.
        stream: String,
        /// The call.
        operation: &'static str,
        /// The service's words.
        detail: String,
    },
    /// A permission is missing.
    #[error(
        "{operation} on stream {stream:?} was refused: {detail}. Allow kinesis:{operation} on the stream's ARN to the worker's role"
    )]
    AccessDenied {
        /// The stream.
        stream: String,
        /// The call.
        operation: &'static str,
        /// The service's words.
        detail: String,
    },
    /// The service found the request wrong: the position can be of another life of the stream.
    #[error("{operation} on stream {stream:?} was found invalid: {detail}")]
    Invalid {
        /// The stream.
        stream: String,
        /// The call.
        operation: &'static str,
        /// The service's words.
        detail: String,
    },
    /// No usable answer: try again.
    #[error("{operation} on stream {stream:?} failed: {detail}")]
    Unavailable {
        /// The stream.
        stream: String,
        /// The call.
        operation: &'static str,
        /// What went wrong, with its causes.
        detail: String,
    },
}

impl StreamError {
    /// True when the same call may succeed later without anybody's doing.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            StreamError::Throttled { .. }
                | StreamError::Unavailable { .. }
                | StreamError::ExpiredIterator
                | StreamError::InUse { .. }
        )
    }

    /// A short stable reason, for conditions and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            StreamError::NotFound { .. } => "StreamNotFound",
            StreamError::ExpiredIterator => "ExpiredIterator",
            StreamError::Throttled { .. } => "StreamThrottled",
            StreamError::Credentials { .. } => "StreamCredentials",
            StreamError::InUse { .. } => "StreamInUse",
            StreamError::AccessDenied { .. } => "StreamAccessDenied",
            StreamError::Invalid { .. } => "StreamInvalidArgument",
            StreamError::Unavailable { .. } => "StreamUnavailable",
        }
    }
}

/// The operation that registers a consumer.
const REGISTER: &str = "RegisterStreamConsumer";

/// What a subscription pushes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushedEvent {
    /// Records in the shard's order; may be none.
    pub records: Vec<StreamRecord>,
    /// How far behind the tip the event is.
    pub millis_behind_latest: i64,
    /// The shards that follow, at the shard's end.
    pub children: Vec<String>,
    /// True when nothing of the shard is left after it.
    pub is_last: bool,
}

/// A subscription to a shard.
#[async_trait]
pub trait Subscription: Send + Sync {
    /// The next event; `None` when it has ended. What isn't asked for stays with the stream.
    async fn next(&mut self) -> Result<Option<PushedEvent>, StreamError>;
}

/// What reading a stream takes.
#[async_trait]
pub trait StreamClient: Send + Sync + std::fmt::Debug {
    /// The stream's name.
    fn name(&self) -> &str;

    /// Describes the stream.
    async fn describe(&self) -> Result<StreamDescription, StreamError>;

    /// Lists shards, all pages of them.
    async fn list_shards(&self, listing: Listing) -> Result<Vec<ListedShard>, StreamError>;

    /// An iterator at a position, which must not be final.
    async fn iterator(&self, shard: &str, position: &Position) -> Result<String, StreamError>;

    /// Reads at most `limit` records.
    async fn get_records(&self, iterator: &str, limit: i32) -> Result<Reply, StreamError>;

    /// True when the pipeline has a consumer of its own, so that [`StreamClient::subscribe`] may be called.
    fn has_fan_out(&self) -> bool {
        false
    }

    /// Subscribes the pipeline's own consumer to a shard from a position, which must not be final. The consumer is
    /// registered when it isn't yet.
    async fn subscribe(
        &self,
        _shard: &str,
        _position: &Position,
    ) -> Result<Box<dyn Subscription>, StreamError> {
        Err(StreamError::Unavailable {
            stream: self.name().to_owned(),
            operation: "SubscribeToShard",
            detail: "this client only polls".to_owned(),
        })
    }
}
