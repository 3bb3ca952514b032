//! Parquet: a row is a tick, turned into a JSON object by the schema.
//!
//! Null is an absent key. Timestamps become ISO-8601 in UTC (those without a zone are taken as UTC; in the trade
//! date's column only their date counts), dates `YYYY-MM-DD`, numbers and decimals numbers. NaN and infinities become
//! tokens that no JSON parser takes, so that the tick is a dead letter as it would be in NDJSON. Bytes without a
//! declared type are text. Everything else (lists, structs, times of day) becomes a string for people.

use std::collections::{BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, ArrayRef, AsArray as _, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int32Type, Int64Type, TimeUnit};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::{ChunkReader, Length};
use stockstream_core::plan::{MAX_TICK_BYTES, RecordMapping};
use stockstream_core::time::Date;

use super::blob::Blob;
use super::csv_rows::key;
use super::error::FilesError;
use super::json::write_string;
use super::records::{Record, Records};

/// The most rows that are decoded at once.
const BATCH_ROWS: i64 = 1_024;

/// What the rows of a batch should not exceed by much, in bytes, going by the file's own figures.
const BATCH_BYTES: i64 = 4 << 20;

/// What an open file is reckoned to take at most, in bytes.
const MOST_MEMORY: i64 = 32 << 20;

/// Blocks of a file that are kept, since columns are read in turns.
const BLOCKS: usize = 16;

/// The ticks of a Parquet file.
pub(super) struct ParquetRows {
    source: Source,
    reader: ParquetRecordBatchReader,
    mapping: RecordMapping,
    decoded: VecDeque<Bytes>,
    rows: u64,
    memory: usize,
}

impl ParquetRows {
    pub(super) fn open(
        blob: &Arc<Blob>,
        mark: u64,
        mapping: &RecordMapping,
    ) -> Result<Self, FilesError> {
        let source = Source::new(blob.clone());
        // Arrow's own schema in the metadata adds nothing that a tick needs, and its decoder trusts it too much.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let builder = source.guard(|| {
            ParquetRecordBatchReaderBuilder::try_new_with_options(source.clone(), options)
        })?;
        refuse_twins(
            &blob.entry.path,
            builder.schema().fields().iter().map(|field| field.name()),
        )?;
        let metadata = builder.metadata().clone();
        let total = u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(0);
        if mark > total {
            return Err(FilesError::Marks {
                why: format!(
                    "{} goes on after row {mark}, but has {total}",
                    blob.entry.path
                ),
            });
        }
        let (batch, memory) = sizes(&metadata);
        let reader = source.guard(|| {
            builder
                .with_batch_size(batch)
                .with_offset(usize::try_from(mark).unwrap_or(usize::MAX))
                .build()
        })?;
        Ok(ParquetRows {
            source,
            reader,
            mapping: mapping.clone(),
            decoded: VecDeque::new(),
            rows: mark,
            memory,
        })
    }
}

impl Records for ParquetRows {
    fn next(&mut self) -> Result<Option<Record>, FilesError> {
        while self.decoded.is_empty() {
            let (reader, mapping) = (&mut self.reader, &self.mapping);
            let rows = self.source.guard(|| {
                let batch = reader.next().transpose()?;
                batch.map(|batch| json_rows(&batch, mapping)).transpose()
            })?;
            let Some(rows) = rows else {
                return Ok(None);
            };
            self.decoded = rows;
        }
        self.rows += 1;
        let after = self.rows;
        Ok(self.decoded.pop_front().map(|data| Record { data, after }))
    }

    fn memory(&self) -> usize {
        self.memory
    }
}

fn refuse_twins<'a>(path: &str, names: impl Iterator<Item = &'a String>) -> Result<(), FilesError> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(FilesError::Columns {
                path: path.to_owned(),
                why: format!("{name:?} stands twice in the schema"),
            });
        }
    }
    Ok(())
}

/// The rows to decode at once, and what the reader then takes, roughly, in bytes.
fn sizes(metadata: &ParquetMetaData) -> (usize, usize) {
    let groups = metadata.row_groups();
    let row_bytes = |bytes: i64, rows: i64| bytes / rows.max(1);
    let widest = groups
        .iter()
        .map(|group| row_bytes(group.total_byte_size(), group.num_rows()))
        .max()
        .unwrap_or(0);
    let largest = groups
        .iter()
        .map(|group| group.total_byte_size())
        .max()
        .unwrap_or(0);
    let rows = (BATCH_BYTES / widest.max(1)).clamp(1, BATCH_ROWS);
    let memory = largest.clamp(0, MOST_MEMORY) + 64 * 1024;
    // Both are positive and far below the limits of any usize.
    (
        usize::try_from(rows).unwrap_or(1),
        usize::try_from(memory).unwrap_or(usize::MAX),
    )
}

