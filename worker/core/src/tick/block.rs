//! Ticks parsed ahead of their turn, as columns.
//!
//! Owns what is carried from the thread that parses to the one that counts. Carries only what parses to plain fields: a
//! record that doesn't, or isn't a tick, is left to be parsed again in its turn, which gives the same answer. Must never
//! decide a tick's fate: that depends on the ticks before it.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;

use super::names::Names;
use super::numbers::ABSENT;
use super::{Tick, TickParser};
use crate::time::{Date, Micros};

/// Records of one piece of text, in their order.
#[derive(Debug, Default)]
pub struct TickBlock {
    text: Bytes,
    records: Vec<Record>,
    /// The tickers that its ticks have, each once; one after the other in a text of their own, since the block's is far
    /// away by the time they are looked up.
    names: String,
    /// Where each ends there.
    tickers: Vec<u32>,
    /// The numbers of every record, as many as the parser keeps.
    numbers: Vec<f64>,
    width: usize,
}

/// Places are in the block's text, whose length fits into 32 bits.
#[derive(Clone, Copy, Debug)]
struct Record {
    start: u32,
    length: u32,
    /// Among the block's tickers.
    ticker: u32,
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

/// A parsed tick of a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockTick<'a> {
    /// Its ticker's number in the block.
    pub(crate) ticker: usize,
    pub(crate) event_time: Micros,
    pub(crate) trade_date: Option<Date>,
    pub(crate) numbers: &'a [f64],
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
        let width = parser.packed_numbers().len();
        let mut block = TickBlock {
            records: Vec::with_capacity(text.len() / 128),
            numbers: Vec::with_capacity(text.len() / 128 * width),
            text: Bytes::new(),
            names: String::new(),
            tickers: Vec::new(),
            width,
        };
        let mut names = Names::default();
        for place in places {
            let end = place.end.min(text.len());
            let start = place.start.min(end);
            block.add(parser, &mut names, &text, start..end);
        }
        block.text = text;
        block
    }

    fn add(
        &mut self,
        parser: &mut TickParser,
        names: &mut Names,
        text: &[u8],
        place: Range<usize>,
    ) {
        let data = &text[place.clone()];
        let begun = self.numbers.len();
        self.numbers.resize(begun + self.width, ABSENT);
        let own = &mut self.numbers[begun..];
        let tick = match parser.read_ahead(data, own) {
            Some(ahead) => Some((
                ahead.ticker,
                ahead.event_time,
                ahead.trade_date,
                ahead.id.is_some(),
            )),
            None => match parser.parse(data) {
                Ok(Tick {
                    ticker: Cow::Borrowed(ticker),
                    event_time,
                    trade_date,
                    id,
                }) => {
                    own.copy_from_slice(parser.packed_numbers());
                    Some((ticker.as_bytes(), event_time, trade_date, id.is_some()))
                }
                _ => None,
            },
        };
        let mut record = Record {
            start: narrow(place.start),
            length: narrow(place.len()),
            ticker: 0,
            state: State::Raw,
            trade_date: Date::from_days(0),
            event_time: Micros(0),
        };
        if let Some((ticker, event_time, trade_date, false)) = tick {
            record.event_time = event_time;
            record.state = match trade_date {
                Some(date) => {
                    record.trade_date = date;
                    State::Dated
                }
                None => State::Parsed,
            };
            record.ticker = names.number_of(ticker, || {
                // It is UTF-8: the parsers have looked.
                self.names.push_str(&String::from_utf8_lossy(ticker));
                self.tickers.push(narrow(self.names.len()));
            });
        }
        self.records.push(record);
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

    /// How many tickers its parsed ticks have.
    pub(crate) fn tickers(&self) -> usize {
        self.tickers.len()
    }

    /// A ticker by its number in the block.
    pub(crate) fn ticker(&self, number: usize) -> Option<&str> {
        let begin = match number.checked_sub(1) {
            Some(before) => *self.tickers.get(before)?,
            None => 0,
        };
        let end = *self.tickers.get(number)?;
        self.names.get(begin as usize..end as usize)
    }

    /// The parsed ticks from the record at `from` on, up to the first that is to be parsed in its turn.
    pub(crate) fn run(&self, from: usize, until: usize) -> impl Iterator<Item = BlockTick<'_>> {
        let until = until.min(self.records.len());
        let from = from.min(until);
        let mut numbers = &self.numbers[from * self.width..until * self.width];
        let records = self.records[from..until].iter();
        records.map_while(move |record| {
            let (own, others) = numbers.split_at(self.width);
            numbers = others;
            (record.state != State::Raw).then(|| BlockTick {
                ticker: record.ticker as usize,
                event_time: record.event_time,
                trade_date: record.date(),
                numbers: own,
            })
        })
    }

    /// The tick, its numbers in `numbers`; `None` when the record is to be parsed in its turn.
    pub(crate) fn tick(&self, index: usize, numbers: &mut [f64]) -> Option<Tick<'_>> {
        let record = self.records.get(index)?;
        if record.state == State::Raw || numbers.len() != self.width {
            return None;
        }
        numbers.copy_from_slice(&self.numbers[index * self.width..(index + 1) * self.width]);
        Some(Tick {
            ticker: Cow::Borrowed(self.ticker(record.ticker as usize)?),
            event_time: record.event_time,
            trade_date: record.date(),
            id: None,
        })
    }
}

impl Record {
    fn date(&self) -> Option<Date> {
        (self.state == State::Dated).then_some(self.trade_date)
    }
}

/// Places fit: the text is at most [`MAX_BLOCK_BYTES`] long.
fn narrow(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}
