//! CSV with a header line.

use std::io::Read;

use csv::{Reader, ReaderBuilder, StringRecord, Trim};

use super::cell;
use super::collect::Collector;
use super::layout::{ColumnNames, Field, Layout, Place};
use super::source::Source;
use crate::replay::ReplayError;

/// Reads every row into `collector`.
pub(super) fn read(
    source: &Source,
    text: Box<dyn Read>,
    names: &ColumnNames,
    collector: &mut Collector,
) -> Result<(), ReplayError> {
    let mut reader = ReaderBuilder::new().trim(Trim::All).from_reader(text);
    let header = reader
        .headers()
        .map_err(|error| broken(source, &error))?
        .clone();
    let layout = Layout::find(source, &header.iter().collect::<Vec<_>>(), names)?;
    let mut record = StringRecord::new();
    while next(source, &mut reader, &mut record)? {
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
    reader: &mut Reader<Box<dyn Read>>,
    record: &mut StringRecord,
) -> Result<bool, ReplayError> {
    reader
        .read_record(record)
        .map_err(|error| broken(source, &error))
}

fn broken(source: &Source, error: &csv::Error) -> ReplayError {
    let line = error.position().map_or(0, csv::Position::line);
    match error.kind() {
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