/// Writes one row's value of one column.
type Cell<'a> = Box<dyn Fn(usize, &mut Vec<u8>) + 'a>;

fn json_rows(batch: &RecordBatch, mapping: &RecordMapping) -> Result<VecDeque<Bytes>, ArrowError> {
    let schema = batch.schema();
    let arrays = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(array, field)| simple(array, *field.name() == mapping.trade_date))
        .collect::<Result<Vec<_>, _>>()?;
    let cells = arrays.iter().map(cell).collect::<Result<Vec<_>, _>>()?;
    let keys: Vec<Vec<u8>> = schema
        .fields()
        .iter()
        .map(|field| key(field.name()))
        .collect();
    let mut rows = VecDeque::with_capacity(batch.num_rows());
    let mut json = Vec::new();
    for row in 0..batch.num_rows() {
        json.clear();
        json.push(b'{');
        for ((array, cell), key) in arrays.iter().zip(&cells).zip(&keys) {
            if array.is_null(row) {
                continue;
            }
            if json.len() > 1 {
                json.push(b',');
            }
            json.extend_from_slice(key);
            cell(row, &mut json);
        }
        json.push(b'}');
        json.truncate(MAX_TICK_BYTES + 1);
        rows.push_back(Bytes::copy_from_slice(&json));
    }
    Ok(rows)
}

/// The column in one of the few types that [`cell`] writes.
fn simple(array: &ArrayRef, is_trade_date: bool) -> Result<ArrayRef, ArrowError> {
    match array.data_type() {
        DataType::Float16 => cast(array, &DataType::Float32),
        DataType::Timestamp(..) if is_trade_date => cast(array, &DataType::Date32),
        DataType::Utf8 | DataType::Binary | DataType::FixedSizeBinary(_) => {
            cast(array, &DataType::LargeBinary)
        }
        _ => Ok(array.clone()),
    }
}

fn cell(array: &ArrayRef) -> Result<Cell<'_>, ArrowError> {
    Ok(match array.data_type() {
        DataType::Boolean => {
            let values = array.as_boolean();
            Box::new(|row, out| out.extend(values.value(row).to_string().bytes()))
        }
        DataType::Float32 => {
            let values = array.as_primitive::<Float32Type>();
            // Shortest digits of the 32 bits, as any writer of JSON gives them.
            Box::new(|row, out| {
                let value = values.value(row);
                write_float(
                    value.is_finite().then(|| value.to_string()),
                    f64::from(value),
                    out,
                );
            })
        }
        DataType::Float64 => {
            let values = array.as_primitive::<Float64Type>();
            Box::new(|row, out| {
                let value = values.value(row);
                write_float(value.is_finite().then(|| format!("{value:?}")), value, out);
            })
        }
        DataType::LargeBinary => {
            let values = array.as_binary::<i64>();
            Box::new(|row, out| write_string(values.value(row), out))
        }
        DataType::Timestamp(unit, _) => {
            let (unit, values) = (*unit, cast(array, &DataType::Int64)?);
            Box::new(move |row, out| {
                write_instant(unit, values.as_primitive::<Int64Type>().value(row), out);
            })
        }
        DataType::Date32 => {
            let values = cast(array, &DataType::Int32)?;
            Box::new(move |row, out| {
                let date = Date::from_days(values.as_primitive::<Int32Type>().value(row));
                write_string(date.to_string().as_bytes(), out);
            })
        }
        other => {
            let is_number = other.is_integer() || other.is_decimal();
            // A value that can't be shown is shown as an error's text: never a number, so never taken for one.
            let formatter =
                ArrayFormatter::try_new(array, &FormatOptions::default().with_display_error(true))?;
            Box::new(move |row, out| {
                let mut text = String::new();
                let _ = write!(text, "{}", formatter.value(row)); // errors are part of the text
                if is_number {
                    out.extend(text.bytes());
                } else {
                    write_string(text.as_bytes(), out);
                }
            })
        }
    })
}

fn write_float(finite: Option<String>, value: f64, out: &mut Vec<u8>) {
    match finite {
        Some(digits) => out.extend(digits.bytes()),
        None if value.is_nan() => out.extend(b"NaN"),
        None if value > 0.0 => out.extend(b"Infinity"),
        None => out.extend(b"-Infinity"),
    }
}

