//! What leaves the core: rows, late ticks, dead letters, and the batches that a checkpoint seals them into.
//!
//! Owns the shape of output and its digest. Must never know how it is stored.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::rows::{RowView, Rows};
use crate::sequence::SequenceNumber;
use crate::time::{Date, Micros};

/// A figure of a row. `Null` where the window had no value for it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value {
    /// No value: SQL's null.
    Null,
    /// A floating-point figure.
    Double(f64),
    /// A count.
    Long(i64),
}

impl Value {
    /// The figure as a number, for display; `None` for null.
    pub fn as_f64(self) -> Option<f64> {
        match self {
            Value::Null => None,
            Value::Double(value) => Some(value),
            #[allow(clippy::cast_precision_loss)] // display only
            Value::Long(value) => Some(value as f64),
        }
    }
}

/// The type of a figure's column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnKind {
    /// Parquet DOUBLE, nullable.
    Double,
    /// Parquet INT64, nullable.
    Long,
}

/// A figure's column: the aggregate's output name and type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// The output name.
    pub name: String,
    /// The type.
    pub kind: ColumnKind,
}

/// One closed window of one ticker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The ticker.
    #[serde(with = "crate::shared_text")]
    pub ticker: Arc<str>,
    /// The first trade date of the window; the event time's UTC date when ticks carry none.
    pub trade_date: Date,
    /// First instant of the window.
    pub window_start: Micros,
    /// First instant after the window.
    pub window_end: Micros,
    /// One figure per column; figures missing at the end are null (columns added since the window opened).
    pub values: Vec<Value>,
    /// Ticks in the window.
    pub ticks: u64,
    /// The first tick's sequence number.
    pub first_sequence: SequenceNumber,
    /// The last tick's sequence number.
    pub last_sequence: SequenceNumber,
}

impl Row {
    /// The figure in column `index`; null when the window was opened before the column existed.
    pub fn value(&self, index: usize) -> Value {
        self.values.get(index).copied().unwrap_or(Value::Null)
    }
}

/// A well-formed tick whose window was closed when it came.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LateTick {
    /// The ticker.
    #[serde(with = "crate::shared_text")]
    pub ticker: Arc<str>,
    /// The tick's trade date, or its event time's UTC date.
    pub trade_date: Date,
    /// When it happened.
    pub event_time: Micros,
    /// When the stream received it.
    pub arrival: Micros,
    /// The watermark (or floor) that made it late.
    pub watermark: Micros,
    /// Its record's sequence number.
    pub sequence: SequenceNumber,
    /// Which of an aggregated record's sub-records it is, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_sequence: Option<u32>,
    /// The raw tick, as the record carried it.
    #[serde(with = "serde_bytes_compat")]
    pub data: Bytes,
}

/// Why a tick can't be used. The labels are stable: they stand in files and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadReason {
    /// Not a JSON object.
    Malformed,
    /// A field that is needed is missing or null.
    MissingField,
    /// A field has the wrong type, or a value outside its limits.
    InvalidField,
    /// The raw tick is larger than the limit.
    TooLarge,
    /// The event time is further ahead of the arrival than `record.maxAhead`.
    AheadOfTime,
    /// The ticker's hash lies outside the shard's range: the producer's partition key isn't the ticker.
    WrongShard,
    /// A new ticker beyond the shard's limit.
    TooManyTickers,
    /// A new window beyond the shard's limit.
    TooManyWindows,
    /// A new id beyond the shard's limit.
    TooManyIds,
}

impl DeadReason {
    /// Every reason, in the order of the labels' first use.
    pub const ALL: [DeadReason; 9] = [
        DeadReason::Malformed,
        DeadReason::MissingField,
        DeadReason::InvalidField,
        DeadReason::TooLarge,
        DeadReason::AheadOfTime,
        DeadReason::WrongShard,
        DeadReason::TooManyTickers,
        DeadReason::TooManyWindows,
        DeadReason::TooManyIds,
    ];

    /// The stable label.
    pub fn label(self) -> &'static str {
        match self {
            DeadReason::Malformed => "malformed",
            DeadReason::MissingField => "missing_field",
            DeadReason::InvalidField => "invalid_field",
            DeadReason::TooLarge => "too_large",
            DeadReason::AheadOfTime => "ahead_of_time",
            DeadReason::WrongShard => "wrong_shard",
            DeadReason::TooManyTickers => "too_many_tickers",
            DeadReason::TooManyWindows => "too_many_windows",
            DeadReason::TooManyIds => "too_many_ids",
        }
    }
}

impl fmt::Display for DeadReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.label())
    }
}

/// A tick that can't be used, kept whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Why.
    pub reason: DeadReason,
    /// What was found, for people; at most a few hundred bytes.
    pub detail: String,
    /// When the stream received it.
    pub arrival: Micros,
    /// Its record's sequence number.
    pub sequence: SequenceNumber,
    /// Which of an aggregated record's sub-records it is, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_sequence: Option<u32>,
    /// The raw bytes.
    #[serde(with = "serde_bytes_compat")]
    pub data: Bytes,
}

