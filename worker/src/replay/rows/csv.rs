//! CSV with a header line.

use std::cell::Cell;
use std::io::Read;
use std::rc::Rc;

use csv::{Reader, ReaderBuilder, StringRecord, Trim};

use super::cell;
use super::collect::Collector;
use super::layout::{ColumnNames, Field, Layout, Place};
use super::source::Source;
use crate::replay::ReplayError;

/// The longest row that is read, 1 MiB: a quote left open would otherwise swallow the rest of the file.
const LONGEST_ROW: u64 = 1024 * 1024;

/// Reads every row into `collector`.
pub(super) fn read(
    source: &Source,
    text: Box<dyn Read>,
    names: &ColumnNames,
    collector: &mut Collector,
) -> Result<(), ReplayError> {
    let since_row = Rc::new(Cell::new(0));
    let text = RowBound {
        inner: text,
        since_row: Rc::clone(&since_row),
    };
    let mut reader = ReaderBuilder::new().trim(Trim::All).from_reader(text);
    let header = match reader.headers() {
        Ok(header) => header.clone(),
        Err(error) => return Err(broken(source, &error, 1)),
    };
    let layout = Layout::find(source, &header.iter().collect::<Vec<_>>(), names)?;
    let mut record = StringRecord::new();
    while next(source, &mut reader, &mut record)? {
        since_row.set(0);
        if collector.is_cancelled() {
            return Ok(());
        }
        let line = record.position().map_or(0, csv::Position::line);
        let bad = |problem| source.bad_row(line, problem);
        let value = |field| match layout.place(field) {
            Place::Column(index) => record.get(*index).unwrap_or_default(),
            Place::Path(value) => value.as_str(),
            Place::Nowhere => "",
        };
        let ticker = cell::ticker(value(Field::Ticker)).map_err(bad)?;
        let moment = cell::date(value(Field::Date)).map_err(bad)?;
        let price = |field: Field| cell::number(field.name(), value(field)).map_err(bad);
        let prices = [
            price(Field::Open)?,
            price(Field::High)?,
            price(Field::Low)?,
            price(Field::Close)?,
        ];
        let volume = cell::integer(Field::Volume.name(), value(Field::Volume)).map_err(bad)?;
        collector.push(ticker, moment, prices, volume)?;
    }
    Ok(())
}

fn next(
    source: &Source,
    reader: &mut Reader<RowBound>,
    record: &mut StringRecord,
) -> Result<bool, ReplayError> {
    let line = reader.position().line();
    reader
        .read_record(record)
        .map_err(|error| broken(source, &error, line))
}

/// A reader that fails when more than a row's worth of text went by without a row's end.
struct RowBound {
    inner: Box<dyn Read>,
    /// Bytes read since the last row; set back after each.
    since_row: Rc<Cell<u64>>,
}

/// Told apart from faults of the file itself.
#[derive(Debug, thiserror::Error)]
#[error("the row is longer than {LONGEST_ROW} bytes; perhaps a quote is left open")]
struct RowTooLong;

impl Read for RowBound {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.since_row.get() > LONGEST_ROW {
            return Err(std::io::Error::other(RowTooLong));
        }
        let read = self.inner.read(buffer)?;
        self.since_row.set(self.since_row.get() + read as u64);
        Ok(read)
    }
}

/// `from` is the line where the row began, for errors that don't tell.
fn broken(source: &Source, error: &csv::Error, from: u64) -> ReplayError {
    let line = error.position().map_or(from, csv::Position::line);
    match error.kind() {
        csv::ErrorKind::Io(error)
            if error
                .get_ref()
                .is_some_and(|inner| inner.is::<RowTooLong>()) =>
        {
            source.bad_row(from, RowTooLong.to_string())
        }
        csv::ErrorKind::Io(error) => source.unreadable(error),
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => source.bad_row(
            line,
            format!("it has {len} fields and the header {expected_len}"),
        ),
        csv::ErrorKind::Utf8 { .. } => source.bad_row(line, "it is not UTF-8 text".to_owned()),
        _ => source.bad_row(line, error.to_string()),
    }
}
