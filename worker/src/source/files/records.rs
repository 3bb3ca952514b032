//! A file's ticks, one after the other, whatever its format.

use std::sync::Arc;

use bytes::Bytes;
use stockstream_core::plan::RecordMapping;

use super::blob::Blob;
use super::csv_rows::CsvRows;
use super::error::FilesError;
use super::lines::{Lines, PlainLines};
use super::list::{Compression, Format};
use super::parquet_rows::ParquetRows;

/// A tick's bytes, and the file's mark once it has been taken.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) data: Bytes,
    pub(super) after: u64,
}

/// An open file.
pub(super) trait Records: Send {
    /// The next tick; `None` at the end.
    fn next(&mut self) -> Result<Option<Record>, FilesError>;

    /// What this takes, roughly, in bytes.
    fn memory(&self) -> usize;
}

/// Opens a file where `mark` says: a byte offset in plain text, else a number of rows.
pub(super) fn open(
    blob: &Arc<Blob>,
    mark: u64,
    mapping: &RecordMapping,
    buffer_size: usize,
) -> Result<Box<dyn Records>, FilesError> {
    let plain = blob.entry.compression == Compression::None;
    if plain && blob.entry.format != Format::Parquet && mark > blob.entry.size {
        return Err(FilesError::Marks {
            why: format!(
                "{} goes on at byte {mark}, but has {}",
                blob.entry.path, blob.entry.size
            ),
        });
    }
    match blob.entry.format {
        Format::Ndjson if plain => Ok(Box::new(PlainLines::open(blob, mark, buffer_size)?)),
        Format::Ndjson => Ok(Box::new(Lines::open(blob, mark, buffer_size)?)),
        Format::Csv => Ok(Box::new(CsvRows::open(blob, mark, mapping, buffer_size)?)),
        Format::Parquet => Ok(Box::new(ParquetRows::open(blob, mark, mapping)?)),
    }
}
