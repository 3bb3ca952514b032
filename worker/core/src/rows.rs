//! Closed windows as columns: how they wait to be sealed and published, and how a checkpoint stores them.
//!
//! Owns that form. A row of its own takes two allocations and its fields' names in every checkpoint; as columns a
//! hundred thousand rows are a few arrays, about 20 bytes and 9 more a figure each, and 36 more in a checkpoint before it is
//! compressed (with a stream's sequence numbers 160 more). Must never change what a row says:
//! [`Row`] is the same thing by itself.

use std::fmt;
use std::sync::Arc;

use serde::de::{Error as _, SeqAccess, Visitor, value::MapAccessDeserializer};
use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zerocopy::{Immutable, IntoBytes};

use crate::narrow::{Narrow, signed, unsigned};
use crate::row::{Row, Value};
use crate::sequence::SequenceNumber;
use crate::sequence_column::SequenceColumn;
use crate::time::{Date, Micros};

type FixedState = foldhash::fast::FixedState;
// The ban is on the random default hasher; this one is fixed.
#[allow(clippy::disallowed_types)]
type Map<K, V> = std::collections::HashMap<K, V, FixedState>;

/// A rough size in bytes of a row without its figures: what its columns take in a checkpoint before it is compressed, but for
/// long sequence numbers.
const ROW_BYTES: usize = 56;

/// What two long sequence numbers take beside: two pointers with lengths, and two texts with counts.
const LONG_BYTES: usize = 2 * (8 + 16 + 56);

/// A rough size in bytes of a figure.
const VALUE_BYTES: usize = 9;

/// A list of closed windows.
#[derive(Clone, Default)]
pub struct Rows {
    /// Each ticker once, in the order in which they came.
    tickers: Vec<Arc<str>>,
    index_of: Map<Arc<str>, u32>,
    /// Index into `tickers`.
    ticker: Narrow,
    /// Days since 1970-01-01.
    trade_date: Narrow,
    start: Narrow,
    end: Narrow,
    ticks: Narrow,
    first_sequence: SequenceColumn,
    last_sequence: SequenceColumn,
    /// Where each row's figures end in `kinds` and `bits`.
    values_end: Narrow,
    kinds: Vec<u8>,
    bits: Vec<u64>,
    ticker_bytes: usize,
}

/// Everything of a row but its figures.
#[derive(Debug)]
pub(crate) struct RowHead<'a> {
    pub(crate) ticker: &'a Arc<str>,
    pub(crate) trade_date: Date,
    pub(crate) window_start: Micros,
    pub(crate) window_end: Micros,
    pub(crate) ticks: u64,
    pub(crate) first_sequence: SequenceNumber,
    pub(crate) last_sequence: SequenceNumber,
}

impl Rows {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.ticker.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.ticker.is_empty()
    }

    /// A rough size in bytes, for the bound on unpublished bytes.
    pub fn bytes(&self) -> usize {
        let long = match self.last_sequence.as_short() {
            Some(_) => 0,
            None => LONG_BYTES,
        };
        (ROW_BYTES + long) * self.len() + VALUE_BYTES * self.kinds.len() + self.ticker_bytes
    }

    /// The row at `index`; `None` beyond the last.
    pub fn get(&self, index: usize) -> Option<RowView<'_>> {
        (index < self.len()).then_some(self.view(index))
    }

    /// The row at `index`, which is known to be there.
    pub(crate) fn view(&self, index: usize) -> RowView<'_> {
        RowView { rows: self, index }
    }

    /// Every row, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = RowView<'_>> + Clone {
        (0..self.len()).map(|index| RowView { rows: self, index })
    }

    /// Every row by itself.
    pub fn to_vec(&self) -> Vec<Row> {
        self.iter().map(RowView::to_row).collect()
    }

    /// The names of the tickers, each once; [`RowView::ticker_index`] is an index into them.
    pub fn tickers(&self) -> &[Arc<str>] {
        &self.tickers
    }

    /// Adds a row.
    pub fn push(&mut self, row: Row) {
        let head = RowHead {
            ticker: &row.ticker,
            trade_date: row.trade_date,
            window_start: row.window_start,
            window_end: row.window_end,
            ticks: row.ticks,
            first_sequence: row.first_sequence,
            last_sequence: row.last_sequence,
        };
        self.push_with(head, row.values);
    }

    /// Adds a row whose figures don't stand in a list.
    pub(crate) fn push_with(&mut self, head: RowHead<'_>, values: impl IntoIterator<Item = Value>) {
        // As many figures as a row has, on average: they come together.
        let figures = self.bits.len() / self.len().max(1);
        if self.bits.capacity() - self.bits.len() < figures {
            self.grow();
        }
        let ticker = self.index_of_ticker(head.ticker);
        self.ticker.push(u64::from(ticker));
        self.trade_date
            .push(unsigned(i64::from(head.trade_date.days())));
        self.start.push(unsigned(head.window_start.0));
        self.end.push(unsigned(head.window_end.0));
        self.ticks.push(head.ticks);
        self.first_sequence.push(head.first_sequence);
        self.last_sequence.push(head.last_sequence);
        for value in values {
            let (kind, bits) = packed(value);
            self.kinds.push(kind);
            self.bits.push(bits);
        }
        self.values_end.push(self.kinds.len() as u64);
    }

    /// Makes room ahead of long lists in few steps: each leaves the columns' former memory behind, and memory that isn't
    /// written yet costs nothing.
    fn grow(&mut self) {
        const LONG: usize = 4_096;
        if self.len() < LONG {
            return; // as lists grow anyway
        }
        self.kinds.reserve_exact(7 * self.kinds.len());
        self.bits.reserve_exact(7 * self.bits.len());
    }

    fn index_of_ticker(&mut self, ticker: &Arc<str>) -> u32 {
        if let Some(index) = self.index_of.get(ticker) {
            return *index;
        }
        let index = u32::try_from(self.tickers.len()).unwrap_or(u32::MAX);
        self.tickers.push(ticker.clone());
        self.index_of.insert(ticker.clone(), index);
        self.ticker_bytes += ticker.len() + 64;
        index
    }

    /// Moves all rows of `other` behind these.
    pub fn append(&mut self, other: &mut Rows) {
        if self.is_empty() {
            std::mem::swap(self, other);
            return;
        }
        for row in other.iter() {
            self.push_with(row.head(), row.values());
        }
        other.clear();
    }

    /// Removes every row.
    pub fn clear(&mut self) {
        *self = Rows::default();
    }
}

