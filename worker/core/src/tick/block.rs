//! Ticks parsed ahead of their turn, as columns.
//!
//! Owns what is carried from the thread that parses to the one that counts. Carries only what parses to plain fields: a
//! record that doesn't, or isn't a tick, is left to be parsed again in its turn, which gives the same answer. Must never
//! decide a tick's fate: that depends on the ticks before it.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::batch::{Batch, Columns};
use super::names::{Names, Tickers};
use super::numbers::ABSENT;
use super::{Tick, TickParser};
use crate::time::{Date, Micros};

/// Records of one piece of text, in their order.
#[derive(Debug, Default)]
pub struct TickBlock {
    text: Bytes,
    /// Where each record stands in the text, whose length fits into 32 bits, and how long it is.
    places: Vec<(u32, u32)>,
    /// The tickers that its ticks have, each once, and perhaps others; in a text of their own, since the block's is far away
    /// by the time they are looked up.
    names: Arc<Tickers>,
    /// Among those; [`RAW`] of a record that is to be parsed in its turn.
    tickers: Vec<u32>,
    event_times: Vec<Micros>,
    trade_dates: Vec<Option<Date>>,
    /// The numbers of every record, as many as the parser keeps.
    numbers: Vec<f64>,
    width: usize,
}

/// No ticker's number.
const RAW: u32 = u32::MAX;

/// What a record gives that was parsed.
struct Parsed<'a> {
    ticker: &'a [u8],
    event_time: Micros,
    trade_date: Option<Date>,
}

/// Some records of a block, as columns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockRun<'a> {
    tickers: &'a [u32],
    event_times: &'a [Micros],
    trade_dates: &'a [Option<Date>],
    numbers: &'a [f64],
    width: usize,
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

impl<'a> BlockRun<'a> {
    /// The ticks, up to the first record that is to be parsed in its turn.
    #[inline]
    pub(crate) fn iter(&self) -> impl Iterator<Item = BlockTick<'a>> {
        let (mut numbers, width) = (self.numbers, self.width);
        let records = self.tickers.iter().zip(self.event_times);
        let records = records.zip(self.trade_dates);
        records.map_while(move |((ticker, event_time), trade_date)| {
            let (own, others) = numbers.split_at(width);
            numbers = others;
            (*ticker != RAW).then_some(BlockTick {
                ticker: *ticker as usize,
                event_time: *event_time,
                trade_date: *trade_date,
                numbers: own,
            })
        })
    }

    /// One number of each record: [`ABSENT`] where there is none.
    #[inline]
    pub(crate) fn column(&self, index: usize) -> impl Iterator<Item = f64> {
        let width = self.width.max(1);
        let numbers = self.numbers.get(index..).unwrap_or_default();
        numbers.iter().step_by(width).copied()
    }
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
        let mut parsing = Parsing {
            block: TickBlock::with_room(text.len() / 128, parser.packed_numbers().len()),
            batch: Batch::default(),
            odd: Vec::new(),
        };
        parser.names.prepare();
        let mut at = 0;
        while at < text.len() {
            at = match parsing.read_batch(parser, &text, at) {
                Some(next) => next,
                None => parsing.read_one(parser, &text, at, &line),
            };
        }
        TickBlock {
            text,
            names: parser.names.tickers(),
            ..parsing.block
        }
    }

    fn with_room(records: usize, width: usize) -> Self {
        TickBlock {
            places: Vec::with_capacity(records),
            tickers: Vec::with_capacity(records),
            event_times: Vec::with_capacity(records),
            trade_dates: Vec::with_capacity(records),
            numbers: Vec::with_capacity(records * width),
            width,
            ..TickBlock::default()
        }
    }

    /// Makes room for records whose places have been taken: they are to be parsed in their turn.
    fn fill_up(&mut self) {
        let records = self.places.len();
        self.tickers.resize(records, RAW);
        self.event_times.resize(records, Micros(0));
        self.trade_dates.resize(records, None);
        self.numbers.resize(records * self.width, ABSENT);
    }

    /// Forgets the records from one on.
    fn cut(&mut self, row: usize) {
        self.places.truncate(row);
        self.fill_up();
    }

    /// Takes what a record gives, but for its numbers.
    fn set(&mut self, row: usize, names: &mut Names, tick: &Parsed<'_>) {
        self.tickers[row] = names.number_of(tick.ticker);
        self.event_times[row] = tick.event_time;
        self.trade_dates[row] = tick.trade_date;
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The raw bytes of a record; empty beyond the last.
    pub fn data(&self, index: usize) -> Bytes {
        match self.places.get(index) {
            Some((start, length)) => {
                let start = *start as usize;
                self.text.slice(start..start + *length as usize)
            }
            None => Bytes::new(),
        }
    }

    /// Its tickers.
    pub(crate) fn names(&self) -> &Arc<Tickers> {
        &self.names
    }

    /// A ticker by its number in the block.
    pub(crate) fn ticker(&self, number: usize) -> Option<&str> {
        self.names.get(number)
    }

    /// The records from the one at `from` on, of which all before the first that is to be parsed in its turn are ticks.
    pub(crate) fn run(&self, from: usize, until: usize) -> BlockRun<'_> {
        let until = until.min(self.len());
        let from = from.min(until);
        BlockRun {
            tickers: &self.tickers[from..until],
            event_times: &self.event_times[from..until],
            trade_dates: &self.trade_dates[from..until],
            numbers: &self.numbers[from * self.width..until * self.width],
            width: self.width,
        }
    }

    /// The tick of a record, its numbers in `numbers`, one for each of the parser's keys, NaN where there is none; `None` when the record is to be parsed in its turn.
    pub fn tick(&self, index: usize, numbers: &mut [f64]) -> Option<Tick<'_>> {
        let ticker = *self.tickers.get(index)?;
        if ticker == RAW || numbers.len() != self.width {
            return None;
        }
        numbers.copy_from_slice(&self.numbers[index * self.width..(index + 1) * self.width]);
        Some(Tick {
            ticker: Cow::Borrowed(self.ticker(ticker as usize)?),
            event_time: *self.event_times.get(index)?,
            trade_date: *self.trade_dates.get(index)?,
            id: None,
        })
    }
}