/// An instant as ISO-8601; one that no calendar has is written so that it is refused.
fn write_instant(unit: TimeUnit, value: i64, out: &mut Vec<u8>) {
    let instant = match unit {
        TimeUnit::Second => jiff::Timestamp::from_second(value),
        TimeUnit::Millisecond => jiff::Timestamp::from_millisecond(value),
        TimeUnit::Microsecond => jiff::Timestamp::from_microsecond(value),
        TimeUnit::Nanosecond => {
            Ok(jiff::Timestamp::from_nanosecond(i128::from(value)).unwrap_or(jiff::Timestamp::MIN))
        } // 64 bits of nanoseconds always fit
    };
    let text = match instant {
        Ok(instant) => instant.to_string(),
        Err(_) => format!("{value} {unit:?}s since 1970"),
    };
    write_string(text.as_bytes(), out);
}

/// A blob as the Parquet reader wants it, with a few blocks kept.
#[derive(Clone)]
struct Source(Arc<SourceState>);

struct SourceState {
    blob: Arc<Blob>,
    block_size: u64,
    /// Newest last.
    blocks: Mutex<VecDeque<(u64, Bytes)>>,
    /// What a read said first: the decoder keeps only its text.
    fault: Mutex<Option<FilesError>>,
}

impl Source {
    fn new(blob: Arc<Blob>) -> Self {
        let block_size = if blob.is_remote() { 1 << 20 } else { 64 << 10 };
        Source(Arc::new(SourceState {
            blob,
            block_size,
            blocks: Mutex::default(),
            fault: Mutex::default(),
        }))
    }

    /// Calls the decoder. It is a well-kept library, but damaged files make some of its assertions fail: that is
    /// damage like any other. After it the file is not read on, so nothing half-done is ever seen.
    fn guard<T, E: std::error::Error>(
        &self,
        decode: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, FilesError> {
        match catch_unwind(AssertUnwindSafe(decode)) {
            Ok(result) => result.map_err(|error| self.fault(&error)),
            Err(_) => Err(FilesError::Damaged {
                path: self.0.blob.entry.path.clone(),
                offset: 0,
                what: "the Parquet decoder gave up in the middle".to_owned(),
            }),
        }
    }

    /// The error behind a decoder's.
    fn fault(&self, error: &dyn std::error::Error) -> FilesError {
        let own = self
            .0
            .fault
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        own.unwrap_or_else(|| FilesError::Damaged {
            path: self.0.blob.entry.path.clone(),
            offset: 0,
            what: error.to_string(),
        })
    }

    fn read_at(&self, offset: u64, length: usize) -> Result<Bytes, ParquetError> {
        self.0.blob.read_at(offset, length).map_err(|error| {
            let text = error.to_string();
            *self.0.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            ParquetError::General(text)
        })
    }

    /// Bytes at `offset`, as many as the block there holds; none at the file's end.
    fn block_at(&self, offset: u64) -> Result<Bytes, ParquetError> {
        let start = offset - offset % self.0.block_size;
        let mut blocks = self.0.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        let block = match blocks.iter().position(|(own, _)| *own == start) {
            Some(index) => blocks
                .remove(index)
                .map(|(_, block)| block)
                .unwrap_or_default(),
            None => {
                // Blocks are at most 1 MiB.
                self.read_at(
                    start,
                    usize::try_from(self.0.block_size).unwrap_or(usize::MAX),
                )?
            }
        };
        if blocks.len() >= BLOCKS {
            blocks.pop_front();
        }
        blocks.push_back((start, block.clone()));
        // Within the block: the offset is at most a block's size above its start.
        let skip = usize::try_from(offset - start)
            .unwrap_or(usize::MAX)
            .min(block.len());
        Ok(block.slice(skip..))
    }
}

impl Length for Source {
    fn len(&self) -> u64 {
        self.0.blob.entry.size
    }
}

impl ChunkReader for Source {
    type T = SourceReader;

    fn get_read(&self, start: u64) -> Result<SourceReader, ParquetError> {
        Ok(SourceReader {
            source: self.clone(),
            offset: start,
        })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let end = start.checked_add(length as u64);
        if end.is_none_or(|end| end > self.len()) {
            return Err(ParquetError::EOF(format!(
                "{length} bytes at {start} lie beyond the file's {} bytes",
                self.len()
            )));
        }
        let block = self.block_at(start)?;
        if block.len() >= length {
            return Ok(block.slice(..length));
        }
        self.read_at(start, length)
    }
}

struct SourceReader {
    source: Source,
    offset: u64,
}

impl Read for SourceReader {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let block = self
            .source
            .block_at(self.offset)
            .map_err(io::Error::other)?;
        let count = block.len().min(target.len());
        target[..count].copy_from_slice(&block[..count]);
        self.offset += count as u64;
        Ok(count)
    }
}