/// One row of a list.
#[derive(Clone, Copy)]
pub struct RowView<'a> {
    rows: &'a Rows,
    index: usize,
}

impl<'a> RowView<'a> {
    /// See [`Row::ticker`].
    pub fn ticker(self) -> &'a Arc<str> {
        &self.rows.tickers[self.ticker_index()]
    }

    /// Where its ticker stands in [`Rows::tickers`].
    pub fn ticker_index(self) -> usize {
        // It fits: it is an index.
        #[allow(clippy::cast_possible_truncation)]
        let index = self.rows.ticker.get(self.index) as usize;
        index
    }

    /// See [`Row::trade_date`].
    pub fn trade_date(self) -> Date {
        // It fits: it was one.
        #[allow(clippy::cast_possible_truncation)]
        let days = signed(self.rows.trade_date.get(self.index)) as i32;
        Date::from_days(days)
    }

    /// See [`Row::window_start`].
    pub fn window_start(self) -> Micros {
        Micros(signed(self.rows.start.get(self.index)))
    }

    /// See [`Row::window_end`].
    pub fn window_end(self) -> Micros {
        Micros(signed(self.rows.end.get(self.index)))
    }

    /// See [`Row::ticks`].
    pub fn ticks(self) -> u64 {
        self.rows.ticks.get(self.index)
    }

    /// See [`Row::first_sequence`].
    pub fn first_sequence(self) -> SequenceNumber {
        self.rows.first_sequence.at(self.index)
    }

    /// See [`Row::last_sequence`].
    pub fn last_sequence(self) -> SequenceNumber {
        self.rows.last_sequence.at(self.index)
    }

    /// The figure in column `index`; null when the window was opened before the column existed.
    pub fn value(self, index: usize) -> Value {
        let range = self.values_range();
        match range.start.checked_add(index) {
            Some(at) if at < range.end => unpacked(self.rows.kinds[at], self.rows.bits[at]),
            _ => Value::Null,
        }
    }

    /// See [`Row::values`].
    pub fn values(self) -> impl ExactSizeIterator<Item = Value> + 'a {
        let range = self.values_range();
        let (kinds, bits) = (&self.rows.kinds[range.clone()], &self.rows.bits[range]);
        (0..kinds.len()).map(|at| unpacked(kinds[at], bits[at]))
    }

    fn values_range(self) -> std::ops::Range<usize> {
        // They fit: they are indexes.
        #[allow(clippy::cast_possible_truncation)]
        let end = |index| self.rows.values_end.get(index) as usize;
        let start = self.index.checked_sub(1).map_or(0, end);
        start..end(self.index)
    }

    fn head(self) -> RowHead<'a> {
        RowHead {
            ticker: self.ticker(),
            trade_date: self.trade_date(),
            window_start: self.window_start(),
            window_end: self.window_end(),
            ticks: self.ticks(),
            first_sequence: self.first_sequence(),
            last_sequence: self.last_sequence(),
        }
    }

    /// The row by itself.
    pub fn to_row(self) -> Row {
        Row {
            ticker: self.ticker().clone(),
            trade_date: self.trade_date(),
            window_start: self.window_start(),
            window_end: self.window_end(),
            values: self.values().collect(),
            ticks: self.ticks(),
            first_sequence: self.first_sequence(),
            last_sequence: self.last_sequence(),
        }
    }
}