/// Rows and rejects sealed together by one version of the chain. Never regrouped, extended or split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// The version that sealed it.
    pub version: u64,
    /// The columns of the rows' figures.
    pub columns: Vec<Column>,
    /// Closed windows, in the order of (window end, ticker).
    pub rows: Rows,
    /// Late ticks, in the shard's order.
    pub late: Vec<LateTick>,
    /// Dead letters, in the shard's order.
    pub dead: Vec<DeadLetter>,
}

/// A partition of the output table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Partition {
    /// The ticker.
    #[serde(with = "crate::shared_text")]
    pub ticker: Arc<str>,
    /// The trade date.
    pub trade_date: Date,
}

impl Partition {
    /// Its part per partition column, in the order of `partition_by`.
    pub fn parts(&self, partition_by: &[PartitionColumn]) -> Vec<PartitionPart> {
        partition_by
            .iter()
            .map(|column| match column {
                PartitionColumn::Ticker => PartitionPart::Ticker(self.ticker.clone()),
                PartitionColumn::TradeDate => PartitionPart::TradeDate(self.trade_date),
            })
            .collect()
    }
}

impl Batch {
    /// True when there is nothing to publish.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.late.is_empty() && self.dead.is_empty()
    }

    /// The rows by partition under `partition_by`, in the order of their parts, each in the batch's order: one file
    /// each.
    pub fn partitions(&self, partition_by: &[PartitionColumn]) -> Vec<PartitionRows<'_>> {
        let by_ticker = partition_by.contains(&PartitionColumn::Ticker);
        let by_date = partition_by.contains(&PartitionColumn::TradeDate);
        // By ticker, then by date, of which a ticker has few: the last ones are looked at first.
        let mut groups: Vec<Vec<(Option<Date>, Vec<u32>)>> = Vec::new();
        groups.resize_with(self.rows.tickers().len().max(1), Vec::new);
        for (index, row) in (0..).zip(self.rows.iter()) {
            let own = &mut groups[if by_ticker { row.ticker_index() } else { 0 }];
            let date = by_date.then(|| row.trade_date());
            match own.iter_mut().rev().find(|(other, _)| *other == date) {
                Some((_, indices)) => indices.push(index),
                None => own.push((date, vec![index])),
            }
        }
        let mut partitions: Vec<PartitionRows<'_>> = groups
            .into_iter()
            .flatten()
            .filter_map(|(_, indices)| {
                let first = self.rows.get(*indices.first()? as usize)?;
                let parts = partition_by.iter().map(|column| match column {
                    PartitionColumn::Ticker => PartitionPart::Ticker(first.ticker().clone()),
                    PartitionColumn::TradeDate => PartitionPart::TradeDate(first.trade_date()),
                });
                Some(PartitionRows {
                    parts: parts.collect(),
                    rows: &self.rows,
                    indices,
                })
            })
            .collect();
        partitions.sort_unstable_by(|a, b| a.parts.cmp(&b.parts));
        partitions
    }
}

/// The rows of a batch that lie in one partition.
#[derive(Clone, Debug)]
pub struct PartitionRows<'a> {
    /// A part per partition column, in the order of `partition_by`.
    pub parts: Vec<PartitionPart>,
    rows: &'a Rows,
    indices: Vec<u32>,
}

impl<'a> PartitionRows<'a> {
    /// The rows, in the batch's order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = RowView<'a>> + Clone {
        let rows = self.rows;
        self.indices
            .iter()
            .map(move |index| rows.view(*index as usize))
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// True when there are none: never, as [`Batch::partitions`] gives them.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }
}

/// A column that can be a partition column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartitionColumn {
    /// `ticker`
    Ticker,
    /// `trade_date`
    TradeDate,
}

impl PartitionColumn {
    /// The column's name in paths and tables.
    pub fn name(self) -> &'static str {
        match self {
            PartitionColumn::Ticker => "ticker",
            PartitionColumn::TradeDate => "trade_date",
        }
    }
}

/// One `column=value` of a partition's path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PartitionPart {
    /// A ticker, unescaped.
    Ticker(Arc<str>),
    /// A trade date.
    TradeDate(Date),
}

impl PartitionPart {
    /// Its column.
    pub fn column(&self) -> PartitionColumn {
        match self {
            PartitionPart::Ticker(_) => PartitionColumn::Ticker,
            PartitionPart::TradeDate(_) => PartitionColumn::TradeDate,
        }
    }
}

/// Bytes of rows that are hashed together, at least.
const HASHED_AT_ONCE: usize = 4_096;

