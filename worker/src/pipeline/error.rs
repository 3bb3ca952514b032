//! Why a pipeline can't start or go on.

use stockstream_core::chain::ChainError;
use stockstream_core::codec::CodecError;
use stockstream_core::lineage::LineageError;

use crate::sink::PublishError;
use crate::source::files::FilesError;
use crate::source::kinesis::StreamError;
use crate::storage::StoreError;

/// A fault that stops a shard or the whole pipeline.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stream failed.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// Input files failed.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// Publishing found something foreign.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The chain can't be taken or written.
    #[error("shard {shard}: {source}")]
    Chain {
        /// The shard.
        shard: String,
        /// Why.
        source: ChainError,
    },
    /// A shard's first version contradicts the stored state.
    #[error("shard {shard}: {source}")]
    Lineage {
        /// The shard.
        shard: String,
        /// Why.
        source: LineageError,
    },
    /// A shard that should begin isn't listed.
    #[error("shard {shard} should begin, but the stream doesn't list it: it is looked for again")]
    Unlisted {
        /// The shard.
        shard: String,
    },
    /// A shard's task broke down: a defect.
    #[error("a shard's task broke down ({detail}). What was committed is safe; please report this")]
    Task {
        /// What the runtime said.
        detail: String,
    },
    /// The newest version of a chain can't be read. Older ones are never used instead: they would publish rows twice.
    #[error(
        "{url}: {source}. It is the newest version of its chain, so nothing older may be used in its place: restore this \
         object from the bucket's versions or a backup; to give the state up, use a new state.path and a new output.path"
    )]
    Checkpoint {
        /// The object.
        url: String,
        /// Why.
        source: CodecError,
    },
    /// A document of ours can't be read.
    #[error(
        "{url} can't be read: {detail}. Restore it, or use a new state.path and a new output.path"
    )]
    Document {
        /// The object.
        url: String,
        /// Why.
        detail: String,
    },
    /// The state or the output belongs to something else.
    #[error("{0}")]
    Ownership(String),
    /// State that must exist is gone.
    #[error(
        "the state of shard {shard} is lost: {url} says that the pipeline has started, but the shard has no checkpoint. \
         Restore {url}'s folder, or use a new state.path and a new output.path"
    )]
    StateLost {
        /// The shard.
        shard: String,
        /// `started`.
        url: String,
    },
    /// Records were trimmed before they were read.
    #[error(
        "shard {shard}: the stream has dropped records that were never read: nothing was read for {paused} s, and records are \
         kept for {retention} s. Set source.kinesis.onDataLoss: Continue to go on without them, and raise the stream's retention"
    )]
    DataLost {
        /// The shard.
        shard: String,
        /// Seconds since the shard was last read.
        paused: i64,
        /// Seconds that records are kept.
        retention: i64,
    },
    /// Stopping took too long.
    #[error(
        "shard {shard}: stopped before everything was out ({bytes} bytes wait; {cause}). What was committed is safe: the next \
         start publishes it"
    )]
    Unfinished {
        /// The shard.
        shard: String,
        /// Rough size of what waits, in bytes.
        bytes: usize,
        /// What kept it.
        cause: String,
    },
    /// The stream was deleted and created again.
    #[error(
        "the stream {stream:?} was deleted and made anew while it was read: the state holds incarnation {expected}, the \
         stream is {found}. The old life is ended and the new one read from its beginning"
    )]
    StreamChanged {
        /// The stream.
        stream: String,
        /// The incarnation that the state knows.
        expected: String,
        /// The one found.
        found: String,
    },
    /// The list of input files changed.
    #[error("{0}")]
    FilesChanged(String),
}

impl PipelineError {
    /// A short stable reason, for conditions.
    pub fn reason(&self) -> &'static str {
        match self {
            PipelineError::Store(error) => error.reason(),
            PipelineError::Stream(error) => error.reason(),
            PipelineError::Files(_) => "FilesUnreadable",
            PipelineError::Publish(PublishError::Store(error)) => error.reason(),
            PipelineError::Publish(_) => "PublishFailed",
            PipelineError::Chain { .. } => "ChainRefused",
            PipelineError::Lineage { .. } => "LineageRefused",
            PipelineError::Unlisted { .. } => "ShardUnlisted",
            PipelineError::Task { .. } => "TaskBroken",
            PipelineError::Checkpoint { .. } => "CheckpointUnreadable",
            PipelineError::Document { .. } => "DocumentUnreadable",
            PipelineError::Ownership(_) => "OwnedByAnother",
            PipelineError::StateLost { .. } => "StateLost",
            PipelineError::DataLost { .. } => "DataLost",
            PipelineError::Unfinished { .. } => "StoppedUnfinished",
            PipelineError::StreamChanged { .. } => "StreamChanged",
            PipelineError::FilesChanged(_) => "FilesChanged",
        }
    }

    /// True when something foreign lies where one of our files belongs: nothing but a person can help.
    pub fn is_conflict(&self) -> bool {
        matches!(self, PipelineError::Publish(PublishError::Conflict { .. }))
    }

    /// True when a newer release wrote what can't be read: its workers go on with it.
    pub fn is_newer_format(&self) -> bool {
        matches!(
            self,
            PipelineError::Checkpoint {
                source: CodecError::UnknownFormat { .. },
                ..
            }
        )
    }

    /// True when the same may succeed later without anybody's doing.
    pub fn is_transient(&self) -> bool {
        match self {
            PipelineError::Store(error) => error.is_transient() || error.is_unknown(),
            PipelineError::Stream(error) => error.is_transient(),
            PipelineError::Publish(PublishError::Store(error)) => {
                error.is_transient() || error.is_unknown()
            }
            PipelineError::Unlisted { .. } => true,
            _ => false,
        }
    }
}
