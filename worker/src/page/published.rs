//! One ticker's rows read back from the output and from a checkpoint, newest first and within limits.
//!
//! Owns finding the newest files without listing a whole lake. Must never write.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row as ParquetRow};
use stockstream_core::codec;
use stockstream_core::layout::{Incarnation, StateKeys, hive_escape, version_of};
use stockstream_core::plan::Plan;
use stockstream_core::row::PartitionColumn;

use super::chains::{figures, open_rows, unpublished};
use super::history::{HistoryRow, RowState, of_figures};
use crate::storage::{ObjectInfo, Store, StoreError};

/// Most files that are read for one ticker; the newest ones are.
const MAX_FILES: usize = 240;
/// Files that are read at the same time, at most, and their bytes together.
const READ_AT_ONCE: usize = 16;
const BYTES_AT_ONCE: u64 = 32 << 20;
/// A larger file is left out: a minute's rows of 100,000 tickers take less.
const MAX_FILE_BYTES: u64 = 16 << 20;
/// For finding and reading the files; what was read until then is shown.
pub(super) const READ_WITHIN: Duration = Duration::from_secs(10);
/// How far back files are looked for, in days, until there are enough.
const LOOK_BACK_DAYS: [i64; 3] = [7, 60, 800];

/// Where rows are.
#[derive(Debug, Clone)]
pub(super) struct Rows {
    pub(super) output: Store,
    pub(super) state: Store,
    pub(super) partition_by: Vec<PartitionColumn>,
    pub(super) plan: Arc<Plan>,
    pub(super) aggregates: Vec<String>,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) rows: Vec<HistoryRow>,
    pub(super) truncated: bool,
    pub(super) notes: Vec<String>,
}

impl Rows {
    /// The newest `most` published rows of a ticker. `newest_date`: the trade date of its newest window, when it is known.
    pub(super) async fn published(
        &self,
        ticker: &str,
        newest_date: Option<&str>,
        most: usize,
    ) -> Found {
        let mut found = Found::default();
        let reading = self.read_into(&mut found, ticker, newest_date, most);
        match tokio::time::timeout(READ_WITHIN, reading).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => found
                .notes
                .push(format!("published rows can't be read: {error}")),
            Err(_) => {
                found.truncated = true;
                let seconds = READ_WITHIN.as_secs();
                found.notes.push(format!(
                    "not all published rows could be read within {seconds} s; try again, or ask the table itself"
                ));
            }
        }
        found
    }

    async fn read_into(
        &self,
        found: &mut Found,
        ticker: &str,
        newest_date: Option<&str>,
        most: usize,
    ) -> Result<(), StoreError> {
        let (files, more) = self.newest_files(ticker, newest_date).await?;
        found.truncated = more;
        let largest = files.iter().map(|file| file.size).max().unwrap_or(0);
        let at_once = usize::try_from(BYTES_AT_ONCE / largest.max(1)).unwrap_or(READ_AT_ONCE);
        let mut reads = stream::iter(files)
            .map(|file| async move { (self.output.get(&file.key).await, file) })
            .buffered(at_once.clamp(1, READ_AT_ONCE));
        while let Some((bytes, file)) = reads.next().await {
            if found.rows.len() >= most {
                found.truncated = true;
                break;
            }
            let Some(bytes) = bytes? else { continue };
            let (wanted, aggregates) = (ticker.to_owned(), self.aggregates.clone());
            let decoding =
                move || rows_of(bytes, &wanted, &aggregates).map_err(|error| error.to_string());
            // Off the runtime, which has leases to renew.
            let decoded = tokio::task::spawn_blocking(decoding).await;
            match decoded.unwrap_or_else(|broken| Err(broken.to_string())) {
                Ok(rows) => found.rows.extend(rows),
                Err(error) => {
                    let url = self.output.url_of(&file.key);
                    found.notes.push(format!("{url} can't be read: {error}"));
                }
            }
        }
        Ok(())
    }

    /// The newest files that may hold the ticker, newest first, and whether there are more.
    async fn newest_files(
        &self,
        ticker: &str,
        newest_date: Option<&str>,
    ) -> Result<(Vec<ObjectInfo>, bool), StoreError> {
        let escaped = format!("ticker={}/", hive_escape(ticker));
        let has_ticker = self.partition_by.contains(&PartitionColumn::Ticker);
        let folder = match self.partition_by.first() {
            Some(PartitionColumn::Ticker) => escaped.trim_end_matches('/'),
            _ => "",
        };
        let is_dated = self.partition_by.contains(&PartitionColumn::TradeDate);
        let dates: Vec<String> = match newest_date {
            Some(date) if is_dated => LOOK_BACK_DAYS
                .iter()
                .filter_map(|days| days_before(date, *days))
                .collect(),
            _ => Vec::new(),
        };
        let of_ticker = |file: &ObjectInfo| {
            file.key.ends_with(".parquet")
                && file.size <= MAX_FILE_BYTES
                && (!has_ticker
                    || file.key.starts_with(&escaped)
                    || file.key.contains(&format!("/{escaped}")))
        };
        let mut files = Vec::new();
        for date in dates.iter().map(Some).chain([None]) {
            let listed = match date {
                Some(date) => {
                    let slash = if folder.is_empty() { "" } else { "/" };
                    let after = format!("{folder}{slash}trade_date={date}");
                    self.output.list_after(folder, &after).await?
                }
                None => self.output.list(folder).await?,
            };
            files = listed.into_iter().filter(of_ticker).collect();
            if files.len() >= MAX_FILES {
                break;
            }
        }
        files.sort_by(|a, b| {
            (b.last_modified.0, &b.key).cmp(&(a.last_modified.0, &a.key)) // newest first
        });
        let more = files.len() > MAX_FILES;
        files.truncate(MAX_FILES);
        Ok((files, more))
    }

    /// Rows of a ticker that its shard's newest checkpoint holds: closed windows that it doesn't know to be published, and
    /// open ones.
    pub(super) async fn waiting(
        &self,
        incarnation: &str,
        shard: &str,
        version: u64,
        ticker: &str,
    ) -> Result<Vec<HistoryRow>, String> {
        let Some(life) = Incarnation::parse(incarnation) else {
            return Ok(Vec::new());
        };
        let keys = StateKeys::new(life);
        let after = keys.checkpoint(shard, version.saturating_sub(1));
        let listed = self.state.list_after(&keys.chain(shard), &after).await;
        let listed = listed.map_err(|error| error.to_string())?;
        let newest = listed
            .iter()
            .rev()
            .find(|object| version_of(object.key.rsplit('/').next().unwrap_or_default()).is_some());
        let Some(newest) = newest else {
            return Ok(Vec::new());
        };
        let bytes = self.state.get(&newest.key).await;
        let Some(bytes) = bytes.map_err(|error| error.to_string())? else {
            return Ok(Vec::new()); // collected meanwhile
        };
        // It may be large: the runtime has other things to do meanwhile.
        let decoded = tokio::task::spawn_blocking(move || codec::decode(&bytes)).await;
        let decoded = decoded.map_err(|error| error.to_string())?;
        let checkpoint = decoded.map_err(|error| error.to_string())?;
        let closed = unpublished(&checkpoint).filter(|row| &**row.ticker() == ticker);
        let closed =
            closed.map(|row| of_figures(&figures(row, &self.aggregates), RowState::Closed));
        let open = open_rows(&checkpoint, &self.plan, Some(ticker));
        let open = open
            .iter()
            .map(|row| of_figures(&figures(row, &self.aggregates), RowState::Open));
        Ok(closed.chain(open).collect())
    }
}