/// SHA-256 over rows' content in file order, as lower-case hex. Independent of Parquet's encoding, of compression and
/// of the release that wrote the file: two files with this digest hold the same rows.
pub fn row_digest<'a>(columns: &[Column], rows: impl IntoIterator<Item = RowView<'a>>) -> String {
    let mut hash = Sha256::new();
    hash.update(b"stockstream rows 1\n");
    for column in columns {
        put_text(&mut hash, &column.name);
        hash.update([column.kind as u8]);
    }
    // A hash takes one long text quicker than many short ones.
    let mut bytes = Vec::with_capacity(2 * HASHED_AT_ONCE);
    for row in rows {
        let ticker = row.ticker().as_bytes();
        bytes.push(b'r');
        bytes.extend_from_slice(&(ticker.len() as u64).to_le_bytes());
        bytes.extend_from_slice(ticker);
        bytes.extend_from_slice(&row.trade_date().days().to_le_bytes());
        bytes.extend_from_slice(&row.window_start().0.to_le_bytes());
        bytes.extend_from_slice(&row.window_end().0.to_le_bytes());
        for index in 0..columns.len() {
            match row.value(index) {
                Value::Null => bytes.push(0),
                Value::Double(value) => {
                    bytes.push(1);
                    bytes.extend_from_slice(&value.to_bits().to_le_bytes());
                }
                Value::Long(value) => {
                    bytes.push(2);
                    bytes.extend_from_slice(&value.to_le_bytes());
                }
            }
        }
        if bytes.len() >= HASHED_AT_ONCE {
            hash.update(&bytes);
            bytes.clear();
        }
    }
    hash.update(&bytes);
    hex(&hash.finalize())
}

/// SHA-256 over late ticks' content in file order, as lower-case hex.
pub fn late_digest<'a>(ticks: impl IntoIterator<Item = &'a LateTick>) -> String {
    let mut hash = Sha256::new();
    hash.update(b"stockstream late 1\n");
    for tick in ticks {
        match tick.sub_sequence {
            None => hash.update(b"l"),
            Some(index) => {
                hash.update(b"s");
                hash.update(index.to_le_bytes());
            }
        }
        put_text(&mut hash, &tick.ticker);
        hash.update(tick.trade_date.days().to_le_bytes());
        hash.update(tick.event_time.0.to_le_bytes());
        hash.update(tick.arrival.0.to_le_bytes());
        hash.update(tick.watermark.0.to_le_bytes());
        put_text(&mut hash, &tick.sequence.to_string());
        put_bytes(&mut hash, &tick.data);
    }
    hex(&hash.finalize())
}

fn put_text(hash: &mut Sha256, text: &str) {
    put_bytes(hash, text.as_bytes());
}

fn put_bytes(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

/// Lower-case hexadecimal of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// `Bytes` as one byte string instead of a list of numbers.
mod serde_bytes_compat {
    use std::fmt;

    use bytes::Bytes;
    use serde::de::{SeqAccess, Visitor};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        bytes: &Bytes,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Bytes, D::Error> {
        struct BytesVisitor;
        impl<'de> Visitor<'de> for BytesVisitor {
            type Value = Bytes;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a byte string")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes::copy_from_slice(bytes))
            }
            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
                Ok(Bytes::from(bytes))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Bytes, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = seq.next_element()? {
                    bytes.push(byte);
                }
                Ok(Bytes::from(bytes))
            }
        }
        deserializer.deserialize_byte_buf(BytesVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ticker: &str, value: f64) -> Row {
        Row {
            ticker: ticker.into(),
            trade_date: Date::from_days(19_724),
            window_start: Micros(0),
            window_end: Micros(60_000_000),
            values: vec![Value::Double(value)],
            ticks: 1,
            first_sequence: 1.into(),
            last_sequence: 2.into(),
        }
    }

    fn columns() -> Vec<Column> {
        vec![Column {
            name: "avg_close".into(),
            kind: ColumnKind::Double,
        }]
    }

    fn digest(rows: &[&Row]) -> String {
        let rows: Rows = rows.iter().map(|row| (*row).clone()).collect();
        row_digest(&columns(), rows.iter())
    }

    #[test]
    fn digest_tells_rows_apart_by_content_and_order() {
        let (a, b) = (row("A", 1.0), row("B", 2.0));
        assert_eq!(digest(&[&a, &b]), digest(&[&a, &b]));
        assert_ne!(digest(&[&a, &b]), digest(&[&b, &a]));
        assert_ne!(digest(&[&a]), digest(&[&row("A", 1.5)]));
    }

    #[test]
    fn digest_ignores_provenance() {
        let mut other = row("A", 1.0);
        other.first_sequence = 77.into();
        assert_eq!(digest(&[&row("A", 1.0)]), digest(&[&other]));
    }

    #[test]
    fn partitions_follow_the_chosen_columns() {
        let batch = Batch {
            version: 3,
            columns: columns(),
            rows: vec![row("B", 1.0), row("A", 1.0), row("B", 2.0)].into(),
            late: vec![],
            dead: vec![],
        };
        let by_ticker = batch.partitions(&[PartitionColumn::Ticker]);
        let found: Vec<_> = by_ticker
            .iter()
            .map(|partition| (partition.parts.clone(), partition.len()))
            .collect();
        let part = |ticker: &str| vec![PartitionPart::Ticker(ticker.into())];
        assert_eq!(found, [(part("A"), 1), (part("B"), 2)]);
        let values = by_ticker[1].iter().map(|row| row.value(0));
        assert!(values.eq([Value::Double(1.0), Value::Double(2.0)]));
        assert_eq!(batch.partitions(&[]).len(), 1);
    }
}
