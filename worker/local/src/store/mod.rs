//! Where a durable log keeps its records. Owns the embedded store's files; must never decide what a
//! stream or an iterator is.

mod block;
mod disk;
mod recover;
mod segment;
mod trim;

use std::ops::Range;
use std::path::PathBuf;

pub use disk::{DiskOptions, DiskStore, FreeSpace, Ids};
pub use recover::Recovered;

use crate::log::{ReadLimits, Record};

/// What a shard needs from a store. Kept small so that tests can put faults in.
pub trait RecordStore: std::fmt::Debug + Send + Sync {
    /// Writes `records` of shard `uid`, whose indices begin at `first_index`: all or none. When this
    /// returns they survive the end of the process.
    ///
    /// # Errors
    /// The disk is full or fails.
    fn append(
        &self,
        uid: u64,
        first_index: u64,
        arrival_millis: u64,
        records: &[Record],
    ) -> Result<(), StoreError>;

    /// Reads the records of shard `uid` with indices in `range`, until `limits` are passed.
    ///
    /// # Errors
    /// The disk fails.
    fn read(&self, uid: u64, range: Range<u64>, limits: ReadLimits) -> Result<Found, StoreError>;

    /// Arrival of the newest record of shard `uid` whose index is at most `index`.
    ///
    /// # Errors
    /// The disk fails.
    fn arrival_at_or_before(&self, uid: u64, index: u64) -> Result<Option<u64>, StoreError>;
}

/// What a store found.
#[derive(Debug, Default)]
pub struct Found {
    /// (index, arrival, record), in order of index.
    pub records: Vec<(u64, u64, Record)>,
    /// Nothing more lies in the range.
    pub complete: bool,
}

/// Why a store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the directory open.
    #[error("the data directory {} is in use by another process: stop that one or choose another directory", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// Less space is free than must stay free for the store to keep working.
    #[error("refusing to write to {}: only {free} bytes are free and {reserve} must stay free; free some space and send again", path.display())]
    DiskFull {
        /// The directory.
        path: PathBuf,
        /// Free bytes on its file system.
        free: u64,
        /// Bytes that must stay free.
        reserve: u64,
    },
    /// The store's own failure.
    #[error("{action} in {} failed: {source}", path.display())]
    Engine {
        /// What was tried.
        action: &'static str,
        /// The directory.
        path: PathBuf,
        /// The store's error.
        source: fjall::Error,
    },
    /// The file system's failure.
    #[error("{action} {} failed: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// Something in the store can't be understood.
    #[error("{what} in {} can't be read: it is damaged or of another version; move the directory away to start empty", path.display())]
    Damaged {
        /// What it should have been.
        what: String,
        /// The directory.
        path: PathBuf,
    },
}
