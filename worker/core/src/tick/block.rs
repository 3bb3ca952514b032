//! Ticks parsed ahead of their turn, as columns.
//!
//! Owns what is carried from the thread that parses to the one that counts. Carries only what parses to plain fields: a
//! record that doesn't, or isn't a tick, is left to be parsed again in its turn, which gives the same answer. Must never
//! decide a tick's fate: that depends on the ticks before it.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use super::{Tick, TickParser};
use crate::time::{Date, Micros};

/// Records of one piece of text, in their order.
#[derive(Debug, Default)]
pub struct TickBlock {
    text: Bytes,
    records: Vec<Record>,
    /// The numbers of every record, as many as the parser keeps; NaN (which no tick has) where absent or null.
    numbers: Vec<f64>,
    width: usize,
}

/// Places are in the block's text, whose length fits into 32 bits.
#[derive(Clone, Copy, Debug)]
struct Record {
    start: u32,
    length: u32,
    ticker: u32,
    ticker_length: u16,
    state: State,
    trade_date: Date,
    event_time: Micros,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// To be parsed in its turn.
    Raw,
    Parsed,
    /// Parsed, and carries a trade date.
    Dated,
}

/// The longest text of a block, in bytes.
pub const MAX_BLOCK_BYTES: usize = 1 << 30;

impl TickBlock {
    /// Parses the records that stand at `places` in `text`. What a record is doesn't depend on those around it.
    ///
    /// Places beyond the text or beyond [`MAX_BLOCK_BYTES`] are cut.
    pub fn parse(
        parser: &mut TickParser,
        text: Bytes,
        places: impl Iterator<Item = Range<usize>>,
    ) -> Self {
        let text = text.slice(..text.len().min(MAX_BLOCK_BYTES));
        let width = parser.numbers().len();
        let mut block = TickBlock {
            records: Vec::with_capacity(text.len() / 128),
            numbers: Vec::with_capacity(text.len() / 128 * width),
            text: Bytes::new(),
            width,
        };
        for place in places {
            let end = place.end.min(text.len());
            let start = place.start.min(end);
            block.add(parser, &text, start, end);
        }
        block.text = text;
        block
    }

    fn add(&mut self, parser: &mut TickParser, text: &[u8], start: usize, end: usize) {
        let data = &text[start..end];
        let mut record = Record {
            start: narrow(start),
            length: narrow(end - start),
            ticker: 0,
            ticker_length: 0,
            state: State::Raw,
            trade_date: Date::from_days(0),
            event_time: Micros(0),
        };
        if let Ok(Tick {
            ticker: Cow::Borrowed(ticker),
            event_time,
            trade_date,
            id: None,
        }) = parser.parse(data)
        {
            // A borrowed text lies in the record.
            let at = ticker.as_ptr().addr() - text.as_ptr().addr();
            record.ticker = narrow(at);
            record.ticker_length = u16::try_from(ticker.len()).unwrap_or(u16::MAX);
            record.event_time = event_time;
            record.state = match trade_date {
                Some(date) => {
                    record.trade_date = date;
                    State::Dated
                }
                None => State::Parsed,
            };
        }
        self.records.push(record);
        let numbers = parser.numbers().iter();
        self.numbers
            .extend(numbers.map(|number| number.unwrap_or(f64::NAN)));
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The raw bytes of a record; empty beyond the last.
    pub fn data(&self, index: usize) -> Bytes {
        match self.records.get(index) {
            Some(record) => {
                let start = record.start as usize;
                self.text.slice(start..start + record.length as usize)
            }
            None => Bytes::new(),
        }
    }

    /// The tick, its numbers in `numbers`; `None` when the record is to be parsed in its turn.
    pub(crate) fn tick(&self, index: usize, numbers: &mut [Option<f64>]) -> Option<Tick<'_>> {
        let record = self.records.get(index)?;
        if record.state == State::Raw || numbers.len() != self.width {
            return None;
        }
        let own = &self.numbers[index * self.width..(index + 1) * self.width];
        for (number, own) in numbers.iter_mut().zip(own) {
            *number = (!own.is_nan()).then_some(*own);
        }
        let start = record.ticker as usize;
        let ticker = &self.text[start..start + usize::from(record.ticker_length)];
        Some(Tick {
            ticker: Cow::Borrowed(std::str::from_utf8(ticker).ok()?),
            event_time: record.event_time,
            trade_date: (record.state == State::Dated).then_some(record.trade_date),
            id: None,
        })
    }
}

/// Places fit: the text is at most [`MAX_BLOCK_BYTES`] long.
fn narrow(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}
