//! Publishing: a sealed batch becomes files that readers see.
//!
//! Owns the files' formats and their provenance. Must never overwrite or delete anything, and never regroup a batch: the
//! same batch always makes the same files.

mod dead_letters;
mod inspect;
mod late;
mod parquet_file;
mod parquet_rows;
mod provenance;
mod publish;
mod zstd_pages;

#[cfg(test)]
mod tests;

pub use dead_letters::{DeadLetterLine, dead_letters_ndjson};
pub use inspect::{ColumnSummary, FileSummary, InspectError, inspect_file};
pub use late::late_parquet;
pub use parquet_file::{Compression, EncodeError};
pub use parquet_rows::rows_parquet;
pub use provenance::{Provenance, digest_of};
pub use publish::{PublishError, PublishTarget, Published, PublishedFile, publish, publish_with};
