//! Gathers rows from all files: numbers the tickers, filters them, keeps the limit, orders at the end.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::cell::Moment;
use super::{BYTES_PER_ROW, ReadOptions, Row, Table};
use crate::replay::ReplayError;

/// The figures of a row, in the order open, high, low, close.
pub(super) type Prices = [Option<f64>; 4];

/// The rows so far.
pub(super) struct Collector {
    table: Table,
    numbers: HashMap<String, u32>,
    keep: BTreeSet<String>,
    max_rows: usize,
    filtered: u64,
    cancelled: Arc<AtomicBool>,
}

impl Collector {
    pub(super) fn new(options: &ReadOptions, cancelled: Arc<AtomicBool>) -> Self {
        Self {
            table: Table::default(),
            numbers: HashMap::new(),
            keep: options.tickers.clone(),
            max_rows: options.max_rows,
            filtered: 0,
            cancelled,
        }
    }

    /// Nobody waits for the rows any more: decoders end early.
    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Rows that `--ticker` left out.
    pub(super) fn filtered(&self) -> u64 {
        self.filtered
    }

    /// Takes over a row, unless its ticker isn't wanted.
    pub(super) fn push(
        &mut self,
        ticker: &str,
        moment: Moment,
        [open, high, low, close]: Prices,
        volume: Option<i64>,
    ) -> Result<(), ReplayError> {
        if !self.keep.is_empty() && !self.keep.contains(ticker) {
            self.filtered += 1;
            return Ok(());
        }
        if self.table.rows.len() >= self.max_rows {
            return Err(ReplayError::TooManyRows {
                limit: self.max_rows,
                bytes_per_row: BYTES_PER_ROW,
            });
        }
        let ticker = self.number(ticker);
        self.table.rows.push(Row {
            at: moment.at,
            date: moment.date,
            ticker,
            open,
            high,
            low,
            close,
            volume,
        });
        Ok(())
    }

    fn number(&mut self, ticker: &str) -> u32 {
        if let Some(number) = self.numbers.get(ticker) {
            return *number;
        }
        // At most `max_rows` tickers, far below u32::MAX.
        let number = u32::try_from(self.table.tickers.len()).unwrap_or(u32::MAX);
        self.table.tickers.push(ticker.to_owned());
        self.numbers.insert(ticker.to_owned(), number);
        number
    }

    /// All rows in order; the sort is stable, so rows of one time keep the order of the input.
    pub(super) fn finish(self) -> Table {
        let mut table = self.table;
        if !table.rows.is_sorted_by_key(|row| row.at) {
            table.rows.sort_by_key(|row| row.at);
        }
        table
    }
}
