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

/// What a record gives that was parsed.
struct Parsed<'a> {
    ticker: &'a [u8],
    event_time: Micros,
    trade_date: Option<Date>,
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
    /// Parses the records of a text of lines. What a record is doesn't depend on those around it.
    ///
    /// `line` is given the text and where a line begins, and says where its record stands (nowhere, if it is empty) and
    /// where the next line begins. It is asked only where the next tick isn't seen at once. What lies beyond
    /// [`MAX_BLOCK_BYTES`] is cut.
    pub fn parse(
        parser: &mut TickParser,
        text: Bytes,
        line: impl Fn(&[u8], usize) -> (Range<usize>, usize),
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
        let (mut names, mut at) = (Names::default(), 0);
        while at < text.len() {
            let begun = block.numbers.len();
            block.numbers.resize(begun + width, ABSENT);
            let own = &mut block.numbers[begun..];
            if let Some((ahead, length)) = parser.read_line(&text[at..], own) {
                let tick = ahead.id.is_none().then_some(Parsed {
                    ticker: ahead.ticker,
                    event_time: ahead.event_time,
                    trade_date: ahead.trade_date,
                });
                block.push(&mut names, at..at + length, tick);
                at += length + if text[at + length] == b'\r' { 2 } else { 1 };
                continue;
            }
            let (place, next) = line(&text, at);
            at = next.max(at + 1);
            if place.is_empty() {
                block.numbers.truncate(begun);
                continue;
            }
            let data = text.get(place.clone()).unwrap_or_default();
            let tick = match parser.parse(data) {
                Ok(Tick {
                    ticker: Cow::Borrowed(ticker),
                    event_time,
                    trade_date,
                    id: None,
                }) => {
                    own.copy_from_slice(parser.packed_numbers());
                    Some(Parsed {
                        ticker: ticker.as_bytes(),
                        event_time,
                        trade_date,
                    })
                }
                _ => None,
            };
            block.push(&mut names, place, tick);
        }
        block.text = text;
        block
    }

    /// Takes a record whose numbers have been taken.
    fn push(&mut self, names: &mut Names, place: Range<usize>, tick: Option<Parsed<'_>>) {
        let mut record = Record {
            start: narrow(place.start),
            length: narrow(place.len()),
            ticker: 0,
            state: State::Raw,
            trade_date: Date::from_days(0),
            event_time: Micros(0),
        };
        if let Some(tick) = tick {
            let ticker = tick.ticker;
            record.event_time = tick.event_time;
            record.state = match tick.trade_date {
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