/// A block that is being made.
struct Parsing {
    block: TickBlock,
    batch: Batch,
    odd: Vec<bool>,
}

impl Parsing {
    /// Reads records that the parser's templates know, and says where the next one begins; `None` when there is none of them
    /// at `at`.
    fn read_batch(&mut self, parser: &mut TickParser, text: &[u8], at: usize) -> Option<usize> {
        let begun = self.block.places.len();
        let block = &mut self.block;
        let shapes = &mut parser.shapes;
        let next = self.batch.collect(shapes, text, at, |start, length| {
            block.places.push((narrow(start), narrow(length)));
        });
        if self.batch.len() == 0 {
            return None;
        }
        block.fill_up();
        self.odd.clear();
        self.odd.resize(self.batch.len(), false);
        let mut columns = Columns {
            text,
            names: &mut parser.names,
            tickers: &mut block.tickers[begun..],
            event_times: &mut block.event_times[begun..],
            trade_dates: &mut block.trade_dates[begun..],
            numbers: &mut block.numbers[begun * block.width..],
            width: block.width,
            odd: &mut self.odd,
        };
        self.batch.read(shapes, &mut columns);
        if let Some(index) = self.batch.last() {
            shapes.prefer(index);
        }
        for index in 0..self.batch.len() {
            if !self.odd[index] {
                continue;
            }
            let row = begun + index;
            if let Some(start) = self.holds_a_line_end(text, row) {
                // Lines that only together are as long as a record: from here on they are asked for.
                self.block.cut(row);
                return (index > 0).then_some(start);
            }
            self.parse_again(parser, text, row);
        }
        Some(next)
    }

    /// Where a record begins that ends before its template does. What a template leaves open takes no line end, so that such a
    /// record is always odd.
    fn holds_a_line_end(&self, text: &[u8], row: usize) -> Option<usize> {
        let (start, length) = self.block.places[row];
        let start = start as usize;
        let data = text.get(start..)?.get(..length as usize)?;
        data.contains(&b'\n').then_some(start)
    }

    /// Parses a record that has its place, and is more than its template knows.
    #[cold]
    fn parse_again(&mut self, parser: &mut TickParser, text: &[u8], row: usize) {
        let (start, length) = self.block.places[row];
        let data = text
            .get(start as usize..)
            .and_then(|text| text.get(..length as usize));
        self.block.tickers[row] = RAW;
        self.parse(parser, data.unwrap_or_default(), row);
    }

    /// Reads the record at `at`, if there is one, and says where the next one begins.
    fn read_one(
        &mut self,
        parser: &mut TickParser,
        text: &[u8],
        at: usize,
        line: impl Fn(&[u8], usize) -> (Range<usize>, usize),
    ) -> usize {
        let (row, begun) = (self.block.len(), self.block.numbers.len());
        self.block.numbers.resize(begun + self.block.width, ABSENT);
        if let Some((ahead, length)) =
            parser.read_line(&text[at..], &mut self.block.numbers[begun..])
        {
            self.block.places.push((narrow(at), narrow(length)));
            self.block.fill_up();
            if ahead.id.is_none() {
                let tick = Parsed {
                    ticker: ahead.ticker,
                    event_time: ahead.event_time,
                    trade_date: ahead.trade_date,
                };
                self.block.set(row, &mut parser.names, &tick);
            }
            return at + length + if text[at + length] == b'\r' { 2 } else { 1 };
        }
        let (place, next) = line(text, at);
        if place.is_empty() {
            self.block.numbers.truncate(begun);
        } else {
            self.block
                .places
                .push((narrow(place.start), narrow(place.len())));
            self.block.fill_up();
            self.parse(parser, text.get(place).unwrap_or_default(), row);
        }
        next.max(at + 1)
    }

    /// Parses a record of which nothing is known but its place.
    fn parse(&mut self, parser: &mut TickParser, data: &[u8], row: usize) {
        if let Ok(Tick {
            ticker: Cow::Borrowed(ticker),
            event_time,
            trade_date,
            id: None,
        }) = parser.parse(data)
        {
            let width = self.block.width;
            self.block.numbers[row * width..(row + 1) * width]
                .copy_from_slice(parser.packed_numbers());
            let tick = Parsed {
                ticker: ticker.as_bytes(),
                event_time,
                trade_date,
            };
            self.block.set(row, &mut parser.names, &tick);
        }
    }
}

/// Places fit: the text is at most [`MAX_BLOCK_BYTES`] long.
fn narrow(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}