impl fmt::Debug for RowView<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_row().fmt(formatter)
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}

impl PartialEq for Rows {
    fn eq(&self, other: &Self) -> bool {
        let same = |(one, two): (RowView<'_>, RowView<'_>)| one.to_row() == two.to_row();
        self.len() == other.len() && self.iter().zip(other.iter()).all(same)
    }
}

impl FromIterator<Row> for Rows {
    fn from_iter<I: IntoIterator<Item = Row>>(iter: I) -> Self {
        let mut rows = Rows::default();
        rows.extend(iter);
        rows
    }
}

impl Extend<Row> for Rows {
    fn extend<I: IntoIterator<Item = Row>>(&mut self, iter: I) {
        for row in iter {
            self.push(row);
        }
    }
}

impl From<Vec<Row>> for Rows {
    fn from(rows: Vec<Row>) -> Self {
        rows.into_iter().collect()
    }
}

const NULL: u8 = 0;
const DOUBLE: u8 = 1;
const LONG: u8 = 2;

fn packed(value: Value) -> (u8, u64) {
    match value {
        Value::Null => (NULL, 0),
        Value::Double(value) => (DOUBLE, value.to_bits()),
        Value::Long(value) => (LONG, value.cast_unsigned()),
    }
}

fn unpacked(kind: u8, bits: u64) -> Value {
    match kind {
        DOUBLE => Value::Double(f64::from_bits(bits)),
        LONG => Value::Long(bits.cast_signed()),
        _ => Value::Null,
    }
}

/// Rows as a checkpoint stores them. Numbers are little-endian, one after the other in one byte string a column.
#[derive(Deserialize)]
struct Columns {
    tickers: Vec<String>,
    /// u32
    ticker: ByteString,
    /// i32, days since 1970-01-01
    trade_date: ByteString,
    /// i64
    start: ByteString,
    /// i64
    end: ByteString,
    /// u64
    ticks: ByteString,
    first_sequence: Sequences,
    last_sequence: Sequences,
    /// u32
    values_end: ByteString,
    /// u8: 0 null, 1 double, 2 long
    kinds: ByteString,
    /// u64
    bits: ByteString,
}

/// Sequence numbers: all short (u64, little-endian), or as texts.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Sequences {
    Short(ByteString),
    Texts(Vec<SequenceNumber>),
}

/// The same, to be written.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum SequencesOf<'a> {
    Short(Wide<'a, u64>),
    Texts(&'a SequenceColumn),
}

impl Serialize for SequenceColumn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((0..self.len()).map(|index| self.at(index)))
    }
}

/// Numbers as one byte string, little-endian: as they are in memory, wherever that is so.
struct Packed<'a, T>(&'a [T]);

impl<T: IntoBytes + Immutable> Serialize for Packed<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes = self.0.as_bytes();
        if cfg!(target_endian = "little") {
            return serializer.serialize_bytes(bytes);
        }
        let numbers = bytes.chunks_exact(size_of::<T>());
        let swapped: Vec<u8> = numbers
            .flat_map(|number| number.iter().rev())
            .copied()
            .collect();
        serializer.serialize_bytes(&swapped)
    }
}

/// The same of numbers that are kept narrow, each as `1` makes of it.
struct Wide<'a, T>(&'a Narrow, fn(u64) -> T);

impl<T: IntoBytes + Immutable> Serialize for Wide<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let numbers: Vec<T> = self.0.iter().map(self.1).collect();
        Packed(&numbers).serialize(serializer)
    }
}

/// Bytes as one byte string instead of a list of numbers.
struct ByteString(Vec<u8>);

impl<'de> Deserialize<'de> for ByteString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = ByteString;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a byte string")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<ByteString, E> {
                Ok(ByteString(bytes.to_vec()))
            }
            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<ByteString, E> {
                Ok(ByteString(bytes))
            }
        }
        deserializer.deserialize_byte_buf(Bytes)
    }
}

impl ByteString {
    /// The numbers; `None` when the last isn't whole.
    fn numbers<const N: usize, T, L: FromIterator<T>>(
        &self,
        number: impl Fn([u8; N]) -> T,
    ) -> Option<L> {
        let (whole, rest) = self.0.as_chunks::<N>();
        rest.is_empty()
            .then(|| whole.iter().copied().map(number).collect())
    }
}

impl SequencesOf<'_> {
    fn new(column: &SequenceColumn) -> SequencesOf<'_> {
        match column.as_short() {
            Some(numbers) => SequencesOf::Short(Wide(numbers, |number| number)),
            None => SequencesOf::Texts(column),
        }
    }
}

