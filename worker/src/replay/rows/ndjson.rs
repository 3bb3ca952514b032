//! NDJSON: one JSON object per line; empty lines are skipped. Keys may differ from line to line: each needs ticker
//! and date, and some line of the file a close.

use std::io::{BufRead, BufReader, Read};

use serde_json::{Map, Value};

use super::cell;
use super::collect::Collector;
use super::layout::{self, ColumnNames, Field, Layout, Place};
use super::source::Source;
use crate::replay::ReplayError;

/// The longest line that is read, 1 MiB.
const LONGEST_LINE: u64 = 1024 * 1024;

/// Reads every row into `collector`.
pub(super) fn read(
    source: &Source,
    text: Box<dyn Read>,
    names: &ColumnNames,
    collector: &mut Collector,
) -> Result<(), ReplayError> {
    let mut text = BufReader::new(text);
    let mut line = Vec::new();
    // The keys of the first line, until a line with a close was seen.
    let mut closeless: Option<Vec<String>> = None;
    let mut has_close = false;
    for number in 1.. {
        line.clear();
        let length = (&mut text)
            .take(LONGEST_LINE + 1)
            .read_until(b'\n', &mut line)
            .map_err(|error| source.unreadable(&error))?;
        if length == 0 || collector.is_cancelled() {
            break;
        }
        if length as u64 > LONGEST_LINE {
            return Err(source.bad_row(number, format!("it is longer than {LONGEST_LINE} bytes")));
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let object: Map<String, Value> = serde_json::from_slice(line.trim_ascii())
            .map_err(|error| source.bad_row(number, format!("it is not a JSON object: {error}")))?;
        let keys: Vec<&str> = object.keys().map(String::as_str).collect();
        let layout = Layout::locate(source, &keys, names);
        if let Some(field) = [Field::Ticker, Field::Date]
            .into_iter()
            .find(|field| !layout.has(*field))
        {
            return Err(match number {
                1 => layout::unknown(source, &keys, names, field),
                _ => source.bad_row(number, format!("it has no {}", field.name())),
            });
        }
        has_close |= layout.has(Field::Close);
        if !has_close {
            closeless.get_or_insert_with(|| object.keys().cloned().collect());
        }
        row(&layout, &keys, &object, collector).map_err(|fault| match fault {
            Fault::Cell(problem) => source.bad_row(number, problem),
            Fault::Collector(error) => error,
        })?;
    }
    match closeless {
        Some(keys) if !has_close => {
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            Err(layout::unknown(source, &keys, names, Field::Close))
        }
        _ => Ok(()),
    }
}

/// Why a row was not taken: what it holds, or no room for it.
enum Fault {
    Cell(String),
    Collector(ReplayError),
}

fn row(
    layout: &Layout,
    keys: &[&str],
    object: &Map<String, Value>,
    collector: &mut Collector,
) -> Result<(), Fault> {
    let value = |field| match layout.place(field) {
        Place::Column(index) => keys
            .get(*index)
            .and_then(|key| object.get(*key))
            .map_or(Cell::Absent, Cell::from),
        Place::Path(value) => Cell::Text(value),
        Place::Nowhere => Cell::Absent,
    };
    let ticker = value(Field::Ticker)
        .text("ticker")
        .and_then(cell::ticker)
        .map_err(Fault::Cell)?;
    let moment = value(Field::Date)
        .text("date")
        .and_then(cell::date)
        .map_err(Fault::Cell)?;
    let price = |field: Field| value(field).number(field.name()).map_err(Fault::Cell);
    let prices = [
        price(Field::Open)?,
        price(Field::High)?,
        price(Field::Low)?,
        price(Field::Close)?,
    ];
    let volume = value(Field::Volume)
        .integer(Field::Volume.name())
        .map_err(Fault::Cell)?;
    collector
        .push(ticker, moment, prices, volume)
        .map_err(Fault::Collector)
}

/// A JSON value as far as a tick is concerned.
enum Cell<'a> {
    Absent,
    Text(&'a str),
    Number(&'a serde_json::Number),
    Other(&'a Value),
}

impl<'a> From<&'a Value> for Cell<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Absent,
            Value::String(text) => Self::Text(text),
            Value::Number(number) => Self::Number(number),
            other => Self::Other(other),
        }
    }
}

impl<'a> Cell<'a> {
    fn text(self, field: &str) -> Result<&'a str, String> {
        match self {
            Self::Absent => Ok(""),
            Self::Text(text) => Ok(text),
            Self::Number(number) => Err(format!("{field} is the number {number}; allowed is text")),
            Self::Other(other) => Err(wrong(field, other, "text")),
        }
    }

    fn number(self, field: &str) -> Result<Option<f64>, String> {
        match self {
            Self::Absent => Ok(None),
            Self::Text(text) => cell::number(field, text),
            Self::Number(number) => cell::number(field, &number.to_string()),
            Self::Other(other) => Err(wrong(field, other, "a number")),
        }
    }

    fn integer(self, field: &str) -> Result<Option<i64>, String> {
        match self {
            Self::Absent => Ok(None),
            Self::Text(text) => cell::integer(field, text),
            Self::Number(number) => cell::integer(field, &number.to_string()),
            Self::Other(other) => Err(wrong(field, other, "a whole number")),
        }
    }
}

fn wrong(field: &str, found: &Value, allowed: &str) -> String {
    format!(
        "{field} is `{}`; allowed is {allowed}",
        cell::shown(&found.to_string())
    )
}
