//! Files as a source: bounded NDJSON, CSV and Parquet, merged into one order.
//!
//! Owns which files a list of patterns names, how a file's bytes become ticks, and the order in which the files are
//! read. Must never change a file's own order, and never let threads, buffers or blocks change the merge.
//!
//! The rule of the merge: always the file whose next tick has the smallest event time; of equal ones, the file whose
//! path sorts first. A tick that can't be parsed has no event time and follows the tick before it in its file (at a
//! file's beginning it comes first). What comes next so depends on nothing but where each file goes on, which is why
//! one number a file (its *mark*) is enough to resume.
//!
//! Once a single plain NDJSON file is left, nothing is merged any more, and its text is parsed on several threads
//! ([`Taken::Parsed`]).
//!
//! Reading is synchronous, on a thread of its own; [`FileSource`] hands its blocks to async code through a bounded
//! channel. No file handle is kept: each refill of a buffer opens the file anew, so that thousands of files need no
//! more descriptors than threads that read. What is bounded is the number of files with buffers and decoders
//! ([`MAX_OPEN_FILES`], [`OPEN_BYTES`]); the others are closed and entered again when their turn comes.

mod blob;
mod csv_rows;
mod error;
mod json;
mod lines;
mod list;
mod merge;
mod parquet_rows;
mod pattern;
mod records;
mod stores;
mod stream;
mod tail;
#[cfg(test)]
mod tests;
mod text;

pub use error::FilesError;
pub use list::{Compression, FileEntry, FileList, Format};
pub use merge::{Block, BlockLimits, Resume};
pub use stores::Stores;
pub use stream::{FileSource, ParsedBlock, Taken};

/// The most files of a list. Each has a mark in every checkpoint.
pub const MAX_FILES: usize = 100_000;

/// The most files that have a buffer or decoder at the same time.
pub const MAX_OPEN_FILES: usize = 1_024;

/// The memory, roughly in bytes, that buffers, decoders and next ticks of open files may take together.
pub const OPEN_BYTES: usize = 512 * 1024 * 1024;

/// The mark of a file that has been read to its end.
pub const END_MARK: u64 = u64::MAX;
