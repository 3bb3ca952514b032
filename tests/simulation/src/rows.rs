//! What lies in the output, read as any reader of Parquet and NDJSON would.
//!
//! Owns reading one file; uses nothing of the worker's own.

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;

/// The figures that every simulated pipeline computes, in this order: name, function, field.
pub const FIGURES: [(&str, &str, &str); 6] = [
    ("avg_close", "avg", "close"),
    ("last_close", "last", "close"),
    ("first_close", "first", "close"),
    ("ticks", "count", "close"),
    ("traded", "sum", "volume"),
    ("lowest", "min", "close"),
];

/// A row: one window of one ticker.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The ticker.
    pub ticker: String,
    /// The window's first instant, in microseconds since the epoch.
    pub start: i64,
    /// The first instant after it.
    pub end: i64,
    /// The first trade date.
    pub trade_date: String,
    /// As [`FIGURES`] lists them.
    pub figures: Vec<f64>,
}

/// A tick that wasn't counted: shard and sequence number, and what it was found to be (`late`, or a dead letter's reason).
pub type Reject = ((String, String), String);

/// Whose a file is: the shard and the version that sealed its batch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Batch {
    /// The shard.
    pub shard: String,
    /// The version.
    pub version: u64,
}

/// The batch that a file's name names.
pub fn batch_of(path: &str) -> Option<Batch> {
    let name = path.rsplit('/').next()?.rsplit_once('.')?.0;
    let (rest, version) = name.rsplit_once('-')?;
    let shard = rest.splitn(3, '-').nth(2)?;
    Some(Batch {
        shard: shard.to_owned(),
        version: version.parse().ok()?,
    })
}

/// The rows of a file of rows.
///
/// # Errors
/// It isn't one.
pub fn read_rows(path: &str, bytes: &Bytes) -> Result<Vec<Row>> {
    let part = |column: &str| {
        let mut parts = path.split('/');
        parts.find_map(|part| {
            part.strip_prefix(column)?
                .strip_prefix('=')
                .map(str::to_owned)
        })
    };
    let mut rows = Vec::new();
    for fields in records(bytes)? {
        let field = |name: &str| {
            fields
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, field)| field)
        };
        let text = |name: &str| match field(name) {
            Some(Field::Str(text)) => Some(text.clone()),
            _ => part(name),
        };
        let time = |name: &str| match field(name) {
            Some(Field::TimestampMicros(micros)) => Ok(*micros),
            other => bail!("{name} is {other:?}"),
        };
        let figure = |name: &str| match field(name) {
            Some(Field::Double(value)) => Ok(*value),
            Some(Field::Long(value)) => Ok(*value as f64),
            other => bail!("{name} is {other:?}"),
        };
        rows.push(Row {
            ticker: text("ticker").context("no ticker")?,
            start: time("window_start")?,
            end: time("window_end")?,
            trade_date: text("trade_date").unwrap_or_default(),
            figures: FIGURES
                .iter()
                .map(|(name, _, _)| figure(name))
                .collect::<Result<_>>()?,
        });
    }
    Ok(rows)
}

/// The late ticks of a file of late ticks.
///
/// # Errors
/// It isn't one.
pub fn read_late(bytes: &Bytes) -> Result<Vec<Reject>> {
    let mut rejects = Vec::new();
    for fields in records(bytes)? {
        let text = |name: &str| match fields.iter().find(|(known, _)| known == name) {
            Some((_, Field::Str(text))) => Ok(text.clone()),
            other => bail!("{name} is {other:?}"),
        };
        rejects.push((
            (text("shard")?, text("sequence_number")?),
            "late".to_owned(),
        ));
    }
    Ok(rejects)
}

/// The dead letters of a file of dead letters.
///
/// # Errors
/// It isn't one.
pub fn read_dead(bytes: &Bytes) -> Result<Vec<Reject>> {
    let mut rejects = Vec::new();
    for line in bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        let line: serde_json::Value = serde_json::from_slice(line)?;
        let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        rejects.push(((text("shard"), text("sequence_number")), text("reason")));
    }
    Ok(rejects)
}

fn records(bytes: &Bytes) -> Result<Vec<Vec<(String, Field)>>> {
    let reader = SerializedFileReader::new(bytes.clone())?;
    let mut records = Vec::new();
    for row in reader.get_row_iter(None)? {
        let row = row?;
        let fields = row
            .get_column_iter()
            .map(|(name, field)| (name.clone(), field.clone()));
        records.push(fields.collect());
    }
    Ok(records)
}