impl Sequences {
    fn column(self) -> Option<SequenceColumn> {
        match self {
            // Above 19 digits none is short.
            Sequences::Short(bytes) => {
                let numbers: Narrow = bytes.numbers(u64::from_le_bytes)?;
                let is_short = |number| number < 10_000_000_000_000_000_000;
                if numbers.iter().all(is_short) {
                    return Some(SequenceColumn::Short(numbers));
                }
                let numbers = numbers.iter().map(SequenceNumber::from);
                Some(numbers.collect::<Vec<_>>().into())
            }
            Sequences::Texts(numbers) => Some(numbers.into()),
        }
    }
}

impl Serialize for Rows {
    /// For people (JSON) a list of rows, else columns.
    // What was four bytes wide before it was made narrow fits.
    #[allow(clippy::cast_possible_truncation)]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.collect_seq(self.iter().map(RowView::to_row));
        }
        // One after the other: no two are there twice at once.
        let mut columns = serializer.serialize_struct("Columns", 11)?;
        let tickers: Vec<&str> = self.tickers.iter().map(AsRef::as_ref).collect();
        columns.serialize_field("tickers", &tickers)?;
        columns.serialize_field("ticker", &Wide(&self.ticker, |index| index as u32))?;
        columns.serialize_field(
            "trade_date",
            &Wide(&self.trade_date, |days| signed(days) as i32),
        )?;
        columns.serialize_field("start", &Wide(&self.start, signed))?;
        columns.serialize_field("end", &Wide(&self.end, signed))?;
        columns.serialize_field("ticks", &Wide(&self.ticks, |ticks| ticks))?;
        columns.serialize_field("first_sequence", &SequencesOf::new(&self.first_sequence))?;
        columns.serialize_field("last_sequence", &SequencesOf::new(&self.last_sequence))?;
        columns.serialize_field("values_end", &Wide(&self.values_end, |end| end as u32))?;
        columns.serialize_field("kinds", &Packed(&self.kinds))?;
        columns.serialize_field("bits", &Packed(&self.bits))?;
        columns.end()
    }
}

impl<'de> Deserialize<'de> for Rows {
    /// Columns, or a list of rows.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Rows;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("rows, as columns or as a list")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Rows, A::Error> {
                let mut rows = Rows::default();
                while let Some(row) = list.next_element()? {
                    rows.push(row);
                }
                Ok(rows)
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Rows, A::Error> {
                let columns = Columns::deserialize(MapAccessDeserializer::new(map))?;
                columns
                    .rows()
                    .ok_or_else(|| A::Error::custom("the columns of the rows don't fit together"))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

impl Columns {
    /// The rows, or `None` when the columns contradict each other.
    fn rows(self) -> Option<Rows> {
        let tickers: Vec<Arc<str>> = self.tickers.into_iter().map(Arc::from).collect();
        let rows = Rows {
            index_of: (0..)
                .zip(&tickers)
                .map(|(index, ticker)| (ticker.clone(), index))
                .collect(),
            ticker_bytes: tickers.iter().map(|ticker| ticker.len() + 64).sum(),
            ticker: self
                .ticker
                .numbers(|bytes| u64::from(u32::from_le_bytes(bytes)))?,
            trade_date: self
                .trade_date
                .numbers(|bytes| unsigned(i64::from(i32::from_le_bytes(bytes))))?,
            start: self
                .start
                .numbers(|bytes| unsigned(i64::from_le_bytes(bytes)))?,
            end: self
                .end
                .numbers(|bytes| unsigned(i64::from_le_bytes(bytes)))?,
            ticks: self.ticks.numbers(u64::from_le_bytes)?,
            first_sequence: self.first_sequence.column()?,
            last_sequence: self.last_sequence.column()?,
            values_end: self
                .values_end
                .numbers(|bytes| u64::from(u32::from_le_bytes(bytes)))?,
            kinds: self.kinds.0,
            bits: self.bits.numbers(u64::from_le_bytes)?,
            tickers,
        };
        let lengths = [
            rows.trade_date.len(),
            rows.start.len(),
            rows.end.len(),
            rows.ticks.len(),
            rows.first_sequence.len(),
            rows.last_sequence.len(),
            rows.values_end.len(),
        ];
        let known = |index: u64| index < rows.tickers.len() as u64;
        let values = rows.values_end.last().unwrap_or(0);
        // A ticker twice would be two partitions of one name.
        let sound = rows.index_of.len() == rows.tickers.len()
            && lengths.iter().all(|length| *length == rows.len())
            && rows.ticker.iter().all(known)
            && rows.values_end.iter().is_sorted()
            && rows.kinds.len() as u64 == values
            && rows.bits.len() as u64 == values
            && rows.kinds.iter().all(|kind| *kind <= LONG);
        sound.then_some(rows)
    }
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