/// A date `days` before `date`, both YYYY-MM-DD.
fn days_before(date: &str, days: i64) -> Option<String> {
    let date: jiff::civil::Date = date.parse().ok()?;
    let span = jiff::Span::new().try_days(days).ok()?;
    Some(date.checked_sub(span).ok()?.to_string())
}

/// The rows of a ticker in a file: of all rows when the file has no column `ticker`.
fn rows_of(
    bytes: Bytes,
    ticker: &str,
    aggregates: &[String],
) -> Result<Vec<HistoryRow>, ParquetError> {
    let reader = SerializedFileReader::new(bytes)?;
    let mut rows = Vec::new();
    for row in reader.get_row_iter(None)? {
        rows.extend(row_of(&row?, ticker, aggregates));
    }
    Ok(rows)
}

fn row_of(row: &ParquetRow, ticker: &str, aggregates: &[String]) -> Option<HistoryRow> {
    let (mut start, mut end) = (None, None);
    let mut values = BTreeMap::new();
    for (name, field) in row.get_column_iter() {
        match (name.as_str(), field) {
            ("ticker", Field::Str(found)) if found != ticker => return None,
            ("window_start", Field::TimestampMicros(at)) => start = Some(*at),
            ("window_end", Field::TimestampMicros(at)) => end = Some(*at),
            (name, Field::Double(value)) if aggregates.iter().any(|known| known == name) => {
                values.insert(name.to_owned(), Some(*value));
            }
            #[allow(clippy::cast_precision_loss)] // display only
            (name, Field::Long(value)) if aggregates.iter().any(|known| known == name) => {
                values.insert(name.to_owned(), Some(*value as f64));
            }
            _ => {}
        }
    }
    Some(HistoryRow {
        window_start: start?,
        window_end: end?,
        values,
        ticks: None,
        state: RowState::Published,
    })
}

#[cfg(test)]
#[path = "published_tests.rs"]
mod tests;
