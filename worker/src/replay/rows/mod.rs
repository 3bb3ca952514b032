//! Historical rows from CSV, NDJSON or Parquet files, ordered by date.
//!
//! Owns formats, column names, compression and the Hive layout of paths. Must never send anything: a
//! replay begins when every row was read and checked.
//!
//! Rows are held in memory, [`BYTES_PER_ROW`] bytes each and [`MAX_ROWS`] at most (about 1 GB; half as
//! much again for a moment while rows that were not in order are sorted). Text is decoded as it is read; an object
//! from a remote store is held whole while it is decoded.

mod cell;
mod collect;
mod csv;
mod layout;
mod ndjson;
mod parquet;
mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::civil::Date;

use super::ReplayError;
use collect::Collector;
pub use layout::{ColumnNames, Field};
pub use source::check_input;

/// The largest number of rows held in memory.
pub const MAX_ROWS: usize = 10_000_000;

/// Memory per row.
pub const BYTES_PER_ROW: usize = size_of::<Row>();

/// One row of the input. Figures are finite; absent ones are `None`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// What rows are ordered by: the date, with its time of day if it has one, in microseconds since 1970 UTC.
    pub at: i64,
    /// The trade date.
    pub date: Date,
    /// The ticker's place in [`Table::tickers`].
    pub ticker: u32,
    /// Opening price.
    pub open: Option<f64>,
    /// Highest price.
    pub high: Option<f64>,
    /// Lowest price.
    pub low: Option<f64>,
    /// Closing price.
    pub close: Option<f64>,
    /// Shares traded.
    pub volume: Option<i64>,
}

/// All rows of an input, ordered by date; rows of the same time keep the input's order.
#[derive(Debug, Default)]
pub struct Table {
    /// The rows.
    pub rows: Vec<Row>,
    /// The tickers' names.
    pub tickers: Vec<String>,
}

/// A file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Comma-separated text with a header line.
    Csv,
    /// One JSON object per line.
    Ndjson,
    /// Apache Parquet.
    Parquet,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        clap::ValueEnum::from_str(text, true)
            .map_err(|_| format!("`{text}` is not a format; allowed are csv, ndjson, parquet"))
    }
}

/// What to read.
#[derive(Clone, Debug)]
pub struct ReadOptions {
    /// The format of files whose names don't tell.
    pub format: Option<Format>,
    /// Column names other than the usual ones.
    pub columns: ColumnNames,
    /// The tickers to keep; all when empty.
    pub tickers: BTreeSet<String>,
    /// The largest number of rows.
    pub max_rows: usize,
}

/// Ends the decoding in the background when the future that waits for it is dropped.
struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Reads a file, a directory or an object-store URL whole and orders its rows by date.
/// Dropping the future stops the reading.
///
/// # Errors
/// Every error about the input that [`ReplayError`] has, with the file and the line.
pub async fn read(input: &str, options: &ReadOptions) -> Result<Table, ReplayError> {
    let (store, sources) = source::find(input, options.format).await?;
    let cancel = CancelOnDrop(Arc::default());
    let mut collector = Collector::new(options, Arc::clone(&cancel.0));
    for source in sources {
        let opened = source::open(store.as_ref(), &source).await?;
        let columns = options.columns.clone();
        let path = source.name.clone();
        let decode = move || decode(&source, opened, &columns, collector);
        collector = tokio::task::spawn_blocking(decode)
            .await
            .map_err(|error| ReplayError::Unreadable {
                path,
                problem: error.to_string(),
            })??;
    }
    let filtered = collector.filtered();
    let table = collector.finish();
    if table.rows.is_empty() {
        let hint = if filtered > 0 {
            format!(": its {filtered} rows are all of other tickers than `--ticker` names")
        } else {
            String::new()
        };
        return Err(ReplayError::NoRows {
            input: input.to_owned(),
            hint,
        });
    }
    Ok(table)
}

fn decode(
    source: &source::Source,
    opened: source::Opened,
    columns: &ColumnNames,
    mut collector: Collector,
) -> Result<Collector, ReplayError> {
    match source.format {
        Format::Csv => csv::read(
            source,
            source::text(source, opened)?,
            columns,
            &mut collector,
        )?,
        Format::Ndjson => ndjson::read(
            source,
            source::text(source, opened)?,
            columns,
            &mut collector,
        )?,
        Format::Parquet => match opened {
            source::Opened::File(file) => parquet::read(source, file, columns, &mut collector)?,
            source::Opened::Bytes(bytes) => parquet::read(source, bytes, columns, &mut collector)?,
        },
    }
    Ok(collector)
}
